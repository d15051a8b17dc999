"""Landing many metric points in bounded memory: `python -m benchmarks.landing [--points N] [--seed N] [--json]`.

Points of many series at five minutes are written as JSON lines, one file a day, and extracted by the `files` kind: read, conformed,
protected, spooled by day, gated, written as Parquet, counted. Each measured way runs in a process of its own on one thread:
`cpu_seconds`, `points_per_second` of CPU, `peak_rss_mib` (imports included), and `tenth_peak_rss_mib` for a tenth of the points, which
says whether memory grows with the extract or with its largest day. The peers beside only copy the same files to Parquet, without judging
a row: DuckDB's `read_json` and Polars' lazy reader. `again_cpu_seconds`: extracting the unchanged files once more.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.printing import show

PROJECT = Path(__file__).resolve().parents[1]
START = datetime(2026, 9, 1, tzinfo=UTC)
LATER = datetime(2027, 9, 1, tzinfo=UTC)  # a point dated after its extract is refused
POINTS_A_DAY = 360_000  # 1,250 series at five minutes
SERIES_A_DAY = POINTS_A_DAY // 288
COLUMNS = {"service": "VARCHAR", "region": "VARCHAR", "metric": "VARCHAR", "ts": "TIMESTAMPTZ", "value": "DOUBLE", "kind": "VARCHAR"}


def write_days(folder: Path, n_points: int, seed: int) -> int:
    """Write the points as one file a day; return the bytes written."""
    import numpy as np
    import polars as pl

    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    series = pl.DataFrame({"number": range(SERIES_A_DAY)}).select(
        service=pl.format("service-{}", pl.col("number") // 10),
        region=pl.when(pl.col("number") % 2 == 0).then(pl.lit("eu")).otherwise(pl.lit("us")),
        metric=pl.format("metric_{}", pl.col("number") % 10 // 2),
        kind=pl.lit("gauge"),
    )
    times = pl.DataFrame({"minute": range(0, 1440, 5)})
    written, day = 0, 0
    while written < n_points:
        midnight = START + timedelta(days=day)
        moment = pl.lit(midnight) + pl.duration(minutes=pl.col("minute"))
        rows = times.join(series, how="cross").head(n_points - written)
        values = np.round(random.lognormal(3, 1, rows.height), 3)
        rows.select(
            "service", "region", "metric", ts=moment.dt.strftime("%Y-%m-%dT%H:%M:%SZ"), value=pl.lit(pl.Series(values)), kind="kind"
        ).write_ndjson(folder / f"{midnight:%Y-%m-%d}.jsonl")
        written, day = written + rows.height, day + 1
    return sum(path.stat().st_size for path in folder.iterdir())


def _ours(folder: Path, scratch: Path) -> dict[str, Any]:
    from aftercast import extraction
    from aftercast.settings import Settings
    from aftercast.window import Window

    rule = {"match": "*.jsonl", "entity": "metric_points"}
    rows = [
        {"name": name, "kind": "files", "options": {"inbox": str(inbox), "files": [rule]}}
        for name, inbox in (("points", folder), ("first", scratch / "one"))
    ]
    history = {"start": "2026-09-01", "end": "2027-09-01"}
    (scratch / "sources.yml").write_text(json.dumps({"history": history, "sources": rows}))
    settings = Settings(home=scratch / "home", config=scratch)
    source, window = settings.deployment.source("points"), Window.parse(history["start"], history["end"])
    write_days(scratch / "one", 1, 1)
    extraction.extract(settings, settings.deployment.source("first"), window, ingested_at=LATER)  # imports what a long extract pays once
    first, seconds = timed(lambda: extraction.extract(settings, source, window, ingested_at=LATER))
    again, more = timed(lambda: extraction.extract(settings, source, window, ingested_at=LATER))
    assert sum(one.changed_files for one in again) == 0
    return {"points": sum(one.landed for one in first), "cpu_seconds": seconds, "again_cpu_seconds": more}


def _duckdb(folder: Path, scratch: Path) -> dict[str, Any]:
    from aftercast import warehouse

    columns = ", ".join(f"{name}: '{kind}'" for name, kind in COLUMNS.items())
    with warehouse.connect(None) as connection:
        connection.execute("set threads = 1")
        copy = (
            f"copy (from read_json('{folder}/*.jsonl', format = 'newline_delimited', columns = {{{columns}}})) to '{scratch}/all.parquet'"
        )
        _, seconds = timed(lambda: connection.execute(copy))
        points = warehouse.frame(connection, f"select count(*) from '{scratch}/all.parquet'").item()
    return {"points": points, "cpu_seconds": seconds}


def _polars(folder: Path, scratch: Path) -> dict[str, Any]:
    import polars as pl

    target = scratch / "all.parquet"
    scan = pl.scan_ndjson(sorted(folder.glob("*.jsonl"))).with_columns(pl.col("ts").str.to_datetime(time_zone="UTC"))
    _, seconds = timed(lambda: scan.sink_parquet(target))
    return {"points": pl.scan_parquet(target).select(pl.len()).collect().item(), "cpu_seconds": seconds}


WAYS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {"ours": _ours, "duckdb_copy": _duckdb, "polars_copy": _polars}


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    before = time.process_time()
    result = work()
    return result, time.process_time() - before


def measure(way: str, folder: Path) -> dict[str, Any]:
    """Run one way over the files in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.landing", "--way", way, "--folder", str(folder)]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def run_way(way: str, folder: Path) -> dict[str, Any]:
    """Run one way over the files in this process."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        result = WAYS[way](folder, Path(scratch))
    figures = {name: round(value, 2) if isinstance(value, float) else value for name, value in result.items()}
    speed = round(result["points"] / result["cpu_seconds"])
    return figures | {"points_per_second": speed, "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def compare(n_points: int, seed: int) -> dict[str, Any]:
    """Return our figures, with those of the peers below `baselines`."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="aftercast-landing-") as scratch:
        tenth, whole = Path(scratch) / "tenth" / "inbox", Path(scratch) / "whole" / "inbox"
        write_days(tenth, max(n_points // 10, 1), seed)
        size = write_days(whole, n_points, seed)
        small = measure("ours", tenth)
        ours = measure("ours", whole)
        peers = {way: measure(way, whole) for way in WAYS if way != "ours"}
    return {
        **ours,
        "days": -(-n_points // POINTS_A_DAY),
        "mib_read": size // 2**20,
        "tenth_peak_rss_mib": small["peak_rss_mib"],
        "baselines": peers,
        "seconds": round(time.perf_counter() - started, 1),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, or one JSON object with --json."""
    parser = argparse.ArgumentParser(description="Landing many metric points in bounded memory")
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--way", choices=sorted(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.way:
        sys.stdout.write(json.dumps(run_way(options.way, options.folder)) + "\n")
        return
    result = compare(options.points, options.seed)
    show(result, as_json=options.json)


if __name__ == "__main__":
    main()
