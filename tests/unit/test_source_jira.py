"""The `jira` kind: searches of Cloud and Data Center, zones of JQL, changes of status, issues as incidents or action items."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from aftercast.errors import ConfigError, SourceRejected
from aftercast.sources import jira_issues
from aftercast.sources.jira_issues.rows import prose, values_of
from aftercast.sources.lifecycle import milliseconds
from aftercast.window import Window
from tests.answering import Answer, Asked, serve
from tests.unit.tracker_fixture import DAY, HOUR, NEXT, Tracker, clock, utc

WRITTEN = "%Y-%m-%dT%H:%M:%S.000+0000"
JANE = {"accountId": "557058:1", "displayName": "Jane Doe", "emailAddress": "jane@example.org"}


def issue(key: str = "INC-1", minutes: float = 5, status: str = "Open", category: str = "new", **given: Any) -> dict[str, Any]:
    fields = {
        "summary": f"Checkout is down {key}",
        "description": {"type": "doc", "content": [{"type": "paragraph", "content": [{"type": "text", "text": "Ask joe@example.org"}]}]},
        "status": {"name": status, "statusCategory": {"key": category}},
        "priority": {"name": "High", "id": "2"},
        "created": clock(minutes, shape=WRITTEN),
        "updated": clock(minutes, shape=WRITTEN),
        "resolutiondate": None,
        "resolution": None,
        "components": [{"id": "1", "name": "cart"}, {"id": "2", "name": "pay"}],
        "assignee": JANE,
        "reporter": JANE,
        "duedate": None,
        "issuelinks": [],
    } | given
    return {"id": str(10_000 + int(key.split("-")[1])), "key": key, "fields": fields}


def moved(id_: str, minutes: float, old: str, new: str) -> dict[str, Any]:
    items = [{"field": "status", "fieldId": "status", "fromString": old, "toString": new}, {"field": "assignee", "toString": "Jane Doe"}]
    return {"id": id_, "author": JANE, "created": milliseconds(utc(minutes)), "items": items}


@dataclass
class Jira:
    """Searches by JQL in the user's zone; Cloud pages by token and hides the end, Data Center by `startAt`."""

    issues: list[dict[str, Any]] = field(default_factory=list)
    histories: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    zone: str = "Asia/Kolkata"
    edition: str = "cloud"
    gaps: bool = False

    def __call__(self, asked: Asked) -> Answer:
        if not asked.headers.get("authorization", "").startswith("Basic amFuZTprM3k"):
            return Answer({"message": "Client must be authenticated"}, status=401)
        api = "/rest/api/3" if self.edition == "cloud" else "/rest/api/2"
        if asked.path.endswith("/myself"):
            return Answer({"accountId": "557058:1", "displayName": "Jane Doe", "timeZone": self.zone})
        if asked.path == "/rest/api/2/search" and self.edition == "cloud":
            return Answer({"errorMessages": ["The requested API has been removed. Please use /rest/api/3/search/jql"]}, status=410)
        if asked.path == f"{api}/changelog/bulkfetch":
            return self.changes(asked)
        found = self.found(asked.body["jql"])
        wanted = [one | {"fields": {name: one["fields"].get(name) for name in asked.body["fields"]}} for one in found]
        if self.edition == "cloud":
            return self.by_token(asked, "issues", wanted)
        start, size = asked.body["startAt"], asked.body["maxResults"]
        whole = [one | {"changelog": {"histories": self.histories.get(one["id"], [])}} for one in wanted]
        return Answer({"startAt": start, "maxResults": size, "total": len(whole), "issues": whole[start : start + size]})

    def found(self, jql: str) -> list[dict[str, Any]]:
        since = re.search(r'updated >= "([^"]+)"', jql)
        assert since is not None
        begin = datetime.strptime(since[1], "%Y-%m-%d %H:%M").replace(tzinfo=ZoneInfo(self.zone or "America/Los_Angeles"))
        return [one for one in self.issues if datetime.fromisoformat(one["fields"]["updated"]) >= begin]

    def changes(self, asked: Asked) -> Answer:
        pairs = [(id_, one) for id_ in asked.body["issueIdsOrKeys"] for one in self.histories.get(id_, [])]
        return self.by_token(asked, "issueChangeLogs", [{"issueId": id_, "changeHistories": [one]} for id_, one in pairs], size=1)

    def by_token(self, asked: Asked, key: str, found: list[dict[str, Any]], *, size: int | None = None) -> Answer:
        size = size or asked.body["maxResults"]
        start = int(asked.body.get("nextPageToken", "t0")[1:])
        if self.gaps and start == 0 and key == "issues" and "nextPageToken" not in asked.body:
            return Answer({key: [], "nextPageToken": "t0", "isLast": False})
        token = {"nextPageToken": f"t{start + size}", "isLast": False} if start + size < len(found) else {"isLast": True}
        return Answer({key: found[start : start + size]} | token)


