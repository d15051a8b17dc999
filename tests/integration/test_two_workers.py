"""Many machines: Celery workers with homes of their own, PostgreSQL and Redis between them, and nothing shared but object storage.

Two workers extract, a third keeps the warehouse. One extracting worker is lost with everything it runs in the middle of a landing, half of
its files in the store. What is published in the end is, row for row, what one machine makes of the same sources.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest

from aftercast import sharing, store, warehouse
from aftercast.embedded import driver
from aftercast.embedded.components import Component, start, stopping
from aftercast.embedded.environment import admin_password, airflow_environment, free_port
from aftercast.errors import ConfigError
from aftercast.settings import Settings
from aftercast.steps import extracting, refreshing
from aftercast.window import Window
from tests.integration import object_store
from tests.integration.services import require, running, wait_until
from tests.integration.test_postgres import PASSWORD, started
from tests.story import planted_world
from tests.story.published import rows_of
from tests.story.refreshing import refresh

WINDOW = Window.parse("2026-08-31", "2026-09-28")
HELD_DAY = "date=2026-09-10"
QUEUES = {"one": "default", "two": "default", "keeper": "warehouse"}


@dataclass
class Gate:
    """An S3 server that keeps two extracts waiting until both are there, and one upload of the landing until it is let go."""

    application: Any
    asking: set[str] = field(default_factory=set)
    both: threading.Event = field(default_factory=threading.Event)
    uploading: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if method == "GET" and path.startswith("/data/inbox/") and not self.both.is_set():
            self.asking.add(path.split("/")[3])
            if len(self.asking) == 2:
                self.both.set()
            self.both.wait(600)
        if method == "PUT" and "/landing/metric_points/" in path and HELD_DAY in path and not self.let_go.is_set():
            self.uploading.set()
            self.let_go.wait(600)
        return self.application(environ, start_response)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(object_store.s3())
    with object_store.serving(gate, monkeypatch, "data"):
        yield gate
        gate.both.set()
        gate.let_go.set()


@pytest.fixture
def truth(gate: Gate, tmp_path: Path) -> planted_world.Truth:
    """The planted world, each source with its own folder of the bucket for an inbox."""
    root, truth = tmp_path, planted_world.plant(tmp_path)
    planted_world.separate(root / "config", "s3://data/inbox/{}".format)
    for name, file in planted_world.FILES.items():
        boto3.client("s3").upload_file(str(root / "inbox" / file), "data", f"inbox/{name}/{file}")
    shutil.rmtree(root / "inbox")
    return truth


@dataclass
class Company:
    """Airflow's components, and the homes of the workers."""

    airflow: driver.Airflow
    workers: dict[str, Component]
    homes: dict[str, Path]
    components: list[Component]

    def check(self) -> None:
        for component in self.components:
            component.check()

    def lose(self, name: str) -> None:
        """Kill a worker with everything it runs, as a machine goes."""
        component = self.workers.pop(name)
        self.components.remove(component)
        family = descendants(component.process.pid)
        for process in [component.process.pid, *family]:
            os.kill(process, signal.SIGKILL)
        component.process.wait()

    def state(self, dag: str, since: datetime) -> str | None:
        return next((run["state"] for run in self.airflow.runs_since(since) if run["dag_id"] == dag), None)

    def tasks(self, dag: str, since: datetime) -> list[dict[str, Any]]:
        run = next(run["dag_run_id"] for run in self.airflow.runs_since(since) if run["dag_id"] == dag)
        return self.airflow.tasks(dag, run)

    def why(self) -> str:
        """What workers said last, for the message of a failure."""
        logs = [log for home in self.homes.values() for log in (home / "airflow" / "logs").rglob("*.log")]
        texts = [f"{log}\n{log.read_text(errors='replace')[-1500:]}" for log in logs if "error" in log.read_text(errors="replace").lower()]
        return "\n\n".join(texts)[-9000:]


def descendants(process: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(folder.name))
    found, todo = [], [process]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


