"""What may announce an incident, as one list of occurrences: episodes, alerts, changes, log messages not heard for long, filling resources.

An occurrence carries the moment it became known, never the moment it is later found to have begun, so that nothing is learned from the
future. Regions are not told apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from aftercast.correlation.inputs import PACKED, Inputs
from aftercast.correlation.semantics import SATURATION, Meaning, meaning
from aftercast.correlation.surroundings import LOUD, micros
from aftercast.correlation.telemetry import DAY, HOUR, MINUTE, Floats, Times

EPISODE, ALERT, CHANGE, LOG, FILLING = "episode", "alert", "change", "log_pattern", "filling"
NEW_AFTER = 7 * DAY
"""A loud log message is news when its service has not logged it for a week, and has been heard for at least that long."""
NOT_BY_US = frozenset({"maintenance", "provider"})
STEP, WINDOW = 10 * MINUTE, 12
FULL_WITHIN = 8 * HOUR
NEAR_LINEAR = 0.9
RECENT = 7 * DAY
LIMITS = {"ratio": 1.0, "1": 1.0, "percent": 100.0, "%": 100.0, "pct": 100.0}


@dataclass(frozen=True, slots=True, order=True)
class Pattern:
    """A kind of occurrence. Without a subject it stands for the same at any subject."""

    kind: str
    signal: str
    subject_kind: str
    subject: str
    environment: str
    direction: str

    @property
    def anywhere(self) -> Pattern:
        return Pattern(self.kind, self.signal, self.subject_kind, "", self.environment, self.direction)


@dataclass(frozen=True, slots=True, order=True)
class Occurrence:
    """Times in microseconds. `until` is when it was over: None when it has no length of its own or still goes on."""

    at: int
    until: int | None
    source_id: str
    is_open: bool = False


Occurrences = dict[Pattern, list[Occurrence]]


def occurrences(inputs: Inputs, as_of: int) -> Occurrences:
    """Everything that was known by `as_of`, oldest first within its pattern."""
    found: Occurrences = defaultdict(list)
    for source in (_episodes, _alerts, _changes, _messages, _filling):
        for pattern, occurrence in source(inputs, as_of):
            if occurrence.at < as_of:
                found[pattern].append(occurrence)
    return {pattern: sorted(set(found[pattern]), key=lambda one: (one.at, one.source_id)) for pattern in sorted(found)}


def _episodes(inputs: Inputs, as_of: int) -> Iterator[tuple[Pattern, Occurrence]]:
    rows = inputs.anomalies.filter(pl.col("started_at").is_not_null() & pl.col("subject").is_not_null() & pl.col("signal").is_not_null())
    if "explained_by" in rows.columns:
        rows = rows.filter(pl.col("explained_by").is_null())
    for row in rows.iter_rows(named=True):
        pattern = Pattern(EPISODE, row["signal"], row["subject_kind"] or "", row["subject"], row["environment"], row["direction"] or "")
        yield pattern, _spell(row["alarmed_at"] or row["started_at"], row["ended_at"], row["anomaly_id"], as_of)


def _alerts(inputs: Inputs, as_of: int) -> Iterator[tuple[Pattern, Occurrence]]:
    rows = inputs.alerts.filter(pl.col("started_at").is_not_null() & pl.col("name").is_not_null() & pl.col("service").is_not_null())
    for row in rows.iter_rows(named=True):
        pattern = Pattern(ALERT, row["name"], "service", row["service"], row["environment"], "")
        yield pattern, _spell(row["started_at"], row["ended_at"], row["alert_id"], as_of)


def _changes(inputs: Inputs, _: int) -> Iterator[tuple[Pattern, Occurrence]]:
    rows = inputs.changes.filter(pl.col("started_at").is_not_null() & pl.col("service").is_not_null() & ~pl.col("kind").is_in(NOT_BY_US))
    for row in rows.iter_rows(named=True):
        pattern = Pattern(CHANGE, row["kind"], "service", row["service"], row["environment"], "")
        yield pattern, Occurrence(micros(row["started_at"]), None, row["change_id"] or "")


def _messages(inputs: Inputs, _: int) -> Iterator[tuple[Pattern, Occurrence]]:
    """Loud messages that come back, each its own pattern, and that any comes back (signal `news`)."""
    rows = inputs.log_patterns.filter(
        pl.col("service").is_not_null() & pl.col("pattern").is_not_null() & pl.col("bucket").is_not_null()
    ).select("environment", "service", "pattern", pl.col("severity").fill_null("").str.to_lowercase().alias("severity"), "bucket")
    since = rows.group_by("environment", "service").agg(pl.col("bucket").min().alias("since"))
    heard = rows.filter(pl.col("severity").is_in(LOUD)).unique(["environment", "service", "pattern", "bucket"])
    heard = heard.sort("environment", "service", "pattern", "bucket").join(since, on=["environment", "service"])
    before = pl.col("bucket").shift(1).over("environment", "service", "pattern")
    quiet = pl.duration(microseconds=NEW_AFTER)
    fresh = heard.filter((pl.col("bucket") - pl.coalesce(before, pl.col("since"))) >= quiet)
    for row in fresh.iter_rows(named=True):
        at, source_id = micros(row["bucket"]) + 5 * MINUTE, row["pattern"]  # known when its bucket is over
        yield Pattern(LOG, row["pattern"], "service", row["service"], row["environment"], ""), Occurrence(at, None, source_id)
        yield Pattern(LOG, "news", "service", row["service"], row["environment"], ""), Occurrence(at, None, source_id)


def _filling(inputs: Inputs, _: int) -> Iterator[tuple[Pattern, Occurrence]]:
    """Moments at which a resource, having risen steadily for two hours above all of the last week, would be full within eight hours."""
    points = inputs.metric_points.filter(pl.col("service").is_not_null() & pl.col("metric").is_not_null())
    kinds = points.select("metric", "unit").unique().iter_rows()
    filling = sorted((name, unit) for name, unit in kinds if unit.lower() in LIMITS and meaning(name, unit) == Meaning(SATURATION, 1))
    if not filling:
        return
    wanted = pl.struct("metric", "unit").is_in([{"metric": metric, "unit": unit} for metric, unit in filling])
    keys = ["environment", "service", "region", "metric", "unit", "attributes"]
    filled = points.filter(wanted).with_columns(pl.struct(keys).rank("dense").alias("series"))
    series = filled.select("series", *keys).unique().sort("series")
    every = pl.col("bucket_at").dt.truncate(f"{STEP // MINUTE}m")
    rows = _one_row_each(filled.drop(keys)).sort("bucket_at")
    parts = rows.group_by("series", every).agg(pl.col("value").mean()).sort("bucket_at").partition_by("series", as_dict=True)
    for number, environment, service, _region, metric, unit, _attributes in series.iter_rows():
        part = parts.get((number,), rows.head(0))
        times = part["bucket_at"].dt.timestamp("us").to_numpy()
        for at in _fills(times, part["value"].to_numpy(), LIMITS[str(unit).lower()]):
            yield Pattern(FILLING, str(metric), "service", str(service), str(environment), "up"), Occurrence(at, None, "")


def _one_row_each(points: pl.DataFrame) -> pl.DataFrame:
    """Points unpacked, those without a value left out."""
    if PACKED in points.columns:
        points = points.explode(PACKED).unnest(PACKED).with_columns(pl.col("at").cast(pl.Datetime("us", "UTC")).alias("bucket_at"))
    return points.filter(pl.col("value").is_finite() & pl.col("bucket_at").is_not_null())


def first_point(points: pl.DataFrame) -> datetime | None:
    """The time of the earliest point."""
    if PACKED not in points.columns:
        found = points["bucket_at"].min()
        return found if isinstance(found, datetime) else None
    earliest = points.select(
        pl.col(PACKED).list.eval(pl.element().struct.field("at")).list.min().min().cast(pl.Datetime("us", "UTC"))
    ).item()
    return earliest if isinstance(earliest, datetime) else None


def _fills(times: Times, values: Floats, limit: float) -> list[int]:
    """Ends of the steps at which the resource began to fill."""
    if len(values) <= WINDOW:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(values, WINDOW)
    whole = (times[WINDOW - 1 :] - times[: -WINDOW + 1]) == (WINDOW - 1) * STEP
    clock = np.arange(WINDOW) - (WINDOW - 1) / 2
    slope = windows @ clock / (clock @ clock)
    spread = windows.std(axis=1) * np.sqrt(WINDOW)
    straight = np.divide(slope * np.sqrt(clock @ clock), spread, out=np.zeros_like(slope), where=spread > 0)
    late = windows[:, -3:].mean(axis=1)
    left = np.divide(limit - late, slope, out=np.full_like(slope, np.inf), where=slope > 0) * STEP
    long_enough = times[WINDOW - 1 :] - times[0] >= RECENT
    is_filling = whole & long_enough & (straight >= NEAR_LINEAR) & (left <= FULL_WITHIN)
    for last in np.flatnonzero(is_filling):
        first = int(np.searchsorted(times, times[last + WINDOW - 1] - RECENT))
        is_filling[last] = last > first and late[last] > values[first:last].max()
    begins = is_filling & ~np.concatenate(([False], is_filling[:-1]))
    return [int(moment) + STEP for moment in times[WINDOW - 1 :][begins]]


def _spell(start: object, end: object, source_id: object, as_of: int) -> Occurrence:
    until = micros(end) if end is not None else None  # type: ignore[arg-type]
    is_open = until is None or until >= as_of - HOUR
    return Occurrence(micros(start), until, str(source_id or ""), is_open)  # type: ignore[arg-type]
