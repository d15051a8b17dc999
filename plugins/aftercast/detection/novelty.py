"""Severity of every row of one series, causally and from its first hours on: how rare is what it does in its own past?

1. A row is summarised by means over its last 1, 3, 12 and 48 rows: of the values, and of how far they leave the band that the time of day
   kept to on the last days (nothing while there is no such day); and by the spread of its last rows. Highs and lows count alike.
2. Each summary becomes a rarity (rarity.py). Their root mean square, and a share of how rare it is to be so far from every value seen
   before, are the evidence: -log10 of a chance, roughly.
3. A row keeps its evidence only where it exceeds all of the last twentieth of the series' life: one event is reported once, and again
   only when it gets worse. Each tenfold of earlier events about as strong takes a decade off: what keeps happening is no news.

Times may repeat, run backwards (they are read as standing still) and be unevenly spaced; missing values are bridged and have severity 0.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Any

import numpy as np
import numpy.typing as npt

from aftercast.detection.rarity import loneliness, loneliness_after, rarity, rarity_after

Array = npt.NDArray[np.float64]

DAY = 86_400.0
WIDTHS = (1, 3, 12, 48)
SPREAD_WIDTHS = (6, 24, 96)
BAND_DAYS, BAND_SECONDS = 14, 1_200.0
"""The band of a time of day: medians over so many days of the extremes within so many seconds, or one row, to both sides."""
BANDED = slice(2 * len(WIDTHS), 4 * len(WIDTHS))
LONELY = 0.3
"""Weight of being far from every value seen before."""
REFRACTORY = 0.05
ALIKE = 0.8
"""Earlier events at least this share as strong are the same kind of news."""
NEW = 2.0
"""Decades of evidence at which a row is wholly new."""
HALF = 2.0
"""Evidence, in decades, that makes severity one half."""


def severity(times: npt.ArrayLike, values: npt.ArrayLike) -> Array:
    """Return the severity in [0, 1) of every row (T,), in the order given.

    Args:
        times: (T,) seconds since 1970. values: (T,), NaN or infinite where missing.

    Raises:
        ValueError: there are not as many times as values, or a time is missing.
    """
    seconds, given = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if seconds.shape != given.shape or given.ndim != 1 or not np.isfinite(seconds).all():
        raise ValueError(f"one finite time for each value is needed, found times {seconds.shape} for values {given.shape}")
    kept = events(evidence(seconds, given))
    return np.asarray(kept / (HALF + kept))


def evidence(times: Array, values: Array) -> Array:
    """Return the evidence (T,) that rows are new to their series, in decades; 0 where the value is missing."""
    if not len(values):
        return np.zeros(0)
    filled = _carried(values)
    ordered = np.maximum.accumulate(times)
    found = np.array([rarity(one) for one in summaries(ordered, filled)])
    found[BANDED, ordered < ordered[0] + 2 * DAY] = 0.0  # on its first day any step out of a band is the first ever
    return np.where(np.isfinite(values), _together(found, rarity(loneliness(filled))), 0.0)


def novelty(times: Array, values: Array, first: int) -> Array:
    """Return how new rows from `first` on (T - first,) are to the series before them, from 0 to 1: 1 from `NEW` decades of evidence on.

    All are compared with the same past, so what lasts stays new; `times` must not decrease.
    """
    filled = _carried(values)
    found = np.array([rarity_after(one, first) for one in summaries(times, filled)])
    return np.clip(_together(found, rarity_after(loneliness_after(filled, first), first)) / NEW, 0.0, 1.0)


def _together(found: Array, lonely: Array) -> Array:
    return np.asarray(np.sqrt((found**2).mean(axis=0)) + LONELY * lonely)


def summaries(times: Array, values: Array) -> Array:
    """Return the numbers (K, T) whose upper tails are judged, each with both signs; `BANDED` are those of bands."""
    outside = _outside_band(times, values)
    found = [_mean(values, width) for width in WIDTHS]
    found += [_mean(outside, width) for width in WIDTHS]
    found += [_log_spread(values, width) for width in SPREAD_WIDTHS]
    return np.array([signed for one in found for signed in (one, -one)])


def events(found: Array) -> Array:
    """Return evidence (T,) at the rows where an event is reported, less what its like took off; 0 elsewhere."""
    kept = np.zeros(len(found))
    peaks: list[float] = []
    last, strength = -len(found), 0.0
    for row in np.flatnonzero(found > 0).tolist():
        reach = int(REFRACTORY * row)
        own = float(found[row])
        if reach and own <= found[row - reach : row].max():
            continue
        alike = len(peaks) - bisect_left(peaks, ALIKE * own)
        kept[row] = max(own - np.log10(1.0 + alike), 0.0)
        if row - last < reach:
            peaks.remove(strength)  # the same event, worse
        insort(peaks, own)
        last, strength = row, own
    return kept


def _outside_band(times: Array, values: Array) -> Array:
    """How far values leave the band of their time of day, signed; 0 inside, and while there is no day to compare with."""
    n = len(values)
    spacing = (times - times[0]) / np.maximum(np.arange(n), 1)
    reach = np.maximum(BAND_SECONDS, spacing)
    highs, lows = _doubling(values, np.fmax), _doubling(values, np.fmin)
    high, low = np.full((BAND_DAYS, n), np.nan), np.full((BAND_DAYS, n), np.nan)
    for day in range(BAND_DAYS):
        middle = times - (day + 1) * DAY
        rows = np.flatnonzero(middle - reach >= times[0] - spacing)
        first = np.searchsorted(times, (middle - reach)[rows], side="left")
        until = np.searchsorted(times, (middle + reach)[rows], side="right")
        some = until > first
        rows, first, until = rows[some], first[some], until[some]
        power = np.log2(until - first).astype(np.intp)
        second = until - np.left_shift(1, power)
        high[day, rows] = np.maximum(highs[power, first], highs[power, second])
        low[day, rows] = np.minimum(lows[power, first], lows[power, second])
    usual = np.isfinite(high).any(axis=0)
    top, bottom = np.full(n, np.inf), np.full(n, -np.inf)
    top[usual], bottom[usual] = np.nanmedian(high[:, usual], axis=0), np.nanmedian(low[:, usual], axis=0)
    return np.asarray(np.maximum(values - top, 0.0) + np.minimum(values - bottom, 0.0))


def _doubling(values: Array, extreme: Any) -> Array:
    """Extremes (np.fmax or np.fmin) of 1, 2, 4, ... rows from each row on, (P, T): two of them cover any span."""
    found = [values]
    while (1 << len(found)) <= len(values):
        half = 1 << (len(found) - 1)
        found.append(extreme(found[-1], np.concatenate([found[-1][half:], np.full(half, np.nan)])))
    return np.array(found)


def _log_spread(values: Array, width: int) -> Array:
    """Logarithm of the spread of the last rows as a share of that of all so far."""
    spread, overall = _spread(values, width), _spread(values, len(values))
    return np.log(np.maximum(np.divide(spread, overall, out=np.ones(len(values)), where=overall > 0), 1e-3))


def _spread(values: Array, width: int) -> Array:
    moved = values - values[0]  # keeps the squares of a large offset from drowning a small spread
    return np.asarray(np.sqrt(np.maximum(_mean(moved**2, width) - _mean(moved, width) ** 2, 0.0)))


def _mean(values: Array, width: int) -> Array:
    """Mean of the last `width` rows, fewer at the beginning."""
    total = np.cumsum(np.concatenate([[0.0], values]))
    end = np.arange(1, len(values) + 1)
    first = np.maximum(end - width, 0)
    return np.asarray((total[end] - total[first]) / (end - first))


def _carried(values: Array) -> Array:
    """Values with the last known one where they are missing; 0 before the first."""
    known = np.isfinite(values)
    last = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    return np.where(last >= 0, np.where(known, values, 0.0)[np.maximum(last, 0)], 0.0)
