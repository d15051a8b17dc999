"""The `sql` kind: what a query may be, which days and buckets are read, and any database SQLAlchemy speaks to (here SQLite)."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast.declarations import SourceRow
from aftercast.errors import ConfigError, SourceRejected, SourceUnavailable
from aftercast.sources import open_source
from aftercast.sources.buckets import whole_buckets
from aftercast.sources.sql_queries import ended_days
from aftercast.sources.sql_reading import frame_of
from aftercast.window import Window
from tests.unit.landing_fixture import START, deployment, hours, land, landed

INSIDE = "at >= :start and at < :end"
ASKED = f"select service, metric, at as ts, value, kind from points where {INSIDE}"
POINTS = {"entity": "metric_points", "sql": ASKED, "timezone": "UTC"}


def row(*queries: dict[str, Any], **options: Any) -> SourceRow:
    return SourceRow(name="shop", kind="sql", connection="sql_shop", options={"queries": list(queries), **options})


@pytest.fixture
def place(tmp_path):
    return deployment(tmp_path)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch) -> sqlite3.Connection:
    path = tmp_path / "shop.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("create table points (id integer primary key, service, metric, at, written, value, kind)")
    monkeypatch.setenv("AIRFLOW_CONN_SQL_SHOP", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    return connection


def put(shop: sqlite3.Connection, hour: float, value: float, *, metric: str = "latency", written: float | None = None) -> None:
    times = [f"{START + timedelta(hours=at):%Y-%m-%d %H:%M:%S.%f}" for at in (hour, hour if written is None else written)]
    shop.execute(
        "insert into points (service, metric, at, written, value, kind) values ('cart', ?, ?, ?, ?, 'gauge')", (metric, *times, value)
    )


def extract(place, source: SourceRow, window: Window):
    return land(place, window, *open_source(source, place).extract(window), source=source)["metric_points"]


def test_any_dialect_is_read_in_batches(place, shop):
    for minute in range(120):
        put(shop, minute / 60, minute)
    batches = list(open_source(row(POINTS, rows_per_batch=25), place).extract(hours(0, 1)))
    assert [(batch.frame.height, batch.first_row) for batch in batches] == [(25, 1), (25, 26), (10, 51)]
    assert extract(place, row(POINTS), hours(0, 1)).landed == 60
    assert extract(place, row(POINTS), hours(1, 2)).landed == 60
    assert landed(place)["value"].to_list() == list(range(120))


def test_an_empty_window_takes_back_what_is_gone(place, shop):
    put(shop, 0.5, 1)
    extract(place, row(POINTS), hours(0, 1))
    shop.execute("delete from points")
    assert extract(place, row(POINTS), hours(0, 1)).received == 0
    assert landed(place).is_empty()


def test_a_keyset_pages_through_ties_in_any_dialect(place, shop):
    for number in range(10):
        put(shop, 0.5, number, metric=f"m{number}", written=1.5 if number % 3 else 1.25)
    query = {**POINTS, "mode": "keyset", "sql": "select *, at as ts from points", "time": "written", "key": ["id"]}
    query["columns"] = {name: name for name in ("service", "metric", "ts", "value", "kind")}
    result = extract(place, row(query, rows_per_batch=3), hours(1, 2))
    assert (result.landed, result.duplicate, result.late) == (10, 0, 10)
    assert set(landed(place)["source_id"]) == {str(number) for number in range(1, 11)}
    assert extract(place, row(query), hours(0, 1)).landed == 0


@pytest.mark.parametrize("key", ["'x'", "null", "id / 100"])
@pytest.mark.parametrize("rows", [1, 2, 5, 9])
def test_a_key_that_does_not_tell_rows_apart_is_refused_wherever_a_page_ends(place, shop, key, rows):
    for number in range(5):
        put(shop, 0.5 if number in (1, 2) else number / 10, 1, metric=f"m{number}")
    sql = f"select service, metric, at as ts, value, kind, {key} as id from points"
    query = {**POINTS, "mode": "keyset", "sql": sql, "time": "ts", "key": ["id"]}
    with pytest.raises(SourceRejected, match="`key` must tell rows apart"):
        extract(place, row(query, rows_per_batch=rows), hours(0, 1))
    assert landed(place).is_empty()


def test_a_key_the_query_does_not_find_is_named(place, shop):
    query = {**POINTS, "mode": "keyset", "sql": "select service, metric, at as ts, value, kind from points", "time": "ts", "key": ["nr"]}
    with pytest.raises(SourceRejected, match="no such column: nr"):
        extract(place, row(query), hours(0, 1))


@pytest.mark.parametrize(
    "write", ["with x as (select 1) delete from points where :start < :end", "select * from nowhere where :start < :end"]
)
def test_writing_and_unknown_tables_are_refused(place, shop, write):
    put(shop, 0.5, 1)
    with pytest.raises(SourceRejected, match=r"query 'metric_points' (wants to write|was not accepted)"):
        extract(place, row({**POINTS, "sql": write}), hours(0, 1))
    assert shop.execute("select count(*) from points").fetchone() == (1,)


def test_a_database_that_cannot_be_opened_is_unavailable(place, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_SQL_SHOP", json.dumps({"conn_type": "sqlite", "host": "/nowhere/shop.db"}))
    with pytest.raises(SourceUnavailable, match="refused or lost"):
        extract(place, row(POINTS), hours(0, 1))


@pytest.mark.parametrize(("kind", "said"), [("http", "no database"), ("nosuchdb", "cannot be used")])
def test_a_connection_that_is_no_database_is_named(place, monkeypatch, kind, said):
    monkeypatch.setenv("AIRFLOW_CONN_SQL_SHOP", json.dumps({"conn_type": kind, "host": "somewhere"}))
    with pytest.raises(ConfigError, match=f"'sql_shop'.*'{kind}'.*{said}|'sql_shop'.*{said}"):
        extract(place, row(POINTS), hours(0, 1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sql": "delete from points where at >= :start and at < :end"}, "begins with select"),
        ({"sql": f"{ASKED}; drop table points"}, "without ; inside"),
        ({"sql": "select 1 where at > :start"}, "does not use :end;"),
        ({"sql": "select 1"}, "does not use :start and :end;"),
        ({"sql": f"{ASKED} and note = :since"}, ":since is no parameter"),
        ({"sql": ASKED, "mode": "keyset"}, "a keyset needs `time`"),
        ({"sql": ASKED, "time": "at", "key": ["id"]}, "belong to mode keyset"),
        ({"sql": ASKED, "mode": "partition", "bucket_minutes": 5}, "belongs to mode window"),
        ({"entity": "metric_point"}, "did you mean 'metric_points'"),
        ({"columns": {"valeu": "x"}}, "did you mean 'value'"),
        ({"timezone": "Berlin"}, "unknown timezone"),
        ({"queries": 1}, "unknown key"),
    ],
)
def test_a_query_that_cannot_be_meant_is_refused_before_anybody_is_asked(place, change, said):
    with pytest.raises(ConfigError, match=said):
        open_source(row({**POINTS, **change}), place)


@pytest.mark.parametrize(
    "sql",
    [
        f"-- delete; nothing\n{ASKED};",
        f"{ASKED} and note <> 'a;b' and value::int > 0 /* ; */",
        f"with recent as ({ASKED}) select * from recent",
        f"({ASKED})",
        f"{ASKED} and note <> '12\\:30'",
    ],
)
def test_words_and_signs_inside_quotes_and_comments_do_no_harm(place, sql):
    assert open_source(row({**POINTS, "sql": sql}), place)


def test_two_queries_of_one_entity_need_names(place):
    with pytest.raises(ConfigError, match="two queries are called 'metric_points'"):
        open_source(row(POINTS, POINTS), place)
    assert open_source(row(POINTS, {**POINTS, "name": "other"}), place)


def test_values_of_a_database_keep_what_they_mean():
    moment = datetime(2026, 9, 1, 10, tzinfo=UTC)
    found = frame_of(
        ["decimal", "large", "many", "json", "id", "day", "zoned", "bare", "bytes", "none", "mixed", "flag"],
        [
            (
                Decimal("1E+3"),
                2**70,
                [1, "a", None],
                {"at": date(2026, 1, 1)},
                UUID(int=1),
                date(2026, 9, 1),
                moment,
                datetime(2026, 9, 1),
                b"\x01",
                None,
                1,
                True,
            ),
            (None, 1, None, None, None, None, None, None, None, None, "x", None),
        ],
    )
    assert found.row(0) == (
        *("1000", str(2**70), '[1, "a", null]', '{"at": "2026-01-01"}', str(UUID(int=1))),
        *(date(2026, 9, 1), moment, datetime(2026, 9, 1), "01", None, "1", True),
    )
    assert found.schema["zoned"] == pl.Datetime("us", "UTC")
    assert set(found.row(1)) == {None, "1", "x"}


moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(second=0, microsecond=0)
)


@given(st.lists(moments, min_size=3, max_size=6, unique=True), st.sampled_from([1, 5, 7, 60, 1440]))
def test_windows_that_tile_time_read_every_bucket_once(ends, minutes):
    ends = sorted(ends)
    read = [whole for start, end in pairwise(ends) if (whole := whole_buckets(Window(start, end), minutes))]
    assert all(before.end == after.start for before, after in pairwise(read))
    assert all((moment.timestamp() / 60) % minutes == 0 for one in read for moment in (one.start, one.end))


@given(
    st.lists(moments, min_size=2, max_size=6, unique=True), st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"])
)
def test_every_day_is_read_by_the_window_it_ends_in(ends, zone):
    ends = sorted(ends)
    parts = [day for start, end in pairwise(ends) for day in ended_days(Window(start, end), zone)]
    assert parts == list(ended_days(Window(ends[0], ends[-1]), zone))
    assert all(before.end == after.start for before, after in pairwise(parts))
    assert {day.length for day in parts} <= {timedelta(hours=length) for length in (23, 24, 25)}
    assert all(ends[0] < day.end <= ends[-1] for day in parts)
