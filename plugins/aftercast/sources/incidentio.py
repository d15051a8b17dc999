"""The `incidentio` kind: incidents of incident.io with the times its account keeps, their updates, and follow-ups.

Which times an incident has is up to the account, so `timestamps` says which of theirs is which of ours. Test and tutorial incidents are
asked for by name, because the default hides them, and land as tests. Private incidents are counted and stay where they are unless wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from aftercast.connections import Endpoint, resolve
from aftercast.settings import Settings, SourceRow, check_options, raw_folder
from aftercast.sources import Batch
from aftercast.sources.lifecycle import Mode, Record, Tracker, batch, hosted, is_due, iso, items_at, moment, nothing, text_at
from aftercast.sources.web import Page, Request, Web, records
from aftercast.window import Window

URL = "https://api.incident.io"
PAGE = 250
MODES: dict[str, Mode] = {"standard": "real", "retrospective": "real", "test": "test", "tutorial": "test"}
SEVERITIES = {"critical": "sev1", "major": "sev2", "minor": "sev3", **{f"sev{one}": f"sev{min(one, 4)}" for one in range(1, 6)}}
STATUSES = {"closed": "closed", "declined": "cancelled", "merged": "cancelled", "canceled": "cancelled", "learning": "resolved"}
FOLLOW_UPS = {"outstanding": "open", "completed": "done", "deleted": "cancelled", "not_doing": "cancelled"}
Lived = Literal["started_at", "detected_at", "declared_at", "acknowledged_at", "mitigated_at", "resolved_at"]
TIMES: dict[Lived, str] = {
    "started_at": "Impact started",
    "declared_at": "Reported",
    "acknowledged_at": "Accepted",
    "mitigated_at": "Fixed",
    "resolved_at": "Resolved",
}


class Options(Tracker):
    """Options of an `incidentio` source; `services` is the name of the custom field that holds them."""

    timestamps: dict[Lived, str] = Field(default_factory=dict)
    services: str | None = None
    modes: dict[str, Mode] = Field(default_factory=dict)
    private: bool = False
    follow_ups: bool = True


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


def _name(theirs: str) -> str:
    return theirs.strip().casefold().removesuffix(" at")


def times_of(record: Record, wanted: Mapping[Lived, str]) -> dict[str, str | None]:
    """Return our times by what the account calls them: `Fixed` also finds `Fixed at`."""
    values = items_at(record, "incident_timestamp_values")
    theirs = {_name(text_at(one, "incident_timestamp", "name") or ""): text_at(one, "value", "value") for one in values}
    return {ours: theirs.get(_name(name)) for ours, name in {**TIMES, **wanted}.items()}


def services_of(record: Record, field: str | None) -> list[str]:
    """Return the values of the custom field that holds services."""
    entries = [one for one in items_at(record, "custom_field_entries") if field and text_at(one, "custom_field", "name") == field]
    values = [value for one in entries for value in items_at(one, "values")]
    kinds = (("value_catalog_entry", "name"), ("value_option", "value"), ("value_text",))
    named = (next((name for kind in kinds if (name := text_at(value, *kind))), None) for value in values)
    return [name for name in named if name]


def incident_row(record: Record, options: Options) -> dict[str, Any]:
    """Return an incident. It began when its impact did, else when it was reported, else when it was created."""
    times, created = times_of(record, options.timestamps), text_at(record, "created_at")
    status = STATUSES.get(text_at(record, "incident_status", "category") or "", "open")
    is_over = status not in ("open", "mitigated")
    type_, mode = text_at(record, "incident_type", "name") or "", text_at(record, "mode") or ""
    return {
        **times,
        "incident_id": text_at(record, "id"),
        "source_id": text_at(record, "reference") or text_at(record, "id"),
        "title": text_at(record, "name"),
        "summary": text_at(record, "summary"),
        "severity": options.severity(text_at(record, "severity", "name"), SEVERITIES),
        "status": "mitigated" if status == "open" and times["mitigated_at"] else status,
        "mode": options.modes.get(type_) or MODES.get(mode, mode),
        "services": services_of(record, options.services),
        "started_at": times["started_at"] or times["declared_at"] or created,
        "declared_at": times["declared_at"] or created,
        "resolved_at": times["resolved_at"] if is_over else None,
        "url": text_at(record, "permalink"),
        "updated_at": text_at(record, "updated_at"),
        **options.place,
    }


def event_row(update: Record) -> dict[str, Any]:
    """Return an update of an incident: what was said, and to which status and severity it moved."""
    moved = [text_at(update, "new_incident_status", "name"), text_at(update, "new_severity", "name")]
    merged, when = text_at(update, "merged_into_incident_id"), text_at(update, "created_at")
    said = [text_at(update, "message"), " / ".join(name for name in moved if name), f"merged into {merged}" if merged else None]
    return {
        "event_id": text_at(update, "id"),
        "incident_id": text_at(update, "incident_id"),
        "kind": "merged" if merged else "update",
        "text": "\n".join(one for one in said if one),
        "author_token": text_at(update, "updater", "user", "id"),
        "occurred_at": when,
        "recorded_at": when,
    }


def follow_up_row(record: Record) -> dict[str, Any]:
    """Return a follow-up as it is by now; each time it is written makes a version."""
    updated = text_at(record, "updated_at")
    written, status = moment(updated), text_at(record, "status")
    return {
        "action_item_id": text_at(record, "id"),
        "version": int(written.timestamp()) if written else None,
        "incident_id": text_at(record, "incident_id"),
        "title": text_at(record, "title"),
        "status": FOLLOW_UPS.get(status or "", status),
        "owner_team": text_at(record, "assignee_team", "name"),
        "created_at": text_at(record, "created_at"),
        "done_at": text_at(record, "completed_at"),
        "updated_at": updated,
        "url": text_at(record, "external_issue_reference", "issue_permalink"),
    }


def open(row: SourceRow, settings: Settings) -> IncidentIo:
    """Return the account a row of sources.yml declares.

    Raises:
        ConfigError: an option or the connection does not fit.
    """
    options = check_options(row, Options)
    endpoint = hosted(resolve(row.name, row.connection), URL)
    endpoint.secret()
    return IncidentIo(row, settings, endpoint, options)
