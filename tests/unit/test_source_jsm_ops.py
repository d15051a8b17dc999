"""The `jsm_ops` kind: alerts of Jira Service Management and of Opsgenie, their reports and logs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aftercast.errors import ConfigError, SourceRejected
from aftercast.sources import jsm_ops
from aftercast.sources.lifecycle import milliseconds, moment
from tests import documents
from tests.answering import Answer, Asked, serve
from tests.unit.tracker_fixture import DAY, HOUR, NEXT, START, Tracker, clock, utc

MINUTE = 60_000

follows = documents.followed("opsgenie", only="/v2/")


def alert(id_: str = "a1", minutes: float = 5, **given: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "tinyId": "1",
        "alias": f"cpu-{id_}",
        "message": f"CPU is hot on {id_}",
        "status": "open",
        "acknowledged": False,
        "priority": "P1",
        "tags": ["service:cart", "Environment=staging", "noise"],
        "owner": "jane@example.org",
        "createdAt": clock(minutes),
        "updatedAt": clock(minutes),
    } | given


def closed(id_: str = "a1", minutes: float = 5, *, ack: float | None = 2, close: float = 30, written: float = 400) -> dict[str, Any]:
    report = {"closeTime": close * MINUTE, "closedBy": "jane@example.org"} | ({} if ack is None else {"ackTime": ack * MINUTE})
    return alert(id_, minutes, status="closed", acknowledged=ack is not None, report=report, updatedAt=clock(written))


def line(text: str, minutes: float, type_: str = "system", owner: str = "System") -> dict[str, Any]:
    return {"log": text, "type": type_, "owner": owner, "createdAt": clock(minutes), "offset": f"{minutes}_x"}


@dataclass
class Ops:
    """Both services: rows under another name, sizes under another name, the report left out of JSM's lists."""

    alerts: list[dict[str, Any]] = field(default_factory=list)
    logs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    service: str = "jsm"
    incidents: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Answer:
        jsm = self.service == "jsm"
        root = "/jsm/ops/api/cloud-1/v1/alerts" if jsm else "/v2/alerts"
        known = {"Basic amFuZTprM3k=", "Bearer k3y"} if jsm else {"GenieKey k3y"}
        if asked.headers.get("authorization") not in known:
            return Answer({"message": "Unauthorized"}, status=401)
        if asked.path == "/v1/incidents" and not jsm:
            begin, end = (int(one) for one in re.findall(r"\d+", asked.param("query") or ""))
            return self.page(asked, [one for one in self.incidents if begin <= ms(one["createdAt"]) < end])
        if not asked.path.startswith(root):
            return Answer({"message": "No site"}, status=404)
        rest = asked.path.removeprefix(root).strip("/").split("/")
        if rest[-1] == "logs":
            return self.page(asked, self.logs.get(rest[0], []))
        if rest[0]:
            found = next(one for one in self.alerts if one["id"] == rest[0])
            return Answer(found if jsm else {"data": found})
        bounds = {name + sign: int(value) for name, sign, value in re.findall(r"(\w+) (>=|<) (\d+)", asked.param("query") or "")}
        found = [
            one for one in self.alerts if ms(one["updatedAt"]) >= bounds["updatedAt>="] and ms(one["createdAt"]) < bounds["createdAt<"]
        ]
        later = [one for one in found if ms(one["createdAt"]) >= bounds.get("createdAt>=", 0)]
        listed = sorted(later, key=lambda one: one["createdAt"])
        return self.page(asked, [{name: value for name, value in one.items() if name != "report" or not jsm} for one in listed])

    def page(self, asked: Asked, found: list[dict[str, Any]]) -> Answer:
        jsm = self.service == "jsm"
        size, offset = int(asked.param("size" if jsm else "limit") or 20), int(asked.param("offset") or 0)
        there = offset + size < len(found)
        link = f"https://elsewhere.test{asked.path}?offset={offset + size}&{'size' if jsm else 'limit'}={size}"
        some = found[offset : offset + size]
        links = {"next": link} if there else {}
        return Answer({"values": some, "count": len(some), "links": links} if jsm else {"data": some, "paging": links})


def ms(text: str) -> int:
    instant = moment(text)
    assert instant is not None
    return milliseconds(instant)


JSM = {"cloud_id": "cloud-1"}


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    return Tracker(tmp_path, monkeypatch, "jsm_ops", ("alerts",), login="jane", password="k3y")


