"""Checks on what traces and logs tell: time lost in a service or on the way to it, and operations that no longer do what they did."""

from __future__ import annotations

import math

from aftercast.correlation.calls import CALL, FAILED, LOG, RECORDS, Broken, Lost
from aftercast.correlation.findings import STRENGTHS, Candidate, Finding, deviation_strength, point, span
from aftercast.correlation.harm import sure
from aftercast.correlation.log_checks import mentions
from aftercast.correlation.occurrences import NEWS
from aftercast.correlation.place_checks import own_share
from aftercast.correlation.situation import Situation
from aftercast.correlation.surroundings import Surroundings

LEAST_WEIGHT = 0.15


def exclusive_time(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    """How much of the time that traces show to be lost is lost in this service, or on the ways it is the common end of."""
    calls = situation.calls
    if not calls.lost or candidate.service not in calls.timed:
        return None
    lost = calls.lost[candidate.service]
    strength = min(max(math.log((lost.share + 0.02) / 0.25), -2.5), 1.5)
    if strength > 0:
        strength = strength * sure(lost.z) + max(deviation_strength(lost.z), 0.0) / 2
    strength *= calls.matters
    pointer = point("fct_trace_red", service=candidate.service, operation=lost.operation, **span(situation))
    return Finding("exclusive_time", strength, f"{_where(candidate.service, lost)}: {100 * lost.share:.0f} % of the time lost", pointer)


def _where(service: str, lost: Lost) -> str:
    moved = f"{lost.usual:.3g} to {lost.seen:.3g} ms"
    if not lost.peer:
        return f"{service} itself spends {moved} on {lost.operation}"
    if lost.peer == service:
        return f"calls to {service} ({lost.operation.removeprefix(CALL)}) lose {moved} on the way or in line"
    return f"calls from {service} to {lost.peer} ({lost.operation.removeprefix(CALL)}) lose {moved} on the way or in line"


def broken_operation(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    """An operation whose spans no longer do or log what they did; what a broken service it calls explains is no evidence."""
    broken = situation.calls.broken.get(candidate.service)
    if broken is None or broken.weight < LEAST_WEIGHT:
        return None
    event = broken.shift.event.removeprefix(NEWS)
    callees = situation.graph.callees.get(candidate.service, ())
    if event.startswith(f"{LOG} ") and any(mentions(event, name) for name in callees):
        return None  # what it says of a service it calls is evidence about that one
    strength = STRENGTHS["broken_operation"] * broken.weight * (1 - broken.explained) * _by_itself(candidate.service, situation)
    why = f"{_told(broken)} in {candidate.service}"
    if broken.began_before:
        why += "; it was so before the incident"
    if broken.explained >= 0.5:
        why += f"; {broken.because_of}, further down its calls, changed as well"
        strength = min(strength, 0.0) if broken.explained >= 1 else strength
    table = "fct_log_pattern" if broken.shift.whole == RECORDS else "fct_trace_red" if event == FAILED else "fct_span_event"
    pointer = point(table, service=candidate.service, operation=broken.shift.whole, event=event, **span(situation))
    return Finding("broken_operation", strength, why, pointer)


def _by_itself(service: str, situation: Situation) -> float:
    """The part of a service's trouble that the metrics of its callees do not account for, as far as it is clearly in trouble."""
    view = situation.views.get(service)
    if view is None or not view.harm:
        return 1.0
    return 1 - sure(max(harm.z for harm in view.harm.values())) * (1 - own_share(view))


def _told(broken: Broken) -> str:
    row = broken.shift
    event = f"“{row.event[:80]}”"
    return f"{event} happens in {100 * row.seen:.0f} % of {row.out_of} times {row.whole[:60]}, usually in {100 * row.usual:.0f} %"
