"""Read mart rows for a page: one connection a request, columns by name, and what is not published read as empty and remembered.

A query names marts without their schema (`from mart_incidents`). Each is seen through a view of exactly the columns in `MARTS`, with their
types, so a query also runs on a mart that an older version published: a table it lacks has no rows, a column it lacks is null.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aftercast import warehouse

T, N, I, B, TS, D, L = "varchar", "double", "bigint", "boolean", "timestamptz", "date", "varchar[]"  # noqa: E741

MARTS: dict[str, dict[str, str]] = {
    "mart_run": {"company": T, "code_version": T, "model_versions": T, "window_start": TS, "as_of": TS}
    | dict.fromkeys(("incidents_n", "changes_n", "alerts_n", "anomalies_n", "metric_points_n", "kpi_points_n"), I),
    "mart_incidents": dict.fromkeys(
        (
            *("incident_id", "title", "summary", "url", "severity", "severity_by_impact", "status", "mode", "environment", "region"),
            *("service_origin", "team_owner", "detection_method", "trigger", "family_id", "family_title", "top_candidate_kind"),
            *("top_candidate_id", "top_candidate_service", "impact_status", "impact_reason", "currency", "postmortem_status"),
            *("postmortem_url", "proposal_id", "dq_flags", "response_currency"),
        ),
        T,
    )
    | dict.fromkeys(("services_impacted", "journeys"), L)
    | dict.fromkeys(("severity_rank", "alerts_n", "anomalies_n", "family_size", "recurrence_n", "candidates_n", "actions_open"), I)
    | dict.fromkeys(
        (
            *("t_detect_minutes", "t_acknowledge_minutes", "t_mitigate_minutes", "t_resolve_minutes", "impact_minutes", "age_minutes"),
            *("top_candidate_probability", "p_none", "lost_successes", "lost_revenue", "lost_revenue_low", "lost_revenue_high"),
            *("days_since_prev_in_family", "data_coverage_pct", "slo_budget_share", "response_cost", "response_hours"),
        ),
        N,
    )
    | dict.fromkeys(("is_major", "is_open", "is_censored", "exclude_from_metrics", "top_candidate_confirmed", "recurred_after_fix"), B)
    | dict.fromkeys(("started_at", "detected_at", "declared_at", "acknowledged_at", "mitigated_at", "resolved_at", "impact_end_at"), TS)
    | {"as_of": TS},
    "mart_incident_timeline": {"incident_id": T, "position": I, "kind": T, "subject_id": T, "text": T, "occurred_at": TS},
    "mart_anomalies": dict.fromkeys(
        ("anomaly_id", "series_id", "incident_id", "signal", "subject_kind", "subject", "region", "segment", "direction", "explained_by"), T
    )
    | {"expected": N, "actual": N, "score": N, "hurts": B, "started_at": TS, "ended_at": TS, "alarmed_at": TS},
    "mart_incident_candidates": dict.fromkeys(
        ("incident_id", "kind", "candidate_id", "service", "title", "change_kind", "url", "rationale", "human_verdict"), T
    )
    | {"rank": I, "probability": N, "gap_minutes": N, "change_started_at": TS},
    "mart_incident_evidence": dict.fromkeys(("evidence_id", "incident_id", "kind", "candidate_id", "check_name", "why"), T)
    | {"strength": N, "is_interesting": B},
    "mart_incident_impact": dict.fromkeys(("incident_id", "journey", "segment", "status", "reason", "currency"), T)
    | dict.fromkeys(
        ("expected_successes", "actual_successes", "lost_successes", "lost_revenue", "lost_revenue_low", "lost_revenue_high"), N
    ),
    "mart_incident_slo": {"incident_id": T, "slo": T, "title": T, "status": T, "budget_share": N, "budget_share_beyond_usual": N},
    "mart_similar_incidents": dict.fromkeys(
        ("incident_id", "similar_incident_id", "similar_title", "similar_service_origin", "fixed_by", "fix"), T
    )
    | {"rank": I, "reasons": L, "fix_worked_n": I, "fix_tried_n": I, "similarity": N, "similar_started_at": TS},
    "mart_families": dict.fromkeys(
        ("family_id", "family_title", "status", "last_fix", "last_fix_verdict", "usual_fix", "currency", "worst_severity"), T
    )
    | dict.fromkeys(("n_incidents", "n_quantified", "usual_fix_worked_n", "usual_fix_tried_n"), I)
    | {"lost_revenue": N, "usual_loss": N, "last_fix_at": TS, "first_incident_at": TS, "last_incident_at": TS},
    "mart_action_items": dict.fromkeys(
        ("action_item_id", "incident_id", "family_id", "title", "type", "owner_team", "status", "success_criterion", "verdict", "url"), T
    )
    | {"is_open": B, "is_overdue": B, "due_at": TS},
    "mart_fix_impact": dict.fromkeys(("action_item_id", "outcome", "title", "verdict"), T),
    "mart_recommendations": dict.fromkeys(("family_id", "action", "rationale", "confidence", "owner_team", "trade_offs", "currency"), T)
    | {"rank": I, "expected_risk_reduction": N, "risk_reduction_low": N, "risk_reduction_high": N, "approvals": L},
    "mart_journey_health": dict.fromkeys(("journey", "title", "owner_team", "worst_step", "currency"), T)
    | {"day": D, "good": I, "total": I, "good_7d": I, "total_7d": I, "slo_good": I, "slo_total": I, "slo_target": N}
    | {"slo_window_days": I, "slo_days_n": I, "budget_left_ratio": N, "burn_rate": N, "burn_rate_7d": N, "incidents_28d": I}
    | {"revenue_28d": N, "enough_traffic": B, "is_latest": B, "last_bucket_at": TS},
    "mart_slo_health": dict.fromkeys(("slo", "title", "method", "window_kind", "status"), T)
    | {"is_composite": B, "target": N, "window_share": N, "window_days_n": I, "budget_left_ratio": N, "burn_rate": N}
    | {"enough_traffic": B, "is_latest": B, "day": D},
    "mart_slo_burn": {"slo": T, "rule": T, "title": T, "severity": T, "status": T, "burn_long": N, "burn_short": N, "threshold": N}
    | {"long_minutes": I, "short_minutes": I, "days_to_empty": N},
    "mart_source_coverage": dict.fromkeys(("source", "entity", "owner", "status", "reasons"), T)
    | dict.fromkeys(("received", "rejected", "duplicate", "late", "landed"), I)
    | {"coverage_ratio": N, "minutes_behind": N, "is_declared": B, "window_end": TS, "watermark": TS},
    "mart_signal_quality": dict.fromkeys(("source_kind", "signal_id", "signal", "subject", "region", "segment", "status", "reason"), T)
    | {"completeness": N, "last_seen_at": TS},
    "mart_detector_health": dict.fromkeys(("detector_version", "mode", "signal", "status", "reason"), T)
    | dict.fromkeys(("coverage", "coverage_low", "coverage_high", "hurting_per_series_week", "unmatched_per_series_week"), N)
    | {"week_start": D, "series_n": I, "series_scored_n": I, "is_drifting": B, "is_complete_week": B},
    "mart_unmapped_names": {"kind": T, "name": T, "seen_in": T, "nearest_name": T, "rows_n": I, "last_seen_at": TS},
    "mart_instrumentation_gaps": dict.fromkeys(("service", "signal_kind", "owner_team", "status"), T)
    | {"incidents_n": I, "incidents_without_signal_n": I, "last_seen_at": TS},
}

_NAMED = re.compile(r"\bmart_\w+")


class Mart:
    """A published mart, open for one request.

    Attributes:
        absent: marts and `mart.column`s that were asked for and are not published, in the order they were asked for.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._held: dict[str, set[str]] = {}
        self._seen: set[str] = set()
        self.absent: list[str] = []
        listed = "select table_name, column_name from duckdb_columns() where schema_name = 'marts' and not internal"
        for table, column in warehouse.frame(connection, listed).rows():
            self._held.setdefault(table, set()).add(column)

    def has(self, mart: str) -> bool:
        """Return whether a mart is published, whatever its columns."""
        return mart in self._held

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run a query over marts of `MARTS`, named without a schema; times come back in UTC.

        Raises:
            WarehouseError: the query does not run.
        """
        for name in dict.fromkeys(_NAMED.findall(sql)):
            self._view(name)
        return warehouse.frame(self._connection, sql, parameters).to_dicts()

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> dict[str, Any] | None:
        """Return the first row of a query, or None."""
        return next(iter(self.rows(sql, parameters)), None)

    def _view(self, name: str) -> None:
        if name in self._seen:
            return
        self._seen.add(name)
        schema, held = MARTS[name], self._held.get(name, set())
        if not held:
            self.absent.append(name)
        else:
            self.absent += [f"{name}.{column}" for column in schema if column not in held]
        columns = ", ".join(
            f"cast({warehouse.identifier(column) if column in held else 'null'} as {kind}) as {warehouse.identifier(column)}"
            for column, kind in schema.items()
        )
        source = f"from marts.{warehouse.identifier(name)}" if held else "where false"
        warehouse.execute(self._connection, f"create temp view {warehouse.identifier(name)} as select {columns} {source}")


@contextmanager
def opened(path: Path) -> Iterator[Mart]:
    """Open the published mart behind its link, as it is now.

    Raises:
        WarehouseError: there is none yet, or it cannot be read.
    """
    with warehouse.connect(path) as connection:
        yield Mart(connection)