def test_an_alert_ends_when_its_report_says_not_when_it_was_last_written(tracker: Tracker):
    with serve(Ops([closed(), alert("a2", 10)])) as server:
        tracker.extract(server.url, **JSM)
    over, still = sorted(tracker.landed("alerts"), key=lambda one: one["fingerprint"])
    assert (over["fingerprint"], over["name"], over["service"], over["environment"], over["severity"]) == (
        "cpu-a1",
        "CPU is hot on a1",
        "cart",
        "staging",
        "P1",
    )
    assert (over["started_at"], over["ended_at"], still["ended_at"]) == (utc(5), utc(35), None)
    assert tracker.landed("incidents") == []


def test_it_asks_by_update_in_milliseconds_and_by_site(tracker: Tracker):
    with serve(Ops([alert()])) as server:
        tracker.extract(server.url, query="priority: P1", **JSM)
        (asked,) = server.asked
    assert asked.path == "/jsm/ops/api/cloud-1/v1/alerts"
    begin = milliseconds(START)
    assert asked.param("query") == f"updatedAt >= {begin} AND createdAt < {begin + 60 * MINUTE} AND (priority: P1)"
    assert (asked.param("sort"), asked.param("order"), asked.param("size")) == ("createdAt", "asc", "100")


def test_alerts_of_some_priorities_are_incidents_and_their_logs_events_without_names(tracker: Tracker):
    log = [
        line("Alert created via API", 5),
        line("Alert acknowledged by [Jane Doe] via web", 7, owner="jane@example.org"),
        line("Restarted the pod", 9, "alertNote", owner="jane@example.org"),
        line("Alert closed via web by Jane Doe", 35),
        line("Alert un-acknowledged by Jane Doe", 8),
    ]
    with serve(Ops([closed(), closed("a2", 6, ack=None), alert("a3", 7, priority="P3")], {"a1": log})) as server:
        tracker.extract(server.url, incidents=["P1"], **JSM)
    first, second = tracker.landed()
    assert (first["severity"], first["status"], first["services"], first["detection_method"]) == ("sev1", "resolved", ["cart"], "monitor")
    assert [first[name] for name in ("started_at", "acknowledged_at", "resolved_at")] == [utc(5), utc(7), utc(35)]
    assert (second["acknowledged_at"], second["resolved_at"]) == (None, utc(36))
    events = sorted(tracker.landed("incident_events"), key=lambda one: one["occurred_at"])
    assert [one["kind"] for one in events] == ["created", "acknowledged", "log", "note", "closed"]
    assert [one["text"] for one in events if one["text"]] == ["Restarted the pod"]
    assert len(tracker.landed("alerts")) == 3
    assert "Jane" not in tracker.everything()


def test_two_pages_follow_the_link_but_never_to_another_host(tracker: Tracker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jsm_ops, "PAGE", 2)
    with serve(Ops([alert(f"a{number}", number) for number in range(5)])) as server:
        tracker.extract(server.url, **JSM)
        assert [one.param("offset") for one in server.asked] == ["0", "2", "4"]
    assert len(tracker.landed("alerts")) == 5


def test_a_list_longer_than_the_service_pages_through_begins_anew_at_the_last_alert(tracker: Tracker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jsm_ops, "PAGE", 2)
    monkeypatch.setattr(jsm_ops, "MOST", 4)
    service = Ops([alert(f"a{number}", number) for number in range(10)])
    with serve(service) as server:
        tracker.extract(server.url, **JSM)
        assert len({one.param("query") for one in server.asked}) == 3
        assert len(tracker.landed("alerts")) == 10
        service.alerts = [alert(f"b{number}", 1) for number in range(9)]
        with pytest.raises(SourceRejected, match="more than 4 at one moment; narrow it by `query`"):
            tracker.extract(server.url, **JSM)


def test_opsgenie_is_asked_at_its_old_place_in_its_old_words(tracker: Tracker):
    with serve(Ops([closed(), alert("a2", 10)], {"a1": [line("Alert closed", 35)]}, service="opsgenie")) as server:
        tracker.extract(server.url, service="opsgenie", incidents=["P1"])
        listed = server.asked[0]
        paths = {one.path for one in server.asked}
    assert (listed.path, listed.param("limit"), listed.param("size")) == ("/v2/alerts", "100", None)
    assert paths == {"/v2/alerts", "/v2/alerts/a1/logs", "/v2/alerts/a2/logs"}
    assert {one["incident_id"]: one["resolved_at"] for one in tracker.landed()} == {"a1": utc(35), "a2": None}


