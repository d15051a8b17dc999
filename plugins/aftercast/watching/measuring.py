"""Take the measurements: from the published mart, landing, quarantine, quality, the outbox, and what tasks wrote down. Nothing is changed.

What cannot be read is left out or, where its absence would look like good news, said by a metric of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from aftercast import landing, warehouse
from aftercast.acting.outbox import Outbox, State
from aftercast.errors import OutboxError, WarehouseError
from aftercast.landing import coverage
from aftercast.settings import Deployment, Settings
from aftercast.version import code_version
from aftercast.watching import records
from aftercast.watching.exposition import Sample, text
from aftercast.watching.freshness import Publish, standing

FILE = "aftercast.prom"

# Incidents nobody can learn from: no ranked candidate, or no word on what was lost.
UNSCORED = """
select
    count(*) as incidents,
    count(*) filter (
        where not coalesce(exclude_from_metrics, false) and (top_candidate_kind is null or impact_status is null)
    ) as unscored
from marts.mart_incidents
"""


def measure(settings: Settings, now: datetime) -> list[Sample]:
    """Return every measurement there is at a moment.

    Raises:
        ConfigError: the configuration cannot be read.
    """
    deployment = settings.deployment
    return [
        Sample("aftercast_build_info", 1, {"version": code_version()}),
        Sample("aftercast_measured_timestamp_seconds", now.timestamp()),
        *_mart(settings, deployment, now),
        *_sources(settings, deployment),
        *_gates(settings),
        *_outbox(settings),
        *_tasks(settings),
        *(
            Sample("aftercast_deadline_missed_timestamp_seconds", at.timestamp(), {"dag": dag})
            for dag, at in records.missed(settings).items()
        ),
    ]


def write(settings: Settings, now: datetime) -> Path:
    """Write the measurements where Prometheus' node exporter reads them; return the file."""
    target = settings.metrics / FILE
    records.write_whole(target, text(measure(settings, now)))
    return target


def history(settings: Settings) -> list[Publish]:
    """Return when marts were published: what was written down, else what the files that are kept say."""
    noted = records.publishes(settings)
    if noted or not settings.mart.exists():
        return noted
    as_of = warehouse.query(settings.mart, "select as_of from marts.mart_run").item()
    return [Publish(_placed(settings), as_of)]


def _placed(settings: Settings) -> datetime:
    """When the link that readers follow was moved."""
    return datetime.fromtimestamp(settings.mart.lstat().st_mtime, UTC)


def _mart(settings: Settings, deployment: Deployment, now: datetime) -> Iterator[Sample]:
    promise = deployment.pipeline.freshness
    yield Sample("aftercast_mart_freshness_limit_seconds", promise.within.total_seconds())
    yield Sample("aftercast_mart_freshness_objective_ratio", promise.objective)
    if not settings.mart.exists():
        return
    try:
        with warehouse.connect(settings.mart) as connection:
            as_of = warehouse.frame(connection, "select as_of from marts.mart_run").item()
            counts: dict[str, Any] = {}
            if "mart_incidents" in set(warehouse.frame(connection, "select table_name from duckdb_tables()")["table_name"]):
                counts = warehouse.frame(connection, UNSCORED).row(0, named=True)
    except WarehouseError:
        return
    yield Sample("aftercast_mart_as_of_timestamp_seconds", as_of.timestamp())
    yield Sample("aftercast_mart_published_timestamp_seconds", _placed(settings).timestamp())
    if counts:
        yield Sample("aftercast_mart_incidents", counts["incidents"])
        yield Sample("aftercast_mart_incidents_unscored", counts["unscored"])
    stands = standing(history(settings), promise, now)
    if stands is not None and stands.ratio is not None:
        yield Sample("aftercast_mart_freshness_ratio", stands.ratio)
        yield Sample("aftercast_mart_freshness_known_seconds", stands.known.total_seconds())


def _sources(settings: Settings, deployment: Deployment) -> Iterator[Sample]:
    for source in deployment.sources:
        labels = {"source": source.name}
        for outcome, rows in coverage.totals(settings, source.name).items():
            yield Sample("aftercast_source_rows", rows, labels | {"outcome": outcome})
        yield Sample("aftercast_source_quarantined_rows", landing.quarantined(settings, source.name), labels)
        until = landing.covered_until(settings, source.name)
        if until is not None:
            yield Sample("aftercast_source_covered_until_timestamp_seconds", until.timestamp(), labels)


def _gates(settings: Settings) -> Iterator[Sample]:
    for path in sorted((settings.home / "quality").glob("*.json")):
        try:
            judged = json.loads(path.read_text(encoding="utf-8"))
            expected, failed = int(judged["expectations"]), len(judged["failed"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        yield Sample("aftercast_gate_expectations", expected, {"suite": path.stem})
        yield Sample("aftercast_gate_failed", failed, {"suite": path.stem})


def _outbox(settings: Settings) -> Iterator[Sample]:
    try:
        states = Outbox(settings.outbox).rows()["state"].to_list() if settings.outbox.exists() else []
    except OutboxError:
        yield Sample("aftercast_outbox_unreadable", 1)
        return
    yield Sample("aftercast_outbox_unreadable", 0)
    for state in get_args(State):
        yield Sample("aftercast_outbox_deliveries", states.count(state), {"state": state})


def _tasks(settings: Settings) -> Iterator[Sample]:
    found: dict[tuple[str, str], list[records.TaskEnd]] = {}
    for end in records.tasks(settings):
        found.setdefault((end.dag, end.task), []).append(end)
    for (dag, task), ends in found.items():
        # Of a mapped task those of the last run: an earlier one may have had more of them.
        newest = max(ends, key=lambda end: end.ended)
        last = [end for end in ends if end.run == newest.run]
        labels = {"dag": dag, "task": task}
        yield Sample("aftercast_task_duration_seconds", max((end.ended - end.started).total_seconds() for end in last), labels)
        yield Sample("aftercast_task_ended_timestamp_seconds", newest.ended.timestamp(), labels)
        yield Sample("aftercast_task_failed", float(any(end.state == "failed" for end in last)), labels)
