"""The folder of postmortems: drafts beside what people wrote, states with dates, and nothing of theirs overwritten."""

from __future__ import annotations

import difflib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast import reviewing
from aftercast.errors import ReviewConflict
from aftercast.learning import drafts
from aftercast.reviewing import front_matter, states
from tests.unit.drafts_fixture import NOW, START, marts

DUE = {"sev1": 3.0, "sev2": 5.0}
LATER = NOW + timedelta(days=1)


def drafted(incident: str = "INC-1", lost: float = 12_345.0) -> str:
    frames = marts()
    frames["mart_incidents"] = frames["mart_incidents"].with_columns(lost_revenue=lost)
    found = drafts.draft(frames, incident)
    assert found is not None
    return found.text


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "postmortems"
    reviewing.put_draft(folder, "INC-1", drafted(), NOW)
    return folder


def seen(place: Path, name: str = "INC-1.md") -> str:
    return reviewing.read(place, name).digest


def decide(place: Path, option: str, when=LATER, **given: str) -> str:
    return reviewing.answer(place, "INC-1.md", seen(place), reviewing.Answer(option, **given), when, known=True)


def kinds(place: Path) -> list[str]:
    return [version.kind for version in reviewing.versions(place, "INC-1.md")]


def changed_lines(before: str, after: str) -> list[str]:
    return [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[:1] in "+-"]


def edit(path: Path, old: str, new: str) -> str:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path.read_text()


# Drafts and people's edits


def test_a_draft_is_written_once_and_again_only_when_the_mart_says_something_new(place: Path):
    again = reviewing.put_draft(place, "INC-1", drafted(), LATER)
    assert again.outcome == "unchanged"
    before = (place / "INC-1.md").read_text()
    assert "created: 2026-11-04T00:10:00Z" in before
    newer = reviewing.put_draft(place, "INC-1", drafted(lost=99.0), LATER)
    assert (newer.outcome, newer.path) == ("written", place / "INC-1.md")
    after = (place / "INC-1.md").read_text()
    assert "created: 2026-11-04T00:10:00Z" in after
    assert [version.path.read_text() for version in reviewing.versions(place, "INC-1.md")] == [before, after]


def test_an_edited_draft_is_left_alone_and_the_newer_one_lies_beside_it(place: Path):
    mine = edit(place / "INC-1.md", "<!-- yours to write: one item each -->", "- the cart trusts everybody")
    assert reviewing.put_draft(place, "INC-1", drafted(), LATER).outcome == "unchanged"
    put = reviewing.put_draft(place, "INC-1", drafted(lost=99.0), LATER)
    assert (put.outcome, put.path.name) == ("beside", "INC-1.newer-draft.md")
    assert (place / "INC-1.md").read_text() == mine
    assert "EUR 99" in put.path.read_text()
    assert reviewing.put_draft(place, "INC-1", drafted(lost=99.0), LATER).outcome == "unchanged"
    document = reviewing.read(place, "INC-1.md")
    assert (document.edited, document.has_newer) == (True, True)
    assert [one.name for one in reviewing.documents(place)[0]] == ["INC-1.md"]


def test_a_newer_draft_that_people_edited_is_left_alone_too(place: Path):
    edit(place / "INC-1.md", "cause: #", "cause: none #")
    beside = reviewing.put_draft(place, "INC-1", drafted(lost=99.0), LATER).path
    mine = edit(beside, "status: draft", "status: draft # half merged")
    assert reviewing.put_draft(place, "INC-1", drafted(lost=77.0), LATER).outcome == "left"
    assert beside.read_text() == mine


def test_an_older_version_that_people_brought_back_is_theirs(place: Path):
    first = (place / "INC-1.md").read_text()
    reviewing.put_draft(place, "INC-1", drafted(lost=99.0), LATER)
    (place / "INC-1.md").write_text(first)
    assert reviewing.put_draft(place, "INC-1", drafted(lost=77.0), LATER).outcome == "beside"
    assert (place / "INC-1.md").read_text() == first


