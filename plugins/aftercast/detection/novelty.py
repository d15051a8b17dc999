"""Severity of every point of one series, causally and from the first hours on: how rare are its summaries in the series' own past?

A point is summarised in several ways: its value, means over longer and longer windows, jumps, spread, and the same after what was usual
at that time of day was taken off. Each summary becomes a rarity (rarity.py); their root mean square is the evidence. A point keeps it only
where it is above all evidence of the last rows: one event is reported once, and again only when it gets worse.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from aftercast.detection.rarity import rarity

Array = npt.NDArray[np.float64]

REFRACTORY = 200
"""Rows over which only stronger evidence is reported again."""
DAY = 86_400.0


def severity(times: npt.ArrayLike, values: npt.ArrayLike) -> Array:
    """Return the severity in [0, 1) of every row (T,), in the order given.

    Args:
        times: seconds since 1970. values: (T,), NaN where missing; a missing value has severity 0.
    """
    seconds = np.maximum.accumulate(np.asarray(times, dtype=np.float64))
    given = np.asarray(values, dtype=np.float64)
    if not len(given):
        return np.zeros(0)
    found = np.array([rarity(one) for one in summaries(seconds, _carried(given))])
    evidence = np.where(np.isfinite(given), np.sqrt((found**2).mean(axis=0)), 0.0)
    kept = _debounced(evidence)
    return np.asarray(kept / (1.0 + kept))


def summaries(times: Array, values: Array) -> list[Array]:
    """Return the numbers whose rarity is judged; upper tails only, so two-sided ones come with both signs."""
    residual = _off_time_of_day(times, values)
    spread_all = _spread(values, len(values))
    found = [np.abs(np.diff(values, prepend=values[0])), np.abs(_mean(values, 3) - _mean(_shifted(values, 3), 3))]
    for source in (values, residual):
        for width in (1, 3, 12, 48):
            smooth = _mean(source, width)
            found += [smooth, -smooth]
    for width in (6, 24, 96):
        found.append(np.log(_spread(values, width) + 1e-3 * spread_all + 1e-12))
    for width in (24, 96, 288):
        mean, spread = _shifted(_mean(values, width), 1), _shifted(_spread(values, width), 1)
        found.append(np.abs(values - mean) / (spread + 0.05 * spread_all + 1e-9 * np.maximum.accumulate(np.abs(values)) + 1e-12))
    return found


def _off_time_of_day(times: Array, values: Array) -> Array:
    """Values less their median at the same time of the last days; 0 before there is such a day."""
    step = max(float(np.median(np.diff(times[:100]))) if len(times) > 1 else 1.0, 1.0)
    width = max(1, round(900.0 / step))
    smooth = _mean(values, width)
    before = np.full((7, len(values)), np.nan)
    for day in range(1, 8):
        place = np.searchsorted(times, times - day * DAY)
        near = (times[0] <= times - day * DAY) & (np.abs(times[place] - (times - day * DAY)) <= max(step, 600.0))
        source = np.minimum(place + width // 2, np.maximum(np.arange(len(values)) - 1, 0))
        before[day - 1] = np.where(near, smooth[source], np.nan)
    known = np.isfinite(before).any(axis=0)
    usual = np.zeros(len(values))
    usual[known] = np.nanmedian(before[:, known], axis=0)
    return np.where(known, values - usual, 0.0)


def _carried(values: Array) -> Array:
    known = np.isfinite(values)
    last = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    return np.where(last >= 0, values[np.maximum(last, 0)], 0.0)


def _shifted(values: Array, rows: int) -> Array:
    return np.concatenate([np.full(min(rows, len(values)), values[0]), values[:-rows]])[: len(values)]


def _mean(values: Array, width: int) -> Array:
    """Mean of the last `width` rows, fewer at the beginning."""
    total = np.cumsum(np.concatenate([[0.0], values]))
    end = np.arange(1, len(values) + 1)
    first = np.maximum(end - width, 0)
    return np.asarray((total[end] - total[first]) / (end - first))


def _spread(values: Array, width: int) -> Array:
    return np.sqrt(np.maximum(_mean(values**2, width) - _mean(values, width) ** 2, 0.0))


def _debounced(evidence: Array) -> Array:
    before = np.concatenate([np.full(REFRACTORY, -1.0), evidence[:-1]])
    return np.where(evidence > np.lib.stride_tricks.sliding_window_view(before, REFRACTORY).max(axis=1), evidence, 0.0)
