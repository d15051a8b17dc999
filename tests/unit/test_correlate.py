"""Promises of the whole correlation: what may count as evidence, and what every ranking keeps."""

from __future__ import annotations

import math
from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercast.analyses import DERIVED
from aftercast.correlation import Inputs, correlate
from tests.unit.correlate_fixture import (
    AS_OF,
    ONSET,
    SERVICES,
    change,
    incident,
    inputs,
    points,
    probability,
    ranked,
    run,
)

CASCADE = {"store": 0.5, "api": 0.5, "web": 0.4}


def test_tables_have_their_declared_columns_even_when_every_frame_is_empty() -> None:
    for given_inputs in (Inputs.of({}), inputs(failing=CASCADE, changes=[change("c1", "store")])):
        result = correlate(given_inputs, AS_OF)
        for name, table in result.tables().items():
            assert dict(table.schema) == DERIVED[name]
    assert result.candidates.height > 0
    assert result.evidence.height > 0


def test_every_candidate_names_evidence_that_exists() -> None:
    result = correlate(inputs(failing=CASCADE, changes=[change("c1", "store")]), AS_OF)
    named = result.candidates.explode("evidence")["evidence"].drop_nulls()
    assert named.len() > 0
    assert set(named) == set(result.evidence["evidence_id"])
    assert result.evidence["evidence_id"].is_unique().all()


def test_the_order_of_input_rows_changes_nothing() -> None:
    made = inputs(failing=CASCADE, changes=[change("c1", "store"), change("c2", "mail", before=8), change("c3", "web", before=300)])
    first = correlate(made, AS_OF)
    shuffled = Inputs(**{name: getattr(made, name).sample(fraction=1.0, shuffle=True, seed=3) for name in made.__slots__})
    second = correlate(shuffled, AS_OF)
    for name, table in first.tables().items():
        assert table.equals(second.tables()[name])


def test_a_change_on_the_origin_just_before_is_the_likeliest_cause() -> None:
    rows = run(failing=CASCADE, changes=[change("bad", "store"), change("other", "mail"), change("victim", "web")])
    assert rows[0]["candidate_id"] == "bad"
    assert rows[0]["probability"] > 0.8
    assert rows[0]["gap_minutes"] == pytest.approx(8, abs=0.1)
    assert rows[0]["hops"] == 2


def test_nothing_in_another_environment_is_evidence() -> None:
    elsewhere = [change("staging-change", "store", environment="staging")]
    other_points = pl.concat([points(), points({"store": 0.9, "mail": 0.9}, environment="staging")])
    with_staging = run(changes=elsewhere, metric_points=other_points)
    assert with_staging == run(metric_points=points())
    assert probability(with_staging, "staging-change") == 0


def test_none_wins_when_nothing_deviates_and_no_change_is_near() -> None:
    rows = run()
    assert rows[0]["candidate_id"] == "none"
    assert rows[0]["probability"] > 0.5
    assert "none of" in rows[0]["rationale"]
    calm = correlate(inputs(), AS_OF).evidence.filter(pl.col("check_name") == "nothing_deviates")
    assert calm["strength"][0] > 0


def test_a_cause_that_starts_after_the_trouble_is_not_a_candidate() -> None:
    rows = run(failing=CASCADE, changes=[change("late", "store", before=-25)])
    assert probability(rows, "late") == 0


def test_changes_and_points_after_the_as_of_time_are_not_seen() -> None:
    as_of = ONSET + timedelta(minutes=20)
    undo = change("undo", "store", before=-40, kind="rollback", rolls_back_change_id="bad")
    before = ranked(correlate(inputs(failing=CASCADE, changes=[change("bad", "store")]), as_of))
    later = ranked(correlate(inputs(failing=CASCADE, changes=[change("bad", "store"), undo]), as_of))
    assert before == later


def test_an_incident_without_services_telemetry_or_graph_still_gets_none_with_a_reason() -> None:
    bare = Inputs.of({"incidents": pl.DataFrame([{**incident(), "service_origin": None}])})
    rows = ranked(correlate(bare, AS_OF))
    assert [(row["kind"], row["probability"]) for row in rows] == [("none", 1.0)]
    reasons = correlate(bare, AS_OF).evidence["why"].to_list()
    assert any("no telemetry" in why for why in reasons)


def test_excluded_and_future_incidents_are_not_ranked() -> None:
    rows = [incident(), incident("INC-X", exclude_from_metrics=True), incident("INC-F", onset=AS_OF + timedelta(hours=1))]
    result = correlate(inputs(incidents=rows), AS_OF)
    assert set(result.candidates["incident_id"]) == {"INC-1"}


def test_cycles_self_calls_and_unknown_services_do_no_harm() -> None:
    edges = [("web", "api"), ("api", "web"), ("api", "api"), ("api", "store"), ("nobody", "knows")]
    graph = pl.DataFrame([{"environment": "", "caller": caller, "callee": callee} for caller, callee in edges])
    rows = run(failing=CASCADE, dependencies=graph, changes=[change("odd", "unheard-of"), change("bad", "store")])
    assert rows[0]["candidate_id"] == "bad"


def test_thousands_of_changes_are_cut_to_a_list_that_says_so() -> None:
    many = [change(f"c{number:04d}", SERVICES[number % 4], before=number % 1400) for number in range(2000)]
    result = correlate(inputs(failing=CASCADE, changes=many), AS_OF)
    kinds = result.candidates.group_by("kind").len()
    assert dict(kinds.iter_rows())["change"] == 40
    assert result.evidence.filter(pl.col("check_name") == "candidates_left_out").height == 1


def test_a_change_without_times_or_title_is_tolerated() -> None:
    odd = change("bad", "store", title=None, finished_at=None, result=None, version=None)
    assert run(failing=CASCADE, changes=[odd, change("other", "mail")])[0]["candidate_id"] == "bad"


def test_a_human_verdict_does_not_feed_the_ranking_it_judges() -> None:
    verdict = pl.DataFrame([{"incident_id": "INC-1", "subject_kind": "change", "subject_id": "c1", "verdict": "reject"}])
    changes = [change("c1", "store")]
    assert run(failing=CASCADE, changes=changes) == run(failing=CASCADE, changes=changes, verdicts=verdict)


def test_no_sentence_claims_more_than_a_candidate() -> None:
    result = correlate(inputs(failing=CASCADE, changes=[change("c1", "store"), change("c2", "web", before=200)]), AS_OF)
    texts = [*result.candidates["rationale"], *result.evidence["why"]]
    assert len(texts) > 20
    assert not any("root cause" in text.lower() for text in texts)


@settings(max_examples=15, deadline=None)
@given(
    failing=st.dictionaries(st.sampled_from(SERVICES), st.floats(0, 0.9)),
    gaps=st.lists(st.tuples(st.sampled_from(SERVICES), st.floats(-60, 2000)), max_size=6),
    hit=st.sampled_from(["web", "store", "nobody"]),
)
def test_probabilities_sum_to_one_and_never_rise_down_the_ranking(
    failing: dict[str, float], gaps: list[tuple[str, float]], hit: str
) -> None:
    changes = [change(f"c{number}", service, before=before) for number, (service, before) in enumerate(gaps)]
    rows = run(failing=failing, changes=changes, incidents=[incident(service=hit)])
    found = [row["probability"] for row in rows]
    assert math.fsum(found) == pytest.approx(1, abs=1e-12)
    assert all(0 <= value <= 1 for value in found)
    assert found == sorted(found, reverse=True)
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert sum(row["kind"] == "none" for row in rows) == 1
