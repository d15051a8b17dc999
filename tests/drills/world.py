"""The world of the drills: the small company of the learning loop, one refresh behind, with everything outside that it talks to.

`prepare` makes a home that has been refreshed once, with a mart that people read. Since then three hours have gone by: an incident is
open, postmortems were approved, a week is over. `STEPS` is what has to be done now, from landing to writing back, each step as its Airflow
task does it. The outside is one server on loopback that keeps what it is given: tickets, messages, comments, and actions carried out.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from aftercast import reviewing
from aftercast.settings import Settings
from aftercast.steps import actions, extracting, postmortems, refreshing, reports, responses
from aftercast.window import Window
from tests.answering import Answer, Asked, serve
from tests.story import loop_world
from tests.story.loop_world import CULPRIT, PAYMENTS, SEARCH, SEARCH_CULPRIT, Operations, Tracker
from tests.story.refreshing import refresh
from tests.unit.responses_fixture import RUNBOOK
from tests.unit.test_responding import Robot
from tests.unit.test_writebacks import Vendor

BASE = datetime(2026, 9, 21, 9, tzinfo=UTC)  # a Monday: the week before is over
END = BASE + timedelta(hours=3)
NOW = END + timedelta(minutes=5)
OPEN, OPEN_SINCE = "INC-300", END - timedelta(minutes=40)
SOURCES = ("ops", "reviews", "tickets", "shipping")
CHUNKS = ("0/2", "1/2")
YES = {"chosen_options": ["Approve"], "responded_by_user": {"id": "someone", "name": "Someone"}}
CHANGES = ("POST", "PUT", "PATCH")


@dataclass
class Outside:
    """Everything beyond the house. `when` says what becomes of the `number`-th change from now on: `blow` is called before it or after."""

    tracker: Tracker = field(default_factory=Tracker)
    chat: Vendor = field(default_factory=Vendor)
    desk: Vendor = field(default_factory=Vendor)
    robot: Robot = field(default_factory=Robot)
    changes: int = 0
    number: int = 0
    when: str = ""
    blow: Callable[[], None] = lambda: None

    def __call__(self, asked: Asked) -> Answer:
        sites = {"repos": self.tracker, "do": self.robot, "rest": self.desk}
        site = sites.get(asked.path.split("/")[1], self.chat)
        if asked.method not in CHANGES:
            return site(asked)
        self.changes += 1
        due = self.changes == self.number
        if due and self.when == "before":
            self.blow()
            return Answer({}, status=503)
        answer = site(asked)
        if due:
            self.blow()
        return answer

    def arm(self, number: int = 0, when: str = "", blow: Callable[[], None] = lambda: None) -> None:
        self.changes, self.number, self.when, self.blow = 0, number, when, blow

    def kept(self) -> dict[str, list[str]]:
        """What the outside holds, in an order of its own: each thing once, or it happened twice."""
        issues = self.tracker.issues
        said = [f"{issue['number']}: {one['body']}" for issue in issues for one in issue["said"]]
        return {
            "tickets": sorted(f"{one['title']} | {one['state']} | {one['body']}" for one in issues),
            "comments": sorted(said),
            "messages": sorted(self.chat.written),
            "notes": sorted(self.desk.written),
            "actions": sorted(json.dumps(one, sort_keys=True) for one in self.robot.done),
        }

    def memory(self) -> dict[str, Any]:
        """Its state, to be put back by `remember`."""
        return {name: vars(getattr(self, name)) for name in ("tracker", "chat", "desk", "robot")}

    def remember(self, memory: dict[str, Any]) -> None:
        for name, state in memory.items():
            vars(getattr(self, name)).update(state)


def configure(config: Path) -> None:
    """Write the declarations: those of the loop, a weekly report to a chat, and actions and write-backs that are live."""
    loop_world.configure(config, (BASE - loop_world.HISTORY, END))
    chat = {"name": "chat", "kind": "slack", "connection": "talk", "to": "#reliability", "live": True}
    reporting = {"reports": [{"name": "weekly", "channels": ["file", "chat"]}], "channels": [chat]}
    limits = {"most_traffic_share": 1.0, "least_probability": 0.0, "least_evidence": 0, "most_data_age_minutes": 1440}
    automation = {
        "dry_run": False,
        "executor": "robot",
        "limits": limits,
        "write_back": [{"channel": "slack", "connection": "talk", "room": "C1"}, {"channel": "jira", "connection": "desk"}],
        "classes": [{"name": "all", "level": 2, "actions": ["rollback"]}],
    }
    (config / "reports.yml").write_text(yaml.safe_dump(reporting))
    (config / "automation.yml").write_text(yaml.safe_dump(automation))
    (config / "catalog" / "runbooks").mkdir()
    lines = [line for line in RUNBOOK.splitlines() if "probability" not in line]
    (config / "catalog" / "runbooks" / "roll-back.md").write_text("\n".join(lines).replace("platform", "discovery") + "\n")


def connections(database: Path, url: str) -> dict[str, str]:
    """The environment variables of every connection."""
    extra = {"path": "/do", "idempotent": True}
    more: dict[str, dict[str, Any]] = {
        "TALK": {"conn_type": "slack", "password": "xoxb-1", "extra": {"base_url": url}},
        "DESK": {"conn_type": "http", "host": url, "login": "robot@acme.example", "password": "s3cret"},
        "ROBOT": {"conn_type": "http", "host": url, "password": "s3cret", "extra": extra},
    }
    return loop_world.connections(database, url) | {f"AIRFLOW_CONN_{name}": json.dumps(one) for name, one in more.items()}


@contextmanager
def outside(folder: Path) -> Iterator[Outside]:
    """The outside, answering; the environment names its connections and the home until the block ends."""
    site = Outside()
    with serve(site) as server:
        wanted = connections(folder / "operations.db", server.url)
        wanted |= {"AFTERCAST_HOME": str(folder / "home"), "AFTERCAST_CONFIG": str(folder / "config")}
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            yield site
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def prepare(folder: Path, site: Outside) -> None:
    """Build the home as it is before the steps, in this process."""
    (folder / "home").mkdir()
    configure(folder / "config")
    operations = Operations(folder / "operations.db", BASE)
    operations.plant()
    site.tracker.plant(BASE)
    site.tracker.now = BASE + timedelta(minutes=1)
    for source in SOURCES:
        extracting.extract(source, Window(BASE - loop_world.HISTORY, BASE), ingested_at=BASE)
    assert refreshing.plan()
    refresh()
    now = BASE + timedelta(minutes=10)
    actions.sync_actions(now)
    postmortems.draft_postmortems(now)
    _approve(PAYMENTS, f"change:{CULPRIT}", BASE + timedelta(days=30))
    _approve(SEARCH, f"change:{SEARCH_CULPRIT}", None)
    operations.release("release-300", "search", OPEN_SINCE - timedelta(minutes=5), "s300")
    told = {
        "incident_id": OPEN,
        "title": "Search finds nothing",
        "severity": "sev2",
        "status": "open",
        "services": "search",
        "region": "eu",
    }
    times = {"started_at": OPEN_SINCE, "detected_at": OPEN_SINCE + timedelta(minutes=4), "updated_at": OPEN_SINCE + timedelta(minutes=5)}
    operations.put("incidents", told | times | {"detection_method": "monitor"})
    operations.incident("INC-301", "payments", "Payments fail", "sev2", BASE + timedelta(minutes=30), 40)
    site.tracker.now = END


def _approve(incident: str, cause: str, due: datetime | None) -> None:
    """A person keeps one of the proposed items, with the day it is promised for (no day: none), and approves."""
    path = Settings.from_environment().postmortems / f"{incident}.md"
    lines = path.read_text().splitlines()
    first, *others = [line for line in lines if line.startswith("- [ ]")]
    kept = first.replace("(team:", f"(due: {due:%Y-%m-%d}, team:") if due else "- none"
    path.write_text("\n".join(kept if line == first else line for line in lines if line not in others) + "\n")
    seen = postmortems.review_request(path.name, BASE)["seen"]
    answer = {"chosen_options": ["Approve"], "params_input": {"cause": cause, "team": ""}}
    postmortems.record_review(path.name, seen, answer, BASE + timedelta(hours=1))
    assert reviewing.read(path.parent, path.name).state == "reviewed"


def _land(source: str, now: datetime) -> None:
    # The time of a retry is no part of what makes two extracts equal, so it is left out of what is compared.
    extracting.extract(source, Window(BASE, END), ingested_at=now)


def _act(now: datetime) -> list[str]:
    keys = [one["key"] for one in json.loads(os.environ["DRILL_ASKED"])["asks"]]
    return [responses.act(key, YES, now) for key in keys]


def steps() -> dict[str, Callable[[datetime], Any]]:
    """Every step of the pipeline in the order of its runs, by name: a function of the time."""
    found: dict[str, Callable[[datetime], Any]] = {f"land {name}": lambda now, name=name: _land(name, now) for name in SOURCES}
    for name in ("plan", "stage", "star", "watch"):
        found[name] = lambda now, name=name: getattr(refreshing, name)()
    for chunk in CHUNKS:
        found[f"detect {chunk}"] = lambda now, chunk=chunk: refreshing.detect(chunk)
    found["gather"] = lambda now: refreshing.gather(list(CHUNKS))
    for name in ("correlate", "measure", "marts", "check", "publish"):
        found[name] = lambda now, name=name: getattr(refreshing, name)()
    found["report"] = lambda now: str(reports.send_report("weekly", now=now))
    found["sync"] = actions.sync_actions
    found["draft"] = postmortems.draft_postmortems
    found["decide"] = responses.plan_responses
    found["recommend"] = responses.recommend
    found["act"] = _act
    return found


STEPS = tuple(steps())
BY_DBT = ("stage", "star", "marts")
NATIVE = (*BY_DBT, "publish")  # these write through DuckDB, which tells nobody of its effects


def restore(saved: Path, home: Path) -> None:
    """Put a saved home back in its place; views of the warehouse name files by their whole path."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(saved, home, symlinks=True)
