"""A company of four services and a provider, three days of quiet telemetry, and troubles to put into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from aftercast.correlation import Correlation, Inputs, correlate

START = datetime(2026, 9, 21, tzinfo=UTC)
ONSET = START + timedelta(days=2, hours=12)
END = ONSET + timedelta(minutes=50)
AS_OF = START + timedelta(days=3)
BUCKETS = 3 * 288
SERVICES = ("web", "api", "store", "mail", "card")
EDGES = (("web", "api"), ("api", "store"), ("web", "mail"), ("api", "card"))
REQUESTS = {"web": 1000, "api": 800, "store": 1500, "mail": 200, "card": 300}


def points(
    failing: Mapping[str, float] | None = None, *, environment: str = "production", onset: datetime = ONSET, seed: int = 1
) -> pl.DataFrame:
    """Requests, errors and latency of every service; `failing` adds a share of failures between onset and its end."""
    chance = np.random.default_rng(seed)
    times = [START + timedelta(minutes=5 * bucket) for bucket in range(BUCKETS)]
    hurt = np.array([onset <= moment < onset + (END - ONSET) for moment in times])
    frames = []
    for service in SERVICES:
        requests = chance.poisson(REQUESTS[service], BUCKETS).astype(float)
        share = 0.003 + (failing or {}).get(service, 0.0) * hurt
        latency = 100 * np.exp(0.05 * chance.standard_normal(BUCKETS))
        columns = {"requests": requests, "errors": chance.binomial(requests.astype(int), share).astype(float), "latency_p95_ms": latency}
        for metric, values in columns.items():
            kind = "gauge" if metric.startswith("latency") else "counter"
            frames.append(
                pl.DataFrame({"bucket_at": times, "value": values}).with_columns(
                    service=pl.lit(service), metric=pl.lit(metric), kind=pl.lit(kind)
                )
            )
    return pl.concat(frames).with_columns(environment=pl.lit(environment), region=pl.lit(""), attributes=pl.lit(""), unit=pl.lit(""))


def incident(
    incident_id: str = "INC-1", *, onset: datetime = ONSET, service: str = "web", title: str = "Web fails", **other: Any
) -> dict[str, Any]:
    return {
        "incident_id": incident_id,
        "title": title,
        "environment": "production",
        "region": "",
        "service_origin": service,
        "started_at": onset + timedelta(minutes=3),
        "impact_end_at": onset + (END - ONSET),
        **other,
    }


def change(
    change_id: str, service: str, *, before: float = 8, kind: str = "deploy", onset: datetime = ONSET, **other: Any
) -> dict[str, Any]:
    started = onset - timedelta(minutes=before)
    return {
        "change_id": change_id,
        "kind": kind,
        "service": service,
        "environment": "production",
        "region": "",
        "title": f"Release {service}",
        "started_at": started,
        "finished_at": started + timedelta(minutes=1),
        "result": "success",
        "is_rollback": kind == "rollback",
        **other,
    }


def inputs(
    *,
    incidents: Sequence[Mapping[str, Any]] = (incident(),),
    changes: Sequence[Mapping[str, Any]] = (),
    failing: Mapping[str, float] | None = None,
    **frames: pl.DataFrame,
) -> Inputs:
    given = {
        "incidents": pl.DataFrame(list(incidents), infer_schema_length=None),
        "metric_points": points(failing),
        "dependencies": pl.DataFrame([{"environment": "", "caller": caller, "callee": callee} for caller, callee in EDGES]),
        "services": pl.DataFrame([{"service": name, "kind": "provider" if name == "card" else "service"} for name in SERVICES]),
        **({"changes": pl.DataFrame(list(changes), infer_schema_length=None)} if changes else {}),
        **frames,
    }
    return Inputs.of(given)


def ranked(result: Correlation, incident_id: str = "INC-1") -> list[dict[str, Any]]:
    return result.candidates.filter(pl.col("incident_id") == incident_id).sort("rank").to_dicts()


def run(**given: Any) -> list[dict[str, Any]]:
    return ranked(correlate(inputs(**given), AS_OF))


def probability(rows: Sequence[Mapping[str, Any]], candidate_id: str, kind: str | None = None) -> float:
    """Probability of a candidate, 0 when it is not listed."""
    return sum(row["probability"] for row in rows if row["candidate_id"] == candidate_id and (kind is None or row["kind"] == kind))
