"""Tickets as issues of a repository on GitHub. The mark is a line of the body, or of a comment, hidden from readers.

Issues are listed and not searched: GitHub's search lags behind by minutes, and a label is silently dropped for those who
may not set it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from aftercast import tickets
from aftercast.acting.trackers import Payload
from aftercast.connections import Endpoint, github
from aftercast.declarations import TrackerRow
from aftercast.errors import SourceRejected, SourceUnavailable
from aftercast.sources.places import linked
from aftercast.sources.quoting import folders, segment
from aftercast.sources.web import Page, Parameters, Request, Web, records

PAGE = 100
_MARKUP = re.compile(r"[\\`<\[\]]")
EARLY = timedelta(days=1)  # clocks differ; an issue made by an attempt is not older than this before it


@dataclass(frozen=True, slots=True)
class GitHub:
    """A repository, and how GitHub is asked."""

    row: TrackerRow
    endpoint: Endpoint
    headers: Mapping[str, str]
    timeout: float = 30.0
    settle: timedelta = timedelta(minutes=1)

    @property
    def name(self) -> str:
        return f"tracker {self.row.name}"

    @property
    def issues(self) -> str:
        return f"/repos/{folders(str(self.row.repository))}/issues"

    def create(self, payload: Payload, mark: str) -> str:
        body = "\n\n".join([*map(literal, tickets.story(payload)), f"```text\n{tickets.block(payload, mark)}\n```"])
        page = self._once("POST", self.issues, {"title": payload["title"], "body": body, "labels": [self.row.label]})
        return f"{self.row.repository}#{self._told(page, 'number')}"

    def find(self, mark: str, since: datetime) -> str | None:
        early = f"{since - EARLY:%Y-%m-%dT%H:%M:%SZ}"
        asked: Parameters = {"state": "all", "sort": "created", "direction": "asc", "since": early, "per_page": PAGE}
        with self._web() as web:
            for page in web.walk(Request(self.issues, asked), linked):
                for one in records(page, source=self.name):
                    if mark in (one.get("body") or "") and "pull_request" not in one:
                        return f"{self.row.repository}#{one['number']}"
        return None

    def update(self, payload: Payload, mark: str) -> str:
        path = self._path(payload)
        with self._web() as web:
            there = web.ask(Request(path)).data
        self._once("PATCH", path, {"title": payload["title"], "body": tickets.with_block(there.get("body"), tickets.block(payload, mark))})
        return str(payload["ticket"])

    def comment(self, payload: Payload, mark: str) -> str:
        page = self._once("POST", f"{self._path(payload)}/comments", {"body": f"{literal(str(payload['text']))}\n\n<!-- {mark} -->"})
        return f"{payload['ticket']}/{self._told(page, 'id')}"

    def find_comment(self, payload: Payload, mark: str) -> str | None:
        with self._web() as web:
            for page in web.walk(Request(f"{self._path(payload)}/comments", {"per_page": PAGE}), linked):
                for one in records(page, source=self.name):
                    if mark in (one.get("body") or ""):
                        return f"{payload['ticket']}/{one['id']}"
        return None

    def reopen(self, payload: Payload, mark: str) -> str:
        self._once("PATCH", self._path(payload), {"state": "open", "state_reason": "reopened"})
        return self.comment(payload, mark)

    def _path(self, payload: Payload) -> str:
        repository, _, number = str(payload["ticket"]).partition("#")
        if repository != self.row.repository or not number.isdigit():
            raise SourceRejected(f"{self.name}: {payload['ticket']!r} is no issue of {self.row.repository}")
        return f"{self.issues}/{segment(number)}"

    def _web(self) -> Web:
        return Web(self.name, self.endpoint, headers=self.headers, timeout=self.timeout)

    def _once(self, method: str, path: str, body: Mapping[str, Any]) -> Page:
        with self._web() as web:
            return web.ask(Request(path, body=body, method=method, once=True))

    def _told(self, page: Page, name: str) -> str:
        """What GitHub calls what it made. An answer that does not say is no refusal: the thing may be there."""
        if not isinstance(page.data, dict) or not page.data.get(name):
            raise SourceUnavailable(
                f"{self.name}: {page.origin} answered {page.status} without {name!r}; whether it was done is not known yet"
            )
        return str(page.data[name])


def literal(text: str) -> str:
    """Return words as Markdown that shows them: they call nobody (`@name`), hide nothing, load no picture and name no other address."""
    return _MARKUP.sub(r"\\\g<0>", text).replace("@", "@<!-- -->")


def open_github(row: TrackerRow) -> GitHub:
    """Return the repository of a row; see `open_tracker`."""
    endpoint, headers = github(f"tracker {row.name}", row.connection)
    return GitHub(row, endpoint, headers)
