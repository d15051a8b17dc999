"""A small company whose learning loop can be watched from end to end: two faults that keep coming back, and the tracker its teams work in.

Times count from `end`, the moment its story begins with: a release of `payments` has just broken payments for the 17th time in as many
weeks, and a day ago one of `search` broke the index for the 4th time, although a fix had shipped. What happens afterwards is written by the
test. It lies in a database that a source reads window by window, so that days to come can be told too, and has the same noise whenever it
begins.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from aftercast.tickets import block
from tests.answering import Answer, Asked
from tests.unit.test_trackers import GitHubSite, stamp

DAYS = 15
GRAIN = timedelta(minutes=5)
ORDER_MINOR = 4_000
PAYMENTS, SEARCH = "INC-100", "INC-200"
SEARCH_ITEM = "A-17"
CULPRIT, SEARCH_CULPRIT = "release-100", "release-200"
BEGAN, OVER, RESOLVED = timedelta(minutes=-100), timedelta(minutes=-30), timedelta(minutes=-10)
HISTORY = timedelta(days=127)
WEEKS = 16

SERVICES = "service,kind,team,criticality\npayments,service,money,high\nsearch,service,discovery,high\nweb,service,shop,high\n"
DEPENDENCIES = "caller,callee\nweb,payments\nweb,search\n"
TEAMS = "team,title,channel\nmoney,Money,#money\ndiscovery,Discovery,#discovery\nshop,Shop,#shop\n"
JOURNEY = {"journey": "checkout", "title": "Checkout", "owner_team": "shop", "currency": "EUR", "slo_target": 0.95}
SIGNALS = [
    {"name": "error_ratio", "fact": "metric", "numerator": "errors", "denominator": "requests", "by": ["service", "region"]}
    | {"hurts": "up", "minimum_effect": 0.01},
    {"name": "conversion", "fact": "kpi", "numerator": "successes", "denominator": "attempts", "by": ["journey", "region"]}
    | {"grain_minutes": 15, "hurts": "down", "minimum_effect": 0.02},
]
TIMES = ("started_at", "detected_at", "acknowledged_at", "mitigated_at", "resolved_at", "updated_at")
TABLES = {
    "metric_points": ("service", "region", "metric", "kind", "ts", "value"),
    "journey_kpis": ("journey", "step", "region", "ts", "attempts", "successes", "revenue_minor", "currency"),
    "changes": ("change_id", "kind", "service", "title", "started_at", "finished_at", "result", "version"),
    "incidents": ("incident_id", "title", "severity", "status", "services", "region", "detection_method", *TIMES),
}
REPOSITORY = "acme/shop"


def text(moment: datetime) -> str:
    """A time as the database keeps it."""
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}"


def configure(config: Path, history: tuple[datetime, datetime]) -> None:
    """Write the declarations: four sources, a tracker that is live, and the postmortems that are drafted."""
    query: dict[str, Any] = {"timezone": "UTC"}
    inside = "where {0} >= :start and {0} < :end"
    queries = [
        {"entity": name, "sql": f"select * from {name} {inside.format(time)}", **query}
        for name, time in (("metric_points", "ts"), ("journey_kpis", "ts"), ("changes", "started_at"), ("incidents", "updated_at"))
    ]
    often = {"schedule": "*/15 * * * *", "owner": "tests"}
    hub = {"kind": "github", "connection": "hub", **often}
    answers = ["postmortems", "incident_events", "action_items", "insights", "verdicts"]
    sources = [
        {"name": "ops", "kind": "sql", "connection": "ops", **often, "entities": list(TABLES), "options": {"queries": queries}},
        {"name": "reviews", "kind": "postmortems", **often, "entities": answers}
        | {"options": {"inbox": "postmortems", "statuses": ["reviewed", "closed"]}},
        {"name": "tickets", **hub, "entities": ["action_items"]}
        | {"options": {"repositories": [REPOSITORY], "from": "issues", "shipped_by": "deployments"}},
        {"name": "shipping", **hub, "entities": ["changes"]}
        | {"options": {"repositories": [REPOSITORY], "service": {"at": "payload.service"}}},
    ]
    window = {"start": history[0].isoformat(), "end": history[1].isoformat()}
    tracker = {"name": "shop", "kind": "github", "connection": "hub", "repository": REPOSITORY, "live": True}
    files = {
        "sources.yml": {"company": "Loop", "history": window, "sources": sources},
        "journeys.yml": {"journeys": [{**JOURNEY, "steps": [{"step": "pay", "services": ["web", "payments"], "earns": True}]}]},
        "signals.yml": {"signals": SIGNALS},
        "actions.yml": {"trackers": [tracker]},
    }
    (config / "catalog").mkdir(parents=True)
    for name, content in files.items():
        (config / name).write_text(yaml.safe_dump(content, sort_keys=False))
    for name, content in {"services.csv": SERVICES, "dependencies.csv": DEPENDENCIES, "teams.csv": TEAMS}.items():
        (config / "catalog" / name).write_text(content)


@dataclass
class Operations:
    """The company's database; `end` is where the story begins."""

    path: Path
    end: datetime
    lost: float = 0.0

    def put(self, table: str, *rows: dict[str, Any]) -> None:
        columns = TABLES[table]
        with sqlite3.connect(self.path) as connection:
            connection.execute(f"create table if not exists {table} ({', '.join(columns)})")
            marks = ", ".join("?" * len(columns))
            values = [[text(row[name]) if isinstance(row.get(name), datetime) else row.get(name) for name in columns] for row in rows]
            connection.executemany(f"insert into {table} values ({marks})", values)

    def release(self, id_: str, service: str, at: datetime, version: str) -> None:
        told = {"change_id": id_, "kind": "deploy", "service": service, "title": f"Release {service} {version}", "version": version}
        self.put("changes", told | {"started_at": at, "finished_at": at + timedelta(minutes=2), "result": "success"})

    def incident(self, id_: str, service: str, title: str, severity: str, began: datetime, minutes: float, over: datetime | None = None):
        """An incident of a service, five minutes after a release of it where the caller put one."""
        mitigated = began + timedelta(minutes=minutes)
        resolved = over or mitigated + timedelta(minutes=20)
        times = {"started_at": began, "detected_at": began + timedelta(minutes=4), "acknowledged_at": began + timedelta(minutes=6)}
        times |= {"mitigated_at": mitigated, "resolved_at": resolved, "updated_at": resolved}
        told = {"incident_id": id_, "title": title, "severity": severity, "status": "resolved", "services": service, "region": "eu"}
        self.put("incidents", told | times | {"detection_method": "monitor"})

    def search_breaks(self, number: int, began: datetime) -> None:
        """The index breaks after a release of `search`."""
        self.release(f"release-{number}", "search", began - timedelta(minutes=5), f"s{number}")
        self.incident(f"INC-{number}", "search", "Search finds nothing", "sev2", began, 45)

    def plant(self) -> None:
        """Write seventeen weeks of trouble, and the telemetry of the last fifteen days."""
        random, end = np.random.default_rng(20261121), self.end
        for week in range(1, WEEKS + 1):
            began = end - timedelta(days=7 * week, hours=float(random.integers(1, 40)))
            self.release(f"release-{week}", "payments", began - timedelta(minutes=5), f"p{week}")
            self.incident(f"INC-{week}", "payments", "Payments fail", "sev3", began, 60)
        for number, days in ((201, 110.0), (202, 75.0), (203, 40.0), (200, 26 / 24)):
            self.search_breaks(number, end - timedelta(days=days))
        self.release(CULPRIT, "payments", end + BEGAN - timedelta(minutes=5), "p100")
        lasted = (OVER - BEGAN).total_seconds() / 60
        self.incident(PAYMENTS, "payments", "Payments fail", "sev1", end + BEGAN, lasted, over=end + RESOLVED)
        self._telemetry(random)

    def _telemetry(self, random: np.random.Generator) -> None:
        steps = int(timedelta(days=DAYS) / GRAIN)
        times = [self.end - timedelta(days=DAYS) + number * GRAIN for number in range(steps)]
        day = np.arange(steps) * GRAIN.total_seconds() / 86_400
        level = 1 + 0.5 * np.sin(day * 2 * np.pi)
        broken = np.array([self.end + BEGAN <= time < self.end + OVER for time in times])
        tries = random.poisson(80 * level)
        usual = random.binomial(tries, 0.96)
        paid = random.binomial(usual, np.where(broken, 0.5, 1.0))
        self.lost = float((usual - paid).sum()) * ORDER_MINOR / 100
        place = {"journey": "checkout", "step": "pay", "region": "eu", "currency": "EUR"}
        self.put(
            "journey_kpis",
            *(
                place | {"ts": time, "attempts": int(n), "successes": int(k), "revenue_minor": int(k) * ORDER_MINOR}
                for time, n, k in zip(times, tries, paid, strict=True)
            ),
        )
        for service, size, share in (("payments", 200.0, 0.45), ("web", 300.0, 0.25), ("search", 150.0, 0.004)):
            requests = random.poisson(size * level)
            errors = random.binomial(requests, np.where(broken, share, 0.004))
            for metric, values in (("requests", requests), ("errors", errors)):
                row = {"service": service, "region": "eu", "metric": metric, "kind": "counter"}
                self.put("metric_points", *(row | {"ts": time, "value": float(one)} for time, one in zip(times, values, strict=True)))


