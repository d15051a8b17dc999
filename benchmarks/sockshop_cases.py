"""Sock Shop in its original layout (`<case>/<repetition>/{normal,anomalous}.parquet`), as the frames correlation reads.

One environment and one incident per repetition; columns are `<service>_<metric>` at one second. No call graph, no change feed, no service
named by the incident: telemetry is all there is. The label, the service in the name of the case's folder, is kept apart from the frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from aftercast.correlation import Inputs
from benchmarks.cases import Label, Suite

CALM, HURT = "normal.parquet", "anomalous.parquet"
METRICS = {
    "cpu": ("cpu_usage", "gauge", ""),
    "mem": ("memory_usage", "gauge", "bytes"),
    "lod": ("requests_per_second", "gauge", ""),
    "lat_50": ("latency_p50", "gauge", "s"),
    "lat_90": ("latency_p90", "gauge", "s"),
    "lat_99": ("latency_p99", "gauge", "s"),
}
SECOND = timedelta(seconds=1)


def read(data: Path) -> Suite:
    """Read every repetition under `data`.

    The two files of a repetition may lie hours or days apart; stamps are kept as they are.

    Raises:
        SystemExit: no repetition with both files was found, or a column is not `<service>_<metric>`.
    """
    points: list[pl.DataFrame] = []
    incidents: list[dict[str, object]] = []
    labels: dict[str, Label] = {}
    nodes: dict[str, tuple[str, ...]] = {}
    for path in sorted(data.glob(f"*/*/{HURT}")):
        folder = path.parent
        calm = folder / CALM
        if not calm.is_file():
            continue
        case, repetition = folder.parent.name, folder.name
        environment = f"{case}/{repetition}"
        during = _points(path, environment)
        points += [_points(calm, environment), during]
        started, last = during["bucket_at"].min(), during["bucket_at"].max()
        assert isinstance(started, datetime)
        assert isinstance(last, datetime)
        nodes[environment] = tuple(sorted(during["service"].unique()))
        incidents.append(
            {
                "incident_id": environment,
                "title": "an application of several services is in trouble",
                "environment": environment,
                "started_at": started,
                "impact_end_at": last + SECOND,
            }
        )
        service, _, fault = case.rpartition("-")
        labels[environment] = Label("service", service, service, fault)
    if not incidents:
        raise SystemExit(f"no sockshop repetition with {CALM} and {HURT} under {data}")
    metric_points = pl.concat(points)
    last = metric_points["bucket_at"].max()
    assert isinstance(last, datetime)
    services = sorted({node for names in nodes.values() for node in names})
    inputs = Inputs.of(
        {
            "incidents": pl.DataFrame(incidents),
            "metric_points": metric_points,
            "services": pl.DataFrame({"service": services, "kind": "service"}),
        }
    )
    return Suite(inputs, last + SECOND, labels, nodes)


def _points(path: Path, environment: str) -> pl.DataFrame:
    """Long points of one file; a stamp is whole seconds since 1970, UTC."""
    wide = pl.read_parquet(path)
    at = pl.from_epoch(pl.col("time").cast(pl.Int64), time_unit="s").dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    wide = wide.select(at.alias("bucket_at"), *(pl.col(name).cast(pl.Float64) for name in wide.columns if name != "time"))
    names = pl.DataFrame(list(_names(wide.columns[1:], path)), schema=["column", "service", "metric", "kind", "unit"], orient="row")
    return (
        wide.unpivot(index="bucket_at", variable_name="column", value_name="value")
        .filter(pl.col("value").is_finite())
        .join(names, on="column")
        .select(
            pl.lit(environment).alias("environment"),
            "service",
            pl.lit("").alias("region"),
            "metric",
            pl.lit("").alias("attributes"),
            "kind",
            "unit",
            "bucket_at",
            "value",
        )
    )


def _names(columns: list[str], path: Path) -> Iterator[tuple[str, str, str, str, str]]:
    for column in columns:
        ending = next((ending for ending in METRICS if column.endswith(f"_{ending}")), None)
        if ending is None:
            raise SystemExit(f"{path}: column {column!r} is not <service>_<metric> with a metric of {', '.join(METRICS)}")
        yield (column, column.removesuffix(f"_{ending}"), *METRICS[ending])
