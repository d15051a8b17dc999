"""Watched points are laid out day by day: what came of any order of arrivals is what a rebuild gives, and nothing else is laid out again.

The warehouse is a small one of the tables `watch` reads; that dbt keeps them so is the promise of tests/warehouse/test_by_day.py.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from aftercast import warehouse
from aftercast.errors import LandingError
from aftercast.landing import storage, watched, working
from aftercast.settings import Settings
from aftercast.steps import refreshing

START = date(2026, 9, 7)
ERRORS = {"name": "error_ratio", "fact": "metric", "numerator": "errors", "denominator": "requests", "by": ["service"]}
REQUESTS = {"name": "requests", "fact": "metric", "value": "requests", "by": ["service", "region"], "grain_minutes": 60}
LATENCY = {"name": "latency", "fact": "metric", "value": "latency", "aggregate": "mean", "by": ["service"]}
SALES = {"name": "sales", "fact": "kpi", "value": "revenue_minor", "per": "minute", "by": ["journey", "region"], "grain_minutes": 15}
ODD = {"name": "odd", "fact": "metric", "value": "latency", "aggregate": "max", "by": ["service"], "grain_minutes": 7}
SIGNALS = (ERRORS, REQUESTS, LATENCY, SALES)
Row = tuple[Any, ...]

POINTS = {
    "series_key": pl.String,
    "environment": pl.String,
    "service": pl.String,
    "region": pl.String,
    "metric": pl.String,
    "attributes": pl.String,
    "kind": pl.String,
    "bucket_at": pl.Datetime("us", "UTC"),
    "value": pl.Float64,
    "n_samples": pl.Int64,
}
KPIS = {
    **dict.fromkeys(("journey", "step", "region", "tier", "plan", "country"), pl.String),
    "bucket_at": pl.Datetime("us", "UTC"),
    "attempts": pl.Int64,
    "successes": pl.Int64,
    "revenue_minor": pl.Int64,
    "earns": pl.Boolean,
}
# As the models of these names make them.
TABLES = """
create schema star;
create schema intermediate;
create table star.dim_journey as select 'pay' as journey, {grain} as grain_minutes;
create table star.dim_run as select timestamptz '2026-10-01' as as_of;
create table star.fct_incident (
    incident_id varchar, environment varchar, region varchar, mode varchar, status varchar,
    started_at timestamptz, impact_end_at timestamptz
);
create table star.bridge_incident_service (incident_id varchar, service varchar);
create table star.fct_change (
    change_id varchar, kind varchar, environment varchar, service varchar, region varchar, started_at timestamptz, finished_at timestamptz
);
create table star.fct_kpi_point as select * from kpis;
create table intermediate.int_metric_points__bucketed as select * from points;
create table intermediate.int_metric_points__bucketed__days as select * from days;
create table intermediate.int_metric_points__counted as
select
    series_key, service, environment, region, metric, kind, time_bucket(interval '1 day', bucket_at) as day_at, n_samples,
    count(*) as n_buckets
