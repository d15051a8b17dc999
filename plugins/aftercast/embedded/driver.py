"""Drive one embedded run: start Airflow, extract every source's history, wait for the asset chain to end, stop Airflow.

Reports each task as it ends. A failed task ends the run with the last lines of its log.
"""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from aftercast.embedded.components import Component, start, stopping
from aftercast.embedded.environment import ADMIN, admin_password, airflow_environment, free_port
from aftercast.errors import RunError, TaskFailed
from aftercast.settings import Deployment, Settings
from aftercast.window import Window

REFRESH = "refresh_warehouse"
DRAFTS = "draft_postmortems"
ACTIONS = "sync_actions"
REPORT = "send_reports__"
FIRST_PAGE = "/plugin/aftercast/aftercast/start"
ENDED = {"success", "failed", "skipped", "upstream_failed", "removed"}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TaskEnd:
    """One task that ended: which, how, and after how many seconds."""

    dag: str
    task: str
    state: str
    seconds: float


@contextlib.contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Hold this home's run lock.

    Raises:
        RunError: another run or `up` works in the same home.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    with (settings.home / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(
                f"another Aftercast works in {settings.home}; wait for it, stop it, or choose another folder with AFTERCAST_HOME=<folder>"
            ) from error
        yield


def prepare_metadata(environment: dict[str, str], settings: Settings) -> None:
    """Create or migrate the metadata database and store the DAGs.

    Raises:
        RunError: a DAG does not import or the database cannot be migrated.
    """
    settings.airflow.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "aftercast.embedded.metadata"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RunError(f"Airflow could not be prepared in {settings.airflow}:\n{(done.stderr or done.stdout).strip()[-3000:]}")


class Airflow:
    """The few REST calls the driver makes; server errors (a locked SQLite file) are retried."""

    def __init__(self, base: str, password: str) -> None:
        self._client = httpx.Client(base_url=base, timeout=60)
        self._password = password

    def close(self) -> None:
        self._client.close()

    def wait_until_up(self, check: Callable[[], None], patience: float = 120) -> None:
        """Wait for the execution API, which also warms it, then log in.

        Raises:
            RunError: it does not come up in time.
        """
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            check()
            with contextlib.suppress(httpx.TransportError):
                if self._client.get("/execution/health").status_code == 200:
                    break
            time.sleep(0.3)
        else:
            raise RunError(f"Airflow's api-server did not answer within {patience:.0f} s")
        token = self._call("POST", "/auth/token", json={"username": ADMIN, "password": self._password})["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        for attempt in range(8):
            try:
                response = self._client.request(method, path, **arguments)
            except httpx.TransportError as error:
                if attempt == 7:
                    raise RunError(f"Airflow does not answer {method} {path}: {error}") from error
                time.sleep(1 + attempt)
                continue
            if response.status_code < 500:
                break
            time.sleep(0.5 + attempt)
        if response.is_error:
            raise RunError(f"Airflow refused {method} {path}: {response.status_code} {response.text[:500]}")
        answer: dict[str, Any] = response.json()
        return answer

    def trigger(self, dag: str, conf: dict[str, str]) -> str:
        """Trigger a run and return its id."""
        return str(self._call("POST", f"/api/v2/dags/{dag}/dagRuns", json={"logical_date": None, "conf": conf})["dag_run_id"])

    def runs_since(self, moment: datetime) -> list[dict[str, Any]]:
        """Return every DAG run queued at or after a moment, oldest first."""
        answer = self._call(
            "GET", "/api/v2/dags/~/dagRuns", params={"run_after_gte": moment.isoformat(), "limit": 100, "order_by": "run_after"}
        )
        return list(answer["dag_runs"])

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        """Return the task instances of a run."""
        return list(self._call("GET", f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances", params={"limit": 200})["task_instances"])

    def log_tail(self, task: dict[str, Any], lines: int = 25) -> str:
        """Return the end of the last try's log."""
        path = f"/api/v2/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}/logs/{task['try_number']}"
        try:
            content = self._call("GET", path, params={"map_index": task["map_index"]})["content"]
        except (RunError, KeyError, ValueError):
            return "(its log cannot be read)"
        texts = [entry.get("event", "") + _error_text(entry) if isinstance(entry, dict) else str(entry) for entry in content]
        return "\n".join("\n".join(texts).splitlines()[-lines:])


def _task_name(task: dict[str, Any]) -> str:
    """Return the name of a task, with its number from 1 where it is one of several mapped ones."""
    return f"{task['task_id']} {task['map_index'] + 1}" if task["map_index"] >= 0 else str(task["task_id"])


def _error_text(entry: dict[str, Any]) -> str:
    details = entry.get("error_detail") or []
    return "".join(f"\n  {detail.get('exc_type')}: {detail.get('exc_value')}" for detail in details if isinstance(detail, dict))


def _follow(
    airflow: Airflow, since: datetime, components: list[Component], ended: Callable[[TaskEnd], None], expected: set[str], patience: float
) -> None:
    """Poll until every expected DAG has finished; what follows a publish is expected only after one."""
    reported: set[tuple[str, str, int]] = set()
    finished: dict[str, str] = {}
    deadline = time.monotonic() + patience
    quiet_since = time.monotonic()
    while time.monotonic() < deadline:
        for component in components:
            component.check()
        busy = False
        for run in airflow.runs_since(since):
            dag, run_id, state = run["dag_id"], run["dag_run_id"], run["state"]
            for task in airflow.tasks(dag, run_id):
                key = (run_id, task["task_id"], task["map_index"])
                if task["state"] in ENDED and key not in reported:
                    reported.add(key)
                    ended(TaskEnd(dag, _task_name(task), task["state"], float(task["duration"] or 0)))
                if task["state"] == "failed":
                    raise TaskFailed(f"task {dag}.{task['task_id']} failed; its log ends with:\n{airflow.log_tail(task)}")
                if dag == REFRESH and task["task_id"] == "publish" and task["state"] == "skipped":
                    expected = {name for name in expected if name not in (DRAFTS, ACTIONS) and not name.startswith(REPORT)}
            if state == "success":
                finished[dag] = state
            elif state == "failed":
                raise RunError(f"DAG {dag} failed without a failed task; see {run_id} in the Airflow UI (`aftercast up`)")
            else:
                busy = True
        if busy:
            quiet_since = time.monotonic()
        elif expected <= finished.keys():
            return
        elif time.monotonic() - quiet_since > 90:
            raise RunError(f"nothing has run for 90 s, still waiting for {', '.join(sorted(expected - finished.keys()))}")
        time.sleep(0.5)
    raise RunError(f"the run did not finish within {patience / 60:.0f} minutes")


def expected_dags(deployment: Deployment) -> set[str]:
    """Return the DAGs that a run with something new goes through. What leaves the house is among them only where it is declared."""
    found = {f"extract__{source.name}" for source in deployment.sources} | {REFRESH, DRAFTS}
    found |= {f"{REPORT}{report.name}" for report in deployment.reports if report.follows_the_refresh}
    return found | ({ACTIONS} if deployment.actions.trackers or deployment.actions.channels else set())


def run(settings: Settings, window: Window, say: Say, ended: Callable[[TaskEnd], None], *, patience: float = 3600) -> None:
    """Extract `window` of every source and refresh, publish and report, through Airflow.

    Raises:
        RunError: a component died, a task failed, or time ran out.
    """
    deployment = settings.deployment
    with only_one(settings):
        port = free_port()
        environment = airflow_environment(settings, port, scheduled=False)
        say("preparing Airflow (SQLite metadata, pools, DAGs)")
        prepare_metadata(environment, settings)
        logs = settings.airflow / "components"
        airflow = Airflow(f"http://127.0.0.1:{port}", admin_password(settings))
        with stopping([]) as components:
            try:
                say("starting Airflow's api-server and scheduler")
                components.append(start("api-server", ["api-server", "--host", "127.0.0.1", "--port", str(port)], environment, logs))
                airflow.wait_until_up(components[0].check)
                components.append(start("scheduler", ["scheduler", "--skip-serve-logs"], environment, logs))
                since = datetime.now(UTC)
                say(f"extracting {window} from {len(deployment.sources)} source(s)")
                for source in deployment.sources:
                    airflow.trigger(f"extract__{source.name}", {"from": window.start.isoformat(), "to": window.end.isoformat()})
                _follow(airflow, since, components, ended, expected_dags(deployment), patience)
            finally:
                airflow.close()


def serve(settings: Settings, port: int, say: Say, *, host: str = "127.0.0.1") -> None:
    """Run Airflow with its UI, DAGs on their schedules, until interrupted.

    Raises:
        RunError: a component died.
    """
    with only_one(settings):
        environment = airflow_environment(settings, port, scheduled=True)
        say("preparing Airflow (SQLite metadata, pools, DAGs)")
        prepare_metadata(environment, settings)
        logs = settings.airflow / "components"
        airflow = Airflow(f"http://127.0.0.1:{port}", admin_password(settings))
        with stopping([]) as components:
            components.append(start("api-server", ["api-server", "--host", host, "--port", str(port)], environment, logs))
            airflow.wait_until_up(components[0].check)
            airflow.close()
            components.append(start("dag-processor", ["dag-processor"], environment, logs))
            components.append(start("scheduler", ["scheduler", "--skip-serve-logs"], environment, logs))
            say(f"Airflow is up. Start here: http://127.0.0.1:{port}{FIRST_PAGE}")
            say(f"user {ADMIN}, password {admin_password(settings)}; DAGs: http://127.0.0.1:{port}")
            say("DAGs follow their schedules; press Ctrl-C to stop")
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    for component in components:
                        component.check()
                    time.sleep(1)
            say("stopping")