@pytest.fixture
def company(
    truth: planted_world.Truth, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Company]:
    redis = require("redis-server", "redis-server")
    broker, port = free_port(), free_port()
    monkeypatch.setenv("AFTERCAST_STORE", "s3://data/store")
    monkeypatch.setenv("AFTERCAST_TOKEN_KEY", "the same on all machines")
    control = Settings(home=tmp_path / "control", config=tmp_path / "config")
    homes = {name: tmp_path / name for name in QUEUES}
    with (
        started(tmp_path_factory.mktemp("postgres")) as server,
        running([redis, "--port", str(broker), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)], tmp_path / "redis.log"),
        stopping([]) as components,
    ):
        database = f"postgres:{PASSWORD}@127.0.0.1:{server.port}/postgres"
        environment = airflow_environment(control, port, scheduled=False) | {
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__PARALLELISM": "8",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{database}",
            "AIRFLOW__CELERY__BROKER_URL": f"redis://127.0.0.1:{broker}/0",
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+postgresql://{database}",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
            "C_FORCE_ROOT": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        driver.prepare_metadata(environment, control)
        client = driver.Airflow(f"http://127.0.0.1:{port}", admin_password(control))
        logs = tmp_path / "components"
        components.append(start("api-server", ["api-server", "--host", "127.0.0.1", "--port", str(port)], environment, logs))
        workers = {}
        for name, queue in QUEUES.items():
            own = {"AFTERCAST_HOME": str(homes[name]), "AIRFLOW_HOME": str(homes[name] / "airflow")}
            (homes[name] / "airflow").mkdir(parents=True)
            quiet = ["--skip-serve-logs", "--without-gossip", "--without-mingle"]
            command = ["celery", "worker", "--queues", queue, "--celery-hostname", f"{name}@%h", "--concurrency", "1", *quiet]
            workers[name] = start(f"worker-{name}", command, environment | own, logs)
            components.append(workers[name])
        client.wait_until_up(components[0].check)
        components.append(start("scheduler", ["scheduler", "--skip-serve-logs"], environment, logs))
        yield Company(client, workers, homes, components)
        client.close()


def extracted_by(home: Path) -> set[str]:
    """Sources whose landing lies in the home of a worker that only extracts."""
    return {path.name.removeprefix("source=") for path in (home / "landing" / "coverage").glob("source=*")} - {"_none"}


def eventually(company: Company, ready: Callable[[], bool], what: str, patience: float = 600) -> None:
    try:
        wait_until(ready, what, patience)
    except TimeoutError as error:
        company.check()
        raise AssertionError(f"{error}\n{company.why()}") from error


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_many_machines_publish_is_what_one_machine_publishes(
    gate: Gate, truth: planted_world.Truth, tmp_path: Path, company: Company, monkeypatch: pytest.MonkeyPatch
):
    began = time.monotonic()
    shared = store.Store("s3://data/store", tmp_path / "reader")
    since = datetime.now(UTC)

    def trigger(name: str) -> None:
        company.airflow.trigger(f"extract__{name}", {"from": WINDOW.start.isoformat(), "to": WINDOW.end.isoformat()})

    # Two extracts are under way at once, and a worker does one thing at a time: both workers work.
    for name in planted_world.FILES:
        if name != "metrics":
            trigger(name)
    eventually(company, gate.both.is_set, "two extracts at once")
    trigger("metrics")

    # A worker is lost in the middle of a landing: some of its files are in the store, and nothing says yet that they count.
    eventually(company, gate.uploading.is_set, "the landing of metrics")
    time.sleep(1)
    half = shared.listing("sources/metrics")
    assert len(half) > 5
    assert not [name for name in half if HELD_DAY in name or name.startswith("landing/coverage/")]
    (lost,) = [name for name in ("one", "two") if "metrics" in extracted_by(company.homes[name])]
    done = {name: extracted_by(company.homes[name]) - {"metrics"} for name in ("one", "two")}
    assert all(done.values()), done
    company.lose(lost)
    killed_at = datetime.now(UTC)
    gate.let_go.set()

    # Meanwhile one machine does the same alone.
    alone = tmp_path / "alone"
    with monkeypatch.context() as patch:
        patch.delenv("AFTERCAST_STORE")
        patch.setenv("AFTERCAST_HOME", str(alone))
        patch.setenv("AFTERCAST_CONFIG", str(tmp_path / "config"))
        for name in planted_world.FILES:
            extracting.extract(name, WINDOW, ingested_at=datetime(2026, 9, 28, 1, tzinfo=UTC))
        assert refreshing.plan()
        refresh()
        expected = rows_of(Settings.from_environment().mart)

    eventually(company, lambda: company.state("extract__metrics", since) == "success", "the lost extract on another worker")
    (task,) = company.tasks("extract__metrics", since)
    assert task["try_number"] == 2
    recovered = (datetime.fromisoformat(task["end_date"]) - killed_at).total_seconds()
    other = {"one": "two", "two": "one"}[lost]
    assert "metrics" in extracted_by(company.homes[other])

    # The refresh ran where the warehouse is, and readers elsewhere fetch what it published.
    eventually(company, lambda: company.state("refresh_warehouse", since) in ("success", "failed"), "the refresh")
    tasks = company.tasks("refresh_warehouse", since)
    assert {one["state"] for one in tasks} == {"success"}, company.why()
    assert {one["queue"] for one in tasks} == {"warehouse"}
    assert [name for name, home in company.homes.items() if (home / "warehouse.duckdb").exists()] == ["keeper"]
    reader = Settings(home=tmp_path / "reader", config=tmp_path / "config", store="s3://data/store")
    assert sharing.fetch(reader) == reader.mart.resolve()
    assert sharing.fetch(reader) is None
    assert rows_of(reader.mart) == expected
    assert len(expected) > 19
    low, high = warehouse.query(reader.mart, "select lost_revenue_low::double, lost_revenue_high::double from marts.mart_incidents").row(0)
    assert low <= truth.lost_revenue <= high

    # What cannot be computed again lies in the store too.
    eventually(company, lambda: company.state("send_reports__weekly", since) == "success", "the report")
    assert [name for name in shared.listing("state") if name.endswith("weekly.html")]
    print(f"\nrecovered {recovered:.0f} s after the loss; everything in {time.monotonic() - began:.0f} s; lost: {lost}")

    # The warehouse's host is lost: another home may not go on by itself; once it has been told to, it publishes the same.
    for component in company.components:
        component.process.send_signal(signal.SIGTERM)
    company.components.clear()
    again = tmp_path / "again"
    monkeypatch.setenv("AFTERCAST_HOME", str(again))
    monkeypatch.setenv("AFTERCAST_CONFIG", str(tmp_path / "config"))
    with pytest.raises(ConfigError, match="aftercast store claim"):
        refreshing.plan()
    assert store.claim(Settings.from_environment()) > 0
    assert list(again.glob("reports/*/weekly.html"))
    assert refreshing.plan()
    refresh()
    assert rows_of(again / "published" / "aftercast.duckdb") == expected
