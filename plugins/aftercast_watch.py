"""Tell Aftercast how its tasks ended, so that it can say what the pipeline costs and how old its mart is (docs/operations.md).

Where Airflow's OpenLineage provider is installed and told where to send, it also says which tables a task touches and what dbt built.

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
    """Airflow's hooks for a task: when it begins, which tables it touches; when it ended, how."""

    @hookimpl
    def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:
        if task_instance.dag_id.startswith(OURS) and _lineage_is_sent():
            _send_tables(task_instance)

    @hookimpl
    def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:
        sends = task_instance.dag_id.startswith(SENDS)
        _ended(task_instance, "success", whole=sends or bool(task_instance.task.outlets))
        if task_instance.dag_id == "refresh_warehouse" and _lineage_is_sent():
            _send_models(task_instance)

    @hookimpl
    def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:
        _ended(task_instance, "failed", whole=True)


def _ended(one: Any, state: str, *, whole: bool) -> None:
    if not one.dag_id.startswith(OURS):
        return
    from aftercast.steps import watching

    ended, index = one.end_date or datetime.now(UTC), -1 if one.map_index is None else one.map_index
    watching.task_ended(one.dag_id, one.task_id, one.run_id, index, state, one.start_date, ended, whole=whole)


def _lineage_is_sent() -> bool:
    """Whether Airflow's OpenLineage provider is installed and told where to send."""
    try:
        from airflow.providers.openlineage.api import is_openlineage_active
    except ImportError:
        return False
    return bool(is_openlineage_active())


def _send_tables(one: Any) -> None:
    from airflow.providers.openlineage.api import emit_dataset_lineage
    from openlineage.client.event_v2 import Dataset

    from aftercast.steps import lineage

    reads, writes = ([Dataset(place.namespace, place.name) for place in side] for side in lineage.tables_of(one.dag_id, one.task_id))
    if reads or writes:
        emit_dataset_lineage(inputs=reads, outputs=writes, task_instance=one)


def _send_models(one: Any) -> None:
    from airflow.providers.openlineage.api import emit
    from airflow.providers.openlineage.plugins.macros import lineage_job_name, lineage_job_namespace, lineage_run_id

    from aftercast.steps import lineage

    if one.task_id in lineage.DBT_TASKS:
        for event in lineage.dbt_events(lineage.Parent(lineage_run_id(one), lineage_job_name(one), lineage_job_namespace())):
            emit(event)


class AftercastWatchPlugin(AirflowPlugin):
    """The hooks."""

    name = "aftercast_watch"
    listeners = [Watch()]  # noqa: RUF012
