"""Act on incidents when a new mart is published: recommend, act after approval, or act, as far as `config/automation.yml` lets it.

`plan_*` decide with runbooks and guardrails and write every decision to `audit/`. `recommend` writes to the channels declared. `assist`
asks a person (Required Actions in Airflow), `act` carries out what was approved; no answer within the time is a no. `act_alone` carries
out what its class lets happen without asking. With `dry_run` nobody is asked and nothing is sent. One-shot runs skip it all.

**When it is red.** Nothing happens twice: the outbox knows what was sent, and clearing a task goes on from there. `plan_*` red: the message
names file and row, or there is no mart yet. `recommend` or `act` red: the message says which connection or other side refused. What may
or may not have arrived is `unsure` in the outbox: look there, then settle it. See docs/runbooks/act_on_incidents.md and docs/responding.md.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, task, task_group

from aftercast.assets import MART, ON_WAREHOUSE

with DAG(
    dag_id="act_on_incidents",
    schedule=None if os.environ.get("AFTERCAST_EMBEDDED") else [MART],
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["response"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=20), **ON_WAREHOUSE},
):

    @task
    def plan(which: str) -> list[Any]:
        from aftercast.steps import responses

        return responses.plan_responses(datetime.now(UTC))[which]

    @task
    def recommend() -> dict[str, int]:
        from aftercast.steps import responses

        return responses.recommend(datetime.now(UTC))

    @task
    def act(key: str, answer: dict[str, Any] | None) -> str:
        from aftercast.steps import responses

        return responses.act(key, answer, datetime.now(UTC))

    @task_group
    def assist(key: str, subject: str, body: str) -> None:
        waits = {"defaults": "Reject", "response_timeout": timedelta(minutes=20)}
        asked = HITLOperator(task_id="ask", subject=subject, body=body, options=["Approve", "Reject"], **waits)
        act(key, asked.output)  # a no is written down too

    recommend()
    assist.expand_kwargs(plan.override(task_id="plan_to_ask")("asks"))
    act.override(task_id="act_alone").partial(answer=None).expand(key=plan.override(task_id="plan_to_act")("acts"))
