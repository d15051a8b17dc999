"""Service level objectives of the small company: budgets by attempts and by slices, composites, burn, and what responding cost."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.warehouse.conftest import Query


def test_a_budget_is_what_the_promise_allows_and_what_went(ask: Query):
    (row,) = ask("select * from marts.mart_slo_health where slo = 'checkout' and is_latest").to_dicts()
    assert (row["window_good"], row["window_total"], row["window_days_n"]) == (850, 900, 3)
    assert (row["budget_total"], row["budget_used"]) == (pytest.approx(90), 50)
    assert row["budget_left_ratio"] == pytest.approx(1 - 50 / 90)
    assert (row["status"], row["burn_rate"]) == ("kept", pytest.approx(40 / 300 / 0.1))


def test_slices_count_once_however_many_attempts_they_hold(ask: Query):
    rows = ask("select day, good, total, window_total, status from marts.mart_slo_health where slo = 'pay-slices' order by day").rows()
    assert [row[1:] for row in rows] == [(1, 1, 1, "not_enough_traffic"), (1, 1, 2, "not_enough_traffic"), (0, 1, 1, "not_enough_traffic")]


def test_a_calendar_window_begins_anew_on_its_first_day(ask: Query):
    rows = ask("select day, window_start_day from marts.mart_slo_health where slo = 'pay-slices' order by day").rows()
    assert [f"{first:%a %d}" for _, first in rows] == ["Mon 07", "Mon 07", "Mon 14"]


def test_a_composite_is_the_weighted_mean_of_its_parts(ask: Query):
    (row,) = ask("select * from marts.mart_slo_health where slo = 'both' and is_latest").to_dicts()
    assert row["share"] == pytest.approx((1 * 1.0 + 3 * 0.6) / 4)
    assert row["window_share"] == pytest.approx((1 * 1.0 + 3 * 250 / 300) / 4)
    assert (row["good"], row["budget_total"]) == (None, None)


def test_burn_thresholds_are_rescaled_to_the_window_and_old_data_is_called_late(ask: Query):
    rows = {row["rule"]: row for row in ask("select * from marts.mart_slo_burn where slo = 'checkout'").to_dicts()}
    assert {rule: round(row["threshold"], 2) for rule, row in rows.items()} == {
        "page_1h": 13.44,
        "page_6h": 5.6,
        "ticket_1d": 2.8,
        "ticket_3d": 0.93,
    }
    assert rows["page_1h"]["status"] == "unreachable", "nothing burns ten times a budget of a tenth"
    assert {rows[rule]["status"] for rule in ("page_6h", "ticket_1d", "ticket_3d")} == {"late_data"}
    assert rows["ticket_1d"]["days_to_empty"] == pytest.approx(28 / (4 / 3))


def test_severity_by_impact_and_the_cost_of_responding_stand_beside_what_people_said(ask: Query):
    (row,) = ask("select * from marts.mart_incidents where incident_id = 'INC-1'").to_dicts()
    assert (row["severity_by_impact"], row["days_of_revenue_lost"]) == ("sev1", pytest.approx(120.10 / 95))
    assert (row["responders_n"], row["response_hours"]) == (1, 0.25)
    assert (row["response_cost"], row["response_currency"]) == (Decimal("100.00"), "EUR"), "a quarter of an hour and the review"
    (quiet,) = ask("select severity_by_impact, responders_n, response_cost from marts.mart_incidents where incident_id = 'INC-2'").rows()
    assert quiet == (None, None, None), "null is not zero"


def test_an_incident_ate_of_the_budget_what_failed_while_it_lasted(ask: Query):
    rows = {row["slo"]: row for row in ask("select * from marts.mart_incident_slo where incident_id = 'INC-1'").to_dicts()}
    checkout = rows["checkout"]
    assert (checkout["units"], checkout["bad_units"], checkout["minutes_n"], checkout["is_shared"]) == (300, 40, 5, False)
    assert checkout["usual_bad_units"] == pytest.approx(300 * 10 / 600)
    assert checkout["budget_share"] == pytest.approx(40 / 90)
    assert checkout["budget_share_beyond_usual"] == pytest.approx(35 / 90)
    assert (rows["pay-slices"]["status"], rows["pay-slices"]["budget_share"]) == ("not_enough_traffic", None)
    most = "select slo_most_eaten, slo_budget_share from marts.mart_incidents where incident_id = 'INC-1'"
    assert ask(most).rows() == [("both", pytest.approx(3 * (40 / 300) / 4 / 0.2))]


def test_cohorts_add_up_to_the_impact_of_their_segments(ask: Query):
    rows = ask(
        "select cohort, segments_quantified_n, lost_revenue from marts.mart_incident_cohorts where incident_id = 'INC-1' order by 1"
    ).rows()
    assert rows == [("eu", 1, Decimal("100.10")), ("us", 0, Decimal("20.00"))]
