"""The `pagerduty` kind: what PagerDuty forgets, hides or limits does not get lost."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aftercast.errors import ConfigError, SourceRejected
from aftercast.window import Window
from tests import documents
from tests.answering import Answer, Asked, serve
from tests.unit.tracker_fixture import DAY, HOUR, NEXT, START, Tracker, clock, utc

follows = documents.followed("pagerduty", silent=frozenset({".total", ".offset", ".more", ".limit"}))


def reference(id_: str, name: str, kind: str = "service") -> dict[str, Any]:
    return {"id": id_, "type": f"{kind}_reference", "summary": name}


def incident(id_: str = "PT4", minutes: float = 5, **given: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "type": "incident",
        "summary": f"[#1] Cart is slow {id_}",
        "title": f"Cart is slow {id_}",
        "incident_number": 1,
        "created_at": clock(minutes),
        "updated_at": clock(minutes),
        "status": "triggered",
        "service": reference("PCART", "cart"),
        "assignments": [{"assignee": reference("PJANE", "Jane Doe", "user")}],
        "acknowledgements": [],
        "resolved_at": None,
        "resolve_reason": None,
        "priority": reference("PRIO", "P1", "priority"),
        "urgency": "high",
        "html_url": f"https://acme.pagerduty.test/incidents/{id_}",
        "incident_type": {"name": "incident_default"},
    } | given


def entry(id_: str, what: str, minutes: float, agent: str = "user", **given: Any) -> dict[str, Any]:
    who = reference("PJANE", "Jane Doe", "user") if agent == "user" else reference("PINT", "Prometheus", agent)
    said = f"{what} by Jane Doe"
    return {"id": id_, "type": f"{what}_log_entry", "summary": said, "created_at": clock(minutes), "agent": who, "channel": {}} | given


@dataclass
class PagerDuty:
    """As much of the service as the kind uses: filters by creation, forgets acknowledgements, pages by offset."""

    incidents: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    changes: list[dict[str, Any]] = field(default_factory=list)
    pretended: int | None = None

    def add(self, record: dict[str, Any], *entries: dict[str, Any]) -> None:
        self.incidents[record["id"]] = record
        self.logs[record["id"]] = list(entries)

    def __call__(self, asked: Asked) -> Answer:
        parts = asked.path.strip("/").split("/")
        if asked.headers.get("authorization") != "Token token=k3y" or "version=2" not in asked.headers.get("accept", ""):
            return Answer({"error": {"message": "Unauthorized"}}, status=401)
        if len(parts) == 3:
            return self.page(asked, "log_entries", self.logs[parts[1]])
        if len(parts) == 2:
            found = self.incidents.get(parts[1])
            return Answer({"incident": found}) if found else Answer({"error": {"message": "Not Found", "code": 2100}}, status=404)
        if parts[0] == "incidents" and asked.param("date_range") == "all":
            return self.page(asked, "incidents", [one for one in self.incidents.values() if one["status"] in asked.params["statuses[]"]])
        if parts[0] == "incidents":
            return self.page(asked, "incidents", self.between(asked, list(self.incidents.values()), "created_at"))
        if parts[0] == "log_entries":
            entries = [one | {"incident": reference(id_, "", "incident")} for id_, log in self.logs.items() for one in log]
            return self.page(asked, "log_entries", self.between(asked, entries, "created_at"))
        if not all((asked.param(name) or "").endswith("Z") for name in ("since", "until")):
            return Answer({"error": {"message": "since and until must be UTC"}}, status=400)
        return self.page(asked, "change_events", self.between(asked, self.changes, "timestamp"))

    def between(self, asked: Asked, found: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
        return [one for one in found if (asked.param("since") or "") <= one[name] < (asked.param("until") or "")]

    def page(self, asked: Asked, key: str, found: list[dict[str, Any]]) -> Answer:
        offset, limit = int(asked.param("offset") or 0), int(asked.param("limit") or 25)
        total = self.pretended if self.pretended and asked.param("total") and len(found) > 1 else len(found)
        some = found[offset : offset + limit]
        more = offset + limit < len(found)
        return Answer({key: some, "offset": offset, "limit": limit, "more": more, "total": total if asked.param("total") else None})


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    return Tracker(tmp_path, monkeypatch, "pagerduty", ("incidents", "incident_events", "changes"), password="k3y")


def resolved(id_: str = "PT4", minutes: float = 5, at: float = 40, **given: Any) -> dict[str, Any]:
    times = {"status": "resolved", "resolved_at": clock(at), "updated_at": clock(at + 300)}
    return incident(id_, minutes, **times, assignments=[], **given)


def test_acknowledgement_comes_from_the_log_and_resolution_not_from_the_last_update(tracker: Tracker):
    service = PagerDuty()
    service.add(
        resolved(),
        entry("R1", "trigger", 5, "integration", event_details={"description": "latency above 2 s"}),
        entry("R2", "notify", 6),
        entry("R3", "acknowledge", 9),
        entry("R4", "acknowledge", 8),
        entry("R5", "annotate", 20, channel={"type": "note", "summary": "Restarted it, ask joe@example.org"}),
        entry("R6", "resolve", 40),
    )
    with serve(service) as server:
        counts = tracker.extract(server.url)
    row = tracker.one()
    assert (row["incident_id"], row["title"], row["severity"], row["status"], row["mode"]) == (
        "PT4",
        "Cart is slow PT4",
        "sev1",
        "resolved",
        "real",
    )
    assert (row["services"], row["detection_method"], row["environment"]) == (["cart"], "monitor", "production")
    assert [row[name] for name in ("started_at", "detected_at", "declared_at")] == [utc(5)] * 3
    assert (row["acknowledged_at"], row["resolved_at"], row["updated_at"]) == (utc(8), utc(40), utc(340))
    assert row["mitigated_at"] is None
    events = {one["event_id"]: one for one in tracker.landed("incident_events")}
    assert {id_: one["kind"] for id_, one in events.items()} == {
        "R1": "triggered",
        "R3": "acknowledged",
        "R4": "acknowledged",
        "R5": "note",
        "R6": "resolved",
    }
    assert (events["R1"]["text"], events["R5"]["text"]) == ("latency above 2 s", "Restarted it, ask <email>")
    assert events["R3"]["author_token"].startswith("tok_")
    assert events["R1"]["author_token"] is None
    assert counts["changes"].received == 0
    assert "Jane" not in tracker.everything()


@pytest.mark.off_document("elsewhere the document spells it so")
def test_the_other_spelling_of_acknowledging_counts(tracker: Tracker):
    service = PagerDuty()
    service.add(resolved(), entry("R1", "trigger", 5), entry("R2", "acknowledgement", 7))
    with serve(service) as server:
        tracker.extract(server.url)
    assert tracker.one()["acknowledged_at"] == utc(7)


def test_who_resolves_without_acknowledging_leaves_no_acknowledgement_and_machines_are_told_apart(tracker: Tracker):
    service = PagerDuty()
    service.add(resolved("PA"), entry("A1", "trigger", 5), entry("A2", "resolve", 40, "integration"))
    with serve(service) as server:
        tracker.extract(server.url)
    assert (tracker.one()["acknowledged_at"], tracker.one()["detection_method"]) == (None, "employee")
    assert [one["kind"] for one in tracker.landed("incident_events")] == ["triggered", "auto_resolved"]


def test_an_open_incident_is_asked_for_again_until_it_is_over(tracker: Tracker):
    service = PagerDuty()
    service.add(incident(minutes=-300), entry("R1", "trigger", -300))
    with serve(service) as server:
        tracker.extract(server.url)
        assert tracker.one()["status"] == "open"
        service.add(resolved(minutes=-300, at=70), entry("R1", "trigger", -300), entry("R2", "resolve", 70))
        counts = tracker.extract(server.url, NEXT)
    assert (tracker.one()["status"], tracker.one()["resolved_at"]) == ("resolved", utc(70))
    assert counts["incidents"].late == 1


def test_an_old_incident_that_the_log_mentions_is_read_again_and_a_deleted_one_is_passed_over(tracker: Tracker):
    service = PagerDuty()
    service.add(resolved("POLD", -5000, at=-4000), entry("O1", "trigger", -5000), entry("O2", "annotate", 30, note="Root cause found"))
    service.add(resolved("PGONE", -5000, at=-4000), entry("G1", "annotate", 31))
    del service.incidents["PGONE"]
    with serve(service) as server:
        tracker.extract(server.url)
    assert tracker.one()["incident_id"] == "POLD"
    assert {one["event_id"] for one in tracker.landed("incident_events")} == {"O1", "O2"}


def test_a_merged_incident_is_cancelled_and_says_into_which(tracker: Tracker):
    service = PagerDuty()
    into = {"type": "merge_resolve_reason", "incident": reference("PT4", "", "incident")}
    service.add(resolved("PM", resolve_reason=into), entry("M1", "resolve", 40, "service"))
    with serve(service) as server:
        tracker.extract(server.url)
    assert (tracker.one()["status"], tracker.one("incident_events")["kind"]) == ("cancelled", "merged")
    assert tracker.one("incident_events")["text"] == "into PT4"


def test_two_pages_are_one_list_and_an_incident_on_both_lands_once(tracker: Tracker):
    service = PagerDuty()
    for number in range(103):
        service.add(resolved(f"P{number:03}", number / 10))
    service.add(incident("P102", 10.2))  # open: on the list of the window and on the list of the open ones
    with serve(service) as server:
        counts = tracker.extract(server.url)
        offsets = [one.param("offset") for one in server.asked if one.path == "/incidents" and one.param("since")]
    assert len(tracker.landed()) == 103
    assert counts["incidents"].duplicate == 0
    assert offsets == [None, "100"]


def test_more_than_can_be_listed_is_asked_for_in_halves(tracker: Tracker):
    service = PagerDuty(pretended=10_001)
    for number in range(8):
        service.add(resolved(f"P{number}", number * 7))
    with serve(service) as server:
        tracker.extract(server.url)
        spans = [(one.param("since"), one.param("until")) for one in server.asked if one.path == "/incidents" and one.param("since")]
    assert len(tracker.landed()) == 8
    assert spans[:3] == [(clock(0), clock(60)), (clock(0), clock(30)), (clock(0), clock(15))]


def test_a_list_longer_than_the_api_pages_through_is_named(tracker: Tracker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("aftercast.sources.pagerduty_incidents.MOST", 150)
    service = PagerDuty()
    for number in range(160):
        service.add(incident(f"P{number:03}", -1000))
    with serve(service) as server, pytest.raises(SourceRejected, match=r"'trackers'.*more than 150 incidents.*`services` or `teams`"):
        tracker.extract(server.url)
    assert tracker.landed() == []


def test_a_window_of_a_year_is_asked_for_in_parts_of_less_than_six_months(tracker: Tracker):
    service = PagerDuty()
    service.add(resolved("PNEW"), entry("N1", "resolve", 40))
    year = Window(START - timedelta(days=365), START + timedelta(days=1))
    with serve(service) as server:
        tracker.extract(server.url, year)
        spans = [(one.param("since"), one.param("until")) for one in server.asked if one.path == "/incidents" and one.param("since")]
    assert len(spans) == 3
    assert (spans[0][0], spans[-1][1]) == ("2025-09-01T10:00:00Z", "2026-09-02T10:00:00Z")
    assert all(former[1] == latter[0] for former, latter in itertools.pairwise(spans))
    assert tracker.one()["incident_id"] == "PNEW"


def test_nothing_there_is_an_answer(tracker: Tracker):
    with serve(PagerDuty()) as server:
        counts = tracker.extract(server.url)
    assert {name: one.received for name, one in counts.items()} == {"incidents": 0, "incident_events": 0, "changes": 0}


def test_it_waits_when_told_to_slow_down(tracker: Tracker):
    service, told = PagerDuty(), []
    service.add(resolved())

    def busy(asked: Asked) -> Answer:
        if asked.path == "/incidents" and not told:
            told.append(asked)
            return Answer({"error": "slow down"}, status=429, headers={"ratelimit-reset": "0"})
        return service(asked)

    with serve(busy) as server:
        tracker.extract(server.url)
    assert tracker.one()["incident_id"] == "PT4"


def test_what_is_deleted_upstream_goes_when_a_wider_window_is_extracted_again(tracker: Tracker):
    service = PagerDuty()
    service.add(resolved("PKEPT"), entry("K1", "resolve", 40))
    service.add(resolved("PGONE"), entry("G1", "resolve", 40))
    with serve(service) as server:
        tracker.extract(server.url)
        assert len(tracker.landed()) == 2
        del service.incidents["PGONE"], service.logs["PGONE"]
        tracker.extract(server.url, DAY)
    assert tracker.one()["incident_id"] == "PKEPT"
    assert tracker.one("incident_events")["event_id"] == "K1"


def test_the_same_window_again_changes_no_file(tracker: Tracker):
    service = PagerDuty()
    service.add(resolved(), entry("R1", "resolve", 40))
    with serve(service) as server:
        tracker.extract(server.url)
        counts = tracker.extract(server.url)
    assert {one.changed_files for one in counts.values()} == {0}


def change(id_: str, minutes: float, *services: dict[str, Any], **details: str) -> dict[str, Any]:
    return {
        "id": id_,
        "type": "change_event",
        "summary": f"Deploy {id_}",
        "timestamp": clock(minutes),
        "services": list(services),
        "source": "ci",
        "links": [{"href": "https://ci.test/1", "text": "build"}],
        "custom_details": details,
    }


def test_change_events_land_as_changes_of_each_service_they_name(tracker: Tracker):
    service = PagerDuty(
        changes=[
            change("C1", 10, reference("PCART", "cart"), build="7", version="1.2", deployer="Jane Doe"),
            change("C2", 20, reference("PCART", ""), reference("PPAY", "")),
            change("C3", 30),
        ]
    )
    with serve(service) as server:
        tracker.extract(server.url, details=["build"], version="version", changes="config")
    rows = {one["change_id"]: one for one in tracker.landed("changes")}
    assert {id_: one["service"] for id_, one in rows.items()} == {"C1": "cart", "C2/PCART": "PCART", "C2/PPAY": "PPAY"}
    assert (rows["C1"]["kind"], rows["C1"]["version"], rows["C1"]["attributes"], rows["C1"]["result"]) == (
        "config",
        "1.2",
        "build=7",
        "unknown",
    )
    assert tracker.quarantined("changes") == ["missing service"]
    assert "Jane" not in tracker.everything()


def test_a_change_event_from_a_clock_that_is_ahead_is_quarantined(tracker: Tracker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(PagerDuty, "between", lambda self, asked, found, name: found)
    with serve(PagerDuty(changes=[change("C1", 600, reference("PCART", "cart"))])) as server:
        tracker.extract(server.url)
    assert tracker.quarantined("changes") == ["started_at: in the future of the window"]


def test_severity_follows_priority_then_urgency_and_an_unknown_word_is_named(tracker: Tracker):
    service = PagerDuty()
    service.add(resolved("P1"))
    service.add(resolved("P2", priority=None))
    service.add(resolved("P3", priority=reference("X", "Fire", "priority")))
    service.add(resolved("P4", priority=None, urgency=None))
    with serve(service) as server:
        tracker.extract(server.url, severities={"High": "sev2"})
        assert {one["incident_id"]: one["severity"] for one in tracker.landed()} == {"P1": "sev1", "P2": "sev2", "P4": "unknown"}
        assert tracker.quarantined() == ["severity: not one of sev1, sev2, sev3, sev4, unknown"]
        tracker.extract(server.url, severities={"*": "sev4"})
    assert {one["incident_id"]: one["severity"] for one in tracker.landed()}["P3"] == "sev4"


def test_only_wanted_services_and_teams_are_asked_for(tracker: Tracker):
    service = PagerDuty()
    service.add(resolved("POLD", -5000, service=reference("POTHER", "other")), entry("O1", "annotate", 30))
    with serve(service) as server:
        tracker.extract(server.url, services=["PCART"], teams=["PTEAM"], modes={"drill": "drill"}, service="id")
        listed = next(one for one in server.asked if one.path == "/incidents")
    assert (listed.params["service_ids[]"], listed.params["team_ids[]"]) == (["PCART"], ["PTEAM"])
    assert tracker.landed() == []


def test_wrong_credentials_are_named_and_nothing_lands(tracker: Tracker):
    tracker._connection["password"] = "wr0ng"
    with serve(PagerDuty()) as server, pytest.raises(SourceRejected, match=r"'trackers'.*401.*connection 'tracker'") as caught:
        tracker.extract(server.url)
    assert "wr0ng" not in str(caught.value)


def test_a_connection_without_a_token_is_explained(tracker: Tracker):
    del tracker._connection["password"]
    with pytest.raises(ConfigError, match="has no password"):
        tracker.extract("http://127.0.0.1:1")


@pytest.mark.off_document("answers another shape")
def test_a_page_of_another_shape_is_named(tracker: Tracker):
    with serve(lambda _: Answer({"incidents": "none", "more": False})) as server, pytest.raises(SourceRejected, match="expected a list"):
        tracker.extract(server.url, HOUR)
