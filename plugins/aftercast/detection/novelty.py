"""Severity of every row of one series, causally and from its first hours on: how rare is what it does in its own past?

1. A row is summarised by means over its last 1, 3, 12 and 48 rows: of the values, and of how far they leave the band that the time of day
   kept to on the last days (nothing while there is no such day). Highs and lows count alike; so do calm and unrest.
2. Each summary becomes a rarity (rarity.py). Their root mean square, and a share of how rare it is to be so far from every value seen
   before, are the evidence: -log10 of a chance, roughly.
3. A row keeps its evidence only where it exceeds all of the last twentieth of the series' life: one event is reported once, and again
   only when it gets worse. Each tenfold of earlier events about as strong takes a decade off: what keeps happening is no news.

Times may repeat, run backwards (they are read as standing still) and be unevenly spaced; missing values are bridged and have severity 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from aftercast.detection.rarity import loneliness, rarity

Array = npt.NDArray[np.float64]

DAY = 86_400.0
WIDTHS = (1, 3, 12, 48)
SPREAD_WIDTHS = (6, 24, 96)
BAND_DAYS, BAND_SECONDS = 14, 1_200.0
"""The band of a time of day: medians over so many days of the extremes within so many seconds, or one row, to both sides."""
LONELY = 0.3
"""Weight of being far from every value seen before."""
REFRACTORY = 0.05
ALIKE = 0.8
"""Earlier events at least this share as strong are the same kind of news."""
HALF = 2.0
"""Evidence, in decades, that makes severity one half."""


def severity(times: npt.ArrayLike, values: npt.ArrayLike) -> Array:
    """Return the severity in [0, 1) of every row (T,), in the order given.

    Args:
        times: (T,) seconds since 1970. values: (T,), NaN or infinite where missing.
    """
    given = np.asarray(values, dtype=np.float64)
    kept = events(evidence(np.asarray(times, dtype=np.float64), given))
    return np.asarray(kept / (HALF + kept))


def evidence(times: Array, values: Array) -> Array:
    """Return the evidence (T,) that rows are new to their series, in decades; 0 where the value is missing."""
    if not len(values):
        return np.zeros(0)
    filled = _carried(values)
    found = np.array([rarity(one) for one in summaries(np.maximum.accumulate(times), filled)])
    lonely = rarity(loneliness(filled))
    return np.where(np.isfinite(values), np.sqrt((found**2).mean(axis=0)) + LONELY * lonely, 0.0)


def summaries(times: Array, values: Array) -> Array:
    """Return the numbers (K, T) whose upper tails are judged; two-sided ones come with both signs."""
    found = [_mean(source, width) for source in (values, _outside_band(times, values)) for width in WIDTHS]
    found += [_log_spread(values, width) for width in SPREAD_WIDTHS]
    stacked = np.array(found)
    return np.concatenate([stacked, -stacked])


def events(found: Array) -> Array:
    """Return evidence (T,) at the rows where an event is reported, less what its like took off; 0 elsewhere."""
    kept = np.zeros(len(found))
    peaks: list[float] = []
    last = -len(found) - 1
    for row in np.flatnonzero(found > 0):
        reach = int(REFRACTORY * row)
        if reach and found[row] <= found[max(row - reach, 0) : row].max(initial=0.0):
            continue
        alike = sum(1 for peak in peaks if peak >= ALIKE * found[row])
        kept[row] = max(found[row] - np.log10(1.0 + alike), 0.0)
        if row - last < reach:
            peaks.pop()  # the same event, worse
        peaks.append(float(found[row]))
        last = row
    return kept


def _outside_band(times: Array, values: Array) -> Array:
    """How far values leave the band of their time of day, signed; 0 inside, and before there is a day to compare with."""
    n = len(values)
    spacing = (times - times[0]) / np.maximum(np.arange(n), 1)
    reach = np.maximum(BAND_SECONDS, spacing)
    highs, lows = _doubling(values, np.fmax), _doubling(values, np.fmin)
    high, low = np.full((BAND_DAYS, n), np.nan), np.full((BAND_DAYS, n), np.nan)
    for day in range(BAND_DAYS):
        middle = times - (day + 1) * DAY
        known = np.flatnonzero(middle - reach >= times[0] - spacing)
        first, until = (np.searchsorted(times, (middle + sign * reach)[known], side) for sign, side in ((-1, "left"), (1, "right")))
        some = until > first
        known, first, until = known[some], first[some], until[some]
        power = np.log2(until - first).astype(np.intp)
        second = until - (1 << power)
        high[day, known] = np.maximum(highs[power, first], highs[power, second])
        low[day, known] = np.minimum(lows[power, first], lows[power, second])
    usual = np.isfinite(high).any(axis=0)
    top, bottom = np.full(n, np.inf), np.full(n, -np.inf)
    top[usual], bottom[usual] = np.nanmedian(high[:, usual], axis=0), np.nanmedian(low[:, usual], axis=0)
    return np.maximum(values - top, 0.0) + np.minimum(values - bottom, 0.0)


def _doubling(values: Array, extreme: np.ufunc) -> Array:
    """Extremes of 1, 2, 4, ... rows from each row on, (P, T): two of them cover any span."""
    found = [values]
    while (1 << len(found)) <= len(values):
        half = 1 << (len(found) - 1)
        found.append(extreme(found[-1], np.concatenate([found[-1][half:], np.full(half, np.nan)])))
    return np.array(found)


def _log_spread(values: Array, width: int) -> Array:
    spread, overall = _spread(values, width), _spread(values, len(values))
    return np.log(np.maximum(spread, 1e-3 * overall) + 1e-300)


def _spread(values: Array, width: int) -> Array:
    moved = values - values[0]  # keeps the squares of a large offset from drowning a small spread
    return np.sqrt(np.maximum(_mean(moved**2, width) - _mean(moved, width) ** 2, 0.0))


def _mean(values: Array, width: int) -> Array:
    """Mean of the last `width` rows, fewer at the beginning."""
    total = np.cumsum(np.concatenate([[0.0], values]))
    end = np.arange(1, len(values) + 1)
    first = np.maximum(end - width, 0)
    return np.asarray((total[end] - total[first]) / (end - first))


def _carried(values: Array) -> Array:
    """Values with the last known one where they are missing; the first known one is not known before its time, so 0 until then."""
    known = np.isfinite(values)
    last = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    return np.where(last >= 0, np.where(known, values, 0.0)[np.maximum(last, 0)], 0.0)
