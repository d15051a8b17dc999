"""Metric points are kept day by day: what changed is computed again, nothing else, and the result is that of a rebuild."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from aftercast import detection, landing, transform, warehouse
from aftercast.declarations import SignalRow
from aftercast.settings import Settings
from tests.warehouse import world

FACT = "select * from star.fct_metric_point order by series_key, bucket_at"
DAYS = "select day, fingerprint from intermediate.int_metric_points__bucketed__days order by day"


def land(settings: Settings, day: int, value: float, *, minutes: int = 20, region: str = "") -> None:
    """Land points of a day, one a minute; the file of the day is replaced."""
    start = world.START + timedelta(days=day)
    rows = [
        {"service": "web", "metric": "requests", "region": region, "attributes": "", "kind": "counter", "unit": "1", "value": value}
        | {"ts": start + timedelta(minutes=minute)}
        for minute in range(minutes)
    ]
    world.land(settings, "metric_points", rows, file="points")


def build(settings: Settings, *, as_of: datetime = world.AS_OF, also: str = "code") -> pl.DataFrame:
    """Build the star as a refresh would; return the fact."""
    run: Mapping[str, Any] = world.RUN | {"as_of": as_of}
    world.declare(settings, {"run": [run]})
    landing.write_declared(settings, {"landed_days": landing.landed_days(settings, "metric_points", as_of, also)})
    transform.build_models(settings, ["stg_metric_points", "stg_aliases", "stg_run", "+fct_metric_point"])
    return warehouse.query(settings.warehouse, FACT)


def rebuilt(settings: Settings, **how: Any) -> pl.DataFrame:
    """The fact built from nothing over the same files."""
    settings.warehouse.unlink()
    return build(settings, **how)


def computed_at(settings: Settings) -> dict[str, Any]:
    """A mark put on the rows of each day; a day computed again loses it."""
    rows = warehouse.query(
        settings.warehouse,
        "select strftime(bucket_at, '%d') as day, max(unit) as unit from intermediate.int_metric_points__bucketed group by 1",
    )
    return dict(rows.rows())


def mark(settings: Settings) -> None:
    with warehouse.connect(settings.warehouse, read_only=False) as connection:
        warehouse.execute(connection, "update intermediate.int_metric_points__bucketed set unit = 'kept'")


@pytest.fixture
def settings(tmp_path):
    settings = world.open_settings(tmp_path)
    for day in range(4):
        land(settings, day, day + 1.0)
    return settings


def test_only_days_that_changed_are_computed_again(settings: Settings):
    build(settings)
    mark(settings)
    land(settings, 1, 50.0)
    land(settings, 4, 7.0)
    build(settings)
    assert computed_at(settings) == {"07": "kept", "08": "1", "09": "kept", "10": "kept", "11": "1"}
    (settings.landing / "metric_points/source=hand/date=2026-09-09/points.parquet").unlink()
    mark(settings)
    grown = build(settings)
    assert set(computed_at(settings)) == {"07", "08", "10", "11"}
    assert grown.filter(pl.col("bucket_at").dt.day() == 8)["value"].to_list() == [250.0] * 4
    again = rebuilt(settings)
    assert grown.drop("unit").equals(again.drop("unit"))


def test_what_is_usual_is_the_history_s_even_for_days_that_stay(settings: Settings):
    first = build(settings)
    assert set(first["expected_samples"]) == {5}
    for day in range(4, 12):
        start = world.START + timedelta(days=day)
        rows = [
            {"service": "web", "metric": "requests", "attributes": "", "kind": "counter", "unit": "1", "value": 1.0}
            | {"ts": start + timedelta(minutes=5 * step)}
            for step in range(4)
        ]
        world.land(settings, "metric_points", rows, file="points")
    assert set(build(settings)["expected_samples"]) == {1}


def test_a_later_end_completes_the_day_it_had_cut(settings: Settings):
    cut = world.START + timedelta(days=3, minutes=10)
    assert build(settings, as_of=cut).filter(pl.col("bucket_at") >= world.START + timedelta(days=3)).height == 2
    mark(settings)
    whole = build(settings)
    assert whole.filter(pl.col("bucket_at") >= world.START + timedelta(days=3)).height == 4
    assert computed_at(settings) == {"07": "kept", "08": "kept", "09": "kept", "10": "1"}


def test_other_code_or_other_names_compute_every_day(settings: Settings):
    build(settings)
    mark(settings)
    build(settings, also="other code")
    assert set(computed_at(settings).values()) == {"1"}


def test_a_build_that_was_killed_between_two_days_goes_on(settings: Settings):
    whole = build(settings)
    with warehouse.connect(settings.warehouse, read_only=False) as connection:
        for table, column in (
            ("int_metric_points__bucketed", "strftime(bucket_at, '%Y-%m-%d')"),
            ("int_metric_points__bucketed__days", "day"),
        ):
            warehouse.execute(connection, f"delete from intermediate.{table} where {column} >= '2026-09-09'")
    assert build(settings).equals(whole)


def test_what_is_counted_of_a_day_is_what_there_is_of_it(settings: Settings):
    build(settings)
    land(settings, 1, 50.0, minutes=12)
    land(settings, 2, 50.0, region="eu")
    (settings.landing / "metric_points/source=hand/date=2026-09-07/points.parquet").unlink()
    build(settings)
    counted = "select series_key, region, kind, day_at, n_samples, n_buckets from intermediate.int_metric_points__counted order by all"
    points = """
        select series_key, region, kind, date_trunc('day', bucket_at) as day_at, n_samples, count(*) as n_buckets
        from star.fct_metric_point group by all order by all
    """
    found = warehouse.query(settings.warehouse, counted)
    assert found.equals(warehouse.query(settings.warehouse, points))
    assert found["day_at"].dt.day().to_list().count(8) == 2, "buckets of five samples, and one of two"
    signal = SignalRow.model_validate({"name": "requests", "fact": "metric", "value": "requests", "by": ["service", "region"]})
    marks = warehouse.query(settings.warehouse, detection.marks_query(signal)).sort("day")
    assert marks["day"].to_list() == ["2026-09-08", "2026-09-09", "2026-09-10"]
    assert marks["mark"].n_unique() == 3
    series = warehouse.query(settings.warehouse, detection.series_query(signal))["series_id"]
    assert set(series) == set(warehouse.query(settings.warehouse, detection.signal_query(signal))["series_id"])


def test_a_company_without_points_has_an_empty_fact(tmp_path):
    settings = world.open_settings(tmp_path)
    assert build(settings).is_empty()
    land(settings, 0, 1.0)
    assert build(settings).height == 4
    assert warehouse.query(settings.warehouse, DAYS)["day"].to_list() == ["2026-09-07"]
