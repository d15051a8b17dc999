"""A run that is late is told through the channels of its deadline, each once for each run, by way of the outbox.

The message names the DAG and the run, and what readers of the mart see meanwhile; it names no person and blames nobody.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aftercast.acting import channels
from aftercast.acting.deliveries import Outcome
from aftercast.acting.outbox import Outbox, repeatable
from aftercast.declarations import ChannelRow
from aftercast.errors import AftercastError, SourceRejected
from aftercast.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LateRun:
    """A run that was not done in time, and by when it should have been, as Airflow says it."""

    dag: str
    run: str
    deadline: str


def late_run(dag: str, context: dict[str, Any]) -> LateRun:
    """Return what Airflow's context of a missed deadline says; what it lacks is `unknown`."""
    run, deadline = context.get("dag_run") or {}, context.get("deadline") or {}
    return LateRun(dag, str(run.get("dag_run_id") or run.get("run_id") or "unknown"), str(deadline.get("deadline_time") or "unknown"))


def said(late: LateRun) -> str:
    """Return the message."""
    page = "refresh_warehouse" if late.dag == "refresh_warehouse" else "send_reports"
    return (
        f"{late.dag} is late: run {late.run} was not done by {late.deadline[:16].replace('T', ' ')} UTC. "
        f"Readers keep the last published mart until it is. See docs/runbooks/{page}.md."
    )


def tell(settings: Settings, late: LateRun, now: datetime) -> list[Outcome]:
    """Tell every channel of the DAG's deadline; return what came of each. One that does not go through holds up no other."""
    rules = settings.deployment.pipeline
    known, outbox, outcomes = {row.name: row for row in rules.channels}, Outbox(settings.outbox), []
    for name in (name for row in rules.deadlines if row.dag == late.dag for name in row.channels):
        key = f"deadline/{late.dag}/{late.run}/{name}"
        try:
            outcomes.append(_one(known[name], key, late, outbox, now))
        except AftercastError as error:  # its connection, its record; the outbox itself says what a sender raised
            log.warning("%s: %s", key, error)
            outcomes.append(Outcome(key, "failed", str(error)))
    return outcomes


def _one(row: ChannelRow, key: str, late: LateRun, outbox: Outbox, now: datetime) -> Outcome:
    before = outbox.delivery(key)
    if before is not None and before.is_settled:
        return Outcome(key, before.state, before.error)
    found = outbox.deliver(
        channel=row.name,
        key=key,
        payload={"to": row.to or "", "subject": f"{late.dag} is late", "text": said(late)},
        send=channels.open_channel(row) if row.live else _nothing,
        find=None if row.live else repeatable,
        now=now,
        dry_run=not row.live,
    )
    return Outcome(key, found.state, found.error)


def _nothing(*_: object) -> str:
    raise SourceRejected("a dry run sends nothing")
