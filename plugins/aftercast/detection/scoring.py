"""Points to surprise and evidence, causally: each day is judged by what was learned before it.

1. A Prophet model is fitted to the block means (30 minutes, or the grain) of up to 28 days before the day, masked windows left out.
2. What the model usually misses at a time of the week is added, shrunk to zero where it is not significant; then the level is corrected
   by the median residual of the last 24 hours. Both come from completed blocks outside masked windows.
3. What known unusual times usually add is expected of the next one (known_times.py).
4. Deviations (noise.py) are divided by a robust scale of their time of day, learned from the same model and history;
   so are the sums that make evidence (evidence.py).
Series too sparse for medians of blocks keep the plain model.

A young series (less than a week) is judged from its third day on, with caution: by a flat model with the shape of a day, only on days
of a kind it has had twice (workday, weekend), by evidence that is less the younger it is and counts no more than the point is new
(novelty.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from aftercast.detection import noise
from aftercast.detection.choosing import Chosen, fit_better, may_be_logged
from aftercast.detection.correcting import GAUSS_MAD, level, nan_median, profile
from aftercast.detection.evidence import evidence
from aftercast.detection.known_times import Events
from aftercast.detection.novelty import novelty
from aftercast.detection.series import Panel

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.intp]

MINUTES_PER_DAY = 1440
BLOCK_MINUTES = 30
WARM_UP_DAYS = 7
COLD_DAYS = 2  # of the same kind before a young series is judged; with grains of 12 hours and more it is not
LEAST_DAYS = 5
HISTORY_DAYS = 28
YOUNG_DAYS = 21  # up to here a trend and the shape of a week cannot be told apart
COARSE_DAYS = 182  # the same for grains of 12 hours and more
COARSE_CUT_DAYS = 7  # one model serves a day, or this many for grains of 12 hours and more
SCALE_CLASSES = 8  # per day
CLASS_WEIGHT = 100.0  # points of a class that weigh as much as the whole history
WIDEST = 2.5  # however odd its history, a series may widen its scale by this much and no more
GAUSS_P95 = 1.96
WORTH_A_LOOK = 2.5  # evidence of a young series below this opens nothing, whatever its sensitivity may be
SLIVER = 0.005  # of the usual level: a series that hardly moves must not cry at rounding


@dataclass(frozen=True, slots=True)
class Cut:
    """One refit: trained on buckets [first, until), used for [until, next)."""

    first: int
    until: int
    next: int


@dataclass(frozen=True, slots=True)
class ScoredDay:
    """Scores of the buckets after a cut; arrays (N, K), NaN where a point is missing or was not scored.

    Attributes:
        model: one model per series, and `blocks`, the block means (N, B) it was trained on.
        expected: in the units of the series. scale: standard deviation of quiet points around it, in the same units.
        surprise: deviation over scale. short, long: signed evidence of the windows that end at a point.
        non_negative, share: (N,) what values of the series can be.
    """

    model: Chosen
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

    def cuts(self) -> list[Cut]:
        """Where models are refitted: every midnight after two days; every seventh after the warm-up for grains of 12 hours and more."""
        days = -(-self.total // self.day)
        begin, apart = (WARM_UP_DAYS, COARSE_CUT_DAYS) if self.day <= 2 else (COLD_DAYS, 1)
        places = [number * self.day for number in range(begin, days, apart)]
        return [Cut(max(0, until - self.reach(HISTORY_DAYS)), until, following) for until, following in pairwise([*places, self.total])]

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


def score_day(panel: Panel, mask: Flags, events: Events, past: int) -> ScoredDay:
    """Score the buckets of a panel after its first `past`, which are the only ones anything is learned from.

    The level of the last 24 hours moves on within the scored buckets; it is the one thing they tell about later ones.

    Args:
        panel: history and the buckets to score; begins at a midnight, and so does what is scored.
        mask: (N, T) marks points nothing may be learned from.
        events: of the panel; their points teach what they usually do, and nothing else.
        past: how many leading buckets are history.
    """
    grid, quiet = Grid.of(panel), ~(mask | events.masked)
    history, known = panel.between(0, past), quiet[:, :past]
    kind = noise.kinds(history)
    usual = noise.usual_levels(history, kind, known)
    blocks = _block_means(panel, quiet, grid)
    training = blocks[:, : past // grid.block]
    sparse = noise.events_per_block(history, kind, usual, grid.block) < noise.SPARSE
    present: Flags = np.asarray(np.isfinite(training).reshape(len(training), past // grid.day, -1).any(axis=2))
    age = present.shape[1] - present.argmax(axis=1)
    model = _fit_history(training, present, age, may_be_logged(training, ~kind.share & ~sparse), grid)
    special = _block_means(panel, events.masked & ~mask, grid)
    corrected, doubt = _expect(blocks, special, events, model, grid, past, sparse)
    deviation, unit = noise.deviations(panel, kind, corrected, usual)
    doubt = np.divide(doubt, unit, out=np.zeros_like(unit), where=doubt > 0)
    learned = np.where(known, deviation[:, :past], np.nan)
    least = np.maximum(kind.least, _floor(history.value, known, unit[:, :past]))
    own_scale = _scales(learned, grid, grid.total, least)
    scale = np.hypot(own_scale * _width(learned / own_scale[:, :past]), doubt)
    judged = np.concatenate([learned, deviation[:, past:]], axis=1) / scale
    short, long = (found[:, past:] for found in evidence(judged, past, panel.grain_minutes))
    for series in np.flatnonzero(age < WARM_UP_DAYS):
        trust = np.sqrt(age[series] / WARM_UP_DAYS)
        short[series], long[series] = trust * short[series], trust * long[series]
        if np.fmax(np.abs(short[series]), np.abs(long[series])).max(initial=0.0) >= WORTH_A_LOOK:
            line = np.concatenate([np.where(known[series], history.value[series], np.nan), panel.value[series, past:]])
            new = novelty(grid.middles(0, grid.total), line, past)
            short[series], long[series] = short[series] * new, long[series] * new
    return ScoredDay(
        model=model,
        blocks=training,
        expected=corrected[:, past:],
        scale=(scale * unit)[:, past:],
        surprise=judged[:, past:],
        short=short,
        long=long,
        non_negative=kind.non_negative,
        share=kind.share,
    )


def _block_means(panel: Panel, quiet: Flags, grid: Grid) -> Array:
    """What models are trained on: means of the unmasked points of a block; a ratio is pooled over the block."""
    if panel.numerator is None or panel.denominator is None:
        return grid.blocked(np.where(quiet, panel.value, np.nan))
    known = quiet & np.isfinite(panel.value) & np.isfinite(panel.numerator) & np.isfinite(panel.denominator)
    top, bottom = (grid.blocked(np.where(known, side, np.nan)) for side in (panel.numerator, panel.denominator))
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=np.isfinite(bottom) & (bottom != 0))


def _fit_history(training: Array, present: Flags, age: Whole, candidates: Flags, grid: Grid) -> Chosen:
    """Fit the series that have enough of a past: half the points of five days, or three quarters of two if they are young.

    Args:
        training: block means (N, B). present: (N, D) days with any. age: (N,) days since the first of them.
        candidates: (N,) which series may be logged.
    """
    per_day = grid.day // grid.block
    weekend = np.isin(grid.weekdays(0, grid.day * (present.shape[1] + 1)), (5, 6))
    n_alike = (present & (weekend[:-1] == weekend[-1])).sum(axis=1)
    n_points = np.isfinite(training).sum(axis=1)
    grown = (present.sum(axis=1) >= LEAST_DAYS) & (n_points >= max(14, LEAST_DAYS * per_day // 2))
    young = (n_alike >= COLD_DAYS) & (n_points >= max(14, COLD_DAYS * per_day * 3 // 4)) & (per_day > 2)
    judged = np.where(age < WARM_UP_DAYS, young, grown)
    enough = np.where(judged[:, None], training, np.nan)
    return fit_better(grid.middles(0, training.shape[1] * grid.block, grid.block), enough, candidates, age <= YOUNG_DAYS, min_points=14)


def _expect(blocks: Array, special: Array, events: Events, model: Chosen, grid: Grid, past: int, sparse: Flags) -> tuple[Array, Array]:
    """Return what is expected of every bucket, (N, T): the model, its usual residual at the time of the week, the level,
    and what events usually add; and by how much occurrences of events differ, 0 elsewhere.

    Residuals are those of block means over the whole training span, on the scale of the model (logarithms where it is logged); `special`
    are the means of points inside events.
    """
    predicted = model.predict(grid.middles(0, blocks.shape[1] * grid.block, grid.block))
    residual = model.to_scale(blocks) - predicted
    residual[sparse] = 0.0
    correction = np.zeros_like(residual)
    per_day = grid.day // grid.block
    if per_day > 1:
        known = residual[:, : past // grid.block].reshape(len(residual), -1, per_day)
        usual = profile(known, grid.weekdays(0, past))
        days = usual[:, grid.weekdays(0, grid.total)].reshape(len(residual), -1)
        correction = days[:, : residual.shape[1]]
    correction = correction + level(residual - correction, max(per_day, 7))
    points, doubt = np.repeat(correction, grid.block, axis=1)[:, : grid.total], np.zeros((len(blocks), grid.total))
    if events.events:
        inside = np.isfinite(special)
        unusual = model.to_scale(np.where(inside, special, blocks)) - predicted - correction
        unusual[sparse] = 0.0
        loudness = nan_median(np.abs(residual - correction)[:, : past // grid.block], axis=1)[0] / GAUSS_MAD
        added, doubt = events.usual_effect(np.where(inside, unusual, np.nan), loudness, grid.block, past // grid.block)
        points = points + added
    expected = points + model.predict(grid.middles(0, grid.total))
    in_units = model.to_units(expected)
    return in_units, np.abs(model.to_units(expected + doubt) - in_units) if events.events else doubt


def _floor(values: Array, quiet: Flags, unit: Array) -> Array:
    """Smallest scale per series (N,) in noise units: a sliver of the usual level."""
    usual, _ = nan_median(np.abs(np.where(quiet, values, np.nan)), axis=1)
    usual_unit, _ = nan_median(unit, axis=1)
    return np.maximum(np.nan_to_num(SLIVER * usual / usual_unit), 1e-12)


def _width(past: Array) -> Array:
    """How much wider than the body of a Gaussian the middle 95 % of history are, (N, 1) in [1, WIDEST].

    What lies beyond is paid for where evidence is scaled by its own history; paying here, too, would hide anomalies.
    """
    ordered = np.sort(np.abs(past), axis=1)
    last = np.maximum(np.isfinite(ordered).sum(axis=1) - 1, 0)
    place = np.rint(0.95 * last).astype(np.intp)[:, None]
    return np.asarray(np.clip(np.nan_to_num(np.take_along_axis(ordered, place, axis=1) / GAUSS_P95), 1.0, WIDEST))


def _scales(past: Array, grid: Grid, length: int, least: Array) -> Array:
    """Robust scale (N, length) by time of day: median absolute deviation of the class, drawn to that of the whole history."""
    classes = SCALE_CLASSES if grid.day % SCALE_CLASSES == 0 and grid.day >= 2 * SCALE_CLASSES else 1
    size = np.abs(past).reshape(len(past), -1, classes, grid.day // classes)
    own, count = nan_median(np.swapaxes(size, 1, 2).reshape(len(past), classes, -1), axis=2)
    overall = np.nan_to_num(nan_median(own, axis=1)[0])[:, None]
    blended = (np.nan_to_num(own) * count + CLASS_WEIGHT * overall) / (count + CLASS_WEIGHT) / GAUSS_MAD
    day = np.repeat(np.maximum(blended, least[:, None]), grid.day // classes, axis=1)
    return np.tile(day, (1, -(-length // grid.day)))[:, :length]
