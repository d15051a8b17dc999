"""Refresh the warehouse after a landing: stage, star, watch, detect, gather, correlate, measure, marts, check, publish.
`watch` deals the watched series to chunks, `detect` refits and scores one chunk a task, `gather` puts together what they found.

**When it is red.** The published mart is untouched: readers keep the last good one, and `aftercast status` says how old it is.
`plan` red: configuration or landing cannot be read; the message names the file. `stage`, `star`, `marts` red: a dbt model or test
failed; the message names the node, its compiled SQL is under `dbt/target`. `check` red: a quality gate failed; the message names the suite,
the expectation and what was seen, and a notice stands in the place of the reports that are due. Fix the cause and clear the failed task;
every task replaces its whole output. `plan` skips the rest when nothing changed since the published mart was built.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, AssetAll, AssetAny, chain, task

from aftercast.assets import MART, ON_WAREHOUSE, WRITER_POOL, landed
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
    default_args={"pool": WRITER_POOL, "retries": 1, "retry_delay": timedelta(seconds=5), **ON_WAREHOUSE},
):

    def step(name: str, decorate=task, **arguments: object):  # noqa: ANN001, ANN201
        """Return a task that runs the function of that name in `aftercast.steps.refreshing` on chunks of series, if it takes any."""

        @decorate(task_id=name, **arguments)
        def run(chunks: object = None) -> object:
            from aftercast.steps import refreshing

            return getattr(refreshing, name)(*([] if chunks is None else [chunks]))

        return run

    def withhold(context: dict) -> None:
        from aftercast.steps import reports

        reports.withhold_reports(str(context.get("exception")), datetime.now(UTC))

    chunks = step("watch")()
    chain(step("plan", task.short_circuit)(), step("stage")(), step("star")(), chunks)
    chain(
        step("detect", pool="default_pool").expand(chunks=chunks),
        step("gather")(chunks),
        *(step(name)() for name in ("correlate", "measure", "marts")),
        step("check", on_failure_callback=withhold)(),
        step("publish", outlets=[MART])(),
    )
