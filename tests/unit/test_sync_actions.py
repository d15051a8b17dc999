"""The task, its DAG and the commands: from a published mart to tickets, and what people see of it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag

from aftercast import cli, warehouse
from aftercast.acting.outbox import Outbox
from aftercast.commands.actions import line
from aftercast.embedded import driver
from aftercast.errors import ConfigError, SourceUnavailable
from aftercast.settings import PROJECT, Settings
from aftercast.steps import actions
from tests.answering import serve
from tests.unit.actions_fixture import FIXES, INCIDENTS, ITEMS, JIRA, NOW, SLACK, days, frame, incident, item, late
from tests.unit.test_trackers import JiraSite

RULES = {"trackers": [JIRA], "channels": [SLACK | {"live": False}], "nudge": {"channel": "chat"}}


def published(home: Path, *items: dict[str, Any]) -> None:
    """A mart with nothing but what the task reads."""
    mart = home / "published" / "aftercast.duckdb"
    mart.parent.mkdir(parents=True, exist_ok=True)
    mart.unlink(missing_ok=True)
    tables = {
        "mart_action_items": frame(list(items), ITEMS),
        "mart_fix_impact": frame([], FIXES),
        "mart_incidents": frame([incident()], INCIDENTS),
    }
    with warehouse.connect(None) as connection:
        warehouse.attach(connection, mart, "made", new_with_storage="v1.0.0")
        warehouse.execute(connection, "create schema made.marts")
        warehouse.execute(connection, f"create table made.marts.mart_run as select timestamptz '{NOW.isoformat()}' as as_of")
        for name, rows in tables.items():
            connection.register(name, rows.to_arrow())
            warehouse.execute(connection, f"create table made.marts.{name} as select * from {name}")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    config = tmp_path / "config"
    (config / "catalog").mkdir(parents=True)
    history = {"start": "2026-09-21T00:00Z", "end": "2026-11-16T00:00Z"}
    (config / "sources.yml").write_text(yaml.safe_dump({"company": "Acme", "history": history, "sources": []}))
    (config / "catalog" / "teams.csv").write_text("team,title,channel\nmoney,Money,#team-money\n")
    (config / "actions.yml").write_text(yaml.safe_dump(RULES))
    monkeypatch.setenv("AFTERCAST_CONFIG", str(config))
    monkeypatch.setenv("AFTERCAST_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def connected(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps({"conn_type": "http", "host": url, "login": "bot", "password": "k3y"}))


def test_a_run_makes_what_is_missing_and_the_next_run_nothing(home: Path, monkeypatch: pytest.MonkeyPatch):
    published(home, item("A-1"), late(3, action_item_id="A-2"), item("A-4", type=None))
    site = JiraSite()
    with serve(site) as server:
        connected(monkeypatch, server.url)
        assert {name: n for name, n in actions.sync_actions(NOW).items() if n} == {"sent": 2, "dry_run": 1}
        asked = len(server.asked)
        assert {name: n for name, n in actions.sync_actions(NOW + timedelta(hours=1)).items() if n} == {"dry_run": 1}
        assert len(server.asked) == asked
    assert [issue["fields"]["labels"][0] for issue in site.issues] == ["aftercast", "aftercast"]


@pytest.mark.off_document
def test_a_run_that_could_not_finish_is_red_and_its_retry_doubles_nothing(home: Path, monkeypatch: pytest.MonkeyPatch):
    published(home, item("A-1"), item("A-2"))
    site = JiraSite(faults=["broken after"])
    with serve(site) as server:
        connected(monkeypatch, server.url)
        with pytest.raises(SourceUnavailable, match=r"1 of 2 deliveries did not go through.*\n  action/A-1/create is sending"):
            actions.sync_actions(NOW)
        assert actions.sync_actions(NOW + timedelta(minutes=6))["sent"] == 1
    assert len(site.issues) == 2


def test_the_dag_is_there_only_where_something_is_declared(home: Path, monkeypatch: pytest.MonkeyPatch):
    def found() -> list[str]:
        bag = DagBag(dag_folder=PROJECT / "dags" / "sync_actions.py")
        assert bag.import_errors == {}
        return list(bag.dags)

    assert found() == ["sync_actions"]
    (Settings.from_environment().config / "actions.yml").write_text("{}")
    assert found() == []


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    cli.main(list(arguments))
    return " ".join(capsys.readouterr().out.split())


def test_the_command_shows_what_is_open_overdue_incomplete_and_to_be_sent(home: Path, capsys: pytest.CaptureFixture[str]):
    published(home, late(3, action_item_id="A-2"), item("A-4", type=None, owner_team="unowned"))
    said = run(capsys, "actions", "--payload")
    assert "2 open, 1 of them overdue" in said
    assert "1 lack something" in said
    assert "owner team, type" in said
    assert "2 to send" in said
    assert "action/A-2/create" in said
    assert '"to": "#team-money"' in said


def test_without_rows_the_command_says_that_nothing_goes_out(home: Path, capsys: pytest.CaptureFixture[str]):
    published(home, item())
    (Settings.from_environment().config / "actions.yml").unlink()
    assert "no tracker and no channel is declared" in run(capsys, "actions")


def test_a_run_speaks_of_actions_only_where_something_is_declared(home: Path, monkeypatch: pytest.MonkeyPatch):
    published(home, item("A-1"), late(3, action_item_id="A-2"))
    settings = Settings.from_environment()
    assert driver.expected_dags(settings.deployment) == {"refresh_warehouse", "draft_postmortems", "sync_actions"}
    assert line(settings) == "2 open, 1 overdue; to trackers and channels: nothing yet"
    with serve(JiraSite()) as server:
        connected(monkeypatch, server.url)
        actions.sync_actions(NOW)
    assert line(settings) == "2 open, 1 overdue; to trackers and channels: 1 dry run, 2 sent"
    (settings.config / "actions.yml").unlink()
    undeclared = Settings.from_environment()
    assert driver.expected_dags(undeclared.deployment) == {"refresh_warehouse", "draft_postmortems"}
    assert line(undeclared) is None


def test_the_outbox_is_shown_and_an_unsure_delivery_settled(home: Path, capsys: pytest.CaptureFixture[str]):
    from aftercast.errors import SourceUnavailable

    def lost(*_: object) -> str:
        raise SourceUnavailable("broke off")

    assert "nothing was ever to be sent" in run(capsys, "outbox")
    box = Outbox(Settings.from_environment().outbox)
    box.deliver(channel="post", key="action/A-2/nudge/x/0", payload={"text": "x"}, send=lost, find=None, now=NOW - days(1))
    said = run(capsys, "outbox", "--state", "unsure")
    assert "action/A-2/nudge/x/0" in said
    assert "1 unsure" in said
    assert "action/A-2/nudge/x/0 is sent" in run(capsys, "outbox", "settle", "action/A-2/nudge/x/0", "sent", "--reference", "seen")
    assert "nothing is unsure" in run(capsys, "outbox", "--state", "unsure")
    assert "settled by a person: sent" in run(capsys, "outbox", "--history")


def test_a_verdict_that_is_none_is_refused(home: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        cli.main(["outbox", "settle", "x", "maybe"])
    assert "'maybe' is no verdict" in " ".join(capsys.readouterr().err.split())


def test_a_wrong_row_is_named_with_its_file(home: Path):
    (Settings.from_environment().config / "actions.yml").write_text(yaml.safe_dump({"trackers": [JIRA | {"projekt": "OPS"}]}))
    with pytest.raises(ConfigError, match=r"actions.yml.*\n.*trackers.row 1.projekt: unknown key; did you mean 'project'"):
        _ = Settings.from_environment().deployment