from points group by all;
create table intermediate.int_metric_points__series as
select series_key, cast(quantile_disc(n_samples, 0.5) as bigint) as expected_samples from points group by series_key;
create view star.fct_metric_point as
select points.*, series.expected_samples
from intermediate.int_metric_points__bucketed as points
inner join intermediate.int_metric_points__series as series on points.series_key = series.series_key;
"""


@dataclass
class World:
    """What has landed, and the declarations. Days are numbers from START on."""

    folder: Path
    metrics: dict[int, list[Row]] = field(default_factory=dict)
    kpis: dict[int, list[Row]] = field(default_factory=dict)
    signals: tuple[dict[str, Any], ...] = SIGNALS
    journey_grain: int = 15

    def land(self, day: int, services: tuple[str, ...] = ("cart", "web"), *, seed: int = 0, hours: int = 3, short: bool = False) -> None:
        """Points of a day, at its begin and its end; whatever lay there is replaced. `short`: buckets hold fewer samples."""
        chance = random.Random(f"{day} {services} {seed} {hours}")
        midnight = datetime(START.year, START.month, START.day, tzinfo=UTC) + timedelta(days=day)
        times = [midnight + timedelta(minutes=minute) for minute in (*range(0, hours * 60, 5), *range(1380, 1440, 5))]
        self.metrics[day] = sorted(
            (
                *(f"{service}{region}{metric}{attributes}", "production", service, region, metric, attributes, kind, moment),
                *(chance.lognormvariate(3, 1), 1 if short and chance.random() < 0.8 else 2),
            )
            for service in services
            for region in ("eu", "us")
            for metric, kind in (("requests", "counter"), ("errors", "counter"), ("latency", "gauge"))
            for attributes in ("", "code=500")
            for moment in times
        )
        self.kpis[day] = [
            ("pay", "buy", region, "", "", country, moment, chance.randint(1, 99), 0, chance.randint(0, 9999), True)
            for region in ("eu", "us")
            for country in ("de", "fr")
            for moment in times[::3]
        ]

    def fingerprint(self, day: int) -> str:
        return hashlib.sha256(repr(self.metrics[day]).encode()).hexdigest()

    def home(self, name: str, order: Callable[[list[int]], list[int]] = sorted) -> Settings:
        """A home with the warehouse of what has landed; `order` is that in which its days came."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        config = self.folder / "config"
        config.mkdir(exist_ok=True)
        (config / "sources.yml").write_text(
            json.dumps({"company": "Small", "history": {"start": "2026-09-01", "end": "2026-10-01"}, "sources": []})
        )
        (config / "signals.yml").write_text(json.dumps({"signals": list(self.signals)}))
        settings = Settings(home=home, config=config)
        settings.warehouse.unlink(missing_ok=True)
        days = order(list(self.metrics))
        with warehouse.connect(settings.warehouse, read_only=False) as connection:
            rows = [row for day in days for row in self.metrics[day]]
            connection.register("points", pl.DataFrame(rows, schema=POINTS, orient="row").to_arrow())
            rows = [row for day in days for row in self.kpis[day]]
            connection.register("kpis", pl.DataFrame(rows, schema=KPIS, orient="row").sort(pl.all()).to_arrow())
            known = [(f"{START + timedelta(days=day)}", self.fingerprint(day), "sql") for day in days]
            schema = {"day": pl.String, "fingerprint": pl.String, "made_by": pl.String}
            connection.register("days", pl.DataFrame(known, schema=schema, orient="row").to_arrow())
            for statement in TABLES.format(grain=self.journey_grain).split(";"):
                if statement.strip():
                    warehouse.execute(connection, statement)
        return settings


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    for day in range(4):
        world.land(day)
    return world


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[[Settings], pl.DataFrame]:
    """Run the task in a home; returns all that its chunks read."""

    def run(settings: Settings) -> pl.DataFrame:
        monkeypatch.setenv("AFTERCAST_HOME", str(settings.home))
        monkeypatch.setenv("AFTERCAST_CONFIG", str(settings.config))
        monkeypatch.setattr(refreshing, "SERIES_PER_TASK", 8)
        chunks = [working.Chunk.parse(chunk) for chunk in refreshing.watch()]
        names = [signal.name for signal in Settings.from_environment().deployment.signals]
        found = [watched.read(settings, name, chunk) for chunk in chunks for name in names]
        text = pl.col(pl.Categorical).cast(pl.String)
        return (
            pl.concat([rows.with_columns(text) for rows in found if rows is not None])
            if any(x is not None for x in found)
            else pl.DataFrame()
        )

    return run


def files(settings: Settings) -> dict[str, int]:
    """When each file of points was written, by its place."""
    area = settings.derived / "watched"
    return {path.relative_to(area).as_posix(): path.stat().st_mtime_ns for path in sorted(area.rglob("20*.parquet"))}


