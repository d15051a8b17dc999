"""What the machines report of one day: metric points, hourly spans, log patterns and call edges.

Requests follow what customers really did that day, so a fault that keeps people away shows in traffic too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from aftercast.entities import LOG_PATTERNS, METRIC_POINTS, SERVICE_EDGES, SPANS_RED
from aftercast.sources.demo.business import Flow
from aftercast.sources.demo.changes import changes_of_day
from aftercast.sources.demo.company import COMPONENTS, EDGES, ENVIRONMENT, INDEX, JOURNEYS, REACH, REGION_WEIGHT, REGIONS, Component
from aftercast.sources.demo.demand import LOAD, RHYTHM, growth, weekday_level
from aftercast.sources.demo.draws import BUCKETS, STORY_EPOCH, Array, Stream, bucket_times, counts, drift, generator, midnight, token
from aftercast.sources.demo.faults import Fault
from aftercast.sources.demo.physics import MINUTES_PER_CALL, Effects, profile

CALLS_PER_ATTEMPT = {"service": 4.0, "store": 6.0, "provider": 1.0}


@dataclass(frozen=True, slots=True)
class Signals:
    """One day of every component by the customer's region, [component, region, bucket]."""

    requests: Array
    errors: Array
    latency: Array
    saturation: Array


def day_signals(seed: int, day: date, flows: dict[str, Flow], effects: Effects) -> Signals:
    """Return what every component did that day."""
    shape = (len(COMPONENTS), len(REGIONS), BUCKETS)
    chance = generator(seed, Stream.TELEMETRY, day.toordinal())
    noise = chance.standard_normal((4, *shape))
    slow = drift(seed, Stream.TELEMETRY_HOUR, day, 3 * len(COMPONENTS) * len(REGIONS), 24).reshape(3, *shape)
    requests = counts(_traffic(day, flows, effects) * np.exp(0.03 * slow[0] + 0.02 * noise[0]), noise[1])
    failing, slower = _blips(seed, day)
    usual = np.array([component.error_ratio for component in COMPONENTS])[:, None, None] * np.exp(0.18 * slow[1])
    ratio = np.clip(1 - (1 - usual) * (1 - effects.error) * (1 - failing), 0.0, 0.98)
    errors = np.minimum(counts(requests * ratio, noise[2]), requests)
    base = np.array([component.latency_ms for component in COMPONENTS])[:, None, None]
    latency = base * (0.9 + 0.25 * LOAD[None]) * np.exp(0.05 * slow[2] + 0.045 * noise[3]) * (1 + slower + effects.latency)
    level = np.array([component.saturation or 0.0 for component in COMPONENTS])[:, None, None]
    saturation = np.clip(level * (0.62 + 0.55 * LOAD[None]) * (1 + 0.04 * slow[1] + 0.025 * noise[0]) + effects.saturation, 0.0, 1.0)
    return Signals(requests, errors, latency, saturation)


def _blips(seed: int, day: date) -> tuple[Array, Array]:
    """Moments that look bad and mean nothing: a release restarting instances, a pause, a burst of odd requests, announced work.

    Returns the added share of failing requests and the added slowness, [component, region, bucket].
    """
    failing, slower = (np.zeros((len(COMPONENTS), len(REGIONS), BUCKETS)) for _ in range(2))
    chance = generator(seed, Stream.BLIPS, day.toordinal())
    moments = [
        (where, region, int(chance.integers(BUCKETS)), int(chance.integers(1, 4)), 1.0)
        for where in range(len(COMPONENTS))
        for region in range(len(REGIONS))
        for _ in range(int(chance.poisson(0.1)))
    ]
    for change in changes_of_day(seed, day):
        if change.kind in ("deploy", "rollback"):
            bucket = int((change.finished_at - midnight(day)) / timedelta(minutes=5))
            moments += [(INDEX[change.service], region, bucket, 1 + int(chance.integers(2)), 0.25) for region in range(len(REGIONS))]
        elif change.kind == "maintenance":
            first, last = (int((moment - midnight(day)) / timedelta(minutes=5)) for moment in (change.started_at, change.finished_at))
            slower[INDEX[change.service], :, first : last + 1] += 1.2
    for where, region, bucket, length, size in moments:
        failing[where, region, bucket : bucket + length] += size * chance.uniform(0.0, 0.03)
        slower[where, region, bucket : bucket + length] += size * chance.uniform(0.1, 1.2)
    return failing, slower


