"""The demo company keeps its promises as a source: same rows for the same window, however time is cut, and no causes in them."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aftercast.declarations import SourceRow
from aftercast.entities import ENTITIES
from aftercast.errors import ConfigError
from aftercast.settings import PROJECT, Settings, load_deployment
from aftercast.sources import demo, open_source
from aftercast.sources.demo import truth as truth_module
from aftercast.window import Window

EVERYTHING = (*demo.POINTS, "service_edges", *demo.RECORDS)
SOURCE = demo.DemoSource(seed=7, entities=frozenset(EVERYTHING))
HISTORY = Window.parse("2026-09-21", "2026-11-16")
BUSY = Window.parse("2026-10-12", "2026-10-15")
"""Three days with several incidents."""


def rows_of(*windows: Window, source: demo.DemoSource = SOURCE) -> dict[str, pl.DataFrame]:
    """Extract windows in turn and keep the last version of each key, as landing does."""
    found: dict[str, list[pl.DataFrame]] = {}
    for window in windows:
        for batch in source.extract(window):
            found.setdefault(batch.entity, []).append(batch.frame)
    return {
        entity: pl.concat(frames).unique(subset=list(ENTITIES[entity].key), keep="last").sort(ENTITIES[entity].key)
        for entity, frames in found.items()
    }


@pytest.fixture(scope="module")
def busy() -> dict[str, pl.DataFrame]:
    return rows_of(BUSY)


def test_same_window_gives_same_rows(busy: dict[str, pl.DataFrame]) -> None:
    again = rows_of(BUSY)
    assert set(again) == set(busy)
    assert all(again[entity].equals(busy[entity]) for entity in busy)


FINGERPRINT = """
import hashlib, sys
from aftercast.sources import demo
from aftercast.window import Window
digest = hashlib.sha256()
source = demo.DemoSource(7, frozenset((*demo.POINTS, "service_edges", *demo.RECORDS)))
for batch in source.extract(Window.parse("2026-10-13", "2026-10-14")):
    digest.update(batch.entity.encode() + batch.frame.write_json().encode())
