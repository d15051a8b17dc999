"""Alerts, episodes and KPI drops of a company whose calls are known, and what is proposed of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from aftercast.correlation import Inputs
from aftercast.correlation.proposal_rows import Proposed, match_rows, member_rows, proposal_rows, proposals_of
from aftercast.correlation.surroundings import incidents_of

T = datetime(2026, 9, 23, 12, tzinfo=UTC)
DAY = T + timedelta(days=1)
EDGES = (("web", "api"), ("api", "store"), ("api", "card"), ("mail", "card"), ("far", "deep"), ("deep", "deeper"))
JOURNEYS = (("shop", "pay", "web"), ("newsletter", "send", "mail"))
SERVICES = (("web", "service"), ("api", "service"), ("store", "store"), ("card", "provider"), ("mail", "service"))
Row = dict[str, Any]


def at(minutes: float) -> datetime:
    return T + timedelta(minutes=minutes)


def alert(
    service: str | None, minutes: float = 0, *, lasts: float | None = 20, severity: str = "warning", rule: str = "Errors", **other: Any
) -> Row:
    environment, region = other.pop("environment", "production"), other.pop("region", "")
    return {
        "alert_id": f"{rule}|{service}|{environment}|{region}|{minutes}",
        "fingerprint": f"{rule}|{service}|{environment}|{region}",
        "name": rule,
        "service": service,
        "environment": environment,
        "region": region,
        "severity": severity,
        "started_at": at(minutes),
        "ended_at": None if lasts is None else at(minutes + lasts),
        **other,
    }


def episode(
    subject: str, minutes: float = 0, *, lasts: float = 60, late: float = 10, score: float = 0.7, kind: str = "service", **other: Any
) -> Row:
    signal = other.pop("signal", "error_ratio" if kind == "service" else "conversion")
    return {
        "anomaly_id": f"{signal}|{subject}|{other.get('region', '')}|{minutes}",
        "series_id": f"{signal}|{subject}|{other.get('region', '')}",
        "signal": signal,
        "subject_kind": kind,
        "subject": subject,
        "environment": "production" if kind == "service" else "",
        "region": "",
        "started_at": at(minutes),
        "alarmed_at": at(minutes + late),
        "ended_at": at(minutes + lasts),
        "direction": "up" if kind == "service" else "down",
        "expected": 0.01,
        "actual": 0.2,
        "hurts": True,
        "score": score,
        **other,
    }


def drop(journey: str, minutes: float = 0, **other: Any) -> Row:
    return episode(journey, minutes, kind="journey", **{"late": 45, "score": 0.85, **other})


def incident(incident_id: str, services: Sequence[str], minutes: float = 5, *, lasts: float | None = 60, **other: Any) -> Row:
    done = None if lasts is None else at(minutes + lasts)
    return {
        "incident_id": incident_id,
        "title": "Trouble",
        "environment": "production",
        "region": "",
        "service_origin": services[0] if services else None,
        "started_at": at(minutes),
        "declared_at": at(minutes + 5),
        "resolved_at": done,
        "impact_end_at": done,
        "services": list(services),
        **other,
    }


def inputs(signals: Sequence[Mapping[str, Any]], incidents: Sequence[Mapping[str, Any]] = (), changes: Sequence[Row] = ()) -> Inputs:
    def frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
        return pl.DataFrame(rows, infer_schema_length=None)

    named = [{"incident_id": row["incident_id"], "service": name, "role": "impacted"} for row in incidents for name in row["services"]]
    given = {
        "alerts": [row for row in signals if "alert_id" in row],
        "anomalies": [row for row in signals if "anomaly_id" in row],
        "incidents": [{key: value for key, value in row.items() if key != "services"} for row in incidents],
        "incident_services": named,
        "changes": changes,
    }
    return Inputs.of(
        {
            **{name: frame(rows) for name, rows in given.items() if rows},
            "dependencies": frame([{"environment": "", "caller": one, "callee": other} for one, other in EDGES]),
            "journeys": frame([{"journey": journey, "step": step, "service": service} for journey, step, service in JOURNEYS]),
            "services": frame([{"service": name, "kind": kind} for name, kind in SERVICES]),
        }
    ).conformed()


def proposed(
    *signals: Row,
    incidents: Sequence[Row] = (),
    changes: Sequence[Row] = (),
    as_of: datetime = DAY,
    candidates: Mapping[str, Row] | None = None,
) -> tuple[list[Row], dict[str, Row]]:
    """Rows of proposals, and of members by id."""
    made = build(inputs(signals, incidents, changes), as_of)
    return proposal_rows(made, candidates or {}), {str(row["member_id"]): row for row in member_rows(made)}


def build(made: Inputs, as_of: datetime = DAY) -> Proposed:
    return proposals_of(made, incidents_of(made, as_of), as_of)


def pairs(*signals: Row, incidents: Sequence[Row]) -> list[Row]:
    return match_rows(build(inputs(signals, incidents)))
