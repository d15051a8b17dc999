"""Opsgenie's own incidents, as rows: what the `jsm_ops` kind adds to alerts until Opsgenie ends on 5 April 2027.

They tell when impact began and ended, not when somebody acknowledged or resolved; an incident without an end of impact has none here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aftercast.sources.lifecycle import Record, Tracker, at, text_at

PATH = "/v1/incidents"
STATUSES = {"open": "open", "resolved": "resolved", "closed": "closed"}


def incident_row(record: Record, options: Tracker, severities: Mapping[str, str]) -> dict[str, Any]:
    """Return an incident; the services it impacts are ids, which aliases map to ours."""
    status, created = text_at(record, "status"), text_at(record, "createdAt")
    services = [one for one in at(record, "impactedServices") or [] if isinstance(one, str)]
    return {
        "incident_id": text_at(record, "id"),
        "title": text_at(record, "message"),
        "summary": text_at(record, "description"),
        "severity": options.severity(text_at(record, "priority"), severities),
        "status": STATUSES.get(status or "", status),
        "mode": "real",
        "services": services,
        "started_at": text_at(record, "impactStartDate") or created,
        "declared_at": created,
        "mitigated_at": text_at(record, "impactEndDate"),
        "url": text_at(record, "links", "web"),
        "updated_at": text_at(record, "updatedAt"),
        **options.place,
    }
