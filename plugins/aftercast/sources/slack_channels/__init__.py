"""The `slack` kind: what was said about incidents, from the history of channels or from an export of a workspace.

Slack tells messages by when they were written, not by when they were edited, marked or replied to. So a window's history is read from
`reread_days` before it on; of what is older than the window, what was edited since and what is marked lands again. What was deleted goes
when a wider window is extracted, for Slack no longer tells of it. A channel that cannot be read is unknown, not empty: it is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from aftercast.connections import Endpoint, slack
from aftercast.declarations import SourceRow
from aftercast.errors import SourceRejected, SourceUnavailable
from aftercast.privacy import token, token_key
from aftercast.settings import Settings, check_options, raw_folder
from aftercast.sources import Batch, Source
from aftercast.sources.lifecycle import Record, at, batch, nothing, text_at
from aftercast.sources.slack_channels.exported import Export
from aftercast.sources.slack_channels.rows import Channel, Options, Speech, is_marked, rows_of, seconds
from aftercast.sources.web import Page, Request, Web, records
from aftercast.window import Window

PAGE = 200
ID = re.compile(r"[CDG][A-Z0-9]{5,}")
PASSING = {"internal_error", "fatal_error", "service_unavailable", "request_timeout", "ratelimited", "rate_limited"}
ADVICE = {
    "not_in_channel": "invite the app to the channel (/invite), or leave the channel out with `skip`",
    "channel_not_found": "the app may not see it; invite it, correct `channels`, or leave it out with `skip`",
    "missing_scope": "the token lacks a scope; channels:read, channels:history, groups:read and groups:history are needed",
}


@dataclass(frozen=True, slots=True)
class Slack:
    """A workspace, and which of its channels are about which incident."""

    row: SourceRow
    settings: Settings
    endpoint: Endpoint
    headers: Mapping[str, str]
    options: Options

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield a page of a channel's history at a time, each followed by the replies to its messages."""
        keep, pace = raw_folder(self.settings, self.row, window), self.options.seconds_between_requests
        key = token_key(self.settings.home)
        yield from nothing(f"GET {self.endpoint.base_url}/conversations.history", "incident_events", "insights")
        with Web(self.row.name, self.endpoint, headers=self.headers, keep=keep, pace=pace) as web:
            names, channels, notes = self._channels(web, window)
            speech = Speech(self.options, lambda id_: token(id_, key), names)
            if notes:
                yield batch("incident_events", [], "GET conversations.list", notes=notes)
            for channel in channels:
                try:
                    yield from self._heard(web, channel, speech, window)
                except _Unreadable as error:
                    if not self.options.skip_unreadable:
                        raise SourceRejected(str(error)) from error
                    yield batch("incident_events", [], error.origin, notes={f"channel {channel.id_} could not be read: {error.code}": 1})

    def _channels(self, web: Web, window: Window) -> tuple[dict[str, str], list[Channel], Counter[str]]:
        """Names of channels by id, those about an incident in order of id, and how many were left out."""
        names: dict[str, str] = {}
        wanted: dict[str, Channel] = {}
        notes: Counter[str] = Counter()
        for id_, incident in self.options.channels.items():
            if ID.fullmatch(id_) and id_ not in self.options.skip:
                wanted[id_] = Channel(id_, id_, incident)
        if self.options.pattern is None and len(wanted) == len(self.options.channels):
            return names, list(wanted.values()), notes
        types = "public_channel,private_channel" if self.options.private else "public_channel"
        horizon = (window.start - timedelta(days=self.options.channel_days)).timestamp()
        for page in self._pages(web, Request("conversations.list", {"types": types, "limit": PAGE})):
            for one in records(page, "channels", source=self.row.name):
                id_, name = text_at(one, "id") or "", text_at(one, "name") or ""
                names[id_] = name
                about = self.options.incident_of(id_, name)
                born = seconds(at(one, "created")) or horizon
                if about is None or born >= window.end.timestamp():
                    continue
                if born < horizon and not {id_, name} & set(self.options.channels):
                    notes[f"channel begun more than {self.options.channel_days} days before the window left out"] += 1
                    continue
                wanted[id_] = Channel(id_, name, about)
        lost = [one for one in self.options.channels if one not in {*wanted, *names.values(), *self.options.skip}]
        if lost:
            raise SourceRejected(
                f"source {self.row.name!r}: conversations.list shows no channel {', '.join(map(repr, lost))}; "
                "the app may not see it: invite it, or correct `channels`"
            )
        return names, [wanted[id_] for id_ in sorted(wanted)], notes

    def _heard(self, web: Web, channel: Channel, speech: Speech, window: Window) -> Iterator[Batch]:
        since = (window.start - timedelta(days=self.options.reread_days)).timestamp()
        span: dict[str, str | int] = {
            "oldest": f"{since:.6f}",
            "latest": f"{window.end.timestamp():.6f}",
            "inclusive": "true",
            "limit": PAGE,
        }
        for page in self._pages(web, Request("conversations.history", {"channel": channel.id_, **span}), channel):
            messages = records(page, "messages", source=self.row.name)
            yield from self._batches(messages, channel, speech, window, page)
            for parent in messages:
                ts = text_at(parent, "thread_ts")
                if not ts or ts != text_at(parent, "ts"):
                    continue
                thread = Request("conversations.replies", {"channel": channel.id_, "ts": ts, **span})
                for more in self._pages(web, thread, channel, gone=True):
                    replies = [one for one in records(more, "messages", source=self.row.name) if text_at(one, "ts") != ts]
                    yield from self._batches(replies, channel, speech, window, more)

    def _batches(self, found: list[dict[str, Any]], channel: Channel, speech: Speech, window: Window, page: Page) -> Iterator[Batch]:
        heard = rows_of((one for one in found if self._is_due(one, window)), channel, speech)
        origin = f"{page.origin} of channel {channel.id_}"
        notes = heard.notes + Counter({"older messages hidden by the workspace's plan": 1} if at(page.data, "is_limited") else {})
        yield batch("incident_events", heard.events, origin, notes=notes)
        yield batch("insights", heard.insights, origin)

    def _is_due(self, message: Record, window: Window) -> bool:
        """Whether a message was written in the window, or before and is edited since or marked, of which no time is known."""
        ts, edited = seconds(at(message, "ts")), seconds(at(message, "edited", "ts"))
        if ts is None:
            return True  # landing says what is wrong
        start, end = window.start.timestamp(), window.end.timestamp()
        return ts < end and (ts >= start or (edited or 0) >= start or is_marked(message, self.options))

    def _pages(self, web: Web, first: Request, channel: Channel | None = None, *, gone: bool = False) -> Iterator[Page]:
        """Pages by cursor; what Slack refuses is named. A thread may be gone by now."""

        def following(page: Page) -> Request | None:
            cursor = text_at(page.data, "response_metadata", "next_cursor")
            return page.request.with_params(cursor=cursor) if cursor else None

        for page in web.walk(first, following):
            if at(page.data, "ok") is True:
                yield page
            elif not (gone and text_at(page.data, "error") == "thread_not_found"):
                self._refuse(page, channel)

    def _refuse(self, page: Page, channel: Channel | None) -> None:
        code = text_at(page.data, "error") or "no reason given"
        needed = text_at(page.data, "needed")
        place = f" of channel {channel.id_} (#{channel.name})" if channel else ""
        said = f"source {self.row.name!r}: {page.origin}{place}: Slack answered {code!r}{f' (needs {needed})' if needed else ''}"
        if code in PASSING:
            raise SourceUnavailable(f"{said}; the next run asks again")
        if channel and code in ("not_in_channel", "channel_not_found"):
            raise _Unreadable(f"{said}; {ADVICE[code]}", code, page.origin)
        raise SourceRejected(f"{said}; {ADVICE.get(code, f'check the token of connection {self.endpoint.connection!r}')}")


class _Unreadable(Exception):
    """A channel the app may not read."""

    def __init__(self, said: str, code: str, origin: str) -> None:
        super().__init__(said)
        self.code, self.origin = code, origin


def open(row: SourceRow, settings: Settings) -> Source:
    """Return the workspace, or the export of one, that a row of sources.yml declares.

    Raises:
        ConfigError: an option or the connection does not fit.
    """
    options = check_options(row, Options)
    if options.export:
        return Export(row.name, settings.home / Path(options.export).expanduser(), token_key(settings.home), options)
    endpoint, headers = slack(row.name, row.connection)
    return Slack(row, settings, endpoint, headers, options)
