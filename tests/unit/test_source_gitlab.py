"""The `gitlab` kind: filters that pair with their order, several deployments of one pipeline, incidents."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aftercast.errors import ConfigError, SourceRejected
from aftercast.sources import gitlab_changes
from tests.answering import Answer, Asked, serve
from tests.unit.tracker_fixture import DAY, NEXT, Tracker, clock, utc

PROJECT = "acme/shop/cart"


def deployment(number: int, minutes: float, status: str = "success", took: float = 4, **given: Any) -> dict[str, Any]:
    over = clock(minutes + took) if status in ("success", "failed", "canceled") else None
    return {
        "id": number,
        "iid": number,
        "ref": "main",
        "sha": f"{number:040x}",
        "status": status,
        "created_at": clock(minutes),
        "updated_at": over or clock(minutes),
        "user": {"id": 1, "username": "jane.doe", "name": "Jane Doe"},
        "environment": {"id": 9, "name": "production"},
        "deployable": {
            "id": 100 + number,
            "name": "deploy",
            "started_at": clock(minutes + 1),
            "finished_at": over,
            "user": {"username": "jane.doe"},
            "commit": {"created_at": clock(minutes - 90), "author_name": "Jane Doe", "author_email": "jane@acme.test"},
            "pipeline": {"id": 55, "web_url": "https://gitlab.test/p/55"},
        },
    } | given


@dataclass
class GitLab:
    """Pages by the header Link, with a cursor; refuses filters that do not pair with their order."""

    deployments: list[dict[str, Any]] = field(default_factory=list)
    releases: list[dict[str, Any]] = field(default_factory=list)
    merges: list[dict[str, Any]] = field(default_factory=list)
    issues: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Answer:
        if asked.headers.get("private-token") != "glt0ken":
            return Answer({"message": "401 Unauthorized"}, status=401)
        root, _, name = asked.path.rpartition("/")
        if root != "/api/v4/projects/acme%2Fshop%2Fcart":
            return Answer({"message": "404 Project Not Found"}, status=404)
        if name == "releases":
            return self.page(asked, self.releases, "released_at")
        if name == "deployments":
            pairs = [("updated_at", ("updated_after", "updated_before")), ("finished_at", ("finished_after", "finished_before"))]
            for order, filters in pairs:
                if any(asked.param(one) for one in filters) and asked.param("order_by") != order:
                    return Answer({"message": f"`{filters[0]}` filter and `order_by` must be specified together"}, status=400)
            if asked.param("order_by") == "finished_at" and asked.param("status") != "success":
                return Answer({"message": "`finished_at` needs status success"}, status=400)
            found = [one | {"finished_at": one["deployable"]["finished_at"]} for one in self.deployments]
            found = [one for one in found if asked.param("environment") in (None, one["environment"]["name"])]
            found = [one for one in found if asked.param("status") in (None, one["status"])]
            found = [one for one in found if (one["finished_at"] or "") >= (asked.param("finished_after") or "")]
            found = [one for one in found if (one["finished_at"] or "") <= (asked.param("finished_before") or "9")]
            public = [{name: value for name, value in one.items() if name != "finished_at"} for one in found]
            order = asked.param("order_by") or "id"
            keyed = {one["id"]: one[order] for one in found}
            return self.page(asked, sorted(public, key=lambda one: keyed[one["id"]] or "", reverse=True), None)
        if name == "issues":
            assert (asked.param("issue_type"), asked.param("scope")) == ("incident", "all")
            return self.page(asked, self.issues, "updated_at")
        assert (name, asked.param("state")) == ("merge_requests", "merged")
        return self.page(asked, [one for one in self.merges if asked.param("target_branch") in (None, one["target_branch"])], "updated_at")

    def page(self, asked: Asked, found: list[dict[str, Any]], order: str | None) -> Answer:
        assert asked.param("sort") == "desc"
        if order is not None:
            assert asked.param("order_by") == order
            found = sorted(found, key=lambda one: one[order], reverse=True)
        found = [one for one in found if asked.param("updated_after") is None or one["updated_at"] >= str(asked.param("updated_after"))]
        size, start = int(asked.param("per_page") or 20), int(asked.param("cursor") or 0)
        assert size <= 100
        place = f"https://elsewhere.test{asked.path}?per_page={size}&cursor={start + size}"
        headers = {"Link": f'<https://elsewhere.test/first>; rel="first", <{place}>; rel="next"'} if start + size < len(found) else {}
        return Answer(found[start : start + size], headers=headers)


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    return Tracker(tmp_path, monkeypatch, "gitlab", ("changes", "incidents"), password="glt0ken")


OPTIONS: dict[str, Any] = {"projects": [PROJECT]}


def landed(tracker: Tracker) -> dict[str, dict[str, Any]]:
    return {row["change_id"].rsplit("/", 1)[1]: row for row in tracker.landed("changes")}


def test_a_deployment_lands_with_its_job_and_who_is_a_token(tracker: Tracker):
    with serve(GitLab([deployment(7, 5)])) as server:
        tracker.extract(server.url, **OPTIONS)
    row = tracker.one("changes")
    assert [row[name] for name in ("change_id", "kind", "service", "environment", "result")] == [
        "acme/shop/cart/deployments/7",
        "deploy",
        "cart",
        "production",
        "success",
    ]
    assert (row["started_at"], row["finished_at"], row["version"], row["url"]) == (utc(6), utc(9), f"{7:040x}", "https://gitlab.test/p/55")
    assert row["committed_at"] == utc(5 - 90)
    assert row["actor_token"].startswith("tok_")
    assert "pipeline=55" in row["attributes"]
    assert not any(word in tracker.everything() for word in ("jane", "Jane"))


def test_what_was_updated_is_asked_for_in_that_order_and_pages_follow_the_link(tracker: Tracker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gitlab_changes, "PAGE", 2)
    with serve(GitLab([deployment(number, number * 5) for number in range(1, 6)])) as server:
        tracker.extract(server.url, lookback=0, **OPTIONS)
        asked = [(one.param("updated_after"), one.param("order_by"), one.param("cursor")) for one in server.asked]
    assert len(tracker.landed("changes")) == 5
    assert asked == [(clock(0), "updated_at", cursor) for cursor in (None, "2", "4")]


def test_finished_ones_are_asked_for_with_the_order_and_status_that_go_with_it(tracker: Tracker):
    known = [deployment(1, 5), deployment(2, 6, "failed"), deployment(3, -400)]
    with serve(GitLab(known)) as server:
        tracker.extract(server.url, only_finished=True, **OPTIONS)
        first = server.asked[0]
        assert [first.param(name) for name in ("finished_after", "order_by", "status")] == [clock(0), "finished_at", "success"]
    assert set(landed(tracker)) == {"1"}


def test_one_pipeline_makes_several_deployments(tracker: Tracker):
    known = [deployment(number, number, environment={"name": name}) for number, name in enumerate(("production", "staging", "production"))]
    with serve(GitLab(known)) as server:
        tracker.extract(server.url, **OPTIONS)
    rows = landed(tracker)
    assert {id_: row["environment"] for id_, row in rows.items()} == {"0": "production", "1": "staging", "2": "production"}
    assert all("pipeline=55" in row["attributes"] for row in rows.values())


@pytest.mark.parametrize(
    ("status", "result"), [("success", "success"), ("failed", "failure"), ("canceled", "aborted"), ("running", "unknown")]
)
def test_the_status_says_how_it_went(tracker: Tracker, status: str, result: str):
    with serve(GitLab([deployment(1, 5, status)])) as server:
        tracker.extract(server.url, **OPTIONS)
    row = tracker.one("changes")
    assert (row["result"], row["finished_at"] is None) == (result, status == "running")


def test_what_did_not_run_does_not_land_until_it_does(tracker: Tracker):
    service = GitLab([deployment(1, 5, "blocked"), deployment(2, 6, "skipped"), deployment(3, 7, "created")])
    with serve(service) as server:
        assert tracker.extract(server.url, **OPTIONS)["changes"].received == 0
        service.deployments[0] = deployment(1, 5, took=70)
        counts = tracker.extract(server.url, NEXT, **OPTIONS)["changes"]
    assert (tracker.one("changes")["result"], counts.late) == ("success", 1)


def test_the_version_before_and_rollbacks_are_those_of_the_environment(tracker: Tracker):
    known = [
        deployment(1, -300, sha="a" * 40),
        deployment(2, -200, sha="b" * 40),
        deployment(3, -100, "failed", sha="c" * 40),
        deployment(4, -50, sha="d" * 40, environment={"name": "staging"}),
        deployment(5, 5, sha="a" * 40),
        deployment(6, 20, sha="e" * 40),
        deployment(7, 30, sha="d" * 40),
        deployment(8, 40, sha="d" * 40),
    ]
    with serve(GitLab(known)) as server:
        tracker.extract(server.url, **OPTIONS)
    found = {id_: (row["kind"], (row["previous_version"] or "-")[0]) for id_, row in landed(tracker).items()}
    assert found == {"5": ("rollback", "b"), "6": ("deploy", "a"), "7": ("deploy", "e"), "8": ("deploy", "d")}


def test_projects_and_environments_are_mapped_and_left_out(tracker: Tracker):
    known = [deployment(1, 1, environment={"name": "prod/eu"}), deployment(2, 2, environment={"name": "review/jane"})]
    with serve(GitLab(known)) as server:
        tracker.extract(server.url, services={"cart": "basket"}, environments={"prod/*": "production", "review/*": None}, **OPTIONS)
    row = tracker.one("changes")
    assert (row["service"], row["environment"]) == ("basket", "production")


def test_releases_and_merge_requests_can_be_the_changes(tracker: Tracker):
    def release(tag: str, minutes: float, **given: Any) -> dict[str, Any]:
        return {"tag_name": tag, "name": f"Release {tag}", "released_at": clock(minutes), "_links": {"self": "https://gl.test"}} | given

    def merge(number: int, merged: float, title: str = "Faster", branch: str = "main") -> dict[str, Any]:
        times = {"merged_at": clock(merged), "updated_at": clock(max(merged, 1))}
        return {"iid": number, "title": title, "merge_commit_sha": "abc", "target_branch": branch, "author": {"username": "jane"}, **times}

    releases = [release("v3", 90, upcoming_release=True), release("v2", 5), release("v1", -600)]
    merges = [merge(1, 5), merge(2, 6, 'Revert "Faster"'), merge(3, 7, branch="next"), merge(4, -900)]
    with serve(GitLab(releases=releases, merges=merges)) as server:
        tracker.extract(server.url, **{"from": "releases"}, **OPTIONS)
        assert (tracker.one("changes")["version"], tracker.one("changes")["started_at"]) == ("v2", utc(5))
        tracker.extract(server.url, **{"from": "merge_requests"}, branch="main", **OPTIONS)
    assert {id_: row["kind"] for id_, row in landed(tracker).items()} == {"1": "deploy", "2": "rollback", "4": "deploy"}


def test_incidents_land_when_asked_for(tracker: Tracker):
    def issue(number: int, minutes: float, closed: float | None = None, severity: str | None = "HIGH") -> dict[str, Any]:
        times = {
            "created_at": clock(minutes),
            "closed_at": None if closed is None else clock(closed),
            "updated_at": clock(closed or minutes),
        }
        state = "opened" if closed is None else "closed"
        return {"iid": number, "title": f"Cart is slow {number}", "description": "ask jane@acme.test", "state": state, **times} | (
            {"severity": severity} if severity else {}
        )

    service = GitLab(issues=[issue(1, 5), issue(2, -600, 20, "CRITICAL"), issue(3, 7, severity=None), issue(4, 8, severity="Spicy")])
    with serve(service) as server:
        tracker.extract(server.url, **OPTIONS)
        assert tracker.landed() == []
        tracker.extract(server.url, incidents=True, **OPTIONS)
        found = {row["incident_id"]: (row["severity"], row["status"], row["resolved_at"]) for row in tracker.landed()}
        assert found == {
            "acme/shop/cart/issues/1": ("sev2", "open", None),
            "acme/shop/cart/issues/2": ("sev1", "closed", utc(20)),
            "acme/shop/cart/issues/3": ("unknown", "open", None),
        }
        assert tracker.quarantined()[0].startswith("severity: not one of")
        tracker.extract(server.url, incidents=True, severities={"spicy": "sev3"}, **OPTIONS)
    assert len(tracker.landed()) == 4
    assert {row["summary"] for row in tracker.landed()} == {"ask <email>"}


def test_a_record_written_meanwhile_comes_twice_and_lands_once(tracker: Tracker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gitlab_changes, "PAGE", 2)
    service = GitLab([deployment(number, number) for number in range(1, 4)])

    def moving(asked: Asked) -> Answer:
        answer = service(asked)
        if len(service.deployments) == 3:
            service.deployments.append(deployment(4, 100))
        return answer

    with serve(moving) as server:
        counts = tracker.extract(server.url, lookback=0, **OPTIONS)["changes"]
    assert (set(landed(tracker)), counts.duplicate) == ({"1", "2", "3"}, 1)


def test_what_is_deleted_upstream_goes_when_a_wider_window_is_extracted_again(tracker: Tracker):
    service = GitLab([deployment(1, 1), deployment(2, 2)])
    with serve(service) as server:
        tracker.extract(server.url, **OPTIONS)
        del service.deployments[1]
        tracker.extract(server.url, DAY, **OPTIONS)
    assert set(landed(tracker)) == {"1"}


def test_it_waits_when_told_to_slow_down_and_nothing_there_is_an_answer(tracker: Tracker):
    service, told = GitLab(), []

    def busy(asked: Asked) -> Answer:
        told.append(asked)
        slow = {"Retry-After": "0", "RateLimit-Remaining": "0", "RateLimit-Reset": "1"}
        return Answer({"message": "Retry later"}, status=429, headers=slow) if len(told) == 1 else service(asked)

    with serve(busy) as server:
        assert tracker.extract(server.url, **OPTIONS)["changes"].received == 0


def test_a_clock_that_is_ahead_waits_for_its_window_or_is_quarantined(tracker: Tracker):
    ahead = deployment(2, 5)
    ahead["deployable"]["started_at"] = clock(900)
    with serve(GitLab([deployment(1, 900), ahead])) as server:
        tracker.extract(server.url, **OPTIONS)
    assert tracker.landed("changes") == []
    assert tracker.quarantined("changes") == ["started_at: in the future of the window"]


def test_wrong_credentials_and_projects_are_named_and_options_explained(tracker: Tracker):
    with serve(GitLab()) as server:
        with pytest.raises(SourceRejected, match=r"404.*options of the source"):
            tracker.extract(server.url, projects=["acme/none"])
        with pytest.raises(ConfigError, match="narrows merge requests only"):
            tracker.extract(server.url, branch="main", **OPTIONS)
        tracker._connection["password"] = "wr0ng"
        with pytest.raises(SourceRejected, match=r"'trackers'.*401.*connection 'tracker'"):
            tracker.extract(server.url, **OPTIONS)
