"""Weights learned from verdicts: towards what people confirmed, never far on little, and blind to what was said later."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.optimize import check_grad

from aftercast.correlation import Correlation, correlate, learned
from aftercast.correlation.findings import Candidate, Finding
from aftercast.correlation.learned import LEAST_CASES, Case, learn, numbers_of
from aftercast.correlation.weights import PRIOR, PRIOR_KINDS
from aftercast.declarations import RankerRow
from tests.unit.correlate_fixture import ONSET, change, incident, inputs

RANKERS = (RankerRow(version="live", state="live"), RankerRow(version="taught", state="shadow", weights="learned"))


def case(number: int, *, true: str = "b", **more: Any) -> Case:
    """Two changes: `a` by the check that shouts, `b` by the one that whispers."""
    rows = []
    for name, check, strength in (("a", "shouts", 1.5), ("b", "whispers", 1.0)):
        rows.append((Candidate("change", name, "api", math.log(0.35)), (Finding(check, strength, "", ""),)))
    rows.append((Candidate("none", "none", "", math.log(0.11)), ()))
    possible = frozenset({("none", "none") if true == "none" else ("change", true)})
    return Case(f"INC-{number:03d}", tuple(rows), more.pop("possible", possible), **more)


def test_too_few_known_causes_leave_the_prior():
    assert learn([case(number) for number in range(LEAST_CASES - 1)], "w") is PRIOR
    assert learn([], "w") is PRIOR


def test_the_check_that_was_right_gains_on_the_one_that_was_not():
    weights = learn([case(number) for number in range(60)], "w")
    assert weights.checks["whispers"] > weights.checks["shouts"]
    assert weights.learned_from_n == 60


def test_a_kind_that_people_confirm_more_often_than_expected_rises():
    weights = learn([case(number, true="none") for number in range(60)], "w")
    assert weights.kinds["none"] > 0.5
    assert weights.kinds["change"] < 0


def test_with_few_verdicts_weights_stay_near_the_prior_and_with_many_they_move():
    few, many = (learn([case(number) for number in range(n)], "w") for n in (LEAST_CASES, 400))
    assert 1 < few.checks["whispers"] < many.checks["whispers"]


def test_no_check_is_ever_counted_against_what_it_speaks_for():
    weights = learn([case(number) for number in range(2000)], "w")
    assert all(value >= 0 for value in weights.checks.values())


def test_weights_do_not_depend_on_the_order_of_cases_or_candidates():
    cases = [case(number, true="b" if number % 3 else "a") for number in range(40)]
    turned = [Case(one.incident_id, one.candidates[::-1], one.possible, one.weight) for one in reversed(cases)]
    assert learn(cases, "w") == learn(turned, "w")


def test_rejections_teach_beside_known_causes():
    known = [case(number, true="a" if number % 2 else "b") for number in range(LEAST_CASES)]
    not_a = frozenset({("change", "b"), ("none", "none")})
    told = learn([*known, *(case(100 + number, possible=not_a) for number in range(40))], "w")
    assert told.checks["shouts"] < learn(known, "w").checks["shouts"]


def test_an_unsure_verdict_counts_less():
    sure, unsure = (learn([case(number, weight=weight) for number in range(60)], "w") for weight in (1.0, 0.2))
    assert PRIOR.usual < unsure.checks["whispers"] < sure.checks["whispers"]


def test_the_gradient_is_that_of_the_loss():
    tables = [learned._table(case(number, true="a" if number % 3 else "none"), ["shouts", "whispers"]) for number in range(5)]
    point = np.random.default_rng(1).normal(0, 0.3, len(PRIOR_KINDS) + 3)
    error = check_grad(lambda x: learned._loss(x, tables)[0], lambda x: learned._loss(x, tables)[1], point)
    assert error < 1e-4


def test_numbers_name_their_part_and_the_prior():
    rows = numbers_of(learn([case(number) for number in range(30)], "w"))
    assert {part for part, *_ in rows} == {"kind", "check"}
    assert {(name, prior) for part, name, _, prior in rows if part == "check"} == {("", 1.0), ("shouts", 1.0), ("whispers", 1.0)}


# --- in the pipeline ---------------------------------------------------------------------------------------------------------------------

DAYS = 42


def history(verdicts: Sequence[dict[str, Any]]) -> Correlation:
    """Six weeks with an incident a day, each minutes after a change of the service it names; nothing else is known of them."""
    onsets = [ONSET + timedelta(days=day) for day in range(DAYS)]
    rows = [incident(f"INC-{day:02d}", onset=onset, service="api") for day, onset in enumerate(onsets)]
    changes = [change(f"c{day:02d}", "api", onset=onset) for day, onset in enumerate(onsets)]
    frames = {"verdicts": pl.DataFrame(list(verdicts))} if verdicts else {}
    given = inputs(incidents=rows, changes=changes, **frames)
    return correlate(given, ONSET + timedelta(days=DAYS + 1), RANKERS)


def none_of_them(day: int, verdict: str = "confirm") -> dict[str, Any]:
    decided = ONSET + timedelta(days=day, hours=20)
    subject = {"subject_kind": "none", "subject_id": "none", "verdict": verdict}
    return {"verdict_id": f"v{day}", "version": 1, "incident_id": f"INC-{day:02d}", "decided_at": decided, "origin": "human", **subject}


def chance_of_none(candidates: pl.DataFrame) -> dict[str, float]:
    return dict(candidates.filter(pl.col("kind") == "none").select("incident_id", "probability").iter_rows())


@pytest.fixture(scope="module")
def taught() -> Correlation:
    return history([none_of_them(day) for day in range(DAYS)])


def test_learned_weights_rank_only_incidents_of_later_weeks(taught: Correlation):
    live, shadow = chance_of_none(taught.candidates), chance_of_none(taught.ranked_in_shadow)
    raised = sorted(name for name, value in shadow.items() if value > live[name])
    # The first Monday after the twentieth verdict (of 13 October) is 19 October, day 26: ONSET is Wednesday, 23 September.
    assert raised == [f"INC-{day:02d}" for day in range(26, DAYS)]
    assert all(shadow[name] == live[name] for name in shadow if name not in raised)
    assert taught.ranked_in_shadow.filter(pl.col("incident_id") == "INC-41")["learned_from_n"].unique().to_list() == [39]


def test_nothing_said_later_changes_how_an_incident_was_ranked(taught: Correlation):
    early = history([none_of_them(day) for day in range(DAYS - 8)])
    before = [f"INC-{day:02d}" for day in range(33)]
    for table in ("candidates", "ranked_in_shadow"):
        both = [getattr(found, table).filter(pl.col("incident_id").is_in(before)) for found in (early, taught)]
        assert both[0].height > 0
        assert both[0].equals(both[1])


def test_a_shadow_changes_nothing_that_others_read(taught: Correlation):
    alone = history([])
    for name in ("candidates", "evidence", "similar_incidents"):
        assert getattr(taught, name).equals(getattr(alone, name))


def test_every_version_is_judged_on_every_incident_people_judged(taught: Correlation):
    judged = taught.judged_rankings
    assert dict(judged.group_by("ranker_version").len().iter_rows()) == {"live": DAYS, "taught": DAYS}
    assert set(judged["status"]) == {"judged"}
    late = judged.filter(pl.col("incident_id") == "INC-41")
    brier = dict(late.select("ranker_version", "brier").iter_rows())
    assert brier["taught"] < brier["live"]
    assert late.filter(pl.col("ranker_version") == "taught")["weights_version"].item() in set(taught.ranker_weights["weights_version"])


def test_verdicts_that_only_reject_or_name_what_is_gone_teach_nothing_and_break_nothing():
    gone = {**none_of_them(3), "incident_id": "INC-99", "verdict_id": "gone"}
    found = history([*(none_of_them(day, "reject") for day in range(DAYS)), gone])
    assert chance_of_none(found.ranked_in_shadow) == chance_of_none(found.candidates)
    assert dict(found.judged_rankings.group_by("status").len().iter_rows()) == {"only_rejected": 2 * DAYS, "no_such_incident": 2}
    assert found.ranker_weights.is_empty()
