"""Tell Aftercast how its tasks ended, so that it can say what the pipeline costs and how old its mart is (docs/operations.md).

Airflow imports this file in every component and every task, so it imports next to nothing. The hooks run in the process of a task that has
ended; what goes wrong in them is logged by Airflow and changes nothing about the task.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

OURS = (
    *("extract__", "refresh_warehouse", "maintain_warehouse", "draft_postmortems", "review_postmortems", "act_on_incidents"),
    *("send_reports__", "sync_actions"),
)
# What may have changed more than the length of a task: what has landed or was published (these hand on an asset), and what went out.
SENDS = ("sync_actions", "act_on_incidents", "send_reports__")


class Watch:
    """Airflow's hooks for the end of a task."""

    @hookimpl
    def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:
        sends = task_instance.dag_id.startswith(SENDS)
        _ended(task_instance, "success", whole=sends or bool(task_instance.task.outlets))

    @hookimpl
    def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:
        _ended(task_instance, "failed", whole=True)


def _ended(one: Any, state: str, *, whole: bool) -> None:
    if not one.dag_id.startswith(OURS):
        return
    from aftercast.steps import watching

    ended, index = one.end_date or datetime.now(UTC), -1 if one.map_index is None else one.map_index
    watching.task_ended(one.dag_id, one.task_id, one.run_id, index, state, one.start_date, ended, whole=whole)


class AftercastWatchPlugin(AirflowPlugin):
    """The hooks."""

    name = "aftercast_watch"
    listeners = [Watch()]  # noqa: RUF012
