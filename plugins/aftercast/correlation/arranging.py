"""Metric points, one row each or packed by series, as a matrix of series by time. The order of the points does not matter.

Series are worked through one by one: with millions of points, touching fresh memory is what takes the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from aftercast.correlation.inputs import PACKED

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
T = TypeVar("T", bound=np.generic)

MOST_SLOTS = 10_000_000
MANY_RUNS = 100
NEVER = -(2**62)
_KEYS, _TOLD = ["service", "region", "metric", "attributes"], ["unit", "kind"]


@dataclass(frozen=True, slots=True)
class _Coded:
    """Points of some series: `named` lists the series in order, each run [start, end) of `at` and `value` belongs to one of them.

    Runs are sorted by series. Working run by run touches little memory at a time, which is what takes the time with millions of points.
    """

    named: pl.DataFrame
    row: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    at: Times
    value: npt.NDArray[np.floating[Any]]


def arrange(points: pl.DataFrame, until: int) -> tuple[pl.DataFrame, Times, npt.NDArray[np.float32]] | None:
    """Series (service, region, metric, attributes, with unit and kind; sorted), moments before `until` (rising) and the mean value at each.

    None when there is no point. Series whose points all lie later, or are no numbers, keep their row.
    """
    coded = _packed_by_series(points) if PACKED in points.columns else _one_row_each(points)
    times = _moments(coded.at, until)
    return (coded.named, times, _matrix(coded, times)) if times.size else None


def _packed_by_series(packed: pl.DataFrame) -> _Coded:
    packed = packed.filter(pl.col("service").is_not_null() & (pl.col(PACKED).list.len() > 0))
    named = _named(packed)
    ends = np.cumsum(packed[PACKED].list.len().to_numpy(), dtype=np.int64)
    points = packed[PACKED].explode().struct
    at = points.field("at").fill_null(NEVER).to_numpy()
    value = points.field("value").fill_null(float("nan")).to_numpy()
    return _sorted(named, _rows_in(named, packed), np.concatenate([[0], ends[:-1]]), ends, at, value)


def _one_row_each(points: pl.DataFrame) -> _Coded:
    """Points mostly come in runs of one series, so runs are named and not points: neighbours are faster compared than texts hashed."""
    if points["service"].null_count() or points["bucket_at"].null_count():
        points = points.filter(pl.col("service").is_not_null() & pl.col("bucket_at").is_not_null())
    begins = points.select(
        pl.any_horizontal(pl.col(column).ne_missing(pl.col(column).shift()) for column in (*_KEYS, *_TOLD)) | (pl.int_range(pl.len()) == 0)
    ).to_series()
    runs = points.select(*_KEYS, *_TOLD).filter(begins)
    named = _named(runs)
    start, at = np.flatnonzero(begins.to_numpy()), points["bucket_at"].to_physical().to_numpy()
    value = points["value"].fill_null(float("nan")).to_numpy()
    row, end = _rows_in(named, runs), np.append(start[1:], at.size)
    if row.size > MANY_RUNS * named.height:
        of_point = np.repeat(row, end - start)
        order = np.argsort(of_point, kind="stable")
        row, at, value = np.arange(named.height), at[order], value[order]
        borders = np.searchsorted(of_point[order], np.arange(named.height + 1))
        start, end = borders[:-1], borders[1:]
    return _sorted(named, row, start, end, at, value)


def _sorted(
    named: pl.DataFrame,
    row: npt.NDArray[np.int64],
    start: npt.NDArray[np.int64],
    end: npt.NDArray[np.int64],
    at: Times,
    value: npt.NDArray[np.floating[Any]],
) -> _Coded:
    order = np.argsort(row, kind="stable")
    return _Coded(named, row[order], start[order], end[order], at, value)


def _named(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by(_KEYS).agg(pl.col(column).min() for column in _TOLD).sort(_KEYS)


def _rows_in(named: pl.DataFrame, rows: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Which row of `named` each row of another frame belongs to."""
    numbered = named.select(_KEYS).with_row_index("row")
    return rows.select(_KEYS).join(numbered, on=_KEYS, how="left", maintain_order="left", nulls_equal=True)["row"].cast(pl.Int64).to_numpy()


def _moments(at: Times, until: int) -> Times:
    """The moments before `until` there are, rising."""
    times = pl.Series(at).unique().sort().to_numpy()
    return times[(times > NEVER) & (times < until)]


def _joined(values: npt.NDArray[T], parts: list[slice]) -> npt.NDArray[T]:
    return values[parts[0]] if len(parts) == 1 else np.concatenate([values[part] for part in parts])


def _matrix(coded: _Coded, times: Times) -> npt.NDArray[np.float32]:
    """Mean of the points of each series at each of the moments, NaN where there is none."""
    step = int(np.gcd.reduce(np.diff(times))) if times.size > 1 else 1
    slots = int(times[-1] - times[0]) // step + 1
    place = np.zeros(slots, dtype=np.int64) if slots <= MOST_SLOTS else None
    if place is not None:
        place[(times - times[0]) // step] = np.arange(times.size)
    values = np.full((coded.named.height, times.size), np.nan, dtype=np.float32)
    borders = np.searchsorted(coded.row, np.arange(coded.named.height + 1))
    for row, (first, last) in enumerate(pairwise(borders)):
        parts = [slice(start, end) for start, end in zip(coded.start[first:last], coded.end[first:last], strict=True)]
        at, value = _joined(coded.at, parts), _joined(coded.value, parts)
        told = np.isfinite(value) & (at >= times[0]) & (at <= times[-1])
        if not told.all():
            at, value = at[told], value[told]
        column = np.searchsorted(times, at) if place is None else place[(at - times[0]) // step]
        count = np.bincount(column, minlength=times.size)
        if count.max(initial=0) <= 1:
            values[row, column] = value
        else:
            order = np.lexsort((value, column))  # a sum of floats depends on its order
            total = np.bincount(column[order], weights=value[order], minlength=times.size)
            values[row] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return values
