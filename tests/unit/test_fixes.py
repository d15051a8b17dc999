"""Promises of verdicts on fixes: exact, by exposure, and wary of regression to the mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from aftercast.measurement import Inputs, looking, measure
from aftercast.measurement.criteria import read_criterion
from aftercast.measurement.fixes import weeks_needed
from aftercast.measurement.rates import Prior, ends, fit_prior, rate_ratio, surprise_after

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
            schema={
                "action_item_id": pl.String,
                "incident_id": pl.String,
                "type": pl.String,
                "status": pl.String,
                "shipped_at": time,
                "success_criterion": pl.String,
                "criterion_outcome": pl.String,
                "criterion_change": pl.Float64,
                "criterion_set_at": time,
            },
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


def test_one_look_draws_the_line_of_the_exact_test():
    shape, rate, days = np.array([7.0]), np.array([50.0]), np.array([[60.0]])
    line = looking.boundary(shape, rate, days, np.array([[0.05]]))
    most = int(line.most[0, 0])
    assert rate_ratio(7, 50, most, 60)[3] <= 0.05 < rate_ratio(7, 50, most + 1, 60)[3]


@pytest.mark.parametrize("per_year", [4, 12, 40])
def test_looking_every_week_for_a_year_finds_nothing_more_than_one_time_in_twenty(per_year: int):
    chance, n = np.random.default_rng(per_year), 3000
    before = chance.poisson(per_year, n).astype(float)
    counts = chance.poisson(per_year / 52, (n, 52)).cumsum(axis=1)
    year = np.full(n, 364.0)
    days = looking.weekly(year)
    p_value = looking.p_value(before, year, days, counts, days, year)
    assert (p_value <= 0.05).mean() <= 0.05
    assert (p_value <= 0.01).mean() <= 0.01 + 0.006
    repeated = np.array([stats.binom.cdf(counts[:, week], before + counts[:, week], (week + 1) / (week + 53)) for week in range(52)])
    assert ((repeated <= 0.05) & (before > 0)).any(axis=0).mean() > (0.04 if per_year < 10 else 0.06)


def test_a_repeated_interval_holds_at_all_looks_together():
    chance, n, ratio = np.random.default_rng(3), 1500, 0.5
    before, counts = chance.poisson(15, n).astype(float), chance.poisson(15 * ratio / 52, (n, 52)).cumsum(axis=1)
    year = np.full(n, 364.0)
    days = looking.weekly(year)
    line = looking.boundary(before, year, days, looking.spend(days, year[:, None]))
    low, high = ends(before[:, None], 364.0, counts, days, np.maximum(looking.nominal(line, before, year, days), 1e-12))
    assert (high < ratio).any(axis=1).mean() <= 0.05
    assert (low > ratio).any(axis=1).mean() <= 0.06


def test_a_company_that_calms_down_is_not_credited_to_a_fix():
    chance = np.random.default_rng(11)
    calm = {f"z{n:02d}": sorted([*chance.uniform(0, 50, 8), *chance.uniform(50, 100, 2)]) for n in range(30)}
    own = {"a": [*np.linspace(1, 49, 13), 70.0]}
    row = verdict(calm | own)
    assert row["verdict"] == "too_early"
    assert row["control_ratio"] == pytest.approx(0.25, abs=0.08)
    assert "unfixed families fell as well" in row["reason"]
    steady = {name: sorted([*chance.uniform(0, 50, 8), *chance.uniform(50, 100, 8)]) for name in calm}
    kept = verdict(steady | own)
    assert kept["control_ratio"] == pytest.approx(1, abs=0.2)
    assert kept["verdict"] == "effective"


def test_fixes_that_are_left_out_of_the_controls_do_not_make_the_rest_seem_to_rise():
    chance = np.random.default_rng(4)
    ratios, plain = [], []
    for _ in range(30):
        days = {f"f{n:02d}": sorted(chance.uniform(0, 100, max(chance.poisson(7), 1))) for n in range(40)}
        worst = sorted(days, key=lambda name: -sum(day < 50 for day in days[name]))[:10]
        items = [{"action_item_id": name, "incident_id": f"{name}-0"} for name in worst]
        ratios += recurrence(inputs(days, items))["control_ratio"].to_list()
        rest = np.concatenate([days[name] for name in days if name not in worst])
        plain.append((rest >= 50).sum() / (rest < 50).sum())
    assert np.mean(plain) > 1.2
    assert np.mean(ratios) == pytest.approx(1, abs=0.1)


def test_fixes_shipped_within_a_week_share_what_is_found():
    days = {"a": [1, 8, 15, 20, 27, 33, 40, 48]}
    items = [{"action_item_id": "one"}, {"action_item_id": "two", "shipped_at": SHIPPED + timedelta(days=3), "incident_id": "a-1"}]
    one, two = recurrence(inputs(days, items)).rows(named=True)
    assert (one["is_shared"], one["shared_with"], two["shared_with"]) == (True, ["two"], ["one"])
    assert (one["n_before"], one["n_after"], one["exposure_after"]) == (6, 0, pytest.approx(47))
    assert {one[name] for name in ("n_before", "n_after", "p_value")} == {two[name] for name in ("n_before", "n_after", "p_value")}
    assert "cannot be told apart from two" in one["reason"]


def test_a_promise_made_before_shipping_is_judged_on_its_own_and_others_among_many():
    days = {"a": [*range(1, 49, 6)]} | {f"z{n:02d}": [*np.linspace(2, 48, n % 6 + 1), *np.linspace(52, 98, n % 6 + 1)] for n in range(30)}
    idle = [{"action_item_id": f"idle-{name}", "incident_id": f"{name}-0"} for name in days if name != "a"]
    before, after = SHIPPED - timedelta(days=3), SHIPPED + timedelta(days=3)
    text = "No incident of this kind in the 28 days after shipping"

    def judged(**item: object) -> dict[str, object]:
        return recurrence(inputs(days, [item, *idle])).filter(pl.col("action_item_id") == "fix").row(0, named=True)

    promised = judged(success_criterion=text, criterion_set_at=before)
    assert (promised["verdict"], promised["criterion_status"], promised["window_days"]) == ("effective", "before_shipping", 28)
    assert promised["q_value"] > 0.1
    late = judged(success_criterion=text, criterion_set_at=after)
    assert (late["verdict"], late["criterion_status"], late["promised_ratio"]) == ("too_early", "after_shipping", None)
    assert "written down after shipping" in late["reason"]
    assert "not among so many" in late["reason"]


@pytest.mark.parametrize(
    ("text", "ratio", "window"),
    [
        ("No incident of this kind in the 28 days after shipping", 0.0, 28),
        ("Recurrences fall by 30 % within 2 months", 0.7, 60),
        ("Halve the number of outages in a quarter", 0.5, None),
        ("Holds for 4 weeks after shipping", None, 28),
        ("Dashboard exists", None, None),
    ],
)
def test_criteria_are_read_from_their_text(text: str, ratio: float | None, window: float | None):
    found = read_criterion("repair", text, None, None, START, SHIPPED)
    assert (found.status, found.outcome, found.window_days) == ("before_shipping", "recurrence", window)
    assert found.ratio == (pytest.approx(ratio) if ratio is not None else None)


def test_columns_of_a_criterion_win_over_its_text():
    found = read_criterion("repair", "by 30 %", "loss_per_week", -0.5, START, SHIPPED)
    assert (found.outcome, found.ratio) == ("loss_per_week", 0.5)


def test_a_small_promise_is_refuted_by_less_than_a_great_one():
    days = {"a": [*range(1, 50, 2), *range(52, 100, 4)]}
    small = verdict(days, criterion_change=-0.1, criterion_set_at=START)
    great = verdict(days, criterion_change=-0.8, criterion_set_at=START)
    assert great["verdict"] == "not_effective"
    assert small["verdict"] != "not_effective"


def test_what_came_back_after_an_early_success_withdraws_it():
    early = [1, 5, 9, 13, 17, 21, 25, 29, 33, 37, 41, 45, 48]
    assert verdict({"a": early}, AS_OF - timedelta(days=10))["verdict"] == "effective"
    again = verdict({"a": [*early, *np.linspace(80, 99.5, 14)]})
    assert again["verdict"] != "effective"
    assert again["ci_high"] >= again["estimate"]


def test_verdicts_do_not_depend_on_the_order_of_rows():
    days = {"a": [1, 8, 15, 20, 27, 33, 40, 48], "b": [5, 70], "c": [60], "d": [10, 90]}
    items = [{"action_item_id": "x"}, {"action_item_id": "y", "incident_id": "d-0"}]
    there = inputs(days, items)
    back = Inputs(
        incidents=there.incidents.reverse(),
        families=there.families.reverse(),
        changes=there.changes,
        action_items=there.action_items.reverse(),
    )
    assert measure(there, AS_OF).fix_impact.equals(measure(back, AS_OF).fix_impact)


def test_cancelled_items_are_not_judged():
    assert measure(inputs({"a": [10, 20]}, [{"status": "cancelled"}]), AS_OF).fix_impact.height == 0
