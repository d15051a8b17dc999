"""Nezha in its original layout, as the frames correlation reads: one environment per day, one incident per injected fault.

Per day: `<day>_metric`, `_trace`, `_log` (parquet), `_faults.json`, `_dependency.csv`, `_front_service.csv`; what lacks is left out.
Spans and logs are counted by the code of our OTLP source, as a collector that parses these files would send them. Nezha gives spans no
kind: a span below another service's is a server's, one above is a client's, a root is served.
`root_cause_*.json` name the system a day belongs to. The label (service, kind of fault) is kept apart from the frames; service names are
opaque identifiers.
"""

from __future__ import annotations

import csv
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from aftercast.correlation import Inputs
from aftercast.sources.otlp.decoding import Buckets, Place, id_of, nanoseconds
from aftercast.sources.otlp.patterns import Patterns, severity_of, words_of
from aftercast.sources.otlp.traces import CLIENT, INTERNAL, SERVER, Traces, Work, operation_of
from aftercast.window import Window
from benchmarks.cases import Label, Suite

BUCKET = 60
MINUTE = timedelta(minutes=1)
REPORTED_AFTER = MINUTE
LASTED = 2 * MINUTE
SYSTEMS = {"hipster": "OnlineBoutique", "ts": "TrainTicket"}
METRICS = {
    "CpuUsage(m)": ("cpu_usage", "m"),
    "CpuUsageRate(%)": ("cpu_usage_ratio", "percent"),
    "MemoryUsage(Mi)": ("memory_usage", "MiB"),
    "MemoryUsageRate(%)": ("memory_usage_ratio", "percent"),
    "SyscallRead": ("syscalls_read", "1"),
    "SyscallWrite": ("syscalls_write", "1"),
    "NetworkReceiveBytes": ("network_receive_bytes", "By"),
    "NetworkTransmitBytes": ("network_transmit_bytes", "By"),
    "PodServerLatencyP90(s)": ("latency_p90", "s"),
    "PodServerLatencyP95(s)": ("latency_p95", "s"),
    "PodServerLatencyP99(s)": ("latency_p99", "s"),
    "PodWorkload(Ops)": ("requests_per_second", "1/s"),
    "PodSuccessRate(%)": ("success_ratio", "percent"),
}
"""Metrics of a pod under the names its own service would send. Those of the node belong to no service; what a pod waits for others is in
its spans, with the name of the other."""
LEVELS = re.compile(r"^(?P<level>TRACE|DEBUG|INFO|WARN|WARNING|ERROR|FATAL|CRITICAL)\b", re.IGNORECASE)
CLOCK = re.compile(r"^\d\d:\d\d:\d\d[.,]\d+ +")
IDS = re.compile(r"TraceID: *\S+ +SpanID: *\S+ *")


@dataclass(frozen=True, slots=True)
class Fault:
    """An injected fault; `at` is UTC."""

    incident_id: str
    day: str
    at: datetime
    service: str
    kind: str