def test_a_deleted_draft_stays_deleted_until_somebody_asks_for_it(place: Path):
    (place / "INC-1.md").unlink()
    assert reviewing.put_draft(place, "INC-1", drafted(), LATER).outcome == "left"
    assert not (place / "INC-1.md").exists()
    assert reviewing.put_draft(place, "INC-1", drafted(), LATER, again=True).outcome == "written"


def test_a_postmortem_people_wrote_or_renamed_stands_for_its_incident(tmp_path: Path):
    (tmp_path / "2026").mkdir()
    (tmp_path / "2026" / "checkout.md").write_text("---\nincident: INC-1\nstatus: reviewed\n---\nOurs.\n")
    put = reviewing.put_draft(tmp_path, "INC-1", drafted(), NOW)
    assert (put.outcome, put.path.name) == ("left", "checkout.md")
    assert not (tmp_path / "INC-1.md").exists()


def test_a_write_killed_before_or_after_the_file_was_replaced_is_finished_or_forgotten(place: Path):
    hidden = place / ".aftercast" / "INC-1"
    newer = front_matter.changed(drafted(lost=99.0), {"created": "2026-11-04T00:10:00Z"})
    (hidden / "draft.pending").write_text(newer)  # killed before
    assert reviewing.put_draft(place, "INC-1", drafted(lost=77.0), LATER).outcome == "written"
    (hidden / "draft.pending").write_text(newer)  # killed after
    (place / "INC-1.md").write_text(newer)
    assert reviewing.put_draft(place, "INC-1", drafted(lost=55.0), LATER).outcome == "written"
    assert kinds(place) == ["draft", "draft", "draft", "draft"]
    assert not list(hidden.glob("*.pending"))


def test_ids_that_are_no_file_names_stay_inside_the_folder(tmp_path: Path):
    for incident in ("../../etc/passwd", "a/b", "", "..", "Ä 1", "INC 1"):
        put = reviewing.put_draft(tmp_path, incident, drafted().replace('"INC-1"', f'"{incident}"'), NOW)
        assert put.path.parent == tmp_path
    assert len(reviewing.documents(tmp_path)[0]) == 6


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReviewConflict, match=r"postmortems cannot be written to .*file.*postmortems\.yml"):
        reviewing.put_draft(tmp_path / "file", "INC-1", drafted(), NOW)


# Decisions


def test_approving_changes_the_lines_of_the_state_and_nothing_else(place: Path):
    mine = edit(place / "INC-1.md", "status: draft", "status: draft   # mine, twice  read")
    assert decide(place, "Approve") == "INC-1.md: approved, now reviewed"
    assert changed_lines(mine, (place / "INC-1.md").read_text()) == [
        "- status: draft   # mine, twice  read",
        "+ status: reviewed # mine, twice  read",
        "+ reviewed_at: 2026-11-05T00:10:00Z",
        "+ updated: 2026-11-05T00:10:00Z",
    ]
    assert kinds(place) == ["draft", "edited", "state"]
    assert reviewing.versions(place, "INC-1.md")[1].path.read_text() == mine


def test_the_states_follow_each_other_with_their_dates(place: Path):
    decide(place, "Assign", team="cart-team")
    assigned = reviewing.read(place, "INC-1.md")
    assert (assigned.state, assigned.front.text("assigned"), assigned.front.text("in_review_at")) == (
        "in review",
        "cart-team",
        "2026-11-05T00:10:00Z",
    )
    decide(place, "Approve", LATER + timedelta(days=1), cause="change:deploy-77")
    assert (reviewing.read(place, "INC-1.md").state, reviewing.read(place, "INC-1.md").front.text("cause")) == (
        "reviewed",
        "change:deploy-77",
    )
    decide(place, "Approve", LATER + timedelta(days=2))
    closed = reviewing.read(place, "INC-1.md")
    assert (closed.state, closed.front.text("closed_at"), closed.since) == ("closed", "2026-11-07T00:10:00Z", LATER + timedelta(days=2))
    with pytest.raises(ReviewConflict, match="is 'closed' already"):
        decide(place, "Approve")


