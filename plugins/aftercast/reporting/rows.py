"""Read the mart rows a report needs from the published file, and nothing else.

Columns are selected by name and given their type. A mart or a column that is not published is read as empty and named in `absent`, so
that a page can say what it does not know instead of failing, and can never mistake it for zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from aftercast import warehouse
from aftercast.entities import COUNT, FLAG, NUMBER, TEXT, TEXTS, TIME, ColumnType
from aftercast.narrowing import WITHHELD

MARTS: dict[str, dict[str, ColumnType]] = {
    "mart_run": {
        "company": TEXT,
        "window_start": TIME,
        "as_of": TIME,
        "code_version": TEXT,
        "configuration_fingerprint": TEXT,
        "model_versions": TEXT,
    },
    "mart_incidents": {
        "incident_id": TEXT,
        "title": TEXT,
        "severity": TEXT,
        "status": TEXT,
        "service_origin": TEXT,
        "started_at": TIME,
        "impact_minutes": NUMBER,
        "t_mitigate_minutes": NUMBER,
        "is_open": FLAG,
        "is_censored": FLAG,
        "exclude_from_metrics": FLAG,
        "detection_method": TEXT,
        "is_found_by_us": FLAG,
        "alerts_n": COUNT,
        "family_id": TEXT,
        "family_title": TEXT,
        "lost_revenue": NUMBER,
        "lost_revenue_low": NUMBER,
        "lost_revenue_high": NUMBER,
        "currency": TEXT,
        "impact_status": TEXT,
        "impact_reason": TEXT,
        "top_candidate_kind": TEXT,
        "top_candidate_id": TEXT,
        "top_candidate_probability": NUMBER,
        "top_candidate_confirmed": FLAG,
        "recurred_after_fix": FLAG,
        "url": TEXT,
    },
    "mart_leading_matches": {
        "kind": TEXT,
        "signal": TEXT,
        "matched_subject": TEXT,
        "status": TEXT,
        "outcome": TEXT,
        "look": TEXT,
        "family_title": TEXT,
        "past_n": COUNT,
        "past_true_n": COUNT,
        "past_precision_low": NUMBER,
        "past_precision_high": NUMBER,
        "matched_at": TIME,
        "horizon_end_at": TIME,
    },
    "mart_anomalies": {
        "anomaly_id": TEXT,
        "series_id": TEXT,
        "incident_id": TEXT,
        "started_at": TIME,
        "ended_at": TIME,
        "direction": TEXT,
        "hurts": FLAG,
        "score": NUMBER,
        "explained_by": TEXT,
        "trained_until": TIME,
    },
    "mart_anomaly_points": {
        "anomaly_id": TEXT,
        "bucket_at": TIME,
        "actual": NUMBER,
        "expected": NUMBER,
        "low": NUMBER,
        "high": NUMBER,
        "is_masked": FLAG,
    },
    "mart_incident_candidates": {
        "incident_id": TEXT,
        "rank": COUNT,
        "kind": TEXT,
        "candidate_id": TEXT,
        "service": TEXT,
        "title": TEXT,
        "probability": NUMBER,
        "rationale": TEXT,
        "human_verdict": TEXT,
    },
    "mart_incident_impact": {
        "incident_id": TEXT,
        "journey": TEXT,
        "segment": TEXT,
        "lost_revenue": NUMBER,
        "currency": TEXT,
        "status": TEXT,
    },
    "mart_journey_health": {
        "journey": TEXT,
        "title": TEXT,
        "owner_team": TEXT,
        "day": pl.Date,
        "total": NUMBER,
        "good": NUMBER,
        "slo_target": NUMBER,
        "slo_window_days": COUNT,
    },
    "mart_slo_health": {
        "slo": TEXT,
        "title": TEXT,
        "day": pl.Date,
        "target": NUMBER,
        "window_share": NUMBER,
        "budget_left_ratio": NUMBER,
        "status": TEXT,
    },
    "mart_slo_burn": {"slo": TEXT, "rule": TEXT, "severity": TEXT, "status": TEXT},
    "mart_fix_impact": {
        "action_item_id": TEXT,
        "outcome": TEXT,
        "title": TEXT,
        "owner_team": TEXT,
        "family_id": TEXT,
        "family_title": TEXT,
        "shipped_at": TIME,
        "n_before": COUNT,
        "exposure_before": NUMBER,
        "n_after": COUNT,
        "exposure_after": NUMBER,
        "estimate": NUMBER,
        "ci_low": NUMBER,
        "ci_high": NUMBER,
        "verdict": TEXT,
        "status": TEXT,
        "weeks_needed": NUMBER,
        "regression_to_mean": FLAG,
        "reason": TEXT,
    },
    "mart_action_items": {
        "action_item_id": TEXT,
        "owner_team": TEXT,
        "is_open": FLAG,
        "is_overdue": FLAG,
        "days_overdue": NUMBER,
    },
    "mart_recommendations": {
        "recommendation_id": TEXT,
        "rank": COUNT,
        "family_id": TEXT,
        "service": TEXT,
        "action": TEXT,
        "rationale": TEXT,
        "expected_risk_reduction": NUMBER,
        "risk_reduction_low": NUMBER,
        "risk_reduction_high": NUMBER,
        "currency": TEXT,
        "confidence": TEXT,
        "owner_team": TEXT,
        "approvals": TEXTS,
        "trade_offs": TEXT,
        "n_incidents": COUNT,
    },
    "mart_source_coverage": {
        "source": TEXT,
        "entity": TEXT,
        "status": TEXT,
        "reasons": TEXT,
        "window_end": TIME,
        "received": COUNT,
        "rejected": COUNT,
        "duplicate": COUNT,
        "late": COUNT,
        "watermark": TIME,
    },
    "mart_unmapped_names": {"kind": TEXT, "name": TEXT, "nearest_name": TEXT},
    "mart_signal_quality": {"source_kind": TEXT, "signal_id": TEXT, "signal": TEXT, "subject": TEXT, "status": TEXT, "reason": TEXT},
}

# What a report of a month or a quarter reads besides.
LONGER: dict[str, dict[str, ColumnType]] = {
    "mart_incident_patterns": {
        "dimension": TEXT,
        "value": TEXT,
        "title": TEXT,
        "period": TEXT,
        "period_start_at": TIME,
        "status": TEXT,
        "basis": TEXT,
        "currency": TEXT,
        "n_incidents": COUNT,
        "n_known": COUNT,
        "expected": NUMBER,
        "rate_ratio": NUMBER,
        "ratio_low": NUMBER,
        "ratio_high": NUMBER,
        "q_value": NUMBER,
        "lost_revenue": NUMBER,
    },
    "mart_fix_portfolio": {
        "cut": TEXT,
        "intervention_type": TEXT,
        "subject": TEXT,
        "subject_title": TEXT,
        "outcome": TEXT,
        "reason": TEXT,
        "currency": TEXT,
        "n_planned": COUNT,
        "n_shipped": COUNT,
        "n_judged": COUNT,
        "n_effective": COUNT,
        "n_too_early": COUNT,
        "effective_share": NUMBER,
        "effective_share_low": NUMBER,
        "effective_share_high": NUMBER,
        "promised_reduction": NUMBER,
        "reduction": NUMBER,
        "reduction_low": NUMBER,
        "reduction_high": NUMBER,
        "revenue_avoided": NUMBER,
        "revenue_avoided_low": NUMBER,
        "revenue_avoided_high": NUMBER,
    },
    "mart_leading_indicators": {
        "indicator_id": TEXT,
        "kind": TEXT,
        "signal": TEXT,
        "subject": TEXT,
        "status": TEXT,
        "family_title": TEXT,
        "judged_n": COUNT,
        "judged_true_n": COUNT,
        "judged_precision": NUMBER,
        "judged_precision_low": NUMBER,
        "judged_precision_high": NUMBER,
        "judged_lead_minutes_median": NUMBER,
        "base_rate": NUMBER,
        "incidents_warned_n": COUNT,
        "incidents_due_n": COUNT,
    },
}

# Without these columns a mart says nothing; it is then treated as not published.
KEYS = {
    "mart_leading_matches": ("matched_subject", "status", "outcome", "matched_at", "horizon_end_at"),
    "mart_run": ("as_of",),
    "mart_incidents": ("incident_id", "started_at"),
    "mart_anomalies": ("anomaly_id", "series_id", "incident_id", "started_at", "direction", "hurts", "score"),
    "mart_anomaly_points": ("anomaly_id", "bucket_at", "actual", "expected"),
    "mart_incident_candidates": ("incident_id", "kind"),
    "mart_incident_impact": ("incident_id", "journey"),
    "mart_journey_health": ("journey", "day", "good", "total"),
    "mart_slo_health": ("slo", "day", "status"),
    "mart_slo_burn": ("slo", "rule", "status"),
    "mart_fix_impact": ("action_item_id", "verdict"),
    "mart_action_items": ("action_item_id", "is_open"),
    "mart_recommendations": ("rank", "action"),
    "mart_source_coverage": ("source",),
    "mart_signal_quality": ("signal_id", "status"),
    "mart_unmapped_names": ("kind", "name"),
    "mart_incident_patterns": ("dimension", "period", "period_start_at", "status", "n_incidents"),
    "mart_fix_portfolio": ("cut", "outcome", "n_planned", "n_shipped"),
    "mart_leading_indicators": ("kind", "signal", "status"),
}

# Of marts that grow with every series, only the rows a page can show: the points of the severest episodes linked to an incident.
SEVEREST = """
anomaly_id in (
    select anomaly_id from marts.mart_anomalies
    where hurts and incident_id is not null and anomaly_id in (select anomaly_id from marts.mart_anomaly_points)
    qualify row_number() over (partition by incident_id order by score desc nulls last, started_at, anomaly_id) <= 3
)
"""
NARROWED = {"mart_anomalies": "hurts", "mart_anomaly_points": SEVEREST}


@dataclass(frozen=True, slots=True)
class Rows:
    """Frames by mart name, each with all of its columns in `MARTS`.

    Attributes:
        frames: one frame a mart, empty when it is not published.
        absent: marts that are not published, or withheld whole, and `mart.column` for columns that are not.
        withheld: of a file made for an audience that may not see everything, how many rows of each mart are missing.
    """

    frames: dict[str, pl.DataFrame]
    absent: tuple[str, ...]
    withheld: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, mart: str) -> pl.DataFrame:
        return self.frames[mart]


def read(mart: Path, *, longer: bool = False) -> Rows:
    """Read every mart of `MARTS`, and of `LONGER` for a longer report, from a published file.

    Raises:
        WarehouseError: the file cannot be opened.
    """
    frames: dict[str, pl.DataFrame] = {}
    absent: list[str] = []
    with warehouse.connect(mart) as connection:
        there: dict[str, set[str]] = {}
        listed = "select table_name, column_name from information_schema.columns where table_schema = 'marts'"
        for table, column in warehouse.frame(connection, listed).rows():
            there.setdefault(table, set()).add(column)
        counted = f"select table_name, rows_withheld from marts.{WITHHELD}"
        withheld = dict(warehouse.frame(connection, counted).rows()) if WITHHELD in there else {}
        for name, schema in (MARTS | LONGER if longer else MARTS).items():
            held = there.get(name, set())
            if not set(KEYS[name]) <= held:
                frames[name] = pl.DataFrame(schema=schema)
                absent.append(name)
                continue
            known = [column for column in schema if column in held]
            absent += [f"{name}.{column}" for column in schema if column not in held]
            columns = ", ".join(warehouse.identifier(column) for column in known)
            rows = warehouse.frame(connection, f"select {columns} from marts.{name} where {NARROWED.get(name, 'true')}")
            frames[name] = with_schema(rows, schema)
            if rows.is_empty() and withheld.get(name):  # nothing is left of it, which is not the same as nothing
                absent.append(name)
    return Rows(frames, tuple(absent), withheld)


def with_schema(rows: pl.DataFrame, schema: dict[str, ColumnType]) -> pl.DataFrame:
    """Return the columns of a schema, in its order and types; those the rows lack are null."""
    if not rows.width:  # nulls alone would make a row of them
        return pl.DataFrame(schema=schema)
    return rows.select((pl.col(name) if name in rows.columns else pl.lit(None)).cast(kind).alias(name) for name, kind in schema.items())