INCIDENTS: dict[str, Any] = {"jql": "project = INC", "as": "incidents"}
ITEMS: dict[str, Any] = {"jql": "project = FIX", "as": "action_items"}


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    return Tracker(tmp_path, monkeypatch, "jira", (), login="jane", password="k3y")


def test_an_issue_is_an_incident_with_the_lifecycle_of_its_changes(tracker: Tracker):
    done = {"resolutiondate": clock(50, shape=WRITTEN), "resolution": {"name": "Done"}, "updated": clock(55, shape=WRITTEN)}
    changes = [
        moved("101", 9, "Open", "Investigating"),
        moved("102", 8, "Open", "Acknowledged"),
        moved("103", 30, "Investigating", "Mitigated"),
        moved("104", 50, "Mitigated", "Resolved"),
    ]
    with serve(Jira([issue("INC-1", 5, "Resolved", "done", **done)], {"10001": changes})) as server:
        tracker.extract(server.url, site="https://jira.test/", **INCIDENTS)
        sent = [one.body for one in server.asked if one.method == "POST"]
    row = tracker.one()
    assert (row["incident_id"], row["source_id"], row["severity"], row["status"], row["services"]) == (
        "INC-1",
        "10001",
        "sev2",
        "resolved",
        ["cart", "pay"],
    )
    assert (row["summary"], row["url"]) == ("Ask <email>", "https://jira.test/browse/INC-1")
    names = ("started_at", "declared_at", "acknowledged_at", "mitigated_at", "resolved_at", "updated_at")
    assert [row[name] for name in names] == [utc(minutes) for minutes in (5, 5, 8, 30, 50, 55)]
    events = {one["event_id"]: one for one in tracker.landed("incident_events")}
    assert {id_: one["kind"] for id_, one in events.items()} == {
        "10001/101": "Investigating",
        "10001/102": "Acknowledged",
        "10001/103": "Mitigated",
        "10001/104": "Resolved",
    }
    assert (events["10001/103"]["text"], events["10001/103"]["occurred_at"]) == ("Investigating -> Mitigated", utc(30))
    assert {"summary", "status", "resolutiondate"} < set(sent[0]["fields"])
    assert sent[1]["fieldIds"] == ["status"]
    assert "Jane" not in tracker.everything()


def test_a_short_or_empty_page_of_cloud_is_not_the_last(tracker: Tracker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jira_issues, "PAGE", 2)
    with serve(Jira([issue(f"INC-{number}", number) for number in range(1, 6)], gaps=True)) as server:
        tracker.extract(server.url, **INCIDENTS)
        tokens = [one.body.get("nextPageToken") for one in server.asked if one.path.endswith("/search/jql")]
    assert len(tracker.landed()) == 5
    assert tokens == [None, "t0", "t2", "t4"]


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/Los_Angeles", "Pacific/Kiritimati", "", "UTC"])
def test_jql_speaks_the_users_zone_to_the_minute_and_nothing_of_the_window_is_missed(tracker: Tracker, zone: str):
    late = issue("INC-2", -3000, updated=clock(0, shape=WRITTEN))
    early = issue("INC-3", -3000, updated=clock(-1, shape=WRITTEN))
    with serve(Jira([issue("INC-1", 59), late, early], zone=zone)) as server:
        counts = tracker.extract(server.url, **INCIDENTS)
    assert {one["incident_id"] for one in tracker.landed()} == {"INC-1", "INC-2"}
    assert counts["incidents"].late == 1


def test_an_hour_that_clocks_repeat_is_asked_for_whole(tracker: Tracker):
    begin = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)  # half past two in Berlin, for the second time
    record = issue("INC-1", created=f"{begin:{WRITTEN}}", updated=f"{begin:{WRITTEN}}")
    with serve(Jira([record], zone="Europe/Berlin")) as server:
        tracker.extract(server.url, Window(begin, begin.replace(hour=2)), **INCIDENTS)
        jql = next(one.body["jql"] for one in server.asked if one.method == "POST")
    assert '"2026-10-25 02:30"' in jql
    assert tracker.one()["incident_id"] == "INC-1"


def test_data_center_pages_by_start_and_expands_its_changes(tracker: Tracker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jira_issues, "PAGE", 2)
    changes = [moved("101", 9, "Open", "In Progress") | {"created": clock(9, shape=WRITTEN), "author": {"key": "jdoe", "name": "jdoe"}}]
    records = [issue(f"INC-{number}", number, description="Call [~jdoe] *now*") for number in range(1, 6)]
    with serve(Jira(records, {"10001": changes}, edition="datacenter")) as server:
        tracker.extract(server.url, edition="datacenter", **INCIDENTS)
        starts = [one.body["startAt"] for one in server.asked if one.path == "/rest/api/2/search"]
    rows = {one["incident_id"]: one for one in tracker.landed()}
    assert (len(rows), starts) == (5, [0, 2, 4])
    assert (rows["INC-1"]["acknowledged_at"], rows["INC-1"]["summary"]) == (utc(9), "Call  *now*")
    assert "jdoe" not in tracker.everything()


