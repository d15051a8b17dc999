"""What correlation reads and what it returns: frames in the star's columns, and the version every derived row carries.

Any frame may be empty or lack columns it has no rows for; `Inputs.empty()` is a valid input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import polars as pl

from aftercast.analyses import DERIVED
from aftercast.entities import COUNT, FLAG, NUMBER, TEXT, TIME, ColumnType

MODEL_VERSION = "evidence-ranking-2"
CLUSTERING_VERSION = "monthly-families-2"

# The columns each analysis reads; a frame may carry more.
READ: dict[str, dict[str, ColumnType]] = {
    "incidents": {
        "incident_id": TEXT,
        "title": TEXT,
        "summary": TEXT,
        "environment": TEXT,
        "region": TEXT,
        "service_origin": TEXT,
        "started_at": TIME,
        "detected_at": TIME,
        "declared_at": TIME,
        "resolved_at": TIME,
        "impact_end_at": TIME,
        "trigger": TEXT,
        "exclude_from_metrics": FLAG,
    },
    "incident_services": {"incident_id": TEXT, "service": TEXT, "role": TEXT},
    "changes": {
        "change_id": TEXT,
        "kind": TEXT,
        "service": TEXT,
        "environment": TEXT,
        "region": TEXT,
        "title": TEXT,
        "started_at": TIME,
        "finished_at": TIME,
        "result": TEXT,
        "version": TEXT,
        "previous_version": TEXT,
        "is_rollback": FLAG,
        "rolls_back_change_id": TEXT,
        "attributes": TEXT,
    },
    "metric_points": {
        "environment": TEXT,
        "service": TEXT,
        "region": TEXT,
        "metric": TEXT,
        "attributes": TEXT,
        "kind": TEXT,
        "unit": TEXT,
        "bucket_at": TIME,
        "value": NUMBER,
    },
    "kpi_points": {
        "journey": TEXT,
        "step": TEXT,
        "region": TEXT,
        "bucket_at": TIME,
        "attempts": COUNT,
        "successes": COUNT,
        "revenue_minor": COUNT,
    },
    "anomalies": {
        "anomaly_id": TEXT,
        "series_id": TEXT,
        "signal": TEXT,
        "subject_kind": TEXT,
        "subject": TEXT,
        "environment": TEXT,
        "region": TEXT,
        "started_at": TIME,
        "ended_at": TIME,
        "alarmed_at": TIME,
        "direction": TEXT,
        "expected": NUMBER,
        "actual": NUMBER,
        "hurts": FLAG,
        "explained_by": TEXT,
        "score": NUMBER,
    },
    "alerts": {
        "alert_id": TEXT,
        "fingerprint": TEXT,
        "name": TEXT,
        "service": TEXT,
        "environment": TEXT,
        "region": TEXT,
        "severity": TEXT,
        "is_suppressed": FLAG,
        "started_at": TIME,
        "ended_at": TIME,
    },
    "services": {"service": TEXT, "kind": TEXT},
    "dependencies": {"environment": TEXT, "caller": TEXT, "callee": TEXT, "provenance": TEXT},
    "log_patterns": {
        "service": TEXT,
        "environment": TEXT,
        "region": TEXT,
        "bucket": TIME,
        "pattern": TEXT,
        "severity": TEXT,
        "count": COUNT,
    },
    "trace_red": {
        "service": TEXT,
        "environment": TEXT,
        "operation": TEXT,
        "peer": TEXT,
        "bucket": TIME,
        "count": COUNT,
        "errors": COUNT,
        "p50_ms": NUMBER,
        "own_p50_ms": NUMBER,
        "own_p95_ms": NUMBER,
    },
    "span_events": {
        "service": TEXT,
        "environment": TEXT,
        "operation": TEXT,
        "event": TEXT,
        "bucket": TIME,
        "count": COUNT,
    },
    "verdicts": {
        "verdict_id": TEXT,
        "version": COUNT,
        "incident_id": TEXT,
        "subject_kind": TEXT,
        "subject_id": TEXT,
        "verdict": TEXT,
        "origin": TEXT,
        "confidence": NUMBER,
        "decided_at": TIME,
    },
    "action_items": {
        "action_item_id": TEXT,
        "incident_id": TEXT,
        "title": TEXT,
        "type": TEXT,
        "status": TEXT,
        "shipped_change_id": TEXT,
        "shipped_at": TIME,
        "done_at": TIME,
    },
    "journeys": {"journey": TEXT, "step": TEXT, "position": COUNT, "service": TEXT},
}


PACKED = "points"
POINTS = pl.List(pl.Struct({"at": pl.Int64, "value": pl.Float32}))


def _no_rows(name: str) -> pl.DataFrame:
    return pl.DataFrame(schema=READ[name])


@dataclass(frozen=True, slots=True)
class Inputs:
    """Frames in the star's columns (docs/contracts.md): fct_incident without excluded ones, bridge_incident_service, fct_change, ...

    `metric_points` may be packed by series: one row per series, and in place of `bucket_at` and `value` a column `points`, a list of {at
    (microseconds since 1970), value}, which takes a tenth of the memory.

    `journeys` is bridge_journey_service; `kpi_points` may be aggregated to journey, region and bucket. `verdicts` are those of people in
    every version (stg_verdicts): none of them feeds the ranking of the incident it judges, nor of any that began before it was given.
    """

    incidents: pl.DataFrame
    incident_services: pl.DataFrame
    changes: pl.DataFrame
    metric_points: pl.DataFrame
    kpi_points: pl.DataFrame
    anomalies: pl.DataFrame
    alerts: pl.DataFrame
    services: pl.DataFrame
    dependencies: pl.DataFrame
    log_patterns: pl.DataFrame
    trace_red: pl.DataFrame
    span_events: pl.DataFrame
    verdicts: pl.DataFrame
    action_items: pl.DataFrame
    journeys: pl.DataFrame

    @classmethod
    def of(cls, frames: Mapping[str, pl.DataFrame]) -> Inputs:
        """Build inputs from the frames there are; the others are empty."""
        return cls(**{field.name: frames.get(field.name, _no_rows(field.name)) for field in fields(cls)})

    def conformed(self) -> Inputs:
        """Return only the columns that are read, each in its type, missing ones null; texts that serve as keys are never null."""
        return Inputs(**{field.name: _conform(field.name, getattr(self, field.name)) for field in fields(self)})


def _conform(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    shape = READ[name]
    if name == "metric_points" and PACKED in frame.columns:
        shape = {column: kind for column, kind in shape.items() if column not in {"bucket_at", "value"}} | {PACKED: POINTS}
    columns = [
        (pl.col(column).cast(kind) if column in frame.columns else pl.lit(None, dtype=kind)).alias(column) for column, kind in shape.items()
    ]
    blank = [pl.col(column).fill_null("") for column in ("environment", "region", "attributes", "unit", "kind") if column in READ[name]]
    return frame.select(columns).with_columns(blank)


@dataclass(frozen=True, slots=True)
class Correlation:
    """Derived tables with the schemas of `analyses.DERIVED`."""

    evidence: pl.DataFrame
    candidates: pl.DataFrame
    similar_incidents: pl.DataFrame
    families: pl.DataFrame
    family_memberships: pl.DataFrame
    family_changes: pl.DataFrame
    family_fixes: pl.DataFrame
    incident_patterns: pl.DataFrame
    leading_indicators: pl.DataFrame
    leading_matches: pl.DataFrame
    ranked_in_shadow: pl.DataFrame
    judged_rankings: pl.DataFrame
    ranker_weights: pl.DataFrame
    insight_effects: pl.DataFrame  # of rules; detection tells those of thresholds and masks
    proposals: pl.DataFrame
    proposal_members: pl.DataFrame
    proposal_incidents: pl.DataFrame

    def tables(self) -> dict[str, pl.DataFrame]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def table(name: str, rows: list[dict[str, object]]) -> pl.DataFrame:
    """Return rows as a derived table, columns and types as declared."""
    return pl.DataFrame(rows, schema=dict(DERIVED[name]), orient="row")
