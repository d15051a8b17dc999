"""What holds for every model: documentation, layers, privacy, style, and rebuilding."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml

from aftercast import landing, transform, warehouse
from aftercast.errors import TransformError
from aftercast.settings import PROJECT, Settings
from tests.warehouse import metrics_page, world
from tests.warehouse.conftest import SELECTORS, Query

MODELS = PROJECT / "dbt_project" / "models"
PROMISED = {
    "mart_incidents": """incident_id title severity service_origin started_at detected_at acknowledged_at mitigated_at resolved_at
        detection_method family_id lost_revenue lost_revenue_low lost_revenue_high currency impact_status top_candidate_kind
        top_candidate_id top_candidate_probability p_none""",
    "mart_incident_candidates": "incident_id rank kind candidate_id service probability score rationale evidence human_verdict",
    "mart_incident_impact": """incident_id journey segment expected_attempts actual_attempts lost_revenue lost_revenue_low
        lost_revenue_high status""",
    "mart_fix_impact": "action_item_id outcome n_before exposure_before n_after exposure_after estimate ci_low ci_high verdict",
}
NAMED_IN_ARCHITECTURE = """
    mart_incidents mart_incident_candidates mart_incident_impact mart_anomalies mart_incident_timeline mart_families mart_changes
    mart_fix_impact mart_action_items mart_recommendations mart_journey_health mart_detector_scorecard mart_signal_quality mart_response
    mart_dora mart_learning_loop mart_leading_indicators mart_source_coverage mart_run