def test_a_rejected_draft_is_asked_about_again_once_somebody_edited_it(place: Path):
    decide(place, "Reject")
    assert reviewing.to_ask(place, DUE, LATER, frozenset())[0] == []
    edit(place / "INC-1.md", "<!-- yours to write: one item each -->", "- haste")
    assert reviewing.to_ask(place, DUE, LATER, frozenset())[0] == ["INC-1.md"]


def test_reviewed_ones_are_asked_about_when_all_their_actions_are_done(place: Path):
    decide(place, "Approve")
    assert reviewing.to_ask(place, DUE, LATER, frozenset())[0] == []
    assert reviewing.to_ask(place, DUE, LATER, frozenset({"INC-1"}))[0] == ["INC-1.md"]
    assert reviewing.request(place, "INC-1.md", DUE, LATER).subject == "Close postmortem Checkout fails"


def test_the_second_of_two_reviewers_sees_that_the_file_has_moved_on(place: Path):
    shown = seen(place)
    reviewing.answer(place, "INC-1.md", shown, reviewing.Answer("Approve"), LATER, known=True)
    before = (place / "INC-1.md").read_text()
    with pytest.raises(ReviewConflict, match=r"INC-1\.md has moved on since it was shown: it is now 'reviewed' since 2026-11-05 00:10 UTC"):
        reviewing.answer(place, "INC-1.md", shown, reviewing.Answer("Reject"), LATER, known=True)
    assert (place / "INC-1.md").read_text() == before


@pytest.mark.parametrize("options", [("Approve", "Approve"), ("Approve", "Reject"), ("Assign", "Approve", "Reject")])
def test_of_reviewers_who_answer_at_once_one_is_heard_and_the_others_are_told(place: Path, options: tuple[str, ...]):
    shown, started = seen(place), threading.Barrier(len(options))

    def reviewer(option: str) -> str:
        started.wait()
        given = reviewing.Answer(option, team="cart-team" if option == "Assign" else "")
        try:
            reviewing.answer(place, "INC-1.md", shown, given, LATER, known=True)
        except ReviewConflict as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(len(options)) as pool:
        told = list(pool.map(reviewer, options))
    assert told.count("") == 1
    assert all("INC-1.md has moved on since it was shown" in one for one in told if one)
    heard = options[told.index("")]
    assert reviewing.read(place, "INC-1.md").state == {"Approve": "reviewed", "Reject": "draft", "Assign": "in review"}[heard]
    assert kinds(place) == ["draft", "rejected" if heard == "Reject" else "state"]


def test_what_was_edited_after_it_was_shown_is_not_approved(place: Path):
    shown = seen(place)
    mine = edit(place / "INC-1.md", "<!-- yours to write: one item each -->", "- haste")
    with pytest.raises(ReviewConflict, match="moved on"):
        reviewing.answer(place, "INC-1.md", shown, reviewing.Answer("Approve"), LATER, known=True)
    assert (place / "INC-1.md").read_text() == mine


