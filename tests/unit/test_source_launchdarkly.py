"""The `launchdarkly` kind: the audit log walked backwards, flags as changes, members as tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from aftercast.errors import ConfigError, SourceRejected
from tests import documents
from tests.answering import Answer, Asked, serve
from tests.unit.tracker_fixture import DAY, NEXT, Tracker, utc

follows = documents.followed("launchdarkly")


def entry(number: int, minutes: float, resource: str = "", **given: Any) -> dict[str, Any]:
    return {
        "_id": f"a{number}",
        "date": round(utc(minutes).timestamp() * 1000),
        "kind": "flag",
        "name": "Faster checkout",
        "title": "[Jane Doe](mailto:jane@acme.test) turned on the flag [Faster checkout](https://ld.test)",
        "titleVerb": "turned on the flag",
        "description": "* Jane Doe turned it on",
        "member": {"_id": "m1", "email": "jane@acme.test", "firstName": "Jane", "lastName": "Doe"},
        "accesses": [{"action": "updateOn", "resource": "proj/shop:env/production:flag/checkout-v2"}],
        "target": {"name": "Faster checkout", "resources": [resource or "proj/shop:env/production:flag/checkout-v2"]},
        "_links": {"site": {"href": "/shop/production/features/checkout-v2"}},
    } | given


@dataclass
class LaunchDarkly:
    """Lists newest first, 20 at most, between two instants that it leaves out; knows no pages."""

    entries: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != "api-k3y" or asked.path != "/api/v2/auditlog":
            return Answer({"code": "unauthorized", "message": "Invalid key"}, status=401)
        limit = int(asked.param("limit") or 10)
        if not 1 <= limit <= 20:
            return Answer({"code": "invalid_request", "message": "limit must be between 1 and 20"}, status=400)
        after, before, spec = int(asked.param("after") or 0), int(asked.param("before") or 10**15), asked.param("spec") or "*"
        newest = sorted(self.entries, key=lambda one: one["date"], reverse=True)
        fits = [one for one in newest if after < one["date"] < before and fnmatchcase(one["target"]["resources"][0].split(";")[0], spec)]
        return Answer({"items": fits[:limit], "_links": {}})


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    return Tracker(tmp_path, monkeypatch, "launchdarkly", ("changes",), password="api-k3y")


def test_a_change_of_a_flag_lands_and_its_member_is_a_token_only(tracker: Tracker):
    with serve(LaunchDarkly([entry(1, 5)])) as server:
        tracker.extract(server.url)
    row = tracker.one("changes")
    assert [row[name] for name in ("change_id", "kind", "service", "environment", "result")] == [
        "a1",
        "flag",
        "shop",
        "production",
        "success",
    ]
    assert (row["title"], row["started_at"]) == ("turned on the flag Faster checkout", utc(5))
    assert row["attributes"] == "action=updateOn,flag=checkout-v2,project=shop"
    assert row["url"].endswith("/shop/production/features/checkout-v2")
    assert row["actor_token"].startswith("tok_")
    assert not any(word in tracker.everything() for word in ("jane", "Jane", "Doe"))


def test_the_log_is_walked_backwards_and_loses_nothing_between_pages(tracker: Tracker):
    with serve(LaunchDarkly([entry(number, number) for number in range(50)])) as server:
        tracker.extract(server.url)
        asked = [(one.param("limit"), int(one.param("before") or 0)) for one in server.asked]
    assert len(tracker.landed("changes")) == 50
    assert [limit for limit, _ in asked] == ["20", "20", "20"]
    assert [before for _, before in asked] == sorted((before for _, before in asked), reverse=True)


def test_entries_of_one_millisecond_on_both_sides_of_a_cut_all_land(tracker: Tracker):
    together = [entry(number, 10) for number in range(100, 106)]
    with serve(LaunchDarkly([*together, *(entry(number, 20 + number) for number in range(17)), entry(200, 1)])) as server:
        counts = tracker.extract(server.url)["changes"]
    assert len(tracker.landed("changes")) == 24
    assert (counts.duplicate, dict(counts.reasons)) == (0, {})


def test_more_entries_in_a_millisecond_than_can_be_listed_are_told(tracker: Tracker):
    with serve(LaunchDarkly([*(entry(number, 10) for number in range(30)), entry(99, 5)])) as server:
        counts = tracker.extract(server.url)["changes"]
    assert {row["change_id"] for row in tracker.landed("changes")} >= {"a99"}
    assert dict(counts.reasons) == {"more than 20 entries in one millisecond, some may be missing": 1}


def test_the_ends_of_a_window_belong_to_one_window_each(tracker: Tracker):
    with serve(LaunchDarkly([entry(1, 0), entry(2, 59.999), entry(3, 60)])) as server:
        assert tracker.extract(server.url)["changes"].landed == 2
        assert tracker.extract(server.url, NEXT)["changes"].landed == 1


def test_a_log_that_includes_the_ends_lands_nothing_of_other_windows(tracker: Tracker):
    with serve(lambda _: Answer({"items": [entry(3, 60), entry(2, 30), entry(1, -0.001)]})) as server:
        tracker.extract(server.url)
    assert tracker.one("changes")["change_id"] == "a2"


def test_a_date_of_another_time_is_told_and_does_not_end_the_walk(tracker: Tracker):
    known = LaunchDarkly([entry(number, number) for number in range(30)])

    def answer(asked: Asked) -> Answer:
        found = known(asked).data["items"]
        return Answer({"items": [one | {"date": one["date"] // 1000} if one["_id"] == "a20" else one for one in found]})

    with serve(answer) as server:
        counts = tracker.extract(server.url)["changes"]
    assert {row["change_id"] for row in tracker.landed("changes")} == {f"a{number}" for number in range(30) if number != 20}
    assert dict(counts.reasons) == {"entries dated outside of the window that was asked for": 1}


def test_flags_are_mapped_to_services_and_environments_left_out(tracker: Tracker):
    known = [
        entry(1, 1, "proj/shop:env/production:flag/checkout-v2;beta,checkout"),
        entry(2, 2, "proj/shop;core:env/prod-eu:flag/search-new"),
        entry(3, 3, "proj/shop:env/dev:flag/checkout-v2"),
        entry(4, 4, "proj/shop:env/production:segment/vip"),
    ]
    options = {"service": {"at": "flag"}, "services": {"checkout-*": "checkout"}, "environments": {"prod*": "production", "dev": None}}
    with serve(LaunchDarkly(known)) as server:
        tracker.extract(server.url, spec="proj/*:flag/*", **options)
        assert server.asked[0].param("spec") == "proj/*:flag/*"
    assert {row["change_id"]: (row["service"], row["environment"]) for row in tracker.landed("changes")} == {
        "a1": ("checkout", "production")
    }
    with serve(lambda _: Answer({"items": known})) as server:
        tracker.extract(server.url, **options)
    assert {row["change_id"]: (row["service"], row["environment"]) for row in tracker.landed("changes")} == {
        "a1": ("checkout", "production"),
        "a2": ("search-new", "production"),
    }


def test_an_entry_about_several_environments_is_a_change_in_each(tracker: Tracker):
    both = entry(1, 5)
    both["target"]["resources"] = [f"proj/shop:env/{name}:flag/checkout-v2" for name in ("production", "staging")]
    with serve(LaunchDarkly([both])) as server:
        tracker.extract(server.url)
    assert {row["change_id"] for row in tracker.landed("changes")} == {"a1/production/checkout-v2", "a1/staging/checkout-v2"}


def test_it_waits_when_told_to_slow_down_and_the_same_twice_lands_once(tracker: Tracker):
    service, told = LaunchDarkly([entry(1, 5), entry(1, 5)]), []

    def busy(asked: Asked) -> Answer:
        told.append(asked)
        return Answer({}, status=429, headers={"Retry-After": "0", "X-Ratelimit-Reset": "0"}) if len(told) == 1 else service(asked)

    with serve(busy) as server:
        tracker.extract(server.url)
    assert tracker.one("changes")["change_id"] == "a1"


def test_an_entry_written_afterwards_is_found_by_an_earlier_start(tracker: Tracker):
    service = LaunchDarkly([entry(1, 5)])
    with serve(service) as server:
        tracker.extract(server.url)
        service.entries.append(entry(2, 58))
        tracker.extract(server.url, DAY)
    assert len(tracker.landed("changes")) == 2


def test_what_is_gone_upstream_goes_when_a_wider_window_is_extracted_again(tracker: Tracker):
    service = LaunchDarkly([entry(1, 5), entry(2, 6)])
    with serve(service) as server:
        tracker.extract(server.url)
        del service.entries[1]
        tracker.extract(server.url, DAY)
    assert tracker.one("changes")["change_id"] == "a1"


def test_nothing_there_is_an_answer_and_a_clock_that_is_ahead_waits(tracker: Tracker):
    with serve(LaunchDarkly([entry(1, 900)])) as server:
        assert tracker.extract(server.url)["changes"].received == 0


def test_wrong_credentials_are_named_and_a_log_of_other_things_is_refused(tracker: Tracker):
    with pytest.raises(ConfigError, match="spec"):
        tracker.extract("http://127.0.0.1:9", spec="proj/*:env/*")
    tracker._connection["password"] = "wr0ng"
    with serve(LaunchDarkly()) as server, pytest.raises(SourceRejected, match=r"'trackers'.*401.*connection 'tracker'"):
        tracker.extract(server.url)
