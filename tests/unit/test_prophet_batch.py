"""The batched model is Prophet: never a worse objective, the same curve; and no bad series hurts another."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercast.detection.lasso import solve_lasso
from aftercast.detection.prophet_batch import Spec, fit, load

HOUR = 3600.0
TIMES = 1.7e9 + np.arange(24 * 20) * HOUR
DAYS = TIMES / 86_400


def series(kind: str, seed: int = 3) -> np.ndarray:
    random = np.random.default_rng(seed)
    daily = np.sin(2 * np.pi * DAYS) + 0.5 * np.cos(4 * np.pi * DAYS)
    late = np.maximum(DAYS - DAYS[len(DAYS) // 2], 0)
    values = {
        "smooth": 100 + 20 * daily + random.normal(size=len(DAYS)),
        "noisy": 100 + 5 * daily + 30 * random.normal(size=len(DAYS)),
        "bent": 100 + 20 * daily + 10 * late + random.normal(size=len(DAYS)),
        "negative": -50 + 3 * daily + random.normal(size=len(DAYS)),
        "holes": 1e6 * (10 + daily + 0.2 * random.normal(size=len(DAYS))),
    }[kind]
    if kind == "holes":
        values[random.random(len(DAYS)) < 0.2] = np.nan
        values[:7] = np.nan
        values[200:260] = np.nan
    return values


def library_fit(values: np.ndarray) -> tuple[float, np.ndarray]:
    """The library's negative log posterior (scaled as ours, without constants) and its curve."""
    from prophet import Prophet

    model = Prophet(uncertainty_samples=0)
    model.fit(pd.DataFrame({"ds": pd.to_datetime(TIMES, unit="s"), "y": values}))
    history = model.history
    k, m, sigma = (float(model.params[name].ravel()[0]) for name in ("k", "m", "sigma_obs"))
    delta, beta = model.params["delta"].ravel(), model.params["beta"].ravel()
    t, y = history["t"].to_numpy(), history["y_scaled"].to_numpy()
    features = model.make_all_seasonality_features(history)[0].to_numpy()
    curve = k * t + m + np.maximum(t[:, None] - model.changepoints_t, 0) @ delta + features @ beta
    prior = k**2 / 50 + m**2 / 50 + (beta**2).sum() / 200 + np.abs(delta).sum() / 0.05 + 2 * sigma**2
    objective = len(t) * np.log(sigma) + ((y - curve) ** 2).sum() / (2 * sigma**2) + prior
    expected = model.predict(pd.DataFrame({"ds": pd.to_datetime(TIMES, unit="s")}))["yhat"].to_numpy()
    return float(objective), expected


@pytest.mark.parametrize("kind", ["smooth", "noisy", "bent", "negative", "holes"])
def test_the_objective_is_never_worse_than_the_library_and_the_curve_is_the_same(kind: str) -> None:
    values = series(kind)
    objective, expected = library_fit(values)
    ours = fit(TIMES, values)
    assert ours.objective[0] <= objective + 1e-3
    apart = np.abs(ours.predict(TIMES)[:, 0] - expected).max()
    assert apart <= max(0.005 * np.nanmean(np.abs(values)), 0.05 * ours.sigma[0])  # the library stops early where noise is large


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 12), tightness=st.floats(1e-3, 1.0))
def test_the_lasso_satisfies_its_optimality_conditions(seed: int, size: int, tightness: float) -> None:
    random = np.random.default_rng(seed)
    columns = np.maximum(np.linspace(0, 1, 60)[:, None] - np.sort(random.random(size)), 0)  # hinges: as collinear as ours are
    target = columns.T @ random.normal(size=60)
    penalty = tightness * (np.abs(target).max() + 1e-6)
    found = solve_lasso((columns.T @ columns)[None], target[None], np.array([penalty]))[0]
    gradient = columns.T @ columns @ found - target
    assert (np.abs(gradient) <= penalty * (1 + 1e-5)).all()
    moving = found != 0
    assert np.allclose(gradient[moving], -penalty * np.sign(found[moving]), rtol=1e-5)


