"""The `unleash` kind: events by the day, what they changed, and no person but a token."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aftercast.errors import ConfigError, SourceRejected
from aftercast.sources import unleash_flags
from aftercast.sources.unleash_flags import differences
from tests import documents
from tests.answering import Answer, Asked, serve
from tests.unit.tracker_fixture import DAY, NEXT, Tracker, clock, utc

follows = documents.followed("unleash")


def event(number: int, minutes: float, type_: str = "feature-environment-enabled", **given: Any) -> dict[str, Any]:
    return {
        "id": number,
        "type": type_,
        "createdBy": "jane@acme.test",
        "createdByUserId": 7,
        "createdAt": clock(minutes, shape="%Y-%m-%dT%H:%M:%S.%fZ"),
        "featureName": "faster-checkout",
        "project": "shop",
        "environment": "production",
        "ip": "10.1.2.3",
        "preData": None,
        "data": None,
    } | given


@dataclass
class Unleash:
    """Lists newest first by offset; narrows to whole days."""

    events: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != "*:*.t0ken" or asked.path != "/api/admin/search/events":
            return Answer({"name": "AuthenticationRequired"}, status=401)
        start, end = ((asked.param(name) or "").removeprefix("IS:") for name in ("from", "to"))
        assert len(start) == len(end) == 10, "days only"
        limit, offset = min(int(asked.param("limit") or 50), 1000), int(asked.param("offset") or 0)
        newest = sorted(self.events, key=lambda one: one["id"], reverse=True)
        found = [one for one in newest if start <= one["createdAt"][:10] <= end]
        if asked.param("project"):
            found = [one for one in found if f"IS:{one['project']}" == asked.param("project")]
        return Answer({"events": found[offset : offset + limit], "total": len(found)})


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    return Tracker(tmp_path, monkeypatch, "unleash", ("changes",), password="*:*.t0ken")


def ids(tracker: Tracker) -> set[str]:
    return {row["change_id"] for row in tracker.landed("changes")}


def test_an_event_lands_and_tells_no_person_but_a_token(tracker: Tracker):
    one = event(9, 5, "feature-strategy-update")
    one["preData"] = {"name": "flexibleRollout", "parameters": {"rollout": "10", "userIds": "jane"}}
    one["data"] = {"name": "flexibleRollout", "parameters": {"rollout": "50", "userIds": "jane,joe"}}
    with serve(Unleash([one])) as server:
        tracker.extract(server.url)
    row = tracker.one("changes")
    assert [row[name] for name in ("change_id", "kind", "service", "environment", "started_at")] == [
        "unleash/9",
        "flag",
        "shop",
        "production",
        utc(5),
    ]
    assert row["title"] == "faster-checkout: feature-strategy-update (parameters.rollout: 10 → 50; parameters.userIds)"
    assert "changed=parameters.rollout parameters.userIds" in row["attributes"]
    assert row["actor_token"].startswith("tok_")
    assert not any(word in tracker.everything() for word in ("jane", "joe", "10.1.2.3"))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (None, None, []),
        ({"enabled": False}, {"enabled": True}, ["enabled: false → true"]),
        (None, {"enabled": True, "name": "x"}, ["enabled: nothing → true", "name"]),
        ({"a": [1, 2]}, {"a": [1, 3, {"b": 1.5}]}, ["a.1: 2 → 3", "a.2.b: nothing → 1.5"]),
        ({"x": 1}, {}, ["x: 1 → nothing"]),
        ({"id": "123456"}, {"id": "123457"}, ["id"]),
    ],
)
def test_differences_are_told_and_their_values_where_they_are_plain(before: Any, after: Any, told: list[str]):
    assert differences(before, after) == told


def test_days_are_asked_for_and_the_window_is_kept(tracker: Tracker):
    with serve(Unleash([event(1, -30), event(2, 0), event(3, 59.9), event(4, 60), event(5, 800)])) as server:
        tracker.extract(server.url)
        assert [(one.param("from"), one.param("to")) for one in server.asked] == [("IS:2026-09-01", "IS:2026-09-01")]
        assert ids(tracker) == {"unleash/2", "unleash/3"}
        tracker.extract(server.url, DAY)
        assert server.asked[-1].param("to") == "IS:2026-09-01", "a window that ends at midnight does not touch the next day"
    assert len(ids(tracker)) == 5


def test_pages_follow_by_offset_and_a_new_event_meanwhile_costs_nothing(tracker: Tracker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unleash_flags, "PAGE", 2)
    service = Unleash([event(number, number) for number in range(1, 6)])

    def moving(asked: Asked) -> Answer:
        answer = service(asked)
        if len(service.events) == 5:
            service.events.append(event(6, 30))
        return answer

    with serve(moving) as server:
        counts = tracker.extract(server.url)["changes"]
        assert [one.param("offset") for one in server.asked] == ["0", "2", "4", "6"]
    assert ids(tracker) == {f"unleash/{number}" for number in range(1, 6)}
    assert counts.duplicate == 0


def test_the_most_there_is_is_asked_for():
    assert unleash_flags.PAGE == 1_000


def test_events_that_change_nothing_for_users_are_counted_and_types_can_be_chosen(tracker: Tracker):
    known = [event(1, 1), event(2, 2, "feature-tagged"), event(3, 3, "user-created", featureName=None), event(4, 4, "segment-updated")]
    with serve(Unleash(known)) as server:
        counts = tracker.extract(server.url)["changes"]
        assert dict(counts.reasons) == {"events feature-tagged left out": 1, "events user-created left out": 1}
        assert ids(tracker) == {"unleash/1", "unleash/4"}
        tracker.extract(server.url, types=["feature-tagged"])
    assert ids(tracker) == {"unleash/2"}


def test_toggles_are_mapped_to_services_and_projects_narrowed(tracker: Tracker):
    known = [event(1, 1), event(2, 2, environment="development"), event(3, 3, project="other"), event(4, 4, environment=None)]
    options = {"service": {"at": "featureName", "pattern": "-(.*)"}, "environments": {"dev*": None}, "project": "shop"}
    with serve(Unleash(known)) as server:
        tracker.extract(server.url, **options)
    found = {row["change_id"]: (row["service"], row["environment"]) for row in tracker.landed("changes")}
    assert found == {"unleash/1": ("checkout", "production"), "unleash/4": ("checkout", "production")}


def test_it_waits_when_told_to_slow_down_and_the_same_twice_lands_once(tracker: Tracker):
    service, told = Unleash([event(1, 5), event(1, 5)]), []

    def busy(asked: Asked) -> Answer:
        told.append(asked)
        return Answer({}, status=429, headers={"Retry-After": "0"}) if len(told) == 1 else service(asked)

    with serve(busy) as server:
        tracker.extract(server.url)
    assert ids(tracker) == {"unleash/1"}


def test_a_late_event_is_found_and_one_that_is_gone_goes_with_a_wider_window(tracker: Tracker):
    service = Unleash([event(1, 5), event(2, 6)])
    with serve(service) as server:
        tracker.extract(server.url)
        service.events = [event(1, 5), event(3, 50)]
        tracker.extract(server.url, DAY)
    assert ids(tracker) == {"unleash/1", "unleash/3"}


def test_nothing_there_is_an_answer(tracker: Tracker):
    with serve(Unleash()) as server:
        assert tracker.extract(server.url, NEXT)["changes"].received == 0


def test_wrong_credentials_and_a_missing_host_are_named(tracker: Tracker):
    with pytest.raises(ConfigError, match="names no host"):
        tracker.extract("")
    tracker._connection["password"] = "wr0ng"
    with serve(Unleash()) as server, pytest.raises(SourceRejected, match=r"'trackers'.*401.*connection 'tracker'"):
        tracker.extract(server.url)
