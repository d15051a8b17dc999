"""Tickets on Jira Cloud and GitHub: made, found again, changed, reopened, read back; from servers that answer late, wrongly or not."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aftercast.acting import deliveries
from aftercast.acting.outbox import Outbox
from aftercast.acting.trackers import github_tickets, jira_tickets
from aftercast.errors import SourceRejected, SourceUnavailable
from aftercast.learning.actions import Effect
from aftercast.sources.jira_issues.rows import prose
from tests import documents
from tests.answering import Answer, Asked, serve
from tests.unit.actions_fixture import GITHUB, JIRA, NOW, days, incident, item, plan, rules
from tests.unit.tracker_fixture import Tracker

WRITTEN = NOW + timedelta(minutes=1)

follows = documents.followed("github", only="/repos/")


@dataclass
class Broken:
    """A fault for the next requests that change something: what is done, and what is answered."""

    faults: list[str] = field(default_factory=list)

    def around(self, asked: Asked, change: Callable[[], Answer]) -> Answer:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "refused":
            return Answer({"message": "no", "errorMessages": ["no"]}, status=403)
        if fault == "slow down":
            return Answer({}, status=429, headers={"Retry-After": "30"})
        if fault == "broken before":
            return Answer({}, status=502)
        answer = change()
        if fault == "broken after":
            return Answer({}, status=502)
        if fault == "torn":
            return Answer(raw=b'{"id": "1', status=answer.status)
        if fault == "says nothing":
            return Answer({}, status=answer.status) if asked.path.startswith("/rest") else Answer(raw=b"{}", status=answer.status)
        if fault == "late":
            time.sleep(1.5)
        return answer


def stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@dataclass
class JiraSite(Broken):
    """A project of Jira Cloud that keeps what it is given. Its search knows an issue only when it has been indexed."""

    issues: list[dict[str, Any]] = field(default_factory=list)
    indexed: bool = True
    ways: tuple[tuple[str, str], ...] = (("In Review", "done"), ("To Do", "new"))

    def __call__(self, asked: Asked) -> Answer:
        path = asked.path.removeprefix("/rest/api/3")
        if path == "/myself":
            return Answer({"timeZone": "UTC"})
        if path == "/search/jql":
            return self.search(asked.body["jql"])
        if path == "/issue":
            return self.around(asked, lambda: self.create(asked.body["fields"]))
        there = next((one for one in self.issues if path.startswith(f"/issue/{one['key']}")), None)
        if there is None:
            return Answer({"errorMessages": ["Issue does not exist"]}, status=404)
        below = path.removeprefix(f"/issue/{there['key']}")
        if asked.method == "GET":
            return self.show(there, below, asked)
        return self.around(asked, lambda: self.change(there, below, asked.body))

    def search(self, jql: str) -> Answer:
        found = [
            one
            for one in self.issues
            if self.indexed and (f'labels = "{one["fields"]["labels"][-1]}"' in jql or "labels = aftercast)" in jql)
        ]
        return Answer({"issues": found})

    def create(self, fields: dict[str, Any]) -> Answer:
        assert fields["project"] == {"key": "OPS"}
        number = len(self.issues) + 1
        more = {"status": {"name": "To Do", "statusCategory": {"key": "new"}}, "created": stamp(WRITTEN), "updated": stamp(WRITTEN)}
        self.issues.append({"id": str(10_000 + number), "key": f"OPS-{number}", "fields": fields | more, "comments": []})
        return Answer({"id": str(10_000 + number), "key": f"OPS-{number}"}, status=201)

    def show(self, there: dict[str, Any], below: str, asked: Asked) -> Answer:
        if below == "/comment":
            start = int(asked.param("startAt") or 0)
            return Answer({"startAt": start, "total": len(there["comments"]), "comments": there["comments"][start : start + 2]})
        if below == "/transitions":
            ways = [{"id": str(n), "to": {"name": name, "statusCategory": {"key": kind}}} for n, (name, kind) in enumerate(self.ways)]
            return Answer({"transitions": ways})
        return Answer({"key": there["key"], "fields": there["fields"]})

    def change(self, there: dict[str, Any], below: str, body: dict[str, Any]) -> Answer:
        if below == "/comment":
            there["comments"].append({"id": str(len(there["comments"]) + 1), "body": body["body"]})
            return Answer({"id": there["comments"][-1]["id"]}, status=201)
        if below == "/transitions":
            name, kind = self.ways[int(body["transition"]["id"])]
            there["fields"]["status"] = {"name": name, "statusCategory": {"key": kind}}
            there["moved"] = there.get("moved", 0) + 1
            return Answer(raw=b"", status=204)
        there["fields"] |= body["fields"]
        return Answer(raw=b"", status=204)

    def close(self) -> None:
        self.issues[0]["fields"] |= {"status": {"name": "Done", "statusCategory": {"key": "done"}}, "resolutiondate": stamp(WRITTEN)}

    def texts(self) -> list[str]:
        return [prose(one["body"]) or "" for issue in self.issues for one in issue["comments"]]


@dataclass
class GitHubSite(Broken):
    """A repository that keeps what it is given."""

    issues: list[dict[str, Any]] = field(default_factory=list)
    pulls: dict[int, dict[str, Any]] = field(default_factory=dict)
    deployments: list[dict[str, Any]] = field(default_factory=list)
    timeline: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Answer:
        below = asked.path.removeprefix("/repos/acme/shop")
        if below == "/deployments":
            return Answer([one for one in self.deployments if one["sha"] == asked.param("sha")])
        if below.startswith("/pulls/"):
            return Answer(self.pulls[int(below.split("/")[2])])
        if below.endswith("/timeline"):
            return Answer(self.timeline)
        if below == "/issues":
            return self.around(asked, lambda: self.create(asked.body)) if asked.method == "POST" else self.listed(asked)
        there = self.issues[int(below.split("/")[2]) - 1]
        if below.endswith("/comments"):
            if asked.method == "GET":
                return Answer(there["said"])
            return self.around(asked, lambda: self.comment(there, asked.body))
        if asked.method == "GET":
            return Answer(self.shown(there))
        return self.around(asked, lambda: self.change(there, asked.body))

    def shown(self, issue: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in issue.items() if name != "said"}

    def listed(self, asked: Asked) -> Answer:
        page, since = int(asked.param("page") or 1), asked.param("since") or ""
        found = [self.shown(one) for one in self.issues if one["updated_at"] >= since]
        more = {"Link": f'<https://api.github.com/repositories/1/issues?page={page + 1}&state=all&since={since}>; rel="next"'}
        return Answer(found[2 * page - 2 : 2 * page], headers=more if len(found) > 2 * page else {})

    def create(self, body: dict[str, Any]) -> Answer:
        number = len(self.issues) + 1
        issue = {
            "id": 1000 + number,
            "number": number,
            "title": body["title"],
            "body": body["body"],
            "labels": [{"name": name} for name in body["labels"]],
            "state": "open",
            "state_reason": None,
            "html_url": f"https://github.com/acme/shop/issues/{number}",
            "created_at": stamp(WRITTEN),
            "updated_at": stamp(WRITTEN),
            "closed_at": None,
            "said": [],
        }
        self.issues.append(issue)
        return Answer(self.shown(issue), status=201)

    def comment(self, there: dict[str, Any], body: dict[str, Any]) -> Answer:
        there["said"].append({"id": len(there["said"]) + 1, "body": body["body"]})
        return Answer(there["said"][-1], status=201)

    def change(self, there: dict[str, Any], body: dict[str, Any]) -> Answer:
        there |= body
        return Answer(self.shown(there))

    def close(self) -> None:
        self.issues[0] |= {"state": "closed", "state_reason": "completed", "closed_at": stamp(WRITTEN)}

    def texts(self) -> list[str]:
        return [one["body"] for issue in self.issues for one in issue["said"]]


SITES: dict[str, tuple[type[JiraSite | GitHubSite], dict[str, Any], str]] = {
    "jira": (JiraSite, JIRA, "OPS-1"),
    "github": (GitHubSite, GITHUB, "acme/shop#1"),
}


@dataclass
class Place:
    """A deployment's outbox beside a tracker."""

    site: Any
    row: dict[str, Any]
    reference: str
    box: Outbox
    folder: Path

    def sync(self, *items: dict[str, Any], after: timedelta = timedelta(0), **more: Any) -> list[deliveries.Outcome]:
        found = plan(*items, by=rules(self.row), sent=self.box.rows(), **more)
        return deliveries.deliver(found.effects, rules(self.row), self.box, NOW + after)

    def state(self, key: str = "action/A-3/create") -> str | None:
        return getattr(self.box.delivery(key), "state", None)


