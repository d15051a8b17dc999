"""Long rows of points as matrices on regular grids, one panel per signal and grain; what is absent stays absent (NaN)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from aftercast.declarations import SignalRow
from aftercast.entities import NUMBER, TEXT, TIME, ColumnType
from aftercast.errors import AftercastError
from aftercast.window import Window

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

IDENTITY = ("series_id", "signal", "subject_kind", "subject", "environment", "region", "segment")
POINTS: dict[str, ColumnType] = {
    **dict.fromkeys(IDENTITY, TEXT),
    "bucket_at": TIME,
    "numerator": NUMBER,
    "denominator": NUMBER,
    "value": NUMBER,
}
MASKS: dict[str, ColumnType] = {
    **dict.fromkeys(("kind", "name", "environment", "service", "region"), TEXT),
    "started_at": TIME,
    "ended_at": TIME,
}
"""Windows nothing may be learned from: an incident or a maintenance, what it is called, and where it was."""
Span = tuple[datetime, datetime]
Place = tuple[str, str | None, str]  # environment, service (None of a journey), region ('' of all)

ABSURD = 1e100  # no measurement is that large; its square would overflow


@dataclass(frozen=True, slots=True)
class Panel:
    """Series of one signal on one grid.

    Attributes:
        signal: the signal they belong to.
        identity: one row per series, `IDENTITY` columns, sorted by series_id.
        start: time of the first bucket, a UTC midnight. Bucket i starts at start + i * grain.
        grain_minutes: length of a bucket.
        value: (N, T), NaN where missing. numerator, denominator: the same, for ratios.
    """

    signal: SignalRow
    identity: pl.DataFrame
    start: datetime
    grain_minutes: int
    value: Array
    numerator: Array | None
    denominator: Array | None

    def at(self, index: int) -> datetime:
        return self.start + timedelta(minutes=self.grain_minutes * index)

    def take(self, rows: npt.NDArray[np.intp]) -> Panel:
        """Return the panel of some of the series."""
        sides = [None if side is None else side[rows] for side in (self.numerator, self.denominator)]
        return Panel(self.signal, self.identity[rows], self.start, self.grain_minutes, self.value[rows], *sides)

    def between(self, first: int, until: int) -> Panel:
        """Return the panel of buckets [first, until)."""
        sides = [None if side is None else side[:, first:until] for side in (self.numerator, self.denominator)]
        return Panel(self.signal, self.identity, self.at(first), self.grain_minutes, self.value[:, first:until], *sides)


def no_points() -> pl.DataFrame:
    """Return a frame of no points."""
    return pl.DataFrame(schema=POINTS)


def panels(points: pl.DataFrame, signals: Sequence[SignalRow], window: Window) -> Iterator[Panel]:
    """Yield the panels of every signal in the order given; rows outside the window and of other signals are left out.

    A series whose points usually lie further apart than the signal's grain (a journey of coarser grain) is put on the coarser grid.
    Rows of one series and bucket are averaged, in the order they come; infinite and absurd values are missing. Names may be categories.

    Raises:
        AftercastError: a column is missing or has another type, a time has no zone.
    """
    _check(points)
    inside = points.filter((pl.col("bucket_at") >= window.start) & (pl.col("bucket_at") < window.end))
    start = window.start.replace(hour=0, minute=0, second=0, microsecond=0)
    for signal in signals:
        own = inside.filter(pl.col("signal") == signal.name)
        if own.is_empty():
            continue
        row, identity = _rows(own)
        minute = ((own["bucket_at"].cast(pl.Int64) - int(start.timestamp() * 1e6)) // 60_000_000).to_numpy()
        spacing = _spacing(row, minute // signal.grain_minutes, identity.height)
        grains = np.array([_grid_grain(signal.grain_minutes, int(factor)) for factor in spacing])
        for grain in np.unique(grains).tolist():
            members = np.flatnonzero(grains == grain)
            place = np.full(identity.height, -1)
            place[members] = np.arange(len(members))
            kept = place[row] >= 0
            n_buckets = -(-int((window.end - start).total_seconds() // 60) // grain)
            flat = place[row[kept]] * n_buckets + minute[kept] // grain
            shape = (len(members), n_buckets)
            sides = [_matrix(own[name].to_numpy()[kept], flat, shape) for name in ("value", "numerator", "denominator")]
            is_ratio = signal.numerator is not None
            yield Panel(signal, identity[members], start, grain, sides[0], *(sides[1:] if is_ratio else (None, None)))


def _rows(points: pl.DataFrame) -> tuple[npt.NDArray[np.int64], pl.DataFrame]:
    """Return the number of each point's series, by the order of their names, and one row per series."""
    codes = points["series_id"].cast(pl.Categorical).to_physical().to_numpy()
    first = np.full(int(codes.max()) + 1, -1, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    known = np.flatnonzero(first >= 0)
    identity = points[first[known]].select(pl.col(name).cast(pl.String) for name in IDENTITY)
    order = identity["series_id"].arg_sort().to_numpy()
    place = np.empty(len(first), dtype=np.int64)
    place[known[order]] = np.arange(len(known))
    return place[codes], identity[order]


def _grid_grain(grain: int, factor: int) -> int:
    """Return the largest multiple of the signal's grain, up to `factor` times it, that divides a day; the grain itself if none does."""
    return max((size for size in range(grain, min(grain * factor, 1440) + 1, grain) if 1440 % size == 0), default=grain)


def _check(points: pl.DataFrame) -> None:
    for name, kind in POINTS.items():
        if name not in points.columns:
            raise AftercastError(f"points to detect in lack the column {name!r}; signal_query returns all of {', '.join(POINTS)}")
        found = points.schema[name]
        if kind == TIME and not (isinstance(found, pl.Datetime) and found.time_zone == "UTC" and found.time_unit == "us"):
            raise AftercastError(
                f"points to detect in need {name!r} as UTC microseconds, found {found}; a time without zone is not guessed"
            )
        if kind == NUMBER and not (found.is_numeric() or found == pl.Null):
            raise AftercastError(f"points to detect in need numbers in {name!r}, found {found}")


def _spacing(row: npt.NDArray[np.int64], bucket: npt.NDArray[np.int64], n_series: int) -> npt.NDArray[np.int64]:
    """Usual distance between the points of each series, in buckets: the lower quartile, so that gaps do not count."""
    width = int(bucket.max()) + 1
    present = np.zeros(n_series * width, dtype=bool)
    present[row * width + bucket] = True
    place = np.flatnonzero(present)
    of, step = place // width, np.diff(place)
    same = np.diff(of) == 0
    longest = 1440
    counts = np.bincount(of[1:][same] * (longest + 1) + np.minimum(step[same], longest), minlength=n_series * (longest + 1))
    passed = counts.reshape(n_series, longest + 1).cumsum(axis=1)
    return np.asarray(np.maximum((passed > passed[:, -1:] // 4).argmax(axis=1), 1))


def _matrix(values: npt.NDArray[np.generic], flat: npt.NDArray[np.int64], shape: tuple[int, int]) -> Array:
    numbers = values.astype(np.float64)
    known = np.abs(numbers) < ABSURD  # neither missing nor infinite
    size = shape[0] * shape[1]
    counts = np.bincount(flat[known], minlength=size)
    sums = np.bincount(flat[known], weights=numbers[known], minlength=size)
    with np.errstate(invalid="ignore"):
        return np.where(counts > 0, sums / counts, np.nan).reshape(shape)


def places_of(panel: Panel) -> list[Place]:
    """Return where each series was measured."""
    who = panel.identity.select("environment", "subject_kind", "subject", "region").iter_rows()
    return [(environment, subject if kind == "service" else None, region) for environment, kind, subject, region in who]


def reaches(environment: str | None, service: str | None, region: str | None, place: Place) -> bool:
    """Whether what happened there is felt at a place. '' or null means all of them; a window of one service leaves journeys alone."""
    return environment in (place[0], "", None) and service in (place[1], "", None) and (region in (place[2], "", None) or not place[2])


def masked(masks: pl.DataFrame, panel: Panel, before: timedelta, after: timedelta) -> tuple[Flags, list[Array]]:
    """Return which buckets of each series lie in a masked window (N, T), and the windows of each series (K, 2), in buckets of the grid.

    A window is widened by the margins; one without an end lasts to the end of the grid.
    """
    n_buckets = panel.value.shape[1]
    end_of_grid = panel.at(n_buckets)
    places = places_of(panel)
    spans: dict[Place, list[Span]] = {place: [] for place in dict.fromkeys(places)}
    for environment, service, region, started_at, ended_at in masks.drop("kind", "name").unique().sort(pl.all()).iter_rows():
        if started_at is None:
            continue
        span = (started_at - before, (ended_at or end_of_grid) + after)
        for place, own in spans.items():
            if reaches(environment, service, region, place):
                own.append(span)
    length = timedelta(minutes=panel.grain_minutes)
    lines = {place: np.zeros(n_buckets, dtype=bool) for place in spans}
    for place, line in lines.items():
        for begin, end in spans[place]:
            line[max((begin - panel.start) // length, 0) : max(-((panel.start - end) // length), 0)] = True
    windows = {
        place: np.array([[(at - panel.start) / length for at in span] for span in own]).reshape(-1, 2) for place, own in spans.items()
    }
    return np.array([lines[place] for place in places]).reshape(panel.value.shape), [windows[place] for place in places]
