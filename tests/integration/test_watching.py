"""The pipeline's metrics reach a real Prometheus by way of a real node exporter, its alerts fire there, and its rules pass promtool."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import yaml

from aftercast import watching
from aftercast.settings import PROJECT, Settings
from aftercast.steps import watching as steps
from tests.integration.services import free_port, require, running, wait_until
from tests.unit.test_watching import place, publish

RULES = PROJECT / "deploy" / "prometheus" / "aftercast.rules.yml"

__all__ = ["place"]


def test_the_rules_are_what_promtool_takes_and_each_alert_is_tested():
    promtool = require("prometheus", "promtool")
    for arguments in (["check", "rules", str(RULES)], ["test", "rules", str(RULES.with_name("aftercast.rules.test.yml"))]):
        done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    tests = yaml.safe_load(RULES.with_name("aftercast.rules.test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert {rule["alert"] for rule in group["rules"]} == fired
    assert all((PROJECT / rule["annotations"]["runbook"]).exists() for rule in group["rules"])


@pytest.mark.slow
def test_a_real_prometheus_answers_how_old_the_mart_is(place: Settings, tmp_path: Path):
    now = datetime.now(UTC)
    publish(place, now - timedelta(hours=30))
    steps.task_ended("refresh_warehouse", "publish", "1", -1, "failed", now - timedelta(seconds=42), now, whole=True)
    ports = {"exporter": free_port(), "prometheus": free_port()}
    # As deployed, but at once: the alert must not wait half an hour here.
    rules = yaml.safe_load(RULES.read_text())
    for rule in rules["groups"][0]["rules"]:
        rule["for"] = "0s"
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    config = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
        "rule_files": [str(tmp_path / "rules.yml")],
        "scrape_configs": [{"job_name": "node", "static_configs": [{"targets": [f"127.0.0.1:{ports['exporter']}"]}]}],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
    exporter = [
        require("prometheus-node-exporter", "prometheus-node-exporter"),
        *("--collector.disable-defaults", "--collector.textfile", f"--collector.textfile.directory={place.metrics}"),
        f"--web.listen-address=127.0.0.1:{ports['exporter']}",
    ]
    server = [
        require("prometheus", "prometheus"),
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
    ]
    with running(exporter, tmp_path / "exporter.log"), running(server, tmp_path / "prometheus.log"):
        base = f"http://127.0.0.1:{ports['prometheus']}"

        def answer(query: str) -> list[tuple[dict[str, str], float]]:
            found = httpx.get(f"{base}/api/v1/query", params={"query": query}).json()["data"]["result"]
            return [(one["metric"], float(one["value"][1])) for one in found]

        wait_until(lambda: bool(answer("aftercast_mart_as_of_timestamp_seconds")), "the first scrape")
        ((_, age),) = answer("time() - aftercast_mart_as_of_timestamp_seconds")
        assert age == pytest.approx(time.time() - (now - timedelta(hours=30)).timestamp(), abs=30)
        ((labels, took),) = answer("aftercast_task_duration_seconds")
        assert (labels["dag"], labels["task"], took) == ("refresh_warehouse", "publish", 42)
        assert answer("node_textfile_scrape_error")[0][1] == 0
        exposed = {sample.metric for sample in watching.measure(place, now)}
        seen = httpx.get(f"{base}/api/v1/label/__name__/values").json()["data"]
        assert exposed <= set(seen)

        def firing() -> set[str]:
            alerts = httpx.get(f"{base}/api/v1/alerts").json()["data"]["alerts"]
            return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}

        wait_until(lambda: {"AftercastMartStale", "AftercastTaskFailed"} <= firing(), "the alerts")
        assert "AftercastMetricsMissing" not in firing()
