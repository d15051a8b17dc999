"""The `github` kind: deployments without a filter by time, how they went and what they replaced; releases, runs, pull requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aftercast.errors import ConfigError, SourceRejected, SourceUnavailable
from aftercast.sources import github_changes, web
from aftercast.sources.github_changes import deployments as listing
from tests import documents
from tests.answering import Answer, Asked, serve
from tests.unit.tracker_fixture import DAY, HOUR, NEXT, Tracker, clock, utc

REPOSITORY = "acme/cart"
DAYS = 1440.0

follows = documents.followed("github")


def status(state: str, minutes: float, **given: Any) -> dict[str, Any]:
    return {"id": int(minutes * 10) + 5_000_000, "state": state, "created_at": clock(minutes), "creator": {"login": "octocat"}} | given


def deployment(number: int, minutes: float, *statuses: dict[str, Any], sha: str = "", **given: Any) -> dict[str, Any]:
    times = [clock(minutes), *(one["created_at"] for one in statuses)]
    return {
        "id": number,
        "sha": sha or f"{number:040x}",
        "ref": "main",
        "task": "deploy",
        "payload": {},
        "environment": "production",
        "description": None,
        "creator": {"login": "octocat", "type": "User"},
        "created_at": times[0],
        "updated_at": max(times),
        "transient_environment": False,
        "statuses": list(statuses),
    } | given


def shipped(number: int, minutes: float, **given: Any) -> dict[str, Any]:
    return deployment(number, minutes, status("in_progress", minutes + 1), status("success", minutes + 4), **given)


@dataclass
class GitHub:
    """Lists newest first, pages by the header Link, knows no `since`."""

    deployments: list[dict[str, Any]] = field(default_factory=list)
    releases: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    pulls: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def __call__(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != "Bearer t0ken":
            return Answer({"message": "Bad credentials"}, status=401)
        path = asked.path.removeprefix(f"/repos/{REPOSITORY}/")
        if path == "deployments":
            public = [{name: value for name, value in one.items() if name != "statuses"} for one in self.deployments]
            return self.page(asked, sorted(public, key=lambda one: one["id"], reverse=True))
        if path.startswith("deployments/"):
            (one,) = [one for one in self.deployments if str(one["id"]) == path.split("/")[1]]
            return self.page(asked, sorted(one["statuses"], key=lambda one: one["id"], reverse=True))
        if path == "releases":
            return self.page(asked, self.releases)
        if path == "pulls":
            assert (asked.param("state"), asked.param("sort"), asked.param("direction")) == ("closed", "updated", "desc")
            return self.page(asked, sorted(self.pulls, key=lambda one: one["updated_at"], reverse=True))
        if path == "actions/workflows/deploy.yml/runs":
            start, end = (asked.param("created") or "..").split("..")
            found = [one for one in self.runs if start <= one["created_at"] <= end]
            return self.page(asked, found[:1000], wrap=lambda rows: {"total_count": len(found), "workflow_runs": rows})
        return Answer({"message": "Not Found"}, status=404)

    def page(self, asked: Asked, found: list[Any], wrap: Callable[[list[Any]], Any] = lambda rows: rows) -> Answer:
        size, number = int(asked.param("per_page") or 30), int(asked.param("page") or 1)
        last = -(-len(found) // size)
        place = f"https://elsewhere.test{asked.path}?per_page={size}&page="
        headers = {"Link": f'<{place}{number + 1}>; rel="next", <{place}{last}>; rel="last"'} if number < last else {}
        return Answer(wrap(found[(number - 1) * size : number * size]), headers={**headers, "X-RateLimit-Remaining": "4990"})


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    return Tracker(tmp_path, monkeypatch, "github", ("changes",), password="t0ken", conn_type="github")


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PAGE", 2)
    monkeypatch.setattr(github_changes, "PAGE", 2)


OPTIONS: dict[str, Any] = {"repositories": [REPOSITORY]}


def landed(tracker: Tracker) -> dict[str, dict[str, Any]]:
    return {one["change_id"].rsplit("/", 1)[1]: one for one in tracker.landed("changes")}


def test_a_deployment_lands_with_how_it_went_and_who_is_a_token(tracker: Tracker):
    one = deployment(7, 5, status("in_progress", 6), status("success", 9, log_url="https://ci.test/7"), description="ask jane@acme.test")
    with serve(GitHub([one])) as server:
        tracker.extract(server.url, **OPTIONS)
    row = tracker.one("changes")
    assert row["change_id"] == "acme/cart/deployments/7"
    assert [row[name] for name in ("kind", "service", "environment", "result")] == ["deploy", "cart", "production", "success"]
    assert (row["started_at"], row["finished_at"], row["version"], row["url"]) == (utc(6), utc(9), f"{7:040x}", "https://ci.test/7")
    assert row["actor_token"].startswith("tok_")
    assert row["title"] == "ask <email>"
    assert "octocat" not in tracker.everything()


def test_pages_of_a_hundred_are_followed_by_the_link_header_and_never_to_another_host(tracker: Tracker, small_pages: None):
    with serve(GitHub([shipped(number, number * 5) for number in range(1, 6)])) as server:
        tracker.extract(server.url, **OPTIONS)
        asked = [(one.param("per_page"), one.param("page")) for one in server.asked if one.path.endswith("/deployments")]
    assert len(tracker.landed("changes")) == 5
    assert asked == [("2", None), ("2", "2"), ("2", "3")]


def test_a_page_is_a_hundred_and_not_the_thirty_one_gets_without_asking():
    assert listing.PAGE == 100


def test_listing_ends_at_the_days_to_read_again(tracker: Tracker, small_pages: None):
    with serve(GitHub([deployment(20 - day, -day * DAYS + 30) for day in range(20)])) as server:
        tracker.extract(server.url, reread_days=3, lookback_days=0, **OPTIONS)
        assert sum(one.path.endswith("/deployments") for one in server.asked) == 3


def test_a_deployment_that_was_replaced_and_is_inactive_still_was_a_success(tracker: Tracker):
    with serve(GitHub([deployment(1, 1, status("in_progress", 2), status("success", 5), status("inactive", 30))])) as server:
        tracker.extract(server.url, **OPTIONS)
    assert (tracker.one("changes")["result"], tracker.one("changes")["finished_at"]) == ("success", utc(5))


@pytest.mark.parametrize(
    ("said", "result", "finished"),
    [
        ([("inactive", 30)], "aborted", 30),
        ([("queued", 2), ("in_progress", 3)], "unknown", None),
        ([], "unknown", None),
        ([("in_progress", 3), ("failure", 9)], "failure", 9),
        ([("error", 9)], "failure", 9),
        ([("failure", 9), ("in_progress", 12), ("success", 15), ("success", 16)], "success", 15),
        ([("success", 9), ("failure", 15), ("inactive", 20)], "failure", 15),
    ],
)
def test_the_history_of_statuses_says_how_it_went(tracker: Tracker, said: list[tuple[str, float]], result: str, finished: float | None):
    with serve(GitHub([deployment(1, 1, *(status(state, minutes) for state, minutes in said))])) as server:
        tracker.extract(server.url, **OPTIONS)
    row = tracker.one("changes")
    assert (row["result"], row["finished_at"]) == (result, None if finished is None else utc(finished))


def test_a_deployment_that_ends_later_is_found_though_it_is_listed_by_its_creation(tracker: Tracker):
    one = deployment(1, -2 * DAYS, status("queued", -2 * DAYS), sha="a" * 40)
    service = GitHub([one, shipped(2, 5)])
    with serve(service) as server:
        assert tracker.extract(server.url, **OPTIONS)["changes"].received == 1
        one["statuses"] += [status("in_progress", 70), status("success", 75)]
        one["updated_at"] = clock(75)
        assert tracker.extract(server.url, NEXT, **OPTIONS)["changes"].received == 1
    assert (landed(tracker)["1"]["result"], landed(tracker)["1"]["started_at"]) == ("success", utc(70))


def test_the_version_before_is_that_of_the_last_success_in_the_same_place(tracker: Tracker):
    known = [
        shipped(1, -300, sha="a" * 40),
        deployment(2, -200, status("failure", -190), sha="b" * 40),
        shipped(3, -100, sha="c" * 40, environment="staging"),
        shipped(4, 5, sha="d" * 40),
    ]
    with serve(GitHub(known)) as server:
        tracker.extract(server.url, **OPTIONS)
    row = tracker.one("changes")
    assert (row["previous_version"], row["kind"]) == ("a" * 40, "deploy")


def test_a_deployment_that_puts_an_earlier_version_back_is_a_rollback(tracker: Tracker, small_pages: None):
    known = [shipped(1, -300, sha="a" * 40), shipped(2, -200, sha="b" * 40), shipped(3, 5, sha="a" * 40), shipped(4, 9, sha="a" * 40)]
    with serve(GitHub(known)) as server:
        tracker.extract(server.url, **OPTIONS)
    found = landed(tracker)
    assert (found["3"]["kind"], found["3"]["previous_version"]) == ("rollback", "b" * 40)
    assert (found["4"]["kind"], found["4"]["previous_version"]) == ("deploy", "a" * 40), "the same once more is no rollback"


def test_an_earlier_version_that_never_ran_is_not_put_back(tracker: Tracker):
    known = [deployment(1, -300, status("failure", -290), sha="a" * 40), shipped(2, -200, sha="b" * 40), shipped(3, 5, sha="a" * 40)]
    with serve(GitHub(known)) as server:
        tracker.extract(server.url, **OPTIONS)
    assert tracker.one("changes")["kind"] == "deploy"


def test_what_was_replaced_does_not_depend_on_the_window(tracker: Tracker):
    service = GitHub([shipped(number, -number * 300 + 50, sha=f"{9 - number}" * 40) for number in range(4)])
    service.deployments = [one | {"id": 9 - index} for index, one in enumerate(service.deployments)]
    with serve(service) as server:
        tracker.extract(server.url, HOUR, **OPTIONS)
        narrow = landed(tracker)["9"]
        tracker.extract(server.url, DAY, **OPTIONS)
    assert narrow["previous_version"] is not None
    assert landed(tracker)["9"] == narrow


def test_environments_and_services_are_mapped_and_left_out(tracker: Tracker):
    known = [
        shipped(1, 1, environment="Prod-EU"),
        shipped(2, 2, environment="preview/pr-12"),
        shipped(3, 3, environment="qa", transient_environment=True),
        shipped(4, 4, environment="staging", payload='{"service": "search"}'),
        shipped(5, 5, payload={"service": "docs"}),
    ]
    options = {"environments": {"prod*": "production", "preview/*": None}, "services": {"docs": None, "sea*": "finder"}}
    with serve(GitHub(known)) as server:
        tracker.extract(server.url, service={"at": "payload.service"}, **options, **OPTIONS)
    found = {id_: (one["service"], one["environment"]) for id_, one in landed(tracker).items()}
    assert found == {"4": ("finder", "staging")}
    assert tracker.quarantined("changes") == ["missing service"]
    with serve(GitHub(known)) as server:
        tracker.extract(server.url, service={"at": "environment", "pattern": "^[a-zA-Z]+"}, transient=True, **options, **OPTIONS)
    assert {id_: one["service"] for id_, one in landed(tracker).items()} == {
        "1": "Prod",
        "3": "qa",
        "4": "staging",
        "5": "production",
    }


def test_what_was_asked_for_can_be_the_version(tracker: Tracker):
    with serve(GitHub([shipped(1, 1, ref="v1.2.3")])) as server:
        tracker.extract(server.url, version="ref", **OPTIONS)
    assert tracker.one("changes")["version"] == "v1.2.3"


def test_a_rate_limit_told_by_403_is_a_slow_down_and_wrong_rights_are_a_refusal(tracker: Tracker, monkeypatch: pytest.MonkeyPatch):
    service, told = GitHub([shipped(1, 1)]), []
    monkeypatch.setattr(web, "LEAST_WAIT", 0.0)

    def busy(asked: Asked) -> Answer:
        told.append(asked)
        if len(told) == 1:
            return Answer({"message": "You have exceeded a secondary rate limit"}, status=403, headers={"Retry-After": "0"})
        return Answer({"message": "slow"}, status=429, headers={"Retry-After": "0"}) if len(told) == 2 else service(asked)

    with serve(busy) as server:
        tracker.extract(server.url, **OPTIONS)
    assert len(tracker.landed("changes")) == 1
    refused = Answer({"message": "Resource not accessible by token"}, status=403, headers={"X-RateLimit-Remaining": "4000"})
    with serve(lambda _: refused) as server, pytest.raises(SourceRejected, match=r"403.*rights of connection 'tracker'"):
        tracker.extract(server.url, **OPTIONS)


def test_an_allowance_that_is_used_up_is_left_to_the_next_run(tracker: Tracker):
    used = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "99999999999"}
    with serve(lambda _: Answer({"message": "API rate limit exceeded"}, status=403, headers=used)) as server:
        with pytest.raises(SourceUnavailable, match="answered 403"):
            tracker.extract(server.url, **OPTIONS)
        assert len(server.asked) == 1
    assert tracker.landed("changes") == []


def test_the_same_deployment_on_two_pages_lands_once(tracker: Tracker, small_pages: None):
    """A deployment made meanwhile moves the last of a page to the next one."""
    service = GitHub([shipped(number, number) for number in range(1, 4)])

    def moving(asked: Asked) -> Answer:
        answer = service(asked)
        if asked.path.endswith("/deployments") and len(service.deployments) == 3:
            service.deployments.append(shipped(4, 100))
        return answer

    with serve(moving) as server:
        counts = tracker.extract(server.url, **OPTIONS)
    assert set(landed(tracker)) == {"1", "2", "3"}
    assert counts["changes"].duplicate == 1


def test_what_is_deleted_upstream_goes_when_a_wider_window_is_extracted_again(tracker: Tracker):
    service = GitHub([shipped(1, 1), shipped(2, 2)])
    with serve(service) as server:
        tracker.extract(server.url, **OPTIONS)
        del service.deployments[1]
        tracker.extract(server.url, DAY, **OPTIONS)
    assert set(landed(tracker)) == {"1"}


def test_nothing_there_is_an_answer(tracker: Tracker):
    with serve(GitHub()) as server:
        assert tracker.extract(server.url, **OPTIONS)["changes"].received == 0


def test_a_clock_that_is_ahead_waits_for_its_window_or_is_quarantined(tracker: Tracker):
    ahead = deployment(2, 5, status("in_progress", 900))
    with serve(GitHub([deployment(1, 900), ahead])) as server:
        tracker.extract(server.url, **OPTIONS)
    assert tracker.landed("changes") == []
    assert tracker.quarantined("changes") == ["started_at: in the future of the window"]


def test_wrong_credentials_are_named_and_nothing_lands(tracker: Tracker):
    tracker._connection["password"] = "wr0ng"
    with serve(GitHub([shipped(1, 1)])) as server, pytest.raises(SourceRejected, match=r"'trackers'.*401.*connection 'tracker'"):
        tracker.extract(server.url, **OPTIONS)
    assert tracker.landed("changes") == []


def test_a_connection_without_token_or_app_is_explained(tracker: Tracker):
    del tracker._connection["password"]
    with pytest.raises(ConfigError, match="does not say who we are to GitHub"):
        tracker.extract("http://127.0.0.1:9", **OPTIONS)


def test_options_that_cannot_be_asked_are_explained(tracker: Tracker):
    with pytest.raises(ConfigError, match="owner/name"):
        tracker.extract("http://127.0.0.1:9", repositories=["cart"])
    with pytest.raises(ConfigError, match="give `workflow`"):
        tracker.extract("http://127.0.0.1:9", **{"from": "workflow_runs"}, **OPTIONS)
    with pytest.raises(ConfigError, match="no regular expression"):
        tracker.extract("http://127.0.0.1:9", service={"at": "ref", "pattern": "("}, **OPTIONS)


def release(number: int, minutes: float, **given: Any) -> dict[str, Any]:
    times = {"published_at": clock(minutes), "created_at": clock(minutes - 600)}
    return {"id": number, "tag_name": f"v{number}", "name": None, "draft": False, "prerelease": False, **times} | given


def test_releases_land_by_their_publication_without_drafts(tracker: Tracker, small_pages: None):
    known = [
        release(5, 900),
        release(4, 5, author={"login": "octocat"}),
        release(3, 6, draft=True, published_at=None),
        release(2, 7, prerelease=True),
        release(1, -3 * DAYS),
        release(0, -30 * DAYS),
        *(release(100 + number, -40 * DAYS) for number in range(6)),
    ]
    with serve(GitHub(releases=known)) as server:
        tracker.extract(server.url, **{"from": "releases"}, **OPTIONS)
        assert len(server.asked) == 4, "the first page that holds nothing recent is the last"
    row = tracker.one("changes")
    assert (row["version"], row["title"], row["result"], row["started_at"]) == ("v4", "v4", "success", utc(5))


def run(number: int, minutes: float, conclusion: str | None = "success", **given: Any) -> dict[str, Any]:
    return {
        "id": number,
        "name": "Deploy",
        "display_title": "Ship the cart",
        "head_sha": f"{number:040x}",
        "head_branch": "main",
        "head_commit": {"id": f"{number:040x}", "timestamp": clock(minutes - 30)},
        "run_attempt": 1,
        "status": "completed" if conclusion else "in_progress",
        "conclusion": conclusion,
        "created_at": clock(minutes),
        "run_started_at": clock(minutes),
        "updated_at": clock(minutes + 3),
        "triggering_actor": {"login": "octocat"},
        "html_url": f"https://github.test/{number}",
    } | given


RUNS: dict[str, Any] = {"from": "workflow_runs", "workflow": "deploy.yml", **OPTIONS}


def test_runs_of_a_workflow_land_as_deployments(tracker: Tracker):
    conclusions = ["success", "failure", "timed_out", "cancelled", "skipped", "neutral", "action_required", None]
    again = run(50, -2 * DAYS, run_attempt=2, run_started_at=clock(20), updated_at=clock(25))
    runs = [run(number, number, conclusion) for number, conclusion in enumerate(conclusions)]
    with serve(GitHub(runs=[*runs, again, run(60, -2 * DAYS)])) as server:
        tracker.extract(server.url, **RUNS)
    assert landed(tracker)["1"]["committed_at"] == utc(1 - 30)
    found = {id_: (one["result"], one["finished_at"]) for id_, one in landed(tracker).items()}
    assert found == {
        "0": ("success", utc(3)),
        "1": ("failure", utc(4)),
        "2": ("failure", utc(5)),
        "3": ("aborted", utc(6)),
        "6": ("unknown", utc(9)),
        "7": ("unknown", None),
        "50": ("success", utc(25)),
    }


def test_more_runs_than_can_be_listed_are_asked_for_in_parts(tracker: Tracker):
    runs = [run(number, number / 30, head_branch=f"b{number}") for number in range(1_500)]
    with serve(GitHub(runs=runs)) as server:
        tracker.extract(server.url, reread_days=0, **RUNS)
    assert len(tracker.landed("changes")) == 1_500


def test_merged_pull_requests_land_and_reverts_are_rollbacks(tracker: Tracker, small_pages: None):
    def pull(number: int, merged: float | None, updated: float, title: str = "Faster cart") -> dict[str, Any]:
        times = {"merged_at": None if merged is None else clock(merged), "updated_at": clock(updated)}
        user = {"login": "octocat"}
        return {"number": number, "title": title, "merge_commit_sha": f"{number:040x}", "user": user, "base": {"ref": "main"}, **times}

    known = [pull(1, 5, 5), pull(2, None, 6), pull(3, 8, 8, 'Revert "Faster cart"'), pull(4, -500, 9), pull(5, 90, 90)]
    with serve(GitHub(pulls=[*known, *(pull(10 + number, -900, -800) for number in range(9))])) as server:
        tracker.extract(server.url, **{"from": "pull_requests"}, **OPTIONS)
        assert len(server.asked) == 3
    found = {id_: (one["kind"], one["started_at"]) for id_, one in landed(tracker).items()}
    assert found == {"1": ("deploy", utc(5)), "3": ("rollback", utc(8)), "4": ("deploy", utc(-500))}
