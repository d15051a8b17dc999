"""Shapes that others rely on: no change without a version, no breaking change as a small one, none without a word to readers."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import contracts
from aftercast.settings import PROJECT

CHANGELOG = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_landing_entity_or_mart_changed_without_a_version_and_a_line_in_the_changelog():
    now = contracts.shapes()
    assert len(now["landing"]) > 10 and len(now["marts"]) > 40
    found = contracts.problems(now, {kind: contracts.recorded(kind) for kind in now}, CHANGELOG)
    assert not found, "\n".join(found)


SHAPE: dict[str, Any] = {"columns": {"a": "String", "b": "Int64"}, "key": ["a"], "required": ["a"], "choices": {"b": ["x", "y"]}}


def shape(**given: Any) -> dict[str, Any]:
    return copy.deepcopy(SHAPE) | given


ADDED = [
    (shape(columns={**SHAPE["columns"], "c": "String"}), "column c is new"),
    (shape(required=[]), "column a may be empty now"),
    (shape(choices={"b": ["x", "y", "z"]}), "b may also be z"),
    (shape(choices={}), "b may hold any value now"),
    (shape(columns={"b": "Int64", "a": "String"}), ""),
]
BROKEN = [
    (shape(columns={"a": "String"}, choices={}), "column b is gone"),
    (shape(columns={**SHAPE["columns"], "b": "Float64"}), "column b is Float64, was Int64"),
    (shape(columns={**SHAPE["columns"], "c": "String"}, required=["a", "c"]), "column c is new and must be filled"),
    (shape(required=["a", "b"]), "column b must be filled now"),
    (shape(key=["a", "b"]), "the key is a, b, was a"),
    (shape(choices={"b": ["x"]}), "b may not be y any more"),
]


def known(of: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {"landing": contracts.updated({"t": of}, {})}


@pytest.mark.parametrize(("new", "said", "version"), [(*one, "1.1") for one in ADDED[:-1]] + [(*one, "2.0") for one in BROKEN])
def test_a_change_is_told_apart_and_says_what_to_do(new: dict[str, Any], said: str, version: str):
    (problem,) = contracts.problems({"landing": {"t": new}}, known(SHAPE), "")
    assert said in problem and f"makes it {version}" in problem and f"`landing/t {version}` to CHANGELOG.md" in problem
    assert ("breaking" in problem) == (version == "2.0")
    after = {"landing": contracts.updated({"t": new}, known(SHAPE)["landing"])}
    assert after["landing"]["t"]["version"] == version
    assert "CHANGELOG.md has no line" in contracts.problems({"landing": {"t": new}}, after, "")[0]
    assert contracts.problems({"landing": {"t": new}}, after, f"- landing/t {version}: new") == []


def test_a_new_table_and_one_that_is_gone_are_told():
    assert "has no contract" in contracts.problems({"landing": {"t": SHAPE, "u": SHAPE}}, known(SHAPE), "")[0]
    assert "landing/t is gone" in contracts.problems({"landing": {}}, known(SHAPE), "")[0]


def test_a_shape_edited_by_hand_under_its_version_is_seen():
    forged = known(SHAPE)
    new = shape(columns={"a": "String"}, choices={})
    forged["landing"]["t"]["shape"] = new
    assert "was edited under version 1.0" in contracts.problems({"landing": {"t": new}}, forged, "")[0]


def test_a_breaking_change_that_calls_itself_small_is_seen():
    new = BROKEN[0][0]
    forged = known(SHAPE)
    history = {"1.0": contracts.fingerprint(SHAPE), "1.1": contracts.fingerprint(new)}
    forged["landing"]["t"] = {"version": "1.1", "shape": new, "before": SHAPE, "history": history}
    assert "it must be 2.0" in contracts.problems({"landing": {"t": new}}, forged, "landing/t 1.1")[0]
