"""What was decided for action items is done: each effect through its tracker or channel, by way of the outbox, so that it happens once.

One that does not go through holds up no other. Nothing is opened for a row that is not live: a dry run talks to nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from aftercast.acting import channels, trackers
from aftercast.acting.outbox import Delivery, Find, Outbox, Send, State, repeatable
from aftercast.declarations import ActionsFile
from aftercast.errors import AftercastError, SourceRejected, SourceUnavailable
from aftercast.learning.actions import Effect

log = logging.getLogger(__name__)

MENDS_ITSELF: tuple[State, ...] = ("planned", "sending")
NEEDS_A_PERSON: tuple[State, ...] = ("failed", "unsure")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an effect. `error` says what stands in its way."""

    key: str
    state: State
    error: str | None


@dataclass(frozen=True, slots=True)
class _How:
    send: Send
    find: Find | None
    settle: timedelta = timedelta(0)


class _Doors:
    """Trackers and channels, opened when first needed; one that cannot be opened says so for each of its effects."""

    def __init__(self, rules: ActionsFile) -> None:
        self._trackers = {row.name: row for row in rules.trackers}
        self._channels = {row.name: row for row in rules.channels}
        self._open: dict[str, trackers.Tracker] = {}

    def how(self, effect: Effect, since: datetime) -> _How:
        if effect.via in self._channels:
            return _How(channels.open_channel(self._channels[effect.via]), None)
        if effect.via not in self._open:
            self._open[effect.via] = trackers.open_tracker(self._trackers[effect.via])
        tracker = self._open[effect.via]
        find_comment: Callable[[str], str | None] = partial(tracker.find_comment, effect.payload)
        ways: dict[str, tuple[Send, Find]] = {
            "create": (tracker.create, lambda mark: tracker.find(mark, since)),
            "update": (tracker.update, repeatable),
            "comment": (tracker.comment, find_comment),
            "reopen": (tracker.reopen, find_comment),
        }
        send, find = ways[effect.kind]
        return _How(send, find, tracker.settle if effect.kind == "create" else timedelta(0))


def deliver(effects: Sequence[Effect], rules: ActionsFile, outbox: Outbox, now: datetime) -> list[Outcome]:
    """Do the effects in order; return what came of each."""
    doors, outcomes = _Doors(rules), []
    for effect in effects:
        try:
            found = _one(effect, doors, outbox, now)
            outcomes.append(Outcome(effect.key, found.state, found.error))
        except AftercastError as error:  # its connection, its record; the outbox itself says what a sender raised
            log.warning("%s: %s", effect.key, error)
            outcomes.append(Outcome(effect.key, "failed", str(error)))
    return outcomes


def _one(effect: Effect, doors: _Doors, outbox: Outbox, now: datetime) -> Delivery:
    before = outbox.delivery(effect.key)
    way = doors.how(effect, before.first_at if before else now) if effect.is_live else _How(_nothing, repeatable)
    return outbox.deliver(
        channel=effect.via,
        key=effect.key,
        payload=effect.payload,
        send=way.send,
        find=way.find,
        now=now,
        dry_run=not effect.is_live,
        settle=way.settle,
    )


def _nothing(*_: object) -> str:
    raise SourceRejected("a dry run sends nothing")


def check(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Return how many effects are in which state.

    Raises:
        SourceUnavailable: some are not through; trying again may help and does nothing twice.
        SourceRejected: some were refused or need a person, and trying again helps none of the others.
    """
    counts: dict[str, int] = {
        state: sum(one.state == state for one in outcomes) for state in ("sent", "dry_run", *MENDS_ITSELF, *NEEDS_A_PERSON)
    }
    wrong = [one for one in outcomes if one.state in (*MENDS_ITSELF, *NEEDS_A_PERSON)]
    if wrong:
        kind = SourceUnavailable if any(one.state in MENDS_ITSELF for one in wrong) else SourceRejected
        lines = "\n".join(f"  {one.key} is {one.state}: {one.error}" for one in wrong)
        raise kind(f"{len(wrong)} of {len(outcomes)} deliveries did not go through, the others did (see `aftercast outbox`):\n{lines}")
    return counts
