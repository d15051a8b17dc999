"""Promises of families and similar incidents: stable, forward in time, with reasons; a month later grouped afresh under the same ids."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast.correlation import correlate
from aftercast.correlation import families as grouping
from aftercast.correlation.families import FAMILY_TABLES, Families, families_of, family_tables, similar_rows
from aftercast.correlation.likeness import Gallery, compare
from aftercast.correlation.lineage import family_id, inherit
from aftercast.correlation.portraits import Attempt, Portrait
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
    assert families_of(portraits[:kept]).rows() == families_of(portraits).rows()[:kept]
    known = {one.incident_id for one in portraits[:kept]}
    assert similar_rows(portraits[:kept]) == [row for row in similar_rows(portraits) if row["incident_id"] in known]


@given(PORTRAITS)
def test_likeness_is_symmetric_within_bounds_and_whole_for_twins(portraits: list[Portrait]) -> None:
    left, right = portraits[0], portraits[1]
    assert compare(left, right, {}).similarity == compare(right, left, {}).similarity
    assert 0 <= compare(left, right, {}).similarity <= 1
    assert compare(left, left, {}).similarity > 0.9


def test_the_same_trouble_again_joins_the_family_of_its_first_incident() -> None:
    rows = families_of([portrait(1), portrait(2, place="mail", title="letters lost", services=frozenset({"mail"})), portrait(3)]).rows()
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


# --- grouped afresh every month


def micros(day: int, month: int = 9) -> int:
    return int(datetime(2026, month, day, tzinfo=UTC).timestamp()) * 1_000_000


@given(PORTRAITS)
def test_all_pairs_at_once_give_the_numbers_of_one_pair_at_a_time(portraits: list[Portrait]) -> None:
    gallery, whole = Gallery(portraits), slice(0, len(portraits))
    matrix = gallery.similarities(whole, whole, gallery.rarities(whole))
    for row, one in enumerate(portraits):
        rarity = gallery.rarity_at(row)
        assert matrix[row].tolist() == pytest.approx([compare(one, other, rarity).similarity for other in portraits], abs=2e-6)


def test_a_release_and_a_flag_that_look_alike_are_two_families_when_both_are_sure() -> None:
    flag = portrait(2, change_kind="flag")
    assert compare(portrait(1), flag, {}).similarity < 0.5 < compare(portrait(1), portrait(3), {}).similarity
    unsure = portrait(2, change_kind="flag", certainty=0.3)
    assert compare(portrait(1, certainty=0.3), unsure, {}).similarity > 0.5


def test_ids_stay_when_members_are_mostly_the_same() -> None:
    found = inherit(["a", "a", "a", "b", "b"], [1, 1, 2, 2, 2], lambda group: f"new-{group}")
    assert found.family_of == {1: "a", 2: "b"}
    assert (found.merged, found.split) == ({}, {})


def test_a_merged_family_names_its_successor_and_a_new_one_its_origin() -> None:
    merged = inherit(["a", "a", "b"], [1, 1, 1], str)
    assert (merged.family_of, merged.merged, merged.sizes) == ({1: "a"}, {"b": "a"}, {"b": 1})
    parted = inherit(["a", "a", "a"], [1, 1, 2], lambda group: f"new-{group}")
    assert (parted.family_of, parted.split, parted.sizes) == ({1: "a", 2: "new-2"}, {"new-2": "a"}, {"new-2": 1})


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 4)), min_size=1, max_size=30))
def test_every_group_has_its_own_id_and_every_family_an_heir(rows: list[tuple[str, int]]) -> None:
    before, groups = [row[0] for row in rows], [row[1] for row in rows]
    found = inherit(before, groups, lambda group: f"new-{group}")
    assert sorted(found.family_of) == sorted(set(groups))
    assert len(set(found.family_of.values())) == len(found.family_of)
    assert set(before) == (set(found.family_of.values()) | set(found.merged)) & set("abcd")
    assert set(found.merged.values()) <= set(found.family_of.values())
    assert set(found.split) == {name for name in found.family_of.values() if name.startswith("new-")}


def test_what_a_month_moves_is_on_record_and_before_it_nothing_moved() -> None:
    # The second looks half like the first, and joins; what comes later shows that it belongs to another kind.
    store = portrait(1, started=micros(7))
    between = portrait(2, place="store", kind="service", started=micros(8), certainty=0.35, title="pay slow", services=frozenset({"api"}))
    others = [
        portrait(
            number, place="store", kind="service", started=micros(7 + number), certainty=0.9, title="pay slow", services=frozenset({"api"})
        )
        for number in (3, 4, 5)
    ]
    portraits = [store, between, *others]
    september, october = families_of(portraits, micros(30)), families_of(portraits, micros(1, 10))
    assert {row["how"] for row in september.history} <= {"founded", "joined"}
    assert september.rows()[0]["clustering_version"] == "monthly-families-2"
    assert october.rows()[0]["clustering_version"] == "monthly-families-2@2026-10"
    assert [row for row in october.history if row["how"] != "moved"] == [
        {**row, "valid_until": later["valid_until"]} for row, later in zip(september.history, october.history, strict=False)
    ]
    current = {row["incident_id"]: row["family_id"] for row in october.history if row["valid_until"] is None}
    assert current == {row["incident_id"]: row["family_id"] for row in october.rows()}


def test_two_families_of_the_same_trouble_become_one_when_grouped_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    portraits = [portrait(number, started=micros(number)) for number in (1, 2, 3, 4)]
    alone = families_of(portraits[:1]).rows()[0]["family_id"]
    monkeypatch.setattr(grouping, "_join", lambda families, position, *_: _found(families, position))
    families = families_of(portraits, micros(2, 10))
    assert {row["family_id"] for row in families.rows()} == {alone}
    assert [(row["change"], row["other_family_id"], row["n_incidents"]) for row in families.changes] == [("merged_into", alone, 1)] * 3
    moved = [row for row in families.history if row["how"] == "moved"]
    assert len(moved) == 3
    assert all("grouped afresh" in str(row["reasons"]) and row["valid_from"] == datetime(2026, 10, 1, tzinfo=UTC) for row in moved)


def _found(families: Families, position: int) -> None:
    one = families.gallery.portraits[position]
    families.titles[family_id(one.incident_id)] = "alone"
    families.place(position, family_id(one.incident_id), one.started, "founded", 0.0, ("alone",))


def test_older_members_follow_their_family_when_it_merges(monkeypatch: pytest.MonkeyPatch) -> None:
    portraits = [portrait(number, started=micros(number)) for number in (1, 2, 3, 4)]
    monkeypatch.setattr(grouping, "LOOK_BACK", 3)
    monkeypatch.setattr(grouping, "_join", lambda families, position, *_: _pair(families, position))
    families = families_of(portraits, micros(2, 10))
    assert len({row["family_id"] for row in families.rows()}) == 1


def _pair(families: Families, position: int) -> None:
    one = families.gallery.portraits[position]
    name = "left" if position in (0, 1) else "right"
    families.titles[name] = name
    families.place(position, name, one.started, "joined", 0.0, ("by hand",))


def test_a_fix_counts_where_it_was_tried_and_where_it_worked() -> None:
    worked, failed = Attempt("rollback", "store", True, 12.0), Attempt("rollback", "store", False, 200.0)
    portraits = [portrait(1, attempts=(worked,)), portrait(2, attempts=(failed,)), portrait(3, attempts=(worked,)), portrait(4)]
    tables = family_tables(portraits, 5)
    assert tuple(tables) == FAMILY_TABLES
    fix = tables["family_fixes"].row(0, named=True)
    assert (fix["fix_kind"], fix["service"], fix["worked_n"], fix["tried_n"], fix["minutes_to_end_median"]) == (
        "rollback",
        "store",
        2,
        3,
        12.0,
    )
    fourth = tables["similar_incidents"].filter((pl.col("incident_id") == "INC-4") & (pl.col("similar_incident_id") == "INC-3"))
    assert fourth.select("fix", "fix_worked_n", "fix_tried_n").row(0) == ("rollback on store", 2, 3)
    third = tables["similar_incidents"].filter((pl.col("incident_id") == "INC-3") & (pl.col("similar_incident_id") == "INC-1"))
    assert third.select("fix", "fix_worked_n", "fix_tried_n").row(0) == ("rollback on store", 1, 2)  # what was known when it began


def test_an_incident_without_anything_known_has_a_family_of_its_own() -> None:
    nothing: frozenset[str] = frozenset()
    blank = [portrait(number, "", "none", "", started=micros(number), symptoms=nothing, services=nothing) for number in (1, 2)]
    assert families_of(blank, micros(2, 10)).rows()[0]["family_id"] != families_of(blank, micros(2, 10)).rows()[1]["family_id"]
    assert families_of([], micros(1)).rows() == []
