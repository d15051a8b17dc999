"""Metrics are defined once: MetricFlow, the BI kit and SQL by hand give the same numbers; dashboards ask for nothing that is not there."""

from __future__ import annotations

import csv
import math
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from aftercast import publishing, warehouse
from aftercast.errors import ConfigError
from aftercast.settings import PROJECT, Settings
from tests.warehouse.conftest import Query

sys.path.insert(0, str(PROJECT / "bi"))
import bundle

BY_HAND = {
    "incidents": "select count(*) from marts.mart_incidents where not exclude_from_metrics",
    "lost_revenue": "select sum(lost_revenue) from marts.mart_incidents where impact_status = 'quantified' and not exclude_from_metrics",
    "quantified_share": "select avg((impact_status = 'quantified')::int) from marts.mart_incidents where not exclude_from_metrics",
    "detect_minutes_median": "select median(t_detect_minutes) from marts.mart_incidents where not exclude_from_metrics",
    "availability": "select sum(good) / sum(total) from marts.mart_journey_health",
    "change_fail_rate": "select sum(failed_deployments_n) / sum(deployments_n) from marts.mart_dora",
    "actions_open": "select count(*) from marts.mart_action_items where is_open",
}


@pytest.fixture(scope="module")
def mart(company: Settings) -> Path:
    publishing.publish(company, version="semantic")
    return company.mart


def test_the_bi_kit_and_metricflow_agree_with_sql_by_hand(company: Settings, ask: Query, tmp_path: Path):
    project, answer = tmp_path / "project", tmp_path / "answer.csv"
    shutil.copytree(PROJECT / "dbt_project", project, ignore=shutil.ignore_patterns("target", "logs"))
    (project / "target").mkdir()
    shutil.copy(company.home / "dbt" / "target" / "semantic_manifest.json", project / "target")
    environment = os.environ | {
        "AFTERCAST_WAREHOUSE": str(company.warehouse),
        "DBT_PROFILES_DIR": str(project),
        "DBT_LOG_PATH": str(tmp_path),
    }
    command = [str(Path(sys.executable).with_name("mf")), "query", "--metrics", ",".join(BY_HAND), "--csv", str(answer)]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert answer.exists(), done.stdout + done.stderr
    (found,) = csv.DictReader(answer.open())
    homes, metrics = bundle.semantic()
    for name, sql in BY_HAND.items():
        expected = float(ask(sql).item())
        assert math.isclose(float(found[name]), expected, rel_tol=1e-9), name
        assert math.isclose(float(ask(f"select {metrics[name]['sql']} from marts.{homes[name]}").item()), expected, rel_tol=1e-9), name


def test_every_metric_says_what_it_is_and_of_shares_what_null_means():
    layer = yaml.safe_load(bundle.SEMANTIC.read_text(encoding="utf-8"))
    assert len(layer["metrics"]) >= 15
    assert all(metric["label"] and metric["description"].endswith(".") for metric in layer["metrics"])
    assert all("Null:" in metric["description"] for metric in layer["metrics"] if metric["type"] == "ratio")


def test_the_bundle_is_the_same_for_the_same_mart_and_reads_only(mart: Path, tmp_path: Path):
    assert bundle.write(mart, tmp_path / "one.zip") == bundle.write(mart, tmp_path / "two.zip") >= 15
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as found:
        database = yaml.safe_load(found.read("aftercast/databases/Aftercast.yaml"))
        dataset = yaml.safe_load(found.read("aftercast/datasets/Aftercast/mart_incidents.yaml"))
    assert database["extra"]["engine_params"]["connect_args"] == {"read_only": True}
    assert not any(database[key] for key in ("allow_dml", "allow_ctas", "allow_cvas", "allow_file_upload"))
    assert {"incidents", "lost_revenue"} <= {metric["metric_name"] for metric in dataset["metrics"]}
    assert all(column["description"] for column in dataset["columns"])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "metrics: [incidents], width",
            "metrics: [incidentz], width",
            "'Incidents' asks mart_incidents for 'incidentz', which is not defined",
        ),
        ("order: lost_revenue,", "order: lost_money,", "'Costliest incidents' asks mart_incidents for 'lost_money', which is no column"),
        ("mart: mart_families", "mart: mart_famines", "no table mart_famines"),
        ("dashboards:\n", "dashboards: [}\n", "cannot be read as dashboards"),
    ],
)
def test_a_chart_that_asks_in_vain_is_named(mart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, said: str):
    text = (bundle.HERE / "dashboards.yml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "dashboards.yml").write_text(text.replace(old, new, 1), encoding="utf-8")
    monkeypatch.setattr(bundle, "HERE", tmp_path)
    with pytest.raises(ConfigError, match=said):
        bundle.files(mart)


def test_metrics_are_published_columns_only(mart: Path):
    homes, metrics = bundle.semantic()
    for name, metric in metrics.items():
        assert warehouse.query(mart, f"select {metric['sql']} from marts.{homes[name]}").height == 1