def _traffic(day: date, flows: dict[str, Flow], effects: Effects) -> Array:
    """Expected requests: a background that follows the clock, plus the calls that customers' attempts make; failures are retried."""
    weights = np.array(REGION_WEIGHT)[:, None]
    background = np.array([component.background for component in COMPONENTS])[:, None, None]
    mean = background * (weights * RHYTHM * weekday_level(day, 0.92) * growth(day) * effects.reached)[None]
    office = 0.15 + 1.7 * np.exp(-(((np.arange(BUCKETS) / 12 - 12.5) / 3.6) ** 2)) * weekday_level(day, 0.2)
    mean[INDEX["backoffice"]] = COMPONENTS[INDEX["backoffice"]].background * weights * office
    for journey in JOURNEYS:
        attempts = flows[journey.name].attempts
        for region, name in enumerate(REGIONS):
            mine = [place for place, segment in enumerate(journey.segments) if segment.region == name]
            if not mine:
                continue
            per_step = attempts[:, mine].sum(axis=1)
            for position, step in enumerate(journey.steps):
                for service, need in step.needs.items():
                    where = INDEX[service]
                    mean[where, region] += CALLS_PER_ATTEMPT[COMPONENTS[where].kind] * need * per_step[position]
    return np.asarray(mean * (1 + 0.3 * effects.error))


@dataclass(frozen=True, slots=True)
class _Series:
    component: Component
    region: str
    metric: str


_METRICS = {
    "service": ("requests", "errors", "latency_p95_ms"),
    "store": ("latency_p95_ms",),
    "provider": ("requests", "errors", "latency_p95_ms"),
}
_UNITS = {
    "requests": ("1", "counter"),
    "errors": ("1", "counter"),
    "latency_p95_ms": ("ms", "gauge"),
    "saturation_ratio": ("ratio", "gauge"),
}
SERIES: tuple[_Series, ...] = tuple(
    _Series(component, region, metric)
    for component in COMPONENTS
    for region in component.regions
    for metric in (*_METRICS[component.kind], *(("saturation_ratio",) if component.saturation is not None else ()))
)
_LABELS = pl.DataFrame(
    [(one.component.name, ENVIRONMENT, one.region, one.metric, "", *_UNITS[one.metric]) for one in SERIES],
    schema=["service", "environment", "region", "metric", "attributes", "unit", "kind"],
    orient="row",
)


def _reported(signals: Signals, one: _Series) -> Array:
    where = INDEX[one.component.name]
    values = {
        "requests": signals.requests,
        "errors": signals.errors,
        "latency_p95_ms": signals.latency,
        "saturation_ratio": signals.saturation,
    }[one.metric][where]
    if one.region:
        return np.asarray(values[REGIONS.index(one.region)])
    if one.metric in ("requests", "errors"):
        return np.asarray(values.sum(axis=0))
    weight = signals.requests[where]
    return np.asarray((values * weight).sum(axis=0) / np.maximum(weight.sum(axis=0), 1.0))


def metric_rows(seed: int, day: date, signals: Signals) -> pl.DataFrame:
    """Return the day's metric_points; a collector that was down leaves a gap, not zeros."""
    values = np.stack([_reported(signals, one) for one in SERIES])
    series = np.repeat(np.arange(len(SERIES)), BUCKETS)
    frame = _LABELS[series].with_columns(
        pl.Series("ts", np.tile(bucket_times(day), len(SERIES))).dt.replace_time_zone("UTC"),
        pl.Series("value", values.ravel()).round(4),
    )
    return frame.filter(pl.Series(_collected(seed, day).ravel())).select(list(METRIC_POINTS.columns))


def _collected(seed: int, day: date) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    chance = generator(seed, Stream.GAPS, day.toordinal())
    collected = np.ones((len(SERIES), BUCKETS), dtype=bool)
    for component in COMPONENTS:
        for region in component.regions:
            missing, start, length = chance.random() < 0.02, int(chance.integers(BUCKETS)), int(chance.integers(2, 13))
            if missing:
                mine = [place for place, one in enumerate(SERIES) if one.component is component and one.region == region]
                collected[mine, start : start + length] = False
    if chance.random() < 0.05:
        start = int(chance.integers(BUCKETS - 12))
        collected[:, start : start + int(chance.integers(3, 9))] = False
    return collected


def span_rows(day: date, signals: Signals) -> pl.DataFrame:
    """Return the day's spans_red: one row per edge, caller's region and hour."""
    hours = bucket_times(day)[::12]
    frames = []
    for (caller, callee), share in EDGES.items():
        regions = COMPONENTS[INDEX[caller]].regions
        for region in regions:
            places = [REGIONS.index(region)] if region else [0, 1]
            called = signals.requests[INDEX[caller], places] * share
            ratio = signals.errors[INDEX[callee], places] / np.maximum(signals.requests[INDEX[callee], places], 1.0)
            count = np.rint(called.sum(axis=0).reshape(24, 12).sum(axis=1))
            errors = np.minimum(np.rint((called * ratio).sum(axis=0).reshape(24, 12).sum(axis=1)), count)
            p95 = signals.latency[INDEX[callee], places].mean(axis=0).reshape(24, 12).mean(axis=1)
            frames.append(
                pl.DataFrame(
                    {
                        "bucket": hours,
                        "count": count.astype(np.int64),
                        "errors": errors.astype(np.int64),
                        "p50_ms": np.round(p95 * 0.38, 2),
                        "p95_ms": np.round(p95, 2),
                        "p99_ms": np.round(p95 * 1.7, 2),
                    }
                ).with_columns(
                    pl.lit(caller).alias("service"),
                    pl.lit(ENVIRONMENT).alias("environment"),
                    pl.lit(region).alias("region"),
                    pl.lit(f"call {callee}").alias("operation"),
                    pl.lit(callee).alias("peer"),
                    *(pl.lit(None, pl.Float64).alias(column) for column in ("own_p50_ms", "own_p95_ms")),
                    pl.col("bucket").dt.replace_time_zone("UTC"),
                )
            )
    return pl.concat(frames).select(list(SPANS_RED.columns))


