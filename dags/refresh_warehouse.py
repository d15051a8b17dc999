"""Refresh the warehouse after a landing: stage, star, watch, detect, gather, correlate, measure, marts, check, publish.
`watch` deals the watched series to chunks, `detect` refits and scores one chunk a task, `gather` puts together what they found.

**When it is red.** The published mart is untouched: readers keep the last good one, and `aftercast status` says how old it is.
`plan` red: configuration or landing cannot be read; the message names the file. `stage`, `star`, `marts` red: a dbt model or test
failed; the message names the node, its compiled SQL is under `dbt/target`. `check` red: a gate failed; the message names the suite, the
expectation and what was seen. Whatever is red, a notice stands in the place of reports that are due and have no page. Fix the cause, clear
the task; each replaces its whole output. `plan` skips the rest when nothing changed. See docs/runbooks/refresh_warehouse.md.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from functools import partial

from airflow.sdk import DAG, AssetAll, AssetAny, chain, task

from aftercast.assets import MART, ON_WAREHOUSE, WRITER_POOL, deadlines, landed
from aftercast.settings import Settings

LANDINGS = [landed(source.name) for source in Settings.from_environment().deployment.sources]

with DAG(
    dag_id="refresh_warehouse",
    # On schedules any landing is news; the embedded run extracts every source once and refreshes once.
    schedule=AssetAll(*LANDINGS) if os.environ.get("AFTERCAST_EMBEDDED") else AssetAny(*LANDINGS),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["refresh"],
    deadline=deadlines("refresh_warehouse"),
    default_args={"pool": WRITER_POOL, "retries": 1, "retry_delay": timedelta(seconds=5), **ON_WAREHOUSE},
):

    def withhold(name: str, context: dict) -> None:
        from aftercast.steps import reports

        reports.withhold_reports(str(context.get("exception")), datetime.now(UTC), task=name)

    def step(name: str, decorate=task, **arguments: object):  # noqa: ANN001, ANN201
        """Return a task that runs the function of that name in `aftercast.steps.refreshing` on chunks of series, if it takes any."""

        @decorate(task_id=name, on_failure_callback=partial(withhold, name), **arguments)
        def run(chunks: object = None) -> object:
            from aftercast.steps import refreshing

            return getattr(refreshing, name)(*([] if chunks is None else [chunks]))

        return run

    chunks = step("watch")()
    chain(step("plan", task.short_circuit)(), step("stage")(), step("star")(), chunks)
    chain(
        step("detect", pool="default_pool").expand(chunks=chunks),
        step("gather")(chunks),
        *(step(name)() for name in ("correlate", "measure", "marts", "check")),
        step("publish", outlets=[MART])(),
    )
