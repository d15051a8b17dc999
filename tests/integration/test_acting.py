"""Real Airflow asks a person about two actions: what is approved is done once, what is rejected is not, and both are in the audit log."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from aftercast.acting import audit
from aftercast.embedded.components import start, stopping
from aftercast.embedded.driver import Airflow, prepare_metadata
from aftercast.embedded.environment import admin_password, airflow_environment, free_port
from tests.answering import serve
from tests.unit.responses_fixture import AS_OF, publish, world
from tests.unit.test_responding import Robot, settings_of

DAG = "act_on_incidents"


def two_incidents(now: datetime) -> dict[str, pl.DataFrame]:
    """INC-9 on `tool` and KIT-9 on `kit`, both open, with the releases before them rolled back."""
    tool, kit = world(), world(service="kit")
    renamed = [
        pl.col(name).str.replace("INC-", "KIT-")
        for name in ("incident_id", "similar_incident_id", "candidate_id", "change_id", "evidence_id")
    ]
    frames = {}
    for name, frame in tool.items():
        other = kit[name].with_columns([one for one in renamed if one.meta.output_name() in frame.columns])
        both = pl.concat([frame, other], how="vertical_relaxed")
        times = [column for column, kind in both.schema.items() if isinstance(kind, pl.Datetime)]
        frames[name] = both.with_columns(pl.col(times) + (now - AS_OF))
    return frames


def until(found: Any, patience: float = 400) -> Any:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if (value := found()) is not None:
            return value
        time.sleep(0.5)
    raise AssertionError("it did not happen in time")


@pytest.mark.slow
def test_what_a_person_approves_is_done_once_and_what_is_rejected_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home, robot = tmp_path / "home", Robot()
    home.mkdir()
    settings = settings_of(home)
    (settings.config / "catalog" / "services.csv").write_text("service,team,criticality\ntool,platform,low\nkit,platform,low\n")
    now = datetime.now(UTC)
    publish(home, two_incidents(now), as_of=now - timedelta(minutes=1))
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        monkeypatch.delenv(name)
    with serve(robot) as server, stopping([]) as components:
        extra = {"path": "/do", "idempotent": True}
        monkeypatch.setenv("AIRFLOW_CONN_ROBOT", json.dumps({"conn_type": "http", "host": server.url, "password": "s", "extra": extra}))
        port = free_port()
        environment = airflow_environment(settings, port, scheduled=False)
        prepare_metadata(environment, settings)
        logs = settings.airflow / "components"
        airflow = Airflow(f"http://127.0.0.1:{port}", admin_password(settings))
        components.append(start("api-server", ["api-server", "--host", "127.0.0.1", "--port", str(port)], environment, logs))
        airflow.wait_until_up(components[0].check)
        components.append(start("scheduler", ["scheduler", "--skip-serve-logs"], environment, logs))
        run = airflow.trigger(DAG, {})

        def answer() -> None:
            """Say yes to INC-9 and no to the other. Airflow 3.3 asks again what was answered in the moment of asking, so wait a little."""
            for one in airflow.tasks(DAG, run):
                place = (one["map_index"], one["try_number"])
                if one["task_id"] != "assist.ask" or one["state"] != "awaiting_input":
                    continue
                if time.monotonic() - seen.setdefault(place, time.monotonic()) < 4 or place in answered:
                    continue
                path = f"/api/v2/dags/{DAG}/dagRuns/{run}/taskInstances/assist.ask/{one['map_index']}/hitlDetails"
                asked = airflow._call("GET", path)
                assert "how it is undone: Release it again." in asked["body"]
                said = "Approve" if "INC-9" in asked["subject"] else "Reject"
                airflow._call("PATCH", path, json={"chosen_options": [said], "params_input": {}})
                answered.add(place)

        seen, answered = dict[tuple[int, int], float](), set[tuple[int, int]]()

        def ended() -> str | None:
            answer()
            state = next(one["state"] for one in airflow.runs_since(now - timedelta(minutes=1)) if one["dag_run_id"] == run)
            return state if state in ("success", "failed") else None

        state = until(ended)
        failed = [one for one in airflow.tasks(DAG, run) if one["state"] == "failed"]
        assert state == "success", [airflow.log_tail(one) for one in failed]
        airflow.close()
    (done,) = robot.done
    assert done["incident_id"] == "INC-9"
    rows = audit.rows(settings.audit)
    told = {(row["what"], row["incident_id"]) for row in rows if row["what"] != "decided"}
    assert told == {("approved", "INC-9"), ("act_begun", "INC-9"), ("act_sent", "INC-9"), ("rejected", "KIT-9")}
    assert all(row["who"].startswith("tok_") for row in rows if row["what"] in ("approved", "rejected"))
    assert audit.problems(settings.audit) == []
