"""Do two series move together, one after the other? Rank correlation over a grid of lags, with honest uncertainty.

What a clock explains is taken out first (level and spread of the hour, level of the quarter of the week day, drift over days), because two
series that both sleep at night are not related. Then values become scores of their ranks: quantiles of Student's distribution, because what
matters to customers happens in few hours, and ranks alone would drown them; no single value decides, however large. Neighbouring buckets
repeat each other, so `n` buckets are worth fewer: the variance of the correlation of two independent series is (1/n) sum_j rho_x(j)
rho_y(j) (Bartlett 1946), hence n_effective = n / sum_j rho_x(j) rho_y(j); terms of opposite sign are left out, which errs towards fewer.
Intervals are Fisher's, with Student's quantile, and hold for every lag tried at once; p-values count every lag tried; q-values are
Benjamini and Hochberg's over a family of pairs. None of this says what causes what.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage, special, stats

Floats = npt.NDArray[np.float64]
Scores = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

LEAST_EFFECTIVE = 30.0
"""Fewer independent observations than this say nothing either way."""
LEAST_DAYS = 7
MOST_TIED = 0.9
"""A series that rests at one value for more of its time than this hardly moves."""
WEEKS_FOR_WEEKDAYS = 3
TAIL = 5.0
"""Degrees of freedom of the scores: the fewer, the more the extremes weigh. Five keep a finite kurtosis, which `_tamed` needs."""
MEMORY_DAYS = 7.5
"""Autocorrelation is followed this far: over a week, because what is left of a weekly rhythm returns then."""
FURTHEST = 6.0
"""Beyond so many standard errors the correction for rare values stays what it is there: an expansion knows no more."""
DOUBT = 4.0
"""Observations a degree of freedom costs: n_effective is an estimate itself, so Student's distribution gets fewer than it."""
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Scored:
    """Series ready to be compared.

    Attributes:
        scores: (N, T) scores of ranks, mean 0 and variance 1 over the known buckets, 0 where unknown.
        known: (N, T) 1 where known, else 0.
        memory: (N, J) autocorrelations of lags 1..J.
        shape: (N, 2) skewness and kurtosis of the known scores; ties leave some.
        moves: (N,) whether there is enough history that moves.
    """

    scores: Scores
    known: Scores
    memory: Scores
    shape: Floats
    moves: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Compared:
    """The best lag of each pair (N left, K right); nan where too little is known.

    Attributes:
        lag: buckets by which the left series comes before the right one; negative when it comes after.
        r, low, high: rank correlation at that lag and its interval, which holds for all lags at once.
        n, n_effective: buckets known on both sides at that lag, and what they are worth.
        p: chance of a correlation as far from 0 at any of the lags if the two were unrelated.
    """

    lag: Integers
    r: Floats
    low: Floats
    high: Floats
    n: Integers
    n_effective: Floats
    p: Floats


def scored(values: Floats, first_minute: int, grain: int) -> Scored:
    """Take the clock out of series and rank what is left.

    Args:
        values: (N, T) on a regular grid, NaN where unknown.
        first_minute: minutes from any Monday midnight to the first bucket; grain: minutes of a bucket.
    """
    n, buckets = values.shape
    minute = first_minute + grain * np.arange(buckets)
    left = _without_clock(_without_drift(values, grain), minute)
    known = np.isfinite(left)
    scores = np.zeros((n, buckets), dtype=np.float32)
    shape = np.tile([0.0, 3.0], (n, 1))
    moves = known.sum(axis=1) * grain >= LEAST_DAYS * 1440
    for row in np.flatnonzero(moves):
        own = left[row, known[row]]
        if _tied(own) > MOST_TIED:
            moves[row] = False
            continue
        score = _without_rhythm(special.stdtrit(TAIL, (stats.rankdata(own) - 0.5) / own.size), minute[known[row]])
        score = (score - score.mean()) / score.std()
        scores[row, known[row]], shape[row] = score, ((score**3).mean(), (score**4).mean())
    reach = max(min(int(MEMORY_DAYS * 1440 / grain), buckets // 4), 1)
    return Scored(scores, known.astype(np.float32), _memory(scores, known, reach), shape, moves)


def joined(parts: Sequence[Scored]) -> Scored:
    """Series scored in parts, one after the other."""
    return Scored(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Scored)))


def _tied(values: Floats) -> float:
    """Share of the commonest value."""
    ordered = np.sort(values)
    starts = np.flatnonzero(np.diff(ordered, prepend=np.nan) != 0)
    return float(np.diff(starts, append=ordered.size).max() / ordered.size)


