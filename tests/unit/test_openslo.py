"""OpenSLO documents: what is read, and what is refused with its place."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from aftercast.declarations import JourneyRow
from aftercast.errors import ConfigError
from aftercast.openslo import Objective, Part, objectives

JOURNEYS = [
    JourneyRow.model_validate(
        {
            "journey": "shop",
            "title": "Shop",
            "owner_team": "a",
            "currency": "EUR",
            "slo_target": 0.95,
            "steps": [{"step": "cart"}, {"step": "pay"}],
        }
    )
]


def source(count: str, **more: str) -> dict[str, Any]:
    return {"metricSource": {"type": "aftercast", "spec": {"journey": "shop", "count": count, **more}}}


def ratio(**more: str) -> dict[str, Any]:
    return {"ratioMetric": {"counter": True, "good": source("successes", **more), "total": source("attempts", **more)}}


DOCUMENT: dict[str, Any] = {
    "apiVersion": "openslo/v1",
    "kind": "SLO",
    "metadata": {"name": "pay", "displayName": "Paying works"},
    "spec": {
        "service": "shop",
        "budgetingMethod": "Occurrences",
        "timeWindow": [{"duration": "4w", "isRolling": True}],
        "indicator": {"metadata": {"name": "pay"}, "spec": ratio(step="pay", region="eu")},
        "objectives": [{"displayName": "most", "target": 0.99}],
    },
}


def read(folder: Path, *documents: dict[str, Any]) -> tuple[Objective, ...]:
    (folder / "slos.yml").write_text(yaml.safe_dump_all(documents))
    return objectives(folder, JOURNEYS)


def changed(**spec: Any) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    document["spec"] |= spec
    return document


def test_without_documents_journeys_promise_what_they_say(tmp_path: Path):
    (own,) = objectives(tmp_path / "none", JOURNEYS)
    assert (own.slo, own.target, own.window_days, own.method, own.parts) == ("shop", 0.95, 28, "occurrences", (Part("shop"),))


def test_a_document_is_a_promise_beside_them(tmp_path: Path):
    _, found = read(tmp_path, DOCUMENT)
    assert found == Objective("pay", "Paying works", 0.99, "rolling", 28, "occurrences", None, None, (Part("shop", "pay", "eu"),))


def test_targets_in_percent_slices_and_calendar_windows(tmp_path: Path):
    goal = {"targetPercent": 99.5, "timeSliceTarget": 0.9, "timeSliceWindow": "1h"}
    windows = [{"duration": "1Q", "isRolling": False, "calendar": {"startTime": "2026-01-01 00:00:00", "timeZone": "UTC"}}]
    _, found = read(tmp_path, changed(budgetingMethod="Timeslices", timeWindow=windows, objectives=[goal]))
    assert (found.target, found.window, found.method, found.slice_minutes, found.slice_target) == (0.995, "quarter", "timeslices", 60, 0.9)


def test_parts_of_a_composite_have_weights_and_may_name_an_indicator(tmp_path: Path):
    indicator = {"apiVersion": "openslo/v1", "kind": "SLI", "metadata": {"name": "cart"}, "spec": ratio(step="cart")}
    goals = [
        {"target": 0.9, "compositeWeight": 3, "indicatorRef": "cart"},
        {"target": 0.9, "indicator": {"metadata": {"name": "pay"}, "spec": ratio(step="pay")}},
    ]
    document = changed(objectives=goals)
    del document["spec"]["indicator"]
    _, found = read(tmp_path, document, indicator)
    assert [(part.step, part.weight) for part in found.parts] == [("cart", 3.0), ("pay", 1.0)]
    assert found.row()["is_composite"] is True


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({**DOCUMENT, "apiVersion": "v1"}, "expected apiVersion openslo/v1"),
        (changed(budgetingMethod="Occurences"), "did you mean 'Occurrences'"),
        (changed(timeWindow=[{"duration": "1y", "isRolling": True}]), "1d to 90d, found '1y'"),
        (changed(timeWindow=[{"duration": "2M", "isRolling": False}]), "calendar window lasts 1w, 1M, 1Q"),
        (changed(objectives=[{"target": 1}]), "between 0 and 1, both left out"),
        (changed(objectives=[{"target": 0.9}, {"target": 0.99}]), "write an SLO for each target"),
        (changed(objectives=[]), "list with an objective"),
        (changed(budgetingMethod="Timeslices"), "timeSliceWindow must divide a day"),
        (changed(indicator={"spec": ratio(step="pey")}), "no step 'pey'; did you mean 'pay'"),
        (changed(indicator={"spec": ratio(journey="shoop")}), "unknown journey 'shoop'; did you mean 'shop'"),
        (changed(indicator={"spec": ratio(tear="gold")}), "knows no 'tear'; did you mean 'tier'"),
        (changed(indicator={"spec": {"thresholdMetric": source("attempts")}}), "ratioMetric is missing"),
        (changed(indicator={"spec": {"ratioMetric": {"good": source("attempts"), "total": source("attempts")}}}), "count: successes"),
        (
            changed(indicator={"spec": {"ratioMetric": {"good": source("successes", step="pay"), "total": source("attempts")}}}),
            "must count the same attempts",
        ),
        (changed(indicatorRef="nowhere"), "no SLI 'nowhere'"),
        (changed(indicatorRef=["nowhere"]), "no SLI"),
        (changed(indicator=7), "indicator must be a mapping, found int"),
        (changed(indicator={"spec": {"ratioMetric": 7}}), "needs ratioMetric"),
        (changed(indicator={"spec": ratio(journey=["shop"])}), "unknown journey"),
        (changed(indicator={"spec": ratio(step=["pay"])}), "no step"),
        (changed(objectives=["0.9"]), "entry of spec.objectives must be a mapping, found str"),
        (changed(objectives=[{"targetPercent": "high"}]), "targetPercent must be a number, found 'high'"),
        (changed(objectives=[{"targetPercent": 10**400}]), "targetPercent must be a number"),
        (changed(budgetingMethod=["Occurrences"]), "spec.budgetingMethod"),
        (changed(timeWindow=[{"duration": "1M", "calendar": "UTC"}]), "calendar must be a mapping, found str"),
        ({**DOCUMENT, "spec": "all"}, "spec must be a mapping, found str"),
        ({**DOCUMENT, "metadata": {"name": "shop"}}, "'shop' is declared twice"),
        ({**DOCUMENT, "metadata": {}}, "metadata.name is missing"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_place(tmp_path: Path, document: dict[str, Any], said: str):
    with pytest.raises(ConfigError, match=said) as refused:
        read(tmp_path, document)
    assert "slos.yml" in str(refused.value) or str(tmp_path) in str(refused.value)


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path):
    (tmp_path / "broken.yml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"broken\.yml is not readable YAML"):
        objectives(tmp_path, JOURNEYS)
