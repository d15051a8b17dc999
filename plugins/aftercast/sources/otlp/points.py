"""Data points of metrics as metric points: one value per series and step.

A stream is what one process sends under one set of attributes; a series is what is left of it once the attributes that do not land are
gone. Streams are told apart until their increases are known, so that two processes never look like a counter that jumps. The increase
between two points lands on the step that holds the middle between them. A counter begins anew when its start time says so or when it fell;
without an earlier point its increase is known only if it began lately. Gauges land as the mean of their streams, up-down counters as the
sum. Histograms land as `<metric>_count`, `<metric>_sum` and quantiles such as `<metric>_p95`.
"""

from __future__ import annotations

import fnmatch
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl

from aftercast.entities import TIME
from aftercast.errors import SourceRejected
from aftercast.sources.otlp.decoding import SECOND, Buckets, Place, Unreadable, attributes, enum, kept_attributes, moment, number, whole
from aftercast.sources.otlp.options import MINUTE, Options
from aftercast.sources.otlp.spool import ROOM, Spool
from aftercast.sources.otlp.spreads import Spread, Sum, exponential

DELTA, CUMULATIVE = 1, 2
TEMPORALITIES = {"AGGREGATION_TEMPORALITY_DELTA": DELTA, "AGGREGATION_TEMPORALITY_CUMULATIVE": CUMULATIVE}
SHAPES = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")
NO_VALUE = 1  # flag of a point that says only that a series has ended
GAUGE, LEVEL, INCREASE, RISING = 0, 1, 2, 3  # what to make of the numbers of a stream

Series = tuple[Place, str, str, str]  # place, metric, attributes, unit
NUMBERS: dict[str, Any] = {"series": pl.Int64, "stream": pl.Int64, "how": pl.Int8, "at": pl.Int64, "since": pl.Int64, "value": pl.Float64}
SPREADS: dict[str, Any] = {
    **{name: kind for name, kind in NUMBERS.items() if name != "value"},
    "total": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "scale": pl.Int64,
    "zero": pl.Int64,
    "bounds": pl.List(pl.Float64),
    "cells": pl.List(pl.Int64),
    "counts": pl.List(pl.Int64),
}
ROWS: dict[str, Any] = {
    **dict.fromkeys(("service", "environment", "region", "metric", "attributes"), pl.String),
    "ts": TIME,
    "value": pl.Float64,
    "unit": pl.String,
    "kind": pl.String,
}


@dataclass(frozen=True, slots=True)
class Point:
    """A decoded data point, not yet told to which stream it belongs."""

    metric: str
    unit: str
    attributes: str
    stream: str
    how: int
    at: int
    since: int
    value: float | None = None
    spread: Spread | None = None
    quantiles: tuple[tuple[float, float], ...] = ()
    count: int = 0


def decoded(
    metric: Mapping[str, Any], stream: str, resource: Mapping[str, Any], options: Options
) -> Iterator[Point | tuple[Unreadable, Any]]:
    """Yield the points of a metric, and why others cannot be used."""
    name, unit = str(metric.get("name") or ""), str(metric.get("unit") or "")
    if not any(fnmatch.fnmatchcase(name, wanted) for wanted in options.metrics):
        return
    shape = next((shape for shape in SHAPES if shape in metric), None)
    if shape is None:
        yield Unreadable(f"metric {name}: none of {', '.join(SHAPES)}"), {key: found for key, found in metric.items() if key != "metadata"}
        return
    body = metric[shape] or {}
    temporality = enum(body.get("aggregationTemporality"), TEMPORALITIES)
    for given in body.get("dataPoints") or ():
        try:
            if whole(given.get("flags")) & NO_VALUE:
                continue
            own = attributes(given.get("attributes"))
            at, since = moment(given.get("timeUnixNano"), "time"), whole(given.get("startTimeUnixNano"))
            if since > at:
                raise Unreadable("clock: a point starts after its own time")
            known: dict[str, Any] = {"at": at, "since": since, "metric": name, "unit": unit}
            known["attributes"] = kept_attributes(own, resource, options)
            known["stream"] = f"{stream}{name}{unit}{json.dumps(own, sort_keys=True, default=str)}{shape}{temporality}"
            yield _point(shape, given, known, temporality, is_monotonic=bool(body.get("isMonotonic")))
        except (Unreadable, TypeError, AttributeError, ValueError, KeyError, IndexError) as error:
            yield Unreadable(f"metric {name}: {error}"), given