"""
PERSONS = {"actor", "author", "person", "user", "email", "responder", "assignee", "engineer", "token"}


def columns(query: Query) -> dict[str, list[str]]:
    """Column names of every mart, as built."""
    rows = query(
        "select table_name, column_name from information_schema.columns where table_schema = 'marts' order by table_name, ordinal_position"
    )
    return {str(name): group["column_name"].to_list() for (name,), group in rows.group_by("table_name", maintain_order=True)}


def test_every_mart_named_in_the_architecture_exists_with_its_promised_columns(ask: Query):
    built = columns(ask)
    assert set(NAMED_IN_ARCHITECTURE.split()) <= set(built)
    for mart, promised in PROMISED.items():
        assert set(promised.split()) <= set(built[mart]), mart


def test_metrics_page_covers_every_published_column(ask: Query):
    described = {model["name"]: [column["name"] for column in model["columns"]] for model in metrics_page.models()}
    assert described == columns(ask)
    assert metrics_page.PAGE.read_text(encoding="utf-8") == metrics_page.page(), "run `python -m tests.warehouse.metrics_page`"


def test_a_column_is_null_only_where_its_null_is_explained(ask: Query):
    unexplained = []
    for model in metrics_page.models():
        rows = ask(f"from marts.{model['name']}")
        assert rows.height, model["name"]
        unexplained += [
            f"{model['name']}.{column['name']}"
            for column in model["columns"]
            if rows[column["name"]].null_count() and not metrics_page.split(column["description"])[1]
        ]
    assert not unexplained, ", ".join(unexplained)


def test_comments_reach_the_warehouse(ask: Query):
    bare = ask("select table_name, column_name from duckdb_columns() where schema_name = 'marts' and comment is null").rows()
    assert not bare


def test_no_mart_knows_persons(ask: Query):
    found = [f"{mart}.{name}" for mart, names in columns(ask).items() for name in names if PERSONS & set(name.split("_"))]
    assert not found
    texts = "".join(repr(ask(f"from marts.{mart}").rows()) for mart in columns(ask))
    assert "INC-1" in texts
    assert "tok_7" not in texts


def test_a_mart_reads_neither_staging_nor_sources():
    read = {path.stem: path.read_text() for path in (MODELS / "marts").glob("*.sql")}
    assert len(read) >= 19
    assert not [name for name, sql in read.items() if "ref('stg_" in sql or "source(" in sql]


def test_no_model_reads_the_clock():
    clock = re.compile(r"\b(now\s*\(|current_(date|timestamp|time)|get_current_timestamp|today\s*\()", re.IGNORECASE)
    sql = {path: path.read_text() for folder in ("models", "macros") for path in (PROJECT / "dbt_project" / folder).rglob("*.sql")}
    assert len(sql) > 90
    assert not [path.name for path, text in sql.items() if clock.search(text)]


def test_every_public_model_has_a_grain_test_and_every_model_a_description():
    models = [model for path in MODELS.rglob("_*.yml") for model in (yaml.safe_load(path.read_text()) or {}).get("models", [])]
    described = {model["name"] for model in models if model.get("description")}
    assert {path.stem for path in MODELS.rglob("*.sql")} == described
    public = [model for model in models if not model["name"].startswith(("stg_", "int_"))]
    assert len(public) > 50
    assert not [model["name"] for model in public if not any("unique_grain" in test for test in model.get("data_tests", []))]


def test_every_kind_of_change_severity_and_method_has_a_row_in_its_taxonomy(ask: Query):
    from aftercast.entities import CHANGE_KINDS, DETECTION_METHODS, SEVERITIES

    assert set(ask("select kind from seeds.change_types")["kind"]) == CHANGE_KINDS
    assert set(ask("select severity from seeds.severities")["severity"]) == SEVERITIES
    assert set(ask("select detection_method from seeds.detection_methods")["detection_method"]) == DETECTION_METHODS


def test_a_deployment_without_data_builds_every_mart_empty(nothing: Settings, ask: Query):
    built = columns(lambda sql: warehouse.query(nothing.warehouse, sql))
    assert built == columns(ask)
    assert {mart: warehouse.query(nothing.warehouse, f"from marts.{mart}").height for mart in built} == dict.fromkeys(built, 0)


def test_dbt_unit_tests_hold(nothing: Settings):
    summary = transform.unit_test(nothing)
    assert summary.passed == summary.nodes >= 15


def test_sql_is_in_style():
    command = [str(Path(sys.executable).with_name("sqlfluff")), "lint", "--processes", "1", "dbt_project/models", "dbt_project/tests"]
    checked = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_rows_in_another_order_and_a_second_build_change_nothing(company: Settings, tmp_path: Path):
    again = world.open_settings(tmp_path)
    world.write_company(again)
    for path in sorted(again.landing.glob("*/source=hand/*/*.parquet")):
        pl.read_parquet(path, hive_partitioning=False).reverse().write_parquet(path)
    for selector in (*SELECTORS, "star", "marts"):
        transform.build(again, selector)
    for schema in ("star", "marts"):
        tables = warehouse.query(company.warehouse, f"select table_name from information_schema.tables where table_schema = '{schema}'")
        assert tables.height >= 19
        for table in tables["table_name"]:
            first, second = (warehouse.query(home.warehouse, f"from {schema}.{table}") for home in (company, again))
            assert sorted(map(repr, first.rows())) == sorted(map(repr, second.rows())), table


def test_a_failing_node_is_named_with_its_message(tmp_path: Path):
    settings = world.open_settings(tmp_path)
    world.write_company(settings)
    for selector in SELECTORS[:2]:
        transform.build(settings, selector)
    candidates = pl.read_parquet(landing.derived_path(settings, "candidates"))
    landing.write_derived(settings, "candidates", pl.concat([candidates, candidates]))
    with pytest.raises(TransformError, match="unique_grain_fct_incident_candidate"):
        transform.build(settings, "marts")


def test_an_unknown_selector_is_refused(nothing: Settings):
    with pytest.raises(TransformError, match="starr"):
        transform.build(nothing, "starr")


def test_the_environment_is_left_as_it_was(nothing: Settings, monkeypatch: pytest.MonkeyPatch):
    import os

    monkeypatch.setenv("AFTERCAST_WAREHOUSE", "elsewhere")
    monkeypatch.delenv("AFTERCAST_LANDING", raising=False)
    transform.build(nothing, "stage")
    assert os.environ["AFTERCAST_WAREHOUSE"] == "elsewhere"
    assert "AFTERCAST_LANDING" not in os.environ


def test_freshness_is_measured_to_the_as_of_time(company: Settings):
    found = {row.entity: row for row in transform.freshness(company)}
    assert (found["incidents"].status, found["incidents"].hours_behind) == ("pass", 0.0)
    assert (found["alerts"].status, found["alerts"].hours_behind) == ("unknown", None)
    late = {"source": "hand", "entity": "changes", "window_start": world.START, "window_end": world.AS_OF - timedelta(hours=30)}
    world.land(company, "coverage", [late], file="late")
    try:
        lagging = {row.entity: row for row in transform.freshness(company)}["changes"]
    finally:
        (company.landing / "coverage" / "source=hand" / "date=2026-09-07" / "late.parquet").unlink()
    assert (lagging.status, lagging.hours_behind) == ("warn", 30.0)
