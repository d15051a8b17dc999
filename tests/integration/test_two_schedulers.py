"""Two `airflow scheduler` processes on one PostgreSQL, over one home, each with an executor of its own, and killed one after the other.

First a scheduler dies with everything it runs while sources are extracted, as a machine goes. Then the scheduler alone dies while a step of
the refresh waits for its turn: the step lives on as an orphan, and the other scheduler begins it anew beside it. Then the scheduler alone
dies while a report is being sent. What is published equals what one undisturbed process makes of the same sources; each
message arrived once.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from aftercast.acting.outbox import Outbox
from aftercast.embedded import driver
from aftercast.embedded.components import Component, start, stopping
from aftercast.embedded.environment import admin_password, airflow_environment, free_port
from aftercast.settings import Settings
from aftercast.steps import extracting, refreshing
from aftercast.window import Window
from tests.answering import Answer, Asked, serve
from tests.integration.services import wait_until
from tests.integration.test_postgres import PASSWORD, Postgres, started
from tests.integration.test_two_workers import descendants
from tests.story import planted_world
from tests.story.published import rows_of
from tests.story.refreshing import refresh
from tests.unit.test_writebacks import Vendor

WINDOW = Window.parse("2026-08-31", "2026-09-28")
CHAT = {"name": "chat", "kind": "slack", "connection": "talk", "to": "#reliability", "live": True}
FOLLOWING = ("send_reports__weekly", "draft_postmortems")
PATIENCE = 300


@dataclass
class Chat:
    """A chat that keeps one message waiting when it is told to."""

    kept: Vendor = field(default_factory=Vendor)
    holding: bool = False
    held: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, asked: Asked) -> Answer:
        if self.holding and asked.method == "POST":
            self.holding = False
            self.held.set()
            self.let_go.wait(PATIENCE)
        return self.kept(asked)


@dataclass
class Pair:
    """An Airflow with two schedulers."""

    airflow: driver.Airflow
    metadata: Postgres
    environment: dict[str, str]
    logs: Path
    components: list[Component]
    schedulers: list[Component] = field(default_factory=list)
    begun: int = 0

    def begin(self) -> None:
        """Start another scheduler."""
        self.begun += 1
        one = start(f"scheduler-{self.begun}", ["scheduler", "--skip-serve-logs"], self.environment, self.logs)
        self.schedulers.append(one)
        self.components.append(one)

    def alive(self) -> int:
        """How many schedulers tell the database that they are there."""
        sql = "select count(*) from job where job_type = 'SchedulerJob' and state = 'running' and latest_heartbeat > now() - interval '4 s'"
        return int(self.metadata.run(sql)[0][0])

    def running(self) -> list[tuple[str, str, int]]:
        """Every task that runs: its DAG, its name, and the process of the scheduler that queued it."""
        sql = """select task_instance.dag_id, task_id, job.id from task_instance join job on job.id = queued_by_job_id
            where task_instance.state = 'running' and job.state = 'running'"""
        return [(str(dag), str(task), int(job)) for dag, task, job in self.metadata.run(sql)]

    def kill(self, job: int, *, everything: bool) -> None:
        """Kill the scheduler of a job: alone, so that its tasks go on as orphans, or with everything it runs."""
        order = self._order()  # each registers before the next is started
        assert len(order) == len(self.schedulers)
        one = self.schedulers.pop(order.index(job))
        for process in [one.process.pid, *(descendants(one.process.pid) if everything else ())]:
            os.kill(process, signal.SIGKILL)
        one.process.wait()

    def _order(self) -> list[int]:
        sql = "select id from job where job_type = 'SchedulerJob' and state = 'running' order by id"
        return [int(job) for (job,) in self.metadata.run(sql)]

    def check(self) -> None:
        for component in self.components:
            if component.name == "api-server" or component in self.schedulers:
                component.check()

    def tries(self, since: datetime) -> dict[str, list[int]]:
        """How often each task began, by the API server's own log: the tries of every instance, as often as each began."""
        sql = """select dag_id || '.' || task_id || coalesce(' ' || nullif(map_index, -1), '') || ' of ' || run_id, try_number
            from log where event = 'running' and dttm >= %s order by dttm"""
        found: dict[str, list[int]] = {}
        for name, number in self.metadata.run(sql, since):
            found.setdefault(str(name), []).append(int(number))
        return found

    def eventually(self, ready: Callable[[], Any], what: str) -> None:
        def looked() -> bool:
            self.check()
            return bool(ready())

        try:
            wait_until(looked, what, PATIENCE)
        except TimeoutError as error:
            texts = [f"{log}\n{log.read_text(errors='replace')[-2500:]}" for log in sorted(self.logs.glob("*.log"))]
            raise AssertionError(f"{error}\n{self.tries(datetime(2020, 1, 1, tzinfo=UTC))}\n" + "\n".join(texts)) from error


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chat]:
    site = Chat()
    with serve(site) as server:
        talk = {"conn_type": "slack", "password": "xoxb-1", "extra": {"base_url": server.url}}
        monkeypatch.setenv("AIRFLOW_CONN_TALK", json.dumps(talk))
        yield site
        site.let_go.set()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The planted world with a source for each kind of row, and a report to a chat."""
    planted_world.plant(tmp_path)
    for name, file in planted_world.FILES.items():
        inbox = tmp_path / "inboxes" / name
        inbox.mkdir(parents=True)
        shutil.copy(tmp_path / "inbox" / file, inbox / file)
    planted_world.separate(tmp_path / "config", lambda name: str(tmp_path / "inboxes" / name))
    reports = {"reports": [{"name": "weekly", "channels": ["file", "chat"]}], "channels": [CHAT]}
    (tmp_path / "config" / "reports.yml").write_text(yaml.safe_dump(reports))
    return tmp_path / "config"


@pytest.fixture
def pair(config: Path, chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """Airflow with two schedulers.

    What a scheduler that dies alone has started holds its connection open. If it died amid a transaction, its locks on the runs would stay,
    so the database ends transactions in which nothing happens.
    """
    monkeypatch.setenv("AFTERCAST_TOKEN_KEY", "the same in both homes")
    port = free_port()
    settings = Settings(home=tmp_path / "home", config=config)
    # Not below pytest's folder: another pytest closes that to other users while the database runs as one.
    with tempfile.TemporaryDirectory(prefix="aftercast-postgres-") as data, started(Path(data)) as server, stopping([]) as components:
        environment = airflow_environment(settings, port, scheduled=False) | {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://postgres:{PASSWORD}@127.0.0.1:{server.port}/postgres",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "3",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
        }
        server.run("alter database postgres set idle_in_transaction_session_timeout = '10s'")
        driver.prepare_metadata(environment, settings)
        client = driver.Airflow(f"http://127.0.0.1:{port}", admin_password(settings))
        logs = tmp_path / "components"
        components.append(start("api-server", ["api-server", "--host", "127.0.0.1", "--port", str(port)], environment, logs))
        client.wait_until_up(components[0].check)
        found = Pair(client, server, environment, logs, components)
        for number in (1, 2):
            found.begin()
            found.eventually(lambda number=number: found.alive() == number, f"scheduler {number}")
        try:
            yield found
        finally:
            client.close()


@contextmanager
def held(home: Path, *names: str) -> Iterator[None]:
    """Hold locks, so that whoever needs them waits; let go of all at once."""
    with ExitStack() as stack:
        for name in names:
            path = home / "locks" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            fcntl.flock(stack.enter_context(path.open("a")), fcntl.LOCK_EX)
        yield


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_schedulers_of_which_one_is_killed_do_everything_once(
    pair: Pair, chat: Chat, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    began, home = time.monotonic(), tmp_path / "home"
    since = datetime.now(UTC)

    def found(dag: str, task: str = "") -> list[int]:
        return [job for known, name, job in pair.running() if known.startswith(dag) and name in (task or name)]

    def failed() -> list[dict[str, Any]]:
        return [run for run in pair.airflow.runs_since(since) if run["state"] == "failed"]

    def ended() -> bool:
        assert not failed()
        runs = pair.airflow.runs_since(since)
        return {run["dag_id"] for run in runs if run["state"] == "success"} >= {"refresh_warehouse", *FOLLOWING}

    # A scheduler goes with everything it runs while it extracts. What it had queued and not begun begins elsewhere.
    with held(home, "warehouse.turn"):
        with held(home, *(f"{name}.lock" for name in planted_world.FILES)):
            for name in planted_world.FILES:
                pair.airflow.trigger(f"extract__{name}", {"from": WINDOW.start.isoformat(), "to": WINDOW.end.isoformat()})
            pair.eventually(lambda: len(found("extract__")) > 1, "two extracts at once")
            job = found("extract__")[0]
            lost = {dag for dag, _, theirs in pair.running() if theirs == job}
            pair.kill(job, everything=True)
        pair.begin()
        pair.eventually(lambda: pair.alive() == 2, "another scheduler")

        # A scheduler goes alone while a step waits: the step goes on, and the other scheduler begins it anew.
        pair.eventually(lambda: found("refresh_warehouse", "stage"), "a step that waits for its turn")
        (job,) = found("refresh_warehouse", "stage")
        pair.kill(job, everything=False)
        pair.eventually(lambda: set(found("refresh_warehouse", "stage")) - {job}, "the same step, begun by the other scheduler")
    pair.begin()
    pair.eventually(lambda: pair.alive() == 2, "another scheduler")

    # And once more while the report that follows is on the way to the chat.
    chat.holding = True
    pair.eventually(chat.held.is_set, "a message on its way")
    pair.kill(found("send_reports__weekly")[0], everything=False)
    chat.let_go.set()
    pair.eventually(ended, "the reports")

    tries = pair.tries(since)
    again = {name.split(" ")[0]: numbers for name, numbers in tries.items() if len(numbers) > 1}
    assert {name.split(".")[0] for name in again if name.startswith("extract__")} == lost
    assert {name for name in again if not name.startswith("extract__")} - {"send_reports__weekly.send"} == {"refresh_warehouse.stage"}
    assert {tuple(numbers) for numbers in tries.values()} <= {(1,), (2,), (1, 2)}
    assert len(chat.kept.written) == 1
    assert set(Outbox(Settings(home=home, config=config).outbox).rows()["state"]) == {"sent"}

    alone = tmp_path / "alone"
    monkeypatch.setenv("AFTERCAST_HOME", str(alone))
    monkeypatch.setenv("AFTERCAST_CONFIG", str(config))
    for name in planted_world.FILES:
        extracting.extract(name, WINDOW, ingested_at=datetime(2026, 9, 28, 1, tzinfo=UTC))
    assert refreshing.plan()
    refresh()
    expected = rows_of(Settings.from_environment().mart)
    assert len(expected) > 19
    assert rows_of(home / "published" / "aftercast.duckdb") == expected
    print(f"\n{sum(map(len, tries.values()))} tries; everything in {time.monotonic() - began:.0f} s")
