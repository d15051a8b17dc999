"""Checks on log patterns: what is new around the onset, and whom it names."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass

from aftercast.correlation.findings import STRENGTHS, TOLERANCE, Candidate, Finding, point, span
from aftercast.correlation.situation import Situation
from aftercast.correlation.surroundings import LOUD, Surroundings
from aftercast.correlation.telemetry import DAY, HOUR


def novel_log_pattern(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    """New messages of this service speak for it, unless they name another service; new messages elsewhere that name it do, too."""
    told = [row for row in fresh_patterns(candidate.service, situation, around) if not row.names]
    named = [
        row
        for caller in situation.graph.callers.get(candidate.service, ())
        for row in fresh_patterns(caller, situation, around)
        if candidate.service in row.names
    ]
    if named:
        row = max(named, key=lambda row: (row.count, row.service, row.pattern))
        why = f"{row.service} logs something new that names {candidate.service}: “{row.pattern[:80]}” {row.count} times"
        strength = STRENGTHS["named_in_logs"]
    elif told:
        row = max(told, key=lambda row: (row.loud, row.count, row.pattern))
        why = f"{row.service} logs something new: “{row.pattern[:80]}” {row.count} times"
        strength = STRENGTHS["novel_error"] if row.loud else STRENGTHS["novel_other"]
    else:
        return None
    return Finding(
        "novel_log_pattern", strength, why, point("fct_log_pattern", service=row.service, pattern=row.pattern, **span(situation))
    )


@dataclass(frozen=True, slots=True)
class Fresh:
    """A log pattern seen around the onset and not in the week before; `names` are the callees its text mentions."""

    service: str
    pattern: str
    loud: bool
    count: int
    names: frozenset[str]


def fresh_patterns(service: str, situation: Situation, around: Surroundings) -> list[Fresh]:
    rows = around.patterns.get(service, ())
    if not rows or rows[0][2] > situation.onset - DAY:
        return []
    first, last = (bisect_left(rows, at, key=lambda row: row[2]) for at in (situation.onset - 7 * DAY, situation.onset + HOUR + 1))
    begun = bisect_left(rows, situation.onset - TOLERANCE, key=lambda row: row[2])
    known = bisect_left(rows, situation.onset - HOUR // 2, key=lambda row: row[2])
    before = {row[0] for row in rows[first:known]}
    counts: dict[tuple[str, str], int] = {}
    for pattern, severity, _, count in rows[begun:last]:
        if pattern not in before:
            counts[pattern, severity] = counts.get((pattern, severity), 0) + count
    callees = situation.graph.callees.get(service, ())
    return [
        Fresh(service, pattern, severity in LOUD, count, frozenset(name for name in callees if mentions(pattern, name)))
        for (pattern, severity), count in sorted(counts.items())
        if count >= 3
    ]


def mentions(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text, re.IGNORECASE) is not None
