"""Through a real Airflow: a late run is told once by way of the outbox, and lineage of tasks, tables and columns reaches a server."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aftercast.acting.outbox import Outbox
from aftercast.embedded import driver
from aftercast.settings import PROJECT, Settings
from aftercast.watching import records
from tests.answering import Answer, Server, serve
from tests.integration import running_airflow, services

PACKAGES = ("apache-airflow-providers-openlineage", "openlineage-integration-common", "openlineage-python", "openlineage-sql")
SOURCES = """
history: {start: '2026-11-01', end: '2026-11-02'}
sources:
  - name: drop
    kind: files
    entities: [metric_points]
    options: {inbox: inbox, files: [{match: "*.csv", entity: metric_points}]}
"""
PIPELINE = """
channels: [{name: duty, kind: email, connection: post, to: duty@acme.example}]
deadlines: [{dag: refresh_warehouse, minutes: 0.005, channels: [duty]}]
"""
POINTS = "service,metric,ts,value,kind\n" + "".join(f"cart,latency_ms,2026-11-01T{hour:02}:00:00Z,{hour},gauge\n" for hour in range(24))


@pytest.fixture(scope="module")
def overlay() -> Path:
    """A folder with the packages of the extra `lineage` that no other extra has; they change nothing that is installed."""
    folder = PROJECT / ".venv-lineage"
    locked = {one["name"]: one["version"] for one in tomllib.loads((PROJECT / "uv.lock").read_text())["package"]}
    wanted = [f"{name}=={locked[name]}" if name in locked else name for name in PACKAGES]
    command = [str(PROJECT / ".tools" / "uv" / "bin" / "uv"), "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *wanted]
    try:
        made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    except OSError as error:
        services.unavailable(f"the extra `lineage` cannot be installed: {error}")
    if made.returncode:
        services.unavailable(f"the extra `lineage` cannot be installed: {made.stderr[-300:]}")
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        monkeypatch.delenv(name)
    settings = Settings(home=tmp_path / "home", config=tmp_path / "config")
    settings.config.mkdir()
    settings.inbox.mkdir(parents=True)
    (settings.inbox / "points.csv").write_text(POINTS, encoding="utf-8")
    (settings.config / "sources.yml").write_text(SOURCES, encoding="utf-8")
    (settings.config / "pipeline.yml").write_text(PIPELINE, encoding="utf-8")
    return settings


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(lambda _: Answer({}, status=201)) as one:
        yield one


@pytest.fixture
def airflow(place: Settings, overlay: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[driver.Airflow]:
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*([before] if before else []), str(overlay)]))
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps({"type": "http", "url": server.url}))
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__NAMESPACE", "tests")
    with running_airflow.scheduling(place) as (client, _):
        yield client


def check_by_their_classes(event: dict[str, Any]) -> None:
    """Hold an event against the classes of OpenLineage's own client, whose validators refuse what the specification does not know."""
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState

    run, job = Run(runId=event["run"]["runId"]), Job(namespace=event["job"]["namespace"], name=event["job"]["name"])
    RunEvent(eventTime=event["eventTime"], eventType=RunState[event["eventType"]], run=run, job=job, producer=event["producer"])
    assert event["schemaURL"].startswith("https://openlineage.io/spec/")
    sides = [event["run"], event["job"], *event.get("inputs", []), *event.get("outputs", [])]
    facets = [facet for side in sides for facet in (side.get("facets") or {}).values()]
    assert all(facet["_producer"].startswith("http") and facet["_schemaURL"].startswith("http") for facet in facets)


@pytest.mark.slow
def test_a_late_run_is_told_once_and_lineage_reaches_the_columns(
    place: Settings, overlay: Path, server: Server, airflow: driver.Airflow, monkeypatch: pytest.MonkeyPatch
):
    airflow.trigger("extract__drop", {"from": "2026-11-01", "to": "2026-11-02"})

    def events(job: str, kind: str = "COMPLETE") -> list[dict[str, Any]]:
        bodies = [one.body for one in list(server.asked)]
        return [body for body in bodies if body["job"]["name"].endswith(job) and body["eventType"] == kind]

    services.wait_until(lambda: bool(events("stg_metric_points.build.run")), "the events of dbt's models", patience=400)

    # The deadline: told, once, in the dry run that it is without a live channel.
    services.wait_until(lambda: Outbox(place.outbox).rows().height > 0, "the missed deadline", patience=200)
    (told,) = Outbox(place.outbox).rows().to_dicts()
    assert (told["channel"], told["state"]) == ("duty", "dry_run")
    assert told["key"].startswith("deadline/refresh_warehouse/asset_triggered__")
    assert "refresh_warehouse is late" in told["payload"]
    assert list(records.missed(place)) == ["refresh_warehouse"]
    assert 'aftercast_task_failed{dag="extract__drop",task="extract"} 0' in (place.metrics / "aftercast.prom").read_text()

    # The chain of tables: what the extract writes is what staging reads, and columns know where they come from.
    ((touched,), (done,)) = events("extract__drop.extract", "RUNNING"), events("extract__drop.extract")
    assert touched["run"]["runId"] == done["run"]["runId"]
    landed = {(one["namespace"], one["name"]) for one in touched["outputs"]}
    assert landed == {(f"duckdb://{place.warehouse}", "warehouse.landing.metric_points")}
    (model,) = events("stg_metric_points.build.run")
    assert landed <= {(one["namespace"], one["name"]) for one in model["inputs"]}
    columns = model["outputs"][0]["facets"]["columnLineage"]["fields"]
    assert {"service", "metric", "value"} <= set(columns)
    assert model["run"]["facets"]["parent"]["job"] == {"namespace": "tests", "name": "refresh_warehouse.stage"}

    monkeypatch.syspath_prepend(str(overlay))
    assert len(server.asked) > 20
    for asked in list(server.asked):
        assert asked.path == "/api/v1/lineage"
        check_by_their_classes(asked.body)