def _point(shape: str, given: Mapping[str, Any], known: dict[str, Any], temporality: int, *, is_monotonic: bool) -> Point:
    if shape in ("gauge", "sum"):
        found = number(given.get("asDouble", given.get("asInt")))
        if found is None:
            raise Unreadable("not a finite number")
        if shape == "gauge":
            return Point(**known, how=GAUGE, value=found)
        if not is_monotonic and temporality == DELTA:
            raise Unreadable("an up-down counter in deltas has no level; export it cumulative")
        return Point(**known, how=_how(temporality) if is_monotonic else LEVEL, value=found)
    count, total = whole(given.get("count")), number(given.get("sum"))
    if shape == "summary":
        pairs = [(number(one.get("quantile", 0)), number(one.get("value", 0))) for one in given.get("quantileValues") or ()]
        told = tuple((q, found) for q, found in pairs if q is not None and found is not None)
        return Point(**known, how=RISING, value=total, count=count, quantiles=told, spread=Spread(None, Counter({0: count})))
    low, high = number(given.get("min")), number(given.get("max"))
    if shape == "histogram":
        bounds = tuple(float(one) for one in given.get("explicitBounds") or ())
        counts = [whole(one) for one in given.get("bucketCounts") or ()] or [count]
        if len(counts) != len(bounds) + 1:
            raise Unreadable(f"{len(counts)} buckets with {len(bounds)} bounds")
        spread = Spread(None, Counter({index: found for index, found in enumerate(counts) if found}), bounds, 0, low, high)
    else:
        positive, negative = given.get("positive") or {}, given.get("negative") or {}
        below = sum(whole(one) for one in negative.get("bucketCounts") or ())
        cells = (whole(positive.get("offset")), [whole(one) for one in positive.get("bucketCounts") or ()])
        spread = exponential(whole(given.get("scale")), [cells], whole(given.get("zeroCount")) + below, low, high)
    if spread.count != count:
        raise Unreadable(f"buckets hold {spread.count} values where count says {count}")
    return Point(**known, how=_how(temporality), value=total, spread=spread, count=count)


def _how(temporality: int) -> int:
    if temporality not in (DELTA, CUMULATIVE):
        raise Unreadable("neither delta nor cumulative")
    return INCREASE if temporality == DELTA else RISING


