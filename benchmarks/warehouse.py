"""Building star and marts over many metric points: `python -m benchmarks.warehouse [--points N] [--seed N] [--json]`.

A generated company of 1,600 series is landed (`benchmarks.generated`); dbt builds `stage`, `star` and `marts` with their tests in a process
of their own, then again after one more hour has landed.

- `build_ratio_to_plain_sql`: CPU of that build over the CPU of the peer, the same compiled statements in plain DuckDB, without dbt, tests
  or keeping anything day by day. `build_cpu_seconds` and `baselines.plain_sql_cpu_seconds` are the two sides.
- `incremental_share_pct`: time inside the models of metric points for one more hour, of the time of the full build.
  `incremental_share_of_all_pct`: the same of everything, dbt's start included, in CPU.
- `peak_rss_mib`: of the full build; `baselines.plain_sql_peak_rss_mib` beside it.
- `growth_exponent`: how CPU of the build grows with the points, from a build of a tenth (1: in proportion).
- `landing_mib`: what has to be read at least once, the floor of a full build.
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

from benchmarks.printing import show
from benchmarks.refresh import peak_rss_mib

PROJECT = Path(__file__).resolve().parents[1]
HOUR = timedelta(hours=1)
SELECTORS = ("stage", "star", "marts")
OF_POINTS = ("int_metric_points__bucketed", "int_metric_points__counted", "int_metric_points__series", "fct_metric_point")


def _dbt(folder: Path) -> dict[str, Any]:
    """Build everything with dbt in this process."""
    from aftercast import transform
    from aftercast.settings import Settings
    from aftercast.steps import refreshing

    if not refreshing.plan():
        raise RuntimeError("the build found nothing to do")
    settings, cpu = Settings.from_environment(), time.process_time()
    built = [model for selector in SELECTORS for model in transform.build(settings, selector).models]
    return {"seconds_of_points": round(sum(model.seconds for model in built if model.name in OF_POINTS), 2)} | _used(cpu)


def _plain(folder: Path) -> dict[str, Any]:
    """Run what dbt compiled in plain DuckDB, in the order of its dependencies."""
    from aftercast import warehouse
    from aftercast.settings import Settings

    settings = Settings.from_environment()
    manifest = json.loads((settings.home / "dbt" / "target" / "manifest.json").read_text())
    nodes = {key: node for key, node in manifest["nodes"].items() if node["resource_type"] in ("model", "seed")}
    target = folder / "plain.duckdb"
    target.unlink(missing_ok=True)
    cpu = time.process_time()
    with warehouse.connect(target, read_only=False) as connection:
        warehouse.execute(connection, "set threads = 2; set preserve_insertion_order = false")
        warehouse.attach(connection, settings.warehouse, "built")
        _register_functions(connection)
        done: set[str] = set()
        while len(done) < len(nodes):
            for key, node in nodes.items():
                if key in done or any(parent in nodes and parent not in done for parent in node["depends_on"].get("nodes", ())):
                    continue
                warehouse.execute(connection, f"create schema if not exists {node['schema']}")
                warehouse.execute(connection, f"create {_kind(node)} {node['schema']}.{node['name']} as {_select(settings, node)}")
                done.add(key)
    return _used(cpu)


def _register_functions(connection: Any) -> None:
    from aftercast import stemming

    stemming.Plugin("stemming", {}).configure_connection(connection)


def _kind(node: dict[str, Any]) -> str:
    return "view" if node["config"]["materialized"] == "view" else "table"


def _select(settings: Any, node: dict[str, Any]) -> str:
    if node["resource_type"] == "seed":
        return f"select * from built.{node['schema']}.{node['name']}"
    compiled = settings.home / "dbt" / "target" / "compiled" / "aftercast" / node["original_file_path"]
    return str(compiled.read_text()).replace('"warehouse".', "")


def _used(cpu: float) -> dict[str, Any]:
    return {"cpu_seconds": round(time.process_time() - cpu, 2), "peak_rss_mib": peak_rss_mib()}


WAYS = {"dbt": _dbt, "plain": _plain}


def measure(way: str, folder: Path) -> dict[str, Any]:
    """Build one way in a process of its own."""
    environment = {**os.environ, "AFTERCAST_HOME": str(folder / "home"), "AFTERCAST_CONFIG": str(folder / "config")}
    command = [sys.executable, "-m", "benchmarks.warehouse", "--way", way, "--folder", str(folder)]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the {way} build failed:\n{done.stderr[-4000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def grown(points: int, seed: int, folder: Path, *, plain: bool) -> dict[str, Any]:
    """Build a company of so many points, then one more hour of it."""
    from aftercast.settings import Settings
    from benchmarks.generated import Company, land, write_config

    company = Company.of_points(points, incidents=points // 50_000, seed=seed)
    settings = Settings(home=folder / "home", config=folder / "config")
    write_config(company, settings.config)
    found: dict[str, Any] = {"points": land(company, settings), "dbt": measure("dbt", folder)}
    found["landing_mib"] = sum(path.stat().st_size for path in settings.landing.rglob("*.parquet")) // 2**20
    if plain:
        found["plain"] = measure("plain", folder)
    longer = company.longer(HOUR)
    land(longer, settings, since=company.end, ingested_at=longer.end)
    found["hour"] = measure("dbt", folder)
    return found


def compare(points: int, seed: int) -> dict[str, Any]:
    """Return the figures of the build, beside plain SQL and beside a tenth of the points."""
    from aftercast.version import code_version

    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="aftercast-warehouse-") as scratch:
        tenth = grown(points // 10, seed, Path(scratch) / "tenth", plain=False)
        whole = grown(points, seed, Path(scratch) / "whole", plain=True)
    build, hour, plain = whole["dbt"], whole["hour"], whole["plain"]
    growth = math.log(build["cpu_seconds"] / tenth["dbt"]["cpu_seconds"]) / math.log(whole["points"] / tenth["points"])
    return {
        "build_ratio_to_plain_sql": round(build["cpu_seconds"] / plain["cpu_seconds"], 2),
        "build_cpu_seconds": build["cpu_seconds"],
        "incremental_share_pct": round(100 * hour["seconds_of_points"] / build["seconds_of_points"], 1),
        "incremental_share_of_all_pct": round(100 * hour["cpu_seconds"] / build["cpu_seconds"], 1),
        "peak_rss_mib": build["peak_rss_mib"],
        "growth_exponent": round(growth, 2),
        "landing_mib": whole["landing_mib"],
        "n": whole["points"],
        "baselines": {"plain_sql_cpu_seconds": plain["cpu_seconds"], "plain_sql_peak_rss_mib": plain["peak_rss_mib"]},
        "seconds": round(time.perf_counter() - started, 1),
        "version": code_version(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, or one JSON object with --json."""
    parser = argparse.ArgumentParser(description="Building star and marts over many metric points")
    parser.add_argument("--points", type=float, default=5e6)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--way", choices=sorted(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.way:
        sys.stdout.write("\n" + json.dumps(WAYS[options.way](options.folder)) + "\n")
        return
    result = compare(int(options.points), options.seed)
    show(result, as_json=options.json)


if __name__ == "__main__":
    main()
