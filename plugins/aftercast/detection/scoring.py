"""Points to surprise and evidence, causally: each day is judged by what was learned before it.

1. A Prophet model is fitted to the block means (30 minutes, or the grain) of up to 28 days before the day, masked windows left out.
2. What the model usually misses at a time of the week is added, shrunk to zero where it is not significant; then the level is corrected
   by the median residual of the last 24 hours. Both come from completed blocks outside masked windows.
3. Deviations (noise.py) are divided by a robust scale of their time of day, learned from the same model over the two weeks before the day;
   so are the sums that make evidence (evidence.py).
Series too sparse for medians of blocks keep the plain model.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from aftercast.detection import noise
from aftercast.detection.choosing import Chosen, fit_better, may_be_logged
from aftercast.detection.correcting import GAUSS_MAD, level, nan_median, profile
from aftercast.detection.evidence import usual_evidence, windows
from aftercast.detection.series import Panel

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

MINUTES_PER_DAY = 1440
BLOCK_MINUTES = 30
WARM_UP_DAYS = 7
LEAST_DAYS = 5
HISTORY_DAYS, SCALE_DAYS = 28, 14
YOUNG_DAYS = 21  # up to here a trend and the shape of a week cannot be told apart
COARSE_DAYS = 182  # both, for grains of 12 hours and more
MOST_CUTS = 64
SCALE_CLASSES = 8  # per day
CLASS_WEIGHT = 100.0  # points of a class that weigh as much as the whole history
WIDEST = 2.5  # however odd its history, a series may widen its scale by this much and no more
SLIVER = 0.005  # of the usual level: a series that hardly moves must not cry at rounding


@dataclass(frozen=True, slots=True)
class Cut:
    """One refit: trained on buckets [first, until), used for [until, next)."""

    first: int
    until: int
    next: int
    model: Chosen


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of one panel; arrays (N, T), NaN where a point is missing or was not scored.

    Attributes:
        cuts: the refits in order.
        block, blocks: buckets per training block, and the block means (N, B) that models were trained on.
        expected: in the units of the series. scale: standard deviation of quiet points around it, in the same units.
        surprise: deviation over scale. short, long: signed evidence of the windows that end at a point.
        non_negative, share: (N,) what values of the series can be.
    """

    cuts: tuple[Cut, ...]
    block: int
    blocks: Array
    expected: Array
    scale: Array
    surprise: Array
    short: Array
    long: Array
    non_negative: Flags
    share: Flags


