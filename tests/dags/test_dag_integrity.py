"""The DAGs parse without heavy imports, hang together through assets, and keep the warehouse to one writer."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import AssetAll, AssetAny
from airflow.sdk.definitions.mappedoperator import MappedOperator

from aftercast.assets import MART, WRITER_POOL
from aftercast.errors import QualityError, SourceRejected
from aftercast.settings import PROJECT, Settings
from tests.unit import reports_fixture, weekly_fixture

HEAVY = {"prophet", "dbt", "great_expectations", "duckdb", "pandas", "sklearn", "altair", "scipy"}
CHAIN = ["plan", "stage", "star", "watch", "detect", "gather", "correlate", "measure", "marts", "check", "publish"]


@pytest.fixture(scope="module")
def bag() -> DagBag:
    bag = DagBag(dag_folder=PROJECT / "dags")
    assert bag.import_errors == {}
    return bag


def test_each_source_and_report_has_its_dag(bag: DagBag):
    deployment = Settings.from_environment().deployment
    expected = {f"extract__{row.name}" for row in deployment.sources} | {f"send_reports__{row.name}" for row in deployment.reports}
    always = {"refresh_warehouse", "maintain_warehouse", "draft_postmortems", "review_postmortems", "act_on_incidents"}
    assert set(bag.dags) == expected | always
    assert len(deployment.sources) > 0


def test_the_refresh_runs_its_steps_in_order(bag: DagBag):
    dag = bag.dags["refresh_warehouse"]
    assert set(dag.task_ids) == set(CHAIN)
    for before, after in itertools.pairwise(CHAIN):
        assert dag.get_task(before).downstream_task_ids == ({after, "gather"} if before == "watch" else {after})


def test_every_task_but_the_mapped_one_takes_the_writer_slot(bag: DagBag):
    dag = bag.dags["refresh_warehouse"]
    assert {task.task_id for task in dag.tasks if task.pool != WRITER_POOL} == {"detect"}
    assert isinstance(dag.get_task("detect"), MappedOperator)


def test_a_landing_triggers_the_refresh_and_a_publish_triggers_the_reports(bag: DagBag):
    landings = {
        outlet.uri for dag in bag.dags.values() for task in dag.tasks for outlet in task.outlets if dag.dag_id.startswith("extract__")
    }
    trigger = bag.dags["refresh_warehouse"].timetable.asset_condition
    assert isinstance(trigger, AssetAny | AssetAll)
    assert {asset.uri for asset in trigger.objects} == landings
    assert [outlet.uri for outlet in bag.dags["refresh_warehouse"].get_task("publish").outlets] == [MART.uri]
    following = {f"send_reports__{row.name}" for row in Settings.from_environment().deployment.reports if row.follows_the_refresh}
    assert following
    for name, dag in bag.dags.items():
        if name in following or name == "draft_postmortems":
            assert {asset.uri for asset in dag.timetable.asset_condition.objects} == {MART.uri}


def test_a_report_with_a_schedule_of_its_own_runs_by_the_clock_and_has_patience(bag: DagBag):
    own = [row for row in Settings.from_environment().deployment.reports if not row.follows_the_refresh]
    assert own
    for row in own:
        dag = bag.dags[f"send_reports__{row.name}"]
        assert dag.timetable.expression == row.schedule
        assert dag.get_task("send").retries == 5


def test_a_failed_refresh_says_so_in_the_place_of_the_reports(bag: DagBag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    refresh = bag.dags["refresh_warehouse"]
    assert all(task.has_on_failure_callback for task in refresh.tasks)
    settings = reports_fixture.deployment(tmp_path, monkeypatch, [{"name": "weekly"}, {"name": "later", "schedule": "0 6 2 * *"}], [])
    weekly_fixture.write(settings.warehouse, weekly_fixture.frames())
    for task, said in (
        ("check", '<li dir="auto">suite'),
        ("stage", '<li dir="auto">stage failed: suite'),
    ):
        (told,) = refresh.get_task(task).on_failure_callback
        told({"exception": QualityError("suite published__mart_incidents: 3 rows")})
        (notice,) = settings.reports.glob("*/*.withheld.html")
        assert f"{said} published__mart_incidents: 3 rows" in notice.read_text()


def test_a_source_that_fails_before_anything_is_published_says_so_too(bag: DagBag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (extract, *_) = (dag for name, dag in bag.dags.items() if name.startswith("extract__"))
    settings = reports_fixture.deployment(tmp_path, monkeypatch, [{"name": "weekly"}], [])
    (told,) = extract.get_task("extract").on_failure_callback
    context = {"exception": SourceRejected("no file orders.csv"), "dag": extract}
    told(context)
    assert not list(settings.reports.glob("*/*")), "a source that fails later holds up no report"
    settings.mart.unlink()
    told(context)
    (notice,) = settings.reports.glob("*/*.withheld.html")
    assert f"{extract.dag_id} failed: no file orders.csv" in notice.read_text()
    assert "Nothing has been published yet" in notice.read_text()


def test_maintenance_reconciles_the_sources_that_ask_for_it(bag: DagBag):
    asking = {row.name for row in Settings.from_environment().deployment.sources if row.reconcile_days}
    assert asking
    tasks = bag.dags["maintain_warehouse"].tasks
    assert {task.task_id for task in tasks} == {"prune"} | {f"reconcile__{name}" for name in asking}
    assert {outlet.name for task in tasks for outlet in task.outlets} == {f"landing/{name}" for name in asking}


def test_extracts_have_data_intervals_not_points(bag: DagBag):
    timetables = [dag.timetable for name, dag in bag.dags.items() if name.startswith("extract__")]
    assert timetables
    assert all(type(timetable).__name__ == "CronDataIntervalTimetable" for timetable in timetables)


def test_every_dag_says_what_to_do_when_it_is_red(bag: DagBag):
    assert all("When it is red" in (dag.doc_md or "") and dag.max_active_runs == 1 and not dag.catchup for dag in bag.dags.values())


def test_no_dag_file_is_longer_than_sixty_lines():
    files = list((PROJECT / "dags").glob("*.py"))
    assert files
    assert {file.name: len(file.read_text().splitlines()) for file in files if len(file.read_text().splitlines()) > 60} == {}


def test_parsing_imports_nothing_heavy(tmp_path: Path):
    program = (
        "import json, sys, runpy\n"
        f"for name in {[str(path) for path in sorted((PROJECT / 'dags').glob('*.py'))]!r}: runpy.run_path(name)\n"
        f"print(json.dumps(sorted({HEAVY!r} & set(sys.modules))))\n"
    )
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_runs_that_matter_have_the_deadline_that_is_declared(bag: DagBag):
    declared = {row.dag: row.minutes for row in Settings.from_environment().deployment.pipeline.deadlines}
    assert set(declared) == {"refresh_warehouse", "send_reports__weekly"}
    found = {name: [alert.interval.total_seconds() / 60 for alert in dag.deadline or []] for name, dag in bag.dags.items()}
    assert {name: minutes for name, minutes in found.items() if minutes} == {name: [minutes] for name, minutes in declared.items()}
    for name in declared:
        (alert,) = bag.dags[name].deadline
        assert alert.callback.kwargs == {"dag": name}
        module, function = alert.callback.path.rsplit(".", 1)
        assert callable(getattr(importlib.import_module(module), function))