def test_incidents_of_opsgenie_itself_land_with_their_impact_and_edits_are_found(tracker: Tracker):
    record = {
        "id": "i1",
        "message": "Checkout is down",
        "description": "Call joe@example.org",
        "status": "resolved",
        "priority": "P2",
        "impactedServices": ["0f2e"],
        "impactStartDate": clock(-3050),
        "impactEndDate": clock(-2900),
        "createdAt": clock(-3000),
        "updatedAt": clock(20),
        "links": {"web": "https://acme.app.opsgenie.test/incident/i1"},
    }
    old = record | {"id": "i2", "updatedAt": clock(-2000)}
    with serve(Ops(service="opsgenie", incidents=[record, old])) as server:
        tracker.extract(server.url, service="opsgenie", own_incidents=True)
        with pytest.raises(ConfigError, match="see kind `jira`"):
            tracker.extract(server.url, own_incidents=True, **JSM)
    row = tracker.one()
    assert (row["incident_id"], row["severity"], row["status"], row["services"]) == ("i1", "sev2", "resolved", ["0f2e"])
    assert [row[name] for name in ("started_at", "declared_at", "mitigated_at")] == [utc(-3050), utc(-3000), utc(-2900)]
    assert (row["resolved_at"], row["acknowledged_at"], row["summary"]) == (None, None, "Call <email>")


def test_a_late_update_lands_the_alert_again_on_its_own_day(tracker: Tracker):
    service = Ops([alert(minutes=-3000, updatedAt=clock(10))])
    with serve(service) as server:
        tracker.extract(server.url, **JSM)
        service.alerts = [closed(minutes=-3000, close=3070, written=75)]
        counts = tracker.extract(server.url, NEXT, **JSM)
    assert (tracker.one("alerts")["ended_at"], counts["alerts"].late) == (utc(70), 1)


def test_what_is_deleted_upstream_goes_when_a_wider_window_is_extracted_again(tracker: Tracker):
    service = Ops([alert("akept"), alert("agone")])
    with serve(service) as server:
        tracker.extract(server.url, **JSM)
        del service.alerts[1]
        tracker.extract(server.url, DAY, **JSM)
    assert tracker.one("alerts")["fingerprint"] == "cpu-akept"


def test_the_same_alert_twice_lands_once_and_nothing_there_is_an_answer(tracker: Tracker):
    with serve(Ops([alert(), alert()])) as server:
        assert tracker.extract(server.url, **JSM)["alerts"].duplicate == 1
    with serve(Ops()) as server:
        assert tracker.extract(server.url, NEXT, **JSM)["alerts"].received == 0


def test_an_alert_of_a_later_moment_waits_for_its_window_and_a_time_without_zone_is_named(tracker: Tracker):
    found = [alert("a1", 61), alert("a2"), alert("a3", createdAt="2026-09-01T10:05:00")]
    with serve(lambda _: Answer({"values": found, "links": {}})) as server:
        tracker.extract(server.url, **JSM)
        assert tracker.one("alerts")["fingerprint"] == "cpu-a2"
        assert tracker.quarantined("alerts") == ["started_at: time without zone"]
        tracker.extract(server.url, NEXT, **JSM)
    assert {one["fingerprint"] for one in tracker.landed("alerts")} >= {"cpu-a1", "cpu-a2"}


def test_it_waits_as_long_as_the_bucket_of_the_rate_limit_says(tracker: Tracker):
    service, told = Ops([alert()]), []

    def busy(asked: Asked) -> Answer:
        told.append(asked)
        limits = {"X-RateLimit-State": "THROTTLED", "X-RateLimit-Period-In-Sec": "0"}
        return Answer({"message": "TooManyRequests"}, status=429, headers=limits) if len(told) == 1 else service(asked)

    with serve(busy) as server:
        tracker.extract(server.url, **JSM)
    assert tracker.one("alerts")["fingerprint"] == "cpu-a1"


def test_wrong_credentials_are_named_and_nothing_lands(tracker: Tracker):
    tracker._connection["password"] = "wr0ng"
    with serve(Ops([alert()])) as server, pytest.raises(SourceRejected, match=r"'trackers'.*401.*connection 'tracker'"):
        tracker.extract(server.url, **JSM)


def test_a_site_must_be_named(tracker: Tracker):
    with pytest.raises(ConfigError, match="give `cloud_id`"):
        tracker.extract("http://127.0.0.1:1", HOUR)
