"""Act on incidents when a new mart is published: recommend, act after approval, or act, as far as `config/automation.yml` lets it.

`plan` decides with runbooks and guardrails and writes every decision to `audit/`. `recommend` writes to the channels declared. `assist`
asks a person (Required Actions in Airflow), `act` carries out what was approved; no answer within the time is a no. `act_alone` carries
out what its class lets happen without asking. With `dry_run` nobody is asked and nothing is sent. One-shot runs skip it all.

**When it is red.** Nothing happens twice: the outbox knows what was sent, and clearing a task goes on from there. `plan` red: the message
names the file and row, or says that there is no mart yet. `recommend` or `act` red: the connection or the other side refused; the message
says which. What may or may not have arrived is `unsure` in the outbox: look there, then settle it. See docs/responding.md.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, task, task_group

from aftercast.assets import MART, NO_RETRY_WHEN_REFUSED

with DAG(
    dag_id="act_on_incidents",
    schedule=None if os.environ.get("AFTERCAST_EMBEDDED") else [MART],
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["response"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=20), "retry_policy": NO_RETRY_WHEN_REFUSED},
):

    def step(name: str, **arguments: Any):  # noqa: ANN201
        """Return a task that runs the function of that name in `aftercast.steps`, as of the moment it is run."""

        @task(**arguments)
        def run(**given: Any) -> Any:
            from aftercast import steps

            return getattr(steps, name)(**given, now=datetime.now(UTC))

        return run

    @task_group
    def assist(key: str, subject: str, body: str) -> None:
        """Ask about one action, then act on the answer, whichever it is; a no is written down too."""
        waits = {"defaults": "Reject", "response_timeout": timedelta(minutes=20)}
        asked = HITLOperator(task_id="ask", subject=subject, body=body, options=["Approve", "Reject"], **waits)
        step("act", task_id="act")(key=key, answer=asked.output)

    @task
    def listed(planned: dict[str, list[Any]], which: str) -> list[Any]:
        return planned[which]

    planned = step("plan_responses", task_id="plan")()
    planned >> step("recommend", task_id="recommend")()
    assist.expand_kwargs(listed.override(task_id="to_ask")(planned, "asks"))
    step("act", task_id="act_alone").partial(answer=None).expand(key=listed.override(task_id="to_do")(planned, "acts"))
