"""A real Prometheus that scrapes a real application, a real Alertmanager it alerts, and days of history in its blocks."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import polars as pl
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from aftercast import landing
from aftercast.declarations import SourceRow
from aftercast.sources import open_source
from aftercast.sources.prometheus.fired import fingerprint
from aftercast.window import Window
from tests.integration.services import free_port, require, running, wait_until
from tests.unit.landing_fixture import deployment, landed

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
STEP = 4  # seconds
HISTORY_DAYS = 9
SERVICES = ("cart", "pay", "search")
RULES = {
    "groups": [
        {
            "name": "shop",
            "rules": [
                {
                    "alert": "Saturated",
                    "expr": "queue_saturation > 0.9",
                    "labels": {"severity": "page"},
                    "annotations": {"summary": "queue of {{ $labels.service }}"},
                }
            ],
        }
    ]
}
QUERIES = [
    {"metric": "requests", "counter": "http_requests_total", "unit": "1"},
    {"metric": "errors", "counter": 'http_requests_total{code=~"5.."}', "unit": "1"},
    {"metric": "latency", "buckets": "http_request_duration_seconds_bucket", "quantiles": [0.95], "scale": 1000, "unit": "ms"},
    {"metric": "saturation_ratio", "query": "max by (service, region) (queue_saturation)", "unit": "ratio"},
]


@dataclass
class App:
    """An instrumented application that remembers what it counted, and when."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    tally: list[tuple[float, int]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        labels = ("service", "region")
        self.requests = Counter("http_requests", "requests", (*labels, "code"), registry=self.registry)
        self.saturation = Gauge("queue_saturation", "share of the queue in use", labels, registry=self.registry)
        self.latency = Histogram("http_request_duration_seconds", "time", labels, buckets=(0.1, 0.25, 1), registry=self.registry)
        self.saturation.labels("cart", "eu").set(0.5)

    def serve_customers(self) -> None:
        total = 0
        while not self.stop.wait(0.02):
            total += 2
            self.requests.labels("cart", "eu", "200").inc(1)
            self.requests.labels("cart", "eu", "500").inc(1)
            self.latency.labels("cart", "eu").observe(0.2)
            self.tally.append((time.time(), total))

    def counted(self, start: float, end: float) -> int:
        """Requests between two moments."""
        before = [total for moment, total in self.tally if moment <= start]
        until = [total for moment, total in self.tally if moment <= end]
        return until[-1] - (before[-1] if before else 0)


def history(start: int, end: int) -> str:
    """Days of a level and a counter per minute, and of alerts: one across midnight, one that a silent monitor hides for two hours."""
    lines = ["# TYPE level gauge"]
    lines += [f'level{{service="{one}"}} {at % 1000} {at}' for one in SERVICES for at in range(start, end, 60)]
    lines.append("# TYPE old_orders counter")
    lines += [f'old_orders_total{{service="cart"}} {(at - start) % 43_200} {at}' for at in range(start, start + 86_400, 15)]
    silent = range(start + 30 * 3600, start + 32 * 3600)
    lines.append("# TYPE up gauge")
    lines += [f'up{{job="shop"}} 1 {at}' for at in range(start, end, 60) if at not in silent]
    named = 'alertname="Slow",service="cart",severity="page"'
    fired = [(start + 20 * 3600, start + 26 * 3600), (silent.start - 3600, silent.stop + 3600)]
    lines.append("# TYPE ALERTS gauge")
    firing = [(since, at) for since, until in fired for at in range(since, until, 60) if at not in silent]
    lines += [f'ALERTS{{alertstate="firing",{named}}} 1 {at}' for _, at in firing]
    lines.append("# TYPE ALERTS_FOR_STATE gauge")
    lines += [f"ALERTS_FOR_STATE{{{named}}} {since - 90} {at}" for since, at in firing]
    return "\n".join([*lines, "# EOF", ""])


