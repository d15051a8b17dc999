"""The `incidentio` kind: incidents of incident.io with the times its account keeps, their updates, and follow-ups.

Which times an incident has is up to the account, so `timestamps` says which of theirs is which of ours. Test and tutorial incidents are
asked for by name, because the default hides them, and land as tests. Private incidents are counted and stay where they are unless wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aftercast.connections import Endpoint, resolve
from aftercast.declarations import SourceRow
from aftercast.settings import Settings, check_options, raw_folder
from aftercast.sources import Batch
from aftercast.sources.incidentio.rows import MODES, Options, event_row, follow_up_row, incident_row
from aftercast.sources.lifecycle import batch, hosted, is_due, iso, nothing, text_at
from aftercast.sources.web import Page, Request, Web, records
from aftercast.window import Window

URL = "https://api.incident.io"
PAGE = 250


@dataclass(frozen=True, slots=True)
class IncidentIo:
    """An account, and what of it lands."""

    row: SourceRow
    settings: Settings
    endpoint: Endpoint
    options: Options

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield the incidents of a page and their updates, then the follow-ups written since the window began."""
        headers = {"Authorization": f"Bearer {self.endpoint.secret()}"}
        with Web(self.row.name, self.endpoint, headers=headers, keep=raw_folder(self.settings, self.row, window)) as web:
            yield from nothing(f"GET {self.endpoint.base_url}/v2/incidents", "incidents", "incident_events")
            first = Request("/v2/incidents", {"page_size": PAGE, "updated_at[gte]": iso(window.start), "mode[one_of]": list(MODES)})
            for page in web.walk(first, following):
                yield from self._incidents(web, page, window)
            if self.options.follow_ups:
                for page in web.walk(Request("/v2/follow_ups"), following):
                    yield batch("action_items", map(follow_up_row, self._due(page, "follow_ups", window)), page.origin)

    def _due(self, page: Page, key: str, window: Window) -> list[dict[str, Any]]:
        found = records(page, key, source=self.row.name)
        return [one for one in found if is_due(window, created=text_at(one, "created_at"), updated=[text_at(one, "updated_at")])]

    def _incidents(self, web: Web, page: Page, window: Window) -> Iterator[Batch]:
        due = self._due(page, "incidents", window)
        wanted = [one for one in due if self.options.private or text_at(one, "visibility") != "private"]
        notes = {"private incident left out": len(due) - len(wanted)} if len(due) > len(wanted) else {}
        yield batch("incidents", [incident_row(one, self.options) for one in wanted], page.origin, notes=notes)
        events = []
        for one in wanted:
            updates = Request("/v2/incident_updates", {"incident_id": text_at(one, "id") or "", "page_size": PAGE})
            pages = web.walk(updates, following)
            events += [event_row(update) for some in pages for update in records(some, "incident_updates", source=self.row.name)]
        yield batch("incident_events", events, page.origin)


def following(page: Page) -> Request | None:
    """The next page of a list; `after` is the id of the last record."""
    after = text_at(page.data, "pagination_meta", "after")
    return page.request.with_params(after=after) if after else None


def open(row: SourceRow, settings: Settings) -> IncidentIo:
    """Return the account a row of sources.yml declares.

    Raises:
        ConfigError: an option or the connection does not fit.
    """
    options = check_options(row, Options)
    endpoint = hosted(resolve(row.name, row.connection), URL)
    endpoint.secret()
    return IncidentIo(row, settings, endpoint, options)
