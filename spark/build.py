"""Build the dbt project on Spark, from the files of a home that a refresh left. Run in the environment `.venv-spark`.

    .venv-spark/bin/python spark/build.py --home var [--master spark://host:7077] [--select mart_incidents+ ...] [--tests]

Reads `landing/`, `declared/` and `derived/`; writes every table as Parquet below `<home>/spark/tables/<schema>/<name>` and what it did to
`<home>/spark/build.json`. The warehouse file is neither read nor written. `aftercast.second_engine` compares and publishes the result.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
DBT_PROJECT = PROJECT / "dbt_project"
SELECTOR = "spark"  # dbt_project/selectors.yml
MESSAGES_SHOWN = 10

# For little data: compiling a query costs more than running it.
QUICK_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:ReservedCodeCacheSize=256m"
SMALL = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    "spark.driver.extraJavaOptions": QUICK_JVM,
    "spark.executor.extraJavaOptions": QUICK_JVM,
}


def session(tables: Path, scratch: Path, master: str, cores: int, *, small: bool) -> Any:
    """Start the one Spark session of this process, in UTC; dbt-spark's method `session` takes the one that is there."""
    from pyspark.sql import SparkSession

    settings = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": str(tables),
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.shuffle.partitions": str(cores),
        "spark.default.parallelism": str(cores),
        "spark.sql.ansi.enabled": "true",
        "spark.local.dir": str(scratch),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": "2g",
    }
    if master.startswith("local"):  # nobody else has to reach this process
        settings |= {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
    if small:
        settings |= SMALL
    builder = SparkSession.builder.master(master).appName("aftercast")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def dbt(home: Path, *arguments: str) -> Any:
    """Run one dbt command on the target `spark` and return its results; end the process with dbt's messages when it fails."""
    from dbt.cli.main import dbtRunner

    scratch = home / "spark"
    options = [
        *("--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT), "--target", "spark"),
        *("--target-path", str(scratch / "target"), "--log-path", str(scratch / "logs")),
    ]
    outcome = dbtRunner().invoke(
        ["--quiet", "--no-print", "--no-use-colors", "--log-level", "none", "--log-level-file", "info", *arguments, *options]
    )
    results = list(getattr(outcome.result, "results", None) or [])
    broken = [result for result in results if str(result.status) in ("error", "fail", "runtime error")]
    if outcome.exception is not None or broken or not outcome.success:
        for result in broken[:MESSAGES_SHOWN]:
            print(f"  {result.node.name}: {' '.join(str(result.message).split())[:600]}", file=sys.stderr)
        print(outcome.exception or f"{len(broken)} of {len(results)} nodes failed; see {scratch / 'logs' / 'dbt.log'}", file=sys.stderr)
        raise SystemExit(1)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--home", type=Path, default=Path(os.environ.get("AFTERCAST_HOME", "var")), help="AFTERCAST_HOME of a finished refresh"
    )
    parser.add_argument("--master", help="address of a Spark master; default: threads of this process")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 2, help="how many pieces the work is cut into")
    parser.add_argument("--select", nargs="+", help=f"dbt nodes; default: the selector {SELECTOR!r}")
    parser.add_argument("--small", action="store_true", help="settings for little data: queries are not compiled")
    parser.add_argument("--tests", action="store_true", help="run the data tests as well")
    arguments = parser.parse_args()

    home = arguments.home.resolve()
    if not (home / "declared" / "run").is_dir():
        raise SystemExit(f"{home} holds no finished refresh (no declared/run); run `aftercast run` first")
    scratch = home / "spark"
    tables = scratch / "tables"
    shutil.rmtree(tables, ignore_errors=True)
    for folder in (tables, scratch / "local"):
        folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(
        AFTERCAST_LANDING=str(home / "landing"),
        AFTERCAST_DERIVED=str(home / "derived"),
        AFTERCAST_DECLARED=str(home / "declared"),
        DBT_SEND_ANONYMOUS_USAGE_STATS="False",
    )
    began = time.perf_counter()
    spark = session(tables, scratch / "local", arguments.master or f"local[{arguments.cores}]", arguments.cores, small=arguments.small)
    started = time.perf_counter()
    dbt(home, "run-operation", "declare_sources")
    kinds = [] if arguments.tests else ["--exclude-resource-type", "test"]
    wanted = ["--select", *arguments.select] if arguments.select else ["--selector", SELECTOR]
    results = dbt(home, "build", *wanted, *kinds, "--exclude-resource-type", "unit_test")
    ended = time.perf_counter()
    built = [
        {
            "schema": result.node.schema,
            "name": result.node.name,
            "materialized": result.node.config.materialized,
            "seconds": round(result.execution_time, 2),
        }
        for result in results
        if str(result.node.resource_type) in ("model", "seed")
    ]
    summary = {
        "spark": spark.version,
        "master": spark.sparkContext.master,
        "start_seconds": round(started - began, 1),
        "build_seconds": round(ended - started, 1),
        "built": built,
    }
    (scratch / "build.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    spark.stop()
    tests = sum(str(result.node.resource_type) == "test" for result in results)
    print(f"Spark {summary['spark']}: {len(built)} seeds and models, {tests} data tests in {summary['build_seconds']} s")


if __name__ == "__main__":
    main()
