"""A small deployment to land in, and what lies there afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from aftercast import landing
from aftercast.declarations import SourceRow
from aftercast.entities import ENTITIES
from aftercast.settings import Settings
from aftercast.sources import Batch
from aftercast.window import Window

START = datetime(2026, 9, 1, tzinfo=UTC)
NOW = datetime(2026, 10, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SOURCE = SourceRow(name="shop", kind="demo", entities=("metric_points",))


def deployment(root: Path) -> Settings:
    (root / "config").mkdir(parents=True, exist_ok=True)
    (root / "config" / "sources.yml").write_text('history: {start: "2026-09-01", end: "2026-09-08"}\nsources: []\n')
    (root / "config" / "journeys.yml").write_text(
        "journeys: [{journey: checkout, title: Checkout, owner_team: pay, currency: GBP, steps: [{step: pay, earns: true}]}]\n"
    )
    return Settings(home=root / "home", config=root / "config")


def hours(first: int, last: int) -> Window:
    return Window(START + first * HOUR, START + last * HOUR)


def points(moments: Iterable[datetime], value: float = 1.0, service: str = "cart") -> pl.DataFrame:
    times = list(moments)
    return pl.DataFrame(
        {
            "service": [service] * len(times),
            "metric": ["latency"] * len(times),
            "ts": times,
            "value": [value] * len(times),
            "kind": ["gauge"] * len(times),
        },
        schema_overrides={"ts": pl.Datetime("us", "UTC")},
    )


def in_window(window: Window, value: float = 1.0) -> pl.DataFrame:
    steps = int(window.length / HOUR)
    return points((window.start + step * HOUR for step in range(steps)), value)


def batch(frame: pl.DataFrame, entity: str = "metric_points", **more: object) -> Batch:
    return Batch(entity, frame, origin="here", **more)


def land(
    place: Settings, window: Window, *batches: Batch, source: SourceRow = SOURCE, gate=None, at: datetime = NOW
) -> dict[str, landing.Landed]:
    return {one.entity: one for one in landing.land(place, source, window, batches, ingested_at=at, gate=gate)}


def landed(place: Settings, entity: str = "metric_points") -> pl.DataFrame:
    """What staging makes of the files: the latest version of each key."""
    shape = ENTITIES[entity]
    files = sorted(place.landing.glob(f"{entity}/**/*.parquet"))
    rows = pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in files]) if files else pl.DataFrame(schema=shape.schema)
    return rows.sort("ingested_at").unique(list(shape.key), keep="last").drop("ingested_at").sort(shape.key)


def files(place: Settings, entity: str = "metric_points") -> dict[str, bytes]:
    return {
        str(path.relative_to(place.home)): path.read_bytes() for path in sorted(place.landing.glob(f"{entity}/source=shop/**/*.parquet"))
    }


def coverage(place: Settings) -> pl.DataFrame:
    return pl.concat(
        pl.read_parquet(path, hive_partitioning=False) for path in sorted(place.landing.glob("coverage/source=shop/*.parquet"))
    )
