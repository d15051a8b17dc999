"""A refresh of a large company, and of one more hour: `python -m benchmarks.refresh [--points N] [--series 1600] [--incidents N] [--json]`.

The company is generated (`benchmarks.generated`), landed, refreshed whole, then given one more hour and refreshed again. Every task of the
refresh runs in a process of its own, as Airflow runs it, one after the other: `seconds` (wall), `cpu_seconds` and `peak_rss_mib` per
task, imports included. `seconds_per_new_hour` is the whole second refresh. The peer, `rebuild_seconds`, refreshes the longer history from
nothing. `growth_exponent`: how the seconds of the new hour grow with the history, from a run on a quarter of it (1: in proportion; 0: not
at all). `landing_mib`: what the points take on disk, the floor under every reading of all of them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
HOUR = timedelta(hours=1)
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "2"}
TASKS = ("plan", "stage", "star", "watch", "detect", "gather", "correlate", "measure", "marts", "check", "publish")


def peak_rss_mib() -> int:
    """Return the peak of this process alone; `getrusage` also counts what its parent held when it was started."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def run_task(name: str, argument: str | None) -> dict[str, Any]:
    """Run one task of the refresh in this process; `chunks` is what `watch` dealt."""
    from aftercast.steps import refreshing

    wall, cpu = time.perf_counter(), time.process_time()
    given = [] if argument is None else [json.loads(argument) if name == "gather" else argument]
    result = getattr(refreshing, name)(*given)
    return {
        "seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "peak_rss_mib": peak_rss_mib(),
        "result": result,
    }


def task(name: str, folder: Path, argument: str | None = None) -> dict[str, Any]:
    """Run one task of the refresh of the company in a folder in a process of its own."""
    environment = {**os.environ, **THREADS, "AFTERCAST_HOME": str(folder / "home"), "AFTERCAST_CONFIG": str(folder / "config")}
    command = [sys.executable, "-m", "benchmarks.refresh", "--task", name, *(["--argument", argument] if argument is not None else [])]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"task {name} failed:\n{done.stderr[-4000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def refresh(folder: Path) -> dict[str, dict[str, Any]]:
    """Run all tasks of a refresh; return the figures of each. The chunks of `detect` are added up, their memory is that of the largest."""
    found: dict[str, dict[str, Any]] = {}
    chunks: list[str] = []
    for name in TASKS:
        if name == "detect":
            parts = [task(name, folder, chunk) for chunk in chunks]
            figures = {key: round(sum(part[key] for part in parts), 2) for key in ("seconds", "cpu_seconds")}
            found[name] = figures | {"peak_rss_mib": max(part["peak_rss_mib"] for part in parts)}
            continue
        answer = task(name, folder, json.dumps(chunks) if name == "gather" else None)
        result = answer.pop("result")
        if name == "watch":
            chunks = result
        elif name == "plan" and result is False:
            raise RuntimeError("the refresh found nothing to do")
        found[name] = answer
    return found


def total(tasks: dict[str, dict[str, Any]], key: str) -> float:
    """Return a figure added up over tasks."""
    return round(float(sum(figures[key] for figures in tasks.values())), 1)


def grown(points: int, series: int, incidents: int, seed: int, folder: Path, *, rebuild: bool) -> dict[str, Any]:
    """Refresh a generated company, then one more hour of it."""
    from aftercast.settings import Settings
    from benchmarks.generated import Company, land, write_config

    company = Company.of_points(points, series=series, incidents=incidents, seed=seed)
    settings = Settings(home=folder / "home", config=folder / "config")
    write_config(company, settings.config)
    landed = land(company, settings)
    whole = refresh(folder)
    before, longer = company.end, company.longer(HOUR)
    more = land(longer, settings, since=before, ingested_at=longer.end)
    hour = refresh(folder)
    figures: dict[str, Any] = {
        "points": landed,
        "landed_again": more,
        "days": round((company.end - company.start) / timedelta(days=1), 1),
        "landing_mib": sum(path.stat().st_size for path in settings.landing.rglob("*.parquet")) // 2**20,
        "warehouse_mib": settings.warehouse.stat().st_size // 2**20,
        "first": whole,
        "new_hour": hour,
    }
    if rebuild:
        again = folder / "again"
        again.mkdir()
        (again / "home").mkdir()
        (again / "home" / "landing").symlink_to(settings.landing)
        (again / "config").symlink_to(settings.config)
        figures["rebuild"] = refresh(again)
    return figures


def compare(points: int, series: int, incidents: int, seed: int) -> dict[str, Any]:
    """Return the figures of the whole history and of a quarter of it."""
    from aftercast.version import code_version

    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="aftercast-refresh-") as scratch:
        quarter = grown(points // 4, series, incidents // 4, seed, Path(scratch) / "quarter", rebuild=False)
        whole = grown(points, series, incidents, seed, Path(scratch) / "whole", rebuild=True)
    new_hour, rebuild = whole["new_hour"], whole.pop("rebuild")
    exponent = math.log(total(new_hour, "cpu_seconds") / total(quarter["new_hour"], "cpu_seconds")) / math.log(
        whole["points"] / quarter["points"]
    )
    return {
        "seconds_per_new_hour": total(new_hour, "seconds"),
        "cpu_seconds_per_new_hour": total(new_hour, "cpu_seconds"),
        "growth_exponent": round(exponent, 2),
        "peak_rss_mib": {name: figures["peak_rss_mib"] for name, figures in rebuild.items()},
        "n": whole["points"],
        "series": series,
        "incidents": incidents,
        **{name: whole[name] for name in ("days", "landing_mib", "warehouse_mib", "first", "new_hour")},
        "quarter": {name: quarter[name] for name in ("points", "new_hour")},
        "baselines": {
            "rebuild_seconds": total(rebuild, "seconds"),
            "rebuild_cpu_seconds": total(rebuild, "cpu_seconds"),
        },
        "seconds": round(time.perf_counter() - started, 1),
        "version": code_version(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, or one JSON object with --json."""
    parser = argparse.ArgumentParser(description="A refresh of a large company, and of one more hour")
    parser.add_argument("--points", type=float, default=5e6)
    parser.add_argument("--series", type=int, default=1600)
    parser.add_argument("--incidents", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--argument", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.task:
        sys.stdout.write("\n" + json.dumps(run_task(options.task, options.argument)) + "\n")
        return
    result = compare(int(options.points), options.series, options.incidents, options.seed)
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    for name in (
        "n",
        "series",
        "incidents",
        "days",
        "seconds_per_new_hour",
        "cpu_seconds_per_new_hour",
        "growth_exponent",
        "landing_mib",
        "warehouse_mib",
    ):
        sys.stdout.write(f"{name:28} {result[name]}\n")
    sys.stdout.write(f"\n{'task':12} {'first: s':>9} {'cpu s':>8} {'MiB':>7}   {'new hour: s':>11} {'cpu s':>8} {'MiB':>7}\n")
    for name in TASKS:
        first, hour = result["first"][name], result["new_hour"][name]
        sys.stdout.write(
            f"{name:12} {first['seconds']:9} {first['cpu_seconds']:8} {first['peak_rss_mib']:7}"
            f"   {hour['seconds']:11} {hour['cpu_seconds']:8} {hour['peak_rss_mib']:7}\n"
        )


if __name__ == "__main__":
    main()