def days_written(before: dict[str, int], after: dict[str, int]) -> set[int]:
    return {(date.fromisoformat(Path(name).stem) - START).days for name, when in after.items() if before.get(name) != when}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the signals whose points were read from the star, in turn."""
    from aftercast import detection

    original, found = detection.signal_query, list[str]()

    def told(signal: Any, *days: Any) -> str:
        found.append(signal.name)
        return original(signal, *days)

    monkeypatch.setattr(detection, "signal_query", told)
    return found


def test_laid_out_points_are_those_of_the_signal_s_query(world: World, watch: Callable[[Settings], pl.DataFrame]):
    from aftercast import detection

    world.signals = (*SIGNALS, ODD)
    del world.metrics[0]
    settings = world.home("a")
    found = watch(settings)
    with warehouse.connect(settings.warehouse) as connection:
        warehouse.execute(connection, "set threads = 1")
        asked = pl.concat(
            warehouse.frame(connection, detection.signal_query(row)) for row in Settings.from_environment().deployment.signals
        )
        series = [
            name
            for row in Settings.from_environment().deployment.signals
            for name in warehouse.frame(connection, detection.series_query(row))["series_id"]
        ]
    # Over a bucket of two days the points of the whole table come in another order, and a sum may end in another digit.
    rounded = pl.col(pl.Float64).round_sig_figs(12)
    assert found.sort("series_id", "bucket_at").with_columns(rounded).equals(asked.sort("series_id", "bucket_at").with_columns(rounded))
    assert sorted(series) == sorted(found["series_id"].unique())
    assert found.filter(pl.col("signal") == "odd")["bucket_at"].dt.date().n_unique() == 4, (
        "a bucket of seven minutes begins before midnight"
    )


def test_only_days_that_changed_are_laid_out_again(world: World, watch: Callable[[Settings], pl.DataFrame], asked: list[str]):
    settings = world.home("a")
    watch(settings)
    first = files(settings)
    watch(world.home("a"))
    assert files(settings) == first
    asked.clear()
    world.land(1, seed=1)
    world.land(4)
    found = watch(world.home("a"))
    assert days_written(first, files(settings)) == {1, 4}
    assert found.equals(watch(world.home("again")))


def test_a_day_that_went_away_goes(world: World, watch: Callable[[Settings], pl.DataFrame]):
    settings = world.home("a")
    watch(settings)
    before = files(settings)
    del world.metrics[0], world.kpis[0]
    found = watch(world.home("a"))
    assert days_written(before, files(settings)) == set()
    assert len(files(settings)) == len(before) * 3 // 4
    assert found["bucket_at"].dt.date().min() == START + timedelta(days=1)


def test_another_declaration_lays_out_its_own_signal(world: World, watch: Callable[[Settings], pl.DataFrame], asked: list[str]):
    watch(world.home("a"))
    for signals, laid_out in (
        ((ERRORS, REQUESTS, LATENCY | {"sensitivity": 2.0}, SALES), set()),
        ((ERRORS, REQUESTS, LATENCY | {"aggregate": "max"}, SALES), {"latency"}),
        ((ERRORS, LATENCY | {"aggregate": "max"}, SALES), set()),
        ((ERRORS, LATENCY | {"aggregate": "max"}, SALES, ODD), {"odd"}),
    ):
        world.signals = signals
        asked.clear()
        found = watch(world.home("a"))
        assert set(asked) == laid_out
        assert set(found["signal"]) == {signal["name"] for signal in signals}
        again = world.home("again")
        assert found.equals(watch(again))
        for path in again.derived.rglob("*.parquet"):
            path.unlink()


def test_other_code_lays_out_everything(world: World, watch: Callable[[Settings], pl.DataFrame], monkeypatch: pytest.MonkeyPatch):
    settings = world.home("a")
    watch(settings)
    before = files(settings)
    monkeypatch.setattr(refreshing, "code_version", lambda: "another")
    watch(settings)
    assert days_written(before, files(settings)) == {0, 1, 2, 3}


def test_what_became_usual_of_a_series_changes_the_days_it_had_less(world: World, watch: Callable[[Settings], pl.DataFrame]):
    world.land(0, short=True)
    settings = world.home("a")
    whole = watch(settings).filter(pl.col("signal") == "requests")["value"].null_count()
    before = files(settings)
    for day in (4, 5, 6):
        world.land(day, short=True, hours=20)
    found = watch(world.home("a"))
    assert days_written(before, files(settings)) == {0, 4, 5, 6}, "days whose buckets hold as many as before stay"
    assert found.filter(pl.col("signal") == "requests", pl.col("bucket_at").dt.date() == START)["value"].null_count() < whole
    assert found.equals(watch(world.home("again")))


def test_a_journey_counted_in_other_buckets_lays_out_what_is_told_per_minute(
    world: World, watch: Callable[[Settings], pl.DataFrame], asked: list[str]
):
    watch(world.home("a"))
    world.journey_grain = 30
    asked.clear()
    found = watch(world.home("a"))
    assert set(asked) == {"sales"}
    assert found.equals(watch(world.home("again")))


@pytest.mark.parametrize("damage", ["gone", "cut", "pages"])
def test_a_file_that_was_lost_or_cut_is_laid_out_again(world: World, watch: Callable[[Settings], pl.DataFrame], damage: str):
    settings = world.home("a")
    whole = watch(settings)
    before = files(settings)
    path = max((settings.derived / "watched").rglob(f"{START + timedelta(days=2)}.parquet"), key=lambda path: path.stat().st_size)
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content[:4] + b"\xff" * 200 + content[204:])
        with pytest.raises(LandingError, match=r"2026-09-09.parquet is damaged and was deleted; clear refresh_warehouse.watch"):
            watch(settings)
        with pytest.raises(LandingError, match=r"2026-09-09.parquet is gone; clear refresh_warehouse.watch"):  # the task's next try
            number, of = (int(folder.name.partition("=")[2]) for folder in (path.parent, path.parent.parent))
            watched.read(settings, str(SIGNALS[0]["name"]), working.Chunk(number, of))
    assert watch(settings).equals(whole)
    assert days_written(before, files(settings)) == {2}


def test_rows_that_should_stay_and_cannot_be_read_are_laid_out_too(world: World, watch: Callable[[Settings], pl.DataFrame]):
    settings = world.home("a")
    watch(settings)
    path = max((settings.derived / "watched").rglob(f"{START + timedelta(days=2)}.parquet"), key=lambda path: path.stat().st_size)
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 200 + content[204:])
    world.signals = (*SIGNALS, ODD)
    assert watch(world.home("a")).equals(watch(world.home("again")))


def test_a_killed_task_goes_on_where_it_was(world: World, watch: Callable[[Settings], pl.DataFrame], monkeypatch: pytest.MonkeyPatch):
    watch(world.home("a"))
    original = storage.write
    world.land(1, seed=1)
    world.signals = (ERRORS | {"by": ["service", "region"]}, *SIGNALS[1:])
    wanted = watch(world.home("again"))
    for kill_at in (1, 4, 8):
        left = [kill_at]

        def write(*arguments: Any, left: list[int] = left, **named: Any) -> bool:
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt
            return original(*arguments, **named)

        settings = world.home("a")
        monkeypatch.setattr(storage, "write", write)
        with pytest.raises(KeyboardInterrupt):
            watch(settings)
        monkeypatch.setattr(storage, "write", original)
        if kill_at == 4:  # as though what had come was taken back before the task ran again
            back = World(world.folder, dict(world.metrics), dict(world.kpis))
            back.land(1)
            reverted = watch(back.home("a"))
            assert reverted.equals(watch(back.home(f"back-{kill_at}")))
            world.home("a")
        assert watch(settings).equals(wanted), kill_at
        for path in settings.derived.rglob("20*.parquet") if kill_at == 8 else ():
            path.unlink()
        watch(World(world.folder, {0: world.metrics[0]}, {0: world.kpis[0]}).home("a"))


def test_nothing_to_watch_is_nothing_to_read(tmp_path: Path, watch: Callable[[Settings], pl.DataFrame]):
    empty = World(tmp_path)
    settings = empty.home("a")
    assert watch(settings).is_empty()
    assert files(settings) == {}


def steps(chance: random.Random, world: World) -> Iterator[str]:
    """Arrivals in any order: new days, late rows, days and series that go, other declarations, files that are lost."""
    for _ in range(6):
        what = chance.choice(["new", "new", "late", "late", "gone", "series", "declared", "short", "lost", "grain"])
        day = chance.randint(0, 7)
        if what in ("new", "late"):
            world.land(day, seed=chance.randint(0, 99), hours=chance.choice([1, 3]))
        elif what == "gone" and len(world.metrics) > 1:
            gone = chance.choice(sorted(world.metrics))
            del world.metrics[gone], world.kpis[gone]
        elif what == "series":
            world.land(day, chance.choice([("cart",), ("cart", "web", "search"), ("search",), tuple(f"s-{n}" for n in range(9))]))
        elif what == "declared":
            rows = (*SIGNALS, ODD, LATENCY | {"name": "worst", "aggregate": "max"})
            world.signals = tuple(
                row | ({"grain_minutes": chance.choice([5, 7, 60])} if row["fact"] == "metric" else {})
                for row in rows
                if chance.random() < 0.7
            )
        elif what == "short":
            world.land(day, short=True, hours=chance.choice([3, 12]))
        elif what == "lost":
            paths = sorted((world.folder / "grown").rglob("20*.parquet"))
            for path in chance.sample(paths, min(3, len(paths))):
                path.unlink() if chance.random() < 0.5 else path.write_bytes(path.read_bytes()[:100])
        else:
            world.journey_grain = chance.choice([5, 15, 30])
        yield what


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_arrivals_ends_as_a_rebuild(tmp_path: Path, watch: Callable[[Settings], pl.DataFrame], seed: int):
    chance, world = random.Random(seed), World(tmp_path)
    order = list(range(8))
    chance.shuffle(order)
    for number, what in enumerate(steps(chance, world)):
        # The days of the grown warehouse lie in the order they came; those of a rebuilt one in that of time.
        grown = watch(world.home("grown", lambda days: sorted(days, key=order.index)))
        rebuilt = watch(world.home(f"rebuilt-{number}"))
        assert grown.equals(rebuilt), (number, what)
    assert len(files(world.home("grown"))) > 0