def test_the_search_that_cloud_removed_is_explained(tracker: Tracker):
    with serve(Jira([issue()])) as server, pytest.raises(SourceRejected, match=r"answered 410.*remove `edition`"):
        tracker.extract(server.url, edition="datacenter", **INCIDENTS)


@pytest.mark.parametrize("jql", ["", "  ", "project = INC ORDER BY created"])
def test_jql_that_is_empty_or_ordered_is_refused_before_it_is_asked(tracker: Tracker, jql: str):
    with pytest.raises(ConfigError, match="jql"):
        tracker.extract("http://127.0.0.1:1", jql=jql, **{"as": "incidents"})


def test_fields_of_the_site_are_mapped_and_an_unknown_column_is_named(tracker: Tracker):
    given = {
        "customfield_1": clock(2, shape=WRITTEN),
        "customfield_2": {"value": "Sev-Hot", "id": "7"},
        "customfield_3": [{"value": "cart"}, {"value": "search"}],
        "customfield_4": JANE,
    }
    fields = {"started_at": "customfield_1", "severity": "customfield_2", "services": "customfield_3", "trigger": "customfield_4"}
    with serve(Jira([issue(**given)])) as server:
        tracker.extract(server.url, fields=fields, severities={"sev-hot": "sev1"}, environment="staging", **INCIDENTS)
    row = tracker.one()
    assert (row["started_at"], row["declared_at"], row["severity"], row["services"]) == (utc(2), utc(5), "sev1", ["cart", "search"])
    assert (row["trigger"], row["environment"]) == (None, "staging")
    with pytest.raises(ConfigError, match="have no column 'begun_at'"):
        tracker.extract(server.url, fields={"begun_at": "customfield_1"}, **INCIDENTS)


def test_an_issue_opened_again_is_not_resolved_and_one_that_was_none_is_cancelled(tracker: Tracker):
    times = {"resolutiondate": clock(50, shape=WRITTEN)}
    again = issue("INC-1", 5, "In Progress", "indeterminate", **times)
    duplicate = issue("INC-2", 5, "Closed", "done", resolution={"name": "Duplicate"}, **times)
    closed = issue("INC-3", 5, "Closed", "done", **times)
    without = issue("INC-4", 5, "Resolved", "done")
    changes = {"10001": [moved("1", 20, "Open", "Mitigated")], "10004": [moved("2", 40, "Open", "Resolved")]}
    with serve(Jira([again, duplicate, closed, without], changes)) as server:
        tracker.extract(server.url, **INCIDENTS)
    rows = {one["incident_id"]: (one["status"], one["resolved_at"]) for one in tracker.landed()}
    assert rows == {
        "INC-1": ("mitigated", None),
        "INC-2": ("cancelled", utc(50)),
        "INC-3": ("closed", utc(50)),
        "INC-4": ("resolved", utc(40)),
    }


def test_issues_are_action_items_of_the_incident_they_link_to(tracker: Tracker):
    links = [
        {"type": {"name": "Relates"}, "outwardIssue": {"key": "OPS-9"}},
        {"type": {"name": "Relates"}, "inwardIssue": {"key": "INC-7"}},
    ]
    records = [
        issue("FIX-1", 5, issuelinks=links, duedate="2026-09-30", customfield_9={"value": "Payments"}),
        issue("FIX-2", 5, "Doing", "indeterminate", parent={"key": "INC-8"}),
        issue("FIX-3", 5, "Done", "done", resolutiondate=clock(30, shape=WRITTEN)),
        issue("FIX-4", 5, "Closed", "done", resolution={"name": "Won't Do"}),
        issue("FIX-5", 5, "Proven", "done"),
    ]
    with serve(Jira(records)) as server:
        options = {"fields": {"owner_team": "customfield_9"}, "incident_project": "INC", "status_words": {"Proven": "verified"}}
        tracker.extract(server.url, **options, **ITEMS)
        assert {one.path for one in server.asked} == {"/rest/api/3/myself", "/rest/api/3/search/jql"}
    rows = {one["action_item_id"]: one for one in tracker.landed("action_items")}
    assert [rows[f"FIX-{number}"]["status"] for number in range(1, 6)] == ["open", "in_progress", "done", "cancelled", "verified"]
    first = rows["FIX-1"]
    assert (first["incident_id"], rows["FIX-2"]["incident_id"], rows["FIX-3"]["incident_id"]) == ("INC-7", "INC-8", None)
    assert (first["owner_team"], first["service"], first["due_at"]) == ("Payments", "cart", datetime(2026, 9, 30, tzinfo=UTC))
    assert (rows["FIX-3"]["done_at"], first["done_at"], first["version"]) == (utc(30), None, int(utc(5).timestamp()))
    assert "Jane" not in tracker.everything()


