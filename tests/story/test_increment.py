"""Growing the warehouse window by window gives the same marts as building it at once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from aftercast import warehouse
from aftercast.settings import PROJECT, Settings
from aftercast.steps import extracting, refreshing
from aftercast.window import Window
from tests.story.refreshing import refresh

# What is said about the way the rows came in may differ; what is said about the world may not.
ABOUT_THE_WAY = {"mart_source_coverage": None, "mart_run": ("landing_fingerprint",)}


def build(home: Path, monkeypatch: pytest.MonkeyPatch, *windows: Window) -> Settings:
    monkeypatch.setenv("AFTERCAST_HOME", str(home))
    monkeypatch.setenv("AFTERCAST_CONFIG", str(PROJECT / "config"))
    for window in windows:
        extracting.extract("demo", window, ingested_at=datetime(2026, 12, 1, tzinfo=UTC))
        assert refreshing.plan()
        refresh()
    return Settings.from_environment()


def rows(settings: Settings, table: str) -> list[str]:
    # How rows arrived is about the way as well: a source that sends a whole snapshot with each window lands one more of it.
    only = " where border not in ('freshness', 'volume')" if table == "mart_quality_results" else ""
    frame = warehouse.query(settings.mart, f"from marts.{table}{only}")
    hidden = ABOUT_THE_WAY.get(table, ())
    assert hidden is not None
    frame = frame.drop([name for name in frame.columns if name in hidden])
    # Sums of floats taken in another order differ in their last digits.
    frame = frame.with_columns(pl.col(pl.Float64).round_sig_figs(9), pl.col(pl.Float32).round_sig_figs(6))
    return sorted(map(repr, frame.rows()))


@pytest.mark.slow
def test_growing_by_windows_equals_building_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    at_once = build(tmp_path / "once", monkeypatch, Window.parse("2026-09-21", "2026-10-01"))
    grown = build(
        tmp_path / "grown", monkeypatch, Window.parse("2026-09-21", "2026-09-29T13:00Z"), Window.parse("2026-09-29T13:00Z", "2026-10-01")
    )
    tables = warehouse.query(at_once.mart, "select table_name from information_schema.tables where table_schema = 'marts'")["table_name"]
    compared = [table for table in sorted(tables) if ABOUT_THE_WAY.get(table, ()) is not None]
    assert len(compared) >= 18
    assert len(rows(at_once, "mart_incidents")) >= 5
    for table in compared:
        assert rows(grown, table) == rows(at_once, table), table
