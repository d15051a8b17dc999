"""The `slack` kind: history by cursor, threads, edits and marks of older messages, what is nobody's words, and people left out."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast.errors import ConfigError, SourceRejected, SourceUnavailable
from aftercast.privacy import token, token_key
from aftercast.sources import slack_channels
from aftercast.sources.slack_channels.rows import Channel as Room
from aftercast.sources.slack_channels.rows import Options, Speech, rows_of
from aftercast.window import Window
from tests import documents
from tests.answering import Answer, Asked, serve
from tests.unit.tracker_fixture import DAY, HOUR, NEXT, START, Tracker, utc

LATER = Window(START + timedelta(days=30), START + timedelta(days=31))
OPTIONS: dict[str, Any] = {"pattern": "inc-(?P<incident_id>[0-9]+).*", "incident": "INC-{incident_id}"}

follows = documents.followed(
    "slack", prefix="/api", elsewhere=frozenset({"token"}), silent=frozenset({".has_more", ".response_metadata", ".messages[].edited"})
)


def ts(minutes: float, part: int = 0) -> str:
    return f"{int(utc(minutes).timestamp())}.{part:06d}"


def message(minutes: float, text: str = "We look", user: str = "U01ANNA00", **given: Any) -> dict[str, Any]:
    return {"type": "message", "user": user, "text": text, "ts": ts(minutes)} | given


def room(id_: str = "C0INC0007", name: str = "inc-7-checkout", **given: Any) -> dict[str, Any]:
    return {"id": id_, "name": name, "created": int(utc(-30).timestamp()), "is_archived": False, "is_member": True} | given


@dataclass
class Workspace:
    """Answers as the Web API does: by cursor, newest first, replies in their threads only, errors with status 200."""

    rooms: list[dict[str, Any]] = field(default_factory=lambda: [room()])
    said: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    threads: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    limit: int = 200

    def __call__(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != "Bearer xoxb-k3y":
            return Answer({"ok": False, "error": "invalid_auth"})
        channel = asked.param("channel") or ""
        if channel in self.refused:
            return Answer({"ok": False, "error": self.refused[channel]})
        if asked.path.endswith("conversations.list"):
            return self.page(asked, "channels", self.rooms)
        oldest, latest = float(asked.param("oldest") or 0), float(asked.param("latest") or 1e12)
        if asked.path.endswith("conversations.replies"):
            thread = asked.param("ts")
            parent = [one for one in self.said[channel] if one["ts"] == thread]
            return self.page(asked, "messages", parent + [one for one in self.threads[str(thread)] if oldest <= float(one["ts"]) <= latest])
        found = [one for one in self.said.get(channel, []) if oldest <= float(one["ts"]) <= latest]
        return self.page(asked, "messages", sorted(found, key=lambda one: float(one["ts"]), reverse=True))

    def page(self, asked: Asked, key: str, found: list[dict[str, Any]]) -> Answer:
        start = int((asked.param("cursor") or "c0")[1:])
        limit = min(self.limit, int(asked.param("limit") or 100))
        more = start + limit < len(found)
        metadata = {"next_cursor": f"c{start + limit}" if more else ""}
        return Answer({"ok": True, key: found[start : start + limit], "has_more": more, "response_metadata": metadata})


def workspace(*messages: dict[str, Any], **given: Any) -> Workspace:
    return Workspace(said={"C0INC0007": list(messages)}, **given)


@pytest.fixture
def slack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    place = Tracker(tmp_path, monkeypatch, "slack", ("incident_events", "insights"), password="xoxb-k3y")
    place._connection["conn_type"] = "slack"
    return place


def events(slack: Tracker) -> dict[str | None, dict[str, Any]]:
    return {one["text"]: one for one in slack.landed("incident_events")}


def test_what_was_said_lands_as_events_of_the_incident_the_channel_is_about(slack: Tracker):
    with serve(workspace(message(5, "Checkout is down"), message(9, "Rolled back", user="U02BEN000"))) as server:
        counts = slack.extract(server.url, **OPTIONS)
    row = events(slack)["Checkout is down"]
    assert (row["incident_id"], row["kind"], row["occurred_at"], row["recorded_at"]) == ("INC-7", "chat", utc(5), utc(5))
    assert row["event_id"] == f"C0INC0007:{ts(5)}"
    assert row["author_token"] == token("U01ANNA00", token_key(slack.place.home))
    assert counts["incident_events"].landed == 2
    assert "U01ANNA00" not in slack.everything()


def test_pages_are_followed_by_cursor(slack: Tracker):
    rooms = [room("C0OTHER01", "general"), room("C0OTHER02", "random"), room()]
    with serve(workspace(*[message(number, f"m{number}") for number in range(5)], rooms=rooms, limit=2)) as server:
        slack.extract(server.url, **OPTIONS)
        asked = [(one.path.rsplit(".", 1)[-1], one.param("cursor")) for one in server.asked]
    assert set(events(slack)) == {f"m{number}" for number in range(5)}
    assert asked == [("list", None), ("list", "c2"), ("history", None), ("history", "c2"), ("history", "c4")]


def test_nothing_said_is_an_answer(slack: Tracker):
    with serve(workspace()) as server:
        counts = slack.extract(server.url, **OPTIONS)
    assert {name: one.received for name, one in counts.items()} == {"incident_events": 0, "insights": 0}


def test_it_waits_when_told_to_slow_down(slack: Tracker):
    service, told = workspace(message(5)), []

    def busy(asked: Asked) -> Answer:
        told.append(asked)
        return Answer({"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": "0"}) if len(told) == 2 else service(asked)

    with serve(busy) as server:
        slack.extract(server.url, **OPTIONS)
    assert set(events(slack)) == {"We look"}


def test_a_message_of_the_next_window_is_left_to_it(slack: Tracker):
    with serve(workspace(message(59, "mine"), message(60, "next"), message(900, "a clock that is ahead"))) as server:
        slack.extract(server.url, **OPTIONS)
        assert set(events(slack)) == {"mine"}
        slack.extract(server.url, NEXT, **OPTIONS)
    assert set(events(slack)) == {"mine", "next"}


def test_an_edited_message_comes_again_on_its_own_day(slack: Tracker):
    said = message(5, "It is the data base")
    with serve(workspace(said, message(6, "Yes"))) as server:
        slack.extract(server.url, **OPTIONS)
        said |= {"text": "It is the cache", "edited": {"user": "U01ANNA00", "ts": ts(70)}}
        counts = slack.extract(server.url, NEXT, **OPTIONS)
    assert set(events(slack)) == {"It is the cache", "Yes"}
    assert events(slack)["It is the cache"]["recorded_at"] == utc(5)
    assert (counts["incident_events"].received, counts["incident_events"].late) == (1, 1)


def test_a_message_marked_afterwards_is_found_though_reactions_bear_no_time(slack: Tracker):
    said = message(5, "Failed over to eu-2")
    with serve(workspace(said)) as server:
        slack.extract(server.url, **OPTIONS)
        assert events(slack)["Failed over to eu-2"]["kind"] == "chat"
        said["reactions"] = [{"name": "pushpin::skin-tone-3", "users": ["U02BEN000"], "count": 1}]
        slack.extract(server.url, NEXT, **OPTIONS)
    assert events(slack)["Failed over to eu-2"]["kind"] == "timeline"


def test_a_message_deleted_upstream_goes_when_a_wider_window_is_extracted_again(slack: Tracker):
    service = workspace(
        message(5, "kept"), message(6, "gone"), message(7, "This message was deleted.", subtype="tombstone", user="USLACKBOT")
    )
    with serve(service) as server:
        counts = slack.extract(server.url, **OPTIONS)
        assert counts["incident_events"].reasons == {"deleted message left out": 1}
        del service.said["C0INC0007"][1]
        slack.extract(server.url, DAY, **OPTIONS)
    assert set(events(slack)) == {"kept"}


def test_replies_land_with_those_of_yesterdays_thread(slack: Tracker):
    parent = message(-600, "What do we see?", thread_ts=ts(-600), reply_count=2, latest_reply=ts(10))
    replies = [message(-590, "early", thread_ts=ts(-600)), message(10, "late", thread_ts=ts(-600))]
    with serve(workspace(parent, threads={ts(-600): replies})) as server:
        slack.extract(server.url, **OPTIONS)
        assert set(events(slack)) == {"late"}
        slack.extract(server.url, DAY, **OPTIONS)
    assert set(events(slack)) == {"What do we see?", "early", "late"}


def test_threads_begun_before_the_days_read_again_are_not_asked_for(slack: Tracker):
    old = message(-3000, thread_ts=ts(-3000), reply_count=1, latest_reply=ts(5))
    with serve(workspace(old, message(5), threads={ts(-3000): [message(6, "late", thread_ts=ts(-3000))]})) as server:
        slack.extract(server.url, reread_days=1, **OPTIONS)
        assert all("replies" not in one.path for one in server.asked), "neither is a message that began none"
        slack.extract(server.url, reread_days=3, **OPTIONS)
    assert set(events(slack)) == {"We look", "late"}


def test_the_same_message_in_a_thread_and_in_the_channel_lands_once(slack: Tracker):
    parent = message(5, "parent", thread_ts=ts(5), reply_count=1, latest_reply=ts(6))
    told = message(6, "told to all", thread_ts=ts(5), subtype="thread_broadcast")
    with serve(workspace(parent, told, threads={ts(5): [told]})) as server:
        counts = slack.extract(server.url, **OPTIONS)
    assert (counts["incident_events"].landed, counts["incident_events"].duplicate) == (2, 1)


def test_bots_and_notices_are_left_out_and_counted(slack: Tracker):
    notices = [message(number, subtype=kind) for number, kind in enumerate(("channel_join", "channel_leave", "channel_topic"), 1)]
    bots = [
        message(10, "Alert fired", bot_id="B01"),
        {"type": "message", "subtype": "bot_message", "text": "Deployed", "ts": ts(11), "bot_id": "B02"},
    ]
    marked = message(12, "Alert that mattered", bot_id="B01", reactions=[{"name": "pushpin", "count": 1}])
    with serve(workspace(*notices, *bots, marked)) as server:
        counts = slack.extract(server.url, **OPTIONS)
        assert set(events(slack)) == {"Alert that mattered"}
        assert counts["incident_events"].reasons == {"join, leave or other notice of Slack left out": 3, "message of a bot left out": 2}
        slack.extract(server.url, bots=["B02"], **OPTIONS)
    assert set(events(slack)) == {"Alert that mattered", "Deployed"}


def test_prefixes_and_reactions_make_decisions_timeline_points_and_insights(slack: Tracker):
    said = [
        message(1, "*Timeline:* Traffic moved"),
        message(2, "DECISION: roll back"),
        message(3, "Lesson: the dashboard hides one region"),
        message(4, "RULE: compare regions first"),
        message(5, "We should sleep more"),
    ]
    with serve(workspace(*said)) as server:
        slack.extract(server.url, **OPTIONS)
    kinds = {text: one["kind"] for text, one in events(slack).items()}
    assert (kinds["Traffic moved"], kinds["roll back"], kinds["We should sleep more"]) == ("timeline", "decision", "chat")
    insights = {one["text"]: (one["mood"], one["incident_id"]) for one in slack.landed("insights")}
    assert insights == {
        "the dashboard hides one region": ("descriptive", "INC-7"),
        "compare regions first": ("prescriptive", "INC-7"),
    }


def test_an_edited_insight_is_a_newer_version(slack: Tracker):
    said = message(3, "LESSON: look at the cache")
    with serve(workspace(said)) as server:
        slack.extract(server.url, **OPTIONS)
        said |= {"text": "LESSON: look at the cache first", "edited": {"user": "U01ANNA00", "ts": ts(70)}}
        slack.extract(server.url, NEXT, **OPTIONS)
    newest = max(slack.landed("insights"), key=lambda one: one["version"])
    assert (newest["text"], newest["recorded_at"]) == ("look at the cache first", utc(70))


def test_nobody_is_named_in_a_text(slack: Tracker):
    said = (
        "<@U02BEN000> and <@U03CLARA0|clara> see <#C0OTHER01|payments> <#C0INC0007>, <!here> <!subteam^S01|@oncall>: "
        "<https://grafana.test/d/1|graph> a &lt; b &amp;&amp; c <mailto:ops@shop.test|ops@shop.test>"
    )
    with serve(workspace(message(5, said))) as server:
        slack.extract(server.url, **OPTIONS)
    key = token_key(slack.place.home)
    ben, clara = token("U02BEN000", key), token("U03CLARA0", key)
    (text,) = events(slack)
    assert text == (
        f"@{ben} and @{clara} see #payments #inc-7-checkout, @here @oncall: graph (https://grafana.test/d/1) a < b && c <email>"
    )


def test_channels_are_pinned_to_incidents_by_id_without_listing_any(slack: Tracker):
    with serve(workspace(message(5))) as server:
        slack.extract(server.url, channels={"C0INC0007": "INC-99"})
        assert all("list" not in one.path for one in server.asked)
    assert slack.one("incident_events")["incident_id"] == "INC-99"


def test_a_pinned_name_that_nobody_sees_is_named(slack: Tracker):
    with (
        serve(workspace(message(5))) as server,
        pytest.raises(SourceRejected, match=r"shows no channel 'war-room'; the app may not see it"),
    ):
        slack.extract(server.url, channels={"war-room": "INC-99"})


def test_old_channels_are_not_asked_for_and_counted(slack: Tracker):
    old = room("C0INC0001", "inc-1", created=int(utc(-200 * 1440).timestamp()))
    later = room("C0INC0009", "inc-9", created=int(utc(90).timestamp()))
    with serve(workspace(message(5), rooms=[old, room(), later])) as server:
        counts = slack.extract(server.url, **OPTIONS)
        assert {one.param("channel") for one in server.asked} == {None, "C0INC0007"}
    assert counts["incident_events"].reasons == {"channel begun more than 90 days before the window left out": 1}


@pytest.mark.off_document("answers what has gone wrong")
def test_a_channel_the_app_may_not_read_is_refused_by_name_and_nothing_lands(slack: Tracker):
    service = workspace(message(5), rooms=[room(), room("C0INC0008", "inc-8")], refused={"C0INC0008": "not_in_channel"})
    with serve(service) as server:
        with pytest.raises(SourceRejected, match=r"'trackers'.*C0INC0008 \(#inc-8\).*'not_in_channel'; invite the app"):
            slack.extract(server.url, **OPTIONS)
        assert slack.landed("incident_events") == []
        counts = slack.extract(server.url, skip_unreadable=True, **OPTIONS)
        assert counts["incident_events"].reasons == {"channel C0INC0008 could not be read: not_in_channel": 1}
        slack.extract(server.url, skip=["inc-8"], **OPTIONS)
    assert set(events(slack)) == {"We look"}


@pytest.mark.off_document("answers what has gone wrong")
def test_wrong_credentials_are_named_though_slack_answers_200(slack: Tracker):
    slack._connection["password"] = "xoxb-0ther"
    with (
        serve(workspace(message(5))) as server,
        pytest.raises(SourceRejected, match=r"'invalid_auth'; check the token of connection 'tracker'"),
    ):
        slack.extract(server.url, **OPTIONS)
    assert slack.landed("incident_events") == []


@pytest.mark.off_document("answers what has gone wrong")
def test_a_fault_of_slack_is_tried_by_the_next_run(slack: Tracker):
    with (
        serve(workspace(refused={"C0INC0007": "internal_error"})) as server,
        pytest.raises(SourceUnavailable, match="the next run asks again"),
    ):
        slack.extract(server.url, **OPTIONS)


def test_a_cursor_that_loops_is_refused(slack: Tracker):
    def looping(asked: Asked) -> Answer:
        if asked.path.endswith("list"):
            return Answer({"ok": True, "channels": [room()]})
        return Answer({"ok": True, "messages": [message(5)], "response_metadata": {"next_cursor": "again"}})

    with serve(looping) as server, pytest.raises(SourceRejected, match=r"loops|repeats"):
        slack.extract(server.url, **OPTIONS)


@pytest.mark.off_document("answers what has gone wrong")
def test_a_time_that_is_none_is_quarantined(slack: Tracker):
    with serve(lambda asked: Answer({"ok": True, "channels": [room()], "messages": [message(5, ts="soon"), message(6)]})) as server:
        slack.extract(server.url, **OPTIONS)
    assert slack.quarantined("incident_events") == ["occurred_at: not a time"]
    assert len(slack.landed("incident_events")) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "say which channels are about which incident"),
        ({"pattern": "inc-.*"}, "does not say where the incident is"),
        ({"pattern": "inc-("}, "is no regular expression"),
        ({**OPTIONS, "incident": "INC"}, "has no place for the id"),
        ({**OPTIONS, "marks": {":pushpin:": "rule"}}, "marks"),
    ],
)
def test_options_that_make_no_sense_are_explained(slack: Tracker, options: dict[str, Any], said: str):
    with pytest.raises(ConfigError, match=said):
        slack.extract("http://127.0.0.1:1", **options)


def test_the_connection_may_give_the_address_the_way_airflow_does(slack: Tracker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_TRACKER", json.dumps({"conn_type": "slack", "password": "xoxb-1", "extra": {"base_url": "https://slack.test/api/"}})
    )
    found = slack_channels.open(slack.row(OPTIONS), slack.place)
    assert found.endpoint.base_url == "https://slack.test/api"
    monkeypatch.setenv("AIRFLOW_CONN_TRACKER", json.dumps({"conn_type": "slack", "password": "xoxb-1"}))
    assert slack_channels.open(slack.row(OPTIONS), slack.place).endpoint.base_url == "https://slack.com/api"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["ts", "name", "text", "count"]), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["ts", "text", "user", "subtype", "bot_id", "edited", "reactions", "attachments"]), ANYTHING))
def test_no_message_is_of_a_shape_that_cannot_be_read(odd: dict[str, Any]):
    heard = rows_of([odd], Room("C1", "inc-1", "1"), Speech(Options(pattern="inc-(?P<incident_id>.*)"), lambda id_: "tok_x"))
    assert len(heard.events) + heard.notes.total() == 1, "it lands or it is counted"


# --- exports ---


def export(folder: Path, days: dict[str, Any], users: tuple[dict[str, Any], ...] = ()) -> Path:
    files = {
        "channels.json": [{"id": "C0INC0007", "name": "inc-7-checkout"}, {"id": "C0OTHER01", "name": "general"}],
        "users.json": list(users),
    }
    for name, content in {**files, **days}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def zipped(folder: Path, name: str) -> Path:
    path = folder.parent / name
    with zipfile.ZipFile(path, "w") as file:
        for one in sorted(folder.rglob("*.json")):
            file.write(one, one.relative_to(folder).as_posix())
    return path


DAYS = {
    "inc-7-checkout/2026-09-01.json": [message(5, "Anna Smith is on it, thanks @ben"), message(6, subtype="channel_join")],
    "inc-7-checkout/2026-09-02.json": [message(1500, "LESSON: watch the queue")],
    "general/2026-09-01.json": [message(5, "Lunch?")],
}
USERS = (
    {"id": "U01ANNA00", "name": "anna", "real_name": "Anna Smith"},
    {"id": "U02BEN000", "name": "ben", "profile": {"real_name": "Ben"}},
)


@pytest.mark.parametrize("is_zip", [True, False])
def test_an_export_lands_the_channels_of_incidents_whole(slack: Tracker, tmp_path: Path, is_zip: bool):
    folder = export(tmp_path / "unpacked", DAYS, USERS)
    path = zipped(folder, "shop.zip") if is_zip else folder
    counts = slack.extract("", LATER, export=str(path), **OPTIONS)
    key = token_key(slack.place.home)
    anna, ben = token("U01ANNA00", key), token("U02BEN000", key)
    assert set(events(slack)) == {f"@{anna} is on it, thanks @{ben}", "watch the queue"}
    assert slack.one("insights")["text"] == "watch the queue"
    assert counts["incident_events"].reasons == {"join, leave or other notice of Slack left out": 1}
    assert "Anna" not in slack.everything()


def test_an_event_has_the_same_id_by_api_and_by_export(slack: Tracker, tmp_path: Path):
    with serve(workspace(message(5, "Anna Smith is on it, thanks @ben"))) as server:
        slack.extract(server.url, **OPTIONS)
    slack.extract("", LATER, export=str(export(tmp_path / "unpacked", DAYS, USERS)), **OPTIONS)
    assert len(slack.landed("incident_events")) == 2


def test_a_later_export_tells_what_was_deleted_in_between(slack: Tracker, tmp_path: Path):
    inbox = tmp_path / "exports"
    export(inbox / "2026-09-03", DAYS)
    slack.extract("", LATER, export=str(inbox), **OPTIONS)
    export(inbox / "2026-09-10", {"inc-7-checkout/2026-09-01.json": []})
    slack.extract("", LATER, export=str(inbox), **OPTIONS)
    assert set(events(slack)) == {"watch the queue"}


def test_a_torn_day_and_a_torn_export_are_quarantined_by_name(slack: Tracker, tmp_path: Path):
    inbox = tmp_path / "exports"
    export(inbox / "one", {**DAYS, "inc-7-checkout/2026-09-02.json": '[{"ts": "1'})
    (inbox / "two.zip").write_bytes(b"PK\x03\x04torn")
    export(inbox / "three", {})
    (inbox / "three" / "channels.json").unlink()
    slack.extract("", LATER, export=str(inbox), **OPTIONS)
    reasons = slack.quarantined("incident_events")
    assert len(reasons) == 3
    assert {reason.split(":")[0] for reason in reasons} == {
        "not a day of messages",
        "two.zip is no whole zip file",
        "three is no export",
    }
    assert len(slack.landed("incident_events")) == 1


def test_an_export_that_is_not_there_is_named(slack: Tracker):
    with pytest.raises(SourceUnavailable, match=r"there is no export at .*nowhere"):
        slack.extract("", HOUR, export="nowhere", **OPTIONS)
