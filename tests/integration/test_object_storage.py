"""An inbox in an object store: a real server that speaks S3, read as the collector's exporter would have filled it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import fsspec
import polars as pl
import pytest

from aftercast.errors import SourceUnavailable
from aftercast.sources import Batch
from aftercast.window import Window
from tests.integration import object_store
from tests.unit.landing_fixture import START, deployment
from tests.unit.otlp_fixture import extract, span, spans

HOUR = Window(START, START + timedelta(hours=1))
LINES = [spans("cart", *(span(number, 1, at=3 * number) for number in part)) for part in (range(1, 6), range(6, 10))]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a bucket `telemetry`."""
    with object_store.serving(object_store.s3(), monkeypatch, "telemetry"):
        yield "s3://telemetry/exported"


def rows(batches: list[Batch]) -> list[dict[str, object]]:
    found = pl.concat([batch.frame for batch in batches if batch.entity == "spans_red" and batch.frame.height])
    return found.sort(found.columns[:6]).to_dicts()


def test_a_bucket_reads_like_a_folder(store: str, tmp_path: Path):
    place, folder = deployment(tmp_path), tmp_path / "folder"
    folder.mkdir()
    texts = {"a.json": json.dumps(LINES[0]).encode() + b"\n", "b.json.gz": gzip.compress(json.dumps(LINES[1]).encode() + b"\n")}
    for name, content in texts.items():
        (folder / name).write_bytes(content)
        with fsspec.open(f"{store}/{name}", "wb") as file:
            file.write(content)
    ours = rows(extract(place, store, HOUR))
    assert ours == rows(extract(place, folder, HOUR))
    assert sum(int(str(row["count"])) for row in ours) == 9


def test_a_file_that_comes_later_is_seen_and_a_missing_folder_is_named(store: str, tmp_path: Path):
    place = deployment(tmp_path)
    with pytest.raises(SourceUnavailable, match="exported does not exist"):
        extract(place, store, HOUR)
    for number, line in enumerate(LINES):
        with fsspec.open(f"{store}/{number}.json", "wt") as file:
            file.write(json.dumps(line) + "\n")
        counted = sum(int(str(row["count"])) for row in rows(extract(place, store, HOUR)))
        assert counted == (5, 9)[number]
