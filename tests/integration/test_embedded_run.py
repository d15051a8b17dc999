"""`aftercast run` really goes through Airflow's DAGs and tasks, says what it found, leaves no process behind, and does nothing twice."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aftercast import warehouse
from tests.story import planted_world

AFTERCAST = str(Path(sys.executable).with_name("aftercast"))


def run(home: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment |= {"AFTERCAST_HOME": str(home), "AFTERCAST_CONFIG": str(home / "config"), "COLUMNS": "200"}
    return subprocess.run([AFTERCAST, "run"], env=environment, capture_output=True, text=True, check=False, timeout=500)


def open_files(folder: Path) -> list[str]:
    """Names of the files a process holds open; those it closes while we look are left out."""
    names = []
    for link in (folder / "fd").iterdir():
        with contextlib.suppress(OSError):
            names.append(str(link.readlink()))
    return names


def processes_of(home: Path) -> list[str]:
    """Command lines of processes that hold a file of this home open or name it in their environment (process titles overwrite that)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            held = any(name.startswith(f"{home}/") for name in open_files(folder))
            if held or f"AFTERCAST_HOME={home}".encode() in environment:
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_a_process_that_hides_its_environment_is_still_seen(tmp_path: Path):
    with (tmp_path / "log").open("w") as log:
        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"], stdout=log, env={})
        try:
            assert len(processes_of(tmp_path)) >= 1
        finally:
            sleeper.kill()
            sleeper.wait()


@pytest.mark.slow
def test_a_run_goes_through_airflow_and_a_second_one_changes_nothing(tmp_path: Path):
    truth = planted_world.plant(tmp_path)
    first = run(tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    for task in ("extract__drop · extract", "refresh_warehouse · detect", "refresh_warehouse · publish", "send_reports__weekly · send"):
        assert task in first.stdout
    assert "1 incidents" in first.stdout
    assert "deploy-77" in first.stdout
    assert processes_of(tmp_path) == []
    mart = tmp_path / "published" / "aftercast.duckdb"
    built = mart.resolve()
    low, high = warehouse.query(mart, "select lost_revenue_low::double, lost_revenue_high::double from marts.mart_incidents").row(0)
    assert low <= truth.lost_revenue <= high

    second = run(tmp_path)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "Nothing changed" in second.stdout
    assert mart.resolve() == built
    assert processes_of(tmp_path) == []


@pytest.mark.slow
def test_a_failing_task_is_named_with_its_reason_and_nothing_is_left_running(tmp_path: Path):
    planted_world.plant(tmp_path)
    for file in (tmp_path / "inbox").iterdir():
        file.unlink()
    (tmp_path / "inbox").rmdir()
    done = run(tmp_path)
    assert done.returncode == 1
    assert "extract__drop.extract failed" in done.stderr
    assert "inbox" in done.stderr
    assert "Traceback" not in done.stderr
    assert processes_of(tmp_path) == []
