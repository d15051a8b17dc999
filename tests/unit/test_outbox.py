"""An effect happens once: under retries, two senders at once, lost answers, and a kill -9 between any two steps."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercast.acting.outbox import Delivery, Outbox, mark_of, repeatable
from aftercast.errors import NotSent, OutboxError, SourceRejected, SourceUnavailable
from tests.answering import Answer, Asked, serve

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
KEY = "INC-1/action/A-3/create"
PAYLOAD = {"title": "Cap retries of payments", "due": "2026-10-01"}


class Killed(BaseException):
    """Stands for a process that dies."""


class OtherSide:
    """A tracker in memory: what arrived, in order, by mark; what becomes of the next attempts."""

    def __init__(self, *fates: str) -> None:
        self.there: list[str] = []
        self.fates = list(fates)

    def send(self, payload: Mapping[str, object], mark: str) -> str:
        fate = self.fates.pop(0) if self.fates else "arrives"
        if fate == "refused":
            raise SourceRejected("the service does not accept this request")
        if fate == "no connection":
            raise NotSent("no connection")
        if fate == "killed before":
            raise Killed
        if fate == "lost request":
            raise SourceUnavailable("no answer")
        self.there.append(mark)
        if fate == "killed after":
            raise Killed
        if fate == "lost answer":
            raise SourceUnavailable("no answer")
        return f"T-{len(self.there)}"

    def find(self, mark: str) -> str | None:
        return f"T-{self.there.index(mark) + 1}" if mark in self.there else None


def deliver(outbox: Outbox, side: OtherSide, *, asks: bool = True, key: str = KEY, **more) -> Delivery:
    arguments = {"channel": "jira", "payload": PAYLOAD, "now": NOW, "find": side.find if asks else None, **more}
    return outbox.deliver(key=key, send=side.send, **arguments)


def test_an_effect_is_sent_once_and_remembered(tmp_path: Path):
    side = OtherSide()
    first, second = deliver(Outbox(tmp_path), side), deliver(Outbox(tmp_path), side, now=NOW + timedelta(days=1))
    assert first == second == Delivery("jira", KEY, "sent", "T-1", 1, NOW, NOW)
    assert side.there == [mark_of(KEY)]


def test_what_goes_out_carries_a_mark_that_never_changes():
    assert mark_of(KEY) == "aftercast-febb4cec875fdf96"


def test_a_lost_answer_is_asked_about_and_not_sent_again(tmp_path: Path):
    side = OtherSide("lost answer")
    assert deliver(Outbox(tmp_path), side).state == "sending"
    again = deliver(Outbox(tmp_path), side)
    assert (again.state, again.reference, again.attempts, len(side.there)) == ("sent", "T-1", 1, 1)


def test_a_channel_that_cannot_be_asked_is_never_sent_to_on_a_guess(tmp_path: Path):
    side = OtherSide("killed after")
    with suppress(Killed):
        deliver(Outbox(tmp_path), side, asks=False)
    for _ in range(2):
        found = deliver(Outbox(tmp_path), side, asks=False)
        assert found.state == "unsure"
        assert found.error is not None
        assert "aftercast outbox settle INC-1/action/A-3/create sent" in found.error
    assert len(side.there) == 1


@pytest.mark.parametrize(("verdict", "state", "arrived"), [("sent", "sent", 1), ("again", "sent", 2)])
def test_a_person_settles_what_is_unsure(tmp_path: Path, verdict, state, arrived):
    side, outbox = OtherSide("lost answer"), Outbox(tmp_path)
    deliver(outbox, side, asks=False)
    outbox.settle(KEY, verdict, now=NOW, reference="1700.42")
    assert deliver(outbox, side, asks=False).state == state
    assert len(side.there) == arrived
    with pytest.raises(OutboxError, match="is sent, not unsure"):
        outbox.settle(KEY, "again", now=NOW)
    with pytest.raises(OutboxError, match="nothing with the key 'INC-2'"):
        outbox.settle("INC-2", "again", now=NOW)


@pytest.mark.parametrize(("fate", "state"), [("refused", "failed"), ("no connection", "planned")])
def test_what_cannot_have_arrived_is_sent_again_even_where_nobody_can_be_asked(tmp_path: Path, fate, state):
    side, outbox = OtherSide(fate), Outbox(tmp_path)
    assert deliver(outbox, side, asks=False).state == state
    found = deliver(outbox, side, asks=False)
    assert (found.state, found.attempts, len(side.there)) == ("sent", 2, 1)


def test_a_refused_payload_may_be_corrected_under_its_key(tmp_path: Path):
    side, outbox = OtherSide("refused"), Outbox(tmp_path)
    deliver(outbox, side)
    assert deliver(outbox, side, payload={"title": "shorter"}).state == "sent"
    assert json.loads(outbox.rows()["payload"][0]) == {"title": "shorter"}


@pytest.mark.parametrize("fates", [(), ("lost answer",)])
@pytest.mark.parametrize("other", [{"payload": {"title": "another"}}, {"channel": "github"}])
def test_another_payload_under_a_key_that_was_used_is_refused(tmp_path: Path, fates, other):
    side = OtherSide(*fates)
    deliver(Outbox(tmp_path), side)
    with pytest.raises(OutboxError, match=r"stands for another effect.*needs a key of its own"):
        deliver(Outbox(tmp_path), side, **other)
    assert len(side.there) == 1


def test_a_dry_run_writes_down_what_would_be_sent_and_sends_nothing(tmp_path: Path):
    side, outbox = OtherSide(), Outbox(tmp_path)

    def ask(mark: str) -> str:
        raise AssertionError("a dry run asks nobody")

    for title in ("first", "second"):
        found = deliver(outbox, side, dry_run=True, payload={"title": title}, find=ask)
        assert (found.state, found.attempts) == ("dry_run", 0)
    assert json.loads(outbox.rows()["payload"][0]) == {"title": "second"}
    assert side.there == []
    assert deliver(outbox, side).state == "sent"
    assert deliver(outbox, side, dry_run=True).state == "sent"


def test_a_lost_folder_doubles_nothing_where_the_other_side_can_be_asked(tmp_path: Path):
    side = OtherSide()
    deliver(Outbox(tmp_path / "lost"), side)
    found = deliver(Outbox(tmp_path / "new"), side)
    assert (found.state, found.reference, found.attempts, len(side.there)) == ("sent", "T-1", 0, 1)


def test_a_slow_index_is_given_time_before_it_is_believed(tmp_path: Path):
    side, outbox = OtherSide("lost answer"), Outbox(tmp_path)
    deliver(outbox, side)
    early = deliver(outbox, side, find=lambda _: None, settle=timedelta(minutes=5), now=NOW + timedelta(minutes=2))
    assert (early.state, early.error, len(side.there)) == ("sending", "not found yet; asked again after 12:05 UTC", 1)
    late = deliver(outbox, side, settle=timedelta(minutes=5), now=NOW + timedelta(minutes=6))
    assert (late.state, len(side.there)) == ("sent", 1)


def test_it_waits_from_the_attempt_and_not_from_the_last_look(tmp_path: Path):
    side, outbox = OtherSide("lost request"), Outbox(tmp_path)
    deliver(outbox, side)

    def down(mark: str) -> str:
        raise SourceUnavailable("search is down")

    found = deliver(outbox, side, find=down, now=NOW + timedelta(minutes=4))
    assert (found.state, found.error) == ("sending", "could not ask whether it is there: search is down")
    assert deliver(outbox, side, settle=timedelta(minutes=5), now=NOW + timedelta(minutes=6)).state == "sent"


def test_nothing_is_sent_when_it_cannot_be_asked_whether_it_is_there(tmp_path: Path):
    side = OtherSide()

    def down(mark: str) -> str:
        raise SourceUnavailable("search is down")

    assert deliver(Outbox(tmp_path), side, find=down).state == "planned"
    assert side.there == []


def test_a_record_that_cannot_be_read_stops_its_effect_and_says_what_to_do(tmp_path: Path):
    side = OtherSide()
    deliver(Outbox(tmp_path), side)
    (path,) = tmp_path.glob("*.json")
    path.write_text(path.read_text()[:40])
    with pytest.raises(OutboxError, match=r"cannot be read .* nothing is sent for it. Restore it"):
        deliver(Outbox(tmp_path), side)
    assert len(side.there) == 1


def test_errors_are_written_down_without_secrets_and_records_are_private(tmp_path: Path):
    def refuse(payload: Mapping[str, object], mark: str) -> str:
        raise SourceRejected("answered 401 (Bearer abcdefgh12345678 of jane@acme.example is not known)")

    outbox = Outbox(tmp_path)
    found = outbox.deliver(channel="jira", key=KEY, payload=PAYLOAD, send=refuse, find=repeatable, now=NOW)
    assert found.error == "answered 401 (Bearer <secret> of <email> is not known)"
    (path,) = tmp_path.glob("*.json")
    assert path.stat().st_mode & 0o077 == 0


def test_the_audit_log_tells_every_change(tmp_path: Path):
    outbox, side = Outbox(tmp_path), OtherSide("no connection", "lost answer")
    for hours in range(4):
        deliver(outbox, side, now=NOW + timedelta(hours=hours))
    assert outbox.rows().select("key", "state", "attempts", "first_at").rows() == [(KEY, "sent", 2, NOW)]
    told = [(state, note) for _, _, state, note in outbox.history().rows()]
    assert told == [
        ("planned", "wanted"),
        ("sending", "sending"),
        ("planned", "no connection"),
        ("sending", "sending"),
        ("sending", "no answer"),
        ("sent", "found there"),
    ]
    assert Outbox(tmp_path / "none").rows().is_empty()


def test_two_senders_at_once_send_once(tmp_path: Path):
    there, found = [], []

    def slow(payload: Mapping[str, object], mark: str) -> str:
        time.sleep(0.1)
        there.append(mark)
        return "T-1"

    def one() -> None:
        found.append(Outbox(tmp_path).deliver(channel="slack", key=KEY, payload=PAYLOAD, send=slow, find=None, now=NOW))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(there) == 1
    assert [delivery.state for delivery in found] == ["sent"] * 4


FATES = st.sampled_from(["refused", "no connection", "killed before", "killed after", "lost request", "lost answer"])


@settings(max_examples=150, deadline=None)
@given(st.lists(FATES, max_size=6), st.booleans())
def test_whatever_happens_nothing_is_doubled_and_nothing_that_can_be_asked_about_is_lost(tmp_path_factory, fates, asks):
    side, outbox = OtherSide(*fates), Outbox(tmp_path_factory.mktemp("outbox"))
    for _ in range(len(fates) + 2):
        with suppress(Killed):
            last = deliver(outbox, side, asks=asks)
    assert len(side.there) <= 1
    if asks:
        assert (last.state, len(side.there)) == ("sent", 1)
    else:
        assert last.state in ("sent", "unsure")
        assert last.state == "unsure" or len(side.there) == 1


def run(url: str, folder: Path, *, asks: bool, dies_at: int) -> int:
    """Deliver in a process of its own that kills itself at a step; the end of the process as `waitpid` tells it."""
    if (child := os.fork()) != 0:
        return os.waitpid(child, 0)[1]
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(call: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*given: Any, **named: Any) -> Any:
            step()
            found = call(*given, **named)
            step()
            return found

        return stepping

    def send(payload: Mapping[str, object], mark: str) -> str:
        return httpx.post(f"{url}/tickets", json={**payload, "mark": mark}).json()["id"]

    def find(mark: str) -> str | None:
        there = httpx.get(f"{url}/tickets", params={"mark": mark}).json()
        return there[0]["id"] if there else None

    try:
        os.fsync, os.open, Path.replace = around(os.fsync), around(os.open), around(Path.replace)
        Outbox(folder).deliver(channel="tracker", key=KEY, payload=PAYLOAD, send=around(send), find=around(find) if asks else None, now=NOW)
    except BaseException:  # noqa: BLE001 - the child must not go on as the test
        os._exit(1)
    os._exit(0)


@pytest.mark.parametrize("asks", [True, False])
def test_a_kill_between_any_two_steps_doubles_nothing_and_loses_nothing(tmp_path: Path, asks: bool):
    """A process of its own is killed at its first step, at its second, and so on; then another one carries on where it died."""
    tickets: list[dict[str, str]] = []

    def tracker(asked: Asked) -> Answer:
        if asked.method == "GET":
            return Answer([one for one in tickets if one["mark"] == asked.param("mark")])
        tickets.append({**asked.body, "id": f"T-{len(tickets) + 1}"})
        return Answer({"id": tickets[-1]["id"]})

    ends = set()
    with serve(tracker) as server:
        assert httpx.get(f"{server.url}/tickets", params={"mark": "none"}).json() == []
        for dies_at in range(1, 100):
            tickets.clear()
            folder = tmp_path / str(dies_at)
            first = run(server.url, folder, asks=asks, dies_at=dies_at)
            assert first in (0, signal.SIGKILL)
            assert run(server.url, folder, asks=asks, dies_at=0) == 0
            end = getattr(Outbox(folder).delivery(KEY), "state", None)
            ends.add(end)
            if asks:
                assert (end, len(tickets)) == ("sent", 1), dies_at
            else:
                assert len(tickets) <= 1, dies_at
                assert end == "unsure" or (end == "sent" and len(tickets) == 1), dies_at
            if first == 0:
                break
    assert first == 0
    assert dies_at > 20
    assert ends == ({"sent"} if asks else {"sent", "unsure"})
