"""Tickets in a project of Jira Cloud. The mark is a label, which JQL finds; a comment carries it in its last line.

A search of Jira Cloud does not know an issue at once, so a search that finds nothing is believed after some minutes only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from aftercast import tickets
from aftercast.acting.trackers import Payload
from aftercast.connections import Endpoint, resolve
from aftercast.declarations import TrackerRow
from aftercast.errors import ConfigError, SourceRejected, SourceUnavailable
from aftercast.sources.quoting import segment
from aftercast.sources.web import Page, Request, Web, records, signed_in

API = "/rest/api/3"
PAGE = 100
DONE = "done"


@dataclass(frozen=True, slots=True)
class Jira:
    """A project, and how its site is asked."""

    row: TrackerRow
    endpoint: Endpoint
    timeout: float = 30.0
    settle: timedelta = timedelta(minutes=5)

    @property
    def name(self) -> str:
        return f"tracker {self.row.name}"

    def create(self, payload: Payload, mark: str) -> str:
        fields: dict[str, Any] = {
            "project": {"key": self.row.project},
            "issuetype": {"name": self.row.issue_type},
            "summary": payload["title"],
            "description": document([*tickets.story(payload)], tickets.block(payload, mark)),
            "labels": [self.row.label, mark],
        }
        if payload.get("due"):
            fields["duedate"] = payload["due"]
        return self._told(self._once("POST", "/issue", {"fields": fields}), "key")

    def find(self, mark: str, since: datetime) -> str | None:
        asked = {
            "jql": f'project = "{self.row.project}" AND labels = "{mark}" ORDER BY created ASC',
            "maxResults": 1,
            "fields": ["summary"],
        }
        with self._web() as web:
            found = records(web.ask(Request(f"{API}/search/jql", body=asked, method="POST")), "issues", source=self.name)
        return str(found[0]["key"]) if found else None

    def update(self, payload: Payload, mark: str) -> str:
        ticket = str(payload["ticket"])
        with self._web() as web:
            there = web.ask(Request(f"{API}/issue/{segment(ticket)}", {"fields": "description"})).data["fields"]
        fields = {
            "summary": payload["title"],
            "duedate": payload.get("due"),
            "description": with_block(there.get("description"), tickets.block(payload, mark)),
        }
        self._once("PUT", f"/issue/{segment(ticket)}", {"fields": fields})
        return ticket

    def comment(self, payload: Payload, mark: str) -> str:
        ticket = str(payload["ticket"])
        told = {"body": document([str(payload["text"]), mark], None)}
        return f"{ticket}/{self._told(self._once('POST', f'/issue/{segment(ticket)}/comment', told), 'id')}"

    def find_comment(self, payload: Payload, mark: str) -> str | None:
        ticket = str(payload["ticket"])

        def following(page: Page) -> Request | None:
            reached = int(page.request.params["startAt"]) + len(page.data["comments"])  # type: ignore[arg-type]
            return page.request.with_params(startAt=reached) if page.data["comments"] and reached < page.data["total"] else None

        first = Request(f"{API}/issue/{segment(ticket)}/comment", {"startAt": 0, "maxResults": PAGE, "orderBy": "created"})
        with self._web() as web:
            for page in web.walk(first, following):
                for one in records(page, "comments", source=self.name):
                    if any(mark in text for text in _texts(one.get("body"))):
                        return f"{ticket}/{one['id']}"
        return None

    def reopen(self, payload: Payload, mark: str) -> str:
        ticket = str(payload["ticket"])
        with self._web() as web:
            status = web.ask(Request(f"{API}/issue/{segment(ticket)}", {"fields": "status"})).data["fields"]["status"]
            if status["statusCategory"]["key"] == DONE:
                ways = records(web.ask(Request(f"{API}/issue/{segment(ticket)}/transitions")), "transitions", source=self.name)
                self._once("POST", f"/issue/{segment(ticket)}/transitions", {"transition": {"id": self._way_back(ways, ticket)["id"]}})
        return self.comment(payload, mark)

    def _way_back(self, ways: list[dict[str, Any]], ticket: str) -> dict[str, Any]:
        wanted, names = self.row.reopen_to, [str(way["to"]["name"]) for way in ways]
        for way in ways:
            if way["to"]["name"] == wanted or (wanted is None and way["to"]["statusCategory"]["key"] != DONE):
                return way
        raise SourceRejected(
            f"{self.name}: {ticket} cannot be reopened: its workflow leads to {', '.join(names) or 'no status'}; give the name of one "
            "that is not done as `reopen_to` in actions.yml, or add such a transition"
        )

    def _web(self) -> Web:
        return signed_in(self.name, self.endpoint, timeout=self.timeout)

    def _once(self, method: str, path: str, body: Mapping[str, Any]) -> Page:
        with self._web() as web:
            return web.ask(Request(f"{API}{path}", body=body, method=method, once=True))

    def _told(self, page: Page, name: str) -> str:
        """What Jira calls what it made. An answer that does not say is no refusal: the thing may be there."""
        if not isinstance(page.data, dict) or not page.data.get(name):
            raise SourceUnavailable(
                f"{self.name}: {page.origin} answered {page.status} without {name!r}; whether it was done is not known yet"
            )
        return str(page.data[name])


def document(paragraphs: list[str], code: str | None) -> dict[str, Any]:
    """Return a text in Atlassian's document format: paragraphs, and a block of lines."""
    content: list[dict[str, Any]] = [
        {"type": "paragraph", "content": [{"type": "text", "text": line}]} for text in paragraphs for line in text.split("\n") if line
    ]
    if code:
        content.append({"type": "codeBlock", "content": [{"type": "text", "text": code}]})
    return {"type": "doc", "version": 1, "content": content}


def with_block(there: Any, new: str) -> dict[str, Any]:
    """Return a document with the block of the item replaced, or added at its end; every other node stays as it is."""
    if not isinstance(there, dict) or not isinstance(there.get("content"), list):
        return document([], new)
    own = [number for number, node in enumerate(there["content"]) if tickets.read_block("\n".join(_texts(node)))]
    if not own:
        return {**there, "content": [*there["content"], *document([], new)["content"]]}
    old = "\n".join(_texts(there["content"][own[0]]))
    kept = [*there["content"]]
    kept[own[0]] = document([], tickets.with_block(old, new))["content"][0]
    return {**there, "content": kept}


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get("text"), str):
            yield node["text"]
        for below in node.get("content") or []:
            yield from _texts(below)


def open_jira(row: TrackerRow) -> Jira:
    """Return the project of a row; see `open_tracker`."""
    endpoint = resolve(f"tracker {row.name}", row.connection)
    endpoint.secret()
    if not endpoint.base_url:
        raise ConfigError(f"tracker {row.name!r}: connection {row.connection!r} names no host; give the site's, e.g. acme.atlassian.net")
    return Jira(row, endpoint)
