"""Keep the landing folder true and tidy, once a week: reconcile sources with what they say today, forget what is too old to keep.

`reconcile` extracts the last `reconcile_days` of a source again as one window, so that records deleted upstream go; sources whose row
says 0 have no such task. A reconciliation that changed something is a landing like any other: the refresh follows. `prune` deletes raw
pages and, where a source has `keep_days`, rows past their days, and what killed extracts left; the next refresh is without them.

**When it is red.** Nothing is lost: a source that could not be reconciled keeps its rows, deleted ones among them, until the next time.
`reconcile` red: as for `extract__<source>`, whose log line it shows. `prune` red: a folder or the audit log cannot be read or written.
Clear the task after mending the cause. See docs/runbooks/maintain_warehouse.md.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, task

from aftercast.assets import ON_WAREHOUSE, landed, queue_of
from aftercast.settings import Settings

EMBEDDED = bool(os.environ.get("AFTERCAST_EMBEDDED"))

with DAG(
    dag_id="maintain_warehouse",
    schedule=None if EMBEDDED else CronTriggerTimetable("30 3 * * 0", timezone="UTC"),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["maintenance"],
    default_args={"retries": 1, "retry_delay": timedelta(minutes=10), **ON_WAREHOUSE},
):

    @task
    def prune(dag_run: Any = None) -> dict[str, int]:
        from aftercast.steps import extracting

        return extracting.prune(dag_run.run_after)

    def reconcile(source: str, queue: str):  # noqa: ANN201
        """Return the task that reconciles one source."""

        @task(task_id=f"reconcile__{source}", outlets=[landed(source)], queue=queue)
        def run(dag_run: Any = None) -> dict[str, int]:
            from aftercast.steps import extracting

            return extracting.reconcile(source, ingested_at=dag_run.run_after)

        return run

    for row in Settings.from_environment().deployment.sources:
        if row.reconcile_days:
            reconcile(row.name, queue_of(row))()
    prune()
