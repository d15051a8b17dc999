"""What action items need outside: decided from the mart and the outbox, the same twice, blameless, and nothing without a row that asks."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aftercast import tickets
from aftercast.acting.outbox import Outbox
from aftercast.declarations import ActionsFile
from aftercast.learning.actions import Plan, missing_of, reference_in
from tests.unit.actions_fixture import GITHUB, JIRA, MAIL, NOW, SLACK, days, incident, item, late, plan, rules

TICKET = "https://acme.atlassian.net/browse/OPS-12"
NUDGES = {"channels": (SLACK,), "nudge": {"channel": "chat", "after_days": 1, "every_days": 7}}


def kinds(found: Plan) -> list[tuple[str, str]]:
    return [(one.kind, one.key) for one in found.effects]


def carried_out(box: Outbox, found: Plan, reference: str = "OPS-12") -> Outbox:
    """The outbox after everything planned was sent."""
    for one in found.effects:
        box.deliver(channel=one.via, key=one.key, payload=one.payload, send=lambda *_: reference, find=None, now=NOW)
    return box


def test_a_concrete_open_item_gets_a_ticket():
    (effect,) = plan(item(), by=rules(JIRA)).effects
    assert (effect.kind, effect.key, effect.via, effect.is_live) == ("create", "action/A-3/create", "ops", True)
    assert effect.payload == {
        "title": "Cap retries of payments",
        "item": "A-3",
        "incident": "INC-1",
        "incident_title": "Payments time out",
        "incident_url": "https://incidents.example/INC-1",
        "type": "prevent",
        "service": "payments",
        "team": "money",
        "due": "2026-10-10",
        "criterion": "no incident of the family in 28 days",
    }


@pytest.mark.parametrize(
    ("lacking", "word"),
    [
        ({"owner_team": "unowned"}, "owner team"),
        ({"due_at": None}, "due date"),
        ({"type": None}, "type"),
        ({"success_criterion": None}, "success criterion"),
    ],
)
def test_an_item_that_lacks_something_gets_no_ticket_and_is_listed(lacking, word):
    found = plan(item(**lacking), by=rules(JIRA))
    assert found.effects == ()
    assert found.incomplete.select("action_item_id", "missing").rows() == [("A-3", word)]


def test_everything_an_item_lacks_is_said():
    assert missing_of(item(owner_team=None, due_at=None, type=None, success_criterion="")) == [
        "owner team",
        "due date",
        "type",
        "success criterion",
    ]


@pytest.mark.parametrize("status", ["done", "verified", "cancelled"])
def test_what_is_over_gets_no_ticket(status: str):
    assert plan(item(status=status), by=rules(JIRA)).effects == ()


def test_nothing_happens_where_nothing_is_declared():
    found = plan(late(30), item("A-4", status="done", done_at=NOW - days(3)), by=rules())
    assert found.effects == ()


def test_a_row_that_is_not_live_is_a_dry_run():
    assert [one.is_live for one in plan(item(), by=rules(JIRA | {"live": False})).effects] == [False]


def test_a_team_s_own_tracker_goes_before_the_one_for_everybody():
    by = rules(GITHUB, JIRA | {"teams": ["money"]})
    assert [one.via for one in plan(item(), item("A-4", owner_team="web"), by=by).effects] == ["ops", "shop"]


@pytest.mark.parametrize(
    ("url", "row", "reference"),
    [
        (TICKET, JIRA, "OPS-12"),
        ("https://acme.atlassian.net/browse/OTHER-12", JIRA, None),
        ("https://github.com/acme/shop/issues/7", GITHUB, "acme/shop#7"),
        ("https://github.com/acme/other/issues/7", GITHUB, None),
        ("https://github.com/acme/shop/pull/7", GITHUB, None),
        (None, JIRA, None),
    ],
)
def test_an_item_that_lives_in_a_tracker_is_known_by_its_link(url, row, reference):
    assert reference_in(url, rules(row).trackers[0]) == reference
    assert bool(plan(item(url=url), by=rules(row)).effects) == (reference is None)


def test_what_was_sent_is_not_planned_again(tmp_path: Path):
    by, box = rules(JIRA, **NUDGES), Outbox(tmp_path)
    first = plan(late(3), by=by)
    assert [one.kind for one in first.effects] == ["create", "nudge"]
    carried_out(box, first)
    assert plan(late(3), by=by, sent=box.rows()).effects == ()


def test_an_item_kept_elsewhere_updates_its_ticket_each_time_it_changes(tmp_path: Path):
    by, box = rules(JIRA), Outbox(tmp_path)
    carried_out(box, plan(item(), by=by))
    for number, title in enumerate(("Cap and back off", "Cap retries of payments", "Cap and back off"), start=1):
        found = plan(item(title=title), by=by, sent=box.rows())
        assert kinds(found) == [("update", f"action/A-3/update/{number}")]
        assert found.effects[0].payload["ticket"] == "OPS-12"
        carried_out(box, found)
        assert plan(item(title=title), by=by, sent=box.rows()).effects == ()


def test_a_ticket_that_is_read_back_is_the_truth_and_is_not_written_over(tmp_path: Path):
    by, box = rules(JIRA), Outbox(tmp_path)
    carried_out(box, plan(item(), by=by))
    assert plan(item(title="Edited by people", url=TICKET), by=by, sent=box.rows()).effects == ()


def test_an_attempt_whose_end_is_not_known_goes_on_with_what_it_began_with(tmp_path: Path):
    from aftercast.errors import SourceUnavailable

    def lost(*_: object) -> str:
        raise SourceUnavailable("no answer")

    by, box = rules(JIRA, GITHUB | {"teams": ["web"]}), Outbox(tmp_path)
    (begun,) = plan(item(), by=by).effects
    box.deliver(channel=begun.via, key=begun.key, payload=begun.payload, send=lost, find=lambda _: None, now=NOW)
    (again,) = plan(item(title="Edited meanwhile", status="done", owner_team="web"), by=by, sent=box.rows()).effects
    assert (again.key, again.via, again.payload) == (begun.key, begun.via, begun.payload)


def test_a_ticket_hears_of_shipping_once_and_that_done_is_not_verified(tmp_path: Path):
    by, box = rules(JIRA), Outbox(tmp_path)
    carried_out(box, plan(item(), by=by))
    shipped = item(status="done", done_at=NOW, shipped_at=NOW, shipped_change_id="D-7")
    found = plan(shipped, by=by, sent=box.rows())
    assert kinds(found) == [("comment", "action/A-3/comment/shipped/D-7")]
    assert found.effects[0].payload["text"] == "Shipped by change D-7 on 2026-09-30. Done is not verified yet."
    carried_out(box, found)
    assert plan(shipped, by=by, sent=box.rows()).effects == ()


def test_shipping_without_a_criterion_is_said(tmp_path: Path):
    by, box = rules(JIRA), Outbox(tmp_path)
    carried_out(box, plan(item(), by=by))
    shipped = item(status="done", done_at=NOW, shipped_at=NOW, shipped_change_id="D-7", success_criterion=None, url=TICKET)
    (comment,) = plan(shipped, by=by, sent=box.rows()).effects
    assert "No success criterion was fixed before it shipped" in str(comment.payload["text"])


def test_a_verdict_is_told_with_its_numbers_and_too_early_is_no_verdict(tmp_path: Path):
    by, box = rules(JIRA), Outbox(tmp_path)
    carried_out(box, plan(item(), by=by))
    done = item(status="done", done_at=NOW - days(60))
    fix = {"action_item_id": "A-3", "outcome": "recurrence", "is_promised": True, "n_before": 9, "n_after": 0, "reason": "28 days watched"}
    assert plan(done, by=by, sent=box.rows(), fixes=(fix | {"verdict": "too_early"},)).effects == ()
    judged = fix | {"verdict": "effective", "estimate": 0.1, "ci_low": 0.0, "ci_high": 0.4}
    (comment,) = plan(done, by=by, sent=box.rows(), fixes=(judged,)).effects
    assert comment.payload["text"] == (
        "Measured by recurrence, this has worked: n = 9 before and 0 after, ratio 0.10 (interval 0.00 to 0.40). 28 days watched"
    )


def test_a_recurrence_after_it_was_done_reopens_the_ticket_once(tmp_path: Path):
    by, box = rules(JIRA), Outbox(tmp_path)
    done, again = item(status="done", done_at=NOW - days(9), url=TICKET), incident("INC-5", ago=2)
    found = plan(done, by=by, incidents=(incident(), again))
    assert kinds(found) == [("reopen", "action/A-3/reopen/INC-5")]
    text = str(found.effects[0].payload["text"])
    assert "INC-5 (Payments time out) began on 2026-09-28 12:00 UTC" in text
    assert "no proof that this did not work" in text
    carried_out(box, found)
    assert plan(done, by=by, incidents=(incident(), again), sent=box.rows()).effects == ()


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ({"status": "open"}, {}),
        ({"status": "cancelled"}, {}),
        ({"type": "investigate"}, {}),
        ({"family_id": None}, {}),
        ({"done_at": NOW - days(1)}, {}),
        ({}, {"family_id": "F-2"}),
        ({}, {"incident_id": "INC-1"}),
        ({"done_at": NOW - days(90)}, {"started_at": NOW - days(31)}),
    ],
)
def test_what_is_no_recurrence_reopens_nothing(changed, again):
    done = item(**({"status": "done", "done_at": NOW - days(9), "url": TICKET} | changed))
    assert plan(done, by=rules(JIRA), incidents=(incident("INC-5", ago=2) | again,)).effects == ()


@pytest.mark.parametrize(("overdue", "turn"), [(0.5, None), (1, 0), (7.9, 0), (8, 1), (15, 2)])
def test_an_overdue_item_is_called_to_mind_now_and_then(overdue: float, turn: int | None):
    found = plan(late(overdue, url=TICKET), by=rules(JIRA, **NUDGES))
    due = f"{NOW - days(overdue):%Y-%m-%d}"
    assert kinds(found) == ([] if turn is None else [("nudge", f"action/A-3/nudge/{due}/{turn}")])


def test_a_reminder_says_what_why_since_when_and_where_and_names_a_team():
    (nudge,) = plan(late(3, url=TICKET), by=rules(JIRA, **NUDGES)).effects
    assert nudge.payload["to"] == "#team-money"
    assert str(nudge.payload["text"]).split("\n") == [
        "Cap retries of payments: due 2026-09-27, 3 days ago (team money, open).",
        "Why it matters: it came out of incident INC-1, Payments time out.",
        "It has worked when: no incident of the family in 28 days.",
        "Please do it, move its date with a reason, or drop it.",
        TICKET,
    ]


def test_what_is_long_overdue_is_escalated_once_for_each_due_date(tmp_path: Path):
    by = rules(JIRA, channels=(SLACK, MAIL), nudge={"channel": "chat"}, escalate={"channel": "post", "after_days": 14})
    box = Outbox(tmp_path)
    found = plan(late(20, url=TICKET), by=by)
    assert [(one.kind, one.payload["to"]) for one in found.effects] == [("escalate", "reliability@acme.example"), ("nudge", "#team-money")]
    carried_out(box, found)
    later = plan(late(20, url=TICKET) | {"days_overdue": 29.0}, by=by, sent=box.rows(), now=NOW + days(9))
    assert [one.kind for one in later.effects] == ["nudge"]
    moved = plan(late(15, url=TICKET), by=by, sent=box.rows())
    assert [one.kind for one in moved.effects] == ["escalate", "nudge"]


SOON = {"channel": "chat", "before_days": 3}


@pytest.mark.parametrize(("due", "words"), [(3.5, None), (3, "in 3 days"), (2.2, "in 3 days"), (0.2, "in 1 day")])
def test_a_team_hears_once_that_an_item_is_due_soon(tmp_path: Path, due: float, words: str | None):
    wanted = item(due_at=NOW + days(due), url="https://github.com/acme/shop/issues/7")
    by = rules(channels=(SLACK,), nudge=SOON)
    planned = plan(wanted, by=by)
    if words is None:
        assert planned.effects == ()
        return
    (found,) = planned.effects
    assert (found.kind, found.key, found.why) == ("nudge", f"action/A-3/nudge/{wanted['due_at']:%Y-%m-%d}/soon", f"due {words}")
    assert found.payload["subject"] == "Due soon: Cap retries of payments"
    assert f"due {wanted['due_at']:%Y-%m-%d}, {words} (team money, open)" in str(found.payload["text"])
    assert "Please do it by then, move its date" in str(found.payload["text"])
    assert plan(wanted, by=by, sent=carried_out(Outbox(tmp_path), planned).rows()).effects == ()


def test_only_what_is_open_is_due_soon_and_a_moved_date_begins_anew(tmp_path: Path):
    by = rules(channels=(SLACK,), nudge=SOON)
    first = plan(item(due_at=NOW + days(1)), by=by)
    again = plan(item(due_at=NOW + days(2)), by=by, sent=carried_out(Outbox(tmp_path), first).rows())
    assert kinds(first) != kinds(again) != []
    assert plan(item(due_at=NOW + days(1), status="done"), by=by).effects == ()
    assert plan(item(due_at=NOW + days(1)), by=rules(channels=(SLACK,), nudge={"channel": "chat"})).effects == ()


def test_a_team_without_a_channel_gets_no_message():
    assert plan(late(3, owner_team="web", url=TICKET), by=rules(JIRA, **NUDGES)).effects == ()


def test_a_run_does_so_many_things_and_the_next_the_others(tmp_path: Path):
    by, box = rules(JIRA, most_per_run=2), Outbox(tmp_path)
    items = [item(f"A-{number}") for number in range(5)]
    counts = []
    while (found := plan(*items, by=by, sent=box.rows())).effects:
        counts.append((len(found.effects), found.waiting))
        carried_out(box, found)
    assert counts == [(2, 3), (2, 1), (1, 0)]


def test_what_is_refused_or_only_a_dry_run_keeps_nothing_waiting(tmp_path: Path):
    from aftercast.errors import SourceRejected

    def refuse(*_: object) -> str:
        raise SourceRejected("no")

    by, box = rules(JIRA, GITHUB | {"teams": ["web"], "live": False}, most_per_run=1), Outbox(tmp_path)
    items = [item("A-1"), item("A-2"), item("A-3", owner_team="web"), item("A-4", owner_team="web")]
    first = plan(*items, by=by, sent=box.rows())
    assert ([one.action_item_id for one in first.effects], first.waiting) == (["A-1", "A-3", "A-4"], 1)
    box.deliver(channel="ops", key="action/A-1/create", payload=first.effects[0].payload, send=refuse, find=None, now=NOW)
    assert [one.action_item_id for one in plan(*items, by=by, sent=box.rows()).effects] == ["A-2", "A-3", "A-4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"trackers": [{"name": "x", "kind": "jira", "connection": "c"}]}, "a jira tracker has a `project`"),
        ({"trackers": [JIRA, JIRA]}, "'ops' is declared twice"),
        ({"channels": [SLACK], "nudge": {"channel": "chatt"}}, "did you mean 'chat'"),
        ({"channels": [MAIL | {"to": "#ops"}]}, "'#ops' is no e-mail address"),
        ({"channels": [SLACK | {"to": "jane@acme.example"}]}, "'jane@acme.example' is no channel of Slack"),
        ({"channels": [MAIL | {"to": None}]}, "an e-mail channel needs `to`"),
    ],
)
def test_rows_that_make_no_sense_are_refused_with_a_reason(content, message):
    with pytest.raises(ValidationError, match=message):
        ActionsFile.model_validate(content)


PAYLOAD = {
    "title": "x",
    "item": "A-3",
    "incident": "INC-1",
    "type": "prevent",
    "team": "money",
    "due": "2026-10-10",
    "criterion": "no\nmore",
}


def test_a_block_is_read_back_as_the_item_it_was():
    assert tickets.read_block(f"Hello\n\n```text\n{tickets.block(PAYLOAD, 'aftercast-1')}\n```\nBye") == {
        "action_item_id": "A-3",
        "incident_id": "INC-1",
        "type": "prevent",
        "owner_team": "money",
        "due_at": "2026-10-10",
        "success_criterion": "no more",
    }


@pytest.mark.parametrize("text", [None, "", "a text", "item: A-3", "aftercast item\nincident: INC-1\n", "aftercast item\n"])
def test_a_text_without_a_block_carries_no_item(text):
    assert tickets.read_block(text) == {}


def test_people_edit_a_block_and_a_word_that_is_no_type_is_not_taken():
    edited = (
        tickets.block(PAYLOAD, "m").replace("prevent", "make better").replace("due: 2026-10-10", "Due:  2026-11-01").replace("\n", "\r\n")
    )
    found = tickets.read_block(edited)
    assert "type" not in found
    assert found["due_at"] == "2026-11-01"


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_new_block_leaves_what_people_wrote_as_it_is(before: str, after: str):
    old, new = tickets.block(PAYLOAD, "aftercast-1"), tickets.block(PAYLOAD | {"due": "2026-12-24"}, "aftercast-2")
    there = f"{before}\n\n{old}\n\n{after}"
    changed = tickets.with_block(there, new)
    plain = there.replace("\r\n", "\n")
    assert changed == plain.replace("2026-10-10", "2026-12-24")
    assert tickets.with_block(changed, new) == changed


def test_what_a_criterion_promises_exactly_travels_with_the_ticket(tmp_path: Path):
    exact = item(criterion_outcome="time_to_recover", criterion_change=-0.3)
    planned = plan(exact, by=rules(GITHUB))
    (found,) = planned.effects
    assert {name: found.payload[name] for name in ("outcome", "target")} == {"outcome": "time_to_recover", "target": "-30 %"}
    read = tickets.read_block(tickets.block(found.payload, "aftercast-0"))
    assert (read["criterion_outcome"], float(read["criterion_change"])) == ("time_to_recover", -0.3)
    sent = carried_out(Outbox(tmp_path), planned, "acme/shop#1").rows()
    (update,) = plan(exact | {"criterion_change": -0.5}, by=rules(GITHUB), sent=sent).effects
    assert (update.kind, update.payload["target"], update.why) == ("update", "-50 %", "target changed since it was last written")


@pytest.mark.parametrize(
    ("line", "column", "value"),
    [
        ("target: -0.5", "criterion_change", "-0.5"),
        ("target: -100%", "criterion_change", "-1.0"),
        ("target: half", "criterion_change", None),
        ("target: -120 %", "criterion_change", None),
        ("target: nan", "criterion_change", None),
        ("outcome: recurrence", "criterion_outcome", "recurrence"),
        ("outcome: fewer bugs", "criterion_outcome", None),
    ],
)
def test_a_target_or_outcome_that_is_none_is_not_taken(line: str, column: str, value: str | None):
    read = tickets.read_block(f"aftercast item\nitem: A-3\n{line}\n")
    assert read.get(column) == value
    assert read["action_item_id"] == "A-3"
