"""A deployment with one tracker of incidents behind a connection, extracted and landed the way a task does it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from aftercast import landing
from aftercast.declarations import SourceRow
from aftercast.settings import Settings
from aftercast.sources import open_source
from aftercast.window import Window
from tests.unit import landing_fixture

START = datetime(2026, 9, 1, 10, tzinfo=UTC)
HOUR = Window(START, START + timedelta(hours=1))
NEXT = Window(START + timedelta(hours=1), START + timedelta(hours=2))
DAY = Window(START - timedelta(hours=10), START + timedelta(hours=14))


def clock(minutes: float, *, shape: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    """The time so many minutes after the start of HOUR, as vendors write it."""
    return (START + timedelta(minutes=minutes)).strftime(shape)


def utc(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


class Tracker:
    """A source row of a kind that talks to a test server."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, kind: str, entities: tuple[str, ...], **connection: Any) -> None:
        self.place: Settings = landing_fixture.deployment(root)
        self._patch, self._kind, self._entities, self._connection = monkeypatch, kind, entities, connection

    def row(self, options: dict[str, Any]) -> SourceRow:
        return SourceRow(name="trackers", kind=self._kind, connection="tracker", entities=self._entities, options=options)

    def extract(self, url: str, window: Window = HOUR, **options: Any) -> dict[str, landing.Landed]:
        """Extract a window from a server and land it; what landed, by entity."""
        self._patch.setenv("AIRFLOW_CONN_TRACKER", json.dumps({"conn_type": "http", "host": url, **self._connection}))
        row = self.row(options)
        found = open_source(row, self.place).extract(window)
        return landing_fixture.land(self.place, window, *found, source=row, at=window.end + timedelta(minutes=1))

    def landed(self, entity: str = "incidents") -> list[dict[str, Any]]:
        return landing_fixture.landed(self.place, entity).to_dicts()

    def one(self, entity: str = "incidents") -> dict[str, Any]:
        (only,) = self.landed(entity)
        return only

    def quarantined(self, entity: str = "incidents") -> list[str]:
        files = sorted(self.place.quarantine.glob(f"{entity}/**/*.jsonl"))
        return [json.loads(line)["reason"] for path in files for line in path.read_text().splitlines()]

    def everything(self) -> str:
        """All that lies on disk, as text: to look for what must not be there."""
        files = [path for path in sorted(self.place.home.rglob("*")) if path.is_file()]
        frames = [str(pl.read_parquet(path, hive_partitioning=False).to_dicts()) for path in files if path.suffix == ".parquet"]
        return "\n".join([*frames, *(path.read_text() for path in files if path.suffix in (".jsonl", ".json"))])
