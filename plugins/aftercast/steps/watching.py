"""What tells of the pipeline itself: what its tasks cost, when it published, and who hears when a run is late.

Light to import: Airflow imports it while it reads the DAGs, for the deadlines.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

log = logging.getLogger(__name__)


def task_ended(dag: str, task: str, run: str, index: int, state: str, started: datetime, ended: datetime, *, whole: bool) -> None:
    """Remember how the last try of a task ended; when it published, remember what. `whole`: write all metrics anew."""
    from aftercast import watching
    from aftercast.settings import Settings

    settings = Settings.from_environment()
    watching.note_task(settings, watching.TaskEnd(dag, task, run, index, state, started, ended))
    if whole:
        if settings.mart.exists():
            version, as_of = _published(settings)
            watching.note_published(settings, version, as_of, ended)
        log.info("metrics written to %s", watching.write(settings, ended))


def _published(settings: Any) -> tuple[str, datetime]:
    from aftercast import warehouse

    return settings.mart.resolve().stem, warehouse.query(settings.mart, "select as_of from marts.mart_run").item()


def tell_late(dag: str, context: dict[str, Any] | None = None) -> None:
    """Say that a run missed its deadline through the channels declared, once for each run; Airflow calls it.

    Raises:
        SourceUnavailable, SourceRejected: a channel did not take it; the others did.
    """
    from aftercast import watching
    from aftercast.acting import deliveries
    from aftercast.settings import Settings
    from aftercast.watching import deadlines

    settings, now = Settings.from_environment(), datetime.now(UTC)
    late = deadlines.late_run(dag, context or {})
    watching.note_missed(settings, late.dag, late.run, now)
    log.warning("%s", deadlines.said(late))
    outcomes = deadlines.tell(settings, late, now)
    watching.write(settings, now)
    deliveries.check(outcomes)
