"""The `pagerduty` kind: incidents with their log entries, and change events.

PagerDuty filters incidents by when they were created only. So it is asked for those created in the window, those that are open, whenever
they began, and those that the account's log mentions in the window. Who acknowledged first is known by the log entries alone: the
incident itself forgets when it is resolved. An incident merged into another lands as cancelled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from aftercast.connections import Endpoint, pagerduty
from aftercast.declarations import SourceRow
from aftercast.errors import SourceRejected
from aftercast.settings import Settings, check_options, raw_folder
from aftercast.sources import Batch
from aftercast.sources.lifecycle import Record, at, batch, is_due, iso, nothing, text_at
from aftercast.sources.pagerduty_incidents.rows import Options, change_rows, event_row, incident_row
from aftercast.sources.quoting import segment
from aftercast.sources.web import Page, Request, Web, records
from aftercast.window import Window

PAGE = 100
MOST = 10_000  # offset and limit of a list may not add up to more
LONGEST = timedelta(days=180)  # of since and until; longer is refused


@dataclass(frozen=True, slots=True)
class PagerDuty:
    """An account, and what of it lands."""

    row: SourceRow
    settings: Settings
    endpoint: Endpoint
    headers: Mapping[str, str]
    options: Options

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield the incidents of a page and their events, then the change events of the window."""
        keep = raw_folder(self.settings, self.row, window)
        with Web(self.row.name, self.endpoint, headers=self.headers, keep=keep) as web:
            yield from nothing(f"GET {self.endpoint.base_url}/incidents", "incidents", "incident_events")
            seen: set[str | None] = set()
            for page in self._listed(web, window):
                found = [one for one in records(page, "incidents", source=self.row.name) if text_at(one, "id") not in seen]
                due = [one for one in found if is_due(window, created=text_at(one, "created_at"))]
                yield from self._landed(web, due, page.origin)
                seen.update(text_at(one, "id") for one in due)
            for page in self._between(web, self._request("/log_entries", "team_ids[]", time_zone="UTC"), window.start, window.end):
                entries = records(page, "log_entries", source=self.row.name)
                ids = dict.fromkeys(one for one in (text_at(entry, "incident", "id") for entry in entries) if one and one not in seen)
                yield from self._landed(web, [one for one in (self._incident(web, id_) for id_ in ids) if one is not None], page.origin)
                seen.update(ids)
            if self.options.changes:
                yield from nothing(f"GET {self.endpoint.base_url}/change_events", "changes")
                for page in self._between(web, self._request("/change_events", "team_ids[]"), window.start, window.end):
                    rows = [row for one in records(page, "change_events", source=self.row.name) for row in change_rows(one, self.options)]
                    yield batch("changes", rows, page.origin)

    def _request(self, path: str, *narrowed: str, **params: Any) -> Request:
        """A list, narrowed to the services or teams that are wanted where it can be."""
        wanted = {"service_ids[]": list(self.options.services), "team_ids[]": list(self.options.teams)}
        return Request(path, {"limit": PAGE, **params, **{name: wanted[name] for name in narrowed if wanted[name]}})

    def _listed(self, web: Web, window: Window) -> Iterator[Page]:
        """Incidents created in the window, then all that are open."""
        request = self._request("/incidents", "service_ids[]", "team_ids[]", time_zone="UTC", sort_by="created_at:asc")
        yield from self._between(web, request, window.start, window.end)
        still = replace(request, params={**request.params, "date_range": "all", "statuses[]": ["triggered", "acknowledged"]})
        yield from web.walk(still, self._following)

    def _following(self, page: Page) -> Request | None:
        if not at(page.data, "more"):
            return None
        key = page.request.path.rsplit("/", 1)[-1]
        offset = int(str(page.request.params.get("offset", 0))) + len(records(page, key, source=self.row.name))
        if offset + PAGE > MOST:
            raise SourceRejected(
                f"source {self.row.name!r}: {page.origin}: more than {MOST:,} {key}, which PagerDuty does not list in one go; "
                "narrow the source by `services` or `teams`"
            )
        return page.request.with_params(offset=offset)

    def _between(self, web: Web, request: Request, start: datetime, end: datetime) -> Iterator[Page]:
        """The pages of a list between two instants: in parts that are not too long, halved while they hold more than can be listed."""
        if end - start > LONGEST:
            yield from self._between(web, request, start, start + LONGEST)
            yield from self._between(web, request, start + LONGEST, end)
            return
        pages = web.walk(request.with_params(since=iso(start), until=iso(end), total="true"), self._following)
        first = next(pages)
        total = at(first.data, "total")
        if isinstance(total, int) and total > MOST and end - start > timedelta(seconds=2):
            middle = (start + (end - start) / 2).replace(microsecond=0)
            yield from self._between(web, request, start, middle)
            yield from self._between(web, request, middle, end)
            return
        yield first
        yield from pages

    def _incident(self, web: Web, id_: str) -> Record | None:
        """An incident by id; None when it is gone, or of a service that is not wanted."""
        record: Record | None = at(web.ask(Request(f"/incidents/{segment(id_)}", accepted=(404,))).data, "incident")
        return record if not self.options.services or at(record, "service", "id") in self.options.services else None

    def _landed(self, web: Web, found: Sequence[Record], origin: str) -> Iterator[Batch]:
        incidents, events = [], []
        for record in found:
            log = self._request(f"/incidents/{segment(text_at(record, 'id') or '')}/log_entries", time_zone="UTC")
            entries = [one for page in web.walk(log, self._following) for one in records(page, "log_entries", source=self.row.name)]
            story = [event_row(record, one) for one in entries if text_at(one, "type") != "notify_log_entry"]
            incidents.append(incident_row(record, entries, story, self.options))
            events += story
        if incidents:
            yield batch("incidents", incidents, origin)
            yield batch("incident_events", events, origin)


def open(row: SourceRow, settings: Settings) -> PagerDuty:
    """Return the account a row of sources.yml declares.

    Raises:
        ConfigError: an option or the connection does not fit.
    """
    options = check_options(row, Options)
    endpoint, headers = pagerduty(row.name, row.connection)
    return PagerDuty(row, settings, endpoint, headers, options)
