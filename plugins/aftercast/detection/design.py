"""The columns of Prophet's design matrix, placed and switched as the library does: changepoints, Fourier terms, holidays, priors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

from aftercast.detection.holiday_columns import DELIMITER, Holiday, holiday_columns, holiday_features

Array = npt.NDArray[np.float64]
Mode = Literal["additive", "multiplicative"]

__all__ = [
    "Column",
    "Holiday",
    "Regressor",
    "Season",
    "Spec",
    "as_seconds",
    "feature_columns",
    "features",
    "features_in_use",
    "place_changepoints",
]

DAY = 86_400.0
PERIODS = (("yearly", 365.25), ("weekly", 7.0), ("daily", 1.0))


@dataclass(frozen=True, slots=True)
class Season:
    """A seasonality as the library's `add_seasonality` has it: used whatever the length of history; a built-in's name replaces it.

    Without a prior scale or mode it has those of the Spec.
    """

    name: str
    period_days: float
    order: int
    prior_scale: float | None = None
    mode: Mode | None = None


@dataclass(frozen=True, slots=True)
class Regressor:
    """What is known of one extra column; without a prior scale or mode it has those of the Spec."""

    name: str
    prior_scale: float | None = None
    mode: Mode | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    """What is fitted. Defaults are the library's; `growth` flat has no slope and no changepoints.

    A built-in seasonality is used only where the library's `auto` would use it: `periods_needed` periods of history (daily two days,
    weekly two weeks, yearly two years) and a spacing below the period; an order of 0 switches it off. Yearly is off unless asked for
    (order 10 is the library's). `seasonality_mode` multiplicative means trend * (1 + seasons); holidays and regressors follow it unless
    they say otherwise. `regressors` describes the columns given to `fit`; left empty they get names and defaults.
    `min_points` is ours: fewer present points give no fit. Growth logistic is for `library.fit_with_library` only.
    """

    growth: Literal["linear", "flat", "logistic"] = "linear"
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
    seasonality_mode: Mode = "additive"
    seasons: tuple[Season, ...] = ()
    holidays: tuple[Holiday, ...] = ()
    holidays_prior_scale: float = 10.0
    holidays_mode: Mode | None = None
    regressors: tuple[Regressor, ...] = ()

    @property
    def orders(self) -> dict[str, int]:
        """Orders of the built-in seasonalities; 0 where switched off or replaced."""
        replaced = {season.name for season in self.seasons}
        orders = {"yearly": self.yearly_order, "weekly": self.weekly_order, "daily": self.daily_order}
        return {name: 0 if name in replaced else order for name, order in orders.items()}

    @property
    def all_seasons(self) -> tuple[Season, ...]:
        """Built-in seasonalities (yearly, weekly, daily), then the others, with their prior scales and modes filled in."""
        built_in = [Season(name, period, self.orders[name]) for name, period in PERIODS if self.orders[name]]
        filled = [
            replace(one, prior_scale=_or(one.prior_scale, self.seasonality_prior_scale), mode=one.mode or self.seasonality_mode)
            for one in (*built_in, *self.seasons)
        ]
        return tuple(filled)


@dataclass(frozen=True, slots=True)
class Column:
    """A feature column: its name as the library would call it, the scale of its normal prior, and whether it multiplies the trend."""

    name: str
    prior_scale: float
    multiplies: bool


def _or(own: float | None, default: float) -> float:
    return default if own is None else own


def as_seconds(times: npt.ArrayLike) -> Array:
    """Return times as seconds since 1970 UTC; accepts numbers (already seconds), datetime64 (UTC) and datetimes with a zone.

    Raises:
        ValueError: a time is missing, infinite or has no zone, or the array is not one-dimensional; says which and how many.
    """
    array = np.asarray(times)
    if array.ndim != 1:
        raise ValueError(f"times must be a one-dimensional array of finite UTC times, got shape {array.shape}")
    if np.issubdtype(array.dtype, np.datetime64):
        micros = array.astype("datetime64[us]")
        seconds = micros.astype(np.int64) / 1e6
        seconds[np.isnat(micros)] = np.nan
    elif array.dtype == object and len(array):
        seconds = np.array([_stamp(one) for one in array], dtype=np.float64)
    elif not len(array):
        return np.empty(0)
    elif np.issubdtype(array.dtype, np.number) and not np.iscomplexobj(array):
        seconds = array.astype(np.float64)
    else:
        raise ValueError(f"times must be finite UTC times (seconds, datetime64 or datetimes with a zone), got {array.dtype}")
    bad = ~np.isfinite(seconds)
    if bad.any():
        kind = "infinite" if np.isinf(seconds[bad][0]) else "missing"
        raise ValueError(
            f"times must be finite UTC times; {bad.sum()} of {len(seconds)} are not, the first at row {bad.argmax()} is {kind}"
        )
    return seconds


def _stamp(time: object) -> float:
    if time is None or str(time) in ("NaT", "nan"):
        return np.nan
    if isinstance(time, datetime):
        if time.tzinfo is None:
            raise ValueError(f"times must be finite UTC times; {time} has no zone, say which one it is in")
        return time.timestamp()
    if isinstance(time, (int, float, np.number)):
        return float(time)
    raise ValueError(f"times must be finite UTC times (seconds, datetime64 or datetimes with a zone), got {type(time).__name__}")


def feature_columns(spec: Spec, n_regressors: int) -> tuple[Column, ...]:
    """Return what the columns of `features` are: seasonalities, holidays, regressors.

    Raises:
        ValueError: `spec.regressors` describes another number of columns, a name is used twice, or a prior scale is not positive.
    """
    described = spec.regressors or tuple(Regressor(f"regressor_{number + 1}") for number in range(n_regressors))
    if len(described) != n_regressors:
        raise ValueError(f"{n_regressors} regressor columns given, {len(described)} described in the Spec")
    columns = [
        Column(
            f"{season.name}{DELIMITER}{place + 1}", _or(season.prior_scale, spec.seasonality_prior_scale), season.mode == "multiplicative"
        )
        for season in spec.all_seasons
        for place in range(2 * season.order)
    ]
    multiplies = (spec.holidays_mode or spec.seasonality_mode) == "multiplicative"
    columns += [Column(name, scale, multiplies) for name, scale in holiday_columns(spec.holidays, spec.holidays_prior_scale)]
    columns += [
        Column(one.name, _or(one.prior_scale, spec.regressor_prior_scale), (one.mode or spec.seasonality_mode) == "multiplicative")
        for one in described
    ]
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"used twice in a Spec: {', '.join(twice)}; seasons, holidays and regressors need names of their own")
    if any(not column.prior_scale > 0 for column in columns):
        raise ValueError("prior scales of seasons, holidays and regressors must be above 0")
    return tuple(columns)


def features(seconds: Array, spec: Spec, regressors: npt.ArrayLike | None) -> Array:
    """Return the feature columns (T, K): Fourier terms (sine and cosine per order), holidays, then the regressors as given.

    Raises:
        ValueError: regressors have another number of rows or are not finite.
    """
    days = 2.0 * np.pi * seconds / DAY
    columns = []
    for season in spec.all_seasons:
        for order in range(1, season.order + 1):
            columns += [np.sin(order / season.period_days * days), np.cos(order / season.period_days * days)]
    extra = np.empty((len(seconds), 0)) if regressors is None else np.asarray(regressors, dtype=np.float64)
    extra = extra[:, None] if extra.ndim == 1 else extra
    if extra.ndim != 2 or len(extra) != len(seconds):
        raise ValueError(f"regressors have shape {extra.shape}, expected ({len(seconds)}, number of regressors)")
    if not np.isfinite(extra).all():
        raise ValueError("a regressor has missing or infinite values; regressors must be known wherever they are used")
    blocks = [np.column_stack(columns)] if columns else []
    return np.hstack([*blocks, holiday_features(seconds, spec.holidays), extra])


def features_in_use(seconds: Array, n_features: int, spec: Spec) -> Array:
    """1 for feature columns the history supports, 0 for seasonalities that the library's `auto` switches off."""
    length = seconds[-1] - seconds[0]
    steps = np.diff(seconds)
    spacing = steps[steps > 0].min()
    used = np.ones(n_features)
    column = 0
    for name, period in PERIODS:
        whole = 365.0 if name == "yearly" else period  # the library asks for 730 days
        too_wide = name != "yearly" and spacing >= period * DAY
        if length < spec.periods_needed * whole * DAY or too_wide:
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