@dataclass
class Tracker(GitHubSite):
    """The repository that holds tickets, and tells what shipped. Its clock is the story's."""

    now: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    statuses: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    timelines: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    def __call__(self, asked: Asked) -> Answer:
        below = asked.path.removeprefix(f"/repos/{REPOSITORY}").split("/")
        if below[1] == "deployments" and len(below) == 4:
            return Answer(self.statuses[int(below[2])])
        if below[1] == "deployments" and asked.param("sha") is None:
            return Answer(self.deployments)
        if below[-1] == "timeline":
            return Answer(self.timelines.get(int(below[2]), []))
        return super().__call__(asked)

    def create(self, body: dict[str, Any]) -> Answer:
        answer = super().create(body)
        self.issues[-1] |= {"created_at": stamp(self.now), "updated_at": stamp(self.now)}
        return Answer(self.shown(self.issues[-1]), status=answer.status)

    def change(self, there: dict[str, Any], body: dict[str, Any]) -> Answer:
        if body.get("state") == "open":
            there["closed_at"] = None
        there["updated_at"] = stamp(self.now)
        return super().change(there, body)

    def plant(self, end: datetime) -> str:
        """The ticket of the item that came out of the last time the search broke: shipped weeks ago; return what shipped it."""
        self.now = end - timedelta(days=38)
        told = {"item": SEARCH_ITEM, "incident": "INC-203", "type": "prevent", "service": "search", "team": "discovery"}
        told |= {"due": f"{end - timedelta(days=15):%Y-%m-%d}", "criterion": "no incident of this family in the 56 days after shipping"}
        self.create({"title": "Rebuild the index beside the old one", "body": block(told, "aftercast-0"), "labels": ["aftercast"]})
        return self.ship("Rebuild the index", "search", 7, end - timedelta(days=20))

    def ticket(self, title: str) -> dict[str, Any]:
        (found,) = [one for one in self.issues if title in one["title"]]
        return found

    def ship(self, title: str, service: str, pull: int, at: datetime) -> str:
        """A pull request that refers to a ticket is merged and deployed, and the ticket closed; return the id of the change."""
        issue, commit, deployment = self.ticket(title), f"{pull:040x}", 500 + pull
        merged = {"number": pull, "pull_request": {"merged_at": stamp(at)}, "repository": {"full_name": REPOSITORY}}
        self.timelines[issue["number"]] = [{"event": "cross-referenced", "source": {"issue": merged}}]
        self.pulls[pull] = {"number": pull, "merge_commit_sha": commit}
        begun, done = stamp(at + timedelta(minutes=1)), stamp(at + timedelta(minutes=4))
        told = {"id": deployment, "sha": commit, "ref": "main", "task": "deploy", "environment": "production"}
        told |= {"payload": {"service": service}, "creator": {"login": "bot"}, "created_at": begun, "updated_at": done}
        self.deployments.insert(0, told)
        self.statuses[deployment] = [{"id": deployment, "state": "success", "created_at": done}]
        closed = stamp(at + timedelta(minutes=5))
        issue |= {"state": "closed", "state_reason": "completed", "closed_at": closed, "updated_at": closed}
        return f"{REPOSITORY}/deployments/{deployment}"


def connections(database: Path, url: str) -> dict[str, str]:
    """The environment variables of the two connections."""
    return {
        "AIRFLOW_CONN_OPS": json.dumps({"conn_type": "sqlite", "host": str(database)}),
        "AIRFLOW_CONN_HUB": json.dumps({"conn_type": "github", "host": url, "password": "ghp_0123456789"}),
    }
