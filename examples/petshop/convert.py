"""Turn the PetShop root-cause set into an inbox and a configuration folder of Aftercast.

The same input always writes the same files. `layout.py` knows their files, this module knows our tables, `config/` knows the company.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from datetime import UTC, datetime, timedelta
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import polars as pl
from layout import LAYOUT, read_edges, read_issue, read_metrics

from aftercast.errors import AftercastError, SourceRejected

CONFIG = Path(__file__).parent / "config"
FRONT = "PetSite"  # the node customers meet
BUCKET, DAY = 300, 86_400  # seconds: between two rows of metrics.csv, and in a day
# The set's metric and statistic -> our name, kind, unit and factor. Latency comes in seconds, availability in percent.
METRICS = [
    ("latency", "Average", "latency_avg_ms", "gauge", "ms", 1000.0),
    *(("latency", part, f"latency_{part}_ms", "gauge", "ms", 1000.0) for part in ("p50", "p90", "p95", "p99")),
    ("requests", "Sum", "requests", "counter", "requests", 1.0),
    ("availability", "Average", "availability_ratio", "gauge", "ratio", 0.01),
]
# The first pattern that fits a node's name gives its kind; a name like SSM_AWS::SSM is an API that the cloud runs.
KINDS = [
    (r"Database|DynamoDB|SQL|::S3|::SQS", "store"),
    (r"elb\.amazonaws|execute-api", "service"),
    (r"_remote$|^(\w+)_AWS::\1$", "provider"),
]
DEPLOYS = {"cdk", "deploy", "update-service", "update-function-code", "create-deployment"}
EDGE = ["environment", "caller", "callee", "kind", "first_seen", "last_seen"]
CHANGE = ["change_id", "kind", "service", "environment", "title", "started_at", "finished_at", "result", "version"]
CHANGED = ("--name", "--service", "--function-name", "--table-name", "--stack-name")


def to_points(cells: pl.DataFrame, scenario: str) -> pl.DataFrame:
    """Return metric_points, with one counter that the set only implies: errors = requests x (1 - availability)."""
    meaning = pl.DataFrame(METRICS, schema=["metric", "statistic", "name", "kind", "unit", "factor"], orient="row")
    known = cells.join(meaning, on=["metric", "statistic"], maintain_order="left")
    points = known.select("service", "at", "kind", "unit", metric="name", value=pl.col("value") * pl.col("factor"))
    asked = points.filter(pl.col("metric") == "requests").select("service", "at", asked="value")
    failed = points.filter(pl.col("metric") == "availability_ratio").join(asked, on=["service", "at"], maintain_order="left")
    errors = (pl.col("asked") * (1 - pl.col("value"))).round().abs()
    failed = failed.select("service", "at", kind=pl.lit("counter"), unit=pl.lit("errors"), metric=pl.lit("errors"), value=errors)
    place = {"environment": pl.lit(scenario), "region": pl.lit(scenario), "attributes": pl.lit("")}
    ts = pl.from_epoch((pl.col("at") * 1_000_000).cast(pl.Int64), "us").dt.replace_time_zone("UTC")
    whole = pl.concat([points, failed.drop_nulls("value")]).with_columns(ts=ts, **place).drop("at")
    return whole.unique(["service", "metric", "ts"], keep="first", maintain_order=True)


def to_kpis(points: pl.DataFrame) -> pl.DataFrame:
    """Return journey_kpis as the front node saw them. The set knows no money: revenue is null, not zero."""
    counts = points.filter((pl.col("service") == FRONT) & pl.col("metric").is_in(["requests", "errors"]))
    if counts["metric"].n_unique() < 2:
        raise SourceRejected(f"no requests and availability of {FRONT!r} in any metrics.csv; {LAYOUT}")
    wide = counts.pivot("metric", index=["region", "ts"], values="value").drop_nulls().sort("region", "ts")
    rows = wide.select("region", "ts", attempts=pl.col("requests").cast(pl.Int64), failed=pl.col("errors").cast(pl.Int64))
    constants = {"journey": "adopt", "step": "visit", "tier": "", "plan": "", "country": "", "revenue_minor": None, "currency": None}
    return rows.with_columns(successes=pl.col("attempts") - pl.col("failed"), **{k: pl.lit(v) for k, v in constants.items()}).drop("failed")


def to_incident(incident: str, issue: dict[str, Any], ended: float) -> dict[str, Any]:
    """Return the incident that an alarm is. The set does not say when it was over: we know only when the recording ended."""
    side = "below" if issue["metric"] == "availability" else "above"
    title = f"{issue['node']} {issue['metric']} {side} normal"
    place = {"services": [issue["node"]], "environment": issue["scenario"], "region": issue["scenario"]}
    times = {"started_at": iso(issue["at"]), "resolved_at": iso(ended), "updated_at": iso(ended)}
    state = {"severity": "unknown", "status": "resolved", "mode": "real", "detection_method": "monitor"}
    return {"incident_id": incident, "title": title, **place, **times, **state}


def to_changes(incident: str, issue: dict[str, Any], ended: float) -> list[dict[str, Any]]:
    """Return the change that the command made, and its revert; no command, no rows.

    The set stamps the alarm only. A point carries the start of its bucket, so the command is put one bucket earlier: no effect shows
    before its cause. The next issue starts from a healthy system, so the command was undone by the last row of the recording.
    """
    if not issue["command"]:
        return []
    words = re.sub(r"['\"]", "", issue["command"]).replace("=", " ").split()
    options = {word: following for word, following in zip(words, [*words[1:], ""], strict=True) if word.startswith("--")}
    deployed = [following for word, following in pairwise(words) if word in DEPLOYS and following not in DEPLOYS]
    what = next((options[name] for name in CHANGED if name in options), [*deployed, words[0]][0])
    kind = "config" if "put-parameter" in words else "deploy" if DEPLOYS & set(words) else "infra"
    value = options.get("--value")
    title = f"Set {what} to {value}" if kind == "config" else f"Run {' '.join(words)[:80]}"
    place = {"service": what, "environment": issue["scenario"], "result": "success"}
    done, undone = iso(issue["at"] - BUCKET), iso(ended - BUCKET)
    made = {"change_id": f"{incident}-change", "kind": kind, "title": title, "started_at": done, "finished_at": done, "version": value}
    back = {"change_id": f"{incident}-revert", "kind": "infra" if kind == "infra" else "rollback", "title": f"Undo: {title}"}
    return [{**place, **made}, {**place, **back, "started_at": undone, "finished_at": undone, "version": None}]


def iso(seconds: float) -> str:
    """Return epoch seconds as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def read_scenario(folder: Path, data: Path) -> tuple[pl.DataFrame, list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the points, edges, incidents and changes of one scenario."""
    name, normal = folder.name, folder / "noissue" / "metrics.csv"
    issues = {"-".join(path.parent.relative_to(data).parts): path for path in sorted(folder.rglob("target.json"))}
    windows = {incident: read_metrics(path.with_name("metrics.csv")) for incident, path in issues.items()}
    healthy = [read_metrics(normal)] if normal.exists() else []
    if not healthy and not windows:
        raise SourceRejected(f"{folder} holds neither noissue/metrics.csv nor an issue; {LAYOUT}")
    if not healthy:
        print(f"  {name}: {normal} is missing: its issues have no healthy time to be compared with", file=sys.stderr)
    elif windows:  # recorded months after the issues: move it, by whole days, to end before the first of them
        gap = min(cells["at"].min() for cells in windows.values()) - BUCKET - healthy[0]["at"].max()
        healthy[0] = healthy[0].with_columns(pl.col("at") + gap // DAY * DAY)
    points = to_points(pl.concat([*healthy, *windows.values()]), name)
    constant = {"environment": name, "kind": "spans", "first_seen": points["ts"].min(), "last_seen": points["ts"].max()}
    edges = [{"caller": caller, "callee": callee, **constant} for caller, callee in read_edges(folder / "graph.csv")]
    alarms = [
        (incident, {**read_issue(path), "scenario": name}, windows[incident]["at"].max() + BUCKET) for incident, path in issues.items()
    ]
    print(f"  {name}: {points.height:,} metric points, {len(edges)} edges, {len(issues)} issues")
    return points, edges, [to_incident(*alarm) for alarm in alarms], [row for alarm in alarms for row in to_changes(*alarm)]


def write_config(home: Path, points: pl.DataFrame, nodes: list[str]) -> None:
    """Copy the example's configuration to home/config, with the days the data covers and a catalogue of its nodes."""
    shutil.copytree(CONFIG, home / "config", dirs_exist_ok=True)
    start, end = points["ts"].min().date(), points["ts"].max().date() + timedelta(days=1)
    sources = home / "config" / "sources.yml"
    sources.write_text(re.sub(r"history: .*", f'history: {{start: "{start}", end: "{end}"}}', sources.read_text()))
    kinds = [next((kind for pattern, kind in KINDS if re.search(pattern, node)), "service") for node in nodes]
    teams = ["aws" if kind == "provider" else "petstore" for kind in kinds]
    pl.DataFrame({"service": nodes, "kind": kinds, "team": teams}).write_csv(home / "config" / "catalog" / "services.csv")


def convert(data: Path, home: Path) -> None:
    """Write home/inbox and home/config from the set in `data`."""
    folders = sorted(path.parent for path in data.glob("*/graph.csv"))
    if not folders:
        raise SourceRejected(f"{data} holds no scenario; {LAYOUT}")
    frames, *rows = zip(*(read_scenario(folder, data) for folder in folders), strict=True)
    points, (edges, incidents, changes) = pl.concat(frames), (list(chain.from_iterable(row)) for row in rows)
    kpis, inbox = to_kpis(points), home / "inbox"
    inbox.mkdir(parents=True, exist_ok=True)
    points.write_parquet(inbox / "metric_points.parquet")
    kpis.write_parquet(inbox / "journey_kpis.parquet")
    pl.DataFrame(edges, schema=EDGE).write_csv(inbox / "service_edges.csv", datetime_format="%Y-%m-%dT%H:%M:%SZ")
    pl.DataFrame(changes, schema=CHANGE).write_csv(inbox / "changes.csv")
    (inbox / "incidents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in incidents), encoding="utf-8")
    write_config(home, points, sorted({*points["service"], *(edge[end] for edge in edges for end in ("caller", "callee"))}))
    print(f"  {len(incidents)} incidents, {len(changes)} changes -> {inbox}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the set: one folder per scenario")
    parser.add_argument("--home", type=Path, required=True, help="AFTERCAST_HOME of this example")
    chosen = parser.parse_args()
    try:
        convert(chosen.data, chosen.home)
    except AftercastError as problem:
        sys.exit(f"petshop: {problem}")