def test_missing_points_are_left_out_and_are_not_zero() -> None:
    values = series("holes")
    known = np.isfinite(values)
    among_missing, alone = fit(TIMES, values), fit(TIMES[known], values[known])
    assert np.allclose(among_missing.predict(TIMES), alone.predict(TIMES), rtol=1e-9)
    assert among_missing.n_points[0] == known.sum() < len(TIMES)


def test_one_bad_series_never_hurts_the_others() -> None:
    good = series("smooth")
    empty, single, flat, infinite = np.full(len(good), np.nan), np.full(len(good), np.nan), np.full(len(good), 7.0), good.copy()
    single[40] = 3.0
    infinite[50] = np.inf
    found = fit(TIMES, np.column_stack([empty, good, single, flat, infinite]))
    assert found.ok.tolist() == [False, True, False, True, True]
    assert found.reason[0] == "0 points, 24 needed"
    assert found.reason[3] == "flat"
    curves = found.predict(TIMES)
    assert np.isnan(curves[:, 0]).all()
    assert np.isnan(curves[:, 2]).all()
    assert (curves[:, 3] == 7.0).all()
    assert found.sigma[3] == 0
    assert np.allclose(curves[:, 1], fit(TIMES, good).predict(TIMES)[:, 0], rtol=1e-9)
    assert found.n_points[4] == len(good) - 1


def test_the_order_of_rows_does_not_matter() -> None:
    values = np.column_stack([series("smooth"), series("bent")])
    order = np.random.default_rng(0).permutation(len(TIMES))
    assert np.allclose(fit(TIMES[order], values[order]).predict(TIMES), fit(TIMES, values).predict(TIMES), rtol=1e-7)


def test_few_points_end_in_the_better_of_two_optima() -> None:
    """A spike in 40 points: following it with free slope changes is a local optimum, thousands of log units worse."""
    values = np.where(np.arange(40) == 20, 1e4, 1.0)
    assert fit(TIMES[:40], values).objective[0] < 0


def test_a_season_needs_two_of_its_periods() -> None:
    found = fit(TIMES[:240], series("smooth")[:240])
    weekly, daily = found.beta[0, :6], found.beta[0, 6:]
    assert (weekly == 0).all()
    assert (daily != 0).any()


def test_extra_columns_are_fitted_beside_the_seasons() -> None:
    promotion = (np.arange(len(TIMES)) % 100 < 5).astype(float)
    values = series("smooth") + 40 * promotion
    found = fit(TIMES, values, regressors=promotion)
    assert found.beta[0, -1] * found.y_scale[0] == pytest.approx(40, abs=1)
    with pytest.raises(ValueError, match="seasonal and regressor columns"):
        found.predict(TIMES)


def test_stored_parameters_predict_the_same() -> None:
    found = fit(TIMES, np.column_stack([series("bent"), np.full(len(TIMES), 7.0)]))
    stored = json.loads(json.dumps([found.parameters(index) for index in range(2)], allow_nan=False))
    later = TIMES + 40 * HOUR
    assert np.allclose(load(stored, Spec()).predict(later), found.predict(later), rtol=1e-12)


def test_a_fit_becomes_a_library_object_with_components() -> None:
    from aftercast.detection.library import to_prophet

    values = series("holes")
    found = fit(TIMES, values)
    forecast = to_prophet(found, 0, TIMES, values).predict(pd.DataFrame({"ds": pd.to_datetime(TIMES + 24 * HOUR, unit="s")}))
    assert np.allclose(forecast["yhat"], found.predict(TIMES + 24 * HOUR)[:, 0], rtol=1e-6)
    assert {"trend", "daily", "weekly"} <= set(forecast.columns)


def test_times_without_order_or_meaning_are_refused() -> None:
    with pytest.raises(ValueError, match="finite UTC times"):
        fit(np.array([0.0, np.nan]), np.zeros(2))
    with pytest.raises(ValueError, match="expected \\(480"):
        fit(TIMES, np.zeros((3, 1)))


def test_the_noise_is_stationary_under_its_prior() -> None:
    values = np.random.default_rng(5).normal(size=30)
    found = fit(TIMES[:30], values)
    noise = found.sigma[0] / found.y_scale[0]
    error = (((values - found.predict(TIMES[:30])[:, 0]) / found.y_scale[0]) ** 2).sum()
    assert 4 * noise**4 + 30 * noise**2 == pytest.approx(error, rel=1e-5)
