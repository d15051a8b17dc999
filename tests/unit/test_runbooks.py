"""Runbooks are read whole or refused with the line that is wrong; what acts has a check before it and a way back."""

from __future__ import annotations

from pathlib import Path

import pytest

from aftercast import runbooks
from aftercast.errors import ConfigError
from aftercast.runbooks import ACTIONS, Check
from aftercast.settings import PROJECT, Settings, load_deployment
from tests.unit.responses_fixture import RUNBOOK, runbook


def test_a_runbook_is_read_with_its_steps_and_checks():
    book = runbook()
    assert (book.id, book.version, book.causes) == ("roll-back", 3, ("deploy",))
    assert [step.acts for step in book.steps] == [False, True]
    step = book.action
    assert step is not None
    assert step.do is not None
    assert step.do.filled({"service": "tool", "candidate": "chg-1"}) == {"service": "tool", "change": "chg-1"}
    assert [str(check) for check in step.precondition] == [
        "mart_incidents.is_open is true",
        "mart_incident_candidates.probability is at least 0.6",
    ]


def test_another_word_is_another_content_version_and_line_ends_are_not():
    assert runbook(RUNBOOK.replace("Look first", "Look twice")).digest != runbook().digest
    assert runbook(RUNBOOK.replace("\n", "\r\n")).digest == runbook().digest


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("---\nid", "id", "line 1: a runbook begins with front matter"),
        ("causes: [deploy]\n---", "causes: [deploy]", "line 1: the front matter has no end"),
        ("version: 3", "version: three", "line 4: version"),
        ("owner_team: platform", "owner: platform", "did you mean 'owner_team'?"),
        ("causes: [deploy]", "causes: [deployment]", "did you mean 'deploy'?"),
        ("causes: [deploy]\n", "", "say what it is for"),
        ("title: Roll back\n", "title: [Roll\n", "not readable YAML"),
        ("2. Roll it back.", "3. Roll it back.", "line 13: step 3 comes where step 2 is expected"),
        ("## Steps", "## What to do", "no steps; write a numbered list below a heading `## Steps`"),
        ("action: rollback", "action: rolback", "line 16: do: Value error, unknown action 'rolback'; did you mean 'rollback'?"),
        ("{service}", "{servcie}", "did you mean 'service'?"),
        ("column: is_open, equals: true", "column: is_open", "a check needs one of"),
        ("mart: mart_incidents, column: is_open, equals: true", "mart: mart_incident, column: x, equals: 1", "did you mean"),
        ("   rollback: Release it again.\n", "", "line 13: step 2 does rollback without a rollback plan; add `rollback`"),
        ("   rollback: Release it again.\n   ```\n", "   rollback: Release it again.\n", "this block is never closed"),
        ("1. Look first.\n2. Roll it back.\n", "", "this block belongs to no step"),
    ],
)
def test_a_wrong_runbook_is_refused_with_the_place_and_what_to_do(old: str, new: str, said: str):
    assert old in RUNBOOK
    with pytest.raises(ConfigError) as refused:
        runbook(RUNBOOK.replace(old, new, 1))
    assert "roll-back.md line " in str(refused.value)
    assert said in str(refused.value)


def test_a_step_that_acts_without_a_precondition_is_refused():
    begin, end = RUNBOOK.index("   precondition:"), RUNBOOK.index("   verify:")
    with pytest.raises(ConfigError, match=r"roll-back.md line 13: step 2 does rollback without a precondition; add `precondition`"):
        runbook(RUNBOOK[:begin] + RUNBOOK[end:])


def test_a_step_that_only_tells_needs_neither():
    text = RUNBOOK[: RUNBOOK.index("   ```yaml")] + "   ```yaml\n   do: {action: notify}\n   ```\n"
    assert runbook(text).action is None


def test_two_runbooks_may_not_share_an_id(tmp_path: Path):
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text(RUNBOOK)
    with pytest.raises(ConfigError, match=r"b\.md line 2: id 'roll-back' is also that of a\.md"):
        runbooks.read(tmp_path)


def test_a_runbook_names_services_and_teams_of_the_catalogue(tmp_path: Path):
    (tmp_path / "a.md").write_text(RUNBOOK.replace("causes:", "services: [chekout]\ncauses:"))
    with pytest.raises(ConfigError, match="unknown service 'chekout'; did you mean 'checkout'"):
        runbooks.read(tmp_path, services=["checkout"], teams=["platform"])
    with pytest.raises(ConfigError, match="unknown team 'platform'"):
        runbooks.read(tmp_path, teams=["orders"])


def test_the_demo_companys_runbooks_are_read_and_cover_what_its_responders_do():
    deployment = load_deployment(PROJECT / "config")
    assert len(deployment.runbooks) >= 4
    acting = [book for book in deployment.runbooks if book.action]
    assert {kind for book in acting for kind in ACTIONS[book.action.do.action]} == {"rollback", "config", "flag", "infra"}  # type: ignore[union-attr]
    assert deployment.automation.dry_run


def test_a_check_asks_one_thing():
    with pytest.raises(ValueError, match="a check needs one of"):
        Check(mart="mart_incidents", column="is_open", equals=True, at_least=1)


def test_automation_of_an_unknown_action_is_refused_with_its_row(tmp_path: Path):
    (tmp_path / "sources.yml").write_text(
        "history: {start: 2026-09-01, end: 2026-09-02}\nsources: []\n".replace("2026-09-01", "'2026-09-01'").replace(
            "2026-09-02}", "'2026-09-02'}"
        )
    )
    (tmp_path / "automation.yml").write_text("classes: [{name: low, level: 2, actions: [rollbak]}]")
    with pytest.raises(ConfigError, match=r"automation.yml: row 1 \(low\): unknown action 'rollbak'; did you mean 'rollback'"):
        _ = Settings(tmp_path, tmp_path).deployment


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("classes: [{name: low, level: 2}]", "`actions` are named where the level is 2 or 3"),
        ("classes: [{name: low, level: 3, actions: [rollback]}]", "must name the causes or families"),
        ("dry_run: false\nclasses: [{name: low, level: 2, actions: [rollback]}]", "as `executor`"),
        ("classes: [{name: a, level: 1}, {name: a, level: 0}]", "declared twice"),
        ("write_back: [{channel: slack, connection: s}]", "`room`"),
    ],
)
def test_automation_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str):
    (tmp_path / "sources.yml").write_text("history: {start: '2026-09-01', end: '2026-09-02'}\nsources: []\n")
    (tmp_path / "automation.yml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        _ = Settings(tmp_path, tmp_path).deployment


def test_without_the_file_everything_is_only_observed(tmp_path: Path):
    (tmp_path / "sources.yml").write_text("history: {start: '2026-09-01', end: '2026-09-02'}\nsources: []\n")
    automation = Settings(tmp_path, tmp_path).deployment.automation
    assert automation.dry_run
    assert automation.classes == ()
