"""How long ranking the causes of one incident takes over many series: `python -m benchmarks.ranking_speed [--series 1600] [--json]`.

A generated environment: services in a tree of calls, eight series each, two weeks at five minutes, three changes per service and day, and
one incident in which a service deep in the tree fails and takes its callers with it. Timed from frames to ranked candidates: with points
packed by series, as the pipeline reads them, and with one row per point. The peer is N-sigma in NumPy over the packed points.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from aftercast.correlation import Inputs, correlate
from aftercast.correlation.inputs import PACKED, READ
from aftercast.version import code_version

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = datetime(2026, 9, 7, tzinfo=UTC)
DAYS, GRAIN = 14, timedelta(minutes=5)
ONSET = START + timedelta(days=13, hours=12)
METRICS = {
    "requests": ("counter", "", 1000.0),
    "errors": ("counter", "", 3.0),
    "latency_p50_ms": ("gauge", "ms", 40.0),
    "latency_p95_ms": ("gauge", "ms", 120.0),
    "cpu_utilization": ("gauge", "ratio", 0.4),
    "memory_usage": ("gauge", "bytes", 5e8),
    "queue_depth": ("gauge", "", 12.0),
    "restarts": ("counter", "", 0.0),
}
INCIDENT = "INC-SPEED"


def inputs(series: int, seed: int) -> tuple[Inputs, str, datetime]:
    """The generated environment, the service that fails, and the as-of time."""
    chance = np.random.default_rng(seed)
    services = [f"service-{number:04}" for number in range(max(series // len(METRICS), 2))]
    callers = {callee: services[(number - 1) // 3] for number, callee in enumerate(services) if number}
    culprit = services[len(services) // 2]
    hurt = [culprit]
    while hurt[-1] in callers:
        hurt.append(callers[hurt[-1]])
    times = pl.datetime_range(START, START + timedelta(days=DAYS), GRAIN, closed="left", eager=True).alias("bucket_at")
    after = (times >= ONSET).to_numpy() & (times < ONSET + timedelta(minutes=40)).to_numpy()
    day = 1 + 0.3 * np.sin(np.arange(times.len()) * 2 * np.pi / 288)
    frames = []
    for service in services:
        share = 0.4 * 0.8 ** hurt.index(service) if service in hurt else 0.0
        for metric, (kind, unit, level) in METRICS.items():
            values = level * day * np.exp(0.05 * chance.standard_normal(times.len()))
            if metric == "errors":
                values = values + 1000 * day * share * after
            frames.append(
                pl.DataFrame({"bucket_at": times, "value": values}).with_columns(
                    service=pl.lit(service), metric=pl.lit(metric), kind=pl.lit(kind), unit=pl.lit(unit)
                )
            )
    points = pl.concat(frames).with_columns(environment=pl.lit("production"), region=pl.lit(""), attributes=pl.lit(""))
    minutes = chance.integers(0, DAYS * 1440, 3 * DAYS * len(services))
    changes = [
        {
            "change_id": f"c{number:06}",
            "kind": "deploy",
            "service": services[number % len(services)],
            "environment": "production",
            "title": "release",
            "started_at": START + timedelta(minutes=int(minute)),
            "result": "success",
        }
        for number, minute in enumerate(minutes)
    ]
    frames_by_name = {
        "incidents": pl.DataFrame(
            [
                {
                    "incident_id": INCIDENT,
                    "title": "the entry fails",
                    "environment": "production",
                    "service_origin": services[0],
                    "started_at": ONSET + timedelta(minutes=4),
                    "impact_end_at": ONSET + timedelta(minutes=40),
                }
            ]
        ),
        "incident_services": pl.DataFrame([{"incident_id": INCIDENT, "service": services[0], "role": "impacted"}]),
        "changes": pl.DataFrame(changes),
        "metric_points": points,
        "services": pl.DataFrame({"service": services, "kind": "service"}),
        "dependencies": pl.DataFrame([{"environment": "", "caller": caller, "callee": callee} for callee, caller in callers.items()]),
    }
    return Inputs.of(frames_by_name), culprit, START + timedelta(days=DAYS)


def packed(points: pl.DataFrame) -> pl.DataFrame:
    """Points packed by series, as the pipeline reads them from the star."""
    keys = [column for column in READ["metric_points"] if column not in {"bucket_at", "value"}]
    point = pl.struct(pl.col("bucket_at").dt.epoch("us").alias("at"), pl.col("value").cast(pl.Float32))
    return points.group_by(keys).agg(point.alias(PACKED))


def nsigma(points: pl.DataFrame) -> str:
    """The peer: the service with the largest shift of a mean in standard deviations, over the same packed points."""
    exploded = points[PACKED].explode().struct.unnest()
    at, value = exploded["at"].to_numpy(), exploded["value"].to_numpy()
    ends = np.cumsum(points[PACKED].list.len().to_numpy())
    onset = (ONSET - EPOCH) // timedelta(microseconds=1)
    shifts: dict[str, float] = {}
    for service, start, end in zip(points["service"], [0, *ends[:-1]], ends, strict=True):
        when, level = at[start:end], value[start:end]
        before, during = level[when < onset][-2016:], level[(when >= onset) & (when < onset + 3_600_000_000)]
        shift = float((during.mean() - before.mean()) / max(float(before.std()), 1e-9))
        shifts[service] = max(shift, shifts.get(service, -np.inf))
    return max(shifts, key=lambda service: (shifts[service], service))


def run(series: int, repeats: int, seed: int) -> dict[str, Any]:
    """Seconds of ranking one incident, median of some runs, for points packed by series and for one row each; was the cause found?"""
    began = time.perf_counter()
    given, culprit, as_of = inputs(series, seed)
    given = given.conformed()
    forms = {"": replace(given, metric_points=packed(given.metric_points)), "_of_rows": given}
    result: dict[str, Any] = {
        "n": repeats,
        "series": forms[""].metric_points.height,
        "points": given.metric_points.height,
        "changes": given.changes.height,
        "found": True,
    }
    for form, frames in forms.items():
        walls, cpus = [], []
        for _ in range(repeats):
            wall, cpu = time.perf_counter(), time.process_time()
            ranked = correlate(frames, as_of)
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
            first = ranked.candidates.filter(pl.col("kind").is_in(["service", "change"])).sort("rank")["service"][0]
            result["found"] &= first == culprit
        result[f"seconds_per_incident{form}"] = round(float(np.median(walls)), 3)
        result[f"cpu_seconds_per_incident{form}"] = round(float(np.median(cpus)), 3)
    wall = time.perf_counter()
    nsigma(forms[""].metric_points)
    return {
        **result,
        "baselines": {"nsigma_seconds": round(time.perf_counter() - wall, 3)},
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "seconds": round(time.perf_counter() - began, 1),
        "version": code_version(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranking_speed", description=__doc__)
    parser.add_argument("--series", type=int, default=1600)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    result = run(options.series, options.repeats, options.seed)
    if options.json:
        print(json.dumps(result, sort_keys=True))
    else:
        for key, value in result.items():
            print(f"{key}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
