"""What plans and carries out actions on current incidents."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aftercast.settings import Settings
from aftercast.store import keeping


@keeping
def plan_responses(now: datetime) -> dict[str, list[Any]]:
    """Plan for current incidents and write every decision down; return what to ask people about and the keys of what needs no asking."""
    from aftercast.acting import responding

    settings = Settings.from_environment()
    plans = responding.plan_responses(settings, now)
    desk = responding.Desk(settings, now)
    return {
        "asks": [responding.question(one) for one in responding.asks(plans, desk)],
        "acts": [one.key for one in responding.acts(plans)],
    }


@keeping
def recommend(now: datetime) -> dict[str, int]:
    """Write recommendations to the channels declared, each once. Returns how many are in which state.

    Raises:
        SourceUnavailable, SourceRejected: some did not go through; the others did.
    """
    from aftercast.acting import deliveries, responding

    found = responding.recommend(Settings.from_environment(), now)
    return deliveries.check([deliveries.Outcome(one.key, one.state, one.error) for one in found])


@keeping
def act(key: str, answer: dict[str, Any] | None, now: datetime) -> str:
    """Carry out a planned action, after a person's answer where one was asked for. Returns what became of it.

    Raises:
        SourceUnavailable, SourceRejected: it did not go through, or that is not known.
    """
    from aftercast.acting import deliveries, responding
    from aftercast.acting.outbox import of as outbox_of

    settings = Settings.from_environment()
    became = responding.act(settings, key, now, answer)
    sent = outbox_of(settings).delivery(key)
    if sent is not None and became == sent.state:
        deliveries.check([deliveries.Outcome(key, sent.state, sent.error)])
    return became
