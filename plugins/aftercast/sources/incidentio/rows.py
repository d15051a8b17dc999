"""What incident.io's records are as rows: incidents with the times of the account, updates as events, follow-ups as action items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from aftercast.sources.lifecycle import Mode, Record, Tracker, items_at, moment, text_at

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