def test_a_verdict_on_a_vanished_incident_is_refused(place: Path):
    with pytest.raises(ReviewConflict, match=r"knows no incident 'INC-1' \(any more\)"):
        reviewing.answer(place, "INC-1.md", seen(place), reviewing.Answer("Approve"), LATER, known=False)
    assert kinds(place) == ["draft"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (reviewing.Answer("Approve", cause="it was me"), "cause 'it was me' is not kind:id"),
        (reviewing.Answer("Assign"), "needs a `team`"),
        (reviewing.Answer("Maybe"), "'Maybe' is none of Approve, Reject, Assign, Later"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(place: Path, answer: reviewing.Answer, words: str):
    with pytest.raises(ReviewConflict, match=words):
        reviewing.answer(place, "INC-1.md", seen(place), answer, LATER, known=True)
    assert kinds(place) == ["draft"]


def test_nobody_decided_writes_nothing(place: Path):
    before = (place / "INC-1.md").read_bytes()
    assert decide(place, "Later") == "INC-1.md: nobody decided, it stays 'draft'"
    assert (place / "INC-1.md").read_bytes() == before


def test_the_question_shows_what_is_decided_about_and_how_late_it_is(place: Path):
    asked = reviewing.request(place, "INC-1.md", DUE, START + timedelta(days=6))
    assert asked.subject == "Review postmortem overdue by 3 d: Checkout fails"
    assert "**overdue by 3 d**" in asked.body
    assert "It cost EUR 12.3k" in asked.body
    assert "Release cart through a canary gate" in asked.body
    assert "## Evidence" not in asked.body
    assert len(asked.body) < 6_000


# Front matter that people broke


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("# no front matter\n", 1, "the first line is not ---"),
        ("---\nincident_id: INC-1\nstatus: draft\n", 1, "not closed"),
        ("---\nincident_id: INC-1\ntitle: [half\nstatus: draft\n---\n", 4, "no YAML"),
        ("---\n- INC-1\n---\n", 2, "no mapping"),
    ],
)
def test_a_front_matter_that_does_not_parse_is_named_with_file_and_line_and_nothing_is_overwritten(
    place: Path, content: str, line: int, reason: str
):
    path = place / "INC-1.md"
    path.write_text(content)
    documents, broken = reviewing.documents(place)
    assert documents == []
    assert len(broken) == 1
    assert f"{path}, line {line}: " in broken[0]
    assert reason in broken[0]
    assert "nothing was written" in broken[0]
    put = reviewing.put_draft(place, "INC-1", drafted(lost=99.0), LATER)
    assert put.outcome == "beside"
    with pytest.raises(ReviewConflict, match=f"line {line}"):
        reviewing.answer(place, "INC-1.md", "", reviewing.Answer("Approve"), LATER, known=True)
    assert path.read_text() == content


@pytest.mark.parametrize(
    ("front", "words"),
    [
        ("status:\n  - draft", "line 3: status is not a single value"),
        ("status: draft\nstatus: reviewed", "line 4: status is there twice"),
        ("{status: draft}", "no YAML"),
        ("'status': draft", "line 3: status is not a value on a line of its own"),
    ],
)
def test_a_state_that_is_no_line_of_its_own_is_not_touched(tmp_path: Path, front: str, words: str):
    path = tmp_path / "INC-1.md"
    path.write_text(f"---\nincident_id: INC-1\n{front}\n---\n")
    before = path.read_bytes()
    with pytest.raises(ReviewConflict, match=words):
        reviewing.answer(tmp_path, "INC-1.md", reviewing.folder.digest(before), reviewing.Answer("Approve"), LATER, known=True)
    assert path.read_bytes() == before


def test_line_endings_and_marks_of_editors_are_kept():
    text = "\ufeff---\r\nstatus: 'draft'\r\ncause: # which\r\n---\r\nText.\r\n"
    changed = front_matter.changed(text, {"status": "in review", "cause": "change:a b", "updated": "2026-11-05T00:10:00Z"})
    assert changed == ("\ufeff---\r\nstatus: in review\r\ncause: change:a b # which\r\nupdated: 2026-11-05T00:10:00Z\r\n---\r\nText.\r\n")


PLAIN = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=20)


@given(old=PLAIN, new=PLAIN, body=PLAIN)
def test_a_changed_value_reads_back_and_the_rest_stays(old: str, new: str, body: str):
    text = f"---\nstatus: {front_matter._written(old)} # note\nother: 1\n---\n{body}\n"
    changed = front_matter.changed(text, {"status": new})
    assert front_matter.read(changed).values == {"status": new, "other": "1"}
    assert changed.split("\n")[2:] == text.split("\n")[2:]


def test_postmortems_are_due_by_severity_and_late_only_while_they_wait():
    for state, late in (("draft", timedelta(days=2)), ("in review", timedelta(days=2)), ("reviewed", None)):
        waiting = states.waiting(state, "sev1", START, DUE, START + timedelta(days=5))
        assert (waiting.due, waiting.overdue) == (START + timedelta(days=3), late)
    assert states.waiting("draft", "sev4", START, DUE, LATER) == states.Waiting(None, None)
    assert [states.state_of(word) for word in ("In_Review", "final", "", "Entwurf")] == ["in review", "reviewed", "draft", "draft"]
