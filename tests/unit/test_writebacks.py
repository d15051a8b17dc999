"""Words about an incident reach PagerDuty, Jira, Slack and webhooks once, through lost answers and retries, each against a server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aftercast.acting import writebacks
from aftercast.acting.outbox import Outbox, mark_of
from aftercast.declarations import WriteBackRow
from aftercast.errors import ConfigError
from tests import documents
from tests.answering import Answer, Asked, serve

follows = documents.followed("pagerduty", only="/incidents/.*")

NOW = datetime(2026, 9, 21, 12, tzinfo=UTC)
PAYLOAD = {"incident_id": "OPS-7", "text": "OPS-7: recommended: rollback on <tool>.\nLikely owner: platform & friends"}
IDS = {"pagerduty": "Q2AB3CD4EF5GH6", "jira": "OPS-7", "slack": "INC-1", "webhook": "INC-1"}


class Vendor:
    """All four in one: keeps what is written, shows it when asked; `fates` are what becomes of the next writes."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.fates: list[str] = []
        self.keys: set[str] = set()

    def __call__(self, asked: Asked) -> Answer:
        if asked.method == "GET":
            return self._shown(asked)
        fate = self.fates.pop(0) if self.fates else "done"
        if fate == "refused":
            return Answer({"ok": False, "error": "not_in_channel"}, 200 if asked.path.endswith("postMessage") else 404)
        if fate == "slow down":
            return Answer({"ok": False, "error": "ratelimited"}, 429)
        if fate == "lost request":
            return Answer({}, 502)
        key = asked.headers.get("idempotency-key")
        if key is None or key not in self.keys:
            self.written.append(json.dumps(asked.body))
            self.headers.append(asked.headers)
            self.keys |= {key} if key else set()
        number = len(self.written)
        if fate == "lost answer":
            return Answer({}, 502)
        if asked.path.endswith("/notes"):
            return Answer({"note": self._note(number)})
        if asked.path.endswith("/comment"):
            return Answer({"id": str(number)}, 201)
        return Answer({"ok": True, "channel": "C1", "ts": f"{number}.0"} if asked.path.endswith("postMessage") else {"id": number})

    def _note(self, number: int) -> dict[str, Any]:
        content = json.loads(self.written[number - 1])["note"]["content"]
        return {"id": f"P{number}", "content": content, "created_at": "2026-09-21T12:00:00Z"}

    def _shown(self, asked: Asked) -> Answer:
        numbers = range(1, len(self.written) + 1)
        if asked.path.endswith("/notes"):
            return Answer({"notes": [self._note(number) for number in numbers]})
        if asked.path.endswith("/comment"):
            start, most = int(asked.param("startAt") or 0), int(asked.param("maxResults") or 50)
            found = [{"id": str(number), "body": json.loads(self.written[number - 1])["body"]} for number in reversed(numbers)]
            return Answer({"comments": found[start : start + most], "total": len(found)})
        messages = [{"ts": f"{number}.0", "text": json.loads(self.written[number - 1])["text"]} for number in reversed(numbers)]
        start = int(asked.param("cursor") or 0)
        following = str(start + 100) if len(messages) > start + 100 else ""
        return Answer({"ok": True, "messages": messages[start : start + 100], "response_metadata": {"next_cursor": following}})


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
def place_of(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], writebacks.Place]]:
    with serve(vendor) as server:

        def found(channel: str, **more: Any) -> writebacks.Place:
            kinds = {"pagerduty": "pagerduty", "slack": "slack"}
            content = {"conn_type": kinds.get(channel, "http"), "host": server.url, "login": "robot@acme.example", "password": "s3cret"}
            extra = {"base_url": server.url} if channel == "slack" else {"idempotent": True}
            monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps({**content, "extra": extra, **more}))
            row = WriteBackRow(channel=channel, connection="other", room="C1" if channel == "slack" else None)  # type: ignore[arg-type]
            return writebacks.place_of(row, IDS[channel])

        yield found


