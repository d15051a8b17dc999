"""The `statuspage` kind: pages by number, edits without a cursor, maintenance told apart, public feeds."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aftercast.errors import ConfigError, SourceRejected
from aftercast.sources import statuspage
from aftercast.window import Window
from tests.answering import Answer, Asked, serve
from tests.unit.tracker_fixture import DAY, HOUR, NEXT, START, Tracker, clock, utc


def update(id_: str, status: str, minutes: float, body: str = "", **given: Any) -> dict[str, Any]:
    times = dict.fromkeys(("created_at", "display_at", "updated_at"), clock(minutes))
    return {"id": id_, "status": status, "body": body, **times, "affected_components": []} | given


def incident(id_: str = "p31", minutes: float = 5, *updates: dict[str, Any], **given: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "name": f"Checkout unavailable {id_}",
        "status": "investigating",
        "impact": "major",
        "created_at": clock(minutes),
        "updated_at": clock(minutes),
        "monitoring_at": None,
        "resolved_at": None,
        "scheduled_for": None,
        "shortlink": f"https://stspg.test/{id_}",
        "components": [{"id": "c1", "name": "Checkout", "status": "major_outage"}],
        "incident_updates": list(updates),
    } | given


def resolved(id_: str = "p31", minutes: float = 5, at: float = 50) -> dict[str, Any]:
    updates = [update(f"{id_}-2", "resolved", at, "All is well"), update(f"{id_}-1", "investigating", minutes, "We look")]
    return incident(id_, minutes, *updates, status="resolved", resolved_at=clock(at), updated_at=clock(at))


def maintenance(id_: str = "m1", planned: float = 600, **given: Any) -> dict[str, Any]:
    times = {"scheduled_for": clock(planned), "scheduled_until": clock(planned + 60)}
    return incident(id_, 5, status="scheduled", impact="none", **times) | given


@dataclass
class StatusPage:
    """Lists newest first by number of page; knows no offset."""

    incidents: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Answer:
        if asked.path == "/api/v2/incidents.json":
            return Answer({"page": {"id": "k1"}, "incidents": [one for one in self.newest() if not one["scheduled_for"]][:50]})
        if asked.path == "/api/v2/scheduled-maintenances.json":
            return Answer({"page": {"id": "k1"}, "scheduled_maintenances": [one for one in self.newest() if one["scheduled_for"]][:50]})
        if asked.headers.get("authorization") != "OAuth k3y" or asked.path != "/v1/pages/k1/incidents":
            return Answer({"error": "Could not authenticate"}, status=401)
        number, limit = int(asked.param("page") or 1), int(asked.param("limit") or 100)
        return Answer(self.newest()[(number - 1) * limit : number * limit])

    def newest(self) -> list[dict[str, Any]]:
        return sorted(self.incidents, key=lambda one: one["created_at"], reverse=True)


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    return Tracker(tmp_path, monkeypatch, "statuspage", ("incidents", "incident_events"), password="k3y")


OWN: dict[str, Any] = {"page": "k1", "seconds_between_requests": 0}
PUBLIC: dict[str, Any] = {"seconds_between_requests": 0}


def test_an_incident_lands_with_what_was_communicated(tracker: Tracker):
    updates = [
        update("u3", "resolved", 50, "Fixed, questions to ops@example.org"),
        update("u2", "monitoring", 30),
        update("u1", "investigating", 2, "We look", created_at=clock(5)),
    ]
    with serve(StatusPage([incident("p31", 5, *updates, status="resolved", resolved_at=clock(50))])) as server:
        tracker.extract(server.url, **OWN)
    row = tracker.one()
    assert (row["incident_id"], row["severity"], row["status"], row["mode"], row["services"]) == (
        "p31",
        "sev2",
        "resolved",
        "real",
        ["Checkout"],
    )
    assert [row[name] for name in ("started_at", "declared_at", "mitigated_at", "resolved_at")] == [utc(5), utc(5), utc(30), utc(50)]
    assert (row["detected_at"], row["acknowledged_at"]) == (None, None)
    events = {one["event_id"]: one for one in tracker.landed("incident_events")}
    assert (events["u1"]["occurred_at"], events["u1"]["recorded_at"], events["u1"]["kind"]) == (utc(2), utc(5), "investigating")
    assert events["u3"]["text"] == "Fixed, questions to <email>"


def test_pages_are_asked_for_by_number_and_none_is_skipped(tracker: Tracker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(statuspage, "PAGE", 2)
    with serve(StatusPage([resolved(f"p{number}", number) for number in range(5)])) as server:
        tracker.extract(server.url, **OWN)
        asked = [(one.param("page"), one.param("limit"), one.param("offset")) for one in server.asked]
    assert len(tracker.landed()) == 5
    assert asked == [("1", "2", None), ("2", "2", None), ("3", "2", None)]


def test_reading_ends_where_nothing_recent_is_left(tracker: Tracker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(statuspage, "PAGE", 2)
    days = [resolved(f"p{days}", -1440 * days) for days in range(10)]
    with serve(StatusPage(days)) as server:
        tracker.extract(server.url, reread_days=3, **OWN)
        assert [one.param("page") for one in server.asked] == ["1", "2", "3"]


def test_an_incident_edited_or_written_afterwards_is_found_without_a_cursor(tracker: Tracker):
    edited, backfilled = resolved("pedit", -3000, at=-2900), resolved("pback", -2000, at=-1900)
    service = StatusPage([edited, resolved("pold", -3000, at=-2900)])
    with serve(service) as server:
        assert tracker.extract(server.url, **OWN)["incidents"].received == 0
        edited["incident_updates"][0] |= {"updated_at": clock(70), "body": "Now with a cause"}
        service.incidents.append(backfilled | {"updated_at": clock(80)})
        counts = tracker.extract(server.url, NEXT, **OWN)
    assert {one["incident_id"] for one in tracker.landed()} == {"pedit", "pback"}
    assert counts["incidents"].late == 2
    assert "Now with a cause" in {one["text"] for one in tracker.landed("incident_events")}


def test_an_incident_opened_again_is_not_resolved(tracker: Tracker):
    with serve(StatusPage([resolved() | {"status": "identified", "resolved_at": clock(50)}])) as server:
        tracker.extract(server.url, **OWN)
    assert (tracker.one()["status"], tracker.one()["resolved_at"]) == ("open", None)


def test_no_impact_is_the_lowest_severity_and_maintenance_is_no_incident_like_others(tracker: Tracker):
    with serve(StatusPage([incident("pnone", impact="none"), maintenance(), incident("pmain", impact="maintenance")])) as server:
        tracker.extract(server.url, **OWN)
    rows = {one["incident_id"]: (one["severity"], one["mode"]) for one in tracker.landed()}
    assert rows == {"pnone": ("sev4", "real"), "m1": ("sev4", "maintenance"), "pmain": ("sev4", "maintenance")}
    assert {one["incident_id"]: one["started_at"] for one in tracker.landed()}["m1"] == utc(600)


def test_maintenance_lands_as_planned_changes_when_asked_to(tracker: Tracker):
    two = [{"id": "c1", "name": "Checkout"}, {"id": "c2", "name": "Search"}]
    done = maintenance("m2", 10, status="completed", resolved_at=clock(40), components=two, updated_at=clock(40))
    with serve(StatusPage([maintenance(), done, maintenance("m3", components=[])])) as server:
        tracker.extract(server.url, maintenance="changes", service="shop", **OWN)
    rows = {one["change_id"]: one for one in tracker.landed("changes")}
    assert {id_: one["service"] for id_, one in rows.items()} == {
        "m1": "Checkout",
        "m2/Checkout": "Checkout",
        "m2/Search": "Search",
        "m3": "shop",
    }
    assert {(one["kind"], one["planned"]) for one in rows.values()} == {("maintenance", True)}
    assert (rows["m2/Search"]["started_at"], rows["m2/Search"]["finished_at"], rows["m2/Search"]["result"]) == (utc(10), utc(40), "success")
    assert (rows["m1"]["finished_at"], rows["m1"]["result"]) == (None, "unknown")
    assert tracker.landed() == []


def test_a_clock_that_is_ahead_is_quarantined_but_planned_maintenance_is_not(tracker: Tracker):
    with serve(StatusPage([incident("pahead", started_at=clock(900)), maintenance()])) as server:
        tracker.extract(server.url, **OWN)
    assert tracker.quarantined() == ["started_at: in the future of the window"]
    assert tracker.one()["incident_id"] == "m1"


@pytest.mark.parametrize("status", [420, 429])
def test_it_waits_when_told_to_slow_down(tracker: Tracker, status: int):
    service, told = StatusPage([resolved()]), []

    def busy(asked: Asked) -> Answer:
        told.append(asked)
        return Answer({"error": "slow down"}, status=status, headers={"Retry-After": "0"}) if len(told) == 1 else service(asked)

    with serve(busy) as server:
        tracker.extract(server.url, **OWN)
    assert tracker.one()["incident_id"] == "p31"


def test_it_asks_once_a_second_unless_told_otherwise():
    assert statuspage.Options().seconds_between_requests == 1.0


def test_the_same_incident_on_two_pages_lands_once(tracker: Tracker):
    with serve(StatusPage([resolved(), resolved()])) as server:
        counts = tracker.extract(server.url, **OWN)
    assert (len(tracker.landed()), counts["incidents"].duplicate) == (1, 1)


def test_what_is_deleted_upstream_goes_when_a_wider_window_is_extracted_again(tracker: Tracker):
    service = StatusPage([resolved("pkept"), resolved("pgone")])
    with serve(service) as server:
        tracker.extract(server.url, **OWN)
        del service.incidents[1]
        tracker.extract(server.url, DAY, **OWN)
    assert tracker.one()["incident_id"] == "pkept"
    assert {one["incident_id"] for one in tracker.landed("incident_events")} == {"pkept"}


def test_nothing_there_is_an_answer(tracker: Tracker):
    with serve(StatusPage()) as server:
        counts = tracker.extract(server.url, **OWN)
    assert {name: one.received for name, one in counts.items()} == {"incidents": 0, "incident_events": 0}


def test_wrong_credentials_are_named_and_nothing_lands(tracker: Tracker):
    tracker._connection["password"] = "wr0ng"
    with serve(StatusPage([resolved()])) as server, pytest.raises(SourceRejected, match=r"'trackers'.*401.*connection 'tracker'"):
        tracker.extract(server.url, **OWN)
    assert tracker.landed() == []


def test_a_public_page_needs_no_key(tracker: Tracker):
    del tracker._connection["password"]
    with serve(StatusPage([resolved(), maintenance()])) as server:
        tracker.extract(server.url, **PUBLIC)
        assert all("authorization" not in one.headers for one in server.asked)
    assert {one["incident_id"]: one["mode"] for one in tracker.landed()} == {"p31": "real", "m1": "maintenance"}


def test_a_public_feed_that_does_not_reach_back_is_no_proof_that_incidents_are_gone(tracker: Tracker):
    service = StatusPage([resolved("pold", 1)])
    with serve(service) as server:
        tracker.extract(server.url, **PUBLIC)
        service.incidents += [resolved(f"p{number:02}", 61 + number / 2, at=100) for number in range(50)]
        with pytest.raises(SourceRejected, match=r"shows the last 50 only, back to 2026-09-01 11:01 UTC"):
            tracker.extract(server.url, DAY, **PUBLIC)
        assert tracker.one()["incident_id"] == "pold"
        later = Window(START + timedelta(minutes=61), START + timedelta(minutes=120))
        tracker.extract(server.url, later, **PUBLIC)
    assert len(tracker.landed()) == 51


def test_a_public_page_without_a_host_is_explained(tracker: Tracker):
    with pytest.raises(ConfigError, match="names no host"):
        tracker.extract("", HOUR)


def as_vendor(one: dict[str, Any]) -> dict[str, Any]:
    """A real incident of GitHub's status history in the shape its page served it."""
    planned = one["started_at"] if one["impact"] == "maintenance" else None
    updates = [
        {
            "id": f"{one['id']}-{number}",
            "status": said["status"].lower().replace(" ", "_"),
            "body": said["message"],
            "created_at": said["at"],
        }
        for number, said in enumerate(one["updates"])
    ]
    return {
        "id": one["id"],
        "name": one["title"],
        "status": updates[-1]["status"] if updates else "resolved",
        "impact": one["impact"],
        "created_at": one["started_at"],
        "updated_at": one["updated_at"],
        "resolved_at": one["resolved_at"],
        "scheduled_for": planned,
        "shortlink": one["url"],
        "components": [{"name": name} for name in one.get("components") or []],
        "incident_updates": updates,
    }


def test_four_years_of_a_real_status_page_land_whole(tracker: Tracker, real_data: Path):
    lines = (real_data / "github_incidents" / "incidents.jsonl").read_text().splitlines()
    real = [json.loads(line) for line in lines]
    times = [datetime.fromisoformat(one["started_at"]) for one in real]
    start, end = min(times).replace(hour=0, minute=0, second=0), max(times) + timedelta(days=60)
    window = Window(start, end.replace(hour=0, minute=0, second=0))
    with serve(StatusPage([as_vendor(one) for one in real])) as server:
        counts = tracker.extract(server.url, window, **OWN)
    assert counts["incidents"].landed == len({one["id"] for one in real}) > 300
    assert counts["incidents"].rejected == counts["incident_events"].rejected == 0
    assert counts["incident_events"].landed == sum(len(one["updates"]) for one in real)
    rows = tracker.landed()
    assert {one["mode"] for one in rows} == {"real", "maintenance"}
    assert sum(one["mode"] == "maintenance" for one in rows) == sum(one["impact"] == "maintenance" for one in real)
    assert sum(not one["services"] for one in rows) == sum(not one.get("components") for one in real)
