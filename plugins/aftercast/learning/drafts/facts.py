"""What the published mart knows of one incident, as plain rows in a fixed order; what is not published is empty. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

Row = Mapping[str, Any]

# The marts a draft reads, and the column that leads from an incident to its rows.
READ = {
    "mart_incidents": "incident_id",
    "mart_incident_impact": "incident_id",
    "mart_incident_slo": "incident_id",
    "mart_incident_timeline": "incident_id",
    "mart_incident_candidates": "incident_id",
    "mart_incident_evidence": "incident_id",
    "mart_similar_incidents": "incident_id",
    "mart_leading_matches": "incident_id",
    "mart_anomalies": "incident_id",
    "mart_families": "family_id",
    "mart_recommendations": "family_id",
    "mart_action_items": "family_id",
    "mart_changes": "change_id",
    "mart_response": "week_start",
}


class Known(dict[str, Any]):
    """A row that has no value for a column it lacks, as one published by an earlier version may."""

    def __missing__(self, column: str) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Facts:
    """One incident and the rows that belong to it, each list in the order a reader wants."""

    incident: Row
    impact: list[Row]
    slos: list[Row]
    timeline: list[Row]
    candidates: list[Row]
    evidence: list[Row]
    similar: list[Row]
    leading: list[Row]
    anomalies: list[Row]
    family: Row | None
    recommendation: Row | None
    actions: list[Row]
    change: Row | None
    response: Row | None

    @property
    def incident_id(self) -> str:
        return str(self.incident["incident_id"])

    @property
    def first(self) -> Row | None:
        """The likeliest named candidate, if any is likelier than none of them."""
        return next((row for row in self.candidates if row["kind"] != "none"), None)


def gather(marts: Mapping[str, pl.DataFrame], incident_id: str) -> Facts | None:
    """Return what is known of an incident; None when the mart does not have it."""
    incident = next(iter(_rows(marts, "mart_incidents", incident_id)), None)
    if incident is None:
        return None
    family = incident["family_id"]
    candidates = sorted(_rows(marts, "mart_incident_candidates", incident_id), key=lambda row: row["rank"] or 0)
    first = next((row for row in candidates if row["kind"] == "change"), None)
    changes = _rows(marts, "mart_changes", first["candidate_id"]) if first else []
    recommended = sorted(_rows(marts, "mart_recommendations", family), key=lambda row: row["rank"] or 0)
    money = sorted(
        _rows(marts, "mart_incident_impact", incident_id),
        key=lambda row: (-float(row["lost_revenue"] or 0), row["journey"] or "", row["segment"] or ""),
    )
    evidence = _rows(marts, "mart_incident_evidence", incident_id)
    return Facts(
        incident=incident,
        impact=money,
        slos=sorted(_rows(marts, "mart_incident_slo", incident_id), key=lambda row: (-(row["budget_share"] or 0), row["slo"])),
        timeline=sorted(_rows(marts, "mart_incident_timeline", incident_id), key=lambda row: row["position"] or 0),
        candidates=candidates,
        evidence=sorted(evidence, key=lambda row: (-abs(row["strength"] or 0), row["evidence_id"])),
        similar=sorted(_rows(marts, "mart_similar_incidents", incident_id), key=lambda row: row["rank"] or 0),
        leading=sorted(_rows(marts, "mart_leading_matches", incident_id), key=lambda row: (row["matched_at"], row["match_id"])),
        anomalies=sorted(_rows(marts, "mart_anomalies", incident_id), key=lambda row: (row["started_at"], row["anomaly_id"])),
        family=next(iter(_rows(marts, "mart_families", family)), None),
        recommendation=next(iter(recommended), None),
        actions=sorted(_rows(marts, "mart_action_items", family), key=lambda row: row["action_item_id"]),
        change=next(iter(changes), None),
        response=_week(marts, incident),
    )


def _rows(marts: Mapping[str, pl.DataFrame], table: str, value: object) -> list[Row]:
    frame, column = marts.get(table, pl.DataFrame()), READ[table]
    if value is None or column not in frame.columns:
        return []
    return [Known(row) for row in frame.filter(pl.col(column) == value).iter_rows(named=True)]


def _week(marts: Mapping[str, pl.DataFrame], incident: Row) -> Row | None:
    """The response to incidents of its severity in the last complete week before the one it began in."""
    started: datetime | None = incident["started_at"]
    if started is None:
        return None
    day = started.astimezone(UTC).date()
    before = day - timedelta(days=day.weekday() + 7)
    return next((row for row in _rows(marts, "mart_response", before) if row["severity"] == incident["severity"]), None)
