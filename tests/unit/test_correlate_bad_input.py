"""Promises about input nobody wished for: every incident gets a ranking with `none` and its reason, whatever the rest looks like."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from aftercast.correlation import Inputs, correlate
from tests.unit.correlate_fixture import AS_OF, END, ONSET, SERVICES, START, change, incident, inputs, points, ranked, run

NAMES = [*SERVICES, "unknown", "", None]
name = st.sampled_from(NAMES)
minutes = st.integers(-3 * 1440, 2 * 1440)
QUIET = points().filter(pl.col("bucket_at") >= ONSET - timedelta(hours=6))


def _at(offset: int | None) -> datetime | None:
    return None if offset is None else ONSET + timedelta(minutes=offset)


@st.composite
def changes_of_all_kinds(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Changes at the same moment, without end, in the future, on nothing, twice, or undoing what is not there."""
    return [
        {
            "change_id": draw(st.sampled_from(["c1", "c2", "c3", "c4", "c5", None])),
            "kind": draw(st.sampled_from(["deploy", "rollback", "flag", "provider", "", None])),
            "service": draw(name),
            "environment": draw(st.sampled_from(["production", "", None])),
            "title": draw(st.sampled_from(["Release", "", None])),
            "started_at": _at(draw(st.one_of(st.none(), st.just(-8), minutes))),
            "finished_at": _at(draw(st.one_of(st.none(), minutes))),
            "result": draw(st.sampled_from(["success", "failure", None])),
            "version": draw(st.sampled_from(["1", "2", None])),
            "previous_version": draw(st.sampled_from(["1", "2", None])),
            "rolls_back_change_id": draw(st.sampled_from(["c1", "gone", None])),
        }
        for _ in range(draw(st.integers(0, 12)))
    ]


@st.composite
def worlds(draw: st.DrawFn) -> Inputs:
    """Cycles, calls to oneself, incidents without services or end, telemetry with holes and infinities, or hardly any of it."""
    edges = draw(st.lists(st.tuples(name, name), max_size=12))
    incidents = [
        {
            "incident_id": f"INC-{number}",
            "title": draw(st.sampled_from(["Web fails", "", None])),
            "environment": draw(st.sampled_from(["production", "staging", "", None])),
            "service_origin": draw(name),
            "started_at": _at(draw(st.integers(-60, 60))),
            "impact_end_at": _at(draw(st.one_of(st.none(), minutes))),
        }
        for number in range(draw(st.integers(1, 3)))
    ]
    hit = [
        {
            "incident_id": f"INC-{draw(st.integers(0, 4))}",
            "service": draw(name),
            "role": draw(st.sampled_from(["origin", "impacted", None])),
        }
        for _ in range(draw(st.integers(0, 4)))
    ]
    seen = draw(st.sampled_from(["none", "all", "holes", "two_points", "infinite"]))
    chance = np.random.default_rng(draw(st.integers(0, 99)))
    telemetry = {
        "none": QUIET.clear(),
        "all": QUIET,
        "holes": QUIET.filter(pl.Series(chance.random(QUIET.height) < 0.3)),
        "two_points": QUIET.group_by("service", "metric", maintain_order=True).tail(2),
        "infinite": QUIET.with_columns(
            pl.when(pl.Series(chance.random(QUIET.height) < 0.1)).then(float("inf")).otherwise("value").alias("value")
        ),
    }[seen]
    return Inputs.of(
        {
            "incidents": pl.DataFrame(incidents, infer_schema_length=None),
            "incident_services": pl.DataFrame(hit, schema={"incident_id": pl.String, "service": pl.String, "role": pl.String}),
            "changes": _frame(draw(changes_of_all_kinds())),
            "dependencies": pl.DataFrame(
                [{"environment": "", "caller": caller, "callee": callee} for caller, callee in edges],
                schema={"environment": pl.String, "caller": pl.String, "callee": pl.String},
            ),
            "metric_points": telemetry,
            "services": pl.DataFrame({"service": list(SERVICES), "kind": ["service", None, "service", "", "provider"]}),
        }
    )


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, infer_schema_length=None) if rows else Inputs.of({}).changes


@settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(worlds(), st.integers(0, 9))
def test_every_incident_of_any_world_is_ranked_with_none_and_its_reason(world: Inputs, seed: int) -> None:
    result = correlate(world, AS_OF)
    began = world.incidents.filter(pl.col("started_at") <= AS_OF)["incident_id"]
    assert set(began) <= set(result.candidates["incident_id"])
    for incident_id in began:
        rows = ranked(result, incident_id)
        assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
        assert math.isclose(sum(row["probability"] for row in rows), 1.0, abs_tol=1e-9)
        assert all(0 <= row["probability"] <= 1 for row in rows)
        (none,) = [row for row in rows if row["kind"] == "none"]
        assert none["rationale"]
        assert none["evidence"]
        assert len({(row["kind"], row["candidate_id"]) for row in rows}) == len(rows)
    again = correlate(Inputs(**{each: _shuffled(getattr(world, each), seed) for each in world.__slots__}), AS_OF)
    assert again.candidates.equals(result.candidates)
    assert again.evidence.equals(result.evidence)


def _shuffled(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    return frame.sample(fraction=1.0, shuffle=True, seed=seed) if frame.height else frame


def test_changes_of_the_future_are_no_candidates_and_those_without_end_are() -> None:
    later = change("later", "store", before=-60 * 24)
    open_ended = change("open", "store", finished_at=None)
    rows = run(failing={"store": 0.5, "api": 0.5, "web": 0.4}, changes=[later, open_ended])
    assert "later" not in {row["candidate_id"] for row in rows}
    assert rows[0]["candidate_id"] == "open"


def test_simultaneous_changes_are_told_apart_by_where_they_touched() -> None:
    together = [change(f"c-{service}", service) for service in SERVICES]
    rows = run(failing={"store": 0.5, "api": 0.5, "web": 0.4}, changes=together)
    assert rows[0]["candidate_id"] == "c-store"


def test_twins_share_their_probability() -> None:
    rows = run(failing={"store": 0.5, "api": 0.5, "web": 0.4}, changes=[change("a", "store"), change("b", "store")])
    twins = {row["candidate_id"]: row["probability"] for row in rows if row["kind"] == "change"}
    assert twins["a"] == pytest.approx(twins["b"], abs=2e-6)


def test_of_thousands_of_candidates_the_left_out_are_counted() -> None:
    crowd = [change(f"c{number:04}", SERVICES[number % 5], before=1 + number % 1200) for number in range(2000)]
    result = correlate(inputs(failing={"store": 0.5, "api": 0.5, "web": 0.4}, changes=crowd), AS_OF)
    listed = ranked(result)
    notes = result.evidence.filter(pl.col("check_name") == "candidates_left_out")["why"]
    changes = sum(row["kind"] == "change" for row in listed)
    (note,) = [note for note in notes if "change" in note]
    assert int(note.split()[0]) + changes > 1000
    assert math.isclose(sum(row["probability"] for row in listed), 1.0, abs_tol=1e-9)
    assert "none" in {row["kind"] for row in listed}


def test_an_incident_that_ends_before_it_starts_is_one_of_no_length() -> None:
    rows = run(incidents=[incident(impact_end_at=ONSET - timedelta(hours=5))], failing={"store": 0.5, "api": 0.5, "web": 0.4})
    assert rows[0]["service"] == "store"


def test_an_incident_before_all_telemetry_says_why_nothing_can_be_told() -> None:
    early = START - timedelta(days=30)
    rows = run(incidents=[incident(started_at=early, impact_end_at=early + (END - ONSET))])
    (none,) = [row for row in rows if row["kind"] == "none"]
    assert none["rationale"]


def test_of_one_id_told_differently_the_same_change_counts_in_any_order() -> None:
    twice = [change("c1", "store", version="2"), change("c1", "mail", version="3")]
    cascade = {"store": 0.5, "api": 0.5, "web": 0.4}
    assert run(failing=cascade, changes=twice) == run(failing=cascade, changes=twice[::-1])
