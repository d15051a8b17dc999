"""PetShop in its original layout, as the frames correlation reads: one environment per scenario, one incident per issue.

The label (culprit, command) is kept apart from the frames. Node names are used as opaque identifiers only.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from aftercast.correlation import Inputs
from benchmarks.cases import Label, Suite

BUCKET = 300
DECOYS = 4
AFTER_LAST_POINT = timedelta(minutes=5)


def read(data: Path, reference: Path | None, *, with_changes: bool, seed: int) -> Suite:
    """Read every scenario under `data`; normal data comes from the scenario, else from `reference`, else from a sibling scenario.

    Raises:
        SystemExit: no scenario with a graph and an issue was found.
    """
    points: list[pl.DataFrame] = []
    edges: list[dict[str, str]] = []
    incidents: list[dict[str, object]] = []
    hit: list[dict[str, str]] = []
    changes: list[dict[str, object]] = []
    labels: dict[str, Label] = {}
    nodes_of: dict[str, tuple[str, ...]] = {}
    borrowed: list[str] = []
    for graph in sorted(data.glob("*/graph.csv")):
        scenario = graph.parent
        issues = sorted(path.parent for path in scenario.glob("issue_*/target.json"))
        if not issues:
            continue
        nodes, pairs = _graph(graph)
        nodes_of[scenario.name] = nodes
        edges += [{"environment": scenario.name, "caller": caller, "callee": callee} for caller, callee in pairs]
        normal = _normal(scenario, data, reference)
        if normal is not None:
            points.append(_points(normal, scenario.name))
            if normal.parent.parent != scenario:
                borrowed.append(scenario.name)
        for issue in issues:
            target = json.loads((issue / "target.json").read_text(encoding="utf-8"))
            frame = _points(issue / "metrics.csv", scenario.name)
            points.append(frame)
            incident_id = f"{scenario.name}/{issue.name}"
            started = datetime.fromtimestamp(target["target"]["timestamp"], UTC)
            last = frame["bucket_at"].max()
            ended = last + AFTER_LAST_POINT if isinstance(last, datetime) else started
            incidents.append(
                {
                    "incident_id": incident_id,
                    "title": f"{target['target']['metric']} of {target['target']['node']}",
                    "environment": scenario.name,
                    "service_origin": target["target"]["node"],
                    "started_at": started,
                    "impact_end_at": max(ended, started),
                }
            )
            hit.append({"incident_id": incident_id, "service": target["target"]["node"], "role": "impacted"})
            culprit = target["root_cause"]["node"]
            command = target.get("metadata", {}).get("reproducibility", {}).get("command", "")
            fault = f"{target['target']['metric']}/{_kind(command)}"
            labels[incident_id] = Label("service", culprit, culprit, fault)
            if with_changes:
                made = list(_changes(incident_id, scenario.name, culprit, nodes, _kind(command), started, seed))
                changes += made
                labels[incident_id] = Label("change", str(made[0]["change_id"]), culprit, fault)
    if not incidents:
        raise SystemExit(f"no petshop scenario with graph.csv and issue_*/target.json under {data}")
    metric_points = pl.concat(points)
    inputs = Inputs.of(
        {
            "incidents": _frame(incidents),
            "incident_services": pl.DataFrame(hit),
            "metric_points": metric_points,
            "dependencies": pl.DataFrame(edges),
            "services": pl.DataFrame({"service": sorted({node for nodes in nodes_of.values() for node in nodes}), "kind": "service"}),
            **({"changes": _frame(changes)} if changes else {}),
        }
    )
    last = metric_points["bucket_at"].max()
    assert isinstance(last, datetime)
    return Suite(inputs, last + AFTER_LAST_POINT, labels, nodes_of, {"borrowed_normal": borrowed})


def _frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, infer_schema_length=None)


def _graph(path: Path) -> tuple[tuple[str, ...], list[tuple[str, str]]]:
    """Nodes and caller -> callee pairs of an adjacency matrix (row calls column)."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    columns = header[1:]
    pairs = [(row[0], column) for row in rows for column, cell in zip(columns, row[1:], strict=True) if cell and float(cell) > 0]
    return tuple(row[0] for row in rows), pairs


def _normal(scenario: Path, data: Path, reference: Path | None) -> Path | None:
    """Metrics without an issue: of this scenario, in `data` or `reference`; else of the first scenario that has some."""
    folders = [folder for folder in (data, reference) if folder is not None]
    own = [folder / scenario.name / "noissue" / "metrics.csv" for folder in folders]
    any_of = [path for folder in folders for path in sorted(folder.glob("*/noissue/metrics.csv"))]
    bare = [folder / "noissue" / "metrics.csv" for folder in folders]
    return next((path for path in [*own, *bare, *any_of] if path.is_file()), None)


def _points(path: Path, environment: str) -> pl.DataFrame:
    """Long points of a CSV with three header rows (microservice, metric, statistic) and an index row, cut to five-minute buckets."""
    with path.open(encoding="utf-8", newline="") as file:
        services, metrics, statistics, _, *rows = list(csv.reader(file))
    records = [
        (environment, service, *_metric(metric, statistic), int(float(row[0])) // BUCKET * BUCKET * 1_000_000, float(cell))
        for row in rows
        for service, metric, statistic, cell in zip(services[1:], metrics[1:], statistics[1:], row[1:], strict=True)
        if cell not in {"", "nan"}
    ]
    frame = pl.DataFrame(records, schema=["environment", "service", "metric", "kind", "unit", "bucket_at", "value"], orient="row")
    return frame.with_columns(
        pl.col("bucket_at").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        pl.col("value").cast(pl.Float64),
        pl.lit("").alias("region"),
        pl.lit("").alias("attributes"),
    )


def _metric(metric: str, statistic: str) -> tuple[str, str, str]:
    """Name, kind and unit of a column."""
    if metric == "latency":
        return f"latency_{statistic.lower()}", "gauge", "s"
    if statistic == "Sum":
        return metric, "counter", ""
    return metric, "gauge", "percent" if metric == "availability" else ""


def _kind(command: str) -> str:
    if "ssm " in command:
        return "config"
    return "deploy" if "cdk " in command else "infra"


def _changes(
    incident_id: str, environment: str, culprit: str, nodes: tuple[str, ...], kind: str, started: datetime, seed: int
) -> Iterator[dict[str, object]]:
    """The change behind an issue and same-minute decoys of the same kind on other nodes; ids say nothing."""
    chance = random.Random(f"{seed}|{incident_id}")
    others = chance.sample(sorted(set(nodes) - {culprit}), k=min(DECOYS, len(set(nodes) - {culprit})))
    at = (started - timedelta(minutes=chance.randint(1, 10))).replace(second=0, microsecond=0)
    for service in (culprit, *others):
        yield {
            "change_id": f"{chance.getrandbits(48):012x}",
            "kind": kind,
            "service": service,
            "environment": environment,
            "region": "",
            "title": f"{kind} change",
            "started_at": at + timedelta(seconds=chance.randint(0, 59)),
            "finished_at": at + timedelta(minutes=1),
            "result": "success",
        }
