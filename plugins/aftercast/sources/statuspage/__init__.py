"""The `statuspage` kind: what a Statuspage tells the public, by its API with a key, or by the public feed of a page without one.

A page can be one's own or a provider's. There is no cursor: recent pages are read again as far back as `reread_days`, because incidents are
edited and written afterwards. A status page says when something was communicated, not when it began. Scheduled maintenance is told apart
from incidents, whatever its impact, and an impact of `none` is an incident of the lowest severity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from aftercast.connections import Endpoint, resolve
from aftercast.declarations import SourceRow
from aftercast.errors import ConfigError, SourceRejected
from aftercast.settings import Settings, check_options, raw_folder
from aftercast.sources import Batch
from aftercast.sources.lifecycle import batch, hosted, is_due, items_at, moment, nothing, text_at
from aftercast.sources.quoting import segment
from aftercast.sources.statuspage.rows import Options, change_rows, event_row, incident_row, is_maintenance
from aftercast.sources.web import Page, Request, Web, records
from aftercast.window import Window

URL = "https://api.statuspage.io"
PAGE = 100
PUBLIC = 50  # incidents a public feed shows


@dataclass(frozen=True, slots=True)
class StatusPage:
    """A page, and what of it lands."""

    row: SourceRow
    settings: Settings
    endpoint: Endpoint
    options: Options

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield the incidents of a page of the list with their updates, and maintenance as the options say."""
        headers = {"Authorization": f"OAuth {self.endpoint.secret()}"} if self.options.page else {}
        keep, pace = raw_folder(self.settings, self.row, window), self.options.seconds_between_requests
        as_changes = ("changes",) if self.options.maintenance == "changes" else ()
        yield from nothing(f"GET {self.endpoint.base_url}", "incidents", "incident_events", *as_changes)
        with Web(self.row.name, self.endpoint, headers=headers, keep=keep, pace=pace) as web:
            for page in self._own(web, window) if self.options.page else self._public(web, window):
                yield from self._batches(self._found(page), page.origin, window)

    def _found(self, page: Page) -> list[dict[str, Any]]:
        key = next((name for name in ("incidents", "scheduled_maintenances") if name in page.data), "incidents")
        return records(page, *([] if self.options.page else [key]), source=self.row.name)

    def _own(self, web: Web, window: Window) -> Iterator[Page]:
        """Pages by number, newest first, until one holds nothing created within the days to read again."""
        horizon = window.start - timedelta(days=self.options.reread_days)

        def following(page: Page) -> Request | None:
            found = self._found(page)
            born = [instant for one in found if (instant := moment(text_at(one, "created_at")))]
            ended = len(found) < PAGE or (born and max(born) < horizon)
            return None if ended else page.request.with_params(page=page.number + 1)

        return web.walk(Request(f"/v1/pages/{segment(self.options.page)}/incidents", {"page": 1, "limit": PAGE}), following)

    def _public(self, web: Web, window: Window) -> Iterator[Page]:
        """The two public feeds. What a feed no longer shows is unknown, not gone: a window that begins before it is refused."""
        for path in ("/api/v2/incidents.json", "/api/v2/scheduled-maintenances.json"):
            page = web.ask(Request(path))
            born = [instant for one in self._found(page) if (instant := moment(text_at(one, "created_at")))]
            if len(born) >= PUBLIC and min(born) > window.start:
                raise SourceRejected(
                    f"source {self.row.name!r}: {page.origin} shows the last {PUBLIC} only, back to {min(born):%Y-%m-%d %H:%M} UTC; "
                    f"the window begins at {window.start:%Y-%m-%d %H:%M} UTC; extract a later window, or use a key and the page's id"
                )
            yield page

    def _batches(self, found: list[dict[str, Any]], origin: str, window: Window) -> Iterator[Batch]:
        incidents: list[dict[str, Any]] = []
        events: list[dict[str, Any]] = []
        changes: list[dict[str, Any]] = []
        for one in found:
            edits = [text_at(update, "updated_at") for update in items_at(one, "incident_updates")]
            if not is_due(window, created=text_at(one, "created_at"), updated=[text_at(one, "updated_at"), *edits]):
                continue
            story = [event_row(one, update) for update in items_at(one, "incident_updates")]
            if is_maintenance(one) and self.options.maintenance == "changes":
                changes += change_rows(one, story, self.options)
            else:
                incidents.append(incident_row(one, story, self.options))
                events += story
        yield batch("incidents", incidents, origin)
        yield batch("incident_events", events, origin)
        if changes:
            yield batch("changes", changes, origin)


def open(row: SourceRow, settings: Settings) -> StatusPage:
    """Return the page a row of sources.yml declares.

    Raises:
        ConfigError: an option or the connection does not fit.
    """
    options = check_options(row, Options)
    endpoint = resolve(row.name, row.connection)
    if options.page:
        endpoint = hosted(endpoint, URL)
        endpoint.secret()
    elif not endpoint.base_url:
        raise ConfigError(
            f"source {row.name!r}: connection {endpoint.connection!r} names no host; give the host of the public page, or `page`"
        )
    return StatusPage(row, settings, endpoint, options)
