"""A backfill of a year: `python -m benchmarks.backfill [--days 365] [--part-days 7] [--json]`.

The demo company's year is extracted as a backfill is, in windows of `--part-days` one after the other, every row gated and landed, and the
warehouse is refreshed from it with every task in a process of its own. `peak_rss_mib` is the peak of each process. `last_parts_ratio` says
whether a window costs more when much has landed before it: the median CPU of the last quarter of the windows over that of the first
(1: not at all). `growth_exponent`: how the CPU of the whole grows with its days, from a quarter of them (1: in proportion). The peer is
the same year asked for as one window; `rows_that_differ` counts landed rows that are in one of the two only, or not equally often (edges
are left out: the demo tells of them once a window). What was still open at the end of a window is told as open by it and as ended by the
next, so a few alerts and incidents land once more than in one window; staging takes the latest.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.refresh import THREADS, peak_rss_mib, refresh, total

PROJECT = Path(__file__).resolve().parents[1]
END = datetime(2026, 11, 16, tzinfo=UTC)
SOURCE = "demo"


def land(days: int, part_days: int) -> dict[str, Any]:
    """Extract the days in windows of `part_days`, or in one (0), in this process."""
    from aftercast import extraction
    from aftercast.settings import Settings
    from aftercast.window import Window

    settings = Settings.from_environment()
    source = settings.deployment.source(SOURCE)
    windows = extraction.parts(Window(END - timedelta(days=days), END), part_days)
    extraction.extract(settings, source, Window(END - timedelta(days=days + 1), END - timedelta(days=days)), ingested_at=END)  # imports
    started, costs, rows = time.perf_counter(), [], 0
    for window in windows:
        before = time.process_time()
        landed = extraction.extract(settings, source, window, ingested_at=END, whole=True)
        costs.append(time.process_time() - before)
        rows += sum(entity.landed for entity in landed)
    quarter = max(len(costs) // 4, 1)
    return {
        "rows": rows,
        "windows": len(windows),
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(sum(costs), 1),
        "last_parts_ratio": round(statistics.median(costs[-quarter:]) / statistics.median(costs[:quarter]), 2),
        "peak_rss_mib": peak_rss_mib(),
    }


def landed(folder: Path, days: int, part_days: int) -> dict[str, Any]:
    """Extract into a folder's home in a process of its own."""
    (folder / "home").mkdir(parents=True)
    (folder / "config").symlink_to(PROJECT / "config")
    environment = {**os.environ, **THREADS, "AFTERCAST_HOME": str(folder / "home"), "AFTERCAST_CONFIG": str(folder / "config")}
    environment["AFTERCAST_TOKEN_KEY"] = "one key, so that tokens of two homes can be compared"
    command = [sys.executable, "-m", "benchmarks.backfill", "--land", "--days", str(days), "--part-days", str(part_days)]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the backfill failed:\n{done.stderr[-4000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def difference(one: Path, other: Path) -> int:
    """Count landed rows that two homes do not have equally often; when they were ingested does not count."""
    import polars as pl

    from aftercast.entities import ENTITIES

    differing = 0
    for entity in sorted(set(ENTITIES) - {"service_edges"}):
        lying = [folder / "home" / "landing" / entity for folder in (one, other)]
        for day in sorted({path.parent.name for folder in lying for path in folder.rglob("*.parquet")}):
            signed = [
                pl.read_parquet(path, hive_partitioning=False).drop("ingested_at").hash_rows().to_frame("row").with_columns(n=pl.lit(sign))
                for sign, folder in zip((1, -1), lying, strict=True)
                for path in sorted(folder.glob(f"*/{day}/*.parquet"))
            ]
            differing += int(pl.concat(signed).group_by("row").agg(pl.col("n").sum().abs())["n"].sum())
    return differing


def compare(days: int, part_days: int) -> dict[str, Any]:
    """Backfill the days and a quarter of them, refresh both, and extract the days once more as one window."""
    from aftercast.version import code_version

    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="aftercast-backfill-") as scratch:
        quarter, whole, single = (Path(scratch) / name for name in ("quarter", "whole", "single"))
        fewer = landed(quarter, days // 4, part_days)
        fewer_tasks = refresh(quarter)
        parts = landed(whole, days, part_days)
        one = landed(single, days, 0)
        differing = difference(whole, single)
        tasks = refresh(whole)
        mib = sum(path.stat().st_size for path in (whole / "home" / "landing").rglob("*.parquet")) // 2**20
    cost, fewer_cost = parts["cpu_seconds"] + total(tasks, "cpu_seconds"), fewer["cpu_seconds"] + total(fewer_tasks, "cpu_seconds")
    return {
        "days": days,
        "n": parts["rows"],
        "windows": parts["windows"],
        "landing_mib": mib,
        "extract": parts,
        "refresh": tasks,
        "peak_rss_mib": max(parts["peak_rss_mib"], *(figures["peak_rss_mib"] for figures in tasks.values())),
        "growth_exponent": round(math.log(cost / fewer_cost) / math.log(days / (days // 4)), 2),
        "rows_that_differ": differing,
        "baselines": {"one_window": {key: one[key] for key in ("seconds", "cpu_seconds", "peak_rss_mib")}},
        "seconds": round(time.perf_counter() - started, 1),
        "version": code_version(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, or one JSON object with --json."""
    parser = argparse.ArgumentParser(description="A backfill of a year of the demo company")
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--part-days", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--land", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.land:
        sys.stdout.write("\n" + json.dumps(land(options.days, options.part_days)) + "\n")
        return
    result = compare(options.days, options.part_days)
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    for name in ("days", "n", "windows", "landing_mib", "peak_rss_mib", "growth_exponent", "rows_that_differ"):
        sys.stdout.write(f"{name:20} {result[name]}\n")
    sys.stdout.write(f"\n{'process':12} {'CPU s':>8} {'MiB':>7}\n")
    rows = {"extract": result["extract"], **result["refresh"], "one window": result["baselines"]["one_window"]}
    for name, figures in rows.items():
        sys.stdout.write(f"{name:12} {figures['cpu_seconds']:8} {figures['peak_rss_mib']:7}\n")


if __name__ == "__main__":
    main()