def edge_rows(hour: datetime, signals: Signals) -> pl.DataFrame:
    """Return the service_edges known at the end of the hour that starts at `hour`; `calls` counts that hour."""
    first = hour.hour * 12
    rows = [
        (
            ENVIRONMENT,
            caller,
            callee,
            "spans",
            STORY_EPOCH - timedelta(days=400),
            hour + timedelta(minutes=55),
            int(np.rint((signals.requests[INDEX[caller], :, first : first + 12] * share).sum())),
        )
        for (caller, callee), share in EDGES.items()
    ]
    return pl.DataFrame(rows, schema=dict(SERVICE_EDGES.columns), orient="row")


_USUAL_LOGS = (("request <id> took longer than <n> ms", "warning", 0.004), ("client closed connection <ip>", "info", 0.009))
_ORIGIN_LOGS = {
    "bad_release": ("unhandled exception in <handler>: missing field <name>", "error"),
    "internal_release": ("template <name> failed to render", "error"),
    "config_push": ("cannot apply setting <name>: rejected by validation", "error"),
    "flag_rollout": ("variant handler raised <error> for visitor <id>", "error"),
    "catalog_capacity": ("queue full, request <id> rejected", "error"),
    "pool_leak": ("timed out waiting <n> ms for a pooled connection", "error"),
}


def log_rows(seed: int, day: date, signals: Signals, faults: Sequence[Fault]) -> pl.DataFrame:
    """Return the day's log_patterns: a few common ones by the hour, and what faults make services say, by five minutes."""
    frames = [_usual_logs(seed, day, signals)]
    for fault in faults:
        if fault.family.kind == "none":
            continue
        own = _ORIGIN_LOGS.get(fault.family.name)
        if own is not None:
            frames.append(_fault_logs(seed, day, signals, fault, fault.service, own, 0))
        for caller, found in REACH[fault.service].items():
            if found.hops == 1:
                says = (f"upstream {fault.service} failed: timeout or 5xx", "error")
                frames.append(_fault_logs(seed, day, signals, fault, caller, says, 1))
    return pl.concat(frames).unique(subset=list(LOG_PATTERNS.key), keep="first", maintain_order=True).select(list(LOG_PATTERNS.columns))


def _log_frame(
    service: str, region: str, pattern: str, severity: str, buckets: npt.NDArray[np.datetime64], count: Array, trace: str
) -> pl.DataFrame:
    return pl.DataFrame({"bucket": buckets, "count": count.astype(np.int64)}).select(
        pl.lit(service).alias("service"),
        pl.lit(ENVIRONMENT).alias("environment"),
        pl.lit(region).alias("region"),
        pl.col("bucket").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        pl.lit(pattern).alias("pattern"),
        pl.lit(severity).alias("severity"),
        pl.col("count"),
        pl.lit(pattern.replace("<", "[").replace(">", "]")).alias("sample"),
        pl.concat_list(pl.lit(trace)).alias("trace_ids"),
    )


def _usual_logs(seed: int, day: date, signals: Signals) -> pl.DataFrame:
    chance = generator(seed, Stream.LOGS, day.toordinal())
    hours = bucket_times(day)[::12]
    frames = []
    for component in COMPONENTS:
        if component.kind != "service":
            continue
        for region in component.regions:
            places = [REGIONS.index(region)] if region else [0, 1]
            hourly = signals.requests[INDEX[component.name], places].sum(axis=0).reshape(24, 12).sum(axis=1)
            for pattern, severity, share in _USUAL_LOGS:
                count = counts(hourly * share, chance.standard_normal(24))
                trace = token(seed, day, component.name, pattern)
                frames.append(_log_frame(component.name, region, pattern, severity, hours, count, trace))
    return pl.concat(frames)


def _fault_logs(seed: int, day: date, signals: Signals, fault: Fault, service: str, says: tuple[str, str], hops: int) -> pl.DataFrame:
    present = profile(day, fault, hops * MINUTES_PER_CALL)
    share = REACH[fault.service][service].share * max(fault.error, 0.05)
    frames = []
    for region in COMPONENTS[INDEX[service]].regions:
        places = [REGIONS.index(region)] if region else [REGIONS.index(name) for name in fault.regions]
        if region and region not in fault.regions:
            continue
        count = np.rint(signals.requests[INDEX[service], places].sum(axis=0) * share * present)
        kept = count > 0
        frame = _log_frame(service, region, *says, bucket_times(day)[kept], count[kept], token(seed, fault.incident_id, service))
        frames.append(frame)
    return pl.concat(frames)
