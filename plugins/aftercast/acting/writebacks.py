"""Where a recommendation or an action about an incident goes: a note in PagerDuty, a comment in Jira, a message in Slack, a webhook.

Each place sends one text or payload that carries a mark, and can be asked for the mark later, so that the outbox sends exactly once. A
webhook gets the mark as `Idempotency-Key`; it is asked to do a thing again only where its connection says `"idempotent": true`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aftercast.acting.outbox import repeatable
from aftercast.connections import Endpoint, pagerduty, resolve, slack
from aftercast.declarations import WriteBackRow
from aftercast.errors import ConfigError, NotSent, SourceRejected, SourceUnavailable
from aftercast.sources.quoting import segment
from aftercast.sources.web import Request, Web, records, signed_in

Payload = Mapping[str, object]

TIMEOUT = 30.0
PAGE = 100
MOST_PAGES = 30
IDS = {"pagerduty": r"[A-Z0-9]{6,}", "jira": r"[A-Z][A-Z0-9_]+-\d+"}
"""How a system names its incidents; what looks otherwise is not one of its own."""
UNKNOWN = ("fatal_error", "internal_error", "request_timeout", "")


@dataclass(frozen=True, slots=True)
class Place:
    """How a payload is sent with a mark, and how the mark is looked for; no `find`: nobody can be asked."""

    channel: str
    send: Callable[[Payload, str], str]
    find: Callable[[str], str | None] | None


def holds(channel: str, incident_id: str) -> bool:
    """Whether an incident can be one that a system of this kind knows by its id."""
    return channel not in IDS or re.fullmatch(IDS[channel], incident_id) is not None


def place_of(row: WriteBackRow, incident_id: str) -> Place:
    """Return where words about an incident go.

    Raises:
        ConfigError: the connection does not fit.
    """
    name = f"write-back to {row.channel}"
    if row.channel == "pagerduty":
        endpoint, headers = pagerduty(name, row.connection)
        if not endpoint.login or "@" not in endpoint.login:
            raise ConfigError(
                f"{name}: PagerDuty asks who writes; give the e-mail address of a technical user as login of {row.connection!r}"
            )
        signed = {**headers, "From": endpoint.login}
        return Place(
            row.channel,
            lambda payload, mark: _note(name, endpoint, signed, incident_id, payload, mark),
            lambda mark: _find_note(name, endpoint, signed, incident_id, mark),
        )
    if row.channel == "jira":
        endpoint = resolve(name, row.connection)
        return Place(
            row.channel,
            lambda payload, mark: _comment(name, endpoint, incident_id, payload, mark),
            lambda mark: _find_comment(name, endpoint, incident_id, mark),
        )
    if row.channel == "slack":
        endpoint, headers = slack(name, row.connection)
        room = str(row.room)
        return Place(
            row.channel,
            lambda payload, mark: _post(name, endpoint, headers, room, payload, mark),
            lambda mark: _find_post(name, endpoint, headers, room, mark),
        )
    return webhook(name, row.connection)


def webhook(name: str, connection: str) -> Place:
    """Return a webhook as a place: its host and path are those of the connection (extra `path`).

    Raises:
        ConfigError: the connection is not known or has no host.
    """
    endpoint = resolve(name, connection)
    if not endpoint.base_url:
        raise ConfigError(f"{name}: connection {connection!r} has no host; give that of the webhook, and its path as `path` in the extra")
    again = repeatable if endpoint.extra.get("idempotent") is True else None
    return Place("webhook", lambda payload, mark: _call(name, endpoint, payload, mark), again)


def _call(name: str, endpoint: Endpoint, payload: Payload, mark: str) -> str:
    headers = {**dict(endpoint.extra.get("headers") or {}), "Idempotency-Key": mark}
    path = str(endpoint.extra.get("path") or "/")
    with signed_in(name, replace(endpoint, extra={**endpoint.extra, "headers": headers}), timeout=TIMEOUT) as web:
        page = web.ask(Request(path, body={**payload, "mark": mark}, method="POST", once=True))
    told = page.data.get("id") if isinstance(page.data, dict) else None
    return str(told or mark)


def _note(name: str, endpoint: Endpoint, headers: Mapping[str, str], incident: str, payload: Payload, mark: str) -> str:
    body = {"note": {"content": f"{payload['text']}\n\n{mark}"}}
    with Web(name, endpoint, headers=headers, timeout=TIMEOUT) as web:
        page = web.ask(Request(f"/incidents/{segment(incident)}/notes", body=body, method="POST", once=True))
    return _told(name, page.data, "note", "id")


def _find_note(name: str, endpoint: Endpoint, headers: Mapping[str, str], incident: str, mark: str) -> str | None:
    with Web(name, endpoint, headers=headers, timeout=TIMEOUT) as web:
        notes = records(web.ask(Request(f"/incidents/{segment(incident)}/notes")), "notes", source=name)
    return next((str(note["id"]) for note in notes if mark in str(note.get("content"))), None)


def _comment(name: str, endpoint: Endpoint, incident: str, payload: Payload, mark: str) -> str:
    lines = [line for line in (*str(payload["text"]).split("\n"), mark) if line]
    content = [{"type": "paragraph", "content": [{"type": "text", "text": line}]} for line in lines]
    body = {"body": {"type": "doc", "version": 1, "content": content}}
    with signed_in(name, endpoint, timeout=TIMEOUT) as web:
        page = web.ask(Request(f"/rest/api/3/issue/{segment(incident)}/comment", body=body, method="POST", once=True))
    return _told(name, page.data, "id")


def _find_comment(name: str, endpoint: Endpoint, incident: str, mark: str) -> str | None:
    with signed_in(name, endpoint, timeout=TIMEOUT) as web:
        for number in range(MOST_PAGES):
            asked: dict[str, str | int | float | list[str]] = {"startAt": number * PAGE, "maxResults": PAGE, "orderBy": "-created"}
            found = records(
                web.ask(Request(f"/rest/api/3/issue/{segment(incident)}/comment", asked), number=number + 1), "comments", source=name
            )
            for comment in found:
                if mark in json.dumps(comment.get("body")):
                    return str(comment["id"])
            if len(found) < PAGE:
                return None
    raise SourceUnavailable(f"{name}: {incident} has more than {PAGE * MOST_PAGES} comments; whether ours is among them is not known")


def _post(name: str, endpoint: Endpoint, headers: Mapping[str, str], room: str, payload: Payload, mark: str) -> str:
    text = str(payload["text"]).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    body = {"channel": room, "text": f"{text}\n_{mark}_", "unfurl_links": False}
    with Web(name, endpoint, headers=headers, timeout=TIMEOUT) as web:
        page = web.ask(Request("/chat.postMessage", body=body, method="POST", once=True))
    said = page.data if isinstance(page.data, dict) else {}
    if said.get("ok") is True:
        return f"{said.get('channel')}/{said.get('ts')}"
    error = str(said.get("error") or "")
    if error in UNKNOWN:
        raise SourceUnavailable(f"{name}: Slack answered {error or 'without saying whether it posted'}")
    if error in ("ratelimited", "rate_limited", "service_unavailable"):
        raise NotSent(f"{name}: Slack answered {error}; the next run tries again")
    raise SourceRejected(f"{name}: Slack posted nothing to {room}: {error}; check the channel and the rights of the app")


def _find_post(name: str, endpoint: Endpoint, headers: Mapping[str, str], room: str, mark: str) -> str | None:
    """Look through the newest messages of the room."""
    cursor = ""
    with Web(name, endpoint, headers=headers, timeout=TIMEOUT) as web:
        for number in range(MOST_PAGES):
            asked: dict[str, str | int | float] = {"channel": room, "limit": PAGE, **({"cursor": cursor} if cursor else {})}
            page = web.ask(Request("/conversations.history", asked), number=number + 1)
            if not isinstance(page.data, dict) or page.data.get("ok") is not True:
                error = page.data.get("error") if isinstance(page.data, dict) else None
                raise SourceUnavailable(f"{name}: Slack does not show the messages of {room} ({error}); the app needs `channels:history`")
            for message in records(page, "messages", source=name):
                if mark in str(message.get("text")):
                    return f"{room}/{message.get('ts')}"
            cursor = str((page.data.get("response_metadata") or {}).get("next_cursor") or "")
            if not cursor:
                return None
    return None  # it was sent lately or not at all; so many messages later it is not looked for


def _told(name: str, data: Any, *keys: str) -> str:
    """What the other side calls what it made. An answer that does not say is no refusal."""
    found = data
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    if not found:
        raise SourceUnavailable(f"{name}: the answer does not name what was made; whether it was done is not known yet")
    return str(found)
