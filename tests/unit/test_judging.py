"""What people's verdicts leave as the cause of an incident, whatever they say and in whatever order it comes."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercast.correlation.judging import Hearing, Judgement, judgements, words
from aftercast.correlation.ranking import gather
from aftercast.correlation.situation import look
from aftercast.correlation.surroundings import incidents_of, micros, surroundings_of
from tests.unit.correlate_fixture import AS_OF, ONSET, change, inputs

STORE, NONE, UNLISTED = ("change", "c1"), ("none", "none"), ("change", "old")
SCHEMA = {
    **dict.fromkeys(("verdict_id", "incident_id", "subject_kind", "subject_id", "verdict", "origin"), pl.String),
    **{"version": pl.Int64, "confidence": pl.Float64, "decided_at": pl.Datetime("us", "UTC")},
}


@pytest.fixture(scope="module")
def hearing() -> Hearing:
    """An incident whose candidates are a fresh change, services, the provider and none; a change of last week is known, no candidate."""
    known = inputs(failing={"store": 0.5}, changes=[change("c1", "store"), change("old", "mail", before=50 * 60)]).conformed()
    (one,) = incidents_of(known, AS_OF)
    around = surroundings_of("production", known, [one], AS_OF)
    found = Hearing(one, tuple(gather(look(one, around.panel, around.graph, around.as_of), around)), around)
    assert {STORE, NONE} < found.listed
    assert UNLISTED not in found.listed
    return found


def said(verdict: str, key: tuple[str, str], hours: float = 1, **more: Any) -> dict[str, Any]:
    kind, name = key
    return {
        "verdict_id": f"{kind}:{name}",
        "version": 1,
        "incident_id": "INC-1",
        "subject_kind": kind,
        "subject_id": name,
        "verdict": verdict,
        "decided_at": ONSET + timedelta(hours=hours),
        **more,
    }


def judged(hearing: Hearing, *rows: dict[str, Any], by: datetime = AS_OF) -> list[Judgement]:
    return judgements(words(pl.DataFrame(list(rows), schema=SCHEMA)), {"INC-1": hearing}, micros(by))


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        ([said("confirm", STORE)], STORE),
        ([said("other", STORE)], NONE),
        ([said("confirm", ("none", "whatever"))], NONE),
        ([said("confirm", UNLISTED)], NONE),
        ([said("confirm", STORE), said("reject", ("service", "store"))], STORE),
        ([said("confirm", STORE), said("confirm", ("service", "store"), hours=2)], ("service", "store")),
        ([said("confirm", STORE), said("reject", STORE, hours=2, version=2), said("confirm", NONE, hours=0.5)], NONE),
        ([said("reject", STORE, hours=2), said("confirm", STORE, verdict_id="another person's")], None),
        ([said("reject", STORE)], None),
        ([said("reject", NONE), said("other", NONE)], None),
    ],
)
def test_the_newest_word_says_what_it_was(hearing: Hearing, rows: list[dict[str, Any]], cause: tuple[str, str] | None):
    (found,) = judged(hearing, *rows)
    assert found.cause == cause
    assert found.status == ("judged" if cause else "only_rejected")
    rejected = {(row["subject_kind"], row["subject_id"]) for row in rows}
    assert found.possible == (frozenset({cause}) if cause else hearing.listed - rejected)


@pytest.mark.parametrize(
    ("rows", "status", "reason"),
    [
        ([said("confirm", STORE), said("confirm", NONE)], "contradictory", "2 causes were confirmed at the same time"),
        ([said("confirm", ("change", "deleted"))], "no_such_candidate", "not there"),
        ([said("reject", ("service", "sold"))], "no_such_candidate", "no candidate"),
        ([said("confirm", STORE, incident_id="INC-0")], "no_such_incident", "unknown, cancelled or left out"),
        ([said("confirm", STORE, hours=-5)], "before_the_incident", "before the incident began"),
    ],
)
def test_what_cannot_be_used_says_why(hearing: Hearing, rows: list[dict[str, Any]], status: str, reason: str):
    (found,) = judged(hearing, *rows)
    assert (found.status, found.cause, found.n_verdicts) == (status, None, len(rows))
    assert reason in found.reason


def test_all_candidates_rejected_is_a_contradiction_and_all_but_one_names_it(hearing: Hearing):
    everything = sorted(hearing.listed)
    assert judged(hearing, *(said("reject", key) for key in everything))[0].status == "contradictory"
    (found,) = judged(hearing, *(said("reject", key) for key in everything if key != STORE))
    assert (found.status, found.cause) == ("judged", STORE)


def test_programs_alarms_and_words_given_later_are_not_listened_to(hearing: Hearing):
    rows = [said("confirm", STORE, origin="model"), said("confirm", ("anomaly", "a1")), said("confirm", STORE, hours=30)]
    assert judged(hearing, *rows, by=ONSET + timedelta(hours=30)) == []


def test_a_second_thought_counts_from_when_it_was_given(hearing: Hearing):
    rows = [said("confirm", STORE), said("reject", STORE, hours=9, version=2)]
    assert judged(hearing, *rows, by=ONSET + timedelta(hours=8))[0].cause == STORE
    assert judged(hearing, *rows)[0].status == "only_rejected"


KEYS = st.sampled_from([STORE, NONE, UNLISTED, ("service", "store"), ("service", "sold"), ("provider", "card")])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["confirm", "reject", "other"]), KEYS, st.integers(-3, 6), st.integers(1, 3)), min_size=1),
    st.randoms(),
)
def test_whatever_is_said_is_accounted_for_in_whatever_order(
    hearing: Hearing, spoken: list[tuple[str, tuple[str, str], int, int]], chance: random.Random
):
    rows = [
        said(verdict, key, hours, version=version, verdict_id=f"{key}{number}")
        for number, (verdict, key, hours, version) in enumerate(spoken)
    ]
    (found,) = judged(hearing, *rows)
    assert found.n_verdicts == len(rows)
    assert (found.cause is not None) == (found.status == "judged")
    assert found.possible <= hearing.listed
    chance.shuffle(rows)
    assert judged(hearing, *rows) == [found]