def _without_clock(values: Floats, minute: Integers) -> Floats:
    """Subtract the usual level of the hour, then of a quarter of the week day where weeks suffice; divide by the hour's spread.

    Bins are wide enough to hold many values: the error of a bin's level comes back every week and would look like a relation.
    """
    left = values - _usual(values, minute, 60, 1440)
    if _weeks_enough(minute):
        left = left - _usual(left, minute, 360, 7 * 1440)
    spread = _usual(np.abs(left), minute, 60, 1440)
    overall = _median(np.abs(left))[:, None]
    spread = np.fmax(spread, 0.2 * overall)
    return np.asarray(left / np.where(spread > 0, spread, 1.0))


def _without_rhythm(score: Floats, minute: Integers) -> Floats:
    """Subtract the mean score of the hour and of the quarter of the week day, and even out the hours' spread.

    A median cannot follow the rhythm of small counts; two series that are both noisier at night agree by chance more often.
    """
    for width, period in ((60, 1440), (360, 7 * 1440)) if _weeks_enough(minute) else ((60, 1440),):
        place = minute % period // width
        total, count = np.bincount(place, weights=score), np.bincount(place)
        score = score - (total / np.maximum(count, 1))[place]
    hour = minute % 1440 // 60
    power = np.bincount(hour, weights=score**2) / np.maximum(np.bincount(hour), 1)
    return np.asarray(score / np.sqrt(np.maximum(power, 0.1 * (score**2).mean()))[hour])


def _weeks_enough(minute: Integers) -> bool:
    return bool(minute[-1] - minute[0] >= WEEKS_FOR_WEEKDAYS * 7 * 1440 - 60)


