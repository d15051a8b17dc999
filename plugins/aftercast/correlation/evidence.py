"""Small independent checks, each on one candidate of one incident: a row that says how strong, why, and where to look.

A check with nothing to look at writes no row: missing data is not evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from aftercast.correlation.change_checks import (
    base_rate_of_changes,
    change_before_onset,
    change_failed,
    hurt_before_change,
    region_of_change,
    undone_after_onset,
    undone_before_onset,
)
from aftercast.correlation.findings import Candidate, Finding
from aftercast.correlation.log_checks import novel_log_pattern
from aftercast.correlation.none_checks import demand_moved, no_change_near, nothing_deviates
from aftercast.correlation.place_checks import (
    alerted,
    callers_hurt,
    deviates,
    distance,
    moves_together,
    named_origin,
    origin_or_victim,
    provider_reported,
    saturation,
    timing_of_deviation,
)
from aftercast.correlation.situation import Situation
from aftercast.correlation.surroundings import Surroundings
from aftercast.correlation.trace_checks import broken_operation, exclusive_time

Check = Callable[[Candidate, Situation, Surroundings], Finding | None]

_PLACE: tuple[Check, ...] = (
    deviates,
    origin_or_victim,
    distance,
    timing_of_deviation,
    moves_together,
    named_origin,
    novel_log_pattern,
    exclusive_time,
    broken_operation,
    alerted,
    callers_hurt,
)
CHECKS: dict[str, tuple[Check, ...]] = {
    "change": (
        change_before_onset,
        base_rate_of_changes,
        undone_after_onset,
        undone_before_onset,
        hurt_before_change,
        change_failed,
        region_of_change,
        *_PLACE,
    ),
    "service": (*_PLACE, saturation),
    "provider": (*_PLACE, saturation, provider_reported),
    "none": (nothing_deviates, demand_moved, no_change_near),
}


def examine(candidate: Candidate, situation: Situation, around: Surroundings) -> Iterator[Finding]:
    """Run every check that applies to this kind of candidate."""
    for check in CHECKS[candidate.kind]:
        finding = check(candidate, situation, around)
        if finding is not None:
            yield finding