def read(data: Path) -> Suite:
    """Read every day under `data`.

    Raises:
        SystemExit: no day with faults and metrics was found.
    """
    parts: dict[str, list[pl.DataFrame]] = {}
    faults: list[Fault] = []
    fronts: dict[str, list[str]] = {}
    nodes: dict[str, tuple[str, ...]] = {}
    for path in sorted(data.rglob("*_faults.json")):
        day = path.name.removesuffix("_faults.json")
        files = _files(path.parent, day)
        if "metric" not in files:
            continue
        faults += _faults(path, day)
        frames, fronts[day] = _telemetry(day, files)
        for name, frame in frames.items():
            parts.setdefault(name, []).append(frame)
        nodes[day] = tuple(sorted(frames["metric_points"]["service"].unique()))
    if not faults:
        raise SystemExit(f"no <day>_faults.json with <day>_metric.parquet under {data}")
    systems = _systems(data, faults)
    frames = {name: pl.concat(rows) for name, rows in parts.items()}
    frames["incidents"] = pl.DataFrame([_incident(fault, fronts[fault.day]) for fault in faults])
    frames["incident_services"] = pl.DataFrame(
        [{"incident_id": fault.incident_id, "service": front, "role": "impacted"} for fault in faults for front in fronts[fault.day]]
    )
    frames["services"] = pl.DataFrame({"service": sorted({name for known in nodes.values() for name in known}), "kind": "service"})
    frames["journeys"] = pl.DataFrame(
        [{"journey": f"front of {day}", "step": "open", "service": front} for day, names in fronts.items() for front in names]
    )
    last = frames["metric_points"]["bucket_at"].max()
    assert isinstance(last, datetime)
    labels = {fault.incident_id: Label("service", fault.service, fault.service, f"{systems[fault.day]}/{fault.kind}") for fault in faults}
    groups = {fault.incident_id: systems[fault.day] for fault in faults}
    return Suite(Inputs.of(frames), last + MINUTE, labels, nodes, {"faults": len(faults), "days": sorted(nodes)}, groups)


def _files(folder: Path, day: str) -> dict[str, Path]:
    found = {path.stem.removeprefix(f"{day}_"): path for path in sorted(folder.glob(f"{day}_*")) if path.suffix in {".parquet", ".csv"}}
    return {name: path for name, path in found.items() if path.is_file()}


def service_of(pod: str) -> str:
    """A pod's name without the suffixes of its replica set and its own."""
    return pod.rsplit("-", 2)[0]


def _faults(path: Path, day: str) -> list[Fault]:
    found = []
    for rows in json.loads(path.read_text(encoding="utf-8")).values():
        for row in rows:
            at = datetime.fromisoformat(row["inject_time"]).replace(tzinfo=UTC)
            found.append((at, service_of(row["inject_pod"]), row["inject_type"]))
    return [Fault(f"{day}/{number:02d}", day, *fault) for number, fault in enumerate(sorted(found), start=1)]


def _incident(fault: Fault, front: list[str]) -> dict[str, Any]:
    started = fault.at + REPORTED_AFTER
    return {
        "incident_id": fault.incident_id,
        "title": "the front answers badly",
        "environment": fault.day,
        "service_origin": front[0] if front else None,
        "started_at": started,
        "impact_end_at": started + LASTED,
    }


