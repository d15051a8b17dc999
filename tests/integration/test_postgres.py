"""A real PostgreSQL: orders that become KPIs, are edited, arrive late and are deleted; and everything a database can do to a reader."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from aftercast import landing
from aftercast.declarations import SourceRow
from aftercast.errors import SourceRejected, SourceUnavailable
from aftercast.sources import open_source
from aftercast.window import Window
from tests.integration.services import free_port, require, running, wait_until
from tests.unit.landing_fixture import deployment, landed

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
START = datetime(2026, 9, 1, tzinfo=UTC)
PASSWORD = "s3cr3t-of-the-shop"
SCHEMA = """
create table orders (
    id bigserial primary key,
    country text not null default 'DE',
    amount numeric(12, 2) not null,
    paid boolean not null default true,
    ordered_at timestamptz not null,
    updated_at timestamptz not null,
    local_at timestamp generated always as (ordered_at at time zone 'Europe/Berlin') stored,
    tags text[] not null default '{web}',
    note jsonb
);
"""
CHECKOUT = """
select date_trunc('hour', ordered_at) as bucket, country, count(*) as tried, count(*) filter (where paid) as paid,
    sum(amount) filter (where paid) * 100 as cents
from orders
where ordered_at >= :start and ordered_at < :end
group by 1, 2
"""
COLUMNS = {
    "journey": {"const": "checkout"},
    "step": {"const": "pay"},
    "ts": "bucket",
    "country": "country",
    "attempts": "tried",
    "successes": "paid",
    "revenue_minor": "cents",
    "currency": {"const": "GBP"},
}
OTHERS = "backend_type = 'client backend' and pid <> pg_backend_pid()"
KPIS = {"entity": "journey_kpis", "sql": CHECKOUT, "columns": COLUMNS, "bucket_minutes": 60}
INCIDENTS = {
    "entity": "incidents",
    "mode": "keyset",
    "sql": "select id, country, ordered_at, updated_at, note ->> 'title' as title, tags from orders",
    "time": "updated_at",
    "key": ["id"],
    "columns": {"incident_id": "id", "title": "title", "started_at": "ordered_at", "updated_at": "updated_at", "services": "tags"},
}


@dataclass(frozen=True)
class Postgres:
    port: int

    def dsn(self, user: str = "postgres") -> str:
        return f"host=127.0.0.1 port={self.port} user={user} password={PASSWORD} dbname=postgres"

    def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            cursor = connection.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []

    def order(
        self, at: datetime, *, amount: float = 10, updated: datetime | None = None, paid: bool = True, country: str = "DE", title: str = "t"
    ) -> int:
        sql = "insert into orders (country, amount, paid, ordered_at, updated_at, note) values (%s, %s, %s, %s, %s, %s) returning id"
        return int(self.run(sql, country, amount, paid, at, updated or at, json.dumps({"title": title}))[0][0])


@contextmanager
def started(folder: Path, *options: str) -> Iterator[Postgres]:
    binary = Path(require("postgresql", "lib/postgresql/*/bin/postgres"))
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        above = [parent for parent in folder.parents if parent.is_relative_to(tempfile.gettempdir())]
        for parent in (folder, *above[:-1]):  # pytest closes its folders to others
            parent.chmod(parent.stat().st_mode | 0o111)
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    init = [binary.with_name("initdb"), "-D", folder / "data", "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={folder}/password"]
    subprocess.run([*init, "--no-sync", "-E", "UTF8"], check=True, capture_output=True, user=user, cwd="/")
    port = free_port()
    command = [str(binary), "-D", str(folder / "data"), "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-k", str(folder)]
    server = Postgres(port)
    with running([*command, "-c", "fsync=off", *options], folder / "postgres.log", user=user):
        wait_until(lambda: server.run("select 1") == [(1,)], "PostgreSQL")
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Postgres]:
    with started(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def shop(server, tmp_path, monkeypatch) -> Postgres:
    server.run("drop table if exists orders")
    server.run(SCHEMA)
    connect(monkeypatch, server)
    return server


def connect(monkeypatch, server: Postgres, **given: Any) -> None:
    whole = {"conn_type": "postgres", "host": "127.0.0.1", "port": server.port, "login": "postgres", "password": PASSWORD}
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_DB", json.dumps({**whole, "schema": "postgres", "extra": {"sslmode": "prefer"}, **given}))


@pytest.fixture
def place(tmp_path):
    return deployment(tmp_path)


def row(*queries: dict[str, Any], **options: Any) -> SourceRow:
    return SourceRow(name="shop_db", kind="sql", connection="shop_db", options={"queries": list(queries), **options})


def extract(place, source: SourceRow, window: Window, entity: str = "journey_kpis") -> landing.Landed:
    found = open_source(source, place).extract(window)
    return {one.entity: one for one in landing.land(place, source, window, found, ingested_at=window.end + MINUTE)}[entity]


def hours(first: float, last: float) -> Window:
    return Window(START + first * HOUR, START + last * HOUR)


def kpis(place) -> list[tuple[Any, ...]]:
    found = landed(place, "journey_kpis").sort("ts", "country")
    return [
        (int((ts - START) / HOUR), *rest) for ts, *rest in found.select("ts", "country", "attempts", "successes", "revenue_minor").rows()
    ]


def test_orders_become_kpis_and_late_and_deleted_orders_correct_them(shop, place):
    for minute in (0, 59):
        shop.order(START + minute * MINUTE, amount=12.34)
    shop.order(START + 30 * MINUTE, paid=False)
    shop.order(START + 30 * MINUTE, country="FR", amount=5)
    gone = shop.order(START + 90 * MINUTE, country="CH")
    extract(place, row(KPIS), hours(0, 2))
    assert kpis(place) == [(0, "DE", 3, 2, 2468), (0, "FR", 1, 1, 500), (1, "CH", 1, 1, 1000)]

    shop.order(START + 10 * MINUTE, amount=100)
    looking_back = {**KPIS, "lookback_minutes": 130}
    assert extract(place, row(looking_back), hours(2, 3)).late == 3
    assert kpis(place)[0] == (0, "DE", 4, 3, 12468), "the late order, in its own hour"

    shop.run("delete from orders where id = %s", gone)
    extract(place, row(KPIS), hours(0, 3))
    assert [country for _, country, *_ in kpis(place)] == ["DE", "FR"], "reconciliation takes back what was deleted"
    before = {path: path.stat().st_mtime_ns for path in place.landing.rglob("date=*/*.parquet")}
    assert extract(place, row(KPIS), hours(0, 3)).changed_files == 0
    assert {path: path.stat().st_mtime_ns for path in place.landing.rglob("date=*/*.parquet")} == before


def test_a_window_that_cuts_a_bucket_counts_no_bucket_in_part(shop, place):
    for minute in range(0, 180, 10):
        shop.order(START + minute * MINUTE)
    for end in (0.8, 1.6, 2.4, 3.2):
        extract(place, row(KPIS), hours(end - 0.8, end))
        assert {attempts for _, _, attempts, *_ in kpis(place)} <= {6}
    assert len(kpis(place)) == 3


def test_days_are_replaced_whole_once_they_have_ended_in_their_zone(shop, place):
    sql = CHECKOUT.replace("ordered_at", "local_at")
    query = {**KPIS, "sql": sql, "mode": "partition", "timezone": "Europe/Berlin", "lookback_minutes": 2 * 1440, "bucket_minutes": 0}
    first = shop.order(START - 2 * HOUR + MINUTE)  # the first minute of 1 September in Berlin
    shop.order(START + 21 * HOUR + 59 * MINUTE)
    shop.order(START + 22 * HOUR)  # already 2 September
    for hour in range(24):
        extract(place, row(query), hours(hour, hour + 1))
        assert (kpis(place) == []) == (hour < 21), "a day lands when it has ended, 22:00 in UTC"
    assert [hour for hour, *_ in kpis(place)] == [-2, 21]

    shop.run("delete from orders where id = %s", first)
    shop.order(START + 21 * HOUR, amount=30)
    extract(place, row(query), hours(24, 25))
    assert kpis(place) == [(21, "DE", 2, 2, 4000)], "the whole day again: what is gone goes, what came late comes"
    extract(place, row(query), hours(2, 3))
    assert kpis(place) == [(21, "DE", 2, 2, 4000)], "running an old hour again does no harm"


def test_an_edited_row_comes_again_and_ties_are_not_skipped(shop, place):
    tied = [shop.order(START + MINUTE, title=f"order {number}") for number in range(7)]
    source = row(INCIDENTS, rows_per_batch=3)
    batches = list(open_source(source, place).extract(hours(0, 1)))
    assert [batch.frame.height for batch in batches] == [3, 3, 1]
    assert [batch.origin for batch in batches] == [f"shop_db incidents page {number}" for number in (1, 2, 3)]
    assert extract(place, source, hours(0, 1), "incidents").landed == 7

    shop.run("update orders set note = %s, updated_at = %s where id = %s", '{"title": "edited"}', START + 61 * MINUTE, tied[3])
    again = extract(place, source, hours(1, 2), "incidents")
    assert (again.landed, again.late) == (1, 1)
    found = landed(place, "incidents")
    assert sorted(found["title"]) == ["edited", *(f"order {number}" for number in (0, 1, 2, 4, 5, 6))]
    assert found["source_id"].to_list() == found["incident_id"].to_list()
    assert found["services"].to_list() == [["web"]] * 7

    shop.run("update orders set updated_at = %s where id = %s", START + 119 * MINUTE, tied[5])
    assert extract(place, source, hours(2, 3), "incidents").landed == 0, "written before the window, committed after it"
    assert extract(place, row({**INCIDENTS, "lookback_minutes": 5}), hours(2, 3), "incidents").landed == 1


def test_a_row_from_a_clock_that_is_ahead_is_refused(shop, place):
    shop.order(START + 5 * HOUR, updated=START + MINUTE)
    result = extract(place, row(INCIDENTS), hours(0, 1), "incidents")
    assert (result.landed, list(result.reasons)) == (0, ["started_at: in the future of the window"])


def test_each_type_lands_as_what_it_means_or_says_why_not(shop, place):
    shop.order(START + MINUTE)
    sql = """
        select metric, case when zoneless then null else ordered_at end as zoned, local_at, value::float8, 7::numeric(20, 3) as whole, note
        from orders, (values ('plain', 1.5), ('nan', 'NaN'), ('high', 'Infinity'), ('none', null)) as given (metric, value),
            (values (false)) as zones (zoneless)
        where ordered_at >= :start and ordered_at < :end
    """
    columns = {
        "service": {"const": "shop"},
        "metric": "metric",
        "ts": "zoned",
        "value": "value",
        "attributes": "note",
        "kind": {"const": "gauge"},
    }
    query = {"entity": "metric_points", "sql": sql, "columns": columns}
    result = extract(place, row(query), hours(0, 1), "metric_points")
    assert result.reasons == {"missing value": 1, "value: not a finite number": 2}
    (found,) = landed(place, "metric_points").to_dicts()
    assert (found["ts"], found["value"], found["attributes"]) == (START + MINUTE, 1.5, '{"title": "t"}')

    local = {**query, "columns": {**columns, "ts": "local_at", "value": "whole"}}
    assert extract(place, row(local), hours(0, 1), "metric_points").reasons == {"ts: time without zone": 4}
    assert extract(place, row({**local, "timezone": "Europe/Berlin"}), hours(0, 1), "metric_points").landed == 4
    assert set(landed(place, "metric_points")["ts"]) == {START + MINUTE}
    assert set(landed(place, "metric_points")["value"]) == {7.0}


@pytest.mark.parametrize("hour", range(-3, 3))
def test_hours_of_the_night_when_clocks_change_are_read_once(shop, place, hour):
    change = datetime(2026, 10, 25, 1, tzinfo=UTC)
    sql = (
        "select 'm' || id as metric, local_at as ts, 1 as value, 'shop' as service from orders where local_at >= :start and local_at < :end"
    )
    query = {"entity": "metric_points", "sql": sql, "timezone": "Europe/Berlin"}
    shop.order(change + hour * HOUR + MINUTE)
    for at in range(-5, 5):
        extract(place, row(query), Window(change + at * HOUR, change + (at + 1) * HOUR), "metric_points")
    assert landed(place, "metric_points").height == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"password": "wrong"}, "does not let us in"),
        ({"login": "nobody"}, "does not let us in"),
        ({"schema": "elsewhere"}, "does not let us in"),
    ],
)
def test_who_may_not_come_in_is_told_which_connection(shop, place, monkeypatch, given, said):
    connect(monkeypatch, shop, **given)
    with pytest.raises(SourceRejected, match=said) as caught:
        extract(place, row(KPIS), hours(0, 1))
    assert "connection 'shop_db'" in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_a_server_that_is_away_may_come_back(shop, place, monkeypatch):
    connect(monkeypatch, shop, port=free_port())
    with pytest.raises(SourceUnavailable, match="refused or lost"):
        extract(place, row(KPIS), hours(0, 1))


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select * from order_lines where at >= :start and at < :end", 'relation "order_lines" does not exist'),
        ("select amout from orders where ordered_at >= :start and ordered_at < :end", 'column "amout" does not exist .*orders.amount'),
        ("select 1/0 from orders where ordered_at >= :start and ordered_at < :end or true", "division by zero"),
        ("select from where :start :end", "syntax error"),
        (CHECKOUT.replace("as tried", "as attempts"), "finds no column 'tried'"),
        (CHECKOUT.replace("as tried", "as paid"), "called 'paid'"),
        ("with gone as (delete from orders returning *) select * from gone where :start < :end", "wants to write"),
        ("select setval('orders_id_seq', 1) where :start < :end", "wants to write"),
    ],
)
def test_a_query_that_cannot_be_answered_is_named(shop, place, sql, said):
    order = shop.order(START)
    with pytest.raises(SourceRejected, match=said) as caught:
        extract(place, row({**KPIS, "name": "checkout", "sql": sql}), hours(0, 1))
    assert "query 'checkout'" in str(caught.value) or "called" in str(caught.value)
    assert shop.run("select id from orders") == [(order,)]
    assert landed(place, "journey_kpis").is_empty()


def test_a_query_that_takes_too_long_is_cancelled(shop, place):
    sql = CHECKOUT.replace("from orders", "from orders, pg_sleep(10)")
    shop.order(START)
    with pytest.raises(SourceUnavailable, match="longer than 1 s"):
        extract(place, row({**KPIS, "sql": sql}, statement_timeout_seconds=1), hours(0, 1))


def test_a_connection_lost_in_the_middle_lands_nothing_and_the_next_run_heals(shop, place):
    shop.run(
        "insert into orders (amount, ordered_at, updated_at) select 1, t, t from generate_series(%s, %s, '1 second') as t",
        START,
        START + HOUR,
    )
    sql = (
        "select 'm' as metric, 'shop' as service, ordered_at as ts, 1 as value from orders where :start <= ordered_at and ordered_at < :end"
    )
    source = row({"entity": "metric_points", "sql": sql}, rows_per_batch=100)

    def interrupted() -> Iterator[Any]:
        for number, batch in enumerate(open_source(source, place).extract(hours(0, 1))):
            if number == 5:
                shop.run(f"select pg_terminate_backend(pid) from pg_stat_activity where {OTHERS}")
            yield batch

    with pytest.raises(SourceUnavailable, match="refused or lost"):
        landing.land(place, source, hours(0, 1), interrupted(), ingested_at=START)
    assert landed(place).is_empty()
    assert extract(place, source, hours(0, 1), "metric_points").landed == 3600


MEASURE = """
import resource, sys
from datetime import timedelta
from pathlib import Path
from tests.integration.test_postgres import START, deployment, extract, open_source, row, Window
place, days = deployment(Path(sys.argv[1])), int(sys.argv[2])
sql = "select id::text as metric, 'shop' as service, ordered_at as ts, amount as value, note::text as attributes from orders" \\
    " where ordered_at >= :start and ordered_at < :end"
source = row({"entity": "metric_points", "sql": sql})
def peak(days):
    window = Window(START, START + timedelta(days=days))
    rows = sum(batch.frame.height for batch in open_source(source, place).extract(window))
    return rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(*peak(1), *peak(days))
"""


def test_a_million_rows_are_streamed_in_bounded_memory(shop, tmp_path):
    shop.run(
        "insert into orders (amount, ordered_at, updated_at, note) select 1, t, t, jsonb_build_object('k', repeat('x', 200))"
        " from generate_series(%s, %s, '864 milliseconds') as t",
        START,
        START + 10 * DAY - timedelta(seconds=1),
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", MEASURE, tmp_path, "10"], check=True, capture_output=True, text=True, env=environment)
    few, before, many, after = map(int, done.stdout.split()[-4:])
    print(f"{few:,} rows: {before} MiB; {many:,} rows: {after} MiB")
    assert many >= 999_990
    assert after - before < 60, "ten times the rows take no more memory (held at once they take 600 MiB)"
