"""Promises about reading metrics: any grain, short histories, flat series, resources alone, points in any form."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercast import warehouse
from aftercast.correlation import Correlation, Inputs, correlate, query
from aftercast.correlation.arranging import arrange
from aftercast.correlation.graph import Graph
from aftercast.correlation.inputs import PACKED, READ
from aftercast.correlation.semantics import Meaning, meaning
from aftercast.correlation.situation import Incident, look
from aftercast.correlation.surroundings import micros
from aftercast.correlation.telemetry import OFF_THE_SCALE, normal_before, panel_of, worst_of
from tests.unit.correlate_fixture import AS_OF, ONSET, START, change, inputs, points, ranked

CASCADE = {"store": 0.5, "api": 0.5, "web": 0.4}


def series(
    service: str,
    metric: str,
    values: np.ndarray[Any, Any],
    *,
    start: datetime = START,
    grain: timedelta = timedelta(seconds=1),
    unit: str = "",
) -> pl.DataFrame:
    times = [start + grain * place for place in range(len(values))]
    return pl.DataFrame({"bucket_at": times, "value": values.astype(float)}).with_columns(
        service=pl.lit(service),
        metric=pl.lit(metric),
        kind=pl.lit("gauge"),
        unit=pl.lit(unit),
        environment=pl.lit("production"),
        region=pl.lit(""),
        attributes=pl.lit(""),
    )


def recording(grain: timedelta, calm: int = 240, hurt: int = 240, *, factor: float = 3.0) -> tuple[pl.DataFrame, datetime, datetime]:
    """Processor and memory of five services; of `b` the processor is busier in the second part. Returns points, start and end of that."""
    chance = np.random.default_rng(5)
    frames = []
    for service in "abcde":
        busy = np.where(np.arange(calm + hurt) >= calm, factor if service == "b" else 1.15, 1.0)
        frames.append(series(service, "cpu_usage", 10 * busy * np.exp(0.05 * chance.standard_normal(calm + hurt)), grain=grain))
        frames.append(series(service, "memory_usage", np.full(calm + hurt, 4e8), grain=grain, unit="bytes"))
    return pl.concat(frames), START + grain * calm, START + grain * (calm + hurt)


def rank_recording(frame: pl.DataFrame, started: datetime, ended: datetime) -> Correlation:
    row = {"incident_id": "INC-1", "title": "trouble", "environment": "production", "started_at": started, "impact_end_at": ended}
    services = pl.DataFrame({"service": list("abcde"), "kind": "service"})
    return correlate(Inputs.of({"incidents": pl.DataFrame([row]), "metric_points": frame, "services": services}), ended)


@pytest.mark.parametrize("grain", [timedelta(seconds=1), timedelta(seconds=15), timedelta(minutes=1), timedelta(minutes=5)])
def test_resources_alone_name_the_service_at_any_grain_without_graph_or_services_hit(grain: timedelta) -> None:
    first, *others = ranked(rank_recording(*recording(grain)))
    assert (first["kind"], first["candidate_id"]) == ("service", "b")
    assert first["probability"] > 0.8
    assert next(row for row in others if row["kind"] == "none")["probability"] < 0.1


def test_nothing_is_said_of_origins_where_no_call_is_known() -> None:
    frame, started, ended = recording(timedelta(seconds=1))
    slow = frame.filter(pl.col("metric") == "cpu_usage").with_columns(metric=pl.lit("latency_ms"))
    checks = rank_recording(pl.concat([frame, slow]), started, ended).evidence["check_name"]
    assert "service_deviates" in checks
    assert "origin_or_victim" not in checks


def test_seconds_of_delay_make_nobody_late() -> None:
    frame, started, ended = recording(timedelta(seconds=1))
    late = (pl.col("service") == "c") & (pl.col("metric") == "cpu_usage") & (pl.col("bucket_at") >= started + timedelta(seconds=20))
    frame = frame.with_columns(pl.when(late).then(pl.col("value") * 3).otherwise("value").alias("value"))
    timing = rank_recording(frame, started, ended).evidence.filter(pl.col("check_name") == "timing_of_deviation")
    assert timing.height >= 2
    assert (timing["strength"] >= 0).all()


def test_a_history_of_minutes_right_before_the_incident_is_a_normal() -> None:
    frame, started, ended = recording(timedelta(seconds=1), calm=60)
    panel = panel_of(frame, [(micros(started), micros(ended))], micros(ended))
    assert panel is not None
    assert not panel.quiet.any()
    normal = normal_before(panel, micros(started), micros(ended))
    assert normal.known.all()
    late = started + timedelta(seconds=15)
    assert ranked(rank_recording(frame, late, ended))[0]["candidate_id"] == "b"
    reported = Incident("INC-1", "", "production", "", (), (), "", micros(late), micros(ended))
    slow = frame.filter(pl.col("metric") == "cpu_usage").with_columns(metric=pl.lit("latency_ms"))
    beside = panel_of(slow, [(micros(late), micros(ended))], micros(ended))
    situation = look(reported, beside, Graph.of([]), micros(ended))
    assert situation.onset_is_measured
    assert situation.onset == micros(started)


def test_the_worst_points_of_an_hour_weigh_alike_at_every_grain() -> None:
    noise = np.random.default_rng(1).standard_normal(3600)
    fine, coarse = worst_of(noise), worst_of(noise[::300])
    assert fine == pytest.approx(np.sort(noise)[-600:].mean())
    assert abs(fine - coarse) < 1
    assert worst_of(np.array([1.0, np.nan, 9.0, 2.0])) == 5.5
    assert worst_of(np.array([np.nan])) == -np.inf


def test_a_gauge_that_was_always_zero_is_compared_with_what_its_metric_shows_elsewhere() -> None:
    flat, others = np.zeros(100), [series(name, "cpu_usage", np.full(100, 50.0)) for name in "bcd"]
    quiet = np.append(flat[:-10], np.full(10, 0.5))
    panel = panel_of(pl.concat([series("a", "cpu_usage", quiet), *others]), [], micros(AS_OF))
    assert panel is not None
    normal = normal_before(panel, int(panel.times[90]), micros(AS_OF))
    assert (0.5 - normal.centre[0]) / normal.up[0] < 1
    alone = panel_of(series("a", "cpu_usage", quiet), [], micros(AS_OF))
    assert alone is not None


def test_a_deviation_off_the_scale_is_told_as_such() -> None:
    frame, started, ended = recording(timedelta(seconds=1), factor=1e9)
    why = rank_recording(frame, started, ended).evidence.filter(
        (pl.col("check_name") == "service_deviates") & (pl.col("candidate_id") == "b")
    )["why"]
    assert f"{OFF_THE_SCALE:.1f} times its usual spread" in why[0]


def test_packed_points_and_rows_rank_alike() -> None:
    made = inputs(failing=CASCADE, changes=[change("c1", "store")])
    keys = [column for column in READ["metric_points"] if column not in {"bucket_at", "value"}]
    point = pl.struct(pl.col("bucket_at").dt.epoch("us").alias("at"), pl.col("value").cast(pl.Float32))
    packed = made.metric_points.group_by(keys).agg(point.alias(PACKED))
    rows = correlate(made, AS_OF)
    lists = correlate(Inputs.of({**{name: getattr(made, name) for name in made.__slots__}, "metric_points": packed}), AS_OF)
    assert lists.candidates.drop("evidence").equals(rows.candidates.drop("evidence"))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.floats(0, 0.5))
def test_points_arrange_alike_in_any_order_with_holes_and_twice_told(seed: int, twice: bool, holes: float) -> None:
    chance = np.random.default_rng(seed)
    frame = pl.concat([series(name, metric, chance.standard_normal(30)) for name in "ab" for metric in ("cpu_usage", "latency_ms")])
    frame = frame.filter(pl.Series(chance.random(frame.height) >= holes))
    if twice:
        again = [frame.with_columns(pl.col("value") + 1e15), frame.with_columns(pl.col("value") - 1e15)]
        frame = pl.concat([frame, *again, frame.with_columns(value=pl.lit(float("nan")))])
    first = arrange(frame.select(pl.all()), micros(AS_OF))
    other = arrange(frame.sample(fraction=1.0, shuffle=True, seed=seed), micros(AS_OF))
    assert first is not None
    assert other is not None
    assert first[0].equals(other[0])
    np.testing.assert_array_equal(first[1], other[1])
    np.testing.assert_array_equal(first[2], other[2])


def test_points_at_or_after_the_as_of_time_are_not_seen() -> None:
    arranged = arrange(series("a", "cpu_usage", np.arange(10.0)), micros(START + timedelta(seconds=4)))
    assert arranged is not None
    assert arranged[2].tolist() == [[0.0, 1.0, 2.0, 3.0]]
    assert arrange(series("a", "cpu_usage", np.arange(3.0)), micros(START)) is None


@pytest.mark.parametrize(
    ("metric", "meant"),
    [
        ("node_memory_MemFree_bytes", Meaning("saturation", -1)),
        ("cpu_idle", Meaning("saturation", -1)),
        ("disk_available_bytes", Meaning("saturation", -1)),
        ("service_available", Meaning("availability", -1)),
        ("page_faults_major", Meaning("saturation", 1)),
        ("http_response_count", Meaning("traffic", 0)),
        ("request_duration_seconds_count", Meaning("traffic", 0)),
        ("request_errors_count", Meaning("errors", 1)),
        ("response_time_ms", Meaning("latency", 1)),
    ],
)
def test_what_is_left_of_a_resource_hurts_when_it_falls_and_counts_are_traffic(metric: str, meant: Meaning) -> None:
    assert meaning(metric) == meant


def test_what_is_read_are_the_columns_correlation_looks_at() -> None:
    with warehouse.connect(None) as connection:
        connection.register("points", points().with_columns(n_samples=pl.lit(5)).to_arrow())
        connection.register(
            "kpis",
            pl.DataFrame(
                {"journey": ["buy", "buy"], "region": ["eu", "eu"], "tier": ["a", "b"], "bucket_at": [ONSET, ONSET], "attempts": [3, 4]}
            ).to_arrow(),
        )
        connection.register("services", pl.DataFrame({"service": ["web"], "owner": ["x"]}).to_arrow())
        read = {
            name: warehouse.frame(connection, query(name, table, connection.sql(f"select * from {table}").columns))
            for name, table in {"metric_points": "points", "kpi_points": "kpis", "services": "services"}.items()
        }
    assert read["metric_points"].height == 15
    assert "n_samples" not in read["metric_points"].columns
    assert read["metric_points"][PACKED].list.len().sum() == points().height
    assert read["kpi_points"]["attempts"].to_list() == [7]
    assert read["services"].columns == ["service"]
