"""Render and send a report; one DAG for each row of `config/reports.yml`, run when a new mart has been published.

**When it is red.** The mart is fine; only the page is missing. The message says which figure did not add up or which channel refused.
Clear the task to render again: the same mart gives the same page.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, task

from aftercast.assets import MART, NO_RETRY_WHEN_REFUSED
from aftercast.declarations import ReportRow
from aftercast.settings import Settings


def report_dag(row: ReportRow) -> DAG:
    """Build the DAG of one report."""
    with DAG(
        dag_id=f"send_reports__{row.name}",
        schedule=[MART],
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        doc_md=__doc__,
        tags=["report"],
    ) as dag:

        @task(retries=1, retry_delay=timedelta(seconds=20), retry_policy=NO_RETRY_WHEN_REFUSED)
        def send() -> str:
            from aftercast.steps import reports

            return str(reports.send_report(row.name))

        send()
    return dag


for report in Settings.from_environment().deployment.reports:
    globals()[f"send_reports__{report.name}"] = report_dag(report)
