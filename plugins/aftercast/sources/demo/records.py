"""Changes, alerts and incidents as landing rows, as they stood at the end of a window.

A thing is in a window's rows when anything about it happened in that window; what happens later is still empty. So a later window
brings the same key again with more filled in, and the last version is the same however time was cut.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from statistics import NormalDist
from typing import Any

from aftercast.sources.demo.changes import REPORTED_AS, Change, changes_of_day
from aftercast.sources.demo.company import ENVIRONMENT
from aftercast.sources.demo.draws import token, whole_seconds
from aftercast.sources.demo.faults import LONGEST_FAULT, faults_begun
from aftercast.sources.demo.response import Alert, Response, alerts_of, false_alerts, responses_near, timeline_of
from aftercast.window import Window

Row = dict[str, Any]

ALERT_ENVIRONMENT = "prod"
ALERT_REGION = {"eu": "eu-west-1", "us": "us-east-1"}
"""The alert feed names the environment and the regions its own way; config/catalog/aliases.csv says which."""


def _happened(window: Window, *moments: datetime) -> bool:
    return any(window.contains(moment) for moment in moments)


def _known(moment: datetime, window: Window) -> datetime | None:
    return moment if moment < window.end else None


def _days(window: Window, before: int = 1) -> list[Window]:
    return list(Window(window.start - timedelta(days=before), window.end).days())


def change_rows(seed: int, window: Window) -> list[Row]:
    """Return changes that started or finished in the window."""
    days = sorted({day.start.date() for day in _days(window)})
    changes = [change for day in days for change in changes_of_day(seed, day)]
    return [_change_row(seed, change, window) for change in changes if _happened(window, change.started_at, change.finished_at)]


def _change_row(seed: int, change: Change, window: Window) -> Row:
    finished = _known(change.finished_at, window)
    return {
        "change_id": change.change_id,
        "kind": change.kind,
        "service": REPORTED_AS.get(change.service, change.service) if change.kind in ("deploy", "rollback") else change.service,
        "environment": ENVIRONMENT,
        "region": change.region,
        "title": change.title,
        "started_at": change.started_at,
        "finished_at": finished,
        "result": change.result if finished else "unknown",
        "version": change.version,
        "previous_version": change.previous_version,
        "committed_at": _committed_at(seed, change),
        "actor_token": f"person-{token(seed, 'person', change.actor)}",
        "url": f"https://demo.example/changes/{change.change_id}",
        "planned": change.planned,
        "attributes": "",
    }


def _committed_at(seed: int, change: Change) -> datetime | None:
    """Code waits for its deployment a few hours, rarely days; what puts an old version back was committed long ago."""
    if change.kind != "deploy":
        return None
    draw = (int(token(seed, "commit", change.change_id), 16) + 0.5) / 2**32
    return whole_seconds(change.started_at - timedelta(hours=4 * math.exp(1.1 * NormalDist().inv_cdf(draw))))


def alert_rows(seed: int, window: Window) -> list[Row]:
    """Return alerts that started or ended in the window."""
    days = sorted({day.start.date() for day in _days(window)})
    alerts = [alert for day in days for alert in false_alerts(seed, day)]
    for fault in faults_begun(seed, window.start - LONGEST_FAULT, window.end):
        alerts += alerts_of(seed, fault)
    latest = {(alert.fingerprint, alert.started_at): alert for alert in alerts}
    return [_alert_row(alert, window) for alert in latest.values() if _alert_visible(alert, window)]


def _alert_visible(alert: Alert, window: Window) -> bool:
    return alert.started_at < window.end and _happened(window, alert.started_at, alert.ended_at)


def _alert_row(alert: Alert, window: Window) -> Row:
    return {
        "fingerprint": alert.fingerprint,
        "started_at": alert.started_at,
        "name": alert.name,
        "service": alert.service,
        "environment": ALERT_ENVIRONMENT,
        "region": ALERT_REGION.get(alert.region, alert.region),
        "severity": alert.severity,
        "ended_at": _known(alert.ended_at, window),
    }


def incident_rows(seed: int, window: Window) -> list[Row]:
    """Return incidents of which some moment after declaration lies in the window."""
    return [
        _incident_row(response, window)
        for response in responses_near(seed, window.start, window.end)
        if response.declared_at < window.end and _happened(window, *response.moments)
    ]


def _incident_row(response: Response, window: Window) -> Row:
    mitigated, resolved = _known(response.mitigated_at, window), _known(response.resolved_at, window)
    incident_id = response.fault.incident_id
    return {
        "incident_id": incident_id,
        "title": response.title,
        "summary": None,
        "severity": response.severity,
        "status": "resolved" if resolved else "mitigated" if mitigated else "open",
        "mode": "real",
        "services": list(response.services),
        "environment": ENVIRONMENT,
        "region": response.region,
        "started_at": response.started_at,
        "detected_at": response.detected_at,
        "declared_at": response.declared_at,
        "acknowledged_at": _known(response.acknowledged_at, window),
        "mitigated_at": mitigated,
        "resolved_at": resolved,
        "detection_method": response.method,
        "trigger": None,
        "url": f"https://demo.example/incidents/{incident_id}",
        "updated_at": max(moment for moment in response.moments if moment < window.end),
    }


def event_rows(seed: int, window: Window) -> list[Row]:
    """Return timeline lines recorded in the window."""
    return [
        {
            "event_id": line.event_id,
            "incident_id": line.incident_id,
            "kind": line.kind,
            "text": line.text,
            "author_token": f"person-{token(seed, 'person', line.author)}",
            "occurred_at": line.occurred_at,
            "recorded_at": line.recorded_at,
        }
        for response in responses_near(seed, window.start, window.end)
        for line in timeline_of(seed, response)
        if window.contains(line.recorded_at)
    ]
