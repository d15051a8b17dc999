"""Acting on incidents: decided and written down always, sent once, asked where asked for, and held where a guardrail no longer holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from aftercast import cli
from aftercast.acting import audit, responding
from aftercast.acting.outbox import Outbox
from aftercast.errors import ConfigError, SourceRejected, SourceUnavailable
from aftercast.settings import Settings
from aftercast.steps import responses
from tests.answering import Answer, Asked, Server, serve
from tests.unit.responses_fixture import AS_OF, NOW, RUNBOOK, publish, world

KEY = "act:INC-9:roll-back:2:chg-INC-9"
YES = {"chosen_options": ["Approve"], "responded_by_user": {"id": "bob", "name": "Bob"}}
NO = {"chosen_options": ["Reject"], "responded_by_user": {"id": "bob", "name": "Bob"}}


class Robot:
    """What carries actions out: does each idempotency key once; `fates` say what becomes of the next requests."""

    def __init__(self) -> None:
        self.done: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.fates: list[int] = []

    def __call__(self, asked: Asked) -> Answer:
        key = asked.headers.get("idempotency-key", "")
        fate = self.fates.pop(0) if self.fates else 200
        if fate in (400, 429):
            return Answer({"error": "refused"}, fate)
        if key not in self.keys:
            self.keys.append(key)
            self.done.append(asked.body)
        return Answer({"id": f"job-{self.keys.index(key)}"}, fate)


@pytest.fixture
def robot() -> Robot:
    return Robot()


@pytest.fixture
def executor(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serve(robot) as server:
        extra = {"path": "/do", "idempotent": True}
        monkeypatch.setenv(
            "AIRFLOW_CONN_ROBOT", json.dumps({"conn_type": "http", "host": server.url, "password": "secret", "extra": extra})
        )
        yield server


def settings_of(home: Path, *, level: int = 2, dry_run: bool = False, **more: Any) -> Settings:
    config = home / "config"
    (config / "catalog" / "runbooks").mkdir(parents=True, exist_ok=True)
    (config / "sources.yml").write_text("history: {start: '2026-09-01', end: '2026-09-22'}\nsources: []\n")
    (config / "catalog" / "services.csv").write_text("service,team,criticality\ntool,platform,low\n")
    (config / "catalog" / "teams.csv").write_text("team,channel,on_call\nplatform,#platform,https://rota.example/platform\n")
    (config / "catalog" / "runbooks" / "roll-back.md").write_text(RUNBOOK)
    acting = {"actions": ["rollback"], "causes": ["deploy"]} if level >= 2 else {}
    content = {"dry_run": dry_run, "executor": "robot", "classes": [{"name": "all", "level": level, **acting}], **more}
    (config / "automation.yml").write_text(json.dumps(content))
    return Settings(home, config)


def events(settings: Settings) -> list[str]:
    return [row["what"] for row in audit.rows(settings.audit)]


def test_every_decision_is_written_down_once_for_each_mart(home: Path):
    settings = settings_of(home, level=2)
    publish(home, world())
    (plan,) = responding.plan_responses(settings, NOW)
    responding.plan_responses(settings, NOW + timedelta(minutes=1))  # the same mart, tried again
    (row,) = audit.rows(settings.audit)
    assert (row["what"], row["outcome"], row["who"], row["level"]) == ("decided", "ask", "aftercast", 2)
    assert row["evidence"] == ["INC-9", "chg-INC-9", "ev-INC-9-1", "ev-INC-9-2"]
    assert row["runbook"].startswith("roll-back v3 ")
    assert [rail["name"] for rail in row["guardrails"]] == [rail.name for rail in plan.guardrails]
    publish(home, world(), AS_OF + timedelta(minutes=15))
    responding.plan_responses(settings, NOW + timedelta(minutes=15))
    assert events(settings) == ["decided", "decided"]


def test_what_was_approved_is_done_once_and_says_who_by_a_token(home: Path, executor: Server, robot: Robot):
    settings = settings_of(home)
    publish(home, world())
    assert responding.act(settings, KEY, NOW, YES) == "sent"
    assert responding.act(settings, KEY, NOW + timedelta(minutes=1), YES) == "sent"  # the task was tried again
    (done,) = robot.done
    assert (done["action"], done["arguments"]) == ("rollback", {"service": "tool", "change": "chg-INC-9"})
    assert (done["runbook"], done["step"], done["rollback"]) == ("roll-back", 2, "Release it again.")
    assert executor.asked[0].path == "/do"
    assert len(executor.asked) == 1
    assert events(settings) == ["approved", "act_begun", "act_sent"]
    assert all(row["who"].startswith("tok_") for row in audit.rows(settings.audit))
    assert "bob" not in (settings.audit / "log.jsonl").read_text().lower()


def test_what_was_rejected_is_not_done_and_not_asked_again(home: Path, executor: Server):
    settings = settings_of(home)
    publish(home, world())
    desk = responding.Desk(settings, NOW)
    assert [one.key for one in responding.asks(desk.plans(), desk)] == [KEY]
    assert responding.act(settings, KEY, NOW, NO) == "rejected"
    assert events(settings) == ["rejected"]
    assert not executor.asked
    later = responding.Desk(settings, NOW)
    assert responding.asks(later.plans(), later) == []


def test_what_needs_approval_is_never_done_without(home: Path, executor: Server):
    settings = settings_of(home, level=2)
    publish(home, world())
    assert responding.act(settings, KEY, NOW, None) == "held"
    assert not executor.asked


def test_level_three_acts_by_itself(home: Path, executor: Server, robot: Robot):
    settings = settings_of(home, level=3)
    publish(home, world())
    assert [one.key for one in responding.acts(responding.plan_responses(settings, NOW))] == [KEY]
    assert responding.act(settings, KEY, NOW) == "sent"
    assert len(robot.done) == 1
    assert [row["who"] for row in audit.rows(settings.audit)] == ["aftercast"] * 3


@pytest.mark.parametrize(
    ("frames", "now"), [(world(is_open=False), NOW), (world(), AS_OF + timedelta(hours=1)), (world(probability=0.7), NOW)]
)
def test_what_would_not_be_planned_any_more_is_not_done_though_it_was_approved(
    home: Path, executor: Server, frames: dict[str, pl.DataFrame], now: datetime
):
    settings = settings_of(home)
    publish(home, world())
    responding.plan_responses(settings, NOW)
    publish(home, frames)
    assert responding.act(settings, KEY, now, YES) == "held"
    assert not executor.asked
    assert events(settings) == ["decided", "approved", "held"]


def test_another_likeliest_candidate_is_another_plan(home: Path, executor: Server):
    settings = settings_of(home)
    frames = world()
    renamed = pl.when(pl.col("candidate_id") == "chg-INC-9").then(pl.lit("chg-X")).otherwise("candidate_id").alias("candidate_id")
    frames["mart_incident_candidates"] = frames["mart_incident_candidates"].with_columns(renamed)
    publish(home, frames)
    assert responding.act(settings, KEY, NOW, YES) == "gone"
    assert not executor.asked


def test_a_dry_run_decides_writes_down_sends_nothing_and_asks_nobody(home: Path, executor: Server):
    settings = settings_of(home, level=3, dry_run=True)
    publish(home, world())
    assert [one.outcome for one in responding.plan_responses(settings, NOW)] == ["act"]
    assert responding.act(settings, KEY, NOW) == "dry_run"
    assert not executor.asked
    assert events(settings) == ["decided", "act_dry_run"]
    assert responding.Desk(settings, NOW).acts == ()  # and it holds nothing back later


def test_a_task_killed_after_sending_does_not_send_again(home: Path, executor: Server, robot: Robot, monkeypatch: pytest.MonkeyPatch):
    settings = settings_of(home, level=3)
    publish(home, world())

    class Killed(BaseException):
        pass

    whole = audit.append

    def dies(folder: Path, rows: Any) -> int:
        if rows[0]["what"] == "act_sent":
            raise Killed
        return whole(folder, rows)

    monkeypatch.setattr(audit, "append", dies)
    with pytest.raises(Killed):
        responding.act(settings, KEY, NOW)
    monkeypatch.setattr(audit, "append", whole)
    assert responding.act(settings, KEY, NOW + timedelta(minutes=1)) == "sent"
    assert len(executor.asked) == 1
    assert events(settings) == ["act_begun", "act_sent"]


def test_an_executor_that_cannot_be_asked_twice_is_not_asked_again_on_a_guess(
    home: Path, executor: Server, monkeypatch: pytest.MonkeyPatch, robot: Robot
):
    monkeypatch.setenv("AIRFLOW_CONN_ROBOT", json.dumps({"conn_type": "http", "host": executor.url, "password": "secret"}))
    settings = settings_of(home, level=3)
    publish(home, world())
    robot.fates = [500]  # it was done, and the answer said otherwise
    assert responding.act(settings, KEY, NOW) == "unsure"
    assert responding.act(settings, KEY, NOW + timedelta(minutes=1)) == "unsure"
    assert len(executor.asked) == 1


def test_a_refused_action_is_written_down_and_may_be_tried_again(home: Path, executor: Server, robot: Robot):
    settings = settings_of(home, level=3)
    publish(home, world())
    robot.fates = [400]
    assert responding.act(settings, KEY, NOW) == "failed"
    assert responding.act(settings, KEY, NOW + timedelta(minutes=1)) == "sent"
    assert events(settings) == ["act_begun", "act_failed", "act_sent"]
    assert audit.rows(settings.audit)[1]["error"]


def test_two_incidents_on_one_service_are_not_acted_on_at_once(home: Path, executor: Server, robot: Robot):
    settings = settings_of(home, level=3)
    frames = world()
    for name in ("mart_incidents", "mart_incident_candidates", "mart_incident_evidence"):
        twin = frames[name].filter(pl.col("incident_id") == "INC-9").with_columns(incident_id=pl.lit("INC-10"))
        frames[name] = pl.concat([frames[name], twin], how="vertical_relaxed")
    publish(home, frames)
    plans = {one.incident_id: one for one in responding.plan_responses(settings, NOW)}
    assert {name: one.outcome for name, one in plans.items()} == {"INC-10": "act", "INC-9": "recommend"}
    assert {one.name for one in plans["INC-9"].held_by} == {"cool_down", "one_at_a_time"}
    assert responding.act(settings, plans["INC-10"].key, NOW) == "sent"
    assert responding.act(settings, KEY, NOW) == "held"
    assert len(robot.done) == 1


def test_what_was_done_is_verified_once_the_incident_is_over_or_told_after_an_hour(home: Path, executor: Server):
    settings = settings_of(home, level=3)
    publish(home, world())
    responding.act(settings, KEY, NOW)
    responding.plan_responses(settings, NOW)
    assert "verified" not in events(settings)
    assert "not_verified" not in events(settings)
    publish(home, world(is_open=False), AS_OF + timedelta(minutes=30))
    responding.plan_responses(settings, NOW + timedelta(minutes=30))
    assert events(settings)[-1] == "verified"
    responding.plan_responses(settings, NOW + timedelta(minutes=31))
    assert events(settings).count("verified") == 1


def test_an_action_that_did_not_help_says_how_it_is_undone(home: Path, executor: Server, caplog: pytest.LogCaptureFixture):
    settings = settings_of(home, level=3)
    publish(home, world())
    responding.act(settings, KEY, NOW)
    publish(home, world(), AS_OF + timedelta(hours=2))
    responding.plan_responses(settings, NOW + timedelta(hours=2))
    row = audit.rows(settings.audit)[-1]
    assert (row["what"], row["rollback"]) == ("not_verified", "Release it again.")
    assert "its way back: Release it again." in caplog.text


def test_a_recommendation_is_written_once_while_it_says_the_same(home: Path, executor: Server, robot: Robot):
    settings = settings_of(home, level=1, write_back=[{"channel": "webhook", "connection": "robot"}])
    publish(home, world())
    assert [one.state for one in responding.recommend(settings, NOW)] == ["sent"]
    publish(home, world(probability=0.9), AS_OF + timedelta(minutes=15))  # a probability that moved is nothing new
    assert [one.state for one in responding.recommend(settings, NOW + timedelta(minutes=15))] == ["sent"]
    assert len(robot.done) == 1
    text = robot.done[0]["text"]
    assert "INC-9: recommended: rollback on tool: step 2 of roll-back." in text
    assert "Likely owner: platform #platform (on call: https://rota.example/platform)" in text
    assert "not a proven cause" in text
    publish(home, world(cause="config"), AS_OF + timedelta(minutes=30))
    assert [one.state for one in responding.recommend(settings, NOW + timedelta(minutes=30))] == ["sent"]
    assert len(robot.done) == 2
    assert events(settings) == ["recommendation_sent", "recommendation_sent"]


def test_an_interrupted_recommendation_ends_with_the_words_it_began_with(home: Path, executor: Server, robot: Robot):
    settings = settings_of(home, level=1, write_back=[{"channel": "webhook", "connection": "robot"}])
    publish(home, world())
    robot.fates = [502]
    assert [one.state for one in responding.recommend(settings, NOW)] == ["sending"]
    publish(home, world(probability=0.9))
    assert [one.state for one in responding.recommend(settings, NOW + timedelta(minutes=1))] == ["sent"]
    assert len(robot.done) == 1
    assert "(95%)" in Outbox(settings.outbox).rows()["payload"][0]


def test_nothing_is_written_where_incidents_are_only_observed(home: Path, executor: Server):
    settings = settings_of(home, level=0, write_back=[{"channel": "webhook", "connection": "robot"}])
    publish(home, world())
    assert responding.recommend(settings, NOW) == []
    assert not executor.asked


def test_the_question_to_a_person_holds_guardrails_and_the_way_back(home: Path):
    settings = settings_of(home)
    publish(home, world())
    (plan,) = responding.plan_responses(settings, NOW)
    asked = responding.question(plan)
    assert asked["subject"] == "rollback on tool for INC-9?"
    assert "how it is undone: Release it again." in asked["body"]
    assert asked["body"].count("\n| ") == len(plan.guardrails) + 1


def test_the_steps_of_the_dag_hand_over_keys_and_words(home: Path, executor: Server, monkeypatch: pytest.MonkeyPatch):
    settings = settings_of(home)
    publish(home, world())
    monkeypatch.setenv("AFTERCAST_CONFIG", str(settings.config))
    planned = responses.plan_responses(NOW)
    assert [one["key"] for one in planned["asks"]] == [KEY]
    assert planned["acts"] == []
    assert not any(responses.recommend(NOW).values())
    assert responses.act(KEY, YES, NOW) == "sent"


def test_a_task_is_red_when_its_action_did_not_go_through(home: Path, executor: Server, robot: Robot, monkeypatch: pytest.MonkeyPatch):
    settings = settings_of(home, level=3)
    publish(home, world())
    monkeypatch.setenv("AFTERCAST_CONFIG", str(settings.config))
    robot.fates = [502, 400]
    with pytest.raises(SourceUnavailable, match=f"{KEY} is sending"):  # a retry of the task helps
        responses.act(KEY, None, NOW)
    with pytest.raises(SourceRejected, match=f"{KEY} is failed"):
        responses.act(KEY, None, NOW)
    assert responses.act(KEY, None, NOW) == "sent"


def test_a_channel_whose_connection_is_missing_does_not_silence_the_others(home: Path, executor: Server, robot: Robot):
    channels = [{"channel": "webhook", "connection": "nowhere"}, {"channel": "webhook", "connection": "robot"}]
    settings = settings_of(home, level=1, write_back=channels)
    publish(home, world())
    found = responding.recommend(settings, NOW)
    assert [one.state for one in found] == ["failed", "sent"]
    assert "nowhere" in str(found[0].error)
    assert len(robot.done) == 1


def test_advice_says_what_would_happen_and_what_stands_in_its_way(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    settings = settings_of(home)
    publish(home, world())
    monkeypatch.setenv("AFTERCAST_CONFIG", str(settings.config))
    cli.main(["advise", "INC-9"])
    said = capsys.readouterr().out
    assert "class all, level 2 (act after approval); now it would be recommended" in said
    assert "stops it  data_fresh" in said
    assert "undone by: Release it again." in said
    assert not settings.audit.exists()  # asking writes nothing
    with pytest.raises(SystemExit):
        cli.main(["advise", "INC-404"])
    with pytest.raises(ConfigError, match="no incident 'INC-404' that counts"):
        responding.advice_on(settings, "INC-404", NOW)


def test_runbooks_are_listed_with_their_record_and_their_checks_are_looked_for(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    settings = settings_of(home)
    publish(home, world())
    monkeypatch.setenv("AFTERCAST_CONFIG", str(settings.config))
    cli.main(["runbooks", "list"])
    assert "4 of 4 (51% to 100%)" in capsys.readouterr().out
    cli.main(["runbooks", "check"])
    assert "1 runbooks, 2 steps read: roll-back" in capsys.readouterr().out
    book = settings.config / "catalog" / "runbooks" / "roll-back.md"
    book.write_text(RUNBOOK.replace("column: is_open", "column: is_opened"))
    with pytest.raises(SystemExit):
        cli.main(["runbooks", "check"])
    assert "mart_incidents has no column 'is_opened'" in " ".join(capsys.readouterr().err.split())


def test_who_takes_a_precondition_out_of_a_runbook_is_told_and_nothing_is_done(
    home: Path, executor: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    settings = settings_of(home, level=3)
    publish(home, world())
    monkeypatch.setenv("AFTERCAST_CONFIG", str(settings.config))
    book = settings.config / "catalog" / "runbooks" / "roll-back.md"
    text = RUNBOOK[: RUNBOOK.index("   precondition:")] + RUNBOOK[RUNBOOK.index("   verify:") :]
    book.write_text(text)
    said = "roll-back.md line 13: step 2 does rollback without a precondition; add `precondition`"
    for command in (["runbooks", "check"], ["advise", "INC-9"]):
        with pytest.raises(SystemExit):
            cli.main(command)
        assert said in " ".join(capsys.readouterr().err.split())
    for task in (lambda: responses.plan_responses(NOW), lambda: responses.act(KEY, YES, NOW), lambda: responses.recommend(NOW)):
        with pytest.raises(ConfigError, match=said):
            task()
    assert (executor.asked, settings.outbox.exists(), settings.audit.exists()) == ([], False, False)
    assert book.read_text() == text
