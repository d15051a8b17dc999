"""What a status page tells as rows: incidents, their updates as events, scheduled maintenance as incidents or changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from aftercast.sources.lifecycle import Record, Tracker, earliest, items_at, latest, text_at

SEVERITIES = {"critical": "sev1", "major": "sev2", "minor": "sev3", "none": "sev4", "maintenance": "sev4"}
SCHEDULED = {"scheduled", "in_progress", "verifying", "completed"}
OVER = {"resolved": "resolved", "postmortem": "closed", "completed": "resolved", "monitoring": "mitigated"}


class Options(Tracker):
    """Options of a `statuspage` source; `page` is the page's id, or absent for the public feed of the page the connection points at."""

    page: str | None = None
    maintenance: Literal["incidents", "changes"] = "incidents"
    service: str | None = None
    reread_days: int = Field(default=30, ge=0, le=3_660)
    seconds_between_requests: float = Field(default=1.0, ge=0)


def is_maintenance(record: Record) -> bool:
    """Whether it was scheduled: an incident can have the impact `maintenance` without, and maintenance any impact."""
    impact, status, planned = (text_at(record, name) for name in ("impact", "status", "scheduled_for"))
    return impact == "maintenance" or status in SCHEDULED or planned is not None


def services_of(record: Record, options: Options) -> list[str]:
    """Return the components an incident touches, else the service the source stands for."""
    updated = [one for update in items_at(record, "incident_updates") for one in items_at(update, "affected_components")]
    names = dict.fromkeys(text_at(one, "name") for one in items_at(record, "components") or updated)
    return [name for name in names if name] or [name for name in [options.service] if name]


def event_row(record: Record, update: Record) -> dict[str, Any]:
    """Return an update: it tells of the moment displayed, and was written when it was created."""
    return {
        "event_id": text_at(update, "id"),
        "incident_id": text_at(record, "id"),
        "kind": text_at(update, "status"),
        "text": text_at(update, "body"),
        "occurred_at": text_at(update, "display_at") or text_at(update, "created_at"),
        "recorded_at": text_at(update, "created_at"),
    }


def _times(record: Record, story: list[dict[str, Any]]) -> dict[str, str | None]:
    is_over = OVER.get(text_at(record, "status") or "") in ("resolved", "closed")
    planned = text_at(record, "scheduled_for") if is_maintenance(record) else None
    return {
        "started_at": planned or text_at(record, "started_at") or text_at(record, "created_at"),
        "mitigated_at": text_at(record, "monitoring_at") or earliest(story, "monitoring"),
        "resolved_at": (text_at(record, "resolved_at") or latest(story, "resolved", "completed")) if is_over else None,
    }


def incident_row(record: Record, story: list[dict[str, Any]], options: Options) -> dict[str, Any]:
    """Return an incident, or scheduled maintenance as an incident of that mode."""
    return {
        **_times(record, story),
        "incident_id": text_at(record, "id"),
        "title": text_at(record, "name"),
        "severity": options.severity(text_at(record, "impact"), SEVERITIES),
        "status": OVER.get(text_at(record, "status") or "", "open"),
        "mode": "maintenance" if is_maintenance(record) else "real",
        "services": services_of(record, options),
        "declared_at": text_at(record, "created_at"),
        "url": text_at(record, "shortlink"),
        "updated_at": text_at(record, "updated_at"),
        **options.place,
    }


def change_rows(record: Record, story: list[dict[str, Any]], options: Options) -> Iterator[dict[str, Any]]:
    """Return scheduled maintenance as one planned change per component."""
    times, id_ = _times(record, story), text_at(record, "id")
    services: list[str | None] = [*services_of(record, options)] or [None]
    for service in services:
        yield {
            "source_id": id_,
            "change_id": id_ if len(services) == 1 else f"{id_}/{service}",
            "kind": "maintenance",
            "service": service,
            "title": text_at(record, "name"),
            "started_at": times["started_at"],
            "finished_at": times["resolved_at"],
            "result": "success" if times["resolved_at"] else "unknown",
            "planned": True,
            "url": text_at(record, "shortlink"),
            **options.place,
        }
