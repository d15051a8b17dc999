"""Drafts and their review through a real Airflow: the DAG drafts, asks, is answered by REST, and only the lines of the state change."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aftercast import reviewing
from aftercast.declarations import SourceRow
from aftercast.embedded import driver
from aftercast.settings import Settings
from aftercast.sources import open_source
from aftercast.window import Window
from tests.integration import running_airflow
from tests.unit import drafts_fixture, landing_fixture

PATIENCE = 400.0
DAY = Window(datetime(2026, 11, 5, tzinfo=UTC), datetime(2026, 11, 6, tzinfo=UTC))
ENTITIES = ("postmortems", "incident_events", "action_items", "insights", "verdicts")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        monkeypatch.delenv(name)
    settings = landing_fixture.deployment(tmp_path)
    (settings.config / "postmortems.yml").write_text("reviewers: {cart-team: [nobody]}\n")
    drafts_fixture.publish(settings.home)
    return settings


@pytest.fixture
def airflow(place: Settings) -> Iterator[driver.Airflow]:
    with running_airflow.scheduling(place) as (client, _):
        yield client


def until(look: Callable[[], Any], fits: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not fits(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    return found


def states_of(airflow: driver.Airflow, dag: str, run: str) -> dict[tuple[str, int], str]:
    return {(task["task_id"], task["map_index"]): task["state"] for task in airflow.tasks(dag, run)}


def ended(states: dict[tuple[str, int], str]) -> bool:
    return bool(states) and all(state in driver.ENDED for state in states.values())


def questions(airflow: driver.Airflow, run: str) -> dict[str, dict[str, Any]]:
    """What is asked, by incident, once all three wait. Airflow fails a task whose answer comes before its scheduler knows that it waits."""
    until(lambda: list(states_of(airflow, "review_postmortems", run).values()), lambda states: states.count("awaiting_input") == 3)
    time.sleep(8)

    def asked() -> list[dict[str, Any]]:
        return list(airflow._call("GET", f"/api/v2/dags/review_postmortems/dagRuns/{run}/hitlDetails")["hitl_details"])

    found = until(asked, lambda them: len(them) == 3)
    return {one["body"].split("**")[1]: one for one in found}


def reply(airflow: driver.Airflow, question: dict[str, Any], option: str, **given: str) -> None:
    task = question["task_instance"]
    path = f"/api/v2/dags/review_postmortems/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}/{task['map_index']}/hitlDetails"
    inputs = {"cause": None, "team": None, **given}
    airflow._call("PATCH", path, json={"chosen_options": [option], "params_input": inputs})


@pytest.mark.slow
def test_drafts_are_asked_about_and_an_approved_one_comes_back_as_knowledge(place: Settings, airflow: driver.Airflow):
    drafted = airflow.trigger("draft_postmortems", {})
    assert until(lambda: states_of(airflow, "draft_postmortems", drafted), ended) == {("draft", -1): "success"}
    there, broken = reviewing.documents(place.postmortems)
    assert ([one.incident_id for one in there], broken) == (["INC-1", "INC-2"], [])
    (place.postmortems / "own.md").write_text("---\nincident_id: INC-5\ntitle: Ours\nstatus: draft\n---\nWords.\n")
    (place.postmortems / "broken.md").write_text("---\nincident_id: [\n---\n")

    run = airflow.trigger("review_postmortems", {})
    asked = questions(airflow, run)
    assert "overdue" in asked["INC-1"]["subject"]
    before = {name: (place.postmortems / name).read_text() for name in ("INC-1.md", "INC-2.md", "own.md")}
    reply(airflow, asked["INC-1"], "Approve", cause="change:deploy-77")
    reply(airflow, asked["INC-2"], "Assign", team="cart-team")
    mine = before["own.md"].replace("Words.", "Better words.")
    (place.postmortems / "own.md").write_text(mine)
    reply(airflow, asked["INC-5"], "Approve")
    states = until(lambda: states_of(airflow, "review_postmortems", run), ended)
    record = {states[("review.record", asked[one]["task_instance"]["map_index"])]: one for one in ("INC-1", "INC-5")}
    assert record == {"success": "INC-1", "failed": "INC-5"}
    assert states[("check", -1)] == "failed"
    failed = {task["task_id"]: airflow.log_tail(task) for task in airflow.tasks("review_postmortems", run) if task["state"] == "failed"}
    assert "own.md has moved on since it was shown" in failed["review.record"]
    assert "broken.md, line 2: the front matter is no YAML" in failed["check"]

    assert (place.postmortems / "own.md").read_text() == mine
    approved, assigned = (reviewing.read(place.postmortems, name) for name in ("INC-1.md", "INC-2.md"))
    assert (approved.state, approved.front.text("cause"), assigned.state) == ("reviewed", "change:deploy-77", "in review")
    written = set(approved.text.splitlines()) - set(before["INC-1.md"].splitlines())
    assert {line.split(":")[0] for line in written} == {"status", "cause", "reviewed_at", "updated"}

    # A new round asks the team that it is assigned to: another user may not answer.
    again = airflow.trigger("review_postmortems", {})
    (place.postmortems / "INC-1.md").touch()
    later = until(
        lambda: airflow._call("GET", f"/api/v2/dags/review_postmortems/dagRuns/{again}/hitlDetails")["hitl_details"],
        lambda them: len(them) == 2,
    )
    users = {one["body"].split("**")[1]: [user["id"] for user in one["assigned_users"]] for one in later}
    assert users == {"INC-2": ["nobody"], "INC-5": []}

    # Only the reviewed one is knowledge.
    row = SourceRow(
        name="reviews", kind="postmortems", entities=ENTITIES, options={"inbox": "postmortems", "statuses": ["reviewed", "closed"]}
    )
    landing_fixture.land(place, DAY, *open_source(row, place).extract(DAY), source=row, at=datetime.now(UTC))
    landed = {entity: landing_fixture.landed(place, entity).to_dicts() for entity in ENTITIES if entity != "incident_events"}
    assert [(one["incident_id"], one["status"]) for one in landed["postmortems"]] == [("INC-1", "reviewed")]
    assert [(one["subject_kind"], one["subject_id"], one["verdict"]) for one in landed["verdicts"]] == [("change", "deploy-77", "confirm")]
    assert len(landed["action_items"]) == 5
    assert landed["insights"] == []
