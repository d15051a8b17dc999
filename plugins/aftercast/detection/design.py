"""The columns of Prophet's design matrix, placed and switched as the library does: changepoints, Fourier terms, priors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

DAY = 86_400.0
PERIODS = (("yearly", 365.25), ("weekly", 7.0), ("daily", 1.0))
TREND_PRIOR_PRECISION = 1.0 / 25.0  # k, m ~ normal(0, 5) in Prophet's Stan model


@dataclass(frozen=True, slots=True)
class Spec:
    """What is fitted. Defaults are the library's; `growth` flat has no slope and no changepoints.

    A seasonality is used only where the library's `auto` would use it: `periods_needed` periods of history (daily two days, weekly two
    weeks, yearly two years) and a spacing below the period. `min_points` is ours: fewer present points give no fit.
    """

    growth: Literal["linear", "flat"] = "linear"
    daily_order: int = 4
    weekly_order: int = 3
    yearly_order: int = 0
    n_changepoints: int = 25
    changepoint_range: float = 0.8
    changepoint_prior_scale: float = 0.05
    seasonality_prior_scale: float = 10.0
    regressor_prior_scale: float = 10.0
    periods_needed: float = 2.0
    min_points: int = 24

    @property
    def orders(self) -> dict[str, int]:
        return {"yearly": self.yearly_order, "weekly": self.weekly_order, "daily": self.daily_order}


def as_seconds(times: npt.ArrayLike) -> Array:
    """Return times as seconds since 1970 UTC; accepts numbers (already seconds) and datetime64 (UTC).

    Raises:
        ValueError: a time is missing or infinite, or the array is not one-dimensional.
    """
    array = np.asarray(times)
    if np.issubdtype(array.dtype, np.datetime64):
        micros = array.astype("datetime64[us]")
        seconds = micros.astype(np.int64) / 1e6
        seconds[np.isnat(micros)] = np.nan
    else:
        seconds = array.astype(np.float64)
    if seconds.ndim != 1 or not np.isfinite(seconds).all():
        raise ValueError("times must be a one-dimensional array of finite UTC times")
    return seconds


def seasonal_features(seconds: Array, spec: Spec, regressors: npt.ArrayLike | None) -> Array:
    """Fourier columns (yearly, weekly, daily; sine and cosine per order), then the regressors as given."""
    days = 2.0 * np.pi * seconds / DAY
    columns = []
    for name, period in PERIODS:
        for order in range(1, spec.orders[name] + 1):
            columns += [np.sin(order / period * days), np.cos(order / period * days)]
    extra = np.empty((len(seconds), 0)) if regressors is None else np.asarray(regressors, dtype=np.float64).reshape(len(seconds), -1)
    if not np.isfinite(extra).all():
        raise ValueError("a regressor has missing or infinite values; regressors must be known wherever they are used")
    return np.column_stack([*columns, extra]) if columns else extra


def features_in_use(seconds: Array, n_features: int, spec: Spec) -> Array:
    """1 for feature columns the history supports, 0 for seasonalities that the library's `auto` switches off."""
    length = seconds[-1] - seconds[0]
    steps = np.diff(seconds)
    spacing = steps[steps > 0].min()
    used = np.ones(n_features)
    column = 0
    for name, period in PERIODS:
        whole = 365.0 if name == "yearly" else period  # the library asks for 730 days
        if length < spec.periods_needed * whole * DAY or spacing >= period * DAY:
            used[column : column + 2 * spec.orders[name]] = 0.0
        column += 2 * spec.orders[name]
    return used


def place_changepoints(t: Array, spec: Spec) -> Array:
    """Potential changepoints as the library places them: evenly by count over the first part of the history."""
    size = int(np.floor(len(t) * spec.changepoint_range))
    count = min(spec.n_changepoints, size - 1) if spec.growth == "linear" else 0
    if count <= 0:
        return np.empty(0)
    return np.asarray(t[np.linspace(0, size - 1, count + 1).round().astype(int)][1:], dtype=np.float64)


def prior_precision(n_features: int, spec: Spec) -> Array:
    """Precision of the normal prior of slope, offset and each feature column."""
    seasonal = 2 * sum(spec.orders.values())
    precision = np.full(2 + n_features, TREND_PRIOR_PRECISION)
    precision[2 : 2 + seasonal] = spec.seasonality_prior_scale**-2
    precision[2 + seasonal :] = spec.regressor_prior_scale**-2
    return precision
