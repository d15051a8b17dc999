"""The story test: one planted incident travels from files in an inbox to the report, and its numbers are asserted at every stop."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from starlette.testclient import TestClient

from aftercast import landing, questions, warehouse
from aftercast.errors import QualityError
from aftercast.page.serving import application
from aftercast.settings import Settings
from aftercast.steps import extracting, postmortems, refreshing, reports
from aftercast.window import Window
from tests.canaries import SIGNS, words
from tests.story import planted_world
from tests.story.planted_world import CULPRIT, ONSET, OVER, Truth
from tests.story.refreshing import refresh


@dataclass(frozen=True)
class Story:
    """The world after a whole run."""

    settings: Settings
    truth: Truth
    counts: dict[str, int]
    report: Path

    def star(self, sql: str) -> pl.DataFrame:
        return warehouse.query(self.settings.warehouse, sql)

    def mart(self, sql: str) -> pl.DataFrame:
        return warehouse.query(self.settings.mart, sql)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    home = tmp_path_factory.mktemp("story")
    truth = planted_world.plant(home)
    before = {name: os.environ.get(name) for name in ("AFTERCAST_HOME", "AFTERCAST_CONFIG")}
    os.environ.update(AFTERCAST_HOME=str(home), AFTERCAST_CONFIG=str(home / "config"))
    settings = Settings.from_environment()
    told = logging.FileHandler(home / "tasks.log")
    logging.getLogger().addHandler(told)
    logging.getLogger("aftercast").setLevel(logging.DEBUG)
    counts = extracting.extract("drop", Window.parse("2026-08-31", "2026-09-28"), ingested_at=datetime(2026, 9, 28, 1, tzinfo=UTC))
    assert refreshing.plan()
    refresh()
    yield Story(settings, truth, counts, reports.send_report("weekly"))
    logging.getLogger("aftercast").setLevel(logging.NOTSET)
    logging.getLogger().removeHandler(told)
    told.close()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


def test_landing_takes_what_fits_and_quarantines_the_rest_with_reasons(story: Story):
    assert story.counts["rejected"] == 5
    refused = [json.loads(line) for path in story.settings.quarantine.rglob("*.jsonl") for line in path.read_text().splitlines()]
    reasons = " | ".join(sorted(row["reason"] for row in refused))
    assert len(refused) == 5
    for part in ("zone", "negative", "attempts", "currency", "JSON"):
        assert part.lower() in reasons.lower(), reasons


def test_the_star_holds_exactly_what_was_dropped(story: Story):
    kpis = story.star("select count(*) as n, sum(revenue_minor) as cents, sum(successes) as orders from star.fct_kpi_point").row(
        0, named=True
    )
    assert kpis["n"] == story.truth.kpi_rows
    assert float(kpis["cents"]) / 100 == pytest.approx(story.truth.revenue)
    assert kpis["orders"] == story.truth.orders
    assert story.star("select count(*) as n from star.fct_metric_point")["n"].item() == story.truth.metric_rows
    assert story.star("select count(*) as n from star.fct_change")["n"].item() == story.truth.changes
    assert story.star("select incident_id from star.fct_incident").rows() == [("INC-1",)]


def test_detection_sees_the_origin_and_little_else(story: Story):
    episodes = story.star("select * from star.fct_anomaly where hurts")
    hit = episodes.filter(
        (pl.col("subject") == "payments") & (pl.col("region") == "eu") & (pl.col("started_at") < OVER) & (pl.col("ended_at") > ONSET)
    )
    assert hit.height >= 1
    assert hit["started_at"].min() - ONSET < timedelta(minutes=20)
    assert (episodes["trained_until"] <= episodes["started_at"]).all()
    elsewhere = episodes.filter((pl.col("ended_at") < ONSET - timedelta(hours=1)) | (pl.col("started_at") > OVER + timedelta(hours=2)))
    assert elsewhere.height <= 5


def test_the_planted_deploy_is_the_first_candidate(story: Story):
    ranked = story.mart("select * from marts.mart_incident_candidates order by rank")
    assert ranked["probability"].sum() == pytest.approx(1, abs=1e-9)
    assert ranked.row(0, named=True)["candidate_id"] == CULPRIT
    assert ranked.row(0, named=True)["probability"] > 0.5
    assert "none" in ranked["kind"].to_list()
    decoy = ranked.filter(pl.col("candidate_id") == "deploy-78")["probability"]
    assert decoy.is_empty() or decoy.item() < 0.1


def test_the_planted_loss_lies_in_the_stated_interval(story: Story):
    incident = story.mart("select * from marts.mart_incidents").row(0, named=True)
    assert incident["impact_status"] == "quantified"
    assert float(incident["lost_revenue_low"]) <= story.truth.lost_revenue <= float(incident["lost_revenue_high"])
    assert float(incident["lost_revenue"]) == pytest.approx(story.truth.lost_revenue, rel=0.15)
    assert incident["currency"] == "EUR"


def test_impact_rows_add_up_to_the_incident(story: Story):
    parts = story.mart("select sum(lost_revenue) as lost from marts.mart_incident_impact where status <> 'unknown'")["lost"].item()
    whole = story.mart("select lost_revenue from marts.mart_incidents")["lost_revenue"].item()
    assert float(parts) == pytest.approx(float(whole), abs=0.05)


def test_coverage_shows_the_refused_rows(story: Story):
    coverage = story.mart(
        "select entity, received, landed, rejected, duplicate from marts.mart_source_coverage where entity = 'journey_kpis'"
    ).row(0, named=True)
    assert coverage["rejected"] == 4
    assert coverage["duplicate"] == 1
    assert coverage["received"] == coverage["landed"] + coverage["rejected"] + coverage["duplicate"]
    assert coverage["landed"] == story.truth.kpi_rows


def test_the_five_questions_have_answers_that_run(story: Story):
    for question in questions.all_questions():
        warehouse.query(story.settings.mart, question.sql)
    assert any("Orders fail in Europe" in line for line in questions.summary(warehouse.query, story.settings.mart))


def test_the_report_tells_the_story(story: Story):
    page = story.report.read_text()
    lost = float(story.mart("select lost_revenue from marts.mart_incidents")["lost_revenue"].item())
    assert "INC-1" in page
    assert "Orders fail in Europe" in page
    assert questions.money(lost, None) in page
    assert "2026-09-28" in page or "28 Sep" in page


def test_no_person_and_no_secret_is_left_in_anything_that_was_written_or_shown(story: Story):
    written = postmortems.draft_postmortems(datetime(2026, 9, 28, 2, tzinfo=UTC))
    assert written["written"] == 1
    looked = 0
    for where, content in words(story.settings):
        assert not SIGNS.search(content), f"{where}: {SIGNS.search(content)}"
        looked += 1
    assert looked > 200
    files = {path.relative_to(story.settings.home).parts[0] for path in story.settings.home.rglob("*") if path.is_file()}
    assert {"landing", "quarantine", "derived", "published", "reports", "postmortems", "warehouse.duckdb", "tasks.log"} <= files
    assert b"ask &lt;email&gt;" in story.report.read_bytes(), "the title of the incident is there, and its address is not"
    client = TestClient(
        application(lambda: story.settings.mart, [], lambda: datetime(2026, 9, 28, 2, tzinfo=UTC)), headers={"accept": "text/html"}
    )
    for path in ("/", "/incidents", "/incidents/INC-1", "/incidents?q=canary", "/journeys", "/health"):
        shown = client.get(path)
        assert not SIGNS.search(shown.content), path
    assert "ask &lt;email&gt;" in client.get("/incidents/INC-1").text


def test_a_second_plan_finds_nothing_to_do(story: Story):
    again = extracting.extract("drop", Window.parse("2026-08-31", "2026-09-28"), ingested_at=datetime(2026, 9, 29, tzinfo=UTC))
    assert again["changed_files"] == 0
    assert refreshing.plan() is False


def test_rebuilding_from_files_gives_the_same_mart(story: Story):
    tables = story.mart("select table_name from information_schema.tables where table_schema = 'marts' order by 1")["table_name"].to_list()
    assert len(tables) >= 19
    before = {table: story.mart(f"from marts.{table}") for table in tables}
    story.settings.warehouse.unlink()
    for table in ("anomalies", "candidates", "impact"):
        landing.derived_path(story.settings, table).unlink()
    landing.prepare(story.settings)
    refresh()
    for table in tables:
        after = story.mart(f"from marts.{table}")
        assert sorted(map(repr, after.rows())) == sorted(map(repr, before[table].rows())), table


def test_a_failed_gate_keeps_the_last_good_mart(story: Story):
    good = story.settings.mart.resolve()
    path = landing.derived_path(story.settings, "candidates")
    whole = pl.read_parquet(path)
    landing.write_derived(story.settings, "candidates", whole.with_columns(pl.col("probability") * 0.5))
    try:
        refreshing.marts()
        with pytest.raises(QualityError, match="mart_incident_candidates"):
            refreshing.check()
        assert story.settings.mart.resolve() == good
        assert story.mart("select sum(probability) as total from marts.mart_incident_candidates")["total"].item() == pytest.approx(1)
    finally:
        landing.write_derived(story.settings, "candidates", whole)
        refreshing.marts()
