"""Rows of a published mart about three incidents, small and invented: one that says everything, one of which little is known, one open."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

START = datetime(2026, 11, 3, 18, 12, tzinfo=UTC)
AS_OF = datetime(2026, 11, 4, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 4, 0, 10, tzinfo=UTC)

Marts = dict[str, pl.DataFrame]


def after(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def incident(name: str, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "incident_id": name,
        "title": "Checkout fails",
        "severity": "sev1",
        "status": "resolved",
        "environment": "production",
        "region": "",
        "service_origin": "checkout",
        "services_impacted": ["cart", "checkout"],
        "team_owner": "shop",
        "detection_method": "customer",
        "is_found_by_us": False,
        "is_major": True,
        "is_open": False,
        "is_censored": False,
        "exclude_from_metrics": False,
        "postmortem_status": None,
        "confirmed_candidate_id": None,
        "top_candidate_confirmed": None,
        "family_id": "family-1",
        "family_title": "checkout: failures",
        "family_size": 4,
        "recurrence_n": 3,
        "recurred_after_fix": True,
        "days_since_prev_in_family": 9.25,
        "impact_status": "quantified",
        "impact_reason": None,
        "currency": "EUR",
        "lost_revenue": 12_345.0,
        "lost_revenue_low": 9_810.0,
        "lost_revenue_high": 14_700.0,
        "t_detect_minutes": 17.0,
        "t_acknowledge_minutes": 2.0,
        "t_mitigate_minutes": 71.0,
        "t_resolve_minutes": 90.0,
        "impact_minutes": 71.0,
        "anomaly_to_detected_minutes": 12.0,
        "alerts_n": 23,
        "anomalies_n": 2,
        "data_coverage_pct": 71.0,
        "actions_open": 0,
        "started_at": START,
        "detected_at": after(17),
        "resolved_at": after(100),
        "as_of": AS_OF,
    }
    return row | changes


def _entry(position: int, kind: str, minutes: float, text: str) -> dict[str, Any]:
    return {
        "entry_id": f"entry-{position}",
        "incident_id": "INC-1",
        "position": position,
        "kind": kind,
        "text": text,
        "occurred_at": after(minutes),
    }


def marts() -> Marts:
    """Frames of every mart a draft reads."""
    unknown = {name: None for name in incident("") if name.startswith(("t_", "lost_", "anomaly", "family", "data_", "days", "recur"))}
    rows: dict[str, list[dict[str, Any]]] = {
        "mart_incidents": [
            incident("INC-1"),
            incident(
                "INC-2",
                **unknown,
                severity="sev2",
                title="Search [E1] is slow. It's | odd <b>",
                impact_status="unknown",
                impact_reason="no journey passes through its services",
                is_found_by_us=None,
                detection_method="unknown",
                impact_minutes=20.0,
                alerts_n=0,
                anomalies_n=0,
                service_origin="search",
                services_impacted=None,
            ),
            incident("INC-3", status="open", is_open=True, resolved_at=None),
            incident("INC-4", severity="sev4"),
            incident("INC-5", postmortem_status="reviewed"),
            incident("INC-6", resolved_at=AS_OF - timedelta(days=40)),
        ],
        "mart_incident_impact": [
            {
                "incident_id": "INC-1",
                "journey": "shop",
                "segment": f"region={region}",
                "region": region,
                "status": status,
                "currency": "EUR",
            }
            | {
                "expected_successes": 169.2,
                "actual_successes": 98.0,
                "lost_revenue": lost,
                "lost_revenue_low": 0.0,
                "lost_revenue_high": 2e4,
            }
            | {"recovered_later": 1_000.0}
            for region, status, lost in (("eu", "quantified", 12_345.0), ("us", "below_noise", 12.0))
        ],
        "mart_incident_slo": [
            {"incident_id": "INC-1", "slo": "shop", "title": "Shop works", "status": "measured", "is_shared": True}
            | {"budget_share": 0.124, "budget_share_beyond_usual": 0.12}
        ],
        "mart_incident_timeline": [
            _entry(1, "change", -20, "deploy “Faster cart” on cart") | {"subject_id": "deploy-77"},
            _entry(8, "change", -900, "deploy “Old” on cart") | {"subject_id": "deploy-1"},
            _entry(2, "anomaly", -5, "conversion of shop (eu) went down"),
            _entry(3, "started", 0, "Impact began"),
            _entry(4, "anomaly", 10, "conversion of shop (eu) went down"),
            _entry(5, "alert", 17, "Alert HighErrorRatio/1 on checkout"),
            _entry(6, "event", 30, "Rolled back 3 pods; see [E9]\n# not a heading"),
            _entry(7, "resolved", 360, "Resolved"),
        ],
        "mart_incident_candidates": [
            {"incident_id": "INC-1", "rank": rank, "kind": kind, "candidate_id": name, "title": title, "service": service}
            | {"change_kind": change, "probability": probability, "human_verdict": None}
            for rank, (kind, name, title, service, change, probability) in enumerate(
                [
                    ("change", "deploy-77", "Faster cart (v2)", "cart", "deploy", 0.71),
                    ("service", "ledger", "Ledger", "ledger", None, 0.2),
                    ("none", "none", None, None, None, 0.09),
                    ("change", "deploy-1", "Old", "cart", "deploy", 0.001),
                ],
                start=1,
            )
        ],
        "mart_incident_evidence": [
            {"evidence_id": "a1", "incident_id": "INC-1", "kind": "change", "candidate_id": "deploy-77", "strength": 2.0}
            | {"why": "deploy Faster cart began 20 min before. Errors went from 0.4 % to 38 %"},
            {"evidence_id": "a2", "incident_id": "INC-1", "kind": "change", "candidate_id": "deploy-77", "strength": -0.5}
            | {"why": "cart is changed 1.7 times a day"},
        ],
        "mart_similar_incidents": [
            {"incident_id": "INC-1", "similar_incident_id": "INC-0", "rank": 1, "similar_title": "Checkout fails", "similarity": 0.83}
            | {"similar_started_at": START - timedelta(days=9), "reasons": ["same services hit: checkout"], "fixed_by": "rollback"}
            | {"fix": "rollback on cart", "fix_worked_n": 3, "fix_tried_n": 4}
        ],
        "mart_leading_matches": [
            {"match_id": "match-1", "incident_id": "INC-1", "signal": "deploy", "matched_subject": "cart", "lead_minutes": 20.0}
            | {"past_n": 9, "past_true_n": 5, "past_precision_low": 0.25, "past_precision_high": 0.8, "matched_at": after(-20)}
        ],
        "mart_anomalies": [
            {"anomaly_id": "anomaly-1", "incident_id": "INC-1", "signal": "conversion", "subject": "shop", "hurts": True}
            | {"started_at": after(-5)}
        ],
        "mart_families": [
            {"family_id": "family-1", "family_title": "checkout: failures", "last_fix": "Add a canary", "last_fix_verdict": "too_early"}
            | {"last_fix_at": START - timedelta(days=5), "usual_fix": "rollback on cart", "usual_fix_worked_n": 3, "usual_fix_tried_n": 4}
            | {"usual_fix_low": 0.3, "usual_fix_high": 0.95, "usual_loss": 8_000.0, "n_quantified": 4, "currency": "EUR"}
        ],
        "mart_recommendations": [
            {"recommendation_id": "REC-1", "rank": 1, "family_id": "family-1", "owner_team": "cart-team"}
            | {"action": "Release cart through a canary gate, step by step"}
        ],
        "mart_action_items": [
            {"action_item_id": "AI-1", "incident_id": "INC-0", "family_id": "family-1", "title": "Alert earlier", "status": "open"}
            | {"due_at": START - timedelta(days=1), "done_at": None}
        ],
        "mart_changes": [{"change_id": "deploy-77", "team_owner": "cart-team"}],
        "mart_response": [
            {"week_start": date(2026, 10, 26), "severity": "sev1", "detect_n": 4, "detect_minutes_median": 6.0},
        ],
    }
    return {name: pl.DataFrame(table, infer_schema_length=None) for name, table in rows.items()}


def publish(home: Path, frames: Marts | None = None) -> Path:
    """Write the marts to where a home's published file lies."""
    path = home / "published" / "aftercast.duckdb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute("set timezone = 'UTC'; create schema marts")
        for name, frame in (frames or marts()).items():
            connection.register("given", frame.to_arrow())
            connection.execute(f"create table marts.{name} as select * from given")
            connection.unregister("given")
    return path
