"""The vocabulary DAGs share: the assets they hand to each other, the one-slot writer pool, which failures a retry cannot heal, deadlines.

Light, because it is imported at DAG parse.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Asset, ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from aftercast.declarations import SourceRow
from aftercast.errors import ConfigError, LandingError, QualityError, ReviewConflict, SourceRejected
from aftercast.settings import Settings

WRITER_POOL = "warehouse_writer"

# Queues of Celery workers: what any machine may do, and what needs the one home with warehouse, outbox and audit. See docs/deploying.md.
ANYWHERE = "default"
WAREHOUSE_QUEUE = "warehouse"

MART = Asset(name="published/mart", uri="x-aftercast://published/mart")

NO_RETRY_WHEN_REFUSED = ExceptionRetryPolicy(
    rules=[
        RetryRule(exception=kind, action=RetryAction.FAIL)
        for kind in (ConfigError, LandingError, QualityError, ReviewConflict, SourceRejected)
    ]
)


# Default arguments of what needs that home.
ON_WAREHOUSE = {"queue": WAREHOUSE_QUEUE, "retry_policy": NO_RETRY_WHEN_REFUSED}


def queue_of(source: SourceRow) -> str:
    """Return the queue of a source's extracts: its own, or any machine's, or the warehouse's host when it reads a folder of one machine."""
    folders = [str(source.options[name]) for name in ("inbox", "export") if name in source.options]
    reads_a_folder = any("://" not in folder for folder in folders)
    return source.queue or (WAREHOUSE_QUEUE if reads_a_folder else ANYWHERE)


def landed(source: str) -> Asset:
    """Return the asset that says a source has landed another window."""
    return Asset(name=f"landing/{source}", uri=f"x-aftercast://landing/{source}")


def deadlines(dag: str) -> list[DeadlineAlert]:
    """Return the deadline of a DAG's runs that `config/pipeline.yml` declares, if any: counted from when a run was queued."""
    return [
        DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=timedelta(minutes=row.minutes),
            callback=SyncCallback("aftercast.steps.watching.tell_late", kwargs={"dag": dag}),
            name=f"{row.minutes:g} minutes",
        )
        for row in Settings.from_environment().deployment.pipeline.deadlines
        if row.dag == dag
    ]
