"""The doctor names what is wrong and what to do, changes nothing, and calls nothing bad that is only new."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aftercast import cli, diagnosis, warehouse
from aftercast.acting import audit
from aftercast.settings import Settings
from aftercast.version import code_version
from tests.unit import landing_fixture

NOW = datetime(2026, 11, 2, tzinfo=UTC)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("AFTERCAST_TOKEN_KEY", raising=False)
    return landing_fixture.deployment(tmp_path)


def found(place: Settings, subject: str, now: datetime = NOW) -> diagnosis.Finding:
    (one,) = [one for one in diagnosis.diagnose(place, now) if one.subject == subject]
    return one


def publish(place: Settings, version: str, as_of: str = "2026-11-01 12:00Z") -> None:
    place.mart.parent.mkdir(parents=True)
    with warehouse.connect(place.mart, read_only=False) as connection:
        warehouse.execute(connection, "create schema marts")
        warehouse.execute(
            connection,
            f"create table marts.mart_run as select timestamptz '{as_of}' as as_of, {warehouse.literal(version)} as code_version",
        )


def test_a_new_deployment_is_told_what_comes_next_and_nothing_is_made(place: Settings):
    before = sorted(place.home.parent.rglob("*"))
    findings = list(diagnosis.diagnose(place, NOW))
    assert not [one for one in findings if one.verdict == "bad"]
    assert found(place, "warehouse").advice == "aftercast run"
    assert found(place, "mart").said == "nothing is published yet"
    assert all(one.advice for one in findings if one.verdict != "good")
    assert sorted(place.home.parent.rglob("*")) == before


def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_still_looked_at(place: Settings):
    (place.config / "signals.yml").write_text("signals: [{name: x}]\n", encoding="utf-8")
    one = found(place, "configuration")
    assert one.verdict == "bad"
    assert "signals.yml" in one.said
    assert found(place, "mart")


def test_a_key_that_others_can_read_is_bad(place: Settings):
    path = place.home / "secrets" / "token.key"
    path.parent.mkdir(parents=True)
    path.write_text("k", encoding="ascii")
    path.chmod(0o600)
    assert found(place, "token key").verdict == "good"
    path.chmod(0o644)
    assert found(place, "token key").advice == f"chmod 600 {path}"


def test_a_mart_is_good_stale_of_other_code_or_gone(place: Settings):
    publish(place, code_version())
    assert found(place, "mart").verdict == "good"
    assert "7 days ago" in found(place, "mart", NOW + timedelta(days=7)).said
    place.mart.unlink()
    place.mart.symlink_to("versions/none.duckdb")
    assert (found(place, "mart").verdict, "leads nowhere" in found(place, "mart").said) == ("bad", True)


def test_a_mart_of_other_code_is_told(place: Settings):
    publish(place, "0.0.9+abc")
    assert (found(place, "mart").verdict, found(place, "mart").advice) == ("warning", "the next refresh rebuilds it")


def test_a_warehouse_that_is_no_database_can_be_built_again(place: Settings):
    place.home.mkdir(parents=True, exist_ok=True)
    place.warehouse.write_bytes(b"torn" * 5000)
    assert found(place, "warehouse").verdict == "bad"
    assert "it can be built again whole" in found(place, "warehouse").advice


def test_a_connection_that_airflow_does_not_know_is_bad(place: Settings):
    text = (place.config / "sources.yml").read_text(encoding="utf-8")
    row = "  - {name: pages, kind: pagerduty, owner: us, schedule: '0 * * * *', connection: pager_x, entities: [incidents]}\n"
    (place.config / "sources.yml").write_text(text.replace("sources: []\n", f"sources:\n{row}"), encoding="utf-8")
    one = found(place, "connection pager_x")
    assert (one.verdict, "AIRFLOW_CONN_PAGER_X" in one.said) == ("bad", True)


def test_the_command_ends_with_1_only_when_something_is_bad(
    place: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("AFTERCAST_HOME", str(place.home))
    monkeypatch.setenv("AFTERCAST_CONFIG", str(place.config))
    cli.main(["doctor"])
    assert "0 bad" in capsys.readouterr().out
    (place.config / "signals.yml").write_text("signals: [{name: x}]\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="1"):
        cli.main(["doctor"])
    assert "1 bad" in capsys.readouterr().out


def test_an_audit_log_that_was_changed_is_bad(place: Settings):
    event = {"event_id": "a", "at": "2026-09-21T12:00:00+00:00", "who": "aftercast", "what": "decided"}
    audit.append(place.audit, [event, event | {"event_id": "b"}])
    assert (found(place, "audit log").verdict, found(place, "audit log").said) == ("good", "2 events, each bound to the one before")
    log = place.audit / "log.jsonl"
    log.write_text(log.read_text().replace("decided", "denied", 1))
    assert found(place, "audit log").verdict == "bad"
    assert "a line was changed" in found(place, "audit log").said


def test_a_connection_that_believes_any_server_is_named(place: Settings, monkeypatch: pytest.MonkeyPatch):
    (place.config / "sources.yml").write_text(
        "company: Acme\nhistory: {start: '2026-09-01', end: '2026-10-01'}\n"
        "sources: [{name: monitoring, kind: prometheus, connection: monitoring, options: {}}]\n"
    )
    monkeypatch.setenv("AIRFLOW_CONN_MONITORING", '{"conn_type": "http", "host": "m.example", "extra": {"verify": false}}')
    one = found(Settings(home=place.home, config=place.config), "connection monitoring")
    assert (one.verdict, "not checked" in one.said) == ("warning", True)