print(digest.hexdigest())
"""


def test_another_process_gets_the_same_rows() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", FINGERPRINT], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(outputs.pop().strip()) == 64


def test_another_seed_is_another_history(busy: dict[str, pl.DataFrame]) -> None:
    other = rows_of(BUSY, source=demo.DemoSource(seed=8, entities=frozenset(["incidents", "journey_kpis"])))
    assert not other["journey_kpis"]["attempts"].equals(busy["journey_kpis"]["attempts"])
    assert not other["incidents"]["started_at"].equals(busy["incidents"]["started_at"])


@given(hour=st.integers(1, 71))
@hypothesis_settings(max_examples=12, deadline=None)
def test_cutting_a_window_at_any_hour_changes_nothing(hour: int) -> None:
    cut = BUSY.start + timedelta(hours=hour)
    whole = rows_of(BUSY)
    parts = rows_of(Window(BUSY.start, cut), Window(cut, BUSY.end))
    for entity, frame in whole.items():
        assert parts[entity].equals(frame), entity


def test_hour_by_hour_ends_in_the_same_records() -> None:
    source = demo.DemoSource(seed=7, entities=frozenset(demo.RECORDS))
    day = Window.parse("2026-10-13", "2026-10-14")
    hours = [Window(day.start + timedelta(hours=hour), day.start + timedelta(hours=hour + 1)) for hour in range(24)]
    whole, parts = rows_of(day, source=source), rows_of(*hours, source=source)
    assert {"changes", "alerts", "incidents"} <= set(whole)
    for entity, frame in whole.items():
        assert parts[entity].equals(frame), entity


def test_points_of_two_windows_never_share_a_key() -> None:
    cut = BUSY.start + timedelta(hours=30)
    for entity in demo.POINTS:
        source = demo.DemoSource(seed=7, entities=frozenset([entity]))
        frames = [batch.frame for window in (Window(BUSY.start, cut), Window(cut, BUSY.end)) for batch in source.extract(window)]
        rows = pl.concat(frames)
        assert rows.height > 0
        assert not rows.select(ENTITIES[entity].key).is_duplicated().any()


def test_nothing_is_known_before_it_happens() -> None:
    stages = set()
    response_hours = [Window(BUSY.start, BUSY.start + timedelta(minutes=10 * step)) for step in range(1, 432)]
    source = demo.DemoSource(seed=7, entities=frozenset(["incidents", "changes", "alerts"]))
    for window in response_hours:
        for batch in source.extract(window):
            times = [name for name, kind in batch.frame.schema.items() if isinstance(kind, pl.Datetime)]
            latest = batch.frame.select(pl.max_horizontal(pl.col(times).max()))
            assert latest.item() < window.end, batch.entity
            if batch.entity == "incidents":
                stages.update(batch.frame["status"])
                resolved = batch.frame.filter(pl.col("status") == "resolved")
                assert resolved["resolved_at"].null_count() == 0
                assert batch.frame.filter(pl.col("status") != "resolved")["resolved_at"].is_null().all()
    assert stages == {"open", "mitigated", "resolved"}


def test_rows_fit_the_landing_contract(busy: dict[str, pl.DataFrame]) -> None:
    frames = {**busy, **rows_of(HISTORY, source=demo.DemoSource(7, frozenset(demo.RECORDS)))}
    assert set(frames) == set(EVERYTHING)
    for name, frame in frames.items():
        entity = ENTITIES[name]
        assert frame.columns == list(entity.columns), name
        assert all(frame.schema[column] == kind for column, kind in entity.columns.items()), name
        assert frame.height > 0, name
        for column in entity.must_have:
            assert frame[column].null_count() == 0, (name, column)
        for column, allowed in entity.choices.items():
            assert set(frame[column].drop_nulls()) <= allowed, (name, column)
        for column in entity.non_negative:
            assert (frame[column] >= 0).all(), (name, column)


def test_only_verdicts_tell_a_cause(busy: dict[str, pl.DataFrame]) -> None:
    secret = {"family", "cause_kind", "cause_id", "cause_service", "works", "has_loss"}
    families = set(truth_module.truth(HISTORY, 7).incidents["family"])
    assert len(families) >= 9
    frames = {**busy, **rows_of(HISTORY, source=demo.DemoSource(7, frozenset(demo.RECORDS)))}
    causes = set(truth_module.truth(HISTORY, 7).incidents.filter(pl.col("cause_kind") == "change")["cause_id"])
    for name, frame in frames.items():
        assert not secret & set(frame.columns)
        if name in ("incidents", "incident_events", "postmortems", "insights"):
            text = " ".join(str(value) for row in frame.iter_rows() for value in row)
            assert not any(word in text for word in (*families, *causes)), name
        if name not in ("changes", "verdicts"):
            columns = frame.select(pl.col(pl.String))
            assert not any(columns[column].is_in(list(causes)).any() for column in columns.columns), name


def test_causing_changes_look_like_the_others() -> None:
    changes = rows_of(HISTORY, source=demo.DemoSource(7, frozenset(["changes"])))["changes"]
    causes = set(truth_module.truth(HISTORY, 7).incidents.filter(pl.col("cause_kind") == "change")["cause_id"])
    deploys = changes.filter(pl.col("kind") == "deploy")
    guilty = deploys.filter(pl.col("change_id").is_in(list(causes)))
    innocent = deploys.filter(~pl.col("change_id").is_in(list(causes)))
    assert guilty.height >= 5
    assert set(guilty["title"].str.split(" ").list.first()) <= set(innocent["title"].str.split(" ").list.first())
    assert set(guilty["change_id"].str.len_chars()) == set(innocent["change_id"].str.len_chars())
    assert causes <= set(changes["change_id"])


def test_eight_weeks_have_the_promised_size() -> None:
    sizes: dict[str, int] = {}
    for batch in SOURCE.extract(HISTORY):
        sizes[batch.entity] = sizes.get(batch.entity, 0) + batch.frame.height
        assert batch.expected is None or 0.95 * batch.expected < batch.frame.height <= batch.expected
    assert 800_000 < sizes["metric_points"] < 1_350_000
    assert 400_000 < sizes["journey_kpis"] < 700_000
    assert 15 <= sizes["changes"] / 56 <= 27
    assert 5 <= sizes["incidents"] / 8 <= 7


def test_a_gap_is_missing_rows_not_zeros(busy: dict[str, pl.DataFrame]) -> None:
    expected = sum(batch.expected or 0 for batch in demo.DemoSource(7, frozenset(["metric_points"])).extract(BUSY))
    assert busy["metric_points"].height < expected
    requests = busy["metric_points"].filter((pl.col("metric") == "requests") & (pl.col("service") == "gateway"))
    assert (requests["value"] > 0).all()


def test_windows_off_the_hour_get_only_their_buckets() -> None:
    window = Window.parse("2026-10-13T10:07Z", "2026-10-13T11:31Z")
    frame = rows_of(window)["journey_kpis"]
    assert (frame["ts"].min(), frame["ts"].max()) == (
        Window.parse("2026-10-13T10:10Z", "2026-10-14").start,
        Window.parse("2026-10-13T11:30Z", "2026-10-14").start,
    )


def test_the_default_configuration_describes_the_company(busy: dict[str, pl.DataFrame]) -> None:
    deployment = load_deployment(PROJECT / "config")
    declared = {row.service for row in deployment.services}
    aliases = {(row.kind, row.alias): row.name for row in deployment.aliases}
    used: set[tuple[str, str]] = set()
    for name in ("metric_points", "changes", "alerts", "spans_red", "log_patterns"):
        for kind, known in (("service", declared), ("environment", {"production"}), ("region", {"", "eu", "us"})):
            for value in busy[name][kind].unique():
                assert value in known or (kind, value) in aliases, (name, kind, value)
                used |= {(kind, value)} & set(aliases)
    assert used == set(aliases)
    steps = {(row.journey, step.step) for row in deployment.journeys for step in row.steps}
    assert steps == set(busy["journey_kpis"].select("journey", "step").unique().iter_rows())
    earning = {(row.journey, step.step) for row in deployment.journeys for step in row.steps if step.earns}
    paid = busy["journey_kpis"].filter(pl.col("revenue_minor").is_not_null())
    assert earning == set(paid.select("journey", "step").unique().iter_rows())
    assert {(row.caller, row.callee) for row in deployment.edges} == set(busy["service_edges"].select("caller", "callee").iter_rows())


def test_declared_entities_alone_are_extracted(tmp_path: Path) -> None:
    row = SourceRow(name="demo", kind="demo", entities=("incidents", "changes"))
    source = open_source(row, Settings(home=tmp_path, config=tmp_path))
    assert {batch.entity for batch in source.extract(BUSY)} == {"incidents", "changes"}


@pytest.mark.parametrize(
    ("options", "words"), [({"sed": 1}, "unknown option"), ({"seed": "x"}, "whole number"), ({"seed": -1}, "whole number")]
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_source(SourceRow(name="demo", kind="demo", options=options), Settings(home=tmp_path, config=tmp_path))
