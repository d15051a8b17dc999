"""Promises of families and similar incidents: stable, forward in time, with reasons."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from aftercast.correlation import correlate
from aftercast.correlation.families import Portrait, compare, family_id, family_rows, similar_rows
from tests.unit.correlate_fixture import AS_OF, ONSET, START, change, incident, inputs, points


def portrait(number: int, place: str = "store", kind: str = "change", title: str = "store fails", **other: object) -> Portrait:
    given_fields: dict[str, object] = {
        "incident_id": f"INC-{number}",
        "started": number,
        "kind": kind,
        "change_kind": "deploy" if kind == "change" else "",
        "place": place,
        "certainty": 0.9,
        "symptoms": frozenset({(place, "failures"), ("web", "failures")}),
        "services": frozenset({"web"}),
        "title": frozenset(title.split()),
        "trigger": "",
        "fixed_by": None,
        **other,
    }
    return Portrait(**given_fields)  # type: ignore[arg-type]


PORTRAITS = st.lists(
    st.tuples(
        st.sampled_from(["store", "api", "mail"]),
        st.sampled_from(["change", "service", "none"]),
        st.sampled_from(["slow pay", "pay fails", "mail"]),
    ),
    min_size=2,
    max_size=14,
).map(lambda rows: [portrait(number, place, kind, title) for number, (place, kind, title) in enumerate(rows)])


@given(PORTRAITS, st.data())
def test_later_incidents_never_move_earlier_ones(portraits: list[Portrait], data: st.DataObject) -> None:
    kept = data.draw(st.integers(1, len(portraits)))
    assert family_rows(portraits[:kept]) == family_rows(portraits)[:kept]
    known = {one.incident_id for one in portraits[:kept]}
    assert similar_rows(portraits[:kept]) == [row for row in similar_rows(portraits) if row["incident_id"] in known]


@given(PORTRAITS)
def test_likeness_is_symmetric_within_bounds_and_whole_for_twins(portraits: list[Portrait]) -> None:
    left, right = portraits[0], portraits[1]
    assert compare(left, right, {}).similarity == compare(right, left, {}).similarity
    assert 0 <= compare(left, right, {}).similarity <= 1
    assert compare(left, left, {}).similarity > 0.9


def test_the_same_trouble_again_joins_the_family_of_its_first_incident() -> None:
    rows = family_rows([portrait(1), portrait(2, place="mail", title="letters lost", services=frozenset({"mail"})), portrait(3)])
    assert [row["family_id"] for row in rows] == [family_id("INC-1"), family_id("INC-2"), family_id("INC-1")]
    assert rows[2]["family_title"] == "store: failures after a deploy"
    assert any("same likely cause" in reason for reason in rows[2]["reasons"])  # type: ignore[attr-defined]


def test_only_earlier_incidents_are_similar() -> None:
    rows = similar_rows([portrait(1), portrait(2), portrait(3)])
    assert {(row["incident_id"], row["similar_incident_id"]) for row in rows} == {
        ("INC-2", "INC-1"),
        ("INC-3", "INC-2"),
        ("INC-3", "INC-1"),
    }


def test_a_similar_incident_tells_what_fixed_it() -> None:
    first, second = ONSET - timedelta(hours=24), ONSET
    telemetry = points({"store": 0.5, "web": 0.3}, onset=first)
    again = points({"store": 0.5, "web": 0.3}, onset=second)
    both = telemetry.with_columns(
        pl.when(pl.col("bucket_at") > START + timedelta(days=2)).then(again["value"]).otherwise(pl.col("value")).alias("value")
    )
    changes = [
        change("bad", "store", onset=first),
        change("undo", "store", before=-40, kind="rollback", onset=first, rolls_back_change_id="bad", title="Roll back store"),
        change("bad-again", "store", onset=second),
    ]
    result = correlate(
        inputs(incidents=[incident("INC-1", onset=first), incident("INC-2", onset=second)], changes=changes, metric_points=both), AS_OF
    )
    row = result.similar_incidents.row(0, named=True)
    assert (row["incident_id"], row["similar_incident_id"]) == ("INC-2", "INC-1")
    assert "Roll back store" in row["fixed_by"]
    assert result.families["family_id"].n_unique() == 1


def test_family_ids_stay_when_later_incidents_arrive() -> None:
    rows = [
        incident("INC-1", onset=ONSET - timedelta(hours=9)),
        incident("INC-2", onset=ONSET - timedelta(hours=5), service="mail", title="Mail lost"),
    ]
    before = correlate(inputs(incidents=rows), AS_OF).families
    after = correlate(inputs(incidents=[*rows, incident("INC-3")]), AS_OF).families
    assert before.equals(after.filter(pl.col("incident_id") != "INC-3"))


def test_a_done_action_item_is_what_fixed_an_incident_without_a_rollback() -> None:
    first = ONSET - timedelta(hours=24)
    rows = [incident("INC-1", onset=first), incident("INC-2")]
    items = pl.DataFrame([{"action_item_id": "A-1", "incident_id": "INC-1", "title": "Cap the pool", "status": "done"}])
    result = correlate(inputs(incidents=rows, action_items=items), AS_OF)
    assert result.similar_incidents["fixed_by"].to_list() == ["action done: Cap the pool"]