def _usual(values: Floats, minute: Integers, width: int, period: int) -> Floats:
    """Median of each bin of the clock, `width` minutes wide, joined by lines from centre to centre."""
    n_bins = period // width
    place = minute % period
    level = np.full((len(values), n_bins), np.nan)
    for each in np.unique(place // width):
        level[:, each] = _median(values[:, place // width == each])
    centre = (place + 0.5 * (minute[1] - minute[0] if minute.size > 1 else 0)) / width - 0.5
    before, part = np.floor(centre).astype(int), centre - np.floor(centre)
    now, after = level[:, before % n_bins], level[:, (before + 1) % n_bins]
    return np.where(np.isfinite(now) & np.isfinite(after), now * (1 - part) + after * part, level[:, place // width])


def _without_drift(values: Floats, grain: int) -> Floats:
    """Subtract a running median over a day: what lasts for hours stays, what lasts longer goes, and a step leaves no ramp behind."""
    n, buckets = values.shape
    block = max(60 // grain, 1)
    blocks = -(-buckets // block)
    padded = np.full((n, blocks * block), np.nan)
    padded[:, :buckets] = values
    middle = _median(padded.reshape(n * blocks, block)).reshape(n, blocks)
    at, centres = np.arange(buckets), np.arange(blocks) * block + (block - 1) / 2
    size = 2 * round(720 / (block * grain)) + 1
    left = values.copy()
    for row in range(n):
        has = np.isfinite(middle[row])
        if has.any():
            whole = np.interp(centres, centres[has], middle[row, has])
            left[row] -= np.interp(at, centres, ndimage.median_filter(whole, size=size, mode="nearest"))
    return left


def _median(values: Floats) -> Floats:
    """Median of each row over its known values, nan where there are none; numpy's own is many times slower."""
    ordered = np.sort(values, axis=1)
    count = np.isfinite(ordered).sum(axis=1)
    rows = np.arange(len(values))
    low, high = ordered[rows, np.maximum(count - 1, 0) // 2], ordered[rows, np.minimum(count // 2, values.shape[1] - 1)]
    return np.where(count > 0, (low + high) / 2, np.nan)


def _memory(scores: Scores, known: npt.NDArray[np.bool_], reach: int) -> Scores:
    """Autocorrelation of lags 1..reach, each over the pairs of known buckets."""
    found = np.zeros((len(scores), reach), dtype=np.float32)
    length = fft.next_fast_len(scores.shape[1] + reach, real=True)
    for row in range(len(scores)):
        spectrum = np.abs(fft.rfft(scores[row].astype(np.float64), length)) ** 2
        mask = np.abs(fft.rfft(known[row].astype(np.float64), length)) ** 2
        together = np.maximum(fft.irfft(mask, length)[1 : reach + 1], 1.0)
        found[row] = np.clip(fft.irfft(spectrum, length)[1 : reach + 1] / together, -1, 1)
    return found


def compared(left: Scored, right: Scored, lags: Integers) -> Compared:
    """Compare every left with every right series at every lag, and keep the lag at which they are furthest from unrelated."""
    shape = (len(left.scores), len(right.scores))
    worth = _repetition(left, right)
    moves = left.moves[:, None] & right.moves[None, :]
    best = np.full(shape, -1.0)
    found = {name: np.full(shape, np.nan) for name in ("r", "n_effective")}
    lag_of, n_of = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for lag in sorted(lags.tolist(), key=abs):
        first, second = _shifted(left, lag), _shifted(right, -lag)
        n = first[1] @ second[1].T
        with np.errstate(invalid="ignore", divide="ignore"):
            r = np.clip((first[0] @ second[0].T) / n, -0.999, 0.999).astype(np.float64)
            n_effective = np.minimum(n / worth, n).astype(np.float64)
            z = np.where(moves & (n_effective >= LEAST_EFFECTIVE), np.abs(np.arctanh(r)) * np.sqrt(np.maximum(n_effective - 3, 0)), -1.0)
        better = z > best + 1e-9
        best[better] = z[better]
        lag_of[better], n_of[better] = lag, np.rint(n[better]).astype(np.int64)
        found["r"][better], found["n_effective"][better] = r[better], n_effective[better]
        if lag == 0:
            unknown = best < 0
            n_of[unknown] = np.rint(n[unknown]).astype(np.int64)
    return _with_doubt(_tamed(best, found["r"], found["n_effective"], left.shape, right.shape), lag_of, n_of, **found, n_lags=len(lags))


def at_lag(left: Scored, right: Scored, pair: tuple[int, int], lag: int, where: npt.NDArray[np.bool_]) -> tuple[float | None, int]:
    """The correlation of the same scores at one lag over the buckets where both ends are in `where`, and how many they are."""
    length, (i, j) = where.size, pair
    first = slice(0, length - lag) if lag > 0 else slice(-lag, None)
    second = slice(lag, None) if lag > 0 else slice(0, length + lag)
    both = (left.known[i, first] > 0) & (right.known[j, second] > 0) & where[first] & where[second]
    x, y = left.scores[i, first][both].astype(np.float64), right.scores[j, second][both].astype(np.float64)
    if both.sum() < 3 or x.std() == 0 or y.std() == 0:
        return None, int(both.sum())
    return float(np.corrcoef(x, y)[0, 1]), int(both.sum())


def _shifted(series: Scored, lag: int) -> tuple[Scores, Scores]:
    """The part of a series that meets the other when it comes `lag` buckets earlier (later when negative); none of one that is shorter."""
    span = slice(0, max(series.scores.shape[1] - lag, 0)) if lag > 0 else slice(-lag, None)
    return series.scores[:, span], series.known[:, span]


def _repetition(left: Scored, right: Scored) -> Floats:
    """How many buckets are worth one: sum over j of rho_left(j) rho_right(j), terms of opposite sign left out."""
    reach = min(left.memory.shape[1], right.memory.shape[1])
    first, second = left.memory[:, :reach], right.memory[:, :reach]
    up = np.maximum(first, 0) @ np.maximum(second, 0).T
    down = np.minimum(first, 0) @ np.minimum(second, 0).T
    return np.asarray(1.0 + 2.0 * (up + down), dtype=np.float64)


def _tamed(z: Floats, r: Floats, n_effective: Floats, left: Floats, right: Floats) -> Floats:
    """Shrink z where rare values meet by chance more often than a normal distribution says (Cornish-Fisher, first terms, never growing).

    The sum of n products of unrelated values has skewness s_x s_y / sqrt(n) and excess kurtosis (k_x k_y - 3) / n.
    """
    with np.errstate(invalid="ignore"):
        skewness = np.maximum(np.sign(r) * np.outer(left[:, 0], right[:, 0]) / np.sqrt(n_effective), 0)
        excess = np.maximum((np.outer(left[:, 1], right[:, 1]) - 9) / n_effective, 0)
        near = np.minimum(z, FURTHEST)
        shrunk = z - (near**2 - 1) * skewness / 6 - (near**3 - 3 * near) * excess / 24
        return np.where(z > 1.5, np.clip(shrunk, 1.5, z), z)


def _with_doubt(z: Floats, lag: Integers, n: Integers, *, r: Floats, n_effective: Floats, n_lags: int) -> Compared:
    with np.errstate(invalid="ignore"):
        freedom = np.maximum(n_effective / DOUBT, 1)
        p = np.where(z < 0, np.nan, np.minimum(2 * stats.t.sf(np.maximum(z, 0), freedom) * n_lags, 1.0))
        width = stats.t.isf((1 - CONFIDENCE) / 2 / n_lags, freedom) / np.sqrt(np.maximum(n_effective - 3, 1))
        return Compared(lag, r, np.tanh(np.arctanh(r) - width), np.tanh(np.arctanh(r) + width), n, n_effective, p)


def q_values(p: Floats) -> Floats:
    """Benjamini-Hochberg: the smallest false discovery rate at which each would be called; nan stays nan and is not counted."""
    q = np.full(p.shape, np.nan)
    tested = np.isfinite(p)
    if tested.any():
        q[tested] = stats.false_discovery_control(p[tested], method="bh")
    return q
