"""What a model misses regularly: its usual residual at a time of day, and its level of the last 24 hours; from block means, causally."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.intp]

GAUSS_MAD = 0.6745
DOUBT = 3.0  # a correction is halved where its square is this many times its sampling variance
FEW = ((2, 3, 4, 5, 6, 7, 8, 9, 30), (1.20, 1.50, 1.36, 1.21, 1.20, 1.14, 1.13, 1.11, 1.03))
"""By how much the median absolute deviation of so many values must be raised (Croux and Rousseeuw 1992)."""
LEAST_DAYS_OF_ALL = 5
LEAST_DAYS_OF_CLASS = 2  # workdays, weekend days
LEAST_DAYS_OF_WEEKDAY = 3  # Mondays, Tuesdays, ...


def profile(residual: Array, weekday: Counts) -> Array:
    """Return the usual residual per weekday (Monday 0) and time of day, (N, 7, K): of all days, of workdays or weekends, of the weekday.

    Each step learns what the one before left, shrunk to zero where it is not significant or its days are too few.

    Args:
        residual: (N, D, K) residuals of D days in K blocks; NaN where missing or masked.
        weekday: (D,) the weekday of each day, UTC.
    """
    usual = np.zeros((residual.shape[0], 7, residual.shape[2]))
    for classes, least in (
        ([range(7)], LEAST_DAYS_OF_ALL),
        ([range(5), range(5, 7)], LEAST_DAYS_OF_CLASS),
        ([range(one, one + 1) for one in range(7)], LEAST_DAYS_OF_WEEKDAY),
    ):
        left = residual - usual[:, weekday]
        for members in classes:
            usual[:, list(members)] += _shrunk_median(left[:, np.isin(weekday, list(members))], least)[:, None]
    return usual


def _shrunk_median(days: Array, least: int) -> Array:
    """Median over days per time of day, smoothed over its neighbours and shrunk by its signal to noise; 0 where days are too few."""
    if days.shape[1] == 0:
        return np.zeros((days.shape[0], days.shape[2]))
    middle, count = nan_median(days, axis=1)
    middle = np.nan_to_num(middle)
    spread, _ = nan_median(np.abs(days - middle[:, None, :]), axis=1)
    unbiased = np.interp(count, FEW[0], FEW[1]) / GAUSS_MAD
    variance = 1.5708 * (spread * unbiased) ** 2 / np.maximum(count, 1)  # of a median of Gaussian values
    known = np.isfinite(variance)
    error = np.where(known, variance, 0.0).sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
    smooth = 0.5 * middle + 0.25 * (np.roll(middle, 1, axis=1) + np.roll(middle, -1, axis=1))
    enough = np.isfinite(days).any(axis=2).sum(axis=1, keepdims=True) >= least
    strength = np.where(enough, smooth, 0.0) ** 2
    return np.asarray(smooth * np.divide(strength, strength + DOUBT * error, out=np.zeros_like(strength), where=strength > 0))


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
