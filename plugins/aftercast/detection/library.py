"""One fitted series as a `prophet.Prophet` object, for its components and plots. The only module here that imports the library."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from prophet import Prophet

from aftercast.detection.design import PERIODS, as_seconds, features_in_use
from aftercast.detection.prophet_batch import Fit


def to_prophet(fitted: Fit, index: int, times: npt.ArrayLike, values: npt.ArrayLike) -> Prophet:
    """Return one series as a fitted library object, for its components and plots.

    Args:
        fitted: a fit without extra regressors.
        index: which series.
        times, values: the history of that series the fit was made from, (T,) each.
    """
    spec = fitted.spec
    history = pd.DataFrame({"ds": pd.to_datetime(as_seconds(times), unit="s"), "y": np.asarray(values, dtype=np.float64)})
    history = history[np.isfinite(history["y"])].sort_values("ds")
    used = features_in_use(as_seconds(history["ds"].to_numpy()), fitted.beta.shape[1], spec)
    orders, columns, column = {}, [], 0
    for name, _ in PERIODS:
        end = column + 2 * spec.orders[name]
        orders[name] = spec.orders[name] if used[column:end].any() else 0
        columns += list(range(column, column + 2 * orders[name]))
        column = end
    model = Prophet(
        growth=spec.growth,
        yearly_seasonality=orders["yearly"] or False,
        weekly_seasonality=orders["weekly"] or False,
        daily_seasonality=orders["daily"] or False,
        n_changepoints=spec.n_changepoints,
        changepoint_range=spec.changepoint_range,
        changepoint_prior_scale=spec.changepoint_prior_scale,
        seasonality_prior_scale=spec.seasonality_prior_scale,
    )
    model.preprocess(history)
    model.params = {
        "k": fitted.k[[index], None],
        "m": fitted.m[[index], None],
        "delta": fitted.delta[[index], : len(model.changepoints_t)],
        "beta": fitted.beta[[index]][:, columns] if columns else np.zeros((1, 1)),
        "sigma_obs": (fitted.sigma / fitted.y_scale)[[index], None],
    }
    return model
