"""The `webhooks` kind: bodies as rows by rules; the rules that the guide shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from aftercast.errors import ConfigError, SourceUnavailable
from aftercast.settings import PROJECT
from tests.unit.inbox_fixture import Inboxed
from tests.unit.tracker_fixture import DAY, HOUR, NEXT, clock, utc

PAGE = PROJECT / "docs" / "sources" / "webhooks.md"
DEPLOYS: dict[str, Any] = {
    "hook": "ci",
    "entity": "changes",
    "columns": {
        "change_id": "id",
        "kind": {"const": "deploy"},
        "service": "app.name | app",
        "started_at": "began",
        "finished_at": "ended",
        "version": "commits.0.sha",
        "actor_token": "created_by",
        "result": "state",
    },
    "values": {"result": {"ok": "success"}},
    "nulls": ["never"],
}


def deploy(number: int = 1, minutes: float = 5, **given: Any) -> dict[str, Any]:
    times = {"began": clock(minutes), "ended": "never"}
    return {
        "id": f"d{number}",
        "app": {"name": "cart"},
        "commits": [{"sha": "abc"}],
        "state": "ok",
        "created_by": "Jane Doe",
        **times,
    } | given


@pytest.fixture
def inboxed(tmp_path: Path) -> Inboxed:
    return Inboxed(tmp_path, "webhooks", "changes", "alerts", "incidents", "incident_events")


def guide() -> dict[str, dict[str, Any]]:
    """The sources that the page about webhooks shows, by name."""
    found = [row for text in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL) for row in yaml.safe_load(text)]
    assert found
    return {row["name"]: row for row in found}


def test_a_body_lands_by_its_rule(inboxed: Inboxed):
    inboxed.post(deploy(), 6, "ci", x_request_id="r-1")
    inboxed.read(rules=[DEPLOYS])
    row = inboxed.one("changes")
    assert [row[name] for name in ("change_id", "service", "version", "result", "source_id")] == ["d1", "cart", "abc", "success", "r-1"]
    assert (row["started_at"], row["finished_at"]) == (utc(5), None)
    assert row["actor_token"].startswith("tok_")
    assert "Jane" not in inboxed.everything()


def test_paths_can_fall_back_and_reach_the_body_and_what_the_receiver_wrote(inboxed: Inboxed):
    rule = {
        "entity": "changes",
        "each": "targets",
        "columns": {
            "change_id": "name",
            "kind": {"const": "deploy"},
            "service": "nothing | $.app",
            "started_at": "at | @received_at",
            "title": "@headers.x-event-name",
            "attributes": "$.nested",
        },
    }
    inboxed.post({"app": "cart", "nested": {"b": 1}, "targets": [{"name": "a"}, {"name": "b", "at": clock(2)}]}, 5, x_event_name="shipped")
    inboxed.read(rules=[rule])
    rows = {row["change_id"]: row for row in inboxed.landed("changes")}
    assert {id_: row["started_at"] for id_, row in rows.items()} == {"a": utc(5), "b": utc(2)}
    assert {(row["service"], row["title"], row["attributes"]) for row in rows.values()} == {("cart", "shipped", '{"b": 1}')}


def test_rules_read_what_fits_them_and_the_rest_is_counted(inboxed: Inboxed):
    inboxed.post(deploy(1), 5, "ci")
    inboxed.post(deploy(2, state="queued"), 6, "ci")
    inboxed.post(deploy(3), 7, "other")
    counts = inboxed.read(rules=[DEPLOYS | {"where": {"state": "ok*"}}])["changes"]
    assert inboxed.one("changes")["change_id"] == "d1"
    assert dict(counts.reasons) == {"documents of hook 'ci' that no rule reads": 1, "documents of hook 'other' that no rule reads": 1}


def test_dropped_files_are_read_by_the_same_rules_and_replaced_when_corrected(inboxed: Inboxed):
    inboxed.drop("ci/a.json", [deploy(1), deploy(2)])
    inboxed.drop("ci/b.jsonl", f"{json.dumps(deploy(3))}\n{{torn\n")
    inboxed.read(rules=[DEPLOYS])
    assert {row["change_id"] for row in inboxed.landed("changes")} == {"d1", "d2", "d3"}
    assert inboxed.quarantined("changes")[0].startswith("not JSON")
    inboxed.drop("ci/a.json", [deploy(1, state="failure")])
    inboxed.read(NEXT, rules=[DEPLOYS])
    assert {row["change_id"]: row["result"] for row in inboxed.landed("changes")} == {"d1": "failure", "d3": "success"}


def test_what_came_in_lands_with_its_window_once_and_late_on_its_own_day(inboxed: Inboxed):
    inboxed.post(deploy(1), 5, "ci")
    inboxed.post(deploy(1, state="failure"), 20, "ci")
    inboxed.post(deploy(2, -3_000), 70, "ci")
    counts = inboxed.read(rules=[DEPLOYS])["changes"]
    assert (counts.received, counts.duplicate, inboxed.one("changes")["result"]) == (2, 1, "failure")
    assert inboxed.read(NEXT, rules=[DEPLOYS])["changes"].late == 1
    assert len(inboxed.landed("changes")) == 2


def test_a_clock_that_is_ahead_and_values_that_do_not_fit_are_quarantined(inboxed: Inboxed):
    inboxed.post(deploy(1, 900), 5, "ci")
    inboxed.post(deploy(2, state="exploded"), 6, "ci")
    inboxed.post(deploy(3, began="yesterday"), 7, "ci")
    inboxed.read(rules=[DEPLOYS])
    assert inboxed.landed("changes") == []
    assert {reason.split(":")[0] for reason in inboxed.quarantined("changes")} == {"started_at", "result"}


def test_a_wider_window_takes_back_what_is_no_longer_there(inboxed: Inboxed):
    inboxed.post(deploy(1), 5, "ci")
    inboxed.read(rules=[DEPLOYS])
    (inboxed.folder / "received-2026-09-01.jsonl").write_text("")
    inboxed.read(DAY, rules=[DEPLOYS])
    assert inboxed.landed("changes") == []


def test_an_empty_inbox_is_an_answer_and_mistakes_are_explained(inboxed: Inboxed):
    assert inboxed.read(rules=[DEPLOYS])["changes"].received == 0
    with pytest.raises(SourceUnavailable, match="does not exist"):
        inboxed.read(inbox="nowhere", rules=[DEPLOYS])
    with pytest.raises(ConfigError, match="did you mean 'service'"):
        inboxed.read(HOUR, rules=[{"entity": "changes", "columns": {"servce": "app"}}])


def test_the_guide_shows_how_devlake_shaped_deployments_land(inboxed: Inboxed):
    body = {
        "id": "run-17",
        "repoUrl": "https://git.test/acme/cart",
        "commitSha": "0123456789abcdef",
        "startedDate": clock(3),
        "finishedDate": clock(9),
        "environment": "PRODUCTION",
        "result": "SUCCESS",
        "name": "Ship the cart",
    }
    assert inboxed.post(body, 10, "deployments", x_webhook_token="s3cret")[0] == 202
    inboxed.read(rules=guide()["hooks"]["options"]["rules"])
    row = inboxed.one("changes")
    assert [row[name] for name in ("change_id", "kind", "service", "environment", "result", "version")] == [
        "run-17",
        "deploy",
        "https://git.test/acme/cart",
        "production",
        "success",
        "0123456789abcdef",
    ]
    assert (row["started_at"], row["finished_at"]) == (utc(3), utc(9))


def test_the_guide_shows_how_alertmanager_lands(inboxed: Inboxed):
    def alert(status: str, fingerprint: str, **given: Any) -> dict[str, Any]:
        labels = {"alertname": "HighLatency", "service": "cart", "severity": "page"}
        return {
            "status": status,
            "fingerprint": fingerprint,
            "labels": labels,
            "startsAt": clock(1),
            "endsAt": "0001-01-01T00:00:00Z",
        } | given

    group = {"version": "4", "status": "firing", "alerts": [alert("firing", "f1"), alert("firing", "f2")]}
    inboxed.post(group, 2, "alertmanager")
    inboxed.post({**group, "alerts": [alert("resolved", "f1", endsAt=clock(9))]}, 10, "alertmanager")
    inboxed.read(rules=guide()["hooks"]["options"]["rules"])
    found = {row["fingerprint"]: (row["name"], row["service"], row["severity"], row["ended_at"]) for row in inboxed.landed("alerts")}
    assert found == {"f1": ("HighLatency", "cart", "page", utc(9)), "f2": ("HighLatency", "cart", "page", None)}


def test_the_guide_shows_how_pagerduty_lands(inboxed: Inboxed):
    def event(type_: str, minutes: float, id_: str) -> dict[str, Any]:
        data = {
            "id": "PGR0VU2",
            "title": "Cart is slow",
            "service": {"summary": "cart"},
            "created_at": clock(1),
            "html_url": "https://pd.test/1",
        }
        agent = {"type": "user_reference", "summary": "Jane Doe"}
        return {"event": {"id": id_, "event_type": type_, "occurred_at": clock(minutes), "agent": agent, "data": data}}

    inboxed.post(event("incident.triggered", 1, "e1"), 2, "pagerduty")
    inboxed.post(event("incident.acknowledged", 4, "e2"), 4.1, "pagerduty")
    inboxed.read(rules=guide()["hooks"]["options"]["rules"])
    events = {row["event_id"]: (row["kind"], row["occurred_at"], row["recorded_at"]) for row in inboxed.landed("incident_events")}
    assert events == {"e1": ("triggered", utc(1), utc(2)), "e2": ("acknowledged", utc(4), utc(4.1))}
    assert "Jane" not in inboxed.everything()


def test_the_guide_shows_how_github_lands(inboxed: Inboxed):
    def status(state: str, minutes: float) -> dict[str, Any]:
        return {
            "deployment_status": {"id": int(minutes), "state": state, "created_at": clock(minutes), "log_url": "https://ci.test/1"},
            "deployment": {"id": 42, "sha": "abc", "ref": "main", "environment": "production", "created_at": clock(1)},
            "repository": {"name": "cart", "full_name": "acme/cart"},
            "sender": {"login": "octocat"},
        }

    for number, (state, minutes) in enumerate([("in_progress", 2), ("success", 6), ("inactive", 30)]):
        inboxed.post(status(state, minutes), minutes + 0.1, "github", x_github_event="deployment_status", x_github_delivery=f"g{number}")
    inboxed.read(rules=guide()["hooks"]["options"]["rules"])
    row = inboxed.one("changes")
    assert (row["change_id"], row["service"], row["version"], row["result"]) == ("42", "cart", "abc", "success")
    assert (row["started_at"], row["finished_at"]) == (utc(1), utc(6))
    assert row["actor_token"].startswith("tok_")
