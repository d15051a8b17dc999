"""The gates of the published border: every mart has one, every rule can fail and says why, and people can read what was judged."""

from __future__ import annotations

import json
import random
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

import contracts
from aftercast import quality
from aftercast.cli import app
from aftercast.errors import ConfigError, QualityError
from aftercast.settings import Settings
from tests.unit import test_quality as hand

WITHOUT = {"mart_quality_results": "holds what the gates said, so no gate can judge it; dbt tests its grain and words"}
MARTS = contracts.mart_shapes()
T = datetime(2026, 9, 1, 10, tzinfo=UTC)
VALUES: dict[str, list[Any]] = {
    "varchar": ["", "x", "burning", "unknown", "quantified", None],
    "double": [-1.0, 0.0, 0.5, 1.0, 2.0, 60.0, None],
    "bigint": [-1, 0, 1, 2, 9, None],
    "boolean": [True, False, None],
    "timestamp with time zone": [T, T + timedelta(hours=1), T - timedelta(days=1), None],
    "date": [T.date(), (T + timedelta(days=7)).date(), None],
}
TRIES = 2000
KINDS = {
    "varchar": pl.String,
    "double": pl.Float64,
    "bigint": pl.Int64,
    "boolean": pl.Boolean,
    "timestamp with time zone": pl.Datetime("us", "UTC"),
    "date": pl.Date,
}


def kind(data_type: str) -> str:
    return {"decimal": "double", "timestamp": "timestamp with time zone"}.get(re.split(r"\W|tz", data_type)[0], data_type)


def schema(mart: str) -> dict[str, Any]:
    columns = MARTS[mart]["columns"]
    return {name: KINDS.get(kind(one), pl.List(pl.String)) for name, one in columns.items()}


def tried(of: str, words: list[str]) -> list[Any]:
    return [*VALUES.get(of, [None]), *(words * 2 if of == "varchar" else [])]


def breaking(mart: str, condition: str) -> pl.DataFrame:
    """A row of a mart for which a condition holds, found by trying values of its columns and the words of the condition."""
    columns = MARTS[mart]["columns"]
    named = [column for column in columns if column in condition]
    chance, words = random.Random(condition), re.findall(r"'([^']*)'", condition)
    whole = schema(mart)
    tries = {column: [chance.choice(tried(kind(columns[column]), words)) for _ in range(TRIES)] for column in named}
    frame = pl.DataFrame(tries, schema={column: whole[column] for column in named})
    found = frame.filter(pl.sql_expr(condition).fill_null(False)).head(1)
    return found.select(pl.col(column) if column in named else pl.lit(None, dtype=one).alias(column) for column, one in whole.items())


def test_every_mart_has_a_suite_or_a_reason_to_have_none():
    missing = sorted(MARTS.keys() - set(quality.published_marts()) - WITHOUT.keys())
    assert not missing, f"write expectations/published__<mart>.json for {', '.join(missing)}: ranges, parts and wholes, each with `then`"
    assert set(quality.published_marts()) <= MARTS.keys(), "a suite for a mart that is gone"


BROKEN_ELSEWHERE = set(hand.GOOD)
"""Marts whose rules tests/unit/test_quality.py breaks one by one."""
PLAIN = [
    (mart, name)
    for mart in quality.published_marts()
    for name in quality.load_suite(f"published__{mart}").violations
    if mart not in BROKEN_ELSEWHERE and not quality.load_suite(f"published__{mart}").grain
]


def test_every_rule_can_be_broken():
    unbreakable = []
    for mart, name in PLAIN:
        suite = quality.load_suite(f"published__{mart}")
        found = breaking(mart, suite.violations[name])
        if found.is_empty() or not quality.summarise(suite, found.lazy())[name][0]:
            unbreakable.append(f"{mart}.{name}")
    assert len(PLAIN) > 70
    assert unbreakable == []


@pytest.mark.parametrize("mart", sorted({"mart_dora", "mart_response", "mart_slo_burn", "mart_insight_effects", "mart_families"}))
def test_a_broken_rule_holds_the_mart_back_and_says_why(mart: str):
    suite = quality.load_suite(f"published__{mart}")
    name, condition = next(iter(suite.violations.items()))
    told: list[dict[str, Any]] = []
    with pytest.raises(QualityError) as caught:
        quality.check_published(mart, breaking(mart, condition), keep=told.extend)
    (expectation,) = [one for one in suite.expectations if one.kwargs.get("column") == name]
    assert name in str(caught.value) and expectation.then in str(caught.value)
    (failed,) = [one for one in told if name in one["expectation"]]
    assert (failed["status"], failed["reason"], failed["severity"]) == ("failed", expectation.then, expectation.severity)
    assert [one["position"] for one in told] == list(range(1, len(suite.expectations) + 1))


def test_an_empty_mart_passes_every_gate():
    for mart in ("mart_dora", "mart_insights", "mart_search_words"):
        assert quality.check_published(mart, pl.DataFrame(schema=schema(mart))) == []


def test_data_docs_show_every_suite_with_what_was_seen_and_why_it_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = Settings(home=tmp_path / "home", config=Path("config").resolve())
    with pytest.raises(ConfigError, match="run `aftercast run` first"):
        quality.data_docs(place)
    quality.check_published("mart_dora", pl.DataFrame(schema=schema("mart_dora")), results=place.home / "quality")
    suite = quality.load_suite("published__mart_families")
    with pytest.raises(QualityError):
        bad = breaking("mart_families", suite.violations["empty_family"])
        quality.check_published("mart_families", bad, results=place.home / "quality")
    (place.home / "quality" / "docs").mkdir()
    (place.home / "quality" / "docs" / "published__gone.html").write_text("old")
    monkeypatch.setenv("AFTERCAST_HOME", str(place.home))
    said = CliRunner().invoke(app, ["quality"])
    assert said.exit_code == 0 and "docs/index.html" in said.output.replace("\n", "")
    docs = place.home / "quality" / "docs"
    assert sorted(path.name for path in docs.iterdir()) == ["index.html", "published__mart_dora.html", "published__mart_families.html"]
    index, page = (docs / "index.html").read_text(), (docs / "published__mart_families.html").read_text()
    assert index.index("mart_families") < index.index("mart_dora"), "what failed comes first"
    assert "A family without incidents is none" in index and "A family without incidents is none" in page
    assert "empty_family" in page
    assert json.loads((place.home / "quality" / "published__mart_dora.json").read_text())["results"]
