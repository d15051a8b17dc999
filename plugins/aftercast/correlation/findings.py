"""What a check works on and what it says: candidates, findings, and the strengths they may have.

A strength is a log-odds contribution: the logarithm of how much likelier the observation is if the candidate is the cause than if it is
not. The numbers in `STRENGTHS` are judgements stated once, not fitted to any data set (docs/decisions/004-ranking.md).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from aftercast.correlation.semantics import AVAILABILITY, ERRORS, LATENCY
from aftercast.correlation.situation import Deviation, Situation
from aftercast.correlation.surroundings import Change, iso
from aftercast.correlation.telemetry import HOUR, MINUTE

LOOKBACK = 24 * HOUR
TOLERANCE = 10 * MINUTE
"""A change may be reported up to this long after the measured onset and still be its cause: clocks and buckets are coarse."""
PROMPT_SHARE, PROMPT_HOURS = 0.75, 1 / 3
SLOW_HOURS = 6.0
EVEN = 5.0
ENOUGH_SAID = 3.0
AFTERMATH = 2 * HOUR

STRENGTHS = {
    "rolled_back_by_name": 2.5,
    "rolled_back_to_previous_version": 2.0,
    "undone_on_same_service": 1.2,
    "recovered_after_undo": 0.5,
    "already_hurting_before": -1.5,
    "failed_change": 0.4,
    "region_match": 1.0,
    "region_mismatch": -1.5,
    "global_change_regional_harm": -0.3,
    "named_origin": 0.3,
    "rule_known": 0.7,
    "rule_harmless": -1.5,
    "first_to_deviate": 0.4,
    "later_per_bucket": -0.4,
    "latest": -1.2,
    "passing": 0.3,
    "broken_operation": 4.0,
    "contradicted": 0.3,
    "novel_error": 1.0,
    "novel_other": 0.4,
    "alerted": 0.3,
    "episode": 0.8,
    "filled_before": 1.5,
    "near_limit": 1.0,
    "not_undone": -0.7,
    "undone_before": -2.5,
    "named_in_logs": 1.0,
    "provider_reported": 2.0,
    "all_callers_hurt": 1.0,
    "one_caller_hurt": 0.3,
    "no_caller_hurt": -1.5,
    "nothing_deviates": 1.0,
    "demand_per_z": 0.3,
    "demand_most": 2.5,
}
DISTANCE = {0: 0.2, 1: 0.0, 2: -0.2, 3: -0.5}
FAR, UNREACHED, ABOVE = -0.8, -1.6, -1.2
HINTED = 0.2
"""One inferred edge away, where no call is known: as much as being hit."""


HARMFUL = frozenset({ERRORS, AVAILABILITY, LATENCY})


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may have caused an incident."""

    kind: str
    candidate_id: str
    service: str
    prior: float
    change: Change | None = None
    hops: int | None = None
    gap_minutes: float | None = None
    base_rate_per_hour: float | None = None
    lift: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One evidence row before it gets its ids; `version` is that of the feature where it is not that of its check."""

    check: str
    strength: float
    why: str
    pointer: str
    version: str = ""

    @property
    def is_interesting(self) -> bool:
        return abs(self.strength) >= 0.5


def point(table: str, **keys: object) -> str:
    return json.dumps({"table": table, **keys}, sort_keys=True)


def timing_density(gap_hours: float) -> float:
    """Probability density (per hour) of the time from a causing change to the first harm: most act at once, some take hours.

    Three quarters exponential with a mean of 20 minutes, one quarter exponential with a mean of 6 hours. The onset is known to a bucket of
    five minutes, so a change seen that much late has half the density of a prompt one; up to ten minutes late (a sloppy clock) a tenth.
    """
    if gap_hours < 0:
        return (0.5 if gap_hours >= -1 / 12 else 0.1) * PROMPT_SHARE / PROMPT_HOURS
    prompt = PROMPT_SHARE / PROMPT_HOURS * math.exp(-gap_hours / PROMPT_HOURS)
    return prompt + (1 - PROMPT_SHARE) / SLOW_HOURS * math.exp(-gap_hours / SLOW_HOURS)


def deviation_strength(z: float) -> float:
    """Log-odds of a robust z: 0 at 5 (the worst of several metrics over an hour gets there by chance), 1 at 10, at least -2.

    Beyond 3 (a z of 37) only a third of it counts: something is certainly wrong there, but how wrong still tells services apart.
    """
    strength = 1.5 * math.log(max(z, 0.1) / EVEN)
    return max(strength if strength <= ENOUGH_SAID else ENOUGH_SAID + (strength - ENOUGH_SAID) / 3, -2.0)


def span(situation: Situation) -> dict[str, str]:
    return {"from": iso(situation.onset), "to": iso(min(situation.onset + HOUR, max(situation.incident.ended, situation.onset)))}


def amount(value: float, unit: str) -> str:
    if unit == "share":
        return f"{100 * value:.2g} %"
    number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{number} {unit}".strip()


def moved(deviation: Deviation) -> str:
    place = f" in {deviation.region}" if deviation.region else ""
    return (
        f"{deviation.metric}{place} went from {amount(deviation.usual, deviation.unit)} to {amount(deviation.seen, deviation.unit)} "
        f"({deviation.z:.1f} times its usual spread)"
    )