class Points:
    """Points as they come, in any order; `frames` once all are there."""

    def __init__(self, folder: Path, buckets: Buckets, options: Options, source: str, *, room: int = ROOM) -> None:
        self._buckets, self._options, self._source = buckets, options, source
        self._numbers = Spool(folder / "numbers", NUMBERS, room=room)
        self._spreads = Spool(folder / "spreads", SPREADS, room=room // 8)
        self._series: dict[Series, int] = {}
        self._streams: dict[bytes, int] = {}
        self.reach = options.lookback_minutes * MINUTE * SECOND
        self.notes: Counter[str] = Counter()

    def add(self, place: Place, point: Point) -> None:
        """Set a point aside.

        Raises:
            SourceRejected: there are more series than is sane.
        """
        series = self._number(place, point.metric, point)
        stream = self._streams.setdefault(blake2b(point.stream.encode(), digest_size=16).digest(), len(self._streams))
        if point.spread is None:
            self._numbers.add((series, series, stream, point.how, point.at, point.since, point.value))
            return
        spread = point.spread
        for q, found in point.quantiles:
            of_quantile = self._number(place, _quantile(point.metric, q), point)
            self._numbers.add((of_quantile, of_quantile, stream, GAUGE, point.at, point.since, found))
        cells = sorted(spread.cells.items())
        self._spreads.add(
            (
                *(series, series, stream, point.how, point.at, point.since, point.value),
                *(spread.low, spread.high, spread.scale, spread.zero, list(spread.bounds)),
                [index for index, _ in cells],
                [count for _, count in cells],
            )
        )

    def _number(self, place: Place, metric: str, point: Point) -> int:
        found = self._series.setdefault((place, metric, point.attributes, point.unit), len(self._series))
        if len(self._series) > self._options.most_series:
            name, count = Counter(metric for _, metric, *_ in self._series).most_common(1)[0]
            raise SourceRejected(
                f"source {self._source!r}: more than {self._options.most_series:,} series, {count:,} of them of metric {name!r}; name the "
                "attributes that matter under `attributes`, the metrics under `metrics`, or raise `most_series`"
            )
        return found

    def frames(self) -> Iterator[pl.DataFrame]:
        """Yield the rows of metric_points."""
        names = list(self._series)
        for part in self._numbers.parts():
            yield self._named(self._of_numbers(part), names)
        for part in self._spreads.parts():
            yield self._named(self._of_spreads(part), names)

    def _named(self, rows: pl.DataFrame, names: list[Series]) -> pl.DataFrame:
        """Rows of series, step, suffix, value, kind as landing wants them."""
        wanted = rows["series"].unique().to_list()
        who = pl.DataFrame(
            [(n, *_columns(names[n])) for n in wanted],
            schema={"series": pl.Int64, **dict.fromkeys(("service", "environment", "region", "metric", "attributes", "unit"), pl.String)},
            orient="row",
        )
        is_count = pl.col("suffix") == "_count"
        return (
            rows.filter(pl.col("step").is_between(self._buckets.first, self._buckets.last, closed="left"))
            .join(who, on="series", how="left")
            .with_columns(
                (pl.col("metric") + pl.col("suffix")).alias("metric"),
                pl.when(is_count).then(pl.lit("1")).otherwise("unit").alias("unit"),
                (pl.col("step") // 1000).cast(TIME).alias("ts"),
            )
            .select(list(ROWS))
            .sort("service", "environment", "region", "metric", "attributes", "ts")
        )

    def _of_numbers(self, points: pl.DataFrame) -> pl.DataFrame:
        width = self._buckets.width
        told = points.sort("stream", "series", "at", "since", "value").unique(["stream", "series", "at"], keep="last", maintain_order=True)
        levels = told.filter(pl.col("how").is_in([GAUGE, LEVEL])).with_columns((pl.col("at") // width * width).alias("step"))
        means = levels.group_by("series", "how", "stream", "step").agg(pl.col("value").mean())
        level = means.group_by("series", "step").agg(
            pl.when(pl.col("how").first() == GAUGE)
            .then(pl.col("value").sort().mean())
            .otherwise(pl.col("value").sort().sum())
            .alias("value")
        )
        rising = told.filter(pl.col("how") == RISING).with_columns(
            pl.col("at").shift(1).over("stream").alias("before"),
            pl.col("since").shift(1).over("stream").alias("began"),
            pl.col("value").shift(1).over("stream").alias("was"),
        )
        anew = pl.col("before").is_null() | ((pl.col("since") != pl.col("began")) & (pl.col("since") >= pl.col("before")))
        fell = pl.col("value") < pl.col("was")
        is_known = pl.col("since").is_between(self._buckets.first - self.reach, pl.col("at"), closed="left")
        risen = rising.with_columns(
            pl.when(anew & is_known)
            .then("value")
            .when(anew)
            .then(None)
            .when(fell)
            .then("value")
            .otherwise(pl.col("value") - pl.col("was")),
            pl.when(anew).then("since").otherwise("before").alias("since"),
        )
        first = risen.filter(pl.col("value").is_null() & pl.col("before").is_null() & (pl.col("at") >= self._buckets.first))
        self.notes["counters without an earlier point: their first increase is not known"] += first.height
        deltas = told.filter(pl.col("how") == INCREASE).with_columns(
            pl.when(pl.col("since") > 0).then("since").otherwise("at").alias("since")
        )
        columns = ["series", "since", "at", "value"]
        middle = (pl.col("since") + (pl.col("at") - pl.col("since")) // 2) // width * width
        increases = pl.concat([risen.select(columns), deltas.select(columns)]).drop_nulls("value").with_columns(middle.alias("step"))
        counted = increases.group_by("series", "step").agg(pl.col("value").sort().sum())
        kinds = [(level, "gauge"), (counted, "counter")]
        return pl.concat(
            [frame.select("series", "step", pl.lit("").alias("suffix"), "value", pl.lit(kind).alias("kind")) for frame, kind in kinds]
        )

    def _of_spreads(self, points: pl.DataFrame) -> pl.DataFrame:
        told = points.sort("series", "stream", "at", "since").unique(["series", "stream", "at"], keep="last", maintain_order=True)
        sums: dict[tuple[int, int], Sum] = {}
        last: dict[str, Any] | None = None
        before: Spread | None = None
        for row in told.iter_rows(named=True):
            spread = _spread(row)
            if last is None or last["stream"] != row["stream"]:
                last = before = None
            increase = self._increase(row, spread, last, before)
            last, before = row, spread
            if increase is None:
                continue
            more, total, since = increase
            step = self._buckets.bucket(since + (row["at"] - since) // 2)
            if step in self._buckets:
                sums.setdefault((row["series"], step), Sum()).add(more, total)
        rows: list[tuple[Any, ...]] = []
        for (series, step), found in sums.items():
            rows.append((series, step, "_count", float(found.count), "counter"))
            if found.total is not None:
                rows.append((series, step, "_sum", found.total, "counter"))
            for q in self._options.quantiles:
                value = found.quantile(q)
                if value is not None:
                    rows.append((series, step, _quantile("", q), value, "gauge"))
        schema = {"series": pl.Int64, "step": pl.Int64, "suffix": pl.String, "value": pl.Float64, "kind": pl.String}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def _increase(
        self, row: dict[str, Any], spread: Spread, last: dict[str, Any] | None, before: Spread | None
    ) -> tuple[Spread, float | None, int] | None:
        """What a point adds, and since when."""
        if row["how"] == INCREASE:
            return spread, row["total"], row["since"] or row["at"]
        if last is not None and before is not None and not (row["since"] != last["since"] and row["since"] >= last["at"]):
            more = spread.since(before)
            if more is None:
                return spread, row["total"], last["at"]
            known = row["total"] is not None and last["total"] is not None
            return more, row["total"] - last["total"] if known else None, last["at"]
        if self._buckets.first - self.reach <= row["since"] < row["at"]:
            return spread, row["total"], row["since"]
        if last is None and row["at"] >= self._buckets.first:
            self.notes["counters without an earlier point: their first increase is not known"] += 1
        return None


def _columns(series: Series) -> tuple[str | None, ...]:
    place, metric, labels, unit = series
    return place.service, place.environment, place.region, metric, labels, unit


def _spread(row: Mapping[str, Any]) -> Spread:
    cells = Counter(dict(zip(row["cells"], row["counts"], strict=True)))
    return Spread(row["scale"], cells, tuple(row["bounds"]), row["zero"], row["low"], row["high"])


def _quantile(metric: str, q: float) -> str:
    return f"{metric}_p{f'{q * 100:g}'.replace('.', '_')}"