@dataclass
class Shop:
    """Everything that runs, and the commands to run it again."""

    app: App
    prometheus: str
    alertmanager: str
    command: list[str]
    folder: Path
    past: Window

    def start_prometheus(self) -> ExitStack:
        stack = ExitStack()
        stack.enter_context(running(self.command, self.folder / f"prometheus{time.time():.0f}.log"))
        wait_until(lambda: httpx.get(f"{self.prometheus}/-/ready").is_success, "Prometheus")
        return stack


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    prometheus, promtool = require("prometheus", "prometheus"), require("prometheus", "promtool")
    alertmanager = require("prometheus-alertmanager", "prometheus-alertmanager")
    app, ports = App(), [free_port() for _ in range(3)]
    end = EPOCH + (datetime.now(UTC) - EPOCH) // DAY * DAY
    past = Window(end - HISTORY_DAYS * DAY, end)
    (folder / "history.txt").write_text(history(int(past.start.timestamp()), int(past.end.timestamp())))
    blocks = [promtool, "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=240h", str(folder / "history.txt")]
    subprocess.run([*blocks, str(folder / "data")], check=True, capture_output=True)
    (folder / "rules.yml").write_text(json.dumps(RULES))
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
        "rule_files": [str(folder / "rules.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{ports[2]}"]}]}]},
        "scrape_configs": [{"job_name": "shop", "static_configs": [{"targets": [f"127.0.0.1:{ports[0]}"]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    (folder / "alertmanager.yml").write_text(json.dumps({"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}))
    listen = f"127.0.0.1:{ports[2]}"
    command = [alertmanager, f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/am", f"--web.listen-address={listen}"]
    with ExitStack() as stack:
        server, thread = start_http_server(ports[0], "127.0.0.1", registry=app.registry)
        stack.callback(thread.join)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        customers = threading.Thread(target=app.serve_customers)
        customers.start()
        stack.callback(customers.join)
        stack.callback(app.stop.set)
        stack.enter_context(running([*command, "--cluster.listen-address="], folder / "alertmanager.log"))
        wait_until(lambda: httpx.get(f"http://{listen}/-/ready").is_success, "Alertmanager")
        listens = [f"--config.file={folder}/prometheus.yml", f"--web.listen-address=127.0.0.1:{ports[1]}"]
        # A short look-back, so that seconds of silence are a gap here as minutes are elsewhere.
        stored = [f"--storage.tsdb.path={folder}/data", "--storage.tsdb.retention.time=60d", "--query.lookback-delta=3s"]
        yield Shop(app, f"http://127.0.0.1:{ports[1]}", f"http://{listen}", [prometheus, *listens, *stored], folder, past)


@pytest.fixture
def place(tmp_path, shop, monkeypatch):
    for name, url in (("PROMETHEUS", shop.prometheus), ("ALERTS", shop.alertmanager)):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps({"conn_type": "http", "host": url}))
    return deployment(tmp_path)


def land(place, row: SourceRow, window: Window) -> dict[str, landing.Landed]:
    batches = open_source(row, place).extract(window)
    return {one.entity: one for one in landing.land(place, row, window, batches, ingested_at=datetime.now(UTC))}


def files(place) -> dict[str, bytes]:
    return {str(path.relative_to(place.home)): path.read_bytes() for path in place.landing.glob("[am]*/source=*/**/*.parquet")}


def prometheus_row(**options) -> SourceRow:
    return SourceRow(name="monitoring", kind="prometheus", connection="prometheus", options=options)


def test_what_happens_in_a_shop_lands_as_it_happened(shop, place):
    """One story, because the servers need seconds: traffic, an alert, its end, a silent monitor, and the extracts of all of it."""
    alerts = SourceRow(name="pages", kind="alertmanager", connection="alerts")
    series = prometheus_row(queries=QUERIES, step_seconds=STEP, alerts={"step_seconds": 1})
    stack = shop.start_prometheus()
    began = time.time()
    first = EPOCH + (datetime.now(UTC) - EPOCH) // MINUTE * MINUTE
    live = Window(first, first + 3 * MINUTE)

    time.sleep(18)
    shop.app.saturation.labels("cart", "eu").set(0.97)
    wait_until(lambda: len(httpx.get(f"{shop.alertmanager}/api/v2/alerts").json()) == 1, "the alert")
    time.sleep(2 * STEP)
    listed = httpx.get(f"{shop.alertmanager}/api/v2/alerts").json()[0]
    assert fingerprint(listed["labels"]) == listed["fingerprint"]
    land(place, alerts, live)
    assert landed(place, "alerts").select("name", "service", "region", "severity", "ended_at").rows() == [
        ("Saturated", "cart", "eu", "page", None)
    ]
    before = files(place)
    land(place, alerts, live)
    assert files(place) == before, "repeated snapshots make one episode"
    land(place, series, live)
    seen = landed(place, "alerts")
    assert seen.height == 2, "one per source"
    assert seen["fingerprint"].unique().to_list() == [listed["fingerprint"]]
    assert seen["ended_at"].null_count() == 2

    shop.app.saturation.labels("cart", "eu").set(0.5)
    wait_until(lambda: httpx.get(f"{shop.alertmanager}/api/v2/alerts").json() == [], "the end of the alert")
    resolved = datetime.now(UTC)
    time.sleep(STEP)
    land(place, alerts, live)
    stopped = time.time()
    stack.close()
    time.sleep(8)
    restarted = time.time()
    stack = shop.start_prometheus()
    level = {"query": "queue_saturation"}
    wait_until(lambda: bool(httpx.get(f"{shop.prometheus}/api/v1/query", params=level).json()["data"]["result"]), "a scrape")
    time.sleep(STEP)

    first_landed = land(place, series, live)
    assert first_landed["metric_points"].rejected == 0
    again = land(place, series, live)
    stack.close()
    assert (again["alerts"].changed_files, again["alerts"].landed) == (0, 1)

    ended = landed(place, "alerts")
    assert ended["ended_at"].null_count() == 0
    assert (ended["ended_at"] > ended["started_at"]).all()
    assert all(abs((moment - resolved).total_seconds()) < 20 for moment in ended["ended_at"]), "scrapes come late on a busy machine"

    points = landed(place).with_columns(at=pl.col("ts").dt.epoch("ms") / 1000)
    assert set(points["metric"]) == {"requests", "errors", "latency_p95_ms", "saturation_ratio"}
    assert set(points.select("service", "environment", "region", "attributes").rows()) == {("cart", "production", "eu", "")}
    whole = points.filter(pl.col("at").is_between(began + 2, stopped - STEP))
    spans = {metric: part for (metric,), part in whole.partition_by("metric", as_dict=True).items()}
    for metric, share in (("requests", 1.0), ("errors", 0.5)):
        part = spans[metric]
        assert part["kind"].unique().to_list() == ["counter"]
        counted = share * sum(shop.app.counted(at, at + STEP) for at in part["at"])
        assert part.height >= 2
        assert part["value"].sum() == pytest.approx(counted, rel=0.25), "what Prometheus saw is what the application counted"
    assert spans["latency_p95_ms"]["value"].to_list() == pytest.approx([242.5] * spans["latency_p95_ms"].height)
    assert set(spans["saturation_ratio"]["value"]) == {0.5, 0.97}
    silent = points.filter(pl.col("at").is_between(stopped + 3, restarted - 1))
    assert silent.is_empty(), "nothing is known about the time nobody watched"
    assert points.filter(pl.col("at") > restarted).height > 0


def test_days_of_history_land_in_parts_exactly_once(shop, place, monkeypatch):
    asked: list[range] = []
    from aftercast.sources.prometheus import ranges

    original = ranges._request
    monkeypatch.setattr(ranges, "_request", lambda query, part, *path: asked.append(part) or original(query, part, *path))
    row = prometheus_row(
        queries=[
            {"metric": "level", "query": "level", "kind": "gauge"},
            {"metric": "orders", "counter": "old_orders_total"},
            {"metric": "faults", "counter": "old_faults_total", "of": "old_orders_total"},
        ],
        alerts=True,
    )
    stack = shop.start_prometheus()
    try:
        whole = land(place, row, shop.past)
        assert max(len(part) for part in asked) > 8_000
        assert max(len(part) for part in asked) <= 11_000
        points = landed(place)
        levels = points.filter(pl.col("metric") == "level")
        assert whole["metric_points"].landed == points.height
        assert levels.group_by("service").len().sort("service").rows() == [(one, HISTORY_DAYS * 1440) for one in SERVICES]
        assert (levels["ts"].dt.epoch("s") % 1000 == levels["value"]).all()
        orders = points.filter(pl.col("metric") == "orders").sort("ts")
        reset = orders["ts"].dt.epoch("s") - int(shop.past.start.timestamp()) == 43_200 - 60
        inner = orders.filter(~reset).head(-1)  # the minute of the reset and the last one are extrapolated
        assert inner.height > 1_430
        assert inner["value"].to_list() == pytest.approx([60.0] * inner.height)

        faults = points.filter(pl.col("metric") == "faults")
        assert faults["ts"].to_list() == orders["ts"].to_list(), "no fault was ever counted, and that is known"
        assert set(faults["value"]) == {0.0}
        parts = deployment(place.home.parent / "parts")
        for one in shop.past.days():
            land(parts, row, one)
        assert landed(parts).equals(points), "windows that tile time land what one window lands"
        since = int(shop.past.start.timestamp())
        wanted = [(since + 20 * 3600 - 90, since + 26 * 3600), (since + 29 * 3600 - 90, since + 33 * 3600)]
        for where in (place, parts):
            found = landed(where, "alerts").with_columns(pl.col("started_at", "ended_at").dt.epoch("s")).sort("started_at")
            assert found.select("started_at", "ended_at").rows() == wanted, "alerts keep their start across midnight and across silence"
    finally:
        stack.close()
