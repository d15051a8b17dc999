"""Drafting, reviewing and reading back as the tasks and the command line do them; what waits for review is no knowledge yet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from aftercast import cli, landing
from aftercast.declarations import SourceRow
from aftercast.errors import ConfigError, ReviewConflict
from aftercast.settings import Settings
from aftercast.sources import open_source
from aftercast.steps import postmortems
from aftercast.window import Window
from tests.unit import drafts_fixture, landing_fixture
from tests.unit.drafts_fixture import NOW, marts

ENTITIES = ("postmortems", "incident_events", "action_items", "insights", "verdicts")
DAY = Window(datetime(2026, 11, 5, tzinfo=UTC), datetime(2026, 11, 6, tzinfo=UTC))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = landing_fixture.deployment(tmp_path)
    monkeypatch.setenv("AFTERCAST_HOME", str(settings.home))
    monkeypatch.setenv("AFTERCAST_CONFIG", str(settings.config))
    monkeypatch.setenv("COLUMNS", "200")
    drafts_fixture.publish(settings.home)
    return settings


def aftercast(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = 0
    try:
        cli.main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    return code, " ".join(said.out.split()), " ".join(said.err.split())


def answered(option: str, when: datetime = NOW, **inputs: str) -> dict[str, object]:
    return {"chosen_options": [option], "params_input": inputs, "responded_at": when.isoformat()}


def land(place: Settings, **options: object) -> str:
    """Land the folder as a source does; return the fingerprint that tells whether a refresh would find anything new."""
    row = SourceRow(name="reviews", kind="postmortems", entities=ENTITIES, options={"inbox": "postmortems", **options})
    landing_fixture.land(place, DAY, *open_source(row, place).extract(DAY), source=row, at=DAY.end)
    return landing.landing_fingerprint(place)


def test_the_task_drafts_what_waits_and_doing_it_twice_changes_nothing(place: Settings):
    assert postmortems.draft_postmortems(NOW) == {"written": 2, "unchanged": 0, "beside": 0, "left": 0}
    before = {path: path.read_bytes() for path in place.postmortems.rglob("*.md")}
    assert len(before) == 4
    assert postmortems.draft_postmortems(NOW + timedelta(days=1)) == {"written": 0, "unchanged": 2, "beside": 0, "left": 0}
    assert {path: path.read_bytes() for path in place.postmortems.rglob("*.md")} == before


def test_severities_and_folder_are_settings(place: Settings, tmp_path: Path):
    (place.config / "postmortems.yml").write_text(f"severities: [sev4]\nfolder: {tmp_path / 'checkout' / 'docs'}\n")
    assert postmortems.draft_postmortems(NOW)["written"] == 1
    assert (tmp_path / "checkout" / "docs" / "INC-4.md").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("severity: [sev1]", "unknown key; did you mean 'severities'"),
        ("severities: [bad]", "severities"),
        ("due_days: {sev9: 1}", "unknown severity 'sev9'"),
        ("due_days: {sev1: 0}", "sev1: 0 days are none"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(place: Settings, text: str, words: str):
    (place.config / "postmortems.yml").write_text(text)
    with pytest.raises(ConfigError, match=r"postmortems\.yml") as refused:
        postmortems.draft_postmortems(NOW)
    assert words in str(refused.value)


def test_an_incident_is_drafted_reviewed_and_closed_through_the_tasks(place: Settings):
    postmortems.draft_postmortems(NOW)
    assert postmortems.postmortems_to_review(NOW) == ["INC-1.md", "INC-2.md"]
    asked = postmortems.review_request("INC-1.md", NOW)
    assert asked["users"] is None
    told = postmortems.record_review("INC-1.md", asked["seen"], answered("Approve", cause="change:deploy-77"), NOW)
    assert told == "INC-1.md: approved, now reviewed"
    assert postmortems.postmortems_to_review(NOW) == ["INC-2.md"]
    frames = marts()
    reviewed = pl.when(pl.col("incident_id") == "INC-1").then(pl.lit("reviewed")).otherwise("postmortem_status")
    frames["mart_incidents"] = frames["mart_incidents"].with_columns(postmortem_status=reviewed)
    drafts_fixture.publish(place.home, frames)
    assert postmortems.draft_postmortems(NOW) == {"written": 0, "unchanged": 1, "beside": 0, "left": 0}
    assert postmortems.postmortems_to_review(NOW) == ["INC-2.md", "INC-1.md"]
    seen = postmortems.review_request("INC-1.md", NOW)["seen"]
    assert postmortems.record_review("INC-1.md", seen, answered("Approve"), NOW) == "INC-1.md: approved, now closed"


def test_who_may_answer_follows_the_team_it_is_assigned_to(place: Settings):
    (place.config / "postmortems.yml").write_text("reviewers: {cart-team: [u1, u2]}\n")
    postmortems.draft_postmortems(NOW)
    seen = postmortems.review_request("INC-1.md", NOW)["seen"]
    postmortems.record_review("INC-1.md", seen, answered("Assign", team="cart-team"), NOW)
    assert postmortems.review_request("INC-1.md", NOW)["users"] == [{"id": "u1", "name": "u1"}, {"id": "u2", "name": "u2"}]


def test_an_incident_that_vanished_from_the_mart_gets_no_verdict(place: Settings):
    postmortems.draft_postmortems(NOW)
    seen = postmortems.review_request("INC-2.md", NOW)["seen"]
    frames = marts()
    frames["mart_incidents"] = frames["mart_incidents"].filter(pl.col("incident_id") != "INC-2")
    drafts_fixture.publish(place.home, frames)
    with pytest.raises(ReviewConflict, match="knows no incident 'INC-2'"):
        postmortems.record_review("INC-2.md", seen, answered("Approve"), NOW)


def test_files_that_cannot_be_read_do_not_hold_up_the_others(place: Settings):
    postmortems.draft_postmortems(NOW)
    (place.postmortems / "INC-1.md").write_text("---\nstatus: [\n---\n")
    assert postmortems.postmortems_to_review(NOW) == ["INC-2.md"]
    assert postmortems.draft_postmortems(NOW)["unchanged"] == 2
    with pytest.raises(ReviewConflict, match=r"1 postmortems cannot be read(.|\n)*INC-1\.md, line 2"):
        postmortems.check_postmortems(NOW)


def test_drafts_change_nothing_for_the_warehouse_and_a_reviewed_one_does(place: Settings):
    only = {"statuses": ["reviewed", "closed"]}
    empty = land(place, **only)
    postmortems.draft_postmortems(NOW)
    assert land(place, **only) == empty
    postmortems.record_review("INC-1.md", postmortems.review_request("INC-1.md", NOW)["seen"], answered("Approve", cause="none"), NOW)
    reviewed = land(place, **only)
    assert reviewed != empty
    assert land(place, **only) == reviewed
    (row,) = landing_fixture.landed(place, "postmortems").to_dicts()
    assert (row["incident_id"], row["status"], row["version"]) == ("INC-1", "reviewed", int(NOW.timestamp()))
    (verdict,) = landing_fixture.landed(place, "verdicts").to_dicts()
    assert (verdict["subject_kind"], verdict["subject_id"], verdict["verdict"]) == ("none", "none", "confirm")
    assert landing_fixture.landed(place, "action_items").height == 5
    path = place.postmortems / "INC-1.md"
    path.write_text(path.read_text().replace("status: reviewed", "status: draft"))
    land(place, **only)
    assert landing_fixture.landed(place, "action_items").is_empty()


def test_a_source_without_verdicts_lands_what_it_always_did(place: Settings):
    postmortems.draft_postmortems(NOW)
    row = SourceRow(name="reviews", kind="postmortems", entities=ENTITIES[:-1], options={"inbox": "postmortems"})
    landed = landing_fixture.land(place, DAY, *open_source(row, place).extract(DAY), source=row, at=DAY.end)
    assert sorted(landed) == sorted(ENTITIES[:-1])
    assert landed["postmortems"].landed == 2


# The command line


def test_no_postmortems_yet_says_where_they_come_from(place: Settings, capsys: pytest.CaptureFixture[str]):
    code, said, _ = aftercast(capsys, "postmortems")
    assert code == 0
    assert f"no postmortems in {place.postmortems} yet: drafts come when a mart is published" in said


def test_a_draft_is_printed_or_written_and_an_unknown_incident_named(place: Settings, capsys: pytest.CaptureFixture[str]):
    code, said, _ = aftercast(capsys, "draft", "INC-4", "--print")
    assert (code, place.postmortems.exists()) == (0, False)
    assert "# INC-4: Checkout fails [E1]" in said
    assert "written to" in aftercast(capsys, "draft", "INC-4")[1]
    assert "nothing new since the one in" in aftercast(capsys, "draft", "INC-4")[1]
    code, _, errors = aftercast(capsys, "draft", "INC-44")
    assert code == 1
    assert "knows no incident 'INC-44'; did you mean" in errors


def test_the_list_shows_states_days_due_and_what_cannot_be_read(place: Settings, capsys: pytest.CaptureFixture[str]):
    postmortems.draft_postmortems(NOW)
    path = place.postmortems / "INC-1.md"
    path.write_text(path.read_text().replace("cause: #", "cause: none #"))
    code, said, _ = aftercast(capsys, "postmortems")
    assert code == 0
    for words in ("INC-1", "draft", "2026-11-06,", "overdue", "edited by people", "2 wait for review, 2 of them overdue"):
        assert words in said
    path.write_text("nothing")
    code, said, errors = aftercast(capsys, "postmortems")
    assert code == 1
    assert f"cannot be read: {path}, line 1: the first line is not ---" in said
    assert "1 of 2 postmortems cannot be read" in errors


def test_before_the_first_run_a_draft_says_what_to_do(home: Path, capsys: pytest.CaptureFixture[str]):
    code, _, errors = aftercast(capsys, "draft", "INC-1")
    assert code == 1
    assert "`aftercast run` builds it" in errors


def test_what_people_changed_in_a_draft_is_shown_line_by_line(place: Settings, capsys: pytest.CaptureFixture[str]):
    postmortems.draft_postmortems(NOW)
    path = place.postmortems / "INC-1.md"
    assert "the file as it is says what version 1 (draft) says" in aftercast(capsys, "postmortems", "diff", "INC-1")[1]
    path.write_text(path.read_text().replace("<!-- yours to write: one item each -->", "- the cart [trusts] everybody"))
    code, said, _ = aftercast(capsys, "postmortems", "diff", "INC-1")
    assert code == 0
    assert "INC-1.md: from version 1 (draft) to the file as it is" in said
    assert "-<!-- yours to write: one item each --> +- the cart [trusts] everybody" in said
    assert said.count(" +-") == 1
    postmortems.record_review("INC-1.md", postmortems.review_request("INC-1.md", NOW)["seen"], answered("Approve"), NOW)
    said = aftercast(capsys, "postmortems", "diff", "INC-1.md", "--from", "2", "--to", "3")[1]
    assert "from version 2 (as people had edited it) to version 3 (after a review)" in said
    assert "-status: draft +status: reviewed" in said
    assert "trusts" not in said
    said = aftercast(capsys, "postmortems", "versions", str(path))[1]
    assert "1 draft" in said
    assert "2 as people had edited it 1 1 3 after a review" in said


def test_a_file_that_cannot_be_parsed_or_is_gone_is_compared_too(place: Settings, capsys: pytest.CaptureFixture[str]):
    postmortems.draft_postmortems(NOW)
    path = place.postmortems / "INC-1.md"
    text = path.read_text()
    path.write_text(text.replace("status: draft", "status: ["))
    assert "-status: draft +status: [" in aftercast(capsys, "postmortems", "diff", "INC-1")[1]
    path.unlink()
    code, _, errors = aftercast(capsys, "postmortems", "diff", "INC-1")
    assert code == 1
    assert "is gone: it was renamed or deleted; name two of its kept versions (1)" in errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("INC-11",), "has no postmortem of 'INC-11' and no such file; did you mean 'INC-1'?"),
        (("INC-1", "--from", "7"), "has no kept version 7; kept: 1"),
        (("own.md",), "people wrote it themselves, so there is no draft of ours to compare it with (kept: none)"),
    ],
)
def test_what_cannot_be_compared_is_said(place: Settings, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str):
    postmortems.draft_postmortems(NOW)
    (place.postmortems / "own.md").write_text("---\nincident_id: INC-5\n---\n")
    code, _, errors = aftercast(capsys, "postmortems", "diff", *arguments)
    assert code == 1
    assert words in errors
