"""A small mart for tests of the weekly report: nine weeks of a shop, its incidents, journeys, fixes and sources. Invented numbers."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from aftercast.reporting.rows import MARTS, Rows, with_schema
from aftercast.window import Window

START = datetime(2026, 9, 7, tzinfo=UTC)
AS_OF = datetime(2026, 11, 9, tzinfo=UTC)
WEEK = Window(datetime(2026, 11, 2, tzinfo=UTC), AS_OF)
POOL, TIMEOUT, DEPLOY = ("f-pool", "Connection pool exhausted"), ("f-timeout", "Provider time-out"), ("f-deploy", "Bad deploy")

Frames = dict[str, pl.DataFrame]


def incident(name: str, started_at: datetime, lost: float | None, **changes: Any) -> dict[str, Any]:
    """One mart_incidents row, quantified when it has a loss."""
    minutes = changes.pop("minutes", 40.0)
    row = {
        "incident_id": name,
        "title": f"Checkout fails ({name})",
        "severity": "sev2",
        "status": "resolved",
        "service_origin": "checkout",
        "started_at": started_at,
        "impact_minutes": minutes,
        "t_mitigate_minutes": minutes,
        "is_open": False,
        "is_censored": False,
        "exclude_from_metrics": False,
        "detection_method": "monitor",
        "is_found_by_us": True,
        "alerts_n": 3,
        "lost_revenue": lost,
        "lost_revenue_low": None if lost is None else lost * 0.85,
        "lost_revenue_high": None if lost is None else lost * 1.2,
        "currency": None if lost is None else "EUR",
        "impact_status": "unknown" if lost is None else "quantified",
        "impact_reason": "no journey passes through its services" if lost is None else None,
        "top_candidate_kind": "change",
        "top_candidate_id": f"deploy-{name}",
        "top_candidate_probability": 0.71,
        "family_id": None,
        "family_title": None,
    }
    return row | changes


def family(pair: tuple[str, str]) -> dict[str, str]:
    return {"family_id": pair[0], "family_title": pair[1]}


def _incidents() -> list[dict[str, Any]]:
    rows = []
    quiet = [38_000, 51_000, 22_000, 64_000, 47_000, 30_500, 58_000, 41_000]
    kinds = [POOL, TIMEOUT, DEPLOY, POOL, TIMEOUT, DEPLOY, POOL, POOL]
    for index, (lost, kind) in enumerate(zip(quiet, kinds, strict=True)):
        at = START + timedelta(days=7 * index + 1, hours=10)
        rows.append(incident(f"INC-{2800 + 5 * index}", at, lost * 0.6, minutes=22.0 + 6 * index, **family(kind)))
        rows.append(
            incident(
                f"INC-{2801 + 5 * index}",
                at + timedelta(days=2, hours=4),
                lost * 0.4,
                **family(TIMEOUT if index % 2 else DEPLOY),
                detection_method="customer" if index % 3 == 0 else "monitor",
                is_found_by_us=index % 3 != 0,
                service_origin="payments",
            )
        )
    monday = WEEK.start
    rows += [
        incident(
            "INC-2871",
            monday + timedelta(days=1, hours=18, minutes=12),
            167_240.0,
            title="Checkout database ran out of connections during the loyalty launch",
            severity="sev1",
            minutes=96.0,
            recurred_after_fix=True,
            top_candidate_confirmed=True,
            top_candidate_probability=0.86,
            url="https://incidents.example.test/INC-2871",
            **family(POOL),
        ),
        incident(
            "INC-2874",
            monday + timedelta(days=3, hours=9, minutes=40),
            48_900.0,
            title="Card payments time out in Europe",
            service_origin="payments",
            minutes=71.0,
            top_candidate_kind="provider",
            top_candidate_id="paypoint",
            top_candidate_probability=0.64,
            **family(TIMEOUT),
        ),
        incident(
            "INC-2869",
            monday + timedelta(hours=20, minutes=5),
            35_400.0,
            minutes=38.0,
            recurred_after_fix=True,
            top_candidate_probability=0.48,
            title="Checkout slow, then failing",
            **family(POOL),
        ),
        incident(
            "INC-2878",
            monday + timedelta(days=5, hours=13, minutes=22),
            19_700.0,
            title="Search returns nothing",
            service_origin="search",
            minutes=52.0,
        ),
        incident(
            "INC-2876",
            monday + timedelta(days=4, hours=11, minutes=2),
            412.0,
            title="Wallet balance is stale",
            service_origin="wallet",
            minutes=24.0,
            impact_status="below_noise",
            lost_revenue_low=-900.0,
            lost_revenue_high=2_150.0,
            detection_method="customer",
            is_found_by_us=False,
        ),
        incident(
            "INC-2880",
            monday + timedelta(days=6, hours=22, minutes=30),
            None,
            title="Internal dashboards are empty",
            severity="sev3",
            service_origin="metrics",
            minutes=89.0,
            t_mitigate_minutes=None,
            is_open=True,
            is_censored=True,
            status="open",
            detection_method="unknown",
            is_found_by_us=None,
            top_candidate_kind="none",
            top_candidate_id="none",
            top_candidate_probability=0.55,
        ),
        incident("INC-2881", monday + timedelta(days=2), 9_999.0, title="Fire drill", exclude_from_metrics=True),
    ]
    return rows


def impact_of(incidents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Split each incident's loss over two segments of the journey its service carries, so that the parts add up to the cent."""
    journeys = {"checkout": "checkout", "payments": "checkout", "search": "browse", "wallet": "wallet"}
    rows = []
    for row in incidents:
        journey = journeys.get(row["service_origin"])
        if row["lost_revenue"] is None or journey is None:
            continue
        first = round(row["lost_revenue"] * 0.7, 2)
        for segment, lost in (("region=eu", first), ("region=us", round(row["lost_revenue"] - first, 2))):
            rows.append(
                {
                    "incident_id": row["incident_id"],
                    "journey": journey,
                    "segment": segment,
                    "lost_revenue": lost,
                    "currency": row["currency"],
                    "status": row["impact_status"],
                }
            )
    return rows


