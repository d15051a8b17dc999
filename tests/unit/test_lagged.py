"""Lagged rank correlation: unrelated series stay unrelated, a planted relation is found with its lag, and doubt is as large as it says."""

from __future__ import annotations

import numpy as np
import pytest

from aftercast.correlation import lagged
from benchmarks.kpi_correlations import NULL_WORLDS, unrelated

HOUR, DAY = 60, 24
LAGS = np.arange(-2, 7)


def series(rng: np.random.Generator, n: int, days: int = 42, memory: float = 0.6) -> np.ndarray:
    noise = rng.standard_normal((n, days * DAY))
    for at in range(1, noise.shape[1]):
        noise[:, at] += memory * noise[:, at - 1]
    return noise


@pytest.mark.parametrize("kind", NULL_WORLDS)
def test_unrelated_series_are_called_related_in_few_worlds(kind):
    """A family of 240 pairs, nine lags each; more than 5 of 20 families with a discovery has a chance of 3 in 10,000 at 5 %."""
    called = 0
    for world in range(20):
        left, right = unrelated(kind, seed=world, n_left=40, n_right=6)
        p = lagged.compared(lagged.scored(left, 0, HOUR), lagged.scored(right, 0, HOUR), LAGS).p
        called += bool((lagged.q_values(p) < 0.05).any())
    assert called <= 5


@pytest.mark.parametrize("lag", [-2, 0, 3])
def test_a_planted_relation_is_found_with_its_lag_and_sign(lag):
    rng = np.random.default_rng(1)
    left, right = series(rng, 4), series(rng, 3)
    right[1] -= 0.8 * np.roll(left[2], lag)
    found = lagged.compared(lagged.scored(left, 0, HOUR), lagged.scored(right, 0, HOUR), LAGS)
    q = lagged.q_values(found.p)
    assert np.unravel_index(np.nanargmin(q), q.shape) == (2, 1)
    assert q[2, 1] < 1e-6 and (q < 0.01).sum() == 1
    assert found.lag[2, 1] == lag
    assert found.low[2, 1] < found.r[2, 1] < found.high[2, 1] < 0


def test_a_shared_clock_is_no_relation():
    rng = np.random.default_rng(2)
    hours = np.arange(42 * DAY)
    day = 5 * np.sin(2 * np.pi * hours / DAY) + 3 * (hours // DAY % 7 >= 5)
    left, right = series(rng, 1) + day, series(rng, 1) + 2 * day
    assert np.corrcoef(left[0], right[0])[0, 1] > 0.8
    assert lagged.compared(lagged.scored(left, 0, HOUR), lagged.scored(right, 0, HOUR), LAGS).p[0, 0] > 0.01


def test_series_that_repeat_themselves_are_worth_fewer_observations():
    rng = np.random.default_rng(3)
    worth = []
    for memory in (0.0, 0.9):
        scored = lagged.scored(series(rng, 2, memory=memory), 0, HOUR)
        worth.append(lagged.compared(scored, scored, np.array([0])).n_effective[0, 1])
    assert worth[0] > 0.8 * 42 * DAY
    assert worth[1] < 0.3 * 42 * DAY


def test_no_single_value_makes_a_relation():
    rng = np.random.default_rng(4)
    left, right = series(rng, 1), series(rng, 1)
    left[0, 500] = right[0, 500] = 1e9
    assert lagged.compared(lagged.scored(left, 0, HOUR), lagged.scored(right, 0, HOUR), LAGS).p[0, 0] > 0.05


@pytest.mark.parametrize(
    "make",
    [
        lambda values: np.full_like(values, 7.0),
        lambda values: np.where(np.arange(values.shape[1]) < 5 * DAY, values, np.nan),
        lambda values: np.full_like(values, np.nan),
        lambda values: np.where(np.arange(values.shape[1]) % 400 == 0, values, 0.0),
    ],
)
def test_flat_short_and_empty_series_say_nothing(make):
    rng = np.random.default_rng(5)
    left, right = make(series(rng, 1)), series(rng, 1)
    found = lagged.compared(lagged.scored(left, 0, HOUR), lagged.scored(right, 0, HOUR), LAGS)
    assert np.isnan(found.p).all() and np.isnan(found.r).all()


@pytest.mark.parametrize("buckets", [1, 2, 9])
def test_series_shorter_than_the_longest_lag_say_nothing(buckets):
    rng = np.random.default_rng(5)
    left, right = (lagged.scored(series(rng, 2)[:, :buckets], 0, HOUR) for _ in range(2))
    found = lagged.compared(left, right, np.arange(-10, 11))
    assert np.isnan(found.p).all() and np.isnan(found.r).all()


def test_gaps_do_not_move_the_estimate():
    rng = np.random.default_rng(6)
    left, right = series(rng, 1), series(rng, 1)
    right += 0.7 * np.roll(left, 2, axis=1)
    whole = lagged.compared(lagged.scored(left, 0, HOUR), lagged.scored(right, 0, HOUR), LAGS)
    left[rng.random(left.shape) < 0.2] = np.nan
    holed = lagged.compared(lagged.scored(left, 0, HOUR), lagged.scored(right, 0, HOUR), LAGS)
    assert holed.lag[0, 0] == whole.lag[0, 0] == 2
    assert holed.n[0, 0] < 0.85 * whole.n[0, 0]
    assert holed.r[0, 0] == pytest.approx(whole.r[0, 0], abs=0.08)


def test_the_order_of_series_does_not_matter():
    rng = np.random.default_rng(7)
    left, right = series(rng, 5), series(rng, 2)
    right[0] += 0.2 * left[3]
    there = lagged.compared(lagged.scored(left, 0, HOUR), lagged.scored(right, 0, HOUR), LAGS)
    back = lagged.compared(lagged.scored(left[::-1], 0, HOUR), lagged.scored(right, 0, HOUR), LAGS)
    np.testing.assert_allclose(there.r, back.r[::-1], atol=1e-5)
    np.testing.assert_array_equal(there.lag, back.lag[::-1])


def test_untested_pairs_are_no_part_of_a_family():
    q = lagged.q_values(np.array([0.01, np.nan, 0.04]))
    assert q[0] == pytest.approx(0.02) and np.isnan(q[1]) and q[2] == pytest.approx(0.04)
