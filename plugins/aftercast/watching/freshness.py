"""How much of the time the published mart was as young as promised. Pure.

At a moment the mart's age is that moment less the as-of time of the newest mart published until then. Time before the first publish known
is not counted: nothing is known about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from aftercast.declarations import FreshnessRow


@dataclass(frozen=True, slots=True)
class Publish:
    """A mart that readers saw from `at` on, and until when it knows."""

    at: datetime
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """How the promise stands.

    Attributes:
        age: of the mart readers see now.
        is_late: it is older than promised.
        ratio: share of the known time in the window in which it was not; None when nothing is known.
        known: how much of the window is known about.
        kept: whether the share reaches the objective; None when nothing is known.
    """

    age: timedelta
    is_late: bool
    ratio: float | None
    known: timedelta
    kept: bool | None


def standing(publishes: Sequence[Publish], promise: FreshnessRow, now: datetime) -> Standing | None:
    """Return how the promise stands at a moment; None when nothing was published until then.

    Args:
        publishes: in any order; those after `now` are left out.
        promise: what is declared.
        now: the moment.
    """
    seen = sorted((one for one in publishes if one.at <= now), key=lambda one: one.at)
    if not seen:
        return None
    start = max(now - timedelta(days=promise.window_days), seen[0].at)
    fresh = timedelta(0)
    for index, one in enumerate(seen):
        until = seen[index + 1].at if index + 1 < len(seen) else now
        fresh += max(min(until, one.as_of + promise.within) - max(one.at, start), timedelta(0))
    known, age = now - start, now - seen[-1].as_of
    ratio = fresh / known if known else None
    return Standing(age, age > promise.within, ratio, known, None if ratio is None else ratio >= promise.objective)


def in_words(age: timedelta) -> str:
    """Return an age in whole hours, from two days on in whole days."""
    hours = age / timedelta(hours=1)
    return f"{hours // 24:.0f} days" if hours >= 48 else f"{hours // 1:.0f} hours"
