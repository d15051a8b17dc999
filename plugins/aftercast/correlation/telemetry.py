"""Telemetry of one environment as a matrix, and how far each series is from its own normal: robust, one-sided, aware of the time of day.

The normal of a series is taken from points outside every known incident. Its centre is a median; its spread is measured on the side that
hurts and widened by the far quantile, so that a series which jumps every hour needs a larger jump to count. Floors keep a flat history
(median absolute deviation 0) from turning the smallest ripple into evidence.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from aftercast.correlation import arranging
from aftercast.correlation.reach import BEGINNING, END, Reach
from aftercast.correlation.semantics import AVAILABILITY, ERRORS, TRAFFIC, Meaning, meaning, words

Floats = arranging.Floats
Times = arranging.Times
Flags = arranging.Flags

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
HISTORY_POINTS = 2016
"""A normal is measured on at most this many points (a week of five-minute buckets)."""
ENOUGH_POINTS = 24
"""Fewer points than this are no normal: the series stays silent."""
SEASONAL_DAYS = 7
SEASONAL_REACH = 14 * DAY
TIME_OF_DAY = 90 * MINUTE
BUSY_BEFORE, BUSY_AFTER = 15 * MINUTE, 30 * MINUTE
STALE = DAY
"""A normal that ended longer ago than this keeps its spread, but its level is taken from the points right before the onset."""
RELATIVE_FLOOR = 0.02
OFF_THE_SCALE = 1000.0
"""A z beyond this says no more: a flat history divides by next to nothing."""
RATE_OF_RARE = 0.25
"""Failures expected in a bucket where history shows none: one failure then lies two spreads away, whatever the traffic."""
_REQUEST_WORDS = frozenset({"request", "requests", "calls", "attempts", "transactions", "count"})


@dataclass(frozen=True, slots=True)
class Series:
    """One metric of one service in one region.

    Attributes:
        whole: what a share is a share of (1 or 100); 0 when the series is not a share.
        volume: row of the traffic of the same service and region in the same panel, -1 when unknown.
    """

    service: str
    region: str
    metric: str
    attributes: str
    unit: str
    is_counter: bool
    meaning: Meaning
    whole: float
    volume: int

    @property
    def label(self) -> str:
        return self.metric if not self.region else f"{self.metric} in {self.region}"


@dataclass(frozen=True, slots=True)
class Panel:
    """Series by time: `values[i, j]` is series i at `times[j]` (microseconds, rising), NaN where there was no point.

    `calm` are the times outside every incident; `quiet` those of them that also keep a distance to what was reported. `reach` is told how
    far normals read.
    """

    series: tuple[Series, ...]
    times: Times
    values: npt.NDArray[np.float32]
    calm: Flags
    quiet: Flags
    grain: int
    reach: Reach = field(default_factory=Reach, compare=False)

    def between(self, start: int, end: int) -> slice:
        """Columns with start <= time < end."""
        left, right = np.searchsorted(self.times, [start, end])
        return slice(int(left), int(right))

    def only(self, rows: list[int]) -> Panel:
        """A panel of some of the series; their traffic is not carried along."""
        series = tuple(replace(self.series[row], volume=-1) for row in rows)
        return replace(self, series=series, values=self.values[rows])


def panel_of(points: pl.DataFrame, busy: list[tuple[int, int]], until: int) -> Panel | None:
    """Arrange the metric points of one environment before `until`, one row each or packed by series; None when there is none.

    `busy` are the spans (microseconds) in which some incident was going on. `quiet` is a quarter of an hour away from any of them, and half
    an hour after: reports come late, and so do recoveries.

    Counters of errors or successes become shares of the traffic of the same service and region where that is known: errors that grow
    with demand hurt nobody.
    """
    arranged = arranging.arrange(points, until)
    if arranged is None:
        return None
    named, times, values = arranged
    calm = _outside(times, busy)
    quiet = _outside(times, [(start - BUSY_BEFORE, end + BUSY_AFTER) for start, end in busy])
    grain = int(np.median(np.diff(times))) if times.size > 1 else 5 * MINUTE
    rows = named.to_dicts()
    volumes = _volumes(rows)
    raw = values.copy()
    series = []
    for position, row in enumerate(rows):
        meant = meaning(row["metric"], row["unit"])
        volume = volumes.get((row["service"], row["region"]), -1)
        is_counter = row["kind"] == "counter"
        is_ratio = is_counter and meant.symptom in {ERRORS, AVAILABILITY} and volume >= 0
        if is_ratio:
            with np.errstate(divide="ignore", invalid="ignore"):
                values[position] = np.where(raw[volume] > 0, raw[position] / raw[volume], np.nan)
        whole = 1.0 if is_ratio else 0.0 if is_counter else _share_of(raw[position], row["unit"], meant)
        series.append(
            Series(row["service"], row["region"], row["metric"], row["attributes"], row["unit"], is_counter, meant, whole, volume)
        )
    return Panel(tuple(series), times, values, calm, quiet, min(grain, HOUR))


def _outside(times: Times, spans: list[tuple[int, int]]) -> Flags:
    outside = np.ones(times.size, dtype=np.bool_)
    for start, end in spans:
        left, right = np.searchsorted(times, [start, end], side="left")
        outside[left:right] = False
    return outside


def _share_of(values: npt.NDArray[np.float32], unit: str, meant: Meaning) -> float:
    """1 or 100 when a gauge of errors or successes is a share, else 0."""
    known = values[np.isfinite(values)]
    if meant.symptom not in {ERRORS, AVAILABILITY} or not known.size or known.min() < 0:
        return 0.0
    top = float(known.max())
    if unit.lower() in {"percent", "%", "pct"}:
        return 100.0
    if top <= 1.0:
        return 1.0
    return 100.0 if top <= 100.0 and meant.symptom == AVAILABILITY else 0.0


def _volumes(rows: list[dict[str, str]]) -> dict[tuple[str, str], int]:
    """Row of the traffic of each service and region: a metric that counts requests; the plainest name wins."""
    chosen: dict[tuple[str, str], tuple[tuple[int, int, str, str], int]] = {}
    for position, row in enumerate(rows):
        if meaning(row["metric"], row["unit"]).symptom != TRAFFIC or not _REQUEST_WORDS & set(words(row["metric"])):
            continue
        order = (bool(row["attributes"]), len(words(row["metric"])), row["metric"], row["attributes"])
        place = (row["service"], row["region"])
        if place not in chosen or order < chosen[place][0]:
            chosen[place] = (order, position)
    return {place: position for place, (_, position) in chosen.items()}


@dataclass(frozen=True, slots=True)
class Normal:
    """Centre and spread (downwards, upwards) of each series, how many points they rest on, and whether they are out of date."""

    centre: Floats
    down: Floats
    up: Floats
    count: npt.NDArray[np.int64]
    is_stale: bool

    @property
    def known(self) -> Flags:
        return self.count >= ENOUGH_POINTS


def normal_before(panel: Panel, moment: int, as_of: int) -> Normal:
    """Measure normals on the points before `moment` outside incidents; where there are too few, on points after it (before `as_of`).

    The distance kept to incidents is given up when it leaves too few points: a recording of minutes has no quarters of an hour to spare.
    """
    quiet = panel.quiet & (panel.times < as_of)
    if np.count_nonzero(quiet) < ENOUGH_POINTS:
        quiet = panel.calm & (panel.times < as_of)
    before = np.flatnonzero(quiet & (panel.times < moment))
    chosen, since = _similar_times(panel, before, moment)
    panel.reach.note(since, moment)
    normal = _measure(panel, chosen, is_stale=chosen.size == 0 or moment - int(panel.times[before[-1]]) > STALE)
    if bool(normal.known.all()):
        return normal
    nearest = np.flatnonzero(quiet)
    apart = np.abs(panel.times[nearest] - moment)
    order = np.lexsort((nearest, apart))
    if order.size > HISTORY_POINTS:
        furthest = int(apart[order[HISTORY_POINTS - 1]])
        panel.reach.note(moment - furthest, moment + furthest)
    else:
        panel.reach.note(BEGINNING, END)
    wider = _measure(panel, np.sort(nearest[order[:HISTORY_POINTS]]), is_stale=True)
    poor = ~normal.known
    return Normal(
        np.where(poor, wider.centre, normal.centre),
        np.where(poor, wider.down, normal.down),
        np.where(poor, wider.up, normal.up),
        np.where(poor, wider.count, normal.count),
        normal.is_stale or before.size < ENOUGH_POINTS,
    )


def _similar_times(panel: Panel, columns: npt.NDArray[np.int64], moment: int) -> tuple[npt.NDArray[np.int64], int]:
    """Prefer points at a similar time of day when a week of history exists; otherwise the most recent. Also since when that holds."""
    if columns.size and moment - int(panel.times[columns[0]]) >= SEASONAL_DAYS * DAY:
        recent = columns[panel.times[columns] >= moment - SEASONAL_REACH]
        apart = np.abs((panel.times[recent] - moment) % DAY)
        similar = recent[np.minimum(apart, DAY - apart) <= TIME_OF_DAY]
        if similar.size >= 4 * ENOUGH_POINTS:
            return np.asarray(similar[-HISTORY_POINTS:]), moment - SEASONAL_REACH
    chosen = columns[-HISTORY_POINTS:]
    return chosen, min(int(panel.times[chosen[0]]), moment - SEASONAL_REACH) if chosen.size == HISTORY_POINTS else BEGINNING


def _measure(panel: Panel, columns: npt.NDArray[np.int64], *, is_stale: bool) -> Normal:
    rows = len(panel.series)
    history = np.sort(panel.values[:, columns], axis=1)
    count = np.isfinite(history).sum(axis=1)
    nothing = np.full(rows, np.nan)
    if columns.size == 0:
        return Normal(nothing, nothing, nothing, count, is_stale)
    low, lower, centre, upper, high = (_quantile(history, count, q) for q in (0.025, 0.16, 0.5, 0.84, 0.975))
    floor = _floor(panel, centre, columns)
    down = np.maximum.reduce([centre - lower, (centre - low) / 1.96, floor])
    up = np.maximum.reduce([upper - centre, (high - centre) / 1.96, floor])
    return Normal(centre, down, up, count, is_stale)


def _quantile(ordered: npt.NDArray[np.float32], count: npt.NDArray[np.int64], q: float) -> Floats:
    """Quantile of each row of a matrix sorted with NaN last."""
    place = np.clip(np.rint((count - 1) * q), 0, ordered.shape[1] - 1).astype(np.int64)
    found = ordered[np.arange(ordered.shape[0]), place].astype(np.float64)
    return np.where(count > 0, found, np.nan)


def _floor(panel: Panel, centre: Floats, columns: npt.NDArray[np.int64]) -> Floats:
    """Smallest spread believed: 2 % of the level; Poisson for counts; binomial for shares whose traffic is known.

    A gauge that is always zero takes 2 % of what its metric usually shows in other services.
    """
    floor = RELATIVE_FLOOR * np.abs(centre)
    peers = _peers(panel, centre)
    typical: dict[int, float] = {}
    for position, series in enumerate(panel.series):
        level = centre[position]
        if not np.isfinite(level):
            continue
        if series.whole:
            if series.volume >= 0 and series.volume not in typical:
                traffic = panel.values[series.volume, columns]
                traffic = traffic[np.isfinite(traffic)]
                typical[series.volume] = float(np.median(traffic)) if traffic.size else 0.0
            trials = max(typical.get(series.volume, 0.0), 1.0) if series.volume >= 0 else 1000.0
            share = min(max(level / series.whole, 0.0), 1.0)
            odd = max(min(share, 1 - share), RATE_OF_RARE / trials)
            floor[position] = series.whole * max(np.sqrt(min(odd, 0.25) / trials), 0.001)
        elif series.is_counter:
            floor[position] = max(floor[position], np.sqrt(max(level, 1.0)))
        elif level == 0:
            floor[position] = RELATIVE_FLOOR * peers.get((series.metric, series.unit), 0.0)
    return np.maximum(floor, 1e-9)


def _peers(panel: Panel, centre: Floats) -> dict[tuple[str, str], float]:
    """Usual level of each metric over the services where it is not zero: what a first sign of life is to be compared with."""
    levels: dict[tuple[str, str], list[float]] = {}
    for series, level in zip(panel.series, centre, strict=True):
        if np.isfinite(level) and level != 0:
            levels.setdefault((series.metric, series.unit), []).append(abs(float(level)))
    return {metric: float(np.median(known)) for metric, known in levels.items()}


def worst_of(z: Floats, part: int = 6) -> float:
    """Mean of the worst sixth (or another part) of the known points, at least two: alike for twelve points of an hour and for 3,600."""
    known = np.sort(z[np.isfinite(z)])
    return float(known[-max(2, known.size // part) :].mean()) if known.size else -np.inf


@dataclass(frozen=True, slots=True)
class Step:
    """How the level of a series moved at a moment, compared with the same clock time on other days.

    Attributes:
        size: relative move beyond the usual one; z: the same in units of its spread over other days.
    """

    row: int
    size: float
    z: float
    days: int


def steps_against_other_days(panel: Panel, rows: list[int], start: int, end: int) -> list[Step]:
    """Compare each series in [start, end) with its hour before, and that move with the moves of up to 14 quiet days before.

    The clock's own rise and fall cancels out; so do growth and the level of the day. Fewer than five other days give no answer.
    """
    now = _move(panel, rows, start, end)
    if now is None:
        return []
    before = [moved for day in range(1, 15) if (moved := _move(panel, rows, start - day * DAY, end - day * DAY, quiet=True)) is not None]
    if len(before) < 5:
        return []
    moves = np.stack([move for move, _ in before])
    steps = []
    for place, row in enumerate(rows):
        usual = moves[:, place][np.isfinite(moves[:, place])]
        if usual.size < 5 or not np.isfinite(now[0][place]):
            continue
        centre = float(np.median(usual))
        spread = 1.4826 * float(np.median(np.abs(usual - centre)))
        floor = max(RELATIVE_FLOOR, 1 / np.sqrt(max(float(now[1][place]), 1.0))) if panel.series[row].is_counter else RELATIVE_FLOOR
        apart = float(now[0][place]) - centre
        steps.append(Step(row, float(np.expm1(apart)), apart / max(spread, floor), int(usual.size)))
    return steps


def _move(panel: Panel, rows: list[int], start: int, end: int, *, quiet: bool = False) -> tuple[Floats, Floats] | None:
    """Logarithm of the mean level after `start` over that of the hour before, and the smaller of both sums."""
    after, before = panel.between(start, end), panel.between(start - HOUR, start)
    sides = []
    for columns in (after, before):
        if columns.stop <= columns.start or (quiet and not bool(panel.quiet[columns].all())):
            return None
        values = panel.values[rows, columns].astype(np.float64)
        count = np.isfinite(values).sum(axis=1)
        total = np.nansum(values, axis=1)
        sides.append((np.where(count > 0, total / np.maximum(count, 1), np.nan), total))
    with np.errstate(divide="ignore", invalid="ignore"):
        moved = np.log(sides[0][0]) - np.log(sides[1][0])
    return np.where(np.isfinite(moved), moved, np.nan), np.minimum(sides[0][1], sides[1][1])
