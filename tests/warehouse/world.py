"""A company of two services and one journey, small enough to work out by hand, written as landed, declared and derived files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from aftercast import landing
from aftercast.analyses import DECLARED, DERIVED
from aftercast.entities import COVERAGE_SCHEMA, ENTITIES
from aftercast.settings import Settings

START = datetime(2026, 9, 7, tzinfo=UTC)
AS_OF = datetime(2026, 9, 21, tzinfo=UTC)
ONSET = datetime(2026, 9, 16, 10, tzinfo=UTC)  # a Wednesday
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
RUN = {
    "company": "Corner shop",
    "window_start": START,
    "as_of": AS_OF,
    "code_version": "1.2.3",
    "configuration_fingerprint": "c0ffee",
    "landing_fingerprint": "1a2b3c",
}


def open_settings(home: Path) -> Settings:
    """Settings of an empty home with every table in place and no configuration."""
    settings = Settings(home=home, config=home / "config")
    landing.prepare(settings)
    return settings


def land(settings: Settings, entity: str, rows: Iterable[Mapping[str, Any]], *, ingested_at: datetime = AS_OF, file: str = "rows") -> None:
    """Write rows of an entity; columns that a row leaves out are null."""
    schema = {"coverage": COVERAGE_SCHEMA}.get(entity) or ENTITIES[entity].schema
    defaults = {} if entity == "coverage" else {"source": "hand", "source_id": "", "ingested_at": ingested_at}
    if entity not in ("coverage", "incident_events", "action_items", "postmortems", "insights", "verdicts", "journey_kpis"):
        defaults |= {"environment": "production", "region": ""}
    if entity == "journey_kpis":
        defaults |= {"region": "eu", "tier": "", "plan": "", "country": "", "currency": "EUR"}
    known = {
        name: kind for name, kind in schema.items() if name in ENTITIES.get(entity, ENTITIES["changes"]).schema or entity == "coverage"
    }
    frame = pl.DataFrame([{name: {**defaults, **row}.get(name) for name in known} for row in rows], schema=known)
    parts = {"2026-09-07": frame}
    if entity == "metric_points":  # kept day by day, so a row lies in the folder of its day
        parts = {day: rows for (day,), rows in frame.group_by(pl.col("ts").dt.strftime("%Y-%m-%d"))}
    for day, part in parts.items():
        path = settings.landing / entity / "source=hand" / f"date={day}" / f"{file}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_parquet(path)


def derive(settings: Settings, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
    schema = DERIVED[table]
    filled = [{name: {"model_version": "v1", **row}.get(name) for name in schema} for row in rows]
    landing.write_derived(settings, table, pl.DataFrame(filled, schema=schema))


EVERYBODY = {"journey": "checkout", "step": "", "region": "", "tier": "", "plan": "", "country": "", "weight": 1.0}


def declare(settings: Settings, tables: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    frames = {
        name: pl.DataFrame([{column: row.get(column) for column in DECLARED[name]} for row in rows], schema=DECLARED[name])
        for name, rows in tables.items()
    }
    landing.write_declared(settings, frames)


def alert_id(fingerprint: str, started_at: datetime) -> str:
    """The id staging gives an alert episode."""
    micros = (started_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return hashlib.md5(f"{fingerprint}|{micros}".encode(), usedforsecurity=False).hexdigest()


def write_declared_company(settings: Settings) -> None:
    declare(
        settings,
        {
            "run": [RUN],
            "services": [
                {"service": "payments", "kind": "service", "title": "Payments", "team": "money", "criticality": "critical"},
                {"service": "web", "kind": "service", "title": "Web", "team": "shop", "criticality": "high"},
            ],
            "dependencies": [{"caller": "web", "callee": "pay-svc"}],
            "teams": [{"team": "money", "title": "Money"}],
            "aliases": [{"kind": "service", "alias": "pay-svc", "name": "payments"}],
            "journeys": [
                {
                    "journey": "checkout",
                    "title": "Checkout",
                    "owner_team": "shop",
                    "currency": "EUR",
                    "grain_minutes": 5,
                    "slo_target": 0.9,
                    "slo_window_days": 28,
                }
            ],
            "journey_steps": [
                {"journey": "checkout", "step": "cart", "position": 1, "weight": 1.0, "earns": False},
                {"journey": "checkout", "step": "pay", "position": 2, "weight": 1.0, "earns": True},
            ],
            "journey_services": [{"journey": "checkout", "step": "pay", "service": "pay-svc", "weight": 1.0}],
            "slos": [
                {
                    "slo": "checkout",
                    "title": "Checkout",
                    "target": 0.9,
                    "window": "rolling",
                    "window_days": 28,
                    "method": "occurrences",
                    "is_composite": False,
                },
                {
                    "slo": "pay-slices",
                    "title": "Pay, by five minutes",
                    "target": 0.5,
                    "window": "week",
                    "window_days": 7,
                    "method": "timeslices",
                    "slice_minutes": 5,
                    "slice_target": 0.9,
                    "is_composite": False,
                },
                {
                    "slo": "both",
                    "title": "Both",
                    "target": 0.8,
                    "window": "rolling",
                    "window_days": 28,
                    "method": "occurrences",
                    "is_composite": True,
                },
            ],
            "slo_parts": [
                {**EVERYBODY, "slo": "checkout", "part": 1},
                {**EVERYBODY, "slo": "pay-slices", "part": 1, "step": "pay"},
                {**EVERYBODY, "slo": "both", "part": 1, "step": "cart"},
                {**EVERYBODY, "slo": "both", "part": 2, "step": "pay", "weight": 3.0},
            ],
            "costs": [{"hourly_rate": 80.0, "currency": "EUR", "least_minutes": 15.0, "review_hours": 1.0}],
            "signals": [{"signal": "errors", "fact": "metric", "hurts": "up", "formula": "errors"}],
            "detectors": [
                {"version": "prophet-1", "state": "live", "since": START, "tuning": "[]", "features_version": "f0"},
                {
                    "version": "prophet-2",
                    "state": "shadow",
                    "since": START + 7 * DAY,
                    "note": "Quieter.",
                    "tuning": "[]",
                    "learning_signals": "insight:IN-1@ab12",
                    "differs_by": "+insight:IN-1@ab12",
                    "isolates": "insight:IN-1@ab12",
                    "features_version": "f1",
                },
            ],
            "rankers": [
                {"version": "ranker-1", "state": "live", "weights": "prior", "features_version": "f0"},
                {
                    "version": "ranker-2",
                    "state": "shadow",
                    "weights": "learned",
                    "since": START,
                    "note": "By verdicts.",
                    "learning_signals": "verdicts",
                    "differs_by": "-check:saturation@1, +verdicts",
                    "isolates": "",
                    "features_version": "f2",
                },
            ],
            "runbooks": [
                {
                    "runbook": "restart-payments",
                    "title": "Restart the workers of payments",
                    "version": 2,
                    "owner_team": "money",
                    "services": ["payments"],
                    "families": [],
                    "causes": ["service"],
                    "text": "Look at the queue first. Restart one worker at a time.",
                }
            ],
            "sources": [
                {"source": "hand", "kind": "files", "owner": "us", "schedule": "0 * * * *", "entities": ["incidents", "alerts"]},
            ],
        },
    )


def write_landed_company(settings: Settings) -> None:
    # Payments report five points per bucket around the clock; the last half hour of the incident is missing.
    points = [
        {
            "service": "payments",
            "metric": "errors",
            "attributes": "",
            "kind": "counter",
            "unit": "1",
            "ts": ONSET - HOUR + MINUTE * i,
            "value": 2.0,
        }
        for i in range(90)
    ]
    land(settings, "metric_points", points)
    land(settings, "metric_points", [{**points[0], "service": "pay-svc", "value": 3.0}], ingested_at=AS_OF + HOUR, file="late")

    kpis = []
    for day, successes in ((0, 95), (1, 95), (9, 60)):
        at = START + DAY * day + 10 * HOUR  # the last inside the incident
        kpis.append({"journey": "checkout", "step": "cart", "ts": at, "attempts": 200, "successes": 200, "revenue_minor": 99999})
        kpis.append(
            {"journey": "checkout", "step": "pay", "ts": at, "attempts": 100, "successes": successes, "revenue_minor": 100 * successes}
        )
    kpis.append({"journey": "checkout", "step": "pay", "ts": AS_OF, "attempts": 9, "successes": 9, "revenue_minor": 9})
    land(settings, "journey_kpis", kpis)

    def deploy(change_id: str, service: str, at: datetime, version: str, **more: Any) -> dict[str, Any]:
        started = {"kind": "deploy", "result": "success", "planned": False, "started_at": at, "finished_at": at + 5 * MINUTE}
        return {"change_id": change_id, "service": service, "version": version, "title": f"{service} {version}", **started, **more}

    land(
        settings,
        "changes",
        [
            deploy("dep-1", "payments", START + DAY, "v1"),
            deploy("dep-2", "pay-svc", ONSET - 20 * MINUTE, "v2", previous_version="v1"),
            deploy("dep-3", "payments", ONSET + 30 * MINUTE, "v1", previous_version="v2"),
            deploy("dep-4", "web", ONSET - 10 * MINUTE, "w7"),
            {"change_id": "out-1", "kind": "provider", "service": "cardnet", "started_at": ONSET - 5 * DAY, "title": "Cardnet degraded"},
        ],
    )
    land(
        settings,
        "alerts",
        [
            {
                "fingerprint": "e1",
                "name": "HighErrors",
                "service": "payments",
                "started_at": ONSET + 4 * MINUTE,
                "ended_at": ONSET + 20 * MINUTE,
            },
            {"fingerprint": "e1", "name": "HighErrors", "service": "payments", "started_at": ONSET + 25 * MINUTE, "ended_at": ONSET + HOUR},
            {"fingerprint": "e2", "name": "HighErrors", "service": "payments", "environment": "staging", "started_at": ONSET + 4 * MINUTE},
            {"fingerprint": "e3", "name": "DiskFull", "service": "payments", "started_at": ONSET - DAY},
        ],
    )
    incident = {
        "incident_id": "INC-1",
        "title": "Cards are declined",
        "severity": "sev1",
        "status": "resolved",
        "mode": "real",
        "services": ["pay-svc", "web"],
        "detection_method": "monitor",
        "started_at": ONSET,
        "detected_at": ONSET + 10 * MINUTE,
        "declared_at": ONSET + 12 * MINUTE,
        "acknowledged_at": ONSET + 15 * MINUTE,
        "mitigated_at": ONSET + HOUR,
        "resolved_at": ONSET + 2 * HOUR,
        "updated_at": ONSET + 3 * HOUR,
    }
    land(
        settings,
        "incidents",
        [
            incident,
            {**incident, "title": "Something is wrong", "status": "open", "resolved_at": None, "updated_at": ONSET + HOUR},
            {"incident_id": "INC-2", "title": "Slow pages", "severity": "sev3", "services": ["web"], "started_at": AS_OF - 50 * MINUTE},
            {"incident_id": "INC-0", "title": "Game day", "mode": "drill", "services": ["web"], "started_at": ONSET - DAY},
            {"incident_id": "INC-9", "title": "Not yet", "services": ["web"], "started_at": AS_OF + DAY},
        ],
    )
    land(
        settings,
        "incident_events",
        [
            {
                "event_id": "n1",
                "incident_id": "INC-1",
                "kind": "note",
                "text": "Rolling back",
                "author_token": "tok_7",
                "occurred_at": ONSET + 28 * MINUTE,
                "recorded_at": ONSET + 29 * MINUTE,
            }
        ],
    )
    item = {"incident_id": "INC-1", "type": "repair", "version": 1, "created_at": ONSET + DAY, "updated_at": ONSET + DAY}
    land(
        settings,
        "action_items",
        [
            {**item, "action_item_id": "A-1", "title": "Check cards before shipping", "status": "open", "service": "payments"},
            {
                **item,
                "action_item_id": "A-1",
                "title": "Check cards before shipping",
                "status": "done",
                "service": "payments",
                "version": 2,
                "done_at": ONSET + 3 * DAY,
                "updated_at": ONSET + 3 * DAY,
            },
            {
                **item,
                "action_item_id": "A-2",
                "title": "Alert on declines",
                "status": "open",
                "owner_team": "money",
                "due_at": AS_OF - 2 * DAY,
            },
        ],
    )
    land(
        settings,
        "postmortems",
        [
            {
                "postmortem_id": "P-1",
                "version": 1,
                "incident_id": "INC-1",
                "status": "reviewed",
                "trigger": "binary_push",
                "contributing_factors": ["no canary"],
                "created_at": ONSET + DAY,
                "updated_at": ONSET + 2 * DAY,
            }
        ],
    )
    insight = {"version": 1, "origin": "human", "author_token": "tok_7", "confidence": 0.8}
    land(
        settings,
        "insights",
        [
            {
                **insight,
                "insight_id": "IN-1",
                "incident_id": "INC-1",
                "service": "pay-svc",
                "mood": "prescriptive",
                "text": "Ship cards to one region first",
                "prescription": '{"mask": {"services": ["payments"]}}',
                "recorded_at": ONSET + 7 * DAY - DAY * 3,
            },
            {**insight, "insight_id": "IN-2", "text": "Quiet weeks teach little", "recorded_at": ONSET, "confidence": None, "origin": None},
        ],
    )
    land(
        settings,
        "verdicts",
        [
            {
                "verdict_id": "V-1",
                "version": 1,
                "incident_id": "INC-1",
                "subject_kind": "change",
                "subject_id": "dep-2",
                "verdict": "confirm",
                "decided_at": ONSET + DAY,
                "author_token": "tok_7",
            },
            {
                "verdict_id": "V-R",
                "version": 1,
                "subject_kind": "recommendation",
                "subject_id": "R-1",
                "verdict": "confirm",
                "decided_at": ONSET + 3 * DAY,
            },
            {
                "verdict_id": "V-2",
                "version": 1,
                "subject_kind": "anomaly",
                "subject_id": f"s1@{(ONSET + 10 * MINUTE).isoformat()}",
                "verdict": "confirm",
                "decided_at": ONSET + DAY,
            },
            {
                "verdict_id": "V-3",
                "version": 1,
                "subject_kind": "anomaly",
                "subject_id": "E-2",
                "verdict": "reject",
                "decided_at": ONSET - 2 * DAY,
            },
        ],
    )
    window = {"source": "hand", "expected": None, "late": 0, "reasons": "{}"}
    land(
        settings,
        "coverage",
        [
            {
                **window,
                "entity": "incidents",
                "window_start": START,
                "window_end": START + DAY,
                "received": 4,
                "landed": 3,
                "rejected": 1,
                "duplicate": 0,
                "reasons": '{"no \\"title\\"": 1}',
            },
            {
                **window,
                "entity": "incidents",
                "window_start": START + DAY,
                "window_end": AS_OF,
                "received": 5,
                "landed": 2,
                "rejected": 2,
                "duplicate": 1,
                "watermark": ONSET,
                "reasons": '{"bad time": 2}',
            },
        ],
    )


def write_derived_company(settings: Settings) -> None:
    episode = {
        "signal": "errors",
        "subject_kind": "service",
        "environment": "production",
        "region": "",
        "segment": "",
        "direction": "up",
        "hurts": True,
        "expected": 10.0,
        "actual": 15.0,
        "score": 0.9,
        "n_points": 6,
        "detector_version": "prophet-1",
    }
    derive(
        settings,
        "anomalies",
        [
            {
                **episode,
                "anomaly_id": "E-1",
                "series_id": "s1",
                "subject": "payments",
                "started_at": ONSET - 5 * MINUTE,
                "ended_at": ONSET + HOUR,
            },
            {
                **episode,
                "anomaly_id": "E-2",
                "series_id": "s1",
                "subject": "payments",
                "started_at": ONSET - 3 * DAY,
                "ended_at": ONSET - 3 * DAY + HOUR,
            },
            {
                **episode,
                "anomaly_id": "S-1",
                "series_id": "s1",
                "subject": "payments",
                "mode": "shadow",
                "detector_version": "prophet-2",
                "started_at": ONSET,
                "ended_at": ONSET + HOUR,
                "peak_at": ONSET + 30 * MINUTE,
                "alarmed_at": ONSET + 20 * MINUTE,
            },
        ],
    )
    point = {"anomaly_id": "E-1", "series_id": "s1", "actual": 15.0, "expected": 10.0, "low": 8.0, "high": 12.0}
    derive(
        settings,
        "anomaly_points",
        [{**point, "bucket_at": ONSET + minutes * MINUTE, "is_masked": minutes >= -15} for minutes in (-30, -5, 0, 55, 60)],
    )
    day = {"series_id": "s1", "signal": "errors", "expected_points": 50, "detector_version": "prophet-1"}
    derive(
        settings,
        "series_days",
        [
            {**day, "day_at": START + 7 * DAY, "n_points": 50, "n_scored": 45, "n_outside_interval": 2},
            {**day, "day_at": START + 9 * DAY, "n_points": 40, "n_scored": 35, "n_outside_interval": 6},
            {**day, "day_at": START + 10 * DAY, "n_points": 0, "n_scored": 0, "n_outside_interval": 0},
        ],
    )
    proposal = {
        "environment": "production",
        "regions": [],
        "services": ["payments", "web"],
        "journeys": [],
        "status": "closed",
        "opened_because": "one severe alert on payments (weight 0.90)",
        "closed_because": "nothing related for half an hour",
        "n_incidents": 0,
        "n_alerts": 0,
        "n_anomalies": 1,
        "n_kpi_drops": 0,
        "n_subjects": 2,
        "n_reopened": 0,
        "severity": 0.45,
        "narrative": "It began with errors on payments",
        "top_candidate_kind": "change",
        "top_candidate_id": "dep-2",
        "top_candidate_service": "payments",
        "top_candidate_probability": 0.7,
        "top_candidate_rationale": "Probably the deploy on payments",
    }
    derive(
        settings,
        "proposals",
        [
            {
                **proposal,
                "proposal_id": "proposal-1",
                "incident_id": "INC-1",
                "match_likeness": 0.95,
                "match_gap_minutes": 5.0,
                "match_reason": "the incident names payments; it began 5 min before the reported start",
                "n_incidents": 1,
                "n_alerts": 2,
                "started_at": ONSET - 5 * MINUTE,
                "first_signal_at": ONSET - 5 * MINUTE,
                "alarmed_at": ONSET + 4 * MINUTE,
                "ended_at": ONSET + HOUR,
            },
            {
                **proposal,
                "proposal_id": "proposal-2",
                "started_at": ONSET - 3 * DAY,
                "first_signal_at": ONSET - 3 * DAY,
                "alarmed_at": ONSET - 3 * DAY,
                "ended_at": ONSET - 3 * DAY + HOUR,
            },
        ],
    )
    member = {"member_kind": "alert", "role": "joined", "reason": "also on payments", "proposal_id": "proposal-1"}
    derive(
        settings,
        "proposal_members",
        [
            {**member, "member_kind": "anomaly", "member_id": "E-1", "role": "founder", "reason": "the first of it"},
            {**member, "member_id": alert_id("e1", ONSET + 4 * MINUTE)},
            {**member, "member_id": alert_id("e1", ONSET + 25 * MINUTE)},
            {
                **member,
                "member_id": alert_id("e3", ONSET - DAY),
                "proposal_id": None,
                "role": "apart",
                "reason": "evidence 0.50 of 0.8 needed: nothing related followed",
            },
            {**member, "member_kind": "anomaly", "member_id": "E-2", "proposal_id": "proposal-2", "role": "founder"},
        ],
    )
    derive(
        settings,
        "proposal_incidents",
        [
            {
                "proposal_id": "proposal-1",
                "incident_id": "INC-1",
                "rank": 1,
                "likeness": 0.95,
                "gap_minutes": 5.0,
                "reason": "the incident names payments",
            }
        ],
    )
    judged = {"border": "volume", "table_name": "alerts", "source": "shop", "position": 1, "severity": "warning", "reason": "Look at it."}
    late = {"border": "freshness", "expectation": "the last row is as fresh as usual", "status": "not_judged", "observed": "too few gaps"}
    derive(
        settings,
        "gate_results",
        [
            judged | {"expectation": "rows as usual", "status": "failed", "observed": "9", "value": 9.0, "low": 1.0, "high": 5.0, "n": 8},
            judged | late,
        ],
    )
    derive(
        settings,
        "tuning_proposals",
        [
            {
                "proposal_id": "T-1",
                "detector_version": "prophet-1",
                "signal": "errors",
                "subject": "payments",
                "current_sensitivity": 1.0,
                "proposed_sensitivity": 1.0,
                "n_train": 0,
                "n_holdout": 0,
                "verdict": "not_enough_data",
                "reason": "2 judged alarms.",
            }
        ],
    )
    derive(
        settings,
        "insight_effects",
        [
            {
                "insight_id": "IN-1",
                "kind": "mask",
                "prescription": '{"mask": {"services": ["payments"]}}',
                "prescribes": "expect errors of payments to go up",
                "feature_version": "ab12",
                "state": "shadow",
                "model_kind": "detector",
                "live_version": "prophet-1",
                "shadow_version": "prophet-2",
                "compared_from": ONSET,
                "alarms_before": 3,
                "alarms_now": 4,
                "alarms_then": 2,
                "confirmed_now": 1,
                "confirmed_then": 1,
                "rejected_now": 2,
                "rejected_then": 0,
                "precision_now": 1 / 3,
                "precision_now_low": 0.06,
                "precision_now_high": 0.79,
                "precision_then": 1.0,
                "precision_then_low": 0.2,
                "precision_then_high": 1.0,
                "incidents_n": 1,
                "incidents_caught_now": 1,
                "incidents_caught_then": 1,
                "incidents_lost": 0,
                "recall_now": 1.0,
                "recall_now_low": 0.2,
                "recall_now_high": 1.0,
                "recall_then": 1.0,
                "recall_then_low": 0.2,
                "recall_then_high": 1.0,
                "verdict": "run_in_shadow",
                "reason": "Too early to tell.",
            },
            {"insight_id": "IN-2", "kind": "", "state": "proposed", "verdict": "unusable", "reason": "signal 'x' is not declared"},
        ],
    )
    derive(
        settings,
        "series_health",
        [
            {
                "series_id": "s1",
                "signal": "errors",
                "subject_kind": "service",
                "subject": "payments",
                "environment": "production",
                "status": "scored",
                "n_points": 90,
                "expected_points": 100,
                "n_scored": 80,
                "n_outside_interval": 8,
                "first_seen_at": START,
                "last_seen_at": AS_OF - HOUR,
                "detector_version": "prophet-1",
            }
        ],
    )
    candidate = {"incident_id": "INC-1", "score": 0.0, "evidence": [], "weights_version": "prior", "learned_from_n": 0}
    derive(
        settings,
        "candidates",
        [
            {
                **candidate,
                "rank": 1,
                "kind": "change",
                "candidate_id": "dep-2",
                "service": "payments",
                "probability": 0.7,
                "lift": 9.0,
                "rationale": "Shipped 20 minutes before.",
                "evidence": ["ev-1", "ev-2"],
            },
            {**candidate, "rank": 2, "kind": "none", "candidate_id": "none", "probability": 0.2, "rationale": "Nobody knows."},
            {
                **candidate,
                "rank": 3,
                "kind": "change",
                "candidate_id": "dep-4",
                "service": "web",
                "probability": 0.1,
                "rationale": "Shipped 10 minutes before.",
            },
        ],
    )
    shadow = {"ranker_version": "ranker-2", "incident_id": "INC-1", "score": 0.0, "weights_version": "learned-1", "learned_from_n": 20}
    derive(
        settings,
        "ranked_in_shadow",
        [
            {**shadow, "rank": 1, "kind": "none", "candidate_id": "none", "probability": 0.8},
            {**shadow, "rank": 2, "kind": "change", "candidate_id": "dep-2", "probability": 0.2},
        ],
    )
    judged = {"status": "judged", "reason": "confirmed", "n_verdicts": 1, "true_kind": "change", "true_candidate_id": "dep-2"}
    gone = {"incident_id": "INC-0", "status": "no_such_incident", "reason": "no incident of that id is ranked", "n_verdicts": 2}
    live = {"ranker_version": "ranker-1", "weights_version": "prior", "learned_from_n": 0, "decided_at": ONSET + DAY}
    shadow = {"ranker_version": "ranker-2", "weights_version": "learned-1", "learned_from_n": 20, "decided_at": ONSET + DAY}
    right = {"true_rank": 1, "top_kind": "change", "top_candidate_id": "dep-2"}
    wrong = {"true_rank": 2, "top_kind": "none", "top_candidate_id": "none"}
    derive(
        settings,
        "judged_rankings",
        [
            {**live, **judged, **right, "incident_id": "INC-1", "true_probability": 0.7, "top_probability": 0.7, "brier": 0.14},
            {**live, **judged, **right, "incident_id": "INC-2", "true_probability": 0.9, "top_probability": 0.9, "brier": 0.02},
            {**live, **gone, "weights_version": None, "learned_from_n": None},
            {**shadow, **judged, **wrong, "incident_id": "INC-1", "true_probability": 0.2, "top_probability": 0.8, "brier": 1.28},
            {**shadow, **judged, **right, "incident_id": "INC-2", "true_probability": 1.0, "top_probability": 1.0, "brier": 0.0},
            {**shadow, **gone, "weights_version": None, "learned_from_n": None},
        ],
    )
    number = {"ranker_version": "ranker-2", "weights_version": "learned-1", "used_from": START, "learned_from_n": 20}
    derive(
        settings,
        "ranker_weights",
        [
            {**number, "part": "kind", "name": "change", "value": -0.2, "prior_value": 0.0},
            {**number, "part": "check", "name": "", "value": 1.1, "prior_value": 1.0},
        ],
    )
    check = {"incident_id": "INC-1", "kind": "change", "candidate_id": "dep-2", "pointer": "{}", "is_interesting": True}
    derive(
        settings,
        "evidence",
        [
            {**check, "evidence_id": "ev-1", "check_name": "change_before_onset", "strength": 1.0, "why": "It came just before."},
            {**check, "evidence_id": "ev-2", "check_name": "undone_after_onset", "strength": 2.0, "why": "Undoing it helped."},
            {**check, "evidence_id": "ev-3", "check_name": "alerted", "strength": 0.0, "why": "Nothing.", "is_interesting": False},
        ],
    )
    part = {
        "incident_id": "INC-1",
        "journey": "checkout",
        "currency": "EUR",
        "status": "quantified",
        "expected_attempts": 100.0,
        "actual_attempts": 90.0,
        "window_start": ONSET,
        "window_end": ONSET + HOUR,
    }
    derive(
        settings,
        "impact",
        [
            {**part, "segment": "region=eu", "region": "eu", "lost_revenue": 100.104, "lost_revenue_low": 50.0, "lost_revenue_high": 150.0},
            {
                **part,
                "segment": "region=us",
                "region": "us",
                "lost_revenue": 20.0,
                "lost_revenue_low": -5.0,
                "lost_revenue_high": 45.0,
                "status": "below_noise",
            },
            {**part, "segment": "region=asia", "region": "asia", "lost_revenue": 0.0, "status": "unknown", "reason": "too few points"},
        ],
    )
    derive(
        settings,
        "incident_loss",
        [
            {
                "incident_id": "INC-1",
                "lost_successes": 12.0,
                "lost_revenue": 120.10,
                "lost_revenue_low": 70.0,
                "lost_revenue_high": 170.0,
                "currency": "EUR",
                "status": "quantified",
                "journeys": ["checkout"],
                "segments": ["region=eu", "region=us"],
            }
        ],
    )
    version = "monthly-families-2@2026-09"
    derive(
        settings,
        "families",
        [
            {"incident_id": incident, "family_id": "F-1", "family_title": "Bad payment deploys", "clustering_version": version}
            for incident in ("INC-0", "INC-1")
        ],
    )
    write_derived_recurrence(settings, version)
    write_derived_reach(settings, version)
    derive(
        settings,
        "fix_impact",
        [
            {
                "action_item_id": "A-1",
                "outcome": "recurrence",
                "is_promised": True,
                "status": "judged",
                "criterion_status": "none",
                "is_shared": False,
                "shared_with": [],
                "family_id": "F-1",
                "shipped_at": ONSET + 3 * DAY,
                "n_before": 1,
                "exposure_before": 9.0,
                "n_after": 0,
                "exposure_after": 2.0,
                "verdict": "too_early",
                "weeks_needed": 11.0,
            }
        ],
    )
    derive(
        settings,
        "fix_portfolio",
        [
            {
                "portfolio_id": "FP-1",
                "cut": "family",
                "intervention_type": "prevent",
                "subject": "F-1",
                "outcome": "recurrence",
                "n_planned": 0,
                "n_shipped": 1,
                "n_cancelled": 0,
                "n_measured": 1,
                "n_judged": 0,
                "n_effective": 0,
                "n_not_effective": 0,
                "n_too_early": 1,
                "incidents_expected": 0.2,
                "incidents_observed": 0,
                "status": "not_enough_data",
                "reason": "fewer than 2 fixes measured",
            }
        ],
    )
    derive(
        settings,
        "recommendations",
        [
            {
                "recommendation_id": "R-1",
                "rank": 1,
                "family_id": "F-1",
                "service": "payments",
                "action": "Canary payment deploys",
                "rationale": "One incident.",
                "expected_risk_reduction": 300.0,
                "currency": "EUR",
                "confidence": "low",
                "owner_team": "money",
                "evidence": ["INC-1"],
                "n_incidents": 1,
            }
        ],
    )


def write_derived_recurrence(settings: Settings, version: str) -> None:
    """What families, patterns and leading indicators look like."""
    derive(
        settings,
        "similar_incidents",
        [
            {
                "incident_id": "INC-1",
                "similar_incident_id": "INC-0",
                "rank": 1,
                "similarity": 0.8,
                "reasons": ["same services hit: payments"],
                "fixed_by": "rollback of payments at 10:30",
                "fix": "rollback on payments",
                "fix_worked_n": 2,
                "fix_tried_n": 3,
            }
        ],
    )
    placed = {"incident_id": "INC-0", "distance": 0.1, "reasons": ["the first of its family"], "clustering_version": version}
    derive(
        settings,
        "family_memberships",
        [
            {**placed, "family_id": "F-0", "how": "founded", "valid_from": START, "valid_until": START + DAY},
            {**placed, "family_id": "F-1", "how": "moved", "valid_from": START + DAY},
        ],
    )
    merged = {"family_id": "F-0", "change": "merged_into", "other_family_id": "F-1", "n_incidents": 1, "family_title": "Slow payments"}
    derive(settings, "family_changes", [{**merged, "changed_at": START + DAY, "clustering_version": version}])
    remedy = {"family_id": "F-1", "service": "payments", "last_tried_at": ONSET, "incidents": ["INC-0", "INC-1"]}
    derive(
        settings,
        "family_fixes",
        [
            {**remedy, "fix_kind": "infra", "tried_n": 1, "worked_n": 0},
            {**remedy, "fix_kind": "rollback", "tried_n": 2, "worked_n": 1, "minutes_to_end_median": 9.0},
        ],
    )
    month = {"dimension": "service", "value": "payments", "period": "month", "period_start_at": datetime(2026, 9, 1, tzinfo=UTC)}
    derive(
        settings,
        "incident_patterns",
        [
            {
                **month,
                "observed_from": START,
                "observed_until": AS_OF,
                "n_incidents": 2,
                "n_known": 2,
                "n_period": 2,
                "share": 1.0,
                "status": "not_enough_data",
                "reason": "nothing to compare with yet",
                "incidents": ["INC-0", "INC-1"],
            }
        ],
    )
    key = {"kind": "episode", "signal": "errors", "subject_kind": "service", "subject": "payments", "environment": "production"}
    indicator = {**key, "direction": "up", "horizon_minutes": 480, "base_rate": 0.05}
    derive(
        settings,
        "leading_indicators",
        [
            {
                **indicator,
                "status": "not_enough_data",
                "reason": "it has not yet come before two incidents more often than chance",
                "episodes_n": 2,
                "preceding_n": 1,
                "incidents_preceded_n": 1,
                "lead_minutes_median": 5.0,
                "last_episode_at": ONSET,
                "is_matching_now": False,
                "judged_n": 0,
                "judged_true_n": 0,
                "came_true_n": 0,
                "false_n": 0,
                "prevented_n": 0,
                "pending_n": 0,
                "family_id": "F-1",
                "family_incidents_n": 1,
                "incidents": ["INC-1"],
            },
            {
                **indicator,
                "kind": "alert",
                "signal": "HighErrors",
                "direction": "",
                "status": "on_trial",
                "reason": "1 of 2 later warnings came true, 5.0 % expected by chance: too few to decide",
                "episodes_n": 4,
                "preceding_n": 3,
                "incidents_preceded_n": 3,
                "lead_minutes_median": 30.0,
                "last_episode_at": AS_OF - HOUR,
                "is_matching_now": True,
                "mined_at": ONSET,
                "judged_n": 2,
                "judged_true_n": 1,
                "judged_precision": 0.5,
                "judged_precision_low": 0.01,
                "judged_precision_high": 0.99,
                "judged_lead_minutes_median": 30.0,
                "incidents_due_n": 4,
                "incidents_warned_n": 1,
                "lift": 10.0,
                "lift_low": 0.25,
                "lift_high": 19.7,
                "p_value": 0.0975,
                "q_value": 0.0975,
                "came_true_n": 1,
                "false_n": 0,
                "prevented_n": 1,
                "pending_n": 1,
                "incidents": ["INC-0", "INC-1", "INC-2"],
            },
        ],
    )
    match = {**indicator, "kind": "alert", "signal": "HighErrors", "direction": "", "matched_subject": "payments", "status": "on_trial"}
    said = {"look": "Look at alert HighErrors of payments.", "similar_incidents": ["INC-1"], "past_n": 0, "past_true_n": 0}
    derive(
        settings,
        "leading_matches",
        [
            {
                **match,
                **said,
                "match_id": "M-1",
                "source_id": "al-1",
                "matched_at": ONSET + DAY,
                "horizon_end_at": ONSET + DAY + 8 * HOUR,
                "outcome": "came_true",
                "incident_id": "INC-1",
                "lead_minutes": 30.0,
                "decided_at": ONSET + DAY + HOUR,
                "family_id": "F-1",
            },
            {
                **match,
                **said,
                "match_id": "M-3",
                "source_id": "al-3",
                "matched_at": ONSET + 2 * DAY,
                "horizon_end_at": ONSET + 2 * DAY + 8 * HOUR,
                "outcome": "false",
                "decided_at": ONSET + 2 * DAY + 8 * HOUR,
            },
            {
                **match,
                **said,
                "match_id": "M-2",
                "source_id": "al-2",
                "matched_at": AS_OF - HOUR,
                "horizon_end_at": AS_OF + 7 * HOUR,
                "outcome": "pending",
                "past_n": 1,
                "past_true_n": 1,
                "past_precision": 1.0,
                "past_precision_low": 0.025,
                "past_precision_high": 1.0,
            },
        ],
    )


def write_derived_reach(settings: Settings, version: str) -> None:
    window = {"window_start": START, "window_end": AS_OF, "model_version": version}
    reach = {
        "environment": "production",
        "within_hops": 5,
        "in_cycle": False,
        "basis": "calls",
        "model_version": version,
        "journeys": ["checkout"],
    }
    derive(
        settings,
        "blast_radius",
        [
            {
                **reach,
                "service": "payments",
                "dependents": ["web"],
                "dependencies": [],
                "journeys_carried": ["checkout"],
                "n_direct_dependents": 1,
            },
            {**reach, "service": "web", "dependents": [], "dependencies": ["payments"], "journeys_carried": [], "n_direct_dependents": 0},
        ],
    )
    moved = {
        "lag_minutes": 5,
        "n": 900,
        "n_effective": 300.0,
        "correlation": 0.3,
        "ci_low": 0.2,
        "ci_high": 0.4,
        "p_value": 0.0002,
        "q_value": 0.001,
    }
    inferred = {"environment": "production", "region": "eu", "caller": "web", "callee": "payments", "n_pairs": 2}
    derive(settings, "inferred_edges", [{**inferred, **moved, **window, "caller_metric": "errors", "callee_metric": "errors"}])
    pair = {
        "environment": "production",
        "journey": "checkout",
        "step": "",
        "region": "eu",
        "kpi": "conversion",
        "service_region": "eu",
        "attributes": "",
        "family": "checkout: conversion",
        "n_pairs": 1,
        "n_pairs_left_out": 0,
        "n_services_left_out": 0,
        "grain_minutes": 5,
    }
    known = {
        "pair_id": "K-1",
        "service": "payments",
        "metric": "errors",
        "hops": 0,
        "status": "significant",
        "meaning": "moves before conversion falls",
    }
    silent = {"pair_id": "K-2", "service": "web", "metric": "requests", "n": 40, "status": "not_enough_data", "meaning": "not enough data"}
    derive(settings, "kpi_correlations", [{**pair, **moved, **window, **known}, {**pair, **window, **silent}])


def write_company(settings: Settings) -> None:
    write_declared_company(settings)
    write_landed_company(settings)
    landing.write_declared(settings, {"landed_days": landing.landed_days(settings, "metric_points", AS_OF, "")})
    write_derived_company(settings)
