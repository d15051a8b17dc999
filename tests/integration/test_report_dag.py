"""A report through a real Airflow: a mail server that refuses turns the task red and is named; tried again it arrives, once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from aftercast.embedded import driver
from aftercast.embedded.environment import free_port
from aftercast.settings import Settings
from tests.integration import running_airflow
from tests.integration.test_review_dag import ended, states_of, until
from tests.unit.reports_fixture import POST, deployment
from tests.unit.test_channels import connect, mail_server
from tests.unit.test_report_sending import Box

DAG = "send_reports__weekly"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        monkeypatch.delenv(name)
    row = {"name": "weekly", "channels": ["leads"]}
    later = {"name": "monthly", "cadence": "monthly", "schedule": "* * * * *"}
    return deployment(tmp_path, monkeypatch, [row, later], [POST])


@pytest.fixture
def port(place: Settings, monkeypatch: pytest.MonkeyPatch) -> int:
    """The port of a mail server that is not there yet; its name is known to the tasks."""
    free = free_port()
    connect(monkeypatch, free, host="localhost")
    return free


@pytest.fixture
def airflow(place: Settings, port: int) -> Iterator[driver.Airflow]:
    with running_airflow.scheduling(place) as (client, environment):
        assert json.loads(environment["AIRFLOW_CONN_POST"])["port"] == port
        yield client


@pytest.mark.slow
def test_a_mail_server_that_refuses_is_seen_in_airflow_and_a_later_run_sends_once(
    place: Settings, port: int, airflow: driver.Airflow, monkeypatch: pytest.MonkeyPatch
):
    failed = airflow.trigger(DAG, {})
    assert until(lambda: states_of(airflow, DAG, failed), ended) == {("send", -1): "failed"}
    (task,) = airflow.tasks(DAG, failed)
    told = airflow.log_tail(task)
    assert f"no connection to mail server localhost:{port} of connection 'post'" in told
    assert (place.reports / "2026-W45" / "weekly.html").exists()

    box = Box()
    with mail_server(box, monkeypatch, port=port):
        for _ in range(2):
            run = airflow.trigger(DAG, {})
            assert until(lambda run=run: states_of(airflow, DAG, run), ended) == {("send", -1): "success"}
    assert [mail["Subject"][:30] for mail in box.taken] == ["2026-W45: One recurring fault "]
    assert not (place.reports / "2026-10").exists(), "an embedded run makes nothing by the clock"
