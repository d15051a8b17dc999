"""The `incidentio` kind: hidden modes, times per account, updates, follow-ups."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aftercast.errors import ConfigError, SourceRejected
from tests.answering import Answer, Asked, serve
from tests.unit.tracker_fixture import DAY, HOUR, NEXT, Tracker, clock, utc


def timestamp(name: str, minutes: float | None) -> dict[str, Any]:
    value = None if minutes is None else {"value": clock(minutes)}
    return {"incident_timestamp": {"id": name, "name": name, "rank": 1}, "value": value}


def custom(name: str, *values: dict[str, Any]) -> dict[str, Any]:
    return {"custom_field": {"id": name, "name": name, "field_type": "multi_select"}, "values": list(values)}


def incident(id_: str = "01A", minutes: float = 10, **given: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "reference": f"INC-{id_}",
        "name": f"Payments fail {id_}",
        "summary": "Card payments fail for jane@example.org",
        "permalink": f"https://app.incident.test/incidents/{id_}",
        "mode": "standard",
        "visibility": "public",
        "severity": {"id": "S", "name": "Major", "rank": 2},
        "incident_status": {"id": "T", "name": "Investigating", "category": "live"},
        "incident_type": {"id": "Y", "name": "Production"},
        "creator": {"user": {"id": "U1", "name": "Jane Doe", "email": "jane@example.org"}},
        "incident_role_assignments": [{"role": {"name": "Lead"}, "assignee": {"name": "Jane Doe"}}],
        "incident_timestamp_values": [],
        "custom_field_entries": [],
        "created_at": clock(minutes),
        "updated_at": clock(minutes),
    } | given


def update(id_: str, incident_id: str, minutes: float, message: str = "", **given: Any) -> dict[str, Any]:
    user = {"user": {"id": "U1", "name": "Jane Doe"}}
    return {"id": id_, "incident_id": incident_id, "created_at": clock(minutes), "message": message, "updater": user} | given


def follow_up(id_: str, minutes: float, **given: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "incident_id": "01A",
        "title": "Alert on refused cards",
        "description": "",
        "status": "outstanding",
        "assignee": {"name": "Jane Doe", "email": "jane@example.org"},
        "created_at": clock(minutes),
        "updated_at": clock(minutes),
    } | given


@dataclass
class IncidentIo:
    """Filters by update and mode, pages by the id of the last record."""

    incidents: list[dict[str, Any]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    follow_ups: list[dict[str, Any]] = field(default_factory=list)
    page: int = 250

    def __call__(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != "Bearer k3y":
            return Answer({"type": "authentication_error", "status": 401}, status=401)
        if asked.path == "/v2/follow_ups":
            return Answer({"follow_ups": self.follow_ups})
        key = asked.path.rsplit("/", 1)[-1]
        if key == "incidents":
            modes = asked.params.get("mode[one_of]", ["standard", "retrospective"])
            since = asked.param("updated_at[gte]") or ""
            found = [one for one in self.incidents if one["mode"] in modes and one["updated_at"] >= since]
        else:
            found = [one for one in self.updates if one["incident_id"] == asked.param("incident_id")]
        ids = [one["id"] for one in found]
        begin = ids.index(asked.param("after")) + 1 if asked.param("after") else 0
        some = found[begin : begin + self.page]
        after = {"after": some[-1]["id"]} if begin + self.page < len(found) else {}
        return Answer({key: some, "pagination_meta": {"page_size": self.page, "total_record_count": len(found)} | after})


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    return Tracker(tmp_path, monkeypatch, "incidentio", ("incidents", "incident_events", "action_items"), password="k3y")


def test_an_incident_lands_with_the_times_its_account_keeps(tracker: Tracker):
    times = [
        timestamp("Impact started", 2),
        timestamp("Reported at", 10),
        timestamp("Accepted at", 12),
        timestamp("Alarm rang", 4),
        timestamp("Fixed at", 30),
        timestamp("Resolved at", 45),
        timestamp("Closed at", None),
    ]
    fields = [
        custom("Affected", {"value_catalog_entry": {"id": "C", "name": "payments"}}, {"value_option": {"id": "O", "value": "cart"}}),
        custom("Team", {"value_text": "Jane Doe"}),
    ]
    closed = {"id": "T", "name": "Closed", "category": "closed"}
    record = incident(incident_status=closed, incident_timestamp_values=times, custom_field_entries=fields)
    with serve(IncidentIo([record])) as server:
        tracker.extract(server.url, services="Affected", timestamps={"detected_at": "alarm rang"})
    row = tracker.one()
    assert (row["incident_id"], row["source_id"], row["severity"], row["status"]) == ("01A", "INC-01A", "sev2", "closed")
    assert row["services"] == ["payments", "cart"]
    names = ("started_at", "detected_at", "declared_at", "acknowledged_at", "mitigated_at", "resolved_at")
    assert [row[name] for name in names] == [utc(minutes) for minutes in (2, 4, 10, 12, 30, 45)]
    assert row["summary"] == "Card payments fail for <email>"
    assert "Jane" not in tracker.everything()


def test_an_incident_without_times_began_when_it_was_created_and_one_opened_again_is_not_resolved(tracker: Tracker):
    again = incident("01B", incident_timestamp_values=[timestamp("Fixed", 20), timestamp("Resolved", 30)])
    with serve(IncidentIo([incident("01A"), again])) as server:
        tracker.extract(server.url)
    plain, reopened = tracker.landed()
    assert (plain["started_at"], plain["declared_at"], plain["status"], plain["resolved_at"]) == (utc(10), utc(10), "open", None)
    assert (reopened["status"], reopened["mitigated_at"], reopened["resolved_at"]) == ("mitigated", utc(20), None)


def test_test_and_tutorial_incidents_are_asked_for_by_name_and_land_as_tests(tracker: Tracker):
    records = [incident("01A"), incident("01B", mode="test"), incident("01C", mode="tutorial"), incident("01D", mode="retrospective")]
    game_day = incident("01E", incident_type={"id": "G", "name": "Game day"})
    with serve(IncidentIo([*records, game_day])) as server:
        tracker.extract(server.url, modes={"Game day": "drill"})
    assert {one["incident_id"]: one["mode"] for one in tracker.landed()} == {
        "01A": "real",
        "01B": "test",
        "01C": "test",
        "01D": "real",
        "01E": "drill",
    }


def test_a_mode_nobody_knows_is_named(tracker: Tracker):
    with serve(lambda asked: Answer({"incidents": [incident(mode="stream")], "incident_updates": [], "follow_ups": []})) as server:
        tracker.extract(server.url)
    assert tracker.quarantined() == ["mode: not one of drill, maintenance, real, test"]


def test_merged_declined_and_cancelled_incidents_are_cancelled(tracker: Tracker):
    records = [incident(f"01{category}", incident_status={"category": category}) for category in ("merged", "declined", "canceled")]
    with serve(IncidentIo(records, [update("U1", "01merged", 20, merged_into_incident_id="01Z")])) as server:
        tracker.extract(server.url)
    assert {one["status"] for one in tracker.landed()} == {"cancelled"}
    assert (tracker.one("incident_events")["kind"], tracker.one("incident_events")["text"]) == ("merged", "merged into 01Z")


def test_updates_are_events_and_their_writers_tokens(tracker: Tracker):
    moved = {"new_incident_status": {"name": "Monitoring"}, "new_severity": {"name": "Critical"}}
    with serve(IncidentIo([incident()], [update("U1", "01A", 15, "Rolled back"), update("U2", "01A", 20, **moved)], page=1)) as server:
        tracker.extract(server.url)
    first, second = tracker.landed("incident_events")
    assert (first["text"], first["kind"], first["occurred_at"]) == ("Rolled back", "update", utc(15))
    assert (second["text"], second["recorded_at"]) == ("Monitoring / Critical", utc(20))
    assert first["author_token"].startswith("tok_")


def test_two_pages_follow_the_id_of_the_last_record(tracker: Tracker):
    with serve(IncidentIo([incident("01A"), incident("01B"), incident("01C")], page=2)) as server:
        tracker.extract(server.url)
        cursors = [one.param("after") for one in server.asked if one.path == "/v2/incidents"]
        since = {one.param("updated_at[gte]") for one in server.asked if one.path == "/v2/incidents"}
    assert len(tracker.landed()) == 3
    assert (cursors, since) == ([None, "01B"], {clock(0)})


def test_the_same_incident_twice_lands_once(tracker: Tracker):
    with serve(IncidentIo([incident("01A"), incident("01A", name="Payments fail, renamed")])) as server:
        counts = tracker.extract(server.url)
    assert (tracker.one()["title"], counts["incidents"].duplicate) == ("Payments fail, renamed", 1)


def test_a_late_update_lands_the_incident_again_on_its_own_day(tracker: Tracker):
    service = IncidentIo([incident(minutes=-3000, updated_at=clock(10))])
    with serve(service) as server:
        tracker.extract(server.url)
        service.incidents = [incident(minutes=-3000, updated_at=clock(70), severity={"name": "Critical"})]
        counts = tracker.extract(server.url, NEXT)
    assert (tracker.one()["severity"], counts["incidents"].late) == ("sev1", 1)


def test_what_was_created_after_the_window_is_left_to_the_window_that_holds_it(tracker: Tracker):
    with serve(IncidentIo([incident(minutes=61)])) as server:
        assert tracker.extract(server.url)["incidents"].received == 0
        assert tracker.extract(server.url, NEXT)["incidents"].landed == 1


def test_a_time_in_the_future_is_quarantined(tracker: Tracker):
    with serve(IncidentIo([incident(incident_timestamp_values=[timestamp("Impact started", 900)])])) as server:
        tracker.extract(server.url)
    assert tracker.quarantined() == ["started_at: in the future of the window"]


def test_what_is_deleted_upstream_goes_when_a_wider_window_is_extracted_again(tracker: Tracker):
    service = IncidentIo([incident("01A"), incident("01B")], [], [follow_up("F1", 10), follow_up("F2", 10)])
    with serve(service) as server:
        tracker.extract(server.url)
        del service.incidents[1], service.follow_ups[1]
        tracker.extract(server.url, DAY)
    assert (tracker.one()["incident_id"], tracker.one("action_items")["action_item_id"]) == ("01A", "F1")


def test_follow_ups_are_action_items_with_a_version_each_time_they_are_written(tracker: Tracker):
    service = IncidentIo([], [], [follow_up("F1", 10), follow_up("F0", -900)])
    with serve(service) as server:
        tracker.extract(server.url)
        assert (tracker.one("action_items")["status"], tracker.one("action_items")["action_item_id"]) == ("open", "F1")
        issue = {"external_issue_reference": {"provider": "jira", "issue_permalink": "https://jira.test/browse/FIX-1"}}
        service.follow_ups = [follow_up("F1", 10, updated_at=clock(90), status="completed", completed_at=clock(90), **issue)]
        tracker.extract(server.url, NEXT)
    old, new = sorted(tracker.landed("action_items"), key=lambda one: one["version"])
    assert (old["status"], new["status"], new["done_at"], new["incident_id"]) == ("open", "done", utc(90), "01A")
    assert new["url"] == "https://jira.test/browse/FIX-1"
    assert "Jane" not in tracker.everything()


def test_private_incidents_are_counted_and_left_where_they_are(tracker: Tracker):
    service = IncidentIo([incident(visibility="private")])
    with serve(service) as server:
        counts = tracker.extract(server.url)
        assert counts["incidents"].reasons == {"private incident left out": 1}
        assert tracker.landed() == []
        tracker.extract(server.url, private=True, follow_ups=False)
    assert tracker.one()["incident_id"] == "01A"


def test_nothing_there_is_an_answer(tracker: Tracker):
    with serve(IncidentIo()) as server:
        counts = tracker.extract(server.url)
    assert {name: one.received for name, one in counts.items()} == {"incidents": 0, "incident_events": 0, "action_items": 0}


def test_it_waits_when_told_to_slow_down(tracker: Tracker):
    service, told = IncidentIo([incident()]), []

    def busy(asked: Asked) -> Answer:
        told.append(asked)
        return Answer({"type": "too_many_requests"}, status=429, headers={"Retry-After": "0"}) if len(told) == 1 else service(asked)

    with serve(busy) as server:
        tracker.extract(server.url)
    assert tracker.one()["incident_id"] == "01A"


def test_wrong_credentials_are_named_and_nothing_lands(tracker: Tracker):
    tracker._connection["password"] = "wr0ng"
    with serve(IncidentIo()) as server, pytest.raises(SourceRejected, match=r"'trackers'.*401.*connection 'tracker'"):
        tracker.extract(server.url)


def test_an_option_that_does_not_exist_is_named(tracker: Tracker):
    with pytest.raises(ConfigError, match="timestamp"):
        tracker.extract("http://127.0.0.1:1", HOUR, timestamp={"started_at": "x"})