def _candidates(incidents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for row in incidents:
        p, kind, name = row["top_candidate_probability"], row["top_candidate_kind"], row["top_candidate_id"]
        others = [("service", "payment-db", 0.6), ("none", "none", 0.25), ("change", "flag-loyalty", 0.15)]
        ranked = [(kind, name, p), *((k, n, round((1 - p) * share, 6)) for k, n, share in others if (k, n) != (kind, name))]
        for rank, (one, candidate, probability) in enumerate(ranked, start=1):
            title = f"Deploy {row['service_origin']} v{rank}.{len(candidate)}" if one == "change" else candidate
            rows.append(
                {
                    "incident_id": row["incident_id"],
                    "rank": rank,
                    "kind": one,
                    "candidate_id": candidate,
                    "service": row["service_origin"],
                    "title": title,
                    "probability": probability,
                    "rationale": "finished 4 minutes before the start, on the service that failed first; 12 times its base rate",
                    "human_verdict": "confirm" if rank == 1 and row.get("top_candidate_confirmed") else None,
                }
            )
    return rows


EPISODES = (
    ("INC-2871", "error_ratio|environment=production|service=checkout|region=eu", 0.93, 0.006, 0.12),
    ("INC-2871", "latency_p95_ms|environment=production|service=checkout", 0.71, 210.0, 1_940.0),
    ("INC-2874", "conversion|journey=checkout|step=pay|region=eu|tier=gold", 0.88, 0.91, 0.43),
    ("INC-2869", "error_ratio|environment=production|service=checkout|region=us", 0.64, 0.006, 0.031),
)


def _anomalies(incidents: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Episodes of three incidents and the points around each: a rhythm, a fault in the middle, ten minutes without data."""
    begun = {row["incident_id"]: row["started_at"] for row in incidents}
    anomalies, points = [], []
    for number, (name, series_id, score, usual, fault) in enumerate(EPISODES):
        if name not in begun:
            continue
        start = begun[name] + timedelta(minutes=-begun[name].minute % 5)
        anomalies.append(
            {
                "anomaly_id": f"anomaly-{number}",
                "series_id": series_id,
                "incident_id": name,
                "started_at": start,
                "ended_at": start + timedelta(minutes=60),
                "direction": "up" if fault > usual else "down",
                "hurts": True,
                "score": score,
                "trained_until": start.replace(hour=0, minute=0),
            }
        )
        for bucket in range(-60, 72):
            expected = usual * (1 + 0.1 * math.sin(bucket / 40))
            shape = math.sin((bucket + 1.5) / 14 * math.pi) if 0 <= bucket < 12 else 0.0
            actual = expected * (1 + 0.04 * math.sin(bucket * 2.3)) + (fault - usual) * shape
            most = 1.0 if usual < 1 else math.inf
            points.append(
                {
                    "anomaly_id": f"anomaly-{number}",
                    "bucket_at": start + timedelta(minutes=5 * bucket),
                    "actual": None if bucket in (-40, -39) else min(actual, most),
                    "expected": min(expected, most),
                    "low": expected * 0.9,
                    "high": min(expected * 1.1, most),
                    "is_masked": -3 <= bucket < 18,
                }
            )
    return anomalies, points


def _journeys() -> list[dict[str, Any]]:
    rows = []
    shapes = [
        ("checkout", "Checkout", "shop", 0.999, 90_000),
        ("browse", "Browse and search", "discovery", 0.995, 400_000),
        ("wallet", "Wallet", "money", 0.998, 30_000),
    ]
    shapes.append(("signup", "Sign-up", "growth", 0.99, 20))
    for index in range(63):
        day = START.date() + timedelta(days=index)
        for journey, title, team, target, size in shapes:
            total = size + (index % 7) * size // 40
            share = {"checkout": 0.55, "browse": 0.4, "wallet": 0.3, "signup": 0.2}[journey] * (1 + 0.3 * (index % 5 - 2) / 2)
            if journey == "checkout" and day == date(2026, 11, 3):
                share = 19.0
            failed = round(total * (1 - target) * share)
            rows.append(
                {
                    "journey": journey,
                    "title": title,
                    "owner_team": team,
                    "day": day,
                    "total": total,
                    "good": total - failed,
                    "slo_target": target,
                    "slo_window_days": 28,
                }
            )
    rows += [
        {
            "journey": "billing",
            "title": "API billing",
            "owner_team": "api",
            "day": AS_OF.date() - timedelta(days=1),
            "total": 500,
            "good": 500,
        }
    ]
    return rows


def _objectives() -> list[dict[str, Any]]:
    """Three objectives declared in OpenSLO, one missed, one met, one without traffic, beside a journey's own target."""
    rows = []
    for index in range(63):
        day = START.date() + timedelta(days=index)
        for slo, title, target, share, status in (
            ("eu-checkout", "Checkout in Europe", 0.99, 0.9712 + index * 1e-5, "missed"),
            ("pay-in", "Money comes in", 0.95, 0.9574 + index * 1e-5, "kept"),
            ("night", "Batch at night", 0.9, 0.8, "not_enough_traffic"),
            ("checkout", "Checkout", 0.999, 0.9, "missed"),
        ):
            left = 1 - (1 - share) / (1 - target)
            rows.append({"slo": slo, "title": title, "day": day, "target": target, "window_share": share, "status": status})
            rows[-1]["budget_left_ratio"] = left
    return rows


def _fix(
    name: str, title: str, kind: tuple[str, str], shipped: datetime, before: int, after: int, verdict: str, ratio: tuple[float, ...]
) -> dict[str, Any]:
    return {
        "action_item_id": name,
        "outcome": "recurrence",
        "title": title,
        "owner_team": "payments" if kind is TIMEOUT else "shop",
        **family(kind),
        "shipped_at": shipped,
        "n_before": before,
        "exposure_before": (shipped - START) / timedelta(days=1),
        "n_after": after,
        "exposure_after": (AS_OF - shipped) / timedelta(days=1),
        "estimate": ratio[0],
        "ci_low": ratio[1],
        "ci_high": ratio[2],
        "verdict": verdict,
        "weeks_needed": 7.4 if verdict == "too_early" else None,
    }


def frames(incidents: list[dict[str, Any]] | None = None, *, episodes: bool = False) -> Frames:
    """Return every mart the report reads; incidents may be replaced, the rows that belong to them follow. Pictures take time: on demand."""
    incidents = _incidents() if incidents is None else incidents
    anomalies, points = _anomalies(incidents) if episodes else ([], [])
    rows: dict[str, list[dict[str, Any]]] = {
        "mart_run": [
            {
                "company": "Petrel Shop",
                "window_start": START,
                "as_of": AS_OF,
                "code_version": "0.1.0+1f3a9c0d2b4e",
                "configuration_fingerprint": "5e1f0c77aa10",
                "model_versions": "candidates rank-1, detection prophet-1, impact loss-1",
            }
        ],
        "mart_incidents": incidents,
        "mart_anomalies": anomalies,
        "mart_anomaly_points": points,
        "mart_incident_candidates": _candidates(incidents),
        "mart_incident_impact": impact_of(incidents),
        "mart_journey_health": _journeys(),
        "mart_slo_health": _objectives(),
        "mart_slo_burn": [
            {"slo": "eu-checkout", "rule": "page_1h", "severity": "page", "status": "firing"},
            {"slo": "eu-checkout", "rule": "ticket_3d", "severity": "ticket", "status": "quiet"},
            {"slo": "checkout", "rule": "page_1h", "severity": "page", "status": "firing"},
        ],
        "mart_fix_impact": [
            _fix("AI-11", "Raise the pool limit", POOL, datetime(2026, 10, 26, 12, tzinfo=UTC), 4, 3, "not_effective", (2.3, 0.4, 13.0)),
            _fix(
                "AI-12",
                "Retry card payments with jitter",
                TIMEOUT,
                datetime(2026, 10, 22, 9, tzinfo=UTC),
                6,
                1,
                "too_early",
                (0.4, 0.01, 3.3),
            ),
            _fix(
                "AI-07", "Canary gate for every deploy", DEPLOY, datetime(2026, 9, 30, 9, tzinfo=UTC), 9, 1, "effective", (0.12, 0.01, 0.6)
            ),
        ],
        "mart_action_items": [
            {"action_item_id": "AI-20", "owner_team": "shop", "is_open": True, "is_overdue": True, "days_overdue": 34.2},
            {"action_item_id": "AI-21", "owner_team": "shop", "is_open": True, "is_overdue": True, "days_overdue": 5.1},
            {"action_item_id": "AI-22", "owner_team": "payments", "is_open": True, "is_overdue": True, "days_overdue": 12.0},
            {"action_item_id": "AI-23", "owner_team": "discovery", "is_open": True, "is_overdue": False},
            {"action_item_id": "AI-24", "owner_team": "shop", "is_open": False, "is_overdue": False},
        ],
        "mart_recommendations": [
            {
                "recommendation_id": "r1",
                "rank": 1,
                "family_id": POOL[0],
                "action": "Remove the slow loyalty query from the checkout path",
                "rationale": "Six incidents of one family in nine weeks; raising the limit did not lower their rate.",
                "expected_risk_reduction": 214_000.0,
                "risk_reduction_low": 71_000.0,
                "risk_reduction_high": 388_000.0,
                "currency": "EUR",
                "confidence": "medium",
                "owner_team": "shop",
                "approvals": ["shop lead", "database on-call"],
                "trade_offs": "Delays the loyalty release by about two weeks.",
                "n_incidents": 6,
            },
            {
                "recommendation_id": "r2",
                "rank": 2,
                "action": "Fail over to the second card provider automatically",
                "rationale": "Seven provider time-outs in nine weeks.",
                "expected_risk_reduction": 96_000.0,
                "risk_reduction_low": 8_000.0,
                "risk_reduction_high": 210_000.0,
                "currency": "EUR",
                "confidence": "low",
                "owner_team": "payments",
                "approvals": ["finance"],
                "trade_offs": "Fees of the second provider are 0.3 points higher.",
            },
        ],
        "mart_source_coverage": [
            {
                "source": "pagerduty",
                "entity": "incidents",
                "window_end": AS_OF,
                "received": 25,
                "rejected": 0,
                "duplicate": 1,
                "late": 2,
                "watermark": AS_OF - timedelta(hours=2),
            },
            {
                "source": "prometheus",
                "entity": "metric_points",
                "window_end": AS_OF,
                "received": 1_204_331,
                "rejected": 12,
                "duplicate": 0,
                "late": 40,
                "watermark": AS_OF - timedelta(minutes=5),
                "reasons": "value is not a number",
            },
            {
                "source": "orders",
                "entity": "journey_kpis",
                "window_end": AS_OF,
                "received": 80_211,
                "rejected": 0,
                "duplicate": 0,
                "late": 0,
                "watermark": AS_OF - timedelta(minutes=5),
            },
        ],
        "mart_unmapped_names": [],
        "mart_leading_matches": _matches(),
        "mart_signal_quality": [
            {"source_kind": "series", "signal_id": f"s{n}", "status": "not_enough_data" if n % 9 == 0 else "scored"} for n in range(40)
        ]
        + [{"source_kind": "alert", "signal_id": "a", "status": "received"}],
    }
    return {
        name: with_schema(pl.DataFrame(rows[name], infer_schema_length=None) if rows[name] else pl.DataFrame(), schema)
        for name, schema in MARTS.items()
    }


def _matches() -> list[dict[str, Any]]:
    """A trusted match and one on trial that hold now, a rejected one, and one that is over."""
    row = {
        "kind": "episode",
        "signal": "saturation_ratio",
        "matched_subject": "wallet",
        "outcome": "pending",
        "past_n": 9,
        "past_true_n": 8,
    }
    row |= {"past_precision_low": 0.52, "past_precision_high": 1.0, "family_title": "wallet: failures", "status": "trusted"}
    row |= {
        "look": "Look at saturation_ratio of wallet.",
        "matched_at": AS_OF - timedelta(hours=1),
        "horizon_end_at": AS_OF + timedelta(hours=7),
    }
    trial = {"signal": "HighLatency", "matched_subject": "payments", "status": "on_trial", "past_n": 0, "past_precision_low": None}
    return [
        {**row, **trial, "kind": "alert", "look": "Look at alert HighLatency of payments."},
        row,
        {**row, "signal": "deploy", "kind": "change", "status": "rejected"},
        {**row, "signal": "errors", "outcome": "false", "horizon_end_at": AS_OF - timedelta(hours=7)},
    ]


def as_rows(found: Frames, absent: tuple[str, ...] = ()) -> Rows:
    return Rows(found, absent)


def write(path: Path, found: Frames) -> Path:
    """Write frames as schema `marts` of a DuckDB file, money as decimals as the real marts have it."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("set timezone = 'UTC'; create schema marts")
        for name, frame in found.items():
            connection.register("frame", frame.to_arrow())
            money = [f"cast({column} as decimal(18, 2)) as {column}" for column in frame.columns if column.startswith("lost_revenue")]
            replaced = f" replace ({', '.join(money)})" if money else ""
            connection.execute(f"create table marts.{name} as select *{replaced} from frame")
            connection.unregister("frame")
    return path
