"""Ask people about postmortems that wait: approve, reject, assign to a team, or later, under *Required Actions*; to edit, edit the file.

Every four hours it asks afresh; no answer is `Later`. An answer holds for the text shown: of a file edited since nothing is written.

**When it is red.** Nothing was written; the next round asks again. `record`: the message names the file and why. `check`: the files it
names cannot be read. `ask`: answered within a second, before Airflow knew that it waits. See docs/runbooks/review_postmortems.md.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, CronTriggerTimetable, Param, task, task_group

from aftercast.assets import ON_WAREHOUSE


class Ask(HITLOperator):
    """A question whose reviewers are known only when it is asked."""

    template_fields = (*HITLOperator.template_fields, "assigned_users")


with DAG(
    dag_id="review_postmortems",
    schedule=None if os.environ.get("AFTERCAST_EMBEDDED") else CronTriggerTimetable("0 */4 * * *", timezone="UTC"),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["postmortems"],
    default_args=ON_WAREHOUSE,
):

    def step(name: str, function: str):  # noqa: ANN201
        @task(task_id=name, multiple_outputs=name == "show")
        def run(*given: Any, dag_run: Any = None) -> Any:
            from aftercast.steps import postmortems

            return getattr(postmortems, function)(*given, now=dag_run.run_after)

        return run

    @task_group
    def review(name: str) -> None:
        asked = step("show", "review_request")(name)
        answer = Ask(
            task_id="ask",
            options=["Approve", "Reject", "Assign", "Later"],
            response_timeout=timedelta(hours=3, minutes=50),
            params={field: Param(None, type=["null", "string"]) for field in ("cause", "team")},
            **{"defaults": "Later", "subject": asked["subject"], "body": asked["body"], "assigned_users": asked["users"]},
        )
        step("record", "record_review")(name, asked["seen"], answer.output)

    review.expand(name=step("waiting", "postmortems_to_review")())
    step("check", "check_postmortems")()