def _systems(data: Path, faults: list[Fault]) -> dict[str, str]:
    """System of each day: the list of root causes that names most of its faulty services, for the scorer only."""
    known = {
        path.stem.removeprefix("root_cause_"): frozenset(json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(data.rglob("root_cause_*.json"))
    }
    systems = {}
    for day in {fault.day for fault in faults}:
        hits = {name: sum(fault.service in services for fault in faults if fault.day == day) for name, services in known.items()}
        best = max(hits, key=lambda name: (hits[name], name), default="")
        systems[day] = SYSTEMS.get(best, best) if hits.get(best) else day
    return systems


def _telemetry(day: str, files: Mapping[str, Path]) -> tuple[dict[str, pl.DataFrame], list[str]]:
    """Frames of one day, and the services people reach first."""
    points = _points(files["metric"], day)
    frames: dict[str, pl.DataFrame] = {"metric_points": points}
    traces = [pl.read_parquet(path) for name, path in files.items() if name.endswith("trace")]
    logs = [pl.read_parquet(path) for name, path in files.items() if name.endswith("log")]
    front: list[str] = []
    edges = _declared(files.get("dependency"), frozenset(points["service"]))
    if traces:
        spans = _spans(pl.concat(traces))
        front = (
            spans.filter(pl.col("is_root"))["service"]
            .value_counts()
            .sort("count", "service", descending=[True, False])["service"][:1]
            .to_list()
        )
        start = datetime.fromisoformat(day).replace(tzinfo=UTC)
        frames |= _counted(day, spans, logs, Window(start, start + timedelta(days=1)))
        edges = pl.concat([edges, frames.pop("service_edges").select("caller", "callee")])
    frames["dependencies"] = edges.unique().sort("caller", "callee").select(pl.lit(day).alias("environment"), "caller", "callee")
    callees = set(edges["callee"])
    front = front or sorted(set(edges["caller"]) - callees)[:1]
    if "front_service" in files and front:
        frames["kpi_points"] = _kpi(files["front_service"], day, points.filter(pl.col("service") == front[0]))
    return frames, front


def _points(path: Path, day: str) -> pl.DataFrame:
    """Points by minute. `Time` is right where `TimeStamp` is damaged; a ratio of successes that is always 0 was never measured."""
    raw = pl.read_parquet(path)
    wide = raw.select(
        pl.col("PodName").map_elements(service_of, return_dtype=pl.String).alias("service"),
        pl.col("Time").str.slice(0, 19).str.to_datetime(time_unit="us", time_zone="UTC").dt.truncate("1m").alias("bucket_at"),
        *(pl.col(column).alias(name) for column, (name, _) in METRICS.items() if column in raw.columns),
    )
    names = [column for column in wide.columns if column not in {"service", "bucket_at"}]
    long = wide.unpivot(names, index=["service", "bucket_at"], variable_name="metric").drop_nulls("value")
    told = long.filter((pl.col("metric") != "success_ratio") | (pl.col("value").max().over("service", "metric") > 0))
    mean = told.group_by("service", "bucket_at", "metric").agg(pl.col("value").mean()).sort("service", "metric", "bucket_at")
    return mean.select(
        pl.lit(day).alias("environment"),
        "service",
        pl.lit("").alias("region"),
        "metric",
        pl.lit("").alias("attributes"),
        pl.lit("gauge").alias("kind"),
        pl.col("metric").replace_strict(dict(METRICS.values())).alias("unit"),
        "bucket_at",
        pl.col("value").cast(pl.Float64),
    )


def _declared(path: Path | None, services: frozenset[str]) -> pl.DataFrame:
    """Calls between services as declared; nodes and load generators are no services."""
    pairs = []
    if path is not None:
        with path.open(encoding="utf-8", newline="") as file:
            pairs = [(row["Source"], row["Target"]) for row in csv.DictReader(file)]
    known = [(caller, callee) for caller, callee in pairs if caller in services and callee in services]
    return pl.DataFrame(known, schema={"caller": pl.String, "callee": pl.String}, orient="row")


def _spans(raw: pl.DataFrame) -> pl.DataFrame:
    """Spans once each, with the kind their neighbours give away."""
    spans = (
        raw.drop("_file", strict=False)
        .unique(["TraceID", "SpanID"], keep="first", maintain_order=True)
        .with_columns(pl.col("PodName").map_elements(service_of, return_dtype=pl.String).alias("service"))
    )
    above = spans.select("TraceID", pl.col("SpanID").alias("ParentID"), pl.col("service").alias("caller"))
    linked = spans.join(above, on=["TraceID", "ParentID"], how="left")
    calling = linked.filter(pl.col("caller") != pl.col("service")).select(
        "TraceID", pl.col("ParentID").alias("SpanID"), pl.lit(value=True).alias("calls")
    )
    told = linked.join(calling.unique(), on=["TraceID", "SpanID"], how="left")
    is_root = ~pl.col("ParentID").str.contains("^[0-9a-fA-F]{16}$")
    served = is_root | pl.col("caller").is_null() | (pl.col("caller") != pl.col("service"))
    return told.with_columns(
        is_root.alias("is_root"),
        pl.when(served).then(SERVER).when(pl.col("calls").fill_null(value=False)).then(CLIENT).otherwise(INTERNAL).alias("kind"),
    )


def _counted(day: str, spans: pl.DataFrame, logs: list[pl.DataFrame], window: Window) -> dict[str, pl.DataFrame]:
    """Requests, edges, events and log patterns, as our OTLP source counts them."""
    buckets = Buckets.of(window, BUCKET)
    patterns = Patterns(buckets)
    with tempfile.TemporaryDirectory() as folder:
        traces = Traces(Path(folder), buckets, events=True)
        columns = ("TraceID", "SpanID", "ParentID", "service", "kind", "OperationName", "StartTimeUnixNano", "Duration", "is_root")
        places = {name: Place(name, day, "") for name in spans["service"].unique()}
        for trace, span, parent, service, kind, name, start, microseconds, is_root in spans.select(columns).iter_rows():
            above = "" if is_root else id_of(parent)
            end = start + microseconds * 1000
            traces.add(Work(id_of(trace), id_of(span), above, places[service], kind, operation_of(name, {}), "", False, start, end, False))
        for record in _records(logs):
            place = Place(record.service, day, "")
            if record.at in buckets:
                patterns.add(place, record.at, record.severity, record.pattern, record.said, record.trace)
                traces.say(record.trace, record.span, f"{record.severity.upper()} {record.pattern}".strip())
        red, edges, events = traces.summaries()
    return {"trace_red": red, "service_edges": edges, "span_events": events, "log_patterns": patterns.frame()}


@dataclass(frozen=True, slots=True)
class Record:
    """A log record as a collector would hand it on."""

    service: str
    at: int
    severity: str
    pattern: str
    said: str
    trace: str
    span: str


def _records(frames: list[pl.DataFrame]) -> Iterator[Record]:
    """Records once each. `time` in the line is right where `TimeUnixNano` is not; ids are fields of a record, not of its text."""
    if not frames:
        return
    rows = pl.concat(frames).unique(["TraceID", "SpanID", "PodName", "Log"], keep="first", maintain_order=True)
    for pod, trace, span, line in rows.select("PodName", "TraceID", "SpanID", "Log").iter_rows():
        outer = _object(line) or {"log": line}
        at = _nanoseconds(str(outer.get("time", "")))
        if at is None:
            continue
        body = str(outer.get("log", ""))
        inner = _object(body)
        text = IDS.sub("", CLOCK.sub("", str((inner or {}).get("message", body)))).strip()
        leading = LEVELS.match(text)
        level = str((inner or {}).get("severity") or (leading["level"] if leading else ""))
        pattern, said = words_of(text[leading.end() :].strip() if leading else text, {}, "")
        severity = severity_of(0, level)
        yield Record(service_of(pod), at, severity, pattern, said, _id(trace), _id(span))


def _object(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _id(text: str | None) -> str:
    return text if text and re.fullmatch("[0-9a-f]{16}|[0-9a-f]{32}", text) else ""


def _nanoseconds(text: str) -> int | None:
    try:
        return nanoseconds(datetime.fromisoformat(f"{text[:26].rstrip('Z')}+00:00"))
    except ValueError:
        return None


def _kpi(path: Path, day: str, front: pl.DataFrame) -> pl.DataFrame:
    """The front as a journey: its requests of the minute, and how many the share of successes leaves; none where that share is always 0."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [
            (row["Time"][:19], float(row["SuccessRate(%)"])) for row in csv.DictReader(file) if row["SuccessRate(%)"] not in {"", "NaN"}
        ]
    share = pl.DataFrame(rows, schema={"time": pl.String, "share": pl.Float64}, orient="row")
    if not rows or share["share"].max() == 0:
        share = share.clear()
    at = pl.col("time").str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", time_zone="UTC").dt.truncate("1m").alias("bucket_at")
    requests = front.filter(pl.col("metric") == "requests_per_second").select("bucket_at", (pl.col("value") * BUCKET).alias("requests"))
    joined = share.select(at, "share").unique("bucket_at", keep="first").join(requests, on="bucket_at").sort("bucket_at")
    return joined.select(
        pl.lit(f"front of {day}").alias("journey"),
        pl.lit("").alias("region"),
        "bucket_at",
        pl.col("requests").round().cast(pl.Int64).alias("attempts"),
        (pl.col("requests") * pl.col("share") / 100).round().cast(pl.Int64).alias("successes"),
    )