def test_a_late_update_makes_a_new_version_of_an_action_item(tracker: Tracker):
    service = Jira([issue("FIX-1", 5)])
    with serve(service) as server:
        tracker.extract(server.url, **ITEMS)
        service.issues = [issue("FIX-1", 5, "Done", "done", updated=clock(70, shape=WRITTEN))]
        tracker.extract(server.url, NEXT, **ITEMS)
    assert [one["status"] for one in tracker.landed("action_items")] == ["open", "done"]


def test_what_is_deleted_upstream_goes_when_a_wider_window_is_extracted_again(tracker: Tracker):
    service = Jira(
        [issue("INC-1"), issue("INC-2")], {"10001": [moved("1", 6, "Open", "Closed")], "10002": [moved("2", 6, "Open", "Closed")]}
    )
    with serve(service) as server:
        tracker.extract(server.url, **INCIDENTS)
        del service.issues[1]
        tracker.extract(server.url, DAY, **INCIDENTS)
    assert (tracker.one()["incident_id"], tracker.one("incident_events")["event_id"]) == ("INC-1", "10001/1")


def test_the_same_issue_on_two_pages_lands_once_and_nothing_there_is_an_answer(tracker: Tracker):
    with serve(Jira([issue(), issue()])) as server:
        assert tracker.extract(server.url, **INCIDENTS)["incidents"].duplicate == 1
    with serve(Jira()) as server:
        counts = tracker.extract(server.url, NEXT, **INCIDENTS)
    assert {name: one.received for name, one in counts.items()} == {"incidents": 0, "incident_events": 0}


def test_a_time_in_the_future_and_an_unknown_severity_are_named(tracker: Tracker):
    ahead = issue("INC-1", customfield_1=clock(900, shape=WRITTEN))
    with serve(Jira([ahead, issue("INC-2", priority={"name": "Whenever"}), issue("INC-3", priority=None)])) as server:
        tracker.extract(server.url, fields={"started_at": "customfield_1"}, **INCIDENTS)
    assert tracker.quarantined() == ["started_at: in the future of the window", "severity: not one of sev1, sev2, sev3, sev4, unknown"]
    assert (tracker.one()["incident_id"], tracker.one()["severity"]) == ("INC-3", "unknown")


def test_it_waits_when_told_to_slow_down(tracker: Tracker):
    service, told = Jira([issue()]), []

    def busy(asked: Asked) -> Answer:
        told.append(asked)
        return Answer({"message": "Rate limit exceeded"}, status=429, headers={"Retry-After": "0"}) if len(told) == 2 else service(asked)

    with serve(busy) as server:
        tracker.extract(server.url, **INCIDENTS)
    assert tracker.one()["incident_id"] == "INC-1"


def test_wrong_credentials_are_named_before_an_empty_answer_is_believed(tracker: Tracker):
    tracker._connection["password"] = "wr0ng"
    with serve(Jira([issue()])) as server, pytest.raises(SourceRejected, match=r"/myself.*401.*connection 'tracker'"):
        tracker.extract(server.url, **INCIDENTS)
    assert tracker.landed() == []


def test_a_connection_without_a_host_is_explained(tracker: Tracker):
    with pytest.raises(ConfigError, match="names no host"):
        tracker.extract("", HOUR, **INCIDENTS)


def test_rich_text_is_read_without_the_people_it_mentions():
    mention = {"type": "mention", "attrs": {"id": "557058:1", "text": "@Jane Doe"}}
    first = {"type": "paragraph", "content": [{"type": "text", "text": "Paged "}, mention, {"type": "text", "text": "at ten"}]}
    second = {"type": "bulletList", "content": [{"type": "listItem", "content": [{"type": "paragraph", "content": []}]}]}
    assert prose({"type": "doc", "version": 1, "content": [first, second]}) == "Paged at ten"
    assert prose(None) is None
    assert prose(3) is None


def test_fields_hold_names_of_options_but_not_of_people():
    jdoe = {"name": "jdoe", "key": "jdoe", "displayName": "Jane Doe"}
    assert values_of([{"value": "EU"}, {"name": "cart"}, "label", 3, JANE, jdoe, None]) == ["EU", "cart", "label", "3"]
    assert values_of({"type": "doc", "content": [{"type": "text", "text": "Error ratio below 1 %"}]}) == ["Error ratio below 1 %"]
