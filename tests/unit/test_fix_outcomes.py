"""Promises of the other outcomes of fixes: times with censoring, reach, losses, change failures; and that measuring them is quick."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from scipy import stats

from aftercast.analyses import DERIVED
from aftercast.measurement import Inputs, samples
from aftercast.measurement.fixes import measure_fixes

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
AS_OF = BEGIN + timedelta(days=200)
SHIPPED = 100.0
TIME = pl.Datetime("us", "UTC")


def at(day: float | None) -> datetime | None:
    return None if day is None else BEGIN + timedelta(days=day)


def incident(number: int, day: float, minutes: float | None = 60, detected: float | None = 10, family: str = "a") -> dict[str, object]:
    begun = BEGIN + timedelta(days=day)
    return {
        "incident_id": f"{family}-{number}",
        "family_id": family,
        "region": "",
        "started_at": begun,
        "impact_end_at": None if minutes is None else begun + timedelta(minutes=minutes),
        "detected_at": None if detected is None else begun + timedelta(minutes=detected),
        "is_open": minutes is None,
    }


def rows_of(
    incidents: list[dict[str, object]],
    losses: dict[str, float | None] | None = None,
    changes: list[dict[str, object]] | None = None,
    currency: str = "EUR",
    **item: object,
) -> dict[str, dict[str, object]]:
    frame = pl.DataFrame(incidents, schema_overrides={"started_at": TIME, "impact_end_at": TIME, "detected_at": TIME})
    money = [
        {"incident_id": name, "lost_revenue": lost, "currency": currency if lost is not None else None, "journeys": []}
        for name, lost in (losses or {}).items()
    ]
    action = {"action_item_id": "fix", "incident_id": "a-0", "type": "repair", "status": "done", "shipped_at": at(SHIPPED), "service": None}
    deploys = [
        {"change_id": f"c{number}", "kind": "deploy", "result": "success", "is_rollback": False, "rolls_back_change_id": None} | change
        for number, change in enumerate([{"started_at": BEGIN, "service": "other"}, *(changes or [])])
    ]
    given = Inputs(
        incidents=frame.drop("family_id"),
        families=frame.select("incident_id", "family_id"),
        action_items=pl.DataFrame([action | item], schema_overrides={"shipped_at": TIME, "service": pl.String}),
        changes=pl.DataFrame(deploys, schema_overrides={"started_at": TIME, "rolls_back_change_id": pl.String}),
    )
    found = measure_fixes(
        given, AS_OF, pl.DataFrame(money, schema=DERIVED["incident_loss"]) if money else pl.DataFrame(schema=DERIVED["incident_loss"])
    )
    return {str(row["outcome"]): row for row in found}


def many(detected_after: float = 10, minutes_after: float | None = 60) -> list[dict[str, object]]:
    chance = np.random.default_rng(1)
    before = [incident(n, 2 + 8 * n, 60 + chance.uniform(0, 30), 10 + chance.uniform(0, 5)) for n in range(12)]
    return before + [
        incident(20 + n, 102 + 8 * n, minutes_after and minutes_after + chance.uniform(0, 30), detected_after + chance.uniform(0, 0.5))
        for n in range(12)
    ]


def test_the_permutation_test_agrees_with_the_log_rank_test():
    chance = np.random.default_rng(2)
    before, after = chance.lognormal(4, 1, 40), chance.lognormal(3.6, 1, 30)
    open_before, open_after = chance.random(40) < 0.2, chance.random(30) < 0.2
    found = samples.durations(before, open_before, after, open_after)
    sides = [stats.CensoredData.right_censored(*side) for side in ((before, open_before), (after, open_after))]
    assert found.p_value == pytest.approx(stats.logrank(*sides, alternative="less").pvalue, abs=0.01)
    assert (found.censored_before, found.censored_after) == (open_before.sum(), open_after.sum())


def test_open_incidents_are_kept_as_lasting_at_least_so_long():
    before, nobody = np.full(8, 60.0), np.zeros(8, dtype=bool)
    short = np.array([5.0, 5, 5, 5, 5, 5, 500, 500])
    is_open = short > 100
    kept = samples.durations(before, nobody, short, is_open)
    dropped = samples.durations(before, nobody, short[~is_open], is_open[~is_open])
    assert kept.estimate > dropped.estimate
    assert kept.p_value > dropped.p_value
    assert kept.value_after == 5
    none_ended_early = samples.durations(before, nobody, np.array([5.0, 500, 500, 500]), np.array([False, True, True, True]))
    assert none_ended_early.value_after is None


def test_three_against_three_cannot_be_significant():
    found = samples.sizes(np.array([10.0, 11, 12]), np.array([1.0, 2, 3]))
    assert found.p_value == pytest.approx(0.05)
    assert found.sequential > 0.05


def test_shares_use_fishers_test_and_newcombes_interval():
    found = samples.shares(8, 40, 0, 30)
    assert found.p_value == pytest.approx(stats.fisher_exact([[0, 30], [8, 32]], alternative="less").pvalue)
    assert found.difference == pytest.approx(-0.2)
    assert found.difference_low < -0.2 < found.difference_high <= 0


def test_losses_that_turn_negative_stay_inside_their_interval():
    found = samples.sizes(np.array([100.0, 90, 110, 95, 105]), np.array([-5.0, -4, -6, -5, -4]))
    assert found.low <= found.estimate <= found.high
    assert samples.sizes(np.array([-1.0, -2]), np.array([3.0, 4])).estimate is None


def test_a_fix_of_detection_is_judged_by_the_time_to_detect():
    found = rows_of(many(detected_after=1), type="detect")
    assert "recurrence" not in found
    row = found["time_to_detect"]
    assert (row["is_promised"], row["verdict"], row["unit"]) == (True, "effective", "minutes")
    assert row["ci_high"] < 1
    assert row["n_before"] == 11  # the incident that led to it is not counted
    assert found["time_to_recover"]["verdict"] == "too_early"
    assert found["time_to_recover"]["is_promised"] is False


def test_an_incident_open_while_a_fix_ships_is_on_neither_side_of_recovery():
    given = [*many(), incident(50, 99.5, minutes=2 * 1440)]
    row = rows_of(given, type="mitigate")["time_to_recover"]
    assert row["n_before"] == 11
    assert "1 open while it shipped left out" in row["reason"]


def test_incidents_still_open_count_as_censored():
    row = rows_of([*many(), incident(50, 199.0, minutes=None)], type="mitigate")["time_to_recover"]
    assert (row["n_after"], row["n_censored"]) == (13, 1)


def test_losses_need_one_currency_and_leave_unknown_ones_out():
    given = many()
    losses = {str(row["incident_id"]): 100.0 for row in given}
    known = rows_of(given, losses | {"a-3": None})
    assert (known["loss_per_incident"]["n_before"], known["loss_per_incident"]["unit"]) == (10, "EUR")
    assert "1 weeks with a loss that is unknown left out" in known["loss_per_week"]["reason"]
    assert rows_of(given)["loss_per_incident"]["status"] == "not_enough_data"


def test_weekly_loss_cannot_succeed_where_neither_rarer_nor_cheaper_incidents_are_shown():
    chance = np.random.default_rng(3)
    given = many()[:12] + many()[20:]
    row = rows_of(given, {str(one["incident_id"]): float(chance.uniform(90, 110)) for one in given})
    assert row["recurrence"]["verdict"] == "too_early" or row["loss_per_week"]["verdict"] == "effective"
    assert row["loss_per_week"]["p_value_sequential"] == 1.0 or row["recurrence"]["p_value_sequential"] <= 0.05


def test_change_failures_are_those_of_the_fixed_service():
    deploys = [{"started_at": at(1 + n), "service": "web", "change_id": f"d{n}"} for n in range(190)]
    undone = [
        {
            "started_at": at(1.1 + n),
            "service": "web",
            "change_id": f"r{n}",
            "kind": "rollback",
            "is_rollback": True,
            "rolls_back_change_id": f"d{n}",
        }
        for n in range(0, 90, 3)
    ]
    row = rows_of(many(), changes=[*deploys, *undone], service="web")["change_failure_rate"]
    assert (row["n_before"], row["n_after"]) == (99, 91)
    assert row["value_before"] == pytest.approx(30 / 99)
    assert row["verdict"] == "effective"
    nameless = rows_of(many(), changes=deploys)["change_failure_rate"]
    assert (nameless["status"], nameless["verdict"]) == ("unknown", "too_early")
    assert "names no service" in nameless["reason"]


def test_ten_thousand_incidents_and_fifty_fixes_take_less_than_a_minute():
    chance = np.random.default_rng(0)
    days, family = np.sort(chance.uniform(0, 700, 10_000)), chance.integers(0, 400, 10_000)
    rows = [incident(n, float(day), 60, 10, f"f{code}") for n, (day, code) in enumerate(zip(days, family, strict=True))]
    frame = pl.DataFrame(rows, schema_overrides={"started_at": TIME, "impact_end_at": TIME, "detected_at": TIME})
    chosen = chance.integers(1000, 8000, 50)
    items = {
        "action_item_id": [f"x{n}" for n in range(50)],
        "incident_id": [rows[n]["incident_id"] for n in chosen],
        "type": ["prevent"] * 50,
        "status": ["done"] * 50,
        "shipped_at": [rows[n]["started_at"] + timedelta(days=9) for n in chosen],
    }
    given = Inputs(
        incidents=frame.drop("family_id"),
        families=frame.select("incident_id", "family_id"),
        action_items=pl.DataFrame(items, schema_overrides={"shipped_at": TIME}),
    )
    began = time.perf_counter()
    found = measure_fixes(given, BEGIN + timedelta(days=700), pl.DataFrame(schema=DERIVED["incident_loss"]))
    assert len(found) == 350
    assert time.perf_counter() - began < 60
