"""Promises of verdicts on fixes: exact, by exposure, and wary of regression to the mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from aftercast.measurement import Inputs, measure
from aftercast.measurement.fixes import weeks_needed
from aftercast.measurement.rates import Prior, fit_prior, rate_ratio, surprise_after

START = datetime(2026, 1, 5, tzinfo=UTC)
AS_OF = START + timedelta(days=100)
SHIPPED = START + timedelta(days=50)


def inputs(days: dict[str, list[float]], items: list[dict[str, object]]) -> Inputs:
    """Incidents by family and day; the first incident of a family is `<family>-0`."""
    rows = [(f"{family}-{number}", family, START + timedelta(days=day)) for family, at in days.items() for number, day in enumerate(at)]
    time = pl.Datetime("us", "UTC")
    return Inputs(
        incidents=pl.DataFrame(
            [
                {"incident_id": name, "region": "", "started_at": begin, "impact_end_at": begin + timedelta(hours=1)}
                for name, _, begin in rows
            ],
            schema_overrides={"started_at": time, "impact_end_at": time},
        ),
        families=pl.DataFrame([{"incident_id": name, "family_id": family} for name, family, _ in rows]),
        changes=pl.DataFrame({"started_at": [START]}, schema={"started_at": time}),
        action_items=pl.DataFrame(
            [
                {"action_item_id": "fix", "incident_id": "a-0", "type": "prevent", "status": "done", "shipped_at": SHIPPED} | item
                for item in items
            ],
            schema={"action_item_id": pl.String, "incident_id": pl.String, "type": pl.String, "status": pl.String, "shipped_at": time},
        ),
    )


def recurrence(given: Inputs, as_of: datetime = AS_OF) -> pl.DataFrame:
    return measure(given, as_of).fix_impact.filter(pl.col("outcome") == "recurrence")


def verdict(days: dict[str, list[float]], as_of: datetime = AS_OF, **item: object) -> dict[str, object]:
    return recurrence(inputs(days, [item]), as_of).row(0, named=True)


def test_five_to_none_in_equal_windows_is_just_enough_and_four_is_not():
    assert rate_ratio(5, 30, 0, 30)[3] == pytest.approx(0.03125)
    assert rate_ratio(5, 30, 0, 30)[2] < 1
    assert rate_ratio(3, 30, 0, 30)[3] == pytest.approx(0.125)
    assert rate_ratio(4, 30, 0, 30)[2] > 1
    assert rate_ratio(5, 365, 0, 30)[3] == pytest.approx((365 / 395) ** 5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 25), st.integers(0, 25), st.floats(1, 500), st.floats(1, 500))
def test_the_interval_and_the_test_agree_with_the_exact_binomial(before: int, after: int, days_before: float, days_after: float):
    estimate, low, high, p_value = rate_ratio(before, days_before, after, days_after)
    share = days_after / (days_before + days_after)
    assert p_value == pytest.approx(stats.binom.cdf(after, before + after, share) if before + after else 1.0)
    assert low <= (estimate if estimate is not None else low)
    assert high is None or estimate is None or estimate <= high
    assert (high is not None and high < 1) == (p_value < 0.05)
    assert (high is None) == (before == 0)


def test_twice_the_exposure_after_halves_the_ratio():
    assert rate_ratio(4, 50, 4, 100)[0] == pytest.approx(0.5)


def test_a_family_that_stops_is_effective_and_its_trigger_is_not_counted():
    row = verdict({"a": [1, 8, 15, 20, 27, 33, 40, 48], "b": [5, 70], "c": [60], "d": [10, 90]})
    assert row["verdict"] == "effective"
    assert (row["n_before"], row["n_after"]) == (7, 0)
    assert row["exposure_before"] == pytest.approx(50)
    assert row["weeks_needed"] is None
    assert "not counted" in row["reason"]


def test_a_family_that_goes_on_is_not_effective():
    row = verdict({"a": [1, 8, 15, 20, 27, 55, 60, 66, 72, 80, 95]})
    assert row["verdict"] == "not_effective"
    assert row["ci_low"] > 0.2


def test_few_incidents_are_too_early_and_say_how_long_to_wait():
    row = verdict({"a": [10, 20, 30, 40]})
    assert row["verdict"] == "too_early"
    weeks = row["weeks_needed"]
    assert weeks is not None
    assert weeks > 0
    assert "without recurrence" in row["reason"]
    assert verdict({"a": [10, 20, 30, 40]}, AS_OF + timedelta(weeks=weeks))["verdict"] == "effective"
    assert verdict({"a": [10, 20, 30, 40]}, AS_OF + timedelta(weeks=weeks - 1))["verdict"] == "too_early"


def test_waiting_is_not_promised_where_it_cannot_tell():
    assert weeks_needed(0, 50, 0, 50) is None
    assert verdict({"a": [49]})["weeks_needed"] is None


def test_a_bad_spell_among_many_families_is_flagged_as_regression_to_the_mean():
    families = {name: [4.0 + number * 4, 22.0 + number * 3, 60.0 + number * 4] for number, name in enumerate("bcdefghij")}
    spell = [30, 35, 38, 41, 44, 47]
    row = verdict({"a": spell, **families})
    assert row["verdict"] == "too_early"
    assert row["regression_to_mean"] is True
    assert row["ci_high"] < 1  # the exact comparison alone would have believed it
    assert "bad spell" in row["reason"]
    assert verdict({"a": spell})["verdict"] == "effective"


def test_without_any_effect_few_fixes_are_called_effective_even_after_the_worst_spell():
    chance = np.random.default_rng(5)
    called = naive = worlds = 0
    for _ in range(60):
        days = {name: sorted(chance.uniform(0, 100, chance.poisson(6))) for name in "bcdefghijk"}
        days = {name: at for name, at in days.items() if at}
        worst = max(days, key=lambda name: (sum(day < 50 for day in days[name]), name))
        before = sum(day < 50 for day in days[worst])
        row = verdict(days, incident_id=f"{worst}-0")
        called += row["verdict"] == "effective"
        naive += len(days[worst]) - before < before
        worlds += 1
    assert worlds == 60
    assert called / worlds <= 0.05
    assert naive / worlds > 0.5


def test_a_shrunk_rate_makes_silence_less_surprising():
    alone = surprise_after(5, 50, 0, 50, None)
    shrunk = surprise_after(5, 50, 0, 50, Prior(20.0, 500.0))
    assert shrunk > alone
    assert surprise_after(5, 50, 0, 50, None) == pytest.approx(rate_ratio(5, 50, 0, 50)[3])
    assert fit_prior([3, 2], [50, 50]) is None


def test_fixes_that_cannot_be_compared_say_why():
    days = {"a": [10, 20, 30]}
    assert "without a shipping date" in str(verdict(days, shipped_at=None)["reason"])
    assert "no incident of a family" in str(verdict(days, incident_id="elsewhere")["reason"])
    assert "outside the data" in str(verdict(days, shipped_at=AS_OF + timedelta(days=1))["reason"])
    assert {verdict(days, shipped_at=moment)["verdict"] for moment in (None, AS_OF)} == {"too_early"}


def test_only_items_that_promise_fewer_recurrences_and_are_done_are_judged():
    items = [{"action_item_id": f"{kind}", "type": kind} for kind in ("detect", "investigate", "mitigate", "prevent", "repair", None)]
    found = recurrence(inputs({"a": [10, 20]}, [*items, {"action_item_id": "open", "status": "open"}]))
    assert found["action_item_id"].to_list() == ["None", "prevent", "repair"]


def test_neighbouring_fixes_of_a_family_do_not_take_credit_for_each_other():
    days = {"a": [1, 5, 9, 14, 18, 22, 26, 29]}
    items = [
        {"action_item_id": "first", "shipped_at": START + timedelta(days=30)},
        {"action_item_id": "second", "shipped_at": START + timedelta(days=45), "incident_id": "a-1"},
    ]
    first, second = recurrence(inputs(days, items)).rows(named=True)
    assert first["exposure_after"] == pytest.approx(15)
    assert (second["n_before"], second["exposure_before"]) == (0, pytest.approx(15))
    assert second["verdict"] == "too_early"
    assert "neighbouring" in second["reason"]