@dataclass(frozen=True, slots=True)
class Grid:
    """Lengths in buckets of a training block, a day and the whole grid; seconds of the first bucket and of one bucket."""

    block: int
    day: int
    total: int
    start: float
    step: float

    @classmethod
    def of(cls, panel: Panel) -> Grid:
        day = MINUTES_PER_DAY // panel.grain_minutes
        block = max(size for size in range(1, max(1, BLOCK_MINUTES // panel.grain_minutes) + 1) if day % size == 0)
        return cls(block, day, panel.value.shape[1], panel.start.timestamp(), panel.grain_minutes * 60.0)

    def reach(self, days: int) -> int:
        return self.day * (COARSE_DAYS if self.day <= 2 else days)

    def cut_places(self) -> list[int]:
        """Where models are refitted: every midnight after the warm-up, or as many days apart as keeps them below MOST_CUTS."""
        days = -(-self.total // self.day)
        apart = max(1, -(-(days - WARM_UP_DAYS) // MOST_CUTS))
        return [number * self.day for number in range(WARM_UP_DAYS, days, apart)]

    def middles(self, first: int, until: int, width: int = 1) -> Array:
        """Seconds at the middle of the buckets (or groups of `width` buckets) from first to until."""
        return np.asarray(self.start + (np.arange(first, until, width) + width / 2.0) * self.step, dtype=np.float64)

    def weekdays(self, first: int, until: int) -> npt.NDArray[np.intp]:
        """Weekday (Monday 0, UTC) of every day from first to until."""
        days = np.arange(first // self.day, -(-until // self.day)) + int(self.start // 86_400)
        return np.asarray((days + 3) % 7, dtype=np.intp)  # 1970 began on a Thursday

    def blocked(self, values: Array) -> Array:
        """Return the mean of the present values of each block, (N, M) to (N, ceil(M / block))."""
        n_blocks = -(-values.shape[1] // self.block)
        padded = np.full((values.shape[0], n_blocks * self.block), np.nan)
        padded[:, : values.shape[1]] = values
        parts = padded.reshape(values.shape[0], n_blocks, self.block)
        known = np.isfinite(parts)
        count = known.sum(axis=2)
        total: Array = np.where(known, parts, 0.0).sum(axis=2)
        return np.asarray(np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0))


def score(panel: Panel, mask: Flags) -> Scored:
    """Score every point after the warm-up; `mask` (N, T) marks points nothing may be learned from."""
    kind, quiet, grid = noise.kinds(panel), ~mask, Grid.of(panel)
    usual = noise.usual_levels(panel, kind, quiet)
    blocks = _block_means(panel, quiet, grid)
    sparse = noise.events_per_block(panel, kind, usual, grid.block) < noise.SPARSE
    candidates = may_be_logged(blocks, ~kind.share & ~sparse)
    expected, scale, surprise, short, long = (np.full(panel.value.shape, np.nan) for _ in range(5))
    cuts = []
    for until, following in pairwise([*grid.cut_places(), grid.total]):
        cut = _fit_cut(blocks, candidates, grid, until, following)
        cuts.append(cut)
        begin = max(cut.first, until - grid.reach(SCALE_DAYS))
        span, new, past = slice(begin, following), slice(until, following), until - begin
        corrected = _expect(blocks, cut, grid, begin, sparse)
        deviation, unit = noise.deviations(panel.between(begin, following), kind, corrected, usual)
        learned = np.where(quiet[:, span], deviation, np.nan)
        own_scale = _scales(learned[:, :past], grid, following - begin, np.maximum(kind.least, _floor(panel, quiet, unit, begin)))
        interval_scale, tail_scale = (own_scale * stretch for stretch in _tails(learned[:, :past] / own_scale[:, :past]))
        judged = np.concatenate([learned[:, :past], deviation[:, past:]], axis=1) / tail_scale
        expected[:, new], surprise[:, new] = corrected[:, past:], judged[:, past:]
        scale[:, new] = (interval_scale * unit)[:, past:]
        for found, length in zip((short, long), windows(panel.grain_minutes), strict=True):
            found[:, new] = usual_evidence(judged, past, length)[:, past:]
    return Scored(tuple(cuts), grid.block, blocks, expected, scale, surprise, short, long, non_negative=kind.non_negative, share=kind.share)


def _block_means(panel: Panel, quiet: Flags, grid: Grid) -> Array:
    """What models are trained on: means of the unmasked points of a block; a ratio is pooled over the block."""
    if panel.numerator is None or panel.denominator is None:
        return grid.blocked(np.where(quiet, panel.value, np.nan))
    known = quiet & np.isfinite(panel.value) & np.isfinite(panel.numerator) & np.isfinite(panel.denominator)
    top, bottom = (grid.blocked(np.where(known, side, np.nan)) for side in (panel.numerator, panel.denominator))
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=np.isfinite(bottom) & (bottom != 0))


def _fit_cut(blocks: Array, candidates: Flags, grid: Grid, until: int, following: int) -> Cut:
    first = max(0, until - grid.reach(HISTORY_DAYS))
    own = blocks[:, first // grid.block : until // grid.block]
    per_day = grid.day // grid.block
    present = np.isfinite(own).reshape(len(own), -1, per_day).any(axis=2)
    training = np.where((present.sum(axis=1) >= LEAST_DAYS)[:, None], own, np.nan)
    length = present.shape[1] - present.argmax(axis=1)
    least = max(14, LEAST_DAYS * per_day // 2)
    model = fit_better(grid.middles(first, until, grid.block), training, candidates, length <= YOUNG_DAYS, least)
    return Cut(first, until, following, model)


def _expect(blocks: Array, cut: Cut, grid: Grid, begin: int, sparse: Flags) -> Array:
    """Return what is expected of buckets [begin, cut.next), (N, M): the model, its usual residual at the time of the week, the level.

    Residuals are those of block means over the whole training span, on the scale of the model (logarithms where it is logged).
    """
    until = -(-cut.next // grid.block) * grid.block
    residual = cut.model.to_scale(blocks[:, cut.first // grid.block : until // grid.block])
    residual -= cut.model.predict(grid.middles(cut.first, until, grid.block))
    residual[sparse] = 0.0
    correction = np.zeros_like(residual)
    per_day = grid.day // grid.block
    if per_day > 1:
        past = residual[:, : (cut.until - cut.first) // grid.block].reshape(len(residual), -1, per_day)
        usual = profile(past, grid.weekdays(cut.first, cut.until))
        days = usual[:, grid.weekdays(cut.first, cut.next)].reshape(len(residual), -1)
        correction = days[:, : residual.shape[1]]
    correction = correction + level(residual - correction, max(per_day, 7))
    points = np.repeat(correction, grid.block, axis=1)[:, begin - cut.first : cut.next - cut.first]
    return cut.model.to_units(points + cut.model.predict(grid.middles(begin, cut.next)))


def _floor(panel: Panel, quiet: Flags, unit: Array, begin: int) -> Array:
    """Smallest scale per series (N,) in noise units: a sliver of the usual level."""
    own = slice(begin, begin + unit.shape[1])
    usual, _ = nan_median(np.abs(np.where(quiet[:, own], panel.value[:, own], np.nan)), axis=1)
    usual_unit, _ = nan_median(unit, axis=1)
    return np.maximum(np.nan_to_num(SLIVER * usual / usual_unit), 1e-12)


def _tails(past: Array) -> tuple[Array, Array]:
    """How much wider than the body of a Gaussian the middle 95 % and the tails of history are, each (N, 1) in [1, WIDEST]."""
    ordered = np.sort(np.abs(past), axis=1)
    last = np.maximum(np.isfinite(ordered).sum(axis=1) - 1, 0)

    def stretch(share: float, gauss: float) -> Array:
        place = np.rint(share * last).astype(np.intp)[:, None]
        found: Array = np.take_along_axis(ordered, place, axis=1) / gauss
        return np.clip(np.nan_to_num(found), 1.0, WIDEST)

    return stretch(0.95, 1.9600), stretch(0.99, 2.5758)


def _scales(past: Array, grid: Grid, length: int, least: Array) -> Array:
    """Robust scale (N, length) by time of day: median absolute deviation of the class, drawn to that of the whole history."""
    classes = SCALE_CLASSES if grid.day % SCALE_CLASSES == 0 and grid.day >= 2 * SCALE_CLASSES else 1
    size = np.abs(past).reshape(len(past), -1, classes, grid.day // classes)
    own, count = nan_median(np.swapaxes(size, 1, 2).reshape(len(past), classes, -1), axis=2)
    overall = np.nan_to_num(nan_median(own, axis=1)[0])[:, None]
    blended = (np.nan_to_num(own) * count + CLASS_WEIGHT * overall) / (count + CLASS_WEIGHT) / GAUSS_MAD
    day = np.repeat(np.maximum(blended, least[:, None]), grid.day // classes, axis=1)
    return np.tile(day, (1, -(-length // grid.day)))[:, :length]