@contextmanager
def standing(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    make, row, reference = SITES[kind]
    site = make()
    with serve(site) as server:
        monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps({"conn_type": "http", "host": server.url, "login": "bot", "password": "k3y"}))
        monkeypatch.setenv("AIRFLOW_CONN_HUB", json.dumps({"conn_type": "github", "host": server.url, "password": "ghp_0123456789"}))
        yield Place(site, row, reference, Outbox(folder), folder)


@pytest.fixture(params=["jira", "github"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with standing(request.param, tmp_path / "outbox", monkeypatch) as found:
        yield found


def test_a_ticket_is_made_once_with_its_story_and_its_block(place: Place):
    for _ in range(3):
        place.sync(item())
    (issue,) = place.site.issues
    fields = issue.get("fields", issue)
    told = prose(fields["description"]) if "description" in fields else fields["body"]
    assert fields.get("summary", fields.get("title")) == "Cap retries of payments"
    assert "This came out of incident INC-1 (Payments time out): https://incidents.example/INC-1" in told
    assert "criterion: no incident of the family in 28 days" in told
    delivery = place.box.delivery("action/A-3/create")
    assert delivery is not None
    assert (delivery.state, delivery.reference, delivery.attempts) == ("sent", place.reference, 1)


FAULTS = ["refused", "slow down", "broken before", "broken after", "torn", "says nothing"]


@pytest.mark.off_document  # what it answers is broken
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_the_tracker_answers_there_is_one_ticket_in_the_end(place: Place, fault: str):
    place.site.faults = [fault]
    (first,) = place.sync(item())
    expected = {"refused": "failed", "slow down": "planned"}.get(fault, "sending")
    assert first.state == expected
    (second,) = place.sync(item(), after=timedelta(minutes=6))
    assert second.state == "sent"
    assert len(place.site.issues) == 1


@pytest.mark.parametrize("module", [jira_tickets, github_tickets])
def test_a_tracker_that_answers_too_late_is_asked_and_not_given_a_second_ticket(tmp_path, monkeypatch, module):
    kind = "jira" if module is jira_tickets else "github"
    make = module.Jira if kind == "jira" else module.GitHub
    monkeypatch.setattr(make, "__init__", hurried(make.__init__))
    with standing(kind, tmp_path, monkeypatch) as place:
        place.site.faults = ["late"]
        (first,) = place.sync(item())
        assert first.state == "sending"
        time.sleep(1.6)
        (second,) = place.sync(item(), after=timedelta(minutes=6))
        assert (second.state, len(place.site.issues)) == ("sent", 1)


def hurried(init: Callable[..., None]) -> Callable[..., None]:
    return lambda self, *given: init(self, *given, timeout=0.5)


def test_a_tracker_that_is_not_there_gets_its_ticket_later(place: Place, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        for name in ("AIRFLOW_CONN_OPS", "AIRFLOW_CONN_HUB"):
            patch.setenv(name, json.dumps(json.loads(os.environ[name]) | {"host": "http://127.0.0.1:9"}))
        patch.setattr(time, "sleep", lambda _: None)
        patch.setattr("aftercast.sources.web.TRIES", 1)
        outcomes = place.sync(item())
    with pytest.raises(SourceUnavailable, match=r"1 of 1 deliveries did not go through.*\n.*create is planned: could not ask"):
        deliveries.check(outcomes)
    assert place.sync(item())[0].state == "sent"
    assert len(place.site.issues) == 1


def test_a_search_that_lags_behind_does_not_make_a_second_ticket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with standing("jira", tmp_path, monkeypatch) as place:
        place.site.faults, place.site.indexed = ["broken after"], False
        place.sync(item())
        (soon,) = place.sync(item(), after=timedelta(minutes=3))
        assert soon.state == "sending"
        assert "not found yet; asked again after 12:05 UTC" in str(soon.error)
        place.site.indexed = True
        (later,) = place.sync(item(), after=timedelta(minutes=6))
        assert (later.state, len(place.site.issues)) == ("sent", 1)


def test_a_tracker_that_has_it_twice_is_told_by_its_oldest(place: Place):
    place.sync(item())
    twin = json.loads(json.dumps(place.site.issues[0]))
    place.site.issues.append(twin | ({"key": "OPS-2"} if "key" in twin else {"number": 2}))
    lost = Place(place.site, place.row, place.reference, Outbox(place.folder / "new"), place.folder)
    assert lost.sync(item())[0].state == "sent"
    assert getattr(lost.box.delivery("action/A-3/create"), "reference", None) == place.reference
    assert len(place.site.issues) == 2


def test_an_update_sets_the_block_and_leaves_what_people_wrote(place: Place):
    place.sync(item())
    issue = place.site.issues[0]
    if "fields" in issue:
        people = {"type": "paragraph", "content": [{"type": "text", "text": "We tried twice."}]}
        issue["fields"]["description"]["content"].append(people)
    else:
        issue["body"] += "\n\nWe tried twice."
    place.sync(item(due_at=NOW + days(20), title="Cap and back off"))
    fields = issue.get("fields", issue)
    told = prose(fields["description"]) if "description" in fields else fields["body"]
    assert fields.get("summary", fields.get("title")) == "Cap and back off"
    assert told.count("due: ") == 1
    assert "due: 2026-10-20" in told
    assert "We tried twice." in told
    assert fields.get("duedate", "2026-10-20") == "2026-10-20"
    assert len(place.site.issues) == 1


@pytest.mark.off_document
@pytest.mark.parametrize("fault", ["", *FAULTS])
def test_a_comment_is_made_once_whatever_is_answered(place: Place, fault: str):
    place.sync(item())
    place.site.issues[0].get("comments", place.site.issues[0].get("said")).extend(
        [{"id": 90 + n, "body": {"type": "doc", "content": []} if "fields" in place.site.issues[0] else "me too"} for n in range(3)]
    )
    place.site.faults = [fault]
    shipped = item(status="done", done_at=NOW, shipped_at=NOW, shipped_change_id="D-7")
    for minutes in (1, 2, 3):
        place.sync(shipped, after=timedelta(minutes=minutes))
    assert sum("Shipped by change D-7" in text for text in place.site.texts()) == 1
    assert place.state("action/A-3/comment/shipped/D-7") == "sent"


@pytest.mark.off_document
@pytest.mark.parametrize("faults", [[], ["broken after"], ["", "broken after"], ["", "torn"], ["", "refused"], ["slow down"]])
def test_a_recurrence_reopens_a_ticket_and_says_why_once(place: Place, faults: list[str]):
    place.sync(item())
    place.site.close()
    place.site.faults = list(faults)
    done = item(status="done", done_at=NOW - days(9))
    for minutes in (1, 2, 3):
        place.sync(done, after=timedelta(minutes=minutes), incidents=(incident(), incident("INC-5", ago=2)))
    issue = place.site.issues[0]
    if "fields" in issue:
        assert (issue["fields"]["status"]["name"], issue["moved"]) == ("To Do", 1)
    else:
        assert (issue["state"], issue["state_reason"]) == ("open", "reopened")
    assert sum("no proof that this did not work" in text for text in place.site.texts()) == 1


def test_a_workflow_without_a_way_back_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with standing("jira", tmp_path, monkeypatch) as place:
        place.sync(item())
        place.site.close()
        place.site.ways = (("Archived", "done"),)
        outcomes = place.sync(item(status="done", done_at=NOW - days(9)), incidents=(incident("INC-5", ago=2),))
        with pytest.raises(
            SourceRejected, match="OPS-1 cannot be reopened: its workflow leads to Archived; give the name of one that is not"
        ):
            deliveries.check(outcomes)


def test_a_row_that_is_not_live_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AIRFLOW_CONN_OPS", raising=False)
    place = Place(None, JIRA | {"live": False}, "", Outbox(tmp_path), tmp_path)
    (outcome,) = place.sync(item())
    assert (outcome.state, deliveries.check([outcome])["dry_run"]) == ("dry_run", 1)
    assert json.loads(place.box.rows()["payload"][0])["title"] == "Cap retries of payments"


def test_one_that_fails_holds_up_no_other(place: Place):
    place.site.faults = ["refused"]
    outcomes = place.sync(item("A-1"), item("A-2"))
    assert [one.state for one in outcomes] == ["failed", "sent"]
    with pytest.raises(SourceRejected, match="1 of 2 deliveries did not go through, the others did"):
        deliveries.check(outcomes)


def test_a_connection_that_is_not_there_is_named_for_each_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AIRFLOW_CONN_OPS", raising=False)
    (outcome,) = Place(None, JIRA, "", Outbox(tmp_path), tmp_path).sync(item())
    assert "Airflow has no connection 'ops'" in str(outcome.error)


def killed_at(step: int, effects: tuple[Effect, ...], row: dict[str, Any], folder: Path) -> int:
    """Deliver in a process that kills itself at a step of its writes and requests; how it ended."""
    import httpx

    if (child := os.fork()) != 0:
        return os.waitpid(child, 0)[1]
    count = 0

    def tick() -> None:
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(call: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*given: Any, **named: Any) -> Any:
            tick()
            found = call(*given, **named)
            tick()
            return found

        return stepping

    try:
        Path.replace, httpx.Client.request = around(Path.replace), around(httpx.Client.request)
        deliveries.deliver(effects, rules(row), Outbox(folder), NOW)
    except BaseException:  # noqa: BLE001 - the child must not go on as the test
        os._exit(1)
    os._exit(0)


def test_a_task_killed_at_any_step_leaves_one_ticket(place: Place):
    effects, ends = plan(item(), by=rules(place.row)).effects, []
    for step in range(1, 40):
        place.site.issues.clear()
        folder = place.folder / str(step)
        ends.append(killed_at(step, effects, place.row, folder))
        assert ends[-1] in (0, signal.SIGKILL)
        (outcome,) = deliveries.deliver(effects, rules(place.row), Outbox(folder), NOW + timedelta(minutes=6)) or [None]
        assert (outcome.state, len(place.site.issues)) == ("sent", 1), step
        if ends[-1] == 0:
            break
    assert len(ends) > 8
    assert ends[-1] == 0


JIRA_ITEMS = {"jql": "labels = aftercast", "as": "action_items", "site": "https://acme.atlassian.net"}


def test_a_ticket_of_jira_comes_back_as_the_item_it_carries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with standing("jira", tmp_path / "outbox", monkeypatch) as place, serve(place.site) as server:
        place.sync(item())
        place.site.close()
        from aftercast.window import Window

        tracker = Tracker(tmp_path, monkeypatch, "jira", ("action_items",), login="bot", password="k3y")
        tracker.extract(server.url, Window(NOW - days(1), NOW + days(1)), **JIRA_ITEMS)
        row = tracker.one("action_items")
    assert row | {"ingested_at": None} == row | {
        "ingested_at": None,
        "action_item_id": "A-3",
        "incident_id": "INC-1",
        "type": "prevent",
        "service": "payments",
        "owner_team": "money",
        "success_criterion": "no incident of the family in 28 days",
        "status": "done",
        "due_at": datetime(2026, 10, 10, tzinfo=UTC),
        "done_at": WRITTEN,
        "url": "https://acme.atlassian.net/browse/OPS-1",
    }


@pytest.mark.off_document  # the timeline, whose events have many shapes, is not in the excerpt
@pytest.mark.parametrize(
    ("by", "change"), [("pull_requests", "acme/shop/pulls/8"), ("deployments", "acme/shop/deployments/501"), (None, None)]
)
def test_an_issue_of_github_comes_back_as_its_item_with_what_shipped_it(tmp_path, monkeypatch, by, change):
    from aftercast.window import Window

    def refers(number: int, merged: datetime | None, repository: str = "acme/shop") -> dict[str, Any]:
        pull = {"merged_at": stamp(merged) if merged else None}
        return {
            "event": "cross-referenced",
            "source": {"issue": {"number": number, "pull_request": pull, "repository": {"full_name": repository}}},
        }

    with standing("github", tmp_path / "outbox", monkeypatch) as place, serve(place.site) as server:
        place.sync(item())
        place.site.close()
        place.site.timeline = [
            {"event": "labeled"},
            refers(6, NOW - days(3)),
            refers(8, NOW - days(1)),
            refers(7, None),
            refers(3, NOW, "acme/other"),
            refers(9, NOW + days(3)),
        ]
        place.site.pulls = {8: {"number": 8, "merge_commit_sha": "f" * 40}}
        place.site.deployments = [{"id": number, "sha": "f" * 40, "created_at": stamp(NOW + days(number))} for number in (502, 501)]
        tracker = Tracker(tmp_path, monkeypatch, "github", ("action_items",), password="ghp_0123456789")
        options = {"repositories": ["acme/shop"], "from": "issues"} | ({"shipped_by": by} if by else {})
        tracker.extract(server.url, Window(NOW - days(1), NOW + days(1)), **options)
        row = tracker.one("action_items")
    shown = ("action_item_id", "status", "owner_team", "due_at", "done_at", "shipped_change_id", "url")
    due = datetime(2026, 10, 10, tzinfo=UTC)
    assert [row[name] for name in shown] == ["A-3", "done", "money", due, WRITTEN, change, "https://github.com/acme/shop/issues/1"]


def test_issues_that_people_open_are_items_of_their_own_and_reasons_of_closing_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from aftercast.window import Window

    site = GitHubSite()
    for _ in range(4):
        site.create({"title": "Write the runbook", "body": "soon", "labels": ["reliability"]})
    site.issues[1] |= {"state": "closed", "state_reason": "not_planned"}
    site.issues[2] |= {"state": "open", "state_reason": "reopened"}
    site.issues[3] |= {"pull_request": {"url": "u", "html_url": "h", "diff_url": "d", "patch_url": "p"}}
    with serve(site) as server:
        tracker = Tracker(tmp_path, monkeypatch, "github", ("action_items",), password="ghp_0123456789")
        tracker.extract(
            server.url, Window(NOW - days(1), NOW + days(1)), repositories=["acme/shop"], label="reliability", **{"from": "issues"}
        )
        assert all(one.param("labels") == "reliability" for one in server.asked)
    rows = {row["action_item_id"]: row["status"] for row in tracker.landed("action_items")}
    assert rows == {"acme/shop#1": "open", "acme/shop#2": "cancelled", "acme/shop#3": "reopened"}


@pytest.mark.parametrize("kind", ["jira", "github"])
def test_what_a_criterion_promises_exactly_comes_back_and_follows_peoples_edits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str):
    from aftercast.window import Window

    with standing(kind, tmp_path / "outbox", monkeypatch) as place, serve(place.site) as server:
        place.sync(item(criterion_outcome="time_to_recover", criterion_change=-0.3))
        secret = {"login": "bot", "password": "k3y"} if kind == "jira" else {"password": "ghp_0123456789"}
        options = JIRA_ITEMS if kind == "jira" else {"repositories": ["acme/shop"], "from": "issues"}
        tracker = Tracker(tmp_path, monkeypatch, kind, ("action_items",), **secret)

        def landed() -> tuple[str, float]:
            tracker.extract(server.url, Window(NOW - days(1), NOW + days(1)), **options)
            row = tracker.one("action_items")
            return row["criterion_outcome"], row["criterion_change"]

        assert landed() == ("time_to_recover", -0.3)
        issue = json.dumps(place.site.issues[0]).replace("target: -30 %", "target: -50 %").replace("time_to_recover", "swiftness")
        place.site.issues[0] = json.loads(issue)
        assert landed() == (None, -0.5)
