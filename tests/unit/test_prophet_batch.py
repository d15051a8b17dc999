"""The batched model is Prophet: never a worse objective, the same curve; and no bad series hurts another."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercast.detection.lasso import solve_lasso
from aftercast.detection.prophet_batch import MODEL_VERSION, Holiday, Regressor, Season, Spec, as_seconds, fit, fit_many, load
from aftercast.errors import ModelRejected

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


def test_no_spacing_is_too_wide_for_a_year() -> None:
    rare = 1.5e9 + np.arange(30) * 400 * 86_400.0
    found = fit(rare, np.random.default_rng(1).normal(size=30), Spec(yearly_order=1))
    assert (found.beta[0, :2] != 0).all()
    assert (found.beta[0, 2:] == 0).all()


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


def test_histories_without_a_common_grid_are_fitted_as_if_alone() -> None:
    random = np.random.default_rng(2)
    shuffled = random.permutation(len(TIMES))
    irregular = np.sort(TIMES[0] + random.random(200) * 20 * 24 * HOUR)
    histories = [
        (TIMES, series("smooth")),
        (irregular, np.interp(irregular, TIMES, series("bent"))),
        (TIMES[shuffled], series("negative")[shuffled]),
        (TIMES, series("holes")),
        (TIMES[0] + 2 * (TIMES - TIMES[0]), series("smooth")),
        (np.repeat(TIMES, 2), np.repeat(series("noisy"), 2) + np.tile([0.0, 3.0], len(TIMES))),
    ]
    found = fit_many(histories)
    later = TIMES + 40 * HOUR
    for number, (times, values) in enumerate(histories):
        alone = fit(times, values)
        assert found.objective[number] == pytest.approx(alone.objective[0], abs=1e-6)
        assert np.allclose(found.predict(later)[:, number], alone.predict(later)[:, 0], rtol=1e-7)
    assert found.n_points.tolist() == [480, 200, 480, int(np.isfinite(series("holes")).sum()), 480, 960]


def test_no_bad_history_fails_another() -> None:
    missing, infinite = TIMES.copy(), TIMES.copy()
    missing[3], infinite[4] = np.nan, np.inf
    naive = [datetime(2026, 1, 1), datetime(2026, 1, 2)]
    good = series("smooth")
    histories = [
        (missing, good),
        (infinite, good),
        (naive, [1.0, 2.0]),
        (TIMES, good[:5]),
        ([], []),
        ([5.0] * 30, np.arange(30.0)),
        (TIMES, np.full(len(TIMES), 3.0)),
        (TIMES, good),
        (TIMES[:1], [1.0]),
        (TIMES[:30], [np.inf] * 30),
    ]
    found = fit_many(histories)
    assert found.ok.tolist() == [False] * 6 + [True, True, False, False]
    expected = (
        "row 3 is missing",
        "row 4 is infinite",
        "has no zone",
        "values have shape (5,)",
        "0 points, 24",
        "30 points, all at one time",
        "flat",
        "",
    )
    for reason, part in zip(found.reason, (*expected, "1 points, 24 needed", "0 points, 24 needed"), strict=True):
        assert part in reason
    assert np.isnan(found.predict(TIMES)[:, ~found.ok]).all()
    assert np.allclose(found.predict(TIMES)[:, 7], fit(TIMES, good).predict(TIMES)[:, 0], rtol=1e-9)


def test_a_history_with_regressors_of_its_own_needs_them_finite() -> None:
    promotion = (np.arange(len(TIMES)) % 100 < 5).astype(float)
    values = series("smooth") + 40 * promotion
    found = fit_many([(TIMES, values), (TIMES, values)], regressors=[promotion, np.full(len(TIMES), np.nan)])
    assert found.ok.tolist() == [True, False]
    assert "regressor has missing" in found.reason[1]
    assert found.predict(TIMES, promotion)[:, 0] == pytest.approx(fit(TIMES, values, regressors=promotion).predict(TIMES, promotion)[:, 0])


def test_nothing_to_fit_is_no_error() -> None:
    for spec in (Spec(), Spec(seasonality_mode="multiplicative")):
        assert fit(TIMES, np.empty((len(TIMES), 0)), spec).predict(TIMES).shape == (len(TIMES), 0)
        none = fit([], np.empty((0, 2)), spec)
        assert none.reason == ("0 points, 24 needed", "0 points, 24 needed")
        assert none.predict(TIMES).shape == (len(TIMES), 2)
        assert fit_many([], spec).predict(TIMES).shape == (len(TIMES), 0)
        assert fit(TIMES, series("smooth"), spec).predict([]).shape == (0, 1)
        assert load([], spec).predict(TIMES).shape == (len(TIMES), 0)


def test_times_say_what_is_wrong_with_them() -> None:
    wrong = {
        "1 of 2 are not, the first at row 1 is missing": [
            np.array(["2026-01-01", "NaT"], dtype="datetime64[s]"),
            [0.0, None],
            [1.0, pd.NaT],
        ],
        "the first at row 0 is infinite": [[np.inf, 1.0]],
        "2026-01-01 00:00:00 has no zone": [[datetime(2026, 1, 1)]],
        "got shape \\(1, 2\\)": [[[0.0, 1.0]]],
        "got str": [np.array(["2026-01-01"], dtype=object)],
        "got <U10": [["2026-01-01"]],
    }
    for message, examples in wrong.items():
        for times in examples:
            with pytest.raises(ValueError, match=message):
                as_seconds(times)
    assert as_seconds([datetime(1970, 1, 2, tzinfo=UTC)]).tolist() == [86_400.0]


def test_a_millionth_of_the_level_is_still_seen() -> None:
    shape = np.sin(2 * np.pi * DAYS) + 0.1 * np.random.default_rng(1).normal(size=len(DAYS))
    for mode in ("additive", "multiplicative"):
        found = fit(TIMES, 1e7 + shape, Spec(seasonality_mode=mode))
        assert found.sigma[0] == pytest.approx(0.1, rel=0.2)  # changes of slope cost nothing at that scale and take some
        assert np.abs(found.predict(TIMES)[:, 0] - 1e7 - np.sin(2 * np.pi * DAYS)).max() < 0.1


def test_seasons_that_multiply_grow_with_the_trend() -> None:
    trend = np.linspace(100, 300, len(TIMES))
    values = trend * (1 + 0.3 * np.sin(2 * np.pi * DAYS)) + np.random.default_rng(1).normal(size=len(TIMES))
    later = TIMES + 10 * 86_400
    truth = (trend + 200 / 480 * 240) * (1 + 0.3 * np.sin(2 * np.pi * DAYS))
    multiplied, added = (fit(TIMES, values, Spec(seasonality_mode=mode)) for mode in ("multiplicative", "additive"))
    assert multiplied.sigma[0] < 1.1
    assert added.sigma[0] > 10
    assert np.abs(multiplied.predict(later)[:, 0] - truth).max() < 0.03 * truth.mean() < np.abs(added.predict(later)[:, 0] - truth).max()


def test_a_batch_of_multiplicative_series_is_each_of_them_alone() -> None:
    together = np.column_stack([series(kind) for kind in ("smooth", "bent", "negative", "holes", "smooth")])
    together[100:120, 4] = np.nan
    spec = Spec(seasonality_mode="multiplicative")
    found = fit(TIMES, together, spec)
    for number in range(together.shape[1]):
        alone = fit(TIMES, together[:, number], spec)
        assert found.objective[number] == pytest.approx(alone.objective[0], abs=1e-4)
        assert np.allclose(found.predict(TIMES)[:, number], alone.predict(TIMES)[:, 0], rtol=1e-4)


def test_the_multiplicative_optimum_is_stationary() -> None:
    """No small move of any coefficient lowers the negative log posterior, written out from its definition."""
    values = series("bent")
    found = fit(TIMES, values, Spec(seasonality_mode="multiplicative"))
    scaled, noise, used = values / found.y_scale[0], found.sigma[0] / found.y_scale[0], found.beta[0] != 0
    assert used.sum() == 14

    def height(k: float, m: float, delta: np.ndarray, beta: np.ndarray, noise: float) -> float:
        moved = replace(found, k=np.array([k]), m=np.array([m]), delta=delta[None], beta=beta[None])
        error = ((scaled - moved.predict(TIMES)[:, 0] / found.y_scale[0]) ** 2).sum()
        prior = (k**2 + m**2) / 50 + (beta**2).sum() / 200 + np.abs(delta).sum() / 0.05 + 2 * noise**2
        return float(len(TIMES) * np.log(noise) + error / (2 * noise**2) + prior)

    here = np.concatenate([found.k, found.m, found.delta[0], found.beta[0], [noise]])

    def at(point: np.ndarray) -> float:
        return height(point[0], point[1], point[2:27], point[27:41], point[41])

    assert at(here) == pytest.approx(found.objective[0], abs=1e-6)
    for place in range(len(here)):
        for step in (-1e-4, 1e-4):
            point = here.copy()
            point[place] += step
            assert at(point) >= at(here) - 1e-5


def test_holidays_are_known_by_their_dates_when_predicting() -> None:
    closed = (Holiday("closed", date(2023, 11, 20)), Holiday("closed", date(2023, 11, 27)), Holiday("closed", date(2023, 12, 6)))
    away = np.isin(TIMES // 86_400, [(day.day - date(1970, 1, 1)).days for day in closed])
    assert away.sum() == 48  # the third is not in the history
    later = TIMES + 10 * 86_400
    for mode in ("additive", "multiplicative"):
        spec = Spec(holidays=closed, seasonality_mode=mode)
        found = fit(TIMES, np.where(away, 10.0, series("smooth")), spec)
        expected = found.predict(later)[:, 0]
        third = later // 86_400 == (date(2023, 12, 6) - date(1970, 1, 1)).days
        assert expected[third].mean() == pytest.approx(10, abs=12)
        assert expected[~third].mean() == pytest.approx(100, abs=5)
        assert np.allclose(load([found.parameters(0)], spec).predict(later), found.predict(later))


def test_the_library_is_named_for_growth_the_batch_does_not_cover() -> None:
    with pytest.raises(ValueError, match=r"logistic is not covered by the batch; use aftercast\.detection\.library\.fit_with_library"):
        fit(TIMES, series("smooth"), Spec(growth="logistic"))


def test_columns_are_described_once_and_sensibly() -> None:
    values, extra = series("smooth"), np.zeros((len(TIMES), 1))
    refused = {
        "1 regressor columns given, 2 described": Spec(regressors=(Regressor("a"), Regressor("b"))),
        "prior scales of seasons, holidays and regressors must be above 0": Spec(seasons=(Season("shift", 0.5, 1, prior_scale=0.0),)),
    }
    for message, spec in refused.items():
        with pytest.raises(ValueError, match=message):
            fit(TIMES, values, spec, extra)
    with pytest.raises(ValueError, match="used twice in a Spec: a"):
        fit(TIMES, values, Spec(regressors=(Regressor("a"), Regressor("a"))), np.zeros((len(TIMES), 2)))


def test_a_stored_model_that_cannot_be_read_is_refused_by_name() -> None:
    found = fit(TIMES, np.column_stack([series("bent"), series("smooth")]))
    good, row = found.parameters(0), found.parameters(1)
    assert good["model_version"] == MODEL_VERSION
    refused = {
        "has model_version 'prophet-batch-1', this code reads": row | {"model_version": "prophet-batch-1"},
        "has model_version None": {key: value for key, value in row.items() if key != "model_version"},
        "has seasonality_mode 'multiplicative', this code reads 'additive'": row | {"seasonality_mode": "multiplicative"},
        "lacks sigma": row | {"sigma": None},
        "lacks span, reason": {key: value for key, value in row.items() if key not in ("span", "reason")},
        "has 2 slope changes at 1 changepoints": row | {"delta": [1.0, 2.0], "changepoints": [0.5]},
        "has 13 coefficients, the Spec has 14": row | {"beta": row["beta"][1:]},
    }
    for message, bad in refused.items():
        with pytest.raises(ModelRejected, match=f"stored model of series latency of checkout {message}.*fit it again"):
            load([good, bad], Spec(), names=["errors of search", "latency of checkout"])
    with pytest.raises(ModelRejected, match="series 1 has growth 'linear'"):
        load([good | {"growth": "flat"}, row], Spec(growth="flat"))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    power=st.integers(-300, 300),
    mode=st.sampled_from(("additive", "multiplicative")),
    n_points=st.integers(2, 90),
)
def test_whatever_the_values_are_every_series_has_a_curve_or_a_reason(seed: int, power: int, mode: str, n_points: int) -> None:
    random = np.random.default_rng(seed)
    times = 1.7e9 + np.sort(random.integers(0, 50, n_points)) * HOUR * random.integers(1, 30)
    values = random.normal(size=(n_points, 6)) * 10.0**power
    values[:, 1] = values[0, 1]
    values[:, 2] = np.round(values[:, 2] / 10.0**power)
    values[random.random(n_points) < 0.5, 3] = np.inf
    values[:, 4] = np.exp(np.arange(n_points) / 2)
    values[1:, 5] = np.nan
    found = fit(times, values, Spec(seasonality_mode=mode, min_points=2))
    curves = found.predict(times)
    assert (np.isfinite(curves).all(axis=0) == found.ok).all()
    assert all(reason or ok for reason, ok in zip(found.reason, found.ok, strict=True))
    assert json.dumps([found.parameters(one) for one in range(6)], allow_nan=False)
