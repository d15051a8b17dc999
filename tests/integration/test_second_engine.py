"""The dbt project builds the same tables on Spark as on DuckDB, from the files of one refresh, and they are published as those are."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aftercast import publishing, second_engine, transform, warehouse
from aftercast.settings import PROJECT, Settings
from tests.integration import services

PATIENCE = 1500.0  # of a busy machine; a quiet one needs a tenth
ENVIRONMENT = PROJECT / ".venv-spark"


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
def test_spark_builds_the_same_tables_and_they_are_published(python: Path, settings: Settings, capsys: pytest.CaptureFixture[str]):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "AFTERCAST", "PYTHONPATH"))}
    command = [str(python), str(PROJECT / "spark" / "build.py"), "--home", str(settings.home), "--small", "--cores", "2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-3000:]

    summary = json.loads((settings.home / "spark" / "build.json").read_text(encoding="utf-8"))
    names = {row["name"] for row in summary["built"]}
    alone = second_engine.not_carried(transform.DBT_PROJECT / "models")
    assert set(transform.models()) - names == set(alone)

    compared = second_engine.compare(settings)
    rows = sum(one.rows for one in compared)
    with capsys.disabled():
        built = f"{len(names)} seeds and models in {summary['build_seconds']} s"
        print(f"\nSpark {summary['spark']}: {built}; {len(compared)} tables, {rows:,} rows compared")
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