def deliver(folder: Path, place: writebacks.Place, key: str = "advice:1", minutes: int = 0) -> tuple[str, str | None]:
    now = NOW + timedelta(minutes=minutes)
    found = Outbox(folder).deliver(channel=place.channel, key=key, payload=PAYLOAD, send=place.send, find=place.find, now=now)
    return found.state, found.reference


CHANNELS = ("pagerduty", "jira", "slack", "webhook")


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_is_written_carries_the_mark_and_is_written_once(channel: str, vendor: Vendor, place_of: Any, tmp_path: Path):
    place = place_of(channel)
    first = deliver(tmp_path, place)
    assert first[0] == "sent"
    assert deliver(tmp_path, place) == first
    assert len(vendor.written) == 1
    assert "recommended: rollback" in vendor.written[0]
    assert mark_of("advice:1") in vendor.written[0]


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("fate", ["lost answer", "lost request"])
def test_an_answer_that_was_lost_leads_to_no_second_and_to_no_missing_one(
    channel: str, fate: str, vendor: Vendor, place_of: Any, tmp_path: Path
):
    place = place_of(channel)
    vendor.fates = [fate]
    assert deliver(tmp_path, place)[0] == "sending"
    assert deliver(tmp_path, place, minutes=1)[0] == "sent"
    assert len(vendor.written) == 1


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_lost_outbox_doubles_nothing(channel: str, vendor: Vendor, place_of: Any, tmp_path: Path):
    place = place_of(channel)
    deliver(tmp_path / "before", place)
    assert deliver(tmp_path / "restored", place)[0] == "sent"
    assert len(vendor.written) == 1


@pytest.mark.off_document
@pytest.mark.parametrize("channel", CHANNELS)
def test_a_refusal_is_told_and_what_is_told_to_wait_waits(channel: str, vendor: Vendor, place_of: Any, tmp_path: Path):
    place = place_of(channel)
    vendor.fates = ["refused", "slow down"]
    assert deliver(tmp_path, place)[0] == "failed"
    assert deliver(tmp_path, place, minutes=1)[0] == "planned"
    assert deliver(tmp_path, place, minutes=2)[0] == "sent"
    assert len(vendor.written) == 1


def test_ours_is_found_among_many_others(vendor: Vendor, place_of: Any, tmp_path: Path):
    for channel in ("jira", "slack"):
        vendor.written.clear()
        place = place_of(channel)
        deliver(tmp_path / channel, place)
        vendor.written += [json.dumps({"body": {"n": number}, "text": str(number)}) for number in range(250)]
        assert place.find is not None
        assert place.find(mark_of("advice:1")) in ("1", "C1/1.0")
        assert place.find(mark_of("advice:2")) is None


def test_a_webhook_that_does_not_promise_to_know_its_keys_is_not_called_again_on_a_guess(vendor: Vendor, place_of: Any, tmp_path: Path):
    place = place_of("webhook", extra={})
    vendor.fates = ["lost answer"]
    assert deliver(tmp_path, place)[0] == "unsure"
    assert deliver(tmp_path, place, minutes=1)[0] == "unsure"
    assert len(vendor.written) == 1
    assert vendor.headers[0]["idempotency-key"] == mark_of("advice:1")


def test_pagerduty_is_told_who_writes(vendor: Vendor, place_of: Any, tmp_path: Path):
    deliver(tmp_path, place_of("pagerduty"))
    assert vendor.headers[0]["from"] == "robot@acme.example"
    with pytest.raises(ConfigError, match="e-mail address of a technical user as login of 'other'"):
        place_of("pagerduty", login=None)


def test_nothing_in_a_text_is_a_mention_for_slack(vendor: Vendor, place_of: Any, tmp_path: Path):
    deliver(tmp_path, place_of("slack"))
    assert "&lt;tool&gt;" in vendor.written[0]
    assert "&amp; friends" in vendor.written[0]


def test_an_incident_is_only_told_where_it_can_be_known():
    assert writebacks.holds("pagerduty", "Q2AB3CD4EF5GH6")
    assert writebacks.holds("jira", "OPS-7")
    assert not writebacks.holds("pagerduty", "OPS-7")
    assert not writebacks.holds("jira", "Q2AB3CD4EF5GH6")
    assert writebacks.holds("slack", "anything")
