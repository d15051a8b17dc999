"""The door to `prophet.Prophet`: our fits as its objects, its own fit for what the batch does not cover, our solver inside it.

The only module here that imports the library, and pandas for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from prophet import Prophet
from prophet.models import CmdStanPyBackend, IStanBackend, TrendIndicator

from aftercast.detection.design import Spec, as_seconds, feature_columns, features_in_use
from aftercast.detection.fitted import FLAT, Fit
from aftercast.detection.solving import solve, summarise

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.intp]


def to_prophet(fitted: Fit, index: int, times: npt.ArrayLike, values: npt.ArrayLike, regressors: npt.ArrayLike | None = None) -> Prophet:
    """Return one series as a fitted library object, for its components (`predict`) and plots (`plot_components`).

    Its regressors are columns named as in the Spec (`regressor_1`, ... where it names none); frames given to `predict` need them too.

    Args:
        fitted: a fit, of this run or read back with `load`. index: which series.
        times, values: the history of that series the fit was made from, (T,) each. regressors: (T, R) as given to `fit`.

    Raises:
        ValueError: the series has no fit, or the history is not the one it was fitted to.
    """
    if not fitted.ok[index]:
        raise ValueError(f"series {index} has no fit: {fitted.reason[index]}")
    history = _frame(times, values, regressors, fitted.spec)
    history = history[np.isfinite(history["y"])].sort_values("ds", kind="stable")
    own = [fitted.start[index], fitted.span[index], fitted.y_scale[index]]
    largest = float(history["y"].abs().max()) if len(history) else 0.0
    seconds = as_seconds(history["ds"].to_numpy())
    given = [seconds[0], seconds[-1] - seconds[0], largest or 1.0] if len(history) else [np.nan] * 3
    if not np.allclose(own, given, rtol=1e-9, atol=1e-3):
        raise ValueError(f"the history given is not the one series {index} was fitted to: start, length and scale are {given}, not {own}")
    model = _model(fitted.spec, seconds, _n_regressors(regressors))
    model.preprocess(history)
    columns = model.make_all_seasonality_features(model.history)[0].columns
    names = {column.name: number for number, column in enumerate(feature_columns(fitted.spec, _n_regressors(regressors)))}
    beta = [fitted.beta[index, names[name]] if name in names else 0.0 for name in columns]
    delta = np.zeros(len(model.changepoints_t))
    for change in np.flatnonzero(fitted.delta[index]):  # a stored fit keeps only the changepoints it uses
        delta[np.abs(model.changepoints_t - fitted.changepoints[index, change]).argmin()] = fitted.delta[index, change]
    model.params = {
        "k": fitted.k[[index], None],
        "m": fitted.m[[index], None],
        "delta": delta[None],
        "beta": np.array(beta)[None],
        "sigma_obs": (fitted.sigma / fitted.y_scale)[[index], None],
    }
    return model


@dataclass(frozen=True, slots=True)
class LibraryFit:
    """Models of N series fitted by the library; read as `Fit` is.

    Attributes:
        models: None where there is no fit. cap, floor: (N,) of logistic growth, NaN where there is none.
        sigma: noise standard deviation in the units of the series. reason: why a series has no fit, or `flat`.
    """

    spec: Spec
    models: tuple[Prophet | None, ...]
    cap: Array
    floor: Array
    sigma: Array
    n_points: Whole
    ok: Flags
    reason: tuple[str, ...]

    def predict(self, times: npt.ArrayLike, regressors: npt.ArrayLike | None = None) -> Array:
        """Return the expected values at `times` as an array (M, N); NaN for series without a fit."""
        seconds = as_seconds(times)
        expected = np.full((len(seconds), len(self.models)), np.nan)
        frame = _frame(seconds, np.full(len(seconds), np.nan), regressors, self.spec).drop(columns="y")
        order = np.argsort(seconds, kind="stable")  # the library answers in order of time
        for series, model in enumerate(self.models):
            if model is not None and len(seconds):
                asked = _bounded(frame, self.cap[series], self.floor[series])
                expected[order, series] = model.predict(asked)["yhat"].to_numpy()
        return expected

    def take(self, series: Whole) -> LibraryFit:
        """Return the fit of some of the series."""
        arrays: dict[str, Any] = {name: getattr(self, name)[series] for name in ("cap", "floor", "sigma", "n_points", "ok")}
        lists: dict[str, Any] = {name: tuple(getattr(self, name)[one] for one in series) for name in ("models", "reason")}
        return replace(self, **arrays, **lists)


def fit_with_library(
    times: npt.ArrayLike,
    values: npt.ArrayLike,
    spec: Spec | None = None,
    regressors: npt.ArrayLike | None = None,
    *,
    cap: npt.ArrayLike | None = None,
    floor: npt.ArrayLike | None = None,
    **options: Any,
) -> LibraryFit:
    """Fit every column of `values` with Stan, a second or so per series; a series that fails is marked with a reason and fails no other.

    Args:
        times, values, spec, regressors: as in `prophet_batch.fit`; growth may be logistic.
        cap, floor: what logistic growth saturates at, in the units of the series, one number or (N,); the floor is 0 unless given.
        options: anything else `prophet.Prophet` takes, such as `scaling` or `mcmc_samples`; `uncertainty_samples` is 0 unless given.

    Raises:
        ValueError: shapes do not match, a time or regressor is not finite, or logistic growth has no cap.
    """
    spec = spec or Spec()
    seconds, y = as_seconds(times), np.asarray(values, dtype=np.float64)
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or len(y) != len(seconds):
        raise ValueError(f"values have shape {y.shape}, expected ({len(seconds)}, number of series)")
    if spec.growth == "logistic" and cap is None:
        raise ValueError("logistic growth needs a cap, in the units of the series")
    n_series = y.shape[1]
    caps, floors = (np.array(np.broadcast_to(np.nan if side is None else side, n_series), dtype=np.float64) for side in (cap, floor))
    frame = _frame(seconds, np.full(len(seconds), np.nan), regressors, spec)
    models: list[Prophet | None] = []
    reasons, sigma = [], np.full(n_series, np.nan)
    for series in range(n_series):
        known = np.isfinite(y[:, series])
        history = _bounded(frame.assign(y=y[:, series])[known].sort_values("ds", kind="stable"), caps[series], floors[series])
        model, reason = _fit_one(history, spec, _n_regressors(regressors), {"uncertainty_samples": 0} | options)
        models.append(model)
        reasons.append(reason)
        if model is not None:
            sigma[series] = 0.0 if reason == FLAT else float(np.mean(model.params["sigma_obs"])) * model.y_scale
    ok = np.array([model is not None for model in models], dtype=bool)
    return LibraryFit(spec, tuple(models), caps, floors, sigma, np.isfinite(y).sum(axis=0).astype(np.intp), ok, tuple(reasons))


def _fit_one(history: pd.DataFrame, spec: Spec, n_regressors: int, options: dict[str, Any]) -> tuple[Prophet | None, str]:
    least = max(spec.min_points, 2)
    if len(history) < least:
        return None, f"{len(history)} points, {least} needed"
    seconds = as_seconds(history["ds"].to_numpy())
    if seconds[-1] <= seconds[0]:
        return None, f"{len(history)} points, all at one time"
    model = _model(spec, seconds, n_regressors, **options)
    try:
        with _quiet():
            model.fit(history)
    except (RuntimeError, ValueError, ArithmeticError, OSError) as error:  # cmdstan's failures are RuntimeErrors
        lines = str(error).strip().splitlines() or [""]
        return None, f"the library failed: {type(error).__name__} {lines[0][:200]}".strip()
    if not all(np.isfinite(np.asarray(value, dtype=np.float64)).all() for value in model.params.values()):
        return None, "the library found no finite parameters"
    return model, FLAT if history["y"].nunique() == 1 else ""


class ExactBackend(IStanBackend):  # type: ignore[misc]
    """Our solver in the place of Stan, for models the library sets up itself; logistic growth and sampling stay with Stan."""

    @staticmethod
    def get_type() -> str:
        return str(CmdStanPyBackend.get_type())

    def load_model(self) -> None:
        return None

    def fit(self, stan_init: dict[str, Any], stan_data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        if stan_data["trend_indicator"] == TrendIndicator.LOGISTIC.value:
            return dict(CmdStanPyBackend().fit(stan_init, stan_data, **kwargs))
        t, y = (np.asarray(stan_data[name], dtype=np.float64) for name in ("t", "y"))
        grows = stan_data["trend_indicator"] == TrendIndicator.LINEAR.value
        hinges = np.maximum(t[:, None] - stan_data["t_change"], 0.0) * grows
        trend = np.column_stack([t * grows, np.ones_like(t), hinges])
        scales = np.asarray(stan_data["sigmas"], dtype=np.float64)
        problem = summarise(np.zeros(1, dtype=np.intp), trend, np.asarray(stan_data["X"]), np.asarray(stan_data["s_m"]) > 0, y[:, None])
        _, theta, noise, _ = next(iter(solve([problem], scales, stan_data["tau"])))
        width = 2 + len(scales)
        return {"k": theta[:, :1], "m": theta[:, 1:2], "delta": theta[:, width:], "beta": theta[:, 2:width], "sigma_obs": noise[None]}

    def sampling(self, stan_init: dict[str, Any], stan_data: dict[str, Any], samples: int, **kwargs: Any) -> dict[str, Any]:
        return dict(CmdStanPyBackend().sampling(stan_init, stan_data, samples, **kwargs))


def exactly(model: Prophet) -> Prophet:
    """Return an unfitted library model whose `fit` runs our solver: `exactly(Prophet(...)).fit(frame)`."""
    model.stan_backend = ExactBackend()
    return model


def _n_regressors(regressors: npt.ArrayLike | None) -> int:
    shape = np.shape(regressors) if regressors is not None else (0, 0)
    return int(shape[1]) if len(shape) > 1 else 1


def _frame(times: npt.ArrayLike, values: npt.ArrayLike, regressors: npt.ArrayLike | None, spec: Spec) -> pd.DataFrame:
    frame = pd.DataFrame({"ds": pd.to_datetime(as_seconds(times), unit="s"), "y": np.asarray(values, dtype=np.float64)})
    n_regressors = _n_regressors(regressors)
    described = feature_columns(spec, n_regressors)
    extra = np.asarray([] if regressors is None else regressors, dtype=np.float64).reshape(len(frame), n_regressors)
    for number, column in enumerate(described[len(described) - n_regressors :]):
        frame[column.name] = extra[:, number]
    return frame


def _bounded(frame: pd.DataFrame, cap: float, floor: float) -> pd.DataFrame:
    """The frame with the bounds of logistic growth that are known."""
    sides = {name: side for name, side in (("cap", cap), ("floor", floor)) if np.isfinite(side)}
    return frame.assign(**sides)


def _model(spec: Spec, seconds: Array, n_regressors: int, **options: Any) -> Prophet:
    """An unfitted library model of the Spec, with the built-in seasonalities that history at these sorted times supports."""
    columns = feature_columns(spec, n_regressors)
    used = features_in_use(seconds, len(columns), spec)
    orders, column = {}, 0
    for name, order in spec.orders.items():
        orders[name] = order if used[column : column + 2 * order].any() else 0
        column += 2 * order
    arguments: dict[str, Any] = {
        "growth": spec.growth,
        **{f"{name}_seasonality": order or False for name, order in orders.items()},
        "holidays": _holidays(spec),
        "n_changepoints": spec.n_changepoints,
        "changepoint_range": spec.changepoint_range,
        "changepoint_prior_scale": spec.changepoint_prior_scale,
        "seasonality_prior_scale": spec.seasonality_prior_scale,
        "holidays_prior_scale": spec.holidays_prior_scale,
        "seasonality_mode": spec.seasonality_mode,
        "holidays_mode": spec.holidays_mode,
    }
    model = Prophet(**(arguments | options))
    for season in spec.all_seasons[len([order for order in spec.orders.values() if order]) :]:
        model.add_seasonality(season.name, season.period_days, season.order, season.prior_scale, season.mode)
    for one in columns[len(columns) - n_regressors :]:
        mode = "multiplicative" if one.multiplies else "additive"
        model.add_regressor(one.name, prior_scale=one.prior_scale, standardize=False, mode=mode)
    return model


def _holidays(spec: Spec) -> pd.DataFrame | None:
    if not spec.holidays:
        return None
    rows = [
        {
            "ds": pd.Timestamp(one.day),
            "holiday": one.name,
            "lower_window": one.lower_window,
            "upper_window": one.upper_window,
            "prior_scale": spec.holidays_prior_scale if one.prior_scale is None else one.prior_scale,
        }
        for one in spec.holidays
    ]
    return pd.DataFrame(rows)


@contextmanager
def _quiet() -> Iterator[None]:
    """The library and cmdstan say nothing below a warning while fitting."""
    loggers = [logging.getLogger(name) for name in ("prophet", "cmdstanpy")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
