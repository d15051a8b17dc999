"""What was deleted upstream leaves the staging views, too, once the window that held it has been extracted again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl

from aftercast import landing, transform, warehouse
from aftercast.declarations import SourceRow
from aftercast.settings import Settings
from aftercast.sources import Batch
from aftercast.window import Window
from tests.warehouse import world

SHOP = SourceRow(name="shop", kind="demo", entities=("incidents",))


def extract(settings: Settings, window: Window, **titles: str) -> None:
    rows = pl.DataFrame({"incident_id": list(titles), "title": list(titles.values()), "started_at": [window.start] * len(titles)})
    landing.land(settings, SHOP, window, [Batch("incidents", rows, origin="here")], ingested_at=window.end)


def test_a_record_deleted_upstream_leaves_the_staging_view_with_the_reconciliation(tmp_path: Path):
    settings = world.open_settings(tmp_path / "home")
    settings.config.mkdir()
    (settings.config / "sources.yml").write_text("history: {start: '2026-09-07', end: '2026-09-08'}\nsources: []\n")
    start, hour = world.START, timedelta(hours=1)
    extract(settings, Window(start, start + hour), kept="Down", deleted="Never was")
    extract(settings, Window(start + hour, start + 2 * hour), later="Down again")
    extract(settings, Window(start, start + 2 * hour), kept="Down, edited", later="Down again")
    transform.build(settings, "stage")
    rows = warehouse.query(settings.warehouse, "select incident_id, title from staging.stg_incidents order by all").rows()
    assert rows == [("kept", "Down, edited"), ("later", "Down again")]
