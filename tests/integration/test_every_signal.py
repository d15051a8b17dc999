"""Prometheus, Alertmanager, PostgreSQL, telemetry files, GitHub and PagerDuty tell of one outage; its numbers are asserted at every stop.

The systems are real where they can be installed. Prometheus is down at first: the others land without it, and it heals when it is back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from aftercast import questions, warehouse
from aftercast.errors import AftercastError, SourceUnavailable
from aftercast.settings import Settings
from aftercast.sources import web
from aftercast.steps import extracting, refreshing, reports
from aftercast.window import Window
from tests.answering import serve
from tests.integration import every_signal_world as world
from tests.integration.every_signal_telemetry import TRACES_EVERY, Traced, observed
from tests.integration.every_signal_world import BUCKETS, END, MINUTE, ONSET, OVER, START, Sold
from tests.integration.services import free_port, require, running, wait_until
from tests.integration.test_postgres import connect, started
from tests.story.refreshing import refresh

pytestmark = pytest.mark.slow
WINDOW = Window(START, END)
SOURCES = ("monitoring", "pages", "shop_db", "telemetry", "deployments", "pagers")


@dataclass
class Story:
    """What was planted, what every extract said, and the world after the refresh."""

    settings: Settings
    requests: dict[str, int]
    sold: Sold
    traced: Traced
    culprit: str
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    again: dict[str, dict[str, int]] = field(default_factory=dict)
    problems: dict[str, AftercastError] = field(default_factory=dict)
    landed_without: set[str] = field(default_factory=set)
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    files_again: dict[str, bytes] = field(default_factory=dict, repr=False)
    report: Path = Path()

    def star(self, sql: str) -> pl.DataFrame:
        return warehouse.query(self.settings.warehouse, sql)

    def mart(self, sql: str) -> pl.DataFrame:
        return warehouse.query(self.settings.mart, sql)

    def landing(self) -> dict[str, bytes]:
        """Every landed file of rows."""
        rows = [path for path in self.settings.landing.rglob("*.parquet") if not {"coverage", "source=_none"} & set(path.parts)]
        return {str(path.relative_to(self.settings.landing)): path.read_bytes() for path in sorted(rows)}


def connection(patch: pytest.MonkeyPatch, name: str, url: str, **more: Any) -> None:
    patch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps({"conn_type": "http", "host": url, **more}))


def alertmanager(stack: ExitStack, folder: Path) -> str:
    binary, listen = require("prometheus-alertmanager", "prometheus-alertmanager"), f"127.0.0.1:{free_port()}"
    (folder / "alertmanager.yml").write_text(json.dumps({"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}))
    command = [binary, f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/am", f"--web.listen-address={listen}"]
    stack.enter_context(running([*command, "--cluster.listen-address="], folder / "alertmanager.log"))
    wait_until(lambda: httpx.get(f"http://{listen}/-/ready").is_success, "Alertmanager")
    httpx.post(f"http://{listen}/api/v2/alerts", json=world.listed()).raise_for_status()
    wait_until(lambda: len(httpx.get(f"http://{listen}/api/v2/alerts").json()) == 2, "the alerts")
    return f"http://{listen}"


def prometheus(stack: ExitStack, folder: Path, port: int) -> None:
    (folder / "prometheus.yml").write_text("{}")
    command = [require("prometheus", "prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    listen = [f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=100y"]
    stack.enter_context(running([*command, *listen], folder / "prometheus.log"))
    wait_until(lambda: httpx.get(f"http://127.0.0.1:{port}/-/ready").is_success, "Prometheus")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("servers")
    home = tmp_path_factory.mktemp("home")
    world.configure(home / "config")
    port = free_port()
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(web, "FIRST_WAIT", 0.01)
        patch.setenv("AFTERCAST_HOME", str(home))
        patch.setenv("AFTERCAST_CONFIG", str(home / "config"))
        requests = world.scraped(folder, require("prometheus", "promtool"))
        connection(patch, "monitoring", f"http://127.0.0.1:{port}")
        connection(patch, "pages", alertmanager(stack, folder))
        server = stack.enter_context(started(tmp_path_factory.mktemp("postgres")))
        sold = world.sell(server.dsn())
        connect(patch, server)
        traced = observed(home / "inbox" / "telemetry")
        github, culprit = world.deployed()
        connection(patch, "deployments", stack.enter_context(serve(github)).url, conn_type="github", password="t0ken")
        connection(patch, "pagers", stack.enter_context(serve(world.paged())).url, conn_type="pagerduty", password="k3y")

        told = Story(Settings.from_environment(), requests, sold, traced, culprit)
        for name in SOURCES:
            try:
                told.counts[name] = extracting.extract(name, WINDOW, ingested_at=END + MINUTE)
            except AftercastError as error:
                told.problems[name] = error
        told.landed_without = {Path(path).parts[1].removeprefix("source=") for path in told.landing()}
        prometheus(stack, folder, port)
        told.counts["monitoring"] = extracting.extract("monitoring", WINDOW, ingested_at=END + 2 * MINUTE)
        told.files = told.landing()
        for name in SOURCES:
            told.again[name] = extracting.extract(name, WINDOW, ingested_at=END + 60 * MINUTE)
        told.files_again = told.landing()
        assert refreshing.plan()
        refresh()
        told.report = reports.send_report("weekly")
        yield told


def test_a_source_that_is_down_is_named_and_the_others_land_without_it(story: Story):
    assert list(story.problems) == ["monitoring"]
    problem = story.problems["monitoring"]
    assert isinstance(problem, SourceUnavailable)
    assert "source 'monitoring', window 1 of 3, 2026-08-30" in str(problem)
    assert "nothing of this window was landed" in str(problem)
    assert story.landed_without == set(SOURCES) - {"monitoring"}


def test_every_source_lands_what_its_system_holds(story: Story):
    landed = {name: counts["landed"] for name, counts in story.counts.items()}
    of_prometheus = 2 * len(world.SERVICES) * BUCKETS + BUCKETS
    assert landed["monitoring"] == of_prometheus + 1, "and one alert"
    assert landed["pages"] == 2
    assert landed["shop_db"] == BUCKETS
    assert landed["deployments"] == len(world.deployed()[0].deployments)
    assert landed["pagers"] == 1 + 4
    assert {counts["rejected"] for counts in story.counts.values()} == {0}


def test_extracting_the_same_windows_again_changes_no_file(story: Story):
    assert {name: counts["changed_files"] for name, counts in story.again.items()} == dict.fromkeys(SOURCES, 0)
    assert {name: counts["landed"] for name, counts in story.again.items()} == {
        name: counts["landed"] for name, counts in story.counts.items()
    }
    assert story.files_again == story.files


def test_no_gate_found_anything_to_say_of_what_the_kinds_produce(story: Story):
    judged = {path.stem: json.loads(path.read_text())["failed"] for path in sorted((story.settings.home / "quality").glob("*.json"))}
    assert {name for name in judged if name.startswith("landed__")} == {
        f"landed__{entity}"
        for entity in (
            "alerts",
            "changes",
            "incident_events",
            "incidents",
            "journey_kpis",
            "log_patterns",
            "metric_points",
            "service_edges",
            "spans_red",
        )
    }
    assert {name: said for name, said in judged.items() if said} == {}


def test_coverage_tells_every_window_of_every_source(story: Story):
    rows = story.mart("select source, entity, status, windows_n, received, landed, rejected from marts.mart_source_coverage").rows()
    told = {(source, entity): tuple(rest) for source, entity, *rest in rows}
    landed = {source: sum(row[3] for key, row in told.items() if key[0] == source) for source in SOURCES}
    assert landed == {source: counts["landed"] for source, counts in story.counts.items()}
    assert {row[0] for row in told.values()} == {"complete"}
    assert {row[-1] for row in told.values()} == {0}
    windows = {source: {row[1] for key, row in told.items() if key[0] == source} for source in SOURCES}
    assert windows == {"monitoring": {3}, "pages": {1}, "shop_db": {4}, "telemetry": {5}, "deployments": {1}, "pagers": {1}}


def test_the_star_holds_what_was_planted(story: Story):
    metrics = story.star("select metric, kind, unit, count(*) as n, sum(value) as total from star.fct_metric_point group by all")
    found = {metric: tuple(rest) for metric, *rest in metrics.rows()}
    per_service = len(world.SERVICES) * BUCKETS
    assert {metric: row[:3] for metric, row in found.items()} == {
        "requests": ("counter", "1", per_service),
        "errors": ("counter", "1", per_service),
        "latency_p95_ms": ("gauge", "ms", BUCKETS),
        "saturation_ratio": ("gauge", "1", BUCKETS),
        "retries": ("counter", "{retry}", BUCKETS),
    }
    assert found["requests"][-1] == pytest.approx(story.requests["requests"], rel=1e-3)
    assert found["errors"][-1] == pytest.approx(story.requests["errors"], rel=1e-3)
    assert found["retries"][-1] == story.traced.retries

    sold = "select count(*), sum(attempts), sum(successes), sum(revenue_minor) from star.fct_kpi_point"
    cents = story.sold.orders * world.PRICE * 100
    assert story.star(sold).row(0) == (BUCKETS, story.sold.attempts, story.sold.orders, cents)

    edges = story.star(
        "select caller, callee, environment, provenance, first_seen, last_seen from star.dim_service_dependency order by all"
    )
    assert edges.select("caller", "callee", "environment", "provenance").rows() == [
        (caller, callee, "production", "spans") for caller, callee in (("frontend", "payments"), ("frontend", "search"), ("payments", "db"))
    ]
    assert edges["first_seen"].max() - START < MINUTE
    assert END - edges["last_seen"].min() < TRACES_EVERY

    red = story.star("select service, peer, sum(count)::int, sum(errors)::int from star.fct_trace_red group by all order by all").rows()
    traces, failed = story.traced.traces, story.traced.failed
    assert red == [
        ("frontend", "", traces, failed),
        ("frontend", "payments", traces, failed),
        ("frontend", "search", traces, failed),
        ("payments", "db", traces, failed),
        ("payments", "frontend", traces, failed),
        ("search", "frontend", traces, 0),
    ]
    patterns = story.star("select severity, sum(count)::int as n from star.fct_log_pattern group by all order by all").rows()
    assert patterns == [("error", failed), ("info", traces - failed)]
    assert story.star("select count(*) from star.fct_change").item() == len(world.deployed()[0].deployments)
    assert story.star("select text from star.fct_incident_event where kind = 'note'").item() == "ask <email> about the pool of connections"


def test_two_systems_that_tell_of_one_alert_make_one_episode(story: Story):
    alerts = story.star("select name, service, severity, started_at, ended_at from star.fct_alert order by name").to_dicts()
    assert [one["name"] for one in alerts] == [world.ALERT["alertname"], world.PROBE["alertname"]]
    shared, probe = alerts
    assert shared["started_at"] == world.ALERTED[0]
    assert world.ALERTED[1] <= shared["ended_at"] <= world.ALERTED[1] + 6 * MINUTE, "Prometheus repeats a last value for five minutes"
    assert probe["ended_at"] is None


def test_detection_finds_the_outage_in_every_signal_and_little_else(story: Story):
    episodes = story.mart("select signal, subject, direction, started_at, ended_at from marts.mart_anomalies where hurts")
    inside = ((episodes["started_at"] - ONSET).abs() <= 30 * MINUTE) & ((episodes["ended_at"] - OVER).abs() <= 30 * MINUTE)
    assert set(episodes.filter(inside).select("signal", "subject", "direction").rows()) == {
        ("conversion", "checkout", "down"),
        ("error_ratio", "frontend", "up"),
        ("error_ratio", "payments", "up"),
        ("latency_p95_ms", "payments", "up"),
        ("requests", "frontend", "down"),
        ("requests", "payments", "down"),
        ("saturation_ratio", "payments", "up"),
    }
    assert episodes.filter(~inside).height <= 1


def test_the_incident_has_its_loss_its_alerts_and_the_planted_deployment(story: Story):
    incident = story.mart("select * from marts.mart_incidents").row(0, named=True)
    assert (incident["incident_id"], incident["severity"], incident["services_impacted"]) == ("PINC", "sev1", ["frontend"])
    assert (incident["impact_status"], incident["currency"]) == ("quantified", "EUR")
    assert float(incident["lost_revenue_low"]) <= story.sold.lost <= float(incident["lost_revenue_high"])
    assert float(incident["lost_revenue"]) == pytest.approx(story.sold.lost, rel=0.2)
    assert incident["alerts_n"] == 2
    assert incident["anomalies_n"] >= 3
    assert incident["t_acknowledge_minutes"] == 5
    ranked = story.mart("select kind, candidate_id, probability from marts.mart_incident_candidates order by rank")
    assert ranked.row(0)[:2] == ("change", story.culprit)
    assert ranked["probability"][0] > 0.5
    assert ("service", "db") in ranked.select("kind", "candidate_id").rows(), "known by spans alone"
    of_culprit = f"select check_name from marts.mart_incident_evidence where candidate_id = '{story.culprit}'"
    evidence = set(story.mart(of_culprit)["check_name"])
    assert {"change_before_onset", "service_deviates", "graph_distance", "novel_log_pattern"} <= evidence, "each from another system"
    timeline = set(story.mart("select kind from marts.mart_incident_timeline")["kind"])
    assert {"alert", "anomaly", "change", "event", "acknowledged", "resolved"} <= timeline


def test_every_name_is_known(story: Story):
    assert story.mart("select kind, name, seen_in from marts.mart_unmapped_names").rows() == []


def test_the_report_tells_the_incident(story: Story):
    page = story.report.read_text()
    lost = float(story.mart("select lost_revenue from marts.mart_incidents").item())
    for part in ("PINC", "Orders fail", questions.money(lost, None)):
        assert part in page
    assert "jane@acme" not in page
