"""Promises of the ranking: base rates, ties, timing and what undoing a change tells."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast.correlation.findings import Candidate, Finding, timing_density
from aftercast.correlation.ranking import order
from aftercast.correlation.weights import PRIOR_KINDS, Weights, softmax
from tests.unit.correlate_fixture import change, probability, run

CASCADE = {"store": 0.5, "api": 0.5, "web": 0.4}


def test_a_busy_deployer_is_suspected_less_than_one_that_seldom_changes() -> None:
    habit = [change(f"h{hour}", "api", before=8 + 60 * hour) for hour in range(26, 58)]
    busy = {row["candidate_id"]: row for row in run(changes=[change("now", "api"), *habit])}["now"]
    rare = {row["candidate_id"]: row for row in run(changes=[change("now", "api"), change("first", "mail", before=58 * 60)])}["now"]
    assert busy["base_rate_per_hour"] > 2 * rare["base_rate_per_hour"]
    assert busy["lift"] < rare["lift"] / 2
    assert busy["probability"] < rare["probability"]


def test_twins_at_the_same_minute_share_the_probability_in_a_stated_order() -> None:
    rows = run(failing=CASCADE, changes=[change("b", "store"), change("a", "store")])
    assert [row["candidate_id"] for row in rows[:2]] == ["a", "b"]
    assert rows[0]["probability"] == pytest.approx(rows[1]["probability"], abs=1e-5)


def test_of_two_changes_at_the_same_minute_the_one_on_the_hurt_service_gets_most() -> None:
    rows = run(failing={"store": 0.5, "api": 0.4, "web": 0.3}, changes=[change("decoy", "mail"), change("bad", "store")])
    assert probability(rows, "bad") > 10 * probability(rows, "decoy")


def test_an_old_change_is_suspected_less_than_a_fresh_one() -> None:
    fresh = run(failing=CASCADE, changes=[change("c", "store", before=6)])
    old = run(failing=CASCADE, changes=[change("c", "store", before=15 * 60)])
    assert probability(fresh, "c") > probability(old, "c")
    assert probability(old, "store", "service") > probability(fresh, "store", "service")


def test_a_rollback_that_names_the_change_raises_it_above_its_twin() -> None:
    undo = change("undo", "store", before=-40, kind="rollback", rolls_back_change_id="b")
    rows = run(failing=CASCADE, changes=[change("a", "store"), change("b", "store"), undo])
    assert rows[0]["candidate_id"] == "b"
    assert "undone" in rows[0]["rationale"]


def test_a_provider_that_fails_is_preferred_to_the_services_that_call_it() -> None:
    rows = run(failing={"card": 0.8, "api": 0.35, "web": 0.3}, changes=[change("c", "web", before=30)])
    assert (rows[0]["kind"], rows[0]["candidate_id"]) == ("provider", "card")


def test_an_outage_a_provider_announces_is_evidence_about_the_provider_not_a_change() -> None:
    notice = change("notice", "card", kind="provider", title="Elevated errors")
    rows = run(failing={"card": 0.8, "api": 0.35, "web": 0.3}, changes=[notice])
    assert rows[0]["candidate_id"] == "card"
    assert probability(rows, "notice") == 0
    assert "reported Elevated errors" in rows[0]["rationale"]


def test_priors_of_the_kinds_sum_to_one() -> None:
    assert sum(PRIOR_KINDS.values()) == pytest.approx(1)


def test_timing_density_integrates_to_about_one_and_falls_with_the_gap() -> None:
    steps = [hour / 100 for hour in range(7200)]
    assert sum(timing_density(step) for step in steps) / 100 == pytest.approx(1, abs=0.02)
    assert all(timing_density(left) >= timing_density(right) for left, right in pairwise(steps))
    assert timing_density(-0.05) < timing_density(0)


@given(st.lists(st.floats(-40, 40), min_size=1, max_size=60))
def test_rounded_probabilities_sum_to_one(scores: list[float]) -> None:
    found = softmax(sorted(scores, reverse=True))
    assert sum(round(value * 10**6) for value in found) == 10**6
    assert found == sorted(found, reverse=True)
    assert found[-1] >= 0


def test_many_equal_candidates_stay_in_order() -> None:
    found = softmax([0.0] * 61)
    assert found == sorted(found, reverse=True)
    assert max(found) - min(found) <= 2e-6


def test_the_first_candidate_tells_how_far_the_second_is_behind_and_the_others_how_far_they_are() -> None:
    rows = run(failing=CASCADE, changes=[change("bad", "store"), change("old", "store", before=20 * 60)])
    first, second = rows[:2]
    points = round(100 * (first["probability"] - second["probability"]))
    assert f"; next, {points} points behind: " in first["rationale"]
    assert second["rationale"].endswith(f"; {points} points behind the first")
    assert "caused" not in " ".join(row["rationale"] for row in rows).lower()


def test_twins_are_called_as_likely() -> None:
    rows = run(failing=CASCADE, changes=[change("b", "store"), change("a", "store")])
    assert "; as likely: the deploy" in rows[0]["rationale"]
    assert rows[1]["rationale"].endswith("; as likely as the first")


def test_evidence_may_mislead_so_nothing_is_nearly_certain_while_there_is_another_explanation() -> None:
    assert 0.9 < softmax([10.0, 0.0, 0.0])[0] < 0.9999
    assert softmax([8.0, 7.9])[0] < 0.6


def test_weights_reorder_candidates_by_the_same_evidence() -> None:
    alone = (Candidate("service", "api", "api", -2.0), (Finding("saturation", 1.0, "", ""),))
    deploy = (Candidate("change", "c", "api", -2.0), (Finding("change_before_onset", 1.5, "", ""),))
    none = (Candidate("none", "none", "", -2.0), ())
    assert [row.candidate.candidate_id for row in order([alone, deploy, none])] == ["c", "api", "none"]
    told = Weights("w", {"service": 0.2}, {"saturation": 2.0}, usual=0.5)
    assert [row.candidate.candidate_id for row in order([none, alone, deploy], told)] == ["api", "c", "none"]
    often = Weights("w", {"none": 2.0})
    assert order([alone, deploy, none], often)[0].candidate.kind == "none"
