"""What PagerDuty's records are as rows: incidents with their lifecycle, log entries as events, change events as changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import Field

from aftercast.sources.lifecycle import Mode, Record, Tracker, at, earliest, items_at, latest, text_at

SEVERITIES = {
    **{f"{letter}{number}": f"sev{min(number, 4)}" for letter in ("p", "sev", "sev-") for number in range(1, 6)},
    "high": "sev3",  # urgency, where no priority was given: a page, not yet a major incident
    "low": "sev4",
}
ACKNOWLEDGED = ("acknowledge", "acknowledgement")  # the vendor's document knows both words
KINDS = {"trigger": "triggered", "resolve": "resolved", "escalate": "escalated", "annotate": "note"} | dict.fromkeys(
    ACKNOWLEDGED, "acknowledged"
)


class Options(Tracker):
    """Options of a `pagerduty` source.

    `services` and `teams` are ids, all when empty. `service` says what names a service. `modes` maps types of incident. Change events land
    as `changes` says; of their details, `version` is one and those in `details` are kept: the others may name people.
    """

    services: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    service: Literal["name", "id"] = "name"
    modes: dict[str, Mode] = Field(default_factory=dict)
    changes: Literal["deploy", "rollback", "config", "flag", "migration", "infra", "provider", "maintenance"] | None = "deploy"
    version: str | None = None
    details: tuple[str, ...] = ()


def _service(reference: Any, options: Options) -> str | None:
    return (text_at(reference, "summary") if options.service == "name" else None) or text_at(reference, "id")


def _by_hand(entry: Any) -> bool:
    return (text_at(entry, "agent", "type") or "").startswith("user")


def is_merged(record: Record) -> bool:
    """Whether an incident ended by being merged into another."""
    return text_at(record, "resolve_reason", "type") == "merge_resolve_reason"


def event_row(record: Record, entry: Record) -> dict[str, Any]:
    """Return a log entry as an event. Its summary names people, so only notes and descriptions are taken as text."""
    type_ = (text_at(entry, "type") or "").removesuffix("_log_entry").removesuffix("_log_entry_reference")
    kind, said = KINDS.get(type_, type_), text_at(entry, "event_details", "description")
    if type_ == "annotate":
        said = text_at(entry, "channel", "summary") or text_at(entry, "note")
    elif type_ == "resolve" and is_merged(record):
        kind, said = "merged", f"into {text_at(record, 'resolve_reason', 'incident', 'id')}"
    elif type_ == "resolve" and not _by_hand(entry):
        kind = "auto_resolved"
    when = text_at(entry, "created_at")
    return {
        "event_id": text_at(entry, "id"),
        "incident_id": text_at(record, "id"),
        "kind": kind,
        "text": said,
        "author_token": text_at(entry, "agent", "id") if _by_hand(entry) else None,
        "occurred_at": when,
        "recorded_at": when,
    }


def incident_row(record: Record, entries: Sequence[Record], story: Sequence[Record], options: Options) -> dict[str, Any]:
    """Return an incident with its lifecycle. It began for PagerDuty when it was triggered; nobody acknowledged what has no such entry."""
    is_resolved = text_at(record, "status") == "resolved"
    trigger = next((one for one in entries if text_at(one, "type") == "trigger_log_entry"), None)
    created = text_at(record, "created_at")
    return {
        "incident_id": text_at(record, "id"),
        "title": text_at(record, "title") or text_at(record, "summary"),
        "severity": options.severity(text_at(record, "priority", "summary") or text_at(record, "urgency"), SEVERITIES),
        "status": "cancelled" if is_merged(record) else "resolved" if is_resolved else "open",
        "mode": options.modes.get(text_at(record, "incident_type", "name") or "", "real"),
        "services": [name for name in [_service(at(record, "service"), options)] if name],
        "started_at": created,
        "detected_at": created,
        "declared_at": created,
        "acknowledged_at": earliest(story, "acknowledged"),
        "resolved_at": (text_at(record, "resolved_at") or latest(story, "resolved", "auto_resolved", "merged")) if is_resolved else None,
        "detection_method": "unknown" if trigger is None else "employee" if _by_hand(trigger) else "monitor",
        "url": text_at(record, "html_url"),
        "updated_at": text_at(record, "updated_at"),
        **options.place,
    }


def change_rows(record: Record, options: Options) -> Iterator[dict[str, Any]]:
    """One row per service a change event names; without one, a row for quarantine to name."""
    services = items_at(record, "services") or [{}]
    id_, details = text_at(record, "id"), at(record, "custom_details")
    kept = {name: text_at(details, name) for name in sorted(options.details)}
    for service in services:
        yield {
            "source_id": id_,
            "change_id": id_ if len(services) == 1 else f"{id_}/{text_at(service, 'id')}",
            "kind": options.changes,
            "service": _service(service, options),
            "title": text_at(record, "summary"),
            "started_at": text_at(record, "timestamp"),
            "result": "unknown",
            "url": next((text_at(one, "href") for one in items_at(record, "links")), None),
            "version": text_at(details, options.version) if options.version else None,
            "attributes": ",".join(f"{name}={value}" for name, value in kept.items() if value is not None),
            **options.place,
        }
