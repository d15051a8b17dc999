"""Render and send a report; one DAG for each row of `config/reports.yml`, run when a new mart has been published or on the row's schedule.

The page is written first, then it goes through the row's channels, each address once. To send a correction, trigger the DAG with `again`;
another period is rendered with `period`, such as `2026-W45`.

**When it is red.** The mart is fine. The message says which figure did not add up (then a notice lies in the page's place), that the mart
does not hold the period yet, or which channel and server refused. Clear the task to try again: the same mart gives the same page, and what
was sent is not sent twice. `unsure` may have arrived where nobody can be asked: look there, then `aftercast outbox settle KEY sent`.
More: docs/runbooks/send_reports.md.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronTriggerTimetable, Param, task

from aftercast.assets import MART, ON_WAREHOUSE, deadlines
from aftercast.declarations import ReportRow
from aftercast.settings import Settings

EMBEDDED = bool(os.environ.get("AFTERCAST_EMBEDDED"))


def report_dag(row: ReportRow) -> DAG:
    """Build the DAG of one report."""
    by_the_clock = None if EMBEDDED or row.follows_the_refresh else CronTriggerTimetable(row.schedule, timezone="UTC")
    waits = not EMBEDDED and (row.channels != ("file",) or not row.follows_the_refresh)
    with DAG(
        dag_id=f"send_reports__{row.name}",
        schedule=[MART] if row.follows_the_refresh else by_the_clock,
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        doc_md=__doc__,
        params={"period": Param(None, type=["null", "string"]), "again": Param(False, type="boolean")},
        tags=["report"],
        deadline=deadlines(f"send_reports__{row.name}"),
    ) as dag:

        @task(
            retries=5 if waits else 1,
            retry_delay=timedelta(minutes=10) if waits else timedelta(seconds=5 if EMBEDDED else 20),
            **ON_WAREHOUSE,
        )
        def send(params: dict[str, object] | None = None) -> str:
            from aftercast.steps import reports

            asked = params or {}
            return str(reports.send_report(row.name, asked.get("period"), now=datetime.now(UTC), again=bool(asked.get("again"))))

        send()
    return dag


for report in Settings.from_environment().deployment.reports:
    globals()[f"send_reports__{report.name}"] = report_dag(report)
