"""A real Prometheus full of labels that look like PromQL: `only` finds exactly the series with that label, and it lands as it is."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from aftercast import landing
from aftercast.declarations import SourceRow
from aftercast.errors import SourceRejected
from aftercast.sources import open_source
from aftercast.window import Window
from tests.integration.services import free_port, require, running, wait_until
from tests.unit.landing_fixture import deployment, landed

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOSTILE = (
    '"} or vector(1) or {x="',
    '"} or {__name__=~".+"} or up{x="',
    "a\\",
    '\\"',
    "{}[5m]",
    "a\nb # no comment",
    "'`\"",
    "$step",
    "[\x00\x1b\u2028]",
    "日本 é \U0001f600",
    "../../etc?a=b#c%2f",
    ".*|plain",
)
SERVICES = ("plain", *HOSTILE)


def escaped(value: str) -> str:
    """A label's value as OpenMetrics writes it."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@pytest.fixture(scope="module")
def hour() -> Window:
    start = EPOCH + (datetime.now(UTC) - EPOCH) // timedelta(days=1) * timedelta(days=1) - timedelta(hours=2)
    return Window(start, start + timedelta(hours=1))


@pytest.fixture(scope="module")
def server(tmp_path_factory, hour: Window) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("hostile")
    prometheus, promtool = require("prometheus", "prometheus"), require("prometheus", "promtool")
    start, end = int(hour.start.timestamp()), int(hour.end.timestamp())
    lines = ["# TYPE orders counter"]
    for number, name in enumerate(SERVICES, start=1):
        lines += [f'orders_total{{service="{escaped(name)}"}} {number * (at - start)} {at}' for at in range(start, end + 1, 60)]
    for metric, value in (("ALERTS", "1"), ("ALERTS_FOR_STATE", str(start))):
        lines.append(f"# TYPE {metric} gauge")
        state = ',alertstate="firing"' if metric == "ALERTS" else ""
        for name in SERVICES:
            lines += [f'{metric}{{alertname="Slow",service="{escaped(name)}"{state}}} {value} {at}' for at in range(start, end, 60)]
    (folder / "history.txt").write_text("\n".join([*lines, "# EOF", ""]))
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", str(folder / "history.txt"), str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "prometheus.yml").write_text("{}")
    port = free_port()
    stored = [f"--storage.tsdb.path={folder}/data", "--storage.tsdb.retention.time=60d"]
    with running(
        [prometheus, f"--config.file={folder}/prometheus.yml", f"--web.listen-address=127.0.0.1:{port}", *stored], folder / "prometheus.log"
    ):
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: httpx.get(f"{url}/-/ready").is_success, "Prometheus")
        yield url


@pytest.fixture
def place(tmp_path, server: str, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_PROMETHEUS", json.dumps({"conn_type": "http", "host": server}))
    return deployment(tmp_path)


def land(place, window: Window, **options) -> None:
    row = SourceRow(name="monitoring", kind="prometheus", connection="prometheus", options=options)
    landing.land(place, row, window, open_source(row, place).extract(window), ingested_at=window.end)


@pytest.mark.parametrize("name", SERVICES)
def test_only_the_series_with_exactly_this_label_answers(place, hour: Window, name: str):
    query = {"metric": "orders", "counter": 'orders_total{service!=""}', "of": "orders_total", "only": {"service": name}}
    land(place, hour, queries=[query], alerts={"only": {"service": name}})
    points, alerts = landed(place), landed(place, "alerts")
    assert set(points["service"]) == {name}
    assert set(points["value"]) == {60.0 * (SERVICES.index(name) + 1)}
    assert set(alerts["service"]) == {name}
    assert alerts.height == 1


def test_labels_that_look_like_queries_land_as_they_are(place, hour: Window):
    land(place, hour, queries=[{"metric": "orders", "counter": "orders_total"}])
    points = landed(place)
    assert points.select("service", "value").unique().sort("value").rows() == [
        (name, 60.0 * number) for number, name in enumerate(SERVICES, start=1)
    ]


@pytest.mark.parametrize("name", ["service) (vector(1)) or sum by (service", "a b", "service, service", 'x"', "service\n"])
def test_a_name_that_looks_like_a_query_is_refused_and_runs_nothing(place, hour: Window, name: str):
    """Prometheus 2 knows no quoted names and says so; 3 takes them as the names they are. Neither computes anything else."""
    query = {"metric": "orders", "counter": "orders_total"}
    labels = {"service": {"const": "shop"}, "environment": {"const": "production"}, "region": {"const": "eu"}, "attributes": [name]}
    with pytest.raises(SourceRejected, match=r"metric 'orders'.*(parse error|bad_data)"):
        land(place, hour, queries=[query], labels=labels)
    assert landed(place).is_empty()
