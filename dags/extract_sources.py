"""Extract a source into the landing folder; one DAG for each row of `config/sources.yml`.

**When it is red.** Read the last line of the task log: it names the source, the window and what was refused. `SourceUnavailable` heals by
itself (the task retries); `SourceRejected`, `ConfigError`, `QualityError` need a person: no retry. Nothing is half landed: clear a failed
window to run it again. Rows that did not fit are in `quarantine/` with a reason; then see `aftercast replay <source>`. While nothing is
published, a notice says so in the place of the reports that are due. More: docs/runbooks/extract.md.

**Windows.** A scheduled run extracts its data interval, or everything since the source's last good window if runs were missed or failed,
less the overlap its row asks for. To extract a given span, trigger the DAG with `{"from": "2026-09-21", "to": "2026-09-28"}`; the same
window always lands the same files. A window longer than `max_window_days` is landed part by part: the log says "window 3 of 9".
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, task

from aftercast.assets import NO_RETRY_WHEN_REFUSED, landed, queue_of
from aftercast.declarations import SourceRow
from aftercast.settings import Settings

EMBEDDED = bool(os.environ.get("AFTERCAST_EMBEDDED"))


def withhold(context: dict[str, Any]) -> None:
    from aftercast.steps import reports

    reports.withhold_first_reports(str(context["exception"]), datetime.now(UTC), task=context["dag"].dag_id)


def extract_dag(row: SourceRow) -> DAG:
    """Build the DAG of one source."""
    with DAG(
        dag_id=f"extract__{row.name}",
        schedule=None if EMBEDDED else CronDataIntervalTimetable(row.schedule, timezone="UTC"),
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        doc_md=__doc__,
        tags=["extract", row.kind],
        default_args={"owner": row.owner, "on_failure_callback": withhold, "queue": queue_of(row), "retry_policy": NO_RETRY_WHEN_REFUSED},
        params={"from": Param(None, type=["null", "string"]), "to": Param(None, type=["null", "string"])},
    ) as dag:

        @task(outlets=[landed(row.name)], retries=1 if EMBEDDED else 3, retry_delay=timedelta(seconds=5 if EMBEDDED else 60))
        def extract(params: Any = None, data_interval_start: Any = None, data_interval_end: Any = None, dag_run: Any = None):
            from aftercast.steps import extracting

            window = extracting.choose_window(row.name, params["from"], params["to"], data_interval_start, data_interval_end)
            return extracting.extract(row.name, window, ingested_at=dag_run.run_after)

        extract()
    return dag


for source in Settings.from_environment().deployment.sources:
    globals()[f"extract__{source.name}"] = extract_dag(source)
