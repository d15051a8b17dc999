"""A Spark cluster builds from one dbt project the tables that DuckDB builds, from the files of one refresh; they are published alike."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aftercast import publishing, second_engine, transform, warehouse
from aftercast.settings import PROJECT, Settings
from tests.integration import services

PATIENCE = 1500.0  # of a busy machine; a quiet one needs a tenth
ENVIRONMENT = PROJECT / ".venv-spark"
LOOPBACK = {"SPARK_LOCAL_IP": "127.0.0.1"}
WORKERS = 2


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of the environment with Spark, made from its lock file; Java comes from Debian."""
    services.require("openjdk-17-jre-headless", "java")
    uv = PROJECT / ".tools" / "uv" / "bin" / "uv"
    lock = PROJECT / "spark" / "requirements.lock"
    ready = ENVIRONMENT / ".ready"
    if not ready.exists() or ready.read_bytes() != lock.read_bytes():
        make = [str(uv), "venv", "--quiet", "--clear", "--python", "3.11", str(ENVIRONMENT)]
        fill = [str(uv), "pip", "install", "--quiet", "--python", str(ENVIRONMENT / "bin" / "python"), "-r", str(lock)]
        for command in (make, fill):
            try:
                done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=600)
            except OSError as error:
                services.unavailable(f"the environment of Spark cannot be made: {error}")
            if done.returncode:
                services.unavailable(f"the environment of Spark cannot be made: {done.stderr[-300:]}")
        ready.write_bytes(lock.read_bytes())
    return ENVIRONMENT / "bin" / "python"


@pytest.fixture(scope="module")
def cluster(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A standalone master with two workers of a core each, processes of their own: the master's address and log."""
    folder = tmp_path_factory.mktemp("cluster")
    port, log = services.free_port(), folder / "master.log"
    address = f"spark://127.0.0.1:{port}"

    def command(role: str, *arguments: str) -> list[str]:
        by_hand = ["--host", "127.0.0.1", "--webui-port", str(services.free_port())]
        return [str(python.with_name("spark-class")), f"org.apache.spark.deploy.{role.lower()}.{role}", *by_hand, *arguments]

    environment = LOOPBACK | {"PYSPARK_PYTHON": str(python)}  # by which the start script finds Spark
    with ExitStack() as started:
        started.enter_context(services.running(command("Master", "--port", str(port)), log, environment=environment))
        services.wait_until(lambda: "I have been elected leader" in log.read_text(), "Spark's master")
        for number in range(WORKERS):
            place = ["--cores", "1", "--memory", "2g", "--work-dir", str(folder / str(number)), address]
            started.enter_context(services.running(command("Worker", *place), folder / f"worker{number}.log", environment=environment))
        services.wait_until(lambda: log.read_text().count("Registering worker") == WORKERS, "Spark's workers")
        yield address, log


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The home of the story, its marts built by DuckDB."""
    from aftercast.steps import extracting, refreshing
    from aftercast.window import Window
    from tests.story import planted_world
    from tests.story.refreshing import refresh

    home = tmp_path_factory.mktemp("second_engine")
    planted_world.plant(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AFTERCAST_HOME", str(home))
        patch.setenv("AFTERCAST_CONFIG", str(home / "config"))
        extracting.extract("drop", Window.parse("2026-08-31", "2026-09-28"), ingested_at=datetime(2026, 9, 28, 1, tzinfo=UTC))
        assert refreshing.plan()
        refresh(until="marts")
        yield Settings.from_environment()


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE)
def test_a_cluster_builds_the_same_tables_and_they_are_published(
    python: Path, settings: Settings, cluster: tuple[str, Path], capsys: pytest.CaptureFixture[str]
):
    address, log = cluster
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "AFTERCAST", "PYTHONPATH"))}
    command = [str(python), str(PROJECT / "spark" / "build.py"), "--home", str(settings.home), "--small", "--cores", str(WORKERS)]
    command += ["--master", address]
    done = subprocess.run(command, env=environment | LOOPBACK, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-3000:]
    assert log.read_text().count("Launching executor") == WORKERS, "one on each worker, and none was lost"

    summary = json.loads((settings.home / "spark" / "build.json").read_text(encoding="utf-8"))
    assert summary["master"] == address
    names = {row["name"] for row in summary["built"]}
    alone = second_engine.not_carried(transform.DBT_PROJECT / "models")
    assert set(transform.models()) - names == set(alone)

    compared = second_engine.compare(settings)
    rows = sum(one.rows for one in compared)
    with capsys.disabled():
        built = f"{len(names)} seeds and models in {summary['build_seconds']} s"
        print(f"\nSpark {summary['spark']}, {WORKERS} workers: {built}; {len(compared)} tables, {rows:,} rows compared")
    assert [one for one in compared if not one.equal] == []
    assert rows > 100_000

    file = settings.home / "spark" / "warehouse.duckdb"
    assert second_engine.load(settings, file) == len(compared)
    marts = [one for one in compared if one.table.startswith("marts.")]
    published = publishing.publish(settings, version="from-spark", source=file)
    assert (published.tables, published.rows) == (len(marts), sum(one.rows for one in marts))
    types = "select table_name, column_name, data_type from duckdb_columns() where schema_name = 'marts' order by 1, column_index"
    here = [row for row in warehouse.query(settings.warehouse, types).rows() if row[0] not in alone]
    assert warehouse.query(settings.mart, types).rows() == here
