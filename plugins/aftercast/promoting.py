"""When what somebody proposed is worth a shadow, and when a shadow may go live: one ladder for thresholds, masks and rules. Pure.

Compared is only what happened after the proposal was made. Advice, never an act: a person changes the configuration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

LEAST_HOLDOUT = 5
SHADOW_DAYS = 14
LUCK = 0.05  # a shadow goes live only where a coin would agree less often than this


@dataclass(frozen=True, slots=True)
class Compared:
    """What a proposal changed of what people judged.

    Attributes:
        n: judged cases it was compared on.
        better, worse: of those it changed.
        holds: whether it is worth more than what is live.
        loses: what it would lose that nobody may lose; '' when nothing.
        seen: what it did, in words.
        what: what the cases are called.
    """

    n: int
    better: int
    worse: int
    holds: bool
    loses: str
    seen: str
    what: str


def luck(better: int, worse: int) -> float:
    """Chance that so many of the changed cases changed for the better if each were a coin's toss (exact sign test, one-sided)."""
    n = better + worse
    return sum(math.comb(n, k) for k in range(better, n + 1)) / 2**n if n else 1.0


def verdict_of(compared: Compared, since: datetime, shadow: str, as_of: datetime) -> tuple[str, str]:
    """Return the verdict and its reason: not_enough_data, keep, run_in_shadow, promote.

    Args:
        compared: on what happened from `since` on.
        since: when the proposal was made, or its shadow was declared.
        shadow: the version that runs it in shadow; '' when none does.
        as_of: until when things are known.
    """
    seen = f"{f'in shadow as {shadow} ' if shadow else ''}since {since:%Y-%m-%d}: {compared.seen}"
    if compared.loses:
        return "keep", f"{seen}; {compared.loses}"
    days = max((as_of - since).days, 0)
    long_enough = not shadow or as_of - since >= timedelta(days=SHADOW_DAYS)
    if compared.n < LEAST_HOLDOUT or not long_enough:
        waited = "" if long_enough else f"{days} of {SHADOW_DAYS} days, "
        lacking = f"{waited}{compared.n} {compared.what}, {LEAST_HOLDOUT} needed"
        return "run_in_shadow" if shadow else "not_enough_data", f"{seen}; too early to tell ({lacking})"
    if not compared.holds:
        return "keep", f"{seen}; not better"
    if not shadow:
        return "run_in_shadow", seen
    chance = luck(compared.better, compared.worse)
    return "promote" if chance <= LUCK else "run_in_shadow", f"{seen}; a coin would agree with a chance of {chance:.2g}"
