"""Severity of one series: causal, free of units, patient with odd series, loud about what was never seen and quiet about the rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercast.detection.novelty import events, novelty, severity
from aftercast.detection.rarity import loneliness, loneliness_after, rarity, rarity_after

STEP = 900.0
PER_DAY = 96
LOUD = 0.4


def _daily(n_days: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    row = np.arange(n_days * PER_DAY)
    noise = np.random.default_rng(seed).normal(size=len(row))
    return 1.4e9 + row * STEP, 100.0 + 40.0 * np.sin(2 * np.pi * row / PER_DAY) + 3.0 * noise


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 5 * PER_DAY), wild=st.floats(-1e6, 1e6))
def test_what_happens_later_changes_nothing_earlier(seed: int, cut: int, wild: float) -> None:
    times, values = _daily(5, seed)
    draw = np.random.default_rng(seed)
    times = times + np.where(draw.random(len(times)) < 0.05, draw.normal(size=len(times)) * 2 * STEP, 0.0)
    values[draw.random(len(values)) < 0.05] = np.nan
    other_times, other = times.copy(), values.copy()
    other[cut:] = wild
    other_times[cut:] += draw.random() * 1e5
    np.testing.assert_array_equal(severity(times, values)[:cut], severity(other_times, other)[:cut])
    np.testing.assert_array_equal(severity(times, values)[:cut], severity(times[:cut], values[:cut]))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), power=st.integers(-6, 6))
def test_units_do_not_matter(seed: int, power: int) -> None:
    times, values = _daily(4, seed)
    values[300:306] += 60.0
    np.testing.assert_allclose(severity(times, values * 4.0**power), severity(times, values), atol=1e-9)
    np.testing.assert_allclose(severity(times + 7 * 86_400.0, values), severity(times, values), atol=1e-9)


def test_highs_and_lows_count_alike() -> None:
    times, values = _daily(4)
    values[300:306] += 90.0
    np.testing.assert_allclose(severity(times, -values), severity(times, values), rtol=0.35, atol=0.05)


@pytest.mark.parametrize("height", [80.0, -160.0])
def test_a_spike_never_seen_is_reported_at_once_and_once(height: float) -> None:
    times, values = _daily(8)
    values[600:604] += height
    found = severity(times, values)
    loud = np.flatnonzero(found[3 * PER_DAY :] >= LOUD) + 3 * PER_DAY
    assert loud[0] == 600
    assert len(loud) <= 3


def test_a_value_that_is_usual_but_not_at_this_time_of_day_is_news() -> None:
    row = np.arange(8 * PER_DAY)
    values = np.where(row % PER_DAY < 32, 10.0, 50.0) + np.random.default_rng(3).normal(size=len(row))
    quiet = severity(1.4e9 + row * STEP, values)
    values[6 * PER_DAY + 60 : 6 * PER_DAY + 72] = 10.0
    missed = severity(1.4e9 + row * STEP, values)
    at = slice(6 * PER_DAY + 60, 6 * PER_DAY + 73)
    assert missed[at].max() > 0.3
    assert missed[at].max() > 2 * quiet[at].max()


def test_what_happens_every_day_stops_being_news() -> None:
    times, values = _daily(12)
    at = np.arange(1, 12) * PER_DAY + 40
    values[at] += 300.0
    found = [severity(times, values)[place - 2 : place + 3].max() for place in at]
    assert found[0] > LOUD
    assert max(found[6:]) < 0.6 * found[0]


def test_a_quiet_series_is_quiet_after_its_first_days() -> None:
    loud = 0
    for seed in range(10):
        times, values = _daily(10, seed)
        loud += int((severity(times, values)[3 * PER_DAY :] >= LOUD).sum())
    assert loud <= 7  # one in ten days


@pytest.mark.parametrize(
    "values",
    [
        [],
        [5.0],
        [5.0] * 500,
        [np.nan] * 500,
        [0.0] * 300 + [np.inf] * 20 + [0.0] * 100,
        [1e-300] * 200 + [1e-299] * 200,
        [1e15 + one % 7 for one in range(400)],
    ],
)
def test_odd_series_have_finite_severities(values: list[float]) -> None:
    found = severity(np.arange(len(values)) * 60.0, values)
    assert found.shape == (len(values),)
    assert ((found >= 0.0) & (found < 1.0)).all()


def test_a_series_that_never_moves_has_no_severity_and_its_first_move_has() -> None:
    values = np.full(600, 5.0)
    assert not severity(np.arange(600) * 300.0, values).any()
    values[400:] = 5.5
    found = severity(np.arange(600) * 300.0, values)
    assert found.argmax() == 400
    assert found[400] > LOUD


def test_stamps_may_repeat_stand_apart_and_run_backwards() -> None:
    times, values = _daily(6)
    times[200:204] = times[200]
    times[310] -= 4 * STEP
    times[400:] += 3 * 86_400.0
    values[500:504] += 90.0
    found = severity(times, values)
    assert found[PER_DAY:].argmax() + PER_DAY == 500


def test_missing_values_have_no_severity_and_do_not_silence_the_next() -> None:
    times, values = _daily(6)
    values[400:500] = np.nan
    values[500:504] += 90.0
    found = severity(times, values)
    assert not found[400:500].any()
    assert found[500] > LOUD


def test_times_that_do_not_fit_the_values_are_refused() -> None:
    with pytest.raises(ValueError, match="one finite time for each value"):
        severity([0.0, 1.0], [1.0])
    with pytest.raises(ValueError, match="one finite time for each value"):
        severity([0.0, np.nan], [1.0, 2.0])


def test_rarity_is_a_rank_inside_and_grows_beyond_what_was_seen() -> None:
    past = np.random.default_rng(1).normal(size=999)
    found = [rarity(np.append(past, new))[-1] for new in (np.median(past), np.sort(past)[-100], 4.0, 8.0)]
    assert found[0] == pytest.approx(np.log10(2.0), abs=0.01)
    assert found[1] == pytest.approx(1.0, abs=0.01)
    assert 2.5 < found[2] < found[3] <= 6.0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), first=st.integers(5, 200))
def test_comparing_with_one_past_is_the_same_for_the_next_number(seed: int, first: int) -> None:
    numbers = np.round(np.random.default_rng(seed).normal(size=first + 5), 1)
    assert rarity_after(numbers, first)[0] == pytest.approx(rarity(numbers)[first])


def test_distances_to_one_past_reach_the_third_nearest() -> None:
    numbers = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 5.0, 100.0])
    assert loneliness_after(numbers, 7)[7:].tolist() == [3.0, 84.0]
    assert loneliness(numbers).tolist() == [0.0] * 9  # too few lie twelve rows back


def test_an_event_is_told_once_again_when_worse_and_less_when_repeated() -> None:
    found = np.full(2000, 0.1)
    found[[1000, 1010, 1020]] = [3.0, 2.0, 4.0]
    found[[1500, 1900]] = 4.0
    kept = events(found)
    assert kept[[1000, 1010, 1020]].tolist() == [3.0, 0.0, 4.0]
    assert kept[1500] == pytest.approx(4.0 - np.log10(2.0))
    assert kept[1900] == pytest.approx(4.0 - np.log10(3.0))


def test_novelty_lasts_as_long_as_the_trouble() -> None:
    times, values = _daily(4)
    first = 3 * PER_DAY
    assert novelty(times, values, first).mean() < 0.6
    values[first + 20 : first + 40] += 120.0
    found = novelty(times, values, first)
    assert (found[20:40] == 1.0).all()
