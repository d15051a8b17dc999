"""A file whose columns change: what is new is kept and reported, what is required and gone is quarantined for one reason."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from aftercast import landing
from aftercast.declarations import SourceRow
from aftercast.settings import Settings
from aftercast.sources import open_source
from tests.unit.landing_fixture import NOW, coverage, deployment, hours, landed

HEADER = "service,metric,ts,value,kind"
LINES = [f"cart,latency,2026-09-01T{hour:02}:00Z,{hour},gauge" for hour in range(4)]
MAPPED = {"service": "service", "metric": {"const": "latency"}, "ts": "When", "value": "Millis", "kind": {"const": "gauge"}}


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    place = deployment(tmp_path)
    (place.home / "inbox").mkdir(parents=True)
    return place


def extract(place: Settings, text: str, columns: dict[str, object] | None = None) -> landing.Landed:
    """Drop a file over the earlier one and extract it."""
    rule = {"match": "*.csv", "entity": "metric_points"} | ({"columns": columns} if columns else {})
    row = SourceRow(name="shop", kind="files", options={"inbox": "inbox", "files": [rule]})
    (place.home / "inbox" / "points.csv").write_text(text)
    (result,) = landing.land(place, row, hours(0, 24), open_source(row, place).extract(hours(0, 24)), ingested_at=NOW)
    return result


def table(header: str, lines: list[str]) -> str:
    return "\n".join([header, *lines]) + "\n"


def kept_aside(place: Settings) -> list[dict[str, object]]:
    paths = place.home.glob("unknown_columns/metric_points/source=shop/*.jsonl.gz")
    return [json.loads(line) for path in paths for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


def reasons(place: Settings) -> dict[str, int]:
    return json.loads(coverage(place).row(0, named=True)["reasons"])


def test_a_new_column_lands_its_row_is_kept_and_is_reported(place: Settings):
    extract(place, table(HEADER, LINES))
    assert kept_aside(place) == []
    result = extract(place, table(HEADER + ",shard", [f"{line},s{number}" for number, line in enumerate(LINES)]))
    assert (result.landed, result.rejected) == (4, 0)
    assert landed(place).height == 4
    assert [row["columns"] for row in kept_aside(place)] == [{"shard": f"s{number}"} for number in range(4)]
    assert [row["ts"] for row in kept_aside(place)][1] == "2026-09-01T01:00:00.000000+00:00"
    assert reasons(place) == {"unknown column shard kept aside": 4}


def test_a_column_that_left_again_leaves_nothing_aside(place: Settings):
    extract(place, table(HEADER + ",shard", [f"{line},s" for line in LINES]))
    extract(place, table(HEADER, LINES))
    assert kept_aside(place) == []


@pytest.mark.parametrize(
    ("header", "lines", "columns", "reason", "note"),
    [
        (HEADER.replace(",value", ",worth"), LINES, None, "missing column value", "unknown column worth kept aside"),
        ("service,When,Took", ["cart,2026-09-01T00:00Z,1"] * 3, MAPPED, "missing column value", "points.csv has no column 'Millis'"),
    ],
)
def test_a_required_column_that_is_gone_quarantines_every_row_for_one_reason(
    place: Settings, header: str, lines: list[str], columns: dict[str, object] | None, reason: str, note: str
):
    extract(place, table(HEADER, LINES))
    result = extract(place, table(header, lines), columns)
    rows = [json.loads(line) for path in place.quarantine.glob("**/*.jsonl") for line in path.read_text().splitlines()]
    assert Counter(row["reason"] for row in rows) == {reason: len(lines)}
    assert (result.landed, result.rejected) == (0, len(lines))
    said = reasons(place)
    assert said[reason] == len(lines)
    assert any(name.startswith(note) for name in said)
    row = coverage(place).row(0, named=True)
    assert (row["received"], row["landed"], row["rejected"]) == (len(lines), 0, len(lines))


def test_a_mapped_file_is_asked_for_the_mapped_columns_only(place: Settings):
    mapping = {"service": "Dienst", **{name: name for name in ("metric", "ts", "value", "kind")}}
    extract(place, table(HEADER.replace("service", "Dienst") + ",shard", [f"{line},s" for line in LINES]), mapping)
    assert landed(place).height == 4
    assert kept_aside(place) == []
    assert reasons(place) == {}
