"""What follows action items: tickets, comments and reminders, each once."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from aftercast import warehouse
from aftercast.settings import Settings
from aftercast.store import keeping

log = logging.getLogger(__name__)


ACTION_READS = {"items": "mart_action_items", "fixes": "mart_fix_impact", "incidents": "mart_incidents"}


def planned_actions() -> Any:
    """Return what action items need outside, by the published mart and the outbox, as a `learning.actions.Plan`."""
    from aftercast.acting.outbox import of as outbox_of
    from aftercast.learning import actions

    settings = Settings.from_environment()
    frames = {name: warehouse.query(settings.mart, f"select * from marts.{table}") for name, table in ACTION_READS.items()}
    as_of = warehouse.query(settings.mart, "select as_of from marts.mart_run").item()
    channels = {row.team: row.channel for row in settings.deployment.teams if row.channel}
    sent = outbox_of(settings).rows()
    return actions.plan(**frames, sent=sent, rules=settings.deployment.actions, team_channels=channels, as_of=as_of)


@keeping
def sync_actions(now: datetime) -> dict[str, int]:
    """Do what action items need outside, each thing once: tickets, comments, reminders. Returns how many are in which state."""
    from aftercast.acting import deliveries
    from aftercast.acting.outbox import of as outbox_of

    settings, plan = Settings.from_environment(), planned_actions()
    outcomes = deliveries.deliver(plan.effects, settings.deployment.actions, outbox_of(settings), now)
    log.info(
        "%d things done or tried, %d wait for the next run; %d open items lack something",
        len(outcomes),
        plan.waiting,
        plan.incomplete.height,
    )
    return deliveries.check(outcomes)
