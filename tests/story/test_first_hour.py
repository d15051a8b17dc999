"""The first quarter of an hour of a deployment, an incident just begun in it: everything runs, and what cannot be known yet is said so."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from aftercast import reporting, warehouse
from aftercast.settings import PROJECT, Settings
from aftercast.steps import extracting, refreshing
from aftercast.window import Window
from tests.story.refreshing import refresh

FIRST = Window(datetime.fromisoformat("2026-11-09T11:05Z"), datetime.fromisoformat("2026-11-09T11:20Z"))


@pytest.mark.slow
def test_a_quarter_of_an_hour_is_enough_for_a_mart_and_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AFTERCAST_HOME", str(tmp_path))
    monkeypatch.setenv("AFTERCAST_CONFIG", str(PROJECT / "config"))
    extracting.extract("demo", FIRST, ingested_at=FIRST.end)
    assert refreshing.plan()
    refresh()

    settings = Settings.from_environment()
    incidents = warehouse.query(settings.mart, "select is_open, lost_revenue, impact_status, impact_reason from marts.mart_incidents")
    assert incidents.height >= 1
    assert incidents["is_open"].all()
    assert set(incidents["impact_status"]) == {"unknown"}
    assert incidents["lost_revenue"].null_count() == incidents.height, "unknown is not zero"
    assert incidents["impact_reason"].null_count() == 0
    correlations = warehouse.query(settings.mart, "select distinct status from marts.mart_kpi_correlations")
    assert set(correlations["status"]) <= {"not_enough_data"}
    figures = reporting.write(settings).report.figures
    assert figures.lost.value is None
    assert [said for said in figures.banners if said.startswith("The data begins")]
