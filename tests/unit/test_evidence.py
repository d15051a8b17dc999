"""Promises of single checks, read from the evidence rows they write."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from aftercast.correlation import correlate
from aftercast.correlation.graph import Graph
from aftercast.correlation.semantics import meaning
from tests.unit.correlate_fixture import AS_OF, END, ONSET, START, change, incident, inputs, points

CASCADE = {"store": 0.5, "api": 0.5, "web": 0.4}


def evidence(candidate: str, check: str, kind: str | None = None, **given: Any) -> dict[str, Any] | None:
    """The row of one check about one candidate, if it was written."""
    rows = correlate(inputs(**given), AS_OF).evidence.filter((pl.col("candidate_id") == candidate) & (pl.col("check_name") == check))
    rows = rows if kind is None else rows.filter(pl.col("kind") == kind)
    return rows.row(0, named=True) if rows.height else None


def strength(candidate: str, check: str, **given: Any) -> float:
    row = evidence(candidate, check, **given)
    assert row is not None, f"{check} wrote nothing about {candidate}"
    return float(row["strength"])


def gauge(metric: str, service: str, values: list[float], unit: str = "") -> pl.DataFrame:
    times = [START + timedelta(minutes=5 * bucket) for bucket in range(len(values))]
    return pl.DataFrame({"bucket_at": times, "value": values}).with_columns(
        service=pl.lit(service),
        metric=pl.lit(metric),
        kind=pl.lit("gauge"),
        unit=pl.lit(unit),
        environment=pl.lit("production"),
        region=pl.lit(""),
    )


@pytest.mark.parametrize(
    ("metric", "unit", "symptom", "hurts"),
    [
        ("latency_p95_ms", "ms", "latency", 1),
        ("http.server.request.duration", "s", "latency", 1),
        ("requestErrors", "", "errors", 1),
        ("http_5xx", "", "errors", 1),
        ("availability_average", "percent", "availability", -1),
        ("success_ratio", "", "availability", -1),
        ("cpu_usage", "", "saturation", 1),
        ("requests", "1", "traffic", 0),
        ("mystery", "", "other", 0),
        ("mystery", "ms", "latency", 1),
    ],
)
def test_a_metric_name_tells_the_symptom_and_the_direction_that_hurts(metric: str, unit: str, symptom: str, hurts: int) -> None:
    assert (meaning(metric, unit).symptom, meaning(metric, unit).hurts) == (symptom, hurts)


def test_the_origin_ranks_above_the_victims_that_call_it() -> None:
    origin = strength("store", "origin_or_victim", failing=CASCADE)
    victim = evidence("web", "origin_or_victim", failing=CASCADE)
    assert origin > 0.5
    assert victim is not None
    assert victim["strength"] < -1
    assert "victim: api" in victim["why"]


def test_errors_that_grow_with_demand_are_no_deviation() -> None:
    busy = points().with_columns(
        pl.when(pl.col("bucket_at").is_between(ONSET, END) & pl.col("metric").is_in(["requests", "errors"]))
        .then(pl.col("value") * 3)
        .otherwise(pl.col("value"))
        .alias("value")
    )
    assert strength("web", "service_deviates", metric_points=busy) < 0.5


def test_latency_that_falls_does_not_hurt() -> None:
    better = points().with_columns(
        pl.when((pl.col("bucket_at") >= ONSET) & (pl.col("metric") == "latency_p95_ms"))
        .then(40.0)
        .otherwise(pl.col("value"))
        .alias("value")
    )
    assert strength("web", "service_deviates", metric_points=better) < 0


def test_a_flat_history_does_not_turn_a_ripple_into_evidence() -> None:
    ripple = [100.0] * 3 * 288
    for bucket in range(int((ONSET - START) / timedelta(minutes=5)), len(ripple)):
        ripple[bucket] = 99.9
    assert strength("web", "service_deviates", metric_points=gauge("availability", "web", ripple, "percent")) < 0


def test_a_drop_of_a_flat_availability_is_a_deviation() -> None:
    fallen = [100.0] * 3 * 288
    for bucket in range(int((ONSET - START) / timedelta(minutes=5)), len(fallen)):
        fallen[bucket] = 90.0
    assert strength("web", "service_deviates", metric_points=gauge("availability", "web", fallen, "percent")) > 2


def test_the_onset_is_measured_although_the_report_is_late() -> None:
    late = [incident(started_at=ONSET + timedelta(minutes=25))]
    row = evidence("c", "change_before_onset", incidents=late, failing=CASCADE, changes=[change("c", "store")])
    assert row is not None
    assert json.loads(row["pointer"])["onset"] == "2026-09-23T12:00:00Z"
    assert "8 min before" in row["why"]


def test_a_history_that_ended_days_earlier_still_gives_a_normal() -> None:
    gap = points(CASCADE).filter(
        (pl.col("bucket_at") < START + timedelta(hours=12)) | (pl.col("bucket_at") >= ONSET - timedelta(minutes=10))
    )
    assert strength("store", "service_deviates", metric_points=gap) > 1


def test_too_short_a_history_keeps_silent() -> None:
    short = points(CASCADE).filter(pl.col("bucket_at").is_between(ONSET - timedelta(minutes=30), END))
    assert evidence("store", "service_deviates", metric_points=short) is None


def test_an_earlier_incident_is_not_part_of_the_normal() -> None:
    first, last = START + timedelta(hours=6), ONSET - timedelta(hours=3)
    long_trouble = points(CASCADE).with_columns(
        pl.when(pl.col("bucket_at").is_between(first, last) & (pl.col("metric") == "errors"))
        .then(750.0)
        .otherwise(pl.col("value"))
        .alias("value")
    )
    rows = [incident("INC-0", onset=first, impact_end_at=last), incident("INC-1")]
    found = correlate(inputs(incidents=rows, metric_points=long_trouble), AS_OF).evidence.filter(
        (pl.col("incident_id") == "INC-1") & (pl.col("candidate_id") == "store") & (pl.col("check_name") == "service_deviates")
    )
    assert found["strength"][0] > 2


def test_a_change_in_the_region_that_hurts_speaks_and_one_elsewhere_does_not() -> None:
    regional = pl.concat([points(CASCADE).with_columns(region=pl.lit("eu")), points(seed=2).with_columns(region=pl.lit("us"))])
    changes = [change("here", "store", region="eu"), change("there", "store", region="us")]
    assert strength("here", "region_of_change", metric_points=regional, changes=changes) > 0.5
    assert strength("there", "region_of_change", metric_points=regional, changes=changes) < -1


def test_a_service_that_hurt_before_the_change_speaks_against_it() -> None:
    reported_late = [incident(started_at=ONSET + timedelta(minutes=20))]
    assert strength("c", "hurt_before_change", incidents=reported_late, failing=CASCADE, changes=[change("c", "store", before=-10)]) < -1


def test_a_pool_that_fills_for_hours_speaks_for_the_service_itself() -> None:
    onset = int((ONSET - START) / timedelta(minutes=5))
    level = [0.4 + 0.005 * (bucket % 3) for bucket in range(3 * 288)]
    for step in range(36):
        level[onset - 36 + step] = 0.4 + 0.012 * step
    filling = pl.concat([points(CASCADE), gauge("pool_saturation", "store", level, "ratio")], how="diagonal_relaxed")
    row = evidence("store", "saturation", kind="service", metric_points=filling)
    assert row is not None
    assert "filling up for hours" in row["why"]
    assert evidence("store", "saturation", metric_points=points(CASCADE)) is None


def test_a_message_that_names_a_callee_speaks_for_the_callee_not_for_its_author() -> None:
    before = pl.DataFrame(
        {"bucket": [START + timedelta(hours=hour) for hour in range(48)], "pattern": "slow page", "severity": "warn", "count": 2}
    )
    new = pl.DataFrame({"bucket": [ONSET], "pattern": ["call to card failed: timeout"], "severity": ["error"], "count": [40]})
    logs = pl.concat([before, new], how="diagonal_relaxed").with_columns(
        service=pl.lit("api"), environment=pl.lit("production"), region=pl.lit("")
    )
    assert strength("card", "novel_log_pattern", failing={"card": 0.8, "api": 0.3}, log_patterns=logs) > 0.5
    assert evidence("api", "novel_log_pattern", failing={"card": 0.8, "api": 0.3}, log_patterns=logs) is None


def test_fewer_people_with_healthy_services_speak_for_none() -> None:
    days = 7
    times = [START + timedelta(minutes=5 * bucket) for bucket in range(288 * days)]
    onset = START + timedelta(days=6, hours=12)
    attempts = [500 + (bucket % 7) - 200 * (times[bucket] >= onset) for bucket in range(len(times))]
    kpis = pl.DataFrame(
        {"journey": "buy", "bucket_at": times, "attempts": attempts, "successes": [round(0.9 * count) for count in attempts]}
    )
    rows = correlate(
        inputs(
            incidents=[incident(onset=onset)],
            kpi_points=kpis,
            journeys=pl.DataFrame({"journey": ["buy"], "step": ["pay"], "service": ["web"]}),
        ),
        START + timedelta(days=days),
    ).evidence.filter(pl.col("check_name") == "demand_moved")
    assert rows["strength"][0] > 1
    assert "fewer people came" in rows["why"][0]


def test_distance_is_counted_along_calls_and_not_against_them() -> None:
    assert strength("store", "graph_distance", failing=CASCADE) > strength(
        "web", "graph_distance", failing=CASCADE, incidents=[incident(service="store")]
    )


def test_walks_end_in_cyclic_graphs() -> None:
    graph = Graph.of([("a", "b"), ("b", "a"), ("b", "b"), ("b", "c")])
    assert graph.hops_down(["a"]) == {"a": 0, "b": 1, "c": 2}
    assert graph.hops_up(["c"]) == {"c": 0, "b": 1, "a": 2}


def test_each_row_points_to_where_its_numbers_come_from() -> None:
    rows = correlate(inputs(failing=CASCADE, changes=[change("c", "store")]), AS_OF).evidence
    assert rows.height > 20
    assert all("table" in json.loads(pointer) for pointer in rows["pointer"])
    assert rows.select((pl.col("strength").abs() >= 0.5) == pl.col("is_interesting")).to_series().all()


def test_a_change_undone_before_the_trouble_began_is_not_suspected_any_more() -> None:
    undo = change("undo", "store", before=30, kind="rollback", rolls_back_change_id="old")
    changes = [change("old", "store", before=60), undo]
    assert strength("old", "undone_before_onset", failing=CASCADE, changes=changes) < -2
    assert evidence("old", "undone_before_onset", failing=CASCADE, changes=[changes[0]]) is None


def test_the_trouble_of_the_incident_before_is_not_taken_for_the_onset() -> None:
    first = ONSET - timedelta(minutes=45)
    earlier = points(CASCADE, onset=first)
    both = earlier.with_columns(
        pl.when(pl.col("bucket_at") >= ONSET)
        .then(points(CASCADE)["value"])
        .when(pl.col("bucket_at") >= first + timedelta(minutes=30))
        .then(points()["value"])
        .otherwise(pl.col("value"))
        .alias("value")
    )
    rows = [incident("INC-0", onset=first, impact_end_at=first + timedelta(minutes=30)), incident("INC-1")]
    found = correlate(inputs(incidents=rows, metric_points=both, changes=[change("c", "store", before=4)]), AS_OF).evidence
    row = found.filter((pl.col("incident_id") == "INC-1") & (pl.col("check_name") == "change_before_onset")).row(0, named=True)
    assert json.loads(row["pointer"])["onset"] == "2026-09-23T12:00:00Z"
