"""What alerts are as rows: alerts, and for some priorities incidents with their log as events."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from aftercast.sources.lifecycle import LATEST, Record, Tracker, at, moment, text_at

SEVERITIES = {"p1": "sev1", "p2": "sev2", "p3": "sev3", "p4": "sev4", "p5": "sev4"}
KINDS = {"acknowledged": r"^(?!.*un-?ack).*acknowledged", "closed": r"\bclosed\b", "created": r"\bcreated\b", "escalated": r"\bescalated\b"}


class Options(Tracker):
    """Options of a `jsm_ops` source. Tags such as `service:cart` say what an alert is about."""

    service: Literal["jsm", "opsgenie"] = "jsm"
    cloud_id: str = ""
    tags: dict[Literal["service", "environment", "region"], str] = Field(default_factory=dict)
    incidents: tuple[str, ...] = ()
    own_incidents: bool = False
    reread_days: int = Field(default=30, ge=0, le=3_660)
    query: str = ""


def tagged(alert: Record, options: Options) -> dict[str, str | None]:
    """Return service, environment and region by an alert's tags: `service:cart` or `service=cart`."""
    tags = [tag for tag in at(alert, "tags") or [] if isinstance(tag, str)]
    found: dict[str, str | None] = {}
    for name in ("service", "environment", "region"):
        begin = re.compile(rf"^{re.escape(options.tags.get(name, name))}\s*[:=]\s*(.+)$", re.IGNORECASE)
        found[name] = next((match[1] for tag in tags if (match := begin.match(tag))), options.place.get(name))
    return {**found, "service": found["service"] or text_at(alert, "entity")}


def after(alert: Record, name: str) -> str | None:
    """Return the time that the report of an alert gives in milliseconds after its creation."""
    created, passed = moment(text_at(alert, "createdAt")), at(alert, "report", name)
    if created is None or not isinstance(passed, (int, float)) or not 0 <= passed < LATEST:
        return None
    return (created + timedelta(milliseconds=passed)).isoformat()


def alert_row(alert: Record, options: Options) -> dict[str, Any]:
    """Return an alert; what is closed at a time nobody told ended when it was last written."""
    is_closed = text_at(alert, "status") == "closed"
    return {
        "source_id": text_at(alert, "id"),
        "fingerprint": text_at(alert, "alias") or text_at(alert, "id"),
        "started_at": text_at(alert, "createdAt"),
        "name": text_at(alert, "message"),
        "severity": text_at(alert, "priority"),
        "ended_at": (after(alert, "closeTime") or text_at(alert, "updatedAt")) if is_closed else None,
        **tagged(alert, options),
    }


def incident_row(alert: Record, options: Options) -> dict[str, Any]:
    """Return an alert as the incident it is; nobody acknowledged what was only closed."""
    is_closed, created, place = text_at(alert, "status") == "closed", text_at(alert, "createdAt"), tagged(alert, options)
    return {
        "incident_id": text_at(alert, "id"),
        "title": text_at(alert, "message"),
        "severity": options.severity(text_at(alert, "priority"), SEVERITIES),
        "status": "resolved" if is_closed else "open",
        "mode": "real",
        "services": [name for name in [place.pop("service")] if name],
        "started_at": created,
        "detected_at": created,
        "declared_at": created,
        "acknowledged_at": after(alert, "ackTime"),
        "resolved_at": (after(alert, "closeTime") or text_at(alert, "updatedAt")) if is_closed else None,
        "detection_method": "monitor",
        "updated_at": text_at(alert, "updatedAt"),
        **place,
    }


def event_row(alert: Record, said: Record) -> dict[str, Any]:
    """Return a line of an alert's log; its cursor makes it unique."""
    line, when, owner = text_at(said, "log") or "", text_at(said, "createdAt"), text_at(said, "owner")
    is_note = "note" in (text_at(said, "type") or "").casefold()
    return {
        "event_id": f"{text_at(alert, 'id')}/{text_at(said, 'offset') or when}",
        "incident_id": text_at(alert, "id"),
        "kind": "note" if is_note else next((kind for kind, words in KINDS.items() if re.search(words, line, re.IGNORECASE)), "log"),
        "text": line if is_note else None,
        "author_token": None if owner in (None, "System") else owner,
        "occurred_at": when,
        "recorded_at": when,
    }
