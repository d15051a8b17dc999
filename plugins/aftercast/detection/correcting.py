"""What a model misses regularly: its usual residual at a time of day, and its level of the last 24 hours. Works on block means, causally."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.intp]

GAUSS_MAD = 0.6745
LEAST_DAYS_OF_CLASS = 2
LEAST_DAYS_OF_ALL = 5


def profile(residual: Array, weekend: Flags) -> dict[bool, Array]:
    """Return the usual residual per time of day (N, K) of workdays (False) and weekend days (True).

    Args:
        residual: (N, D, K) residuals of D days in K blocks; NaN where missing or masked.
        weekend: (D,) which days are Saturdays and Sundays (UTC).
    """
    every = _shrunk_median(residual, LEAST_DAYS_OF_ALL)
    found = {}
    for is_weekend in (False, True):
        own = residual[:, weekend == is_weekend]
        known = np.isfinite(own).any(axis=2).sum(axis=1) >= LEAST_DAYS_OF_CLASS
        found[is_weekend] = np.where(known[:, None], _shrunk_median(own, LEAST_DAYS_OF_CLASS), every)
    return found


def _shrunk_median(days: Array, least: int) -> Array:
    """Median over days per time of day, smoothed over its neighbours and shrunk by its signal to noise; 0 where days are too few."""
    if days.shape[1] == 0:
        return np.zeros((days.shape[0], days.shape[2]))
    middle, count = nan_median(days, axis=1)
    spread, _ = nan_median(np.abs(days - middle[:, None, :]), axis=1)
    middle = np.where(count >= least, middle, 0.0)
    variance = 1.5708 * (spread / GAUSS_MAD) ** 2 / np.maximum(count, 1)  # of a median of Gaussian values
    known = np.isfinite(variance)
    error = np.where(known, variance, 0.0).sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
    smooth = 0.5 * middle + 0.25 * (np.roll(middle, 1, axis=1) + np.roll(middle, -1, axis=1))
    strength = smooth**2
    return np.asarray(smooth * np.divide(strength, strength + error, out=np.zeros_like(strength), where=strength > 0))


def level(residual: Array, width: int) -> Array:
    """Return the median of the `width` blocks before each block (N, B) to (N, B); the last known one in a long gap, 0 before any."""
    before = np.concatenate([np.full((len(residual), width), np.nan), residual[:, :-1]], axis=1)
    middle, count = nan_median(np.lib.stride_tricks.sliding_window_view(before, width, axis=1), axis=2)
    known = count >= max(width // 4, 3)
    place = np.maximum.accumulate(np.where(known, np.arange(middle.shape[1]), -1), axis=1)
    return np.where(place >= 0, np.take_along_axis(middle, np.maximum(place, 0), axis=1), 0.0)


def nan_median(values: Array, axis: int) -> tuple[Array, Counts]:
    """Return the median of the present values along an axis (NaN where none) and how many were present."""
    ordered = np.sort(values, axis=axis)
    count = np.isfinite(ordered).sum(axis=axis)
    upper = np.expand_dims(np.minimum(count // 2, np.maximum(count - 1, 0)), axis)
    lower = np.expand_dims(np.maximum((count - 1) // 2, 0), axis)
    middle = 0.5 * (np.take_along_axis(ordered, lower, axis) + np.take_along_axis(ordered, upper, axis))
    return np.squeeze(middle, axis), count
