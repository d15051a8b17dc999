"""The `jira` kind: issues as incidents or as action items, from Jira Cloud or Data Center.

JQL knows minutes only, in the zone of the user who asks. So the user is asked for, which also proves that there is one: a search with a
wrong token can be answered as nobody's, empty. The question begins an hour early, and what was updated before the window is left out here.
A page of Cloud can be short, or empty, without being the last; only the absence of a next page's token says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from aftercast.connections import Endpoint, resolve
from aftercast.declarations import SourceRow
from aftercast.errors import ConfigError, SourceRejected
from aftercast.settings import Settings, check_options, raw_folder
from aftercast.sources import Batch
from aftercast.sources.jira_issues.rows import Options, action_item_row, event_rows, incident_row
from aftercast.sources.lifecycle import Record, at, batch, is_due, items_at, nothing, text_at
from aftercast.sources.web import Page, Request, Web, records, signed_in
from aftercast.window import Window

PAGE = 100
HISTORIES = 1_000  # of a page of changes
EARLY, ANY_ZONE = timedelta(hours=1), timedelta(hours=13)  # clocks set back; the zone that is furthest behind, and an hour


@dataclass(frozen=True, slots=True)
class Jira:
    """A site, and which of its issues land as what."""

    row: SourceRow
    settings: Settings
    endpoint: Endpoint
    options: Options

    @property
    def api(self) -> str:
        return "/rest/api/3" if self.options.edition == "cloud" else "/rest/api/2"

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield the issues of a page as incidents with their changes of status, or as action items."""
        entities = ("incidents", "incident_events") if self.options.as_ == "incidents" else ("action_items",)
        yield from nothing(f"issues of {self.endpoint.base_url}", *entities)
        with signed_in(self.row.name, self.endpoint, keep=raw_folder(self.settings, self.row, window)) as web:
            jql = f'({self.options.jql}) AND updated >= "{self._since(web, window)}" ORDER BY created ASC, key ASC'
            for page in web.walk(self._search(jql), self._following):
                if page.status == 410:
                    raise SourceRejected(
                        f"source {self.row.name!r}: {page.origin} answered 410: this way to search was removed from Jira Cloud; "
                        "the site is not Data Center: remove `edition` from the options"
                    )
                found = records(page, "issues", source=self.row.name)
                times = ([text_at(one, "fields", name) for name in ("created", "updated")] for one in found)
                due = [
                    one for one, (created, updated) in zip(found, times, strict=True) if is_due(window, created=created, updated=[updated])
                ]
                if due:
                    yield from self._batches(web, due, page.origin)

    def _since(self, web: Web, window: Window) -> str:
        """The window's start as JQL takes it: to the minute, in the zone of the user, early enough for every clock."""
        user = web.ask(Request(f"{self.api}/myself")).data
        try:
            zone, early = ZoneInfo(text_at(user, "timeZone") or ""), EARLY
        except (ValueError, ZoneInfoNotFoundError):
            zone, early = ZoneInfo("UTC"), ANY_ZONE
        return f"{(window.start - early).astimezone(zone):%Y-%m-%d %H:%M}"

    def _search(self, jql: str) -> Request:
        asked: dict[str, Any] = {"jql": jql, "maxResults": PAGE, "fields": self.options.asked}
        if self.options.edition == "cloud":
            return Request(f"{self.api}/search/jql", body=asked, method="POST")
        expand = {"expand": ["changelog"]} if self.options.as_ == "incidents" else {}
        return Request(f"{self.api}/search", body={**asked, "startAt": 0, **expand}, method="POST", accepted=(410,))

    def _following(self, page: Page) -> Request | None:
        if self.options.edition == "cloud":
            after = text_at(page.data, "nextPageToken")
            return None if after is None else replace(page.request, body={**page.request.body, "nextPageToken": after})
        total = at(page.data, "total")
        reached = page.request.body["startAt"] + len(items_at(page.data, "issues"))
        has_more = isinstance(total, int) and page.request.body["startAt"] < reached < total
        return replace(page.request, body={**page.request.body, "startAt": reached}) if has_more else None

    def _batches(self, web: Web, found: Sequence[Record], origin: str) -> Iterator[Batch]:
        site = (self.options.site or self.endpoint.base_url).rstrip("/")
        urls = [f"{site}/browse/{text_at(one, 'key')}" for one in found]
        if self.options.as_ == "action_items":
            rows = [action_item_row(one, self.options, url) for one, url in zip(found, urls, strict=True)]
            yield batch("action_items", rows, origin)
            return
        histories = self._histories(web, found)
        stories = [event_rows(one, histories.get(text_at(one, "id"), [])) for one in found]
        incidents = [incident_row(one, story, self.options, url) for one, story, url in zip(found, stories, urls, strict=True)]
        yield batch("incidents", incidents, origin)
        yield batch("incident_events", [event for story in stories for event in story], origin)

    def _histories(self, web: Web, found: Sequence[Record]) -> dict[str | None, list[Record]]:
        """Changes of status by issue: Cloud tells all in bulk, where an expanded search tells forty an issue."""
        if self.options.edition != "cloud":
            return {text_at(one, "id"): items_at(one, "changelog", "histories") for one in found}
        asked = {"issueIdsOrKeys": [text_at(one, "id") for one in found], "fieldIds": ["status"], "maxResults": HISTORIES}
        histories: dict[str | None, list[Record]] = {}
        for page in web.walk(Request(f"{self.api}/changelog/bulkfetch", body=asked, method="POST"), self._following):
            for one in records(page, "issueChangeLogs", source=self.row.name):
                histories.setdefault(text_at(one, "issueId"), []).extend(items_at(one, "changeHistories"))
        return histories


def open(row: SourceRow, settings: Settings) -> Jira:
    """Return the site a row of sources.yml declares.

    Raises:
        ConfigError: an option or the connection does not fit.
    """
    options = check_options(row, Options)
    endpoint = resolve(row.name, row.connection)
    endpoint.secret()
    if not endpoint.base_url:
        raise ConfigError(
            f"source {row.name!r}: connection {endpoint.connection!r} names no host; give that of the site, e.g. acme.atlassian.net"
        )
    return Jira(row, settings, endpoint, options)
