"""Small independent checks. Each looks at one candidate of one incident and writes one row: interesting or not, how strong, why, where to look.

A strength is a log-odds contribution: the logarithm of how much likelier the observation is if the candidate is the cause than if it is
not. A check with nothing to look at writes no row: missing data is not evidence. The numbers in `STRENGTHS` are judgements stated once,
not fitted to any data set (docs/decisions/004-ranking.md).
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aftercast.correlation.semantics import AVAILABILITY, ERRORS, LATENCY, TRAFFIC, words
from aftercast.correlation.situation import CLEAR, FAILURES, WAITING, Deviation, Situation, View, explained, largest, sure
from aftercast.correlation.surroundings import LOUD, Change, Surroundings, clock, iso
from aftercast.correlation.telemetry import DAY, HOUR, MINUTE, steps_against_other_days

LOOKBACK = 24 * HOUR
TOLERANCE = 10 * MINUTE
"""A change may be reported up to this long after the measured onset and still be its cause: clocks and buckets are coarse."""
PROMPT_SHARE, PROMPT_HOURS = 0.75, 1 / 3
SLOW_HOURS = 6.0
EVEN = 5.0
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
    "named_origin": 0.7,
    "first_to_deviate": 0.4,
    "later_per_bucket": -0.4,
    "latest": -1.2,
    "passing": 0.3,
    "novel_error": 1.0,
    "novel_other": 0.4,
    "alerted": 0.3,
    "episode": 0.8,
    "filled_before": 1.5,
    "near_limit": 1.0,
    "not_undone": -0.7,
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
    """One evidence row before it gets its ids."""

    check: str
    strength: float
    why: str
    pointer: str

    @property
    def is_interesting(self) -> bool:
        return abs(self.strength) >= 0.5


HARMFUL = frozenset({ERRORS, AVAILABILITY, LATENCY})
Check = Callable[[Candidate, Situation, Surroundings], Finding | None]


def examine(candidate: Candidate, situation: Situation, around: Surroundings) -> Iterator[Finding]:
    """Run every check that applies to this kind of candidate."""
    for check in CHECKS[candidate.kind]:
        finding = check(candidate, situation, around)
        if finding is not None:
            yield finding


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
    """Log-odds of a robust z: 0 at 5 (the worst of a handful of metrics over an hour gets there by chance), 1 at 10, at most 3, at least -2."""
    return min(max(1.5 * math.log(max(z, 0.1) / EVEN), -2.0), 3.0)


def _span(situation: Situation) -> dict[str, str]:
    return {"from": iso(situation.onset), "to": iso(min(situation.onset + HOUR, max(situation.incident.ended, situation.onset)))}


def _amount(value: float, unit: str) -> str:
    if unit == "share":
        return f"{100 * value:.2g} %"
    number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{number} {unit}".strip()


def _moved(deviation: Deviation) -> str:
    place = f" in {deviation.region}" if deviation.region else ""
    return (
        f"{deviation.metric}{place} went from {_amount(deviation.usual, deviation.unit)} to {_amount(deviation.seen, deviation.unit)} "
        f"({deviation.z:.1f} times its usual spread)"
    )


# --- changes -----------------------------------------------------------------------------------------------------------------------------


def change_before_onset(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    change = candidate.change
    if change is None or candidate.gap_minutes is None:
        return None
    strength = math.log(timing_density(candidate.gap_minutes / 60) * LOOKBACK / HOUR)
    onset = "the first deviation" if situation.onset_is_measured else "the reported start"
    gap = candidate.gap_minutes
    when = f"{gap:.0f} min before" if gap >= 0 else f"{-gap:.0f} min after"
    what = f"{change.kind} {change.title or change.version}".strip()
    why = f"{what} on {change.service or 'an unnamed service'} started {clock(change.started)}, {when} {onset} at {clock(situation.onset)}"
    return Finding("change_before_onset", strength, why, point("fct_change", change_id=change.change_id, onset=iso(situation.onset)))


def base_rate_of_changes(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    change, rate = candidate.change, candidate.base_rate_per_hour
    if change is None or rate is None or candidate.lift is None:
        return None
    strength = -math.log(rate * LOOKBACK / HOUR)
    often = f"{rate * 24:.1f} times a day"
    why = f"{change.service or 'this service'} is changed about {often}; with the timing that makes this change {candidate.lift:.1f} times as telling as chance"
    return Finding("base_rate_of_changes", strength, why, point("fct_change", service=change.service, environment=around.environment))


def undone_after_onset(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    change, incident = candidate.change, situation.incident
    if change is None:
        return None
    after = [
        other
        for other in around.changes_between(situation.onset + 1, incident.ended + AFTERMATH)
        if other.change_id != change.change_id and other.started > change.started
    ]
    scored = [(strength, other) for other in after if (strength := _undoes(change, other, around, situation.onset)) > 0]
    if not scored:
        touched = any(other.service == change.service for other in after)
        if touched or incident.ended + HOUR > around.as_of:
            return None
        why = f"the incident ended at {clock(incident.ended)} without anyone touching {change.service or 'it'} again"
        return Finding("undone_after_onset", STRENGTHS["not_undone"], why, point("fct_change", change_id=change.change_id))
    strength, undo = max(scored, key=lambda pair: (pair[0], -pair[1].started, pair[1].change_id))
    recovered = undo.started <= incident.ended <= undo.started + HOUR / 2
    if recovered:
        strength += STRENGTHS["recovered_after_undo"]
    why = f"it was undone at {clock(undo.started)} by {undo.kind} {undo.title or undo.version or undo.change_id}".rstrip()
    if recovered:
        why += f", and the incident ended {(incident.ended - undo.started) / MINUTE:.0f} min later"
    return Finding("undone_after_onset", strength, why, point("fct_change", change_id=undo.change_id, undoes=change.change_id))


def _undoes(change: Change, other: Change, around: Surroundings, onset: int) -> float:
    if other.rolls_back:
        return STRENGTHS["rolled_back_by_name"] if other.rolls_back == change.change_id else 0.0
    if other.service != change.service:
        return 0.0
    if change.previous_version and other.version == change.previous_version:
        return STRENGTHS["rolled_back_to_previous_version"]
    latest = [row for row in around.by_service.get(change.service, ()) if row.started <= onset + TOLERANCE and not row.is_rollback]
    is_latest = bool(latest) and latest[-1].started == change.started
    if other.is_rollback and is_latest:
        return STRENGTHS["undone_on_same_service"]
    if other.kind == change.kind and change.kind in {"flag", "config"} and _same_subject(change, other):
        return STRENGTHS["undone_on_same_service"]
    return 0.0


def _same_subject(change: Change, other: Change) -> bool:
    """Whether two changes speak of the same flag or setting: most words of the shorter title are shared."""
    first, second = set(words(change.title)), set(words(other.title))
    return bool(first and second) and len(first & second) >= 0.5 * min(len(first), len(second))


def hurt_before_change(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    change, view = candidate.change, situation.views.get(candidate.service)
    if change is None or view is None or view.worst.first is None or not situation.onset_is_measured:
        return None
    early = change.started - view.worst.first
    if early < TOLERANCE:
        return None
    why = f"{candidate.service} already deviated at {clock(view.worst.first)}, {early / MINUTE:.0f} min before this change"
    pointer = point("fct_metric_point", service=candidate.service, metric=view.worst.metric, **_span(situation))
    return Finding("hurt_before_change", STRENGTHS["already_hurting_before"], why, pointer)


def change_failed(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    change = candidate.change
    if change is None or change.result != "failure":
        return None
    why = f"the {change.kind} itself reported failure"
    return Finding("change_failed", STRENGTHS["failed_change"], why, point("fct_change", change_id=change.change_id))


def region_of_change(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    change, view = candidate.change, situation.views.get(candidate.service)
    if change is None:
        return None
    hurt = sorted(region for region, z in view.regions.items() if z > 1.5 * CLEAR) if view else []
    calm = sorted(set(view.regions) - set(hurt)) if view else []
    if not hurt and situation.incident.region:
        hurt, calm = [situation.incident.region], []
    pointer = point("fct_change", change_id=change.change_id, region=change.region, hurt=hurt)
    if change.region and hurt:
        if change.region in hurt:
            telling = bool(calm) or bool(situation.incident.region)
            if not telling:
                return None
            why = f"it touched {change.region}, and {change.region} is where {candidate.service or 'the incident'} hurts"
            return Finding("region_of_change", STRENGTHS["region_match"], why, pointer)
        why = f"it touched {change.region}, but the harm is in {', '.join(hurt)}"
        return Finding("region_of_change", STRENGTHS["region_mismatch"], why, pointer)
    if not change.region and hurt and calm:
        why = f"it touched every region, but only {', '.join(hurt)} hurts"
        return Finding("region_of_change", STRENGTHS["global_change_regional_harm"], why, pointer)
    return None


# --- places: services, and the services of changes and providers -------------------------------------------------------------------------


def deviates(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    view = situation.views.get(candidate.service)
    if view is None:
        return _episode(candidate, situation, around)
    worst = view.worst
    strength = deviation_strength(worst.weight)
    if strength > 0:
        # What its callees account for would show in this service whoever caused it: that part says nothing about this service.
        strength *= 0.4 + 0.6 * own_share(view)
        if worst.first is None and worst.points_seen >= 6:
            strength = min(strength, STRENGTHS["passing"])
    verb = (
        _moved(worst)
        if strength > 0
        else f"stayed normal: its worst metric, {worst.metric}, is {worst.z:.1f} times its usual spread from usual"
    )
    pointer = point("fct_metric_point", service=candidate.service, metric=worst.metric, region=worst.region, **_span(situation))
    return Finding("service_deviates", strength, f"{candidate.service} {verb}", pointer)


def own_share(view: View) -> float:
    """The share of a service's harm that its callees do not account for, by the kind of harm that stands out most; 1 when unknown."""
    kinds = [(view.harm[kind].z, view.own[kind]) for kind in view.own]
    return max(kinds)[1] if kinds else 1.0


def _episode(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    """Without points to measure, an anomaly the detector recorded around the onset still speaks."""
    for start, end, score, anomaly in around.episodes.get(candidate.service, ()):
        if start <= situation.onset + HOUR / 2 and end >= situation.onset - HOUR / 2:
            why = f"{candidate.service} has a recorded anomaly from {clock(start)} (severity {score:.2f})"
            return Finding("service_deviates", STRENGTHS["episode"], why, point("fct_anomaly", anomaly_id=anomaly))
    return None


def origin_or_victim(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    """How much of the harm at the services hit arises in this service itself, after what its callees account for."""
    view, kind = situation.views.get(candidate.service), situation.kind_of_harm
    if view is None or kind is None:
        return None
    shares = {each: _share(view, situation, each, kind) for each in (WAITING, FAILURES)}
    known = {each: share for each, share in shares.items() if share is not None}
    if not known:
        return _by_callees(candidate, situation)
    best = max(known, key=lambda each: (known[each], each))
    share = known[best]
    strength = min(max(math.log((share + 0.02) / 0.25), -2.5), 1.5)
    if strength > 0:
        strength *= sure(view.harm[best].z)
    what = "added waiting" if best == WAITING else "added failures"
    pointer = point("fct_metric_point", service=candidate.service, kind=best, **_span(situation))
    mine = view.harm.get(kind)
    callees = {
        name: explained(mine, situation.views[name].harm, kind)
        for name in situation.graph.callees.get(candidate.service, ())
        if mine is not None and name in situation.views
    }
    first = max(callees, key=lambda name: (callees[name], name), default="")
    if strength < 0 and first and callees[first] >= 0.3 and view.worst.z > CLEAR:
        why = f"{candidate.service} looks like a victim: {first}, which it calls, accounts for {100 * callees[first]:.0f} % of its trouble"
        return Finding("origin_or_victim", strength, why, pointer)
    why = f"the {what} that arises in {candidate.service} itself is {100 * share:.0f} % of what the services hit show"
    return Finding("origin_or_victim", strength, why, pointer)


def _share(view: View, situation: Situation, each: str, kind: str) -> float | None:
    """A service's own harm over the harm of the services hit, at most 1.5.

    Where traffic is unknown, harm per request is compared, at half the weight. Harm of another kind than the incident's (slow calls that
    fail their callers) counts for a third, and only when it stands out.
    """
    mine, own = view.harm.get(each), view.own.get(each)
    if mine is None or own is None:
        return None
    whole = situation.total_harm
    if each != kind:
        whole = largest([other.harm[each] for other in situation.views.values() if each in other.harm]) if mine.z > 2 * CLEAR else None
    if whole is None:
        return None
    weight = 1.0 if each == kind else 1 / 3
    if mine.amount is not None and whole.amount:
        return min(own * mine.amount / whole.amount, 1.5) * weight
    if whole.intensity <= 0:
        return None
    return 0.5 * min(own * mine.intensity / whole.intensity, 1.0) * weight


def _by_callees(candidate: Candidate, situation: Situation) -> Finding | None:
    """Without harm in numbers: a deviating service none of whose callees deviates is an origin, one with a deviating callee a victim."""
    view = situation.views[candidate.service]
    if view.worst.weight <= CLEAR:
        return None
    below = [situation.views[name] for name in situation.graph.callees.get(candidate.service, ()) if name in situation.views]
    if not below:
        return None
    worst = max(below, key=lambda other: (other.worst.weight, other.service))
    pointer = point("fct_metric_point", service=candidate.service, **_span(situation))
    if worst.worst.weight > max(CLEAR, 0.3 * view.worst.weight):
        return Finding(
            "origin_or_victim", -1.2, f"{candidate.service} looks like a victim: {worst.service}, which it calls, deviates too", pointer
        )
    return Finding("origin_or_victim", 1.0, f"nothing {candidate.service} calls deviates, so the trouble arises there", pointer)


def distance(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    if not situation.incident.services or not situation.graph or not candidate.service:
        return None
    pointer = point("dim_service_dependency", service=candidate.service, hit=list(situation.incident.services))
    hit = " or ".join(situation.incident.services[:2])
    if candidate.hops is None:
        above = situation.above.get(candidate.service)
        if above is not None:
            return Finding("graph_distance", ABOVE, f"{candidate.service} calls {hit}, but nothing hit calls it", pointer)
        return Finding("graph_distance", UNREACHED, f"no known call leads from {hit} to {candidate.service}", pointer)
    strength = DISTANCE.get(candidate.hops, FAR)
    if candidate.hops == 0:
        return Finding("graph_distance", strength, f"{candidate.service} is one of the services hit", pointer)
    return Finding(
        "graph_distance", strength, f"{candidate.service} is {candidate.hops} call{'s' * (candidate.hops > 1)} away from {hit}", pointer
    )


def timing_of_deviation(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    view = situation.views.get(candidate.service)
    if view is None or view.worst.first is None or around.panel is None:
        return None
    firsts = {name: other.worst.first for name, other in situation.views.items() if other.worst.first is not None}
    if len(firsts) < 2:
        return None
    late = (view.worst.first - min(firsts.values())) // around.panel.grain
    pointer = point("fct_metric_point", service=candidate.service, metric=view.worst.metric, **_span(situation))
    if late == 0:
        alone = sum(first == view.worst.first for first in firsts.values()) == 1
        strength = STRENGTHS["first_to_deviate"] * (1.0 if alone else 0.5)
        return Finding(
            "timing_of_deviation",
            strength,
            f"{candidate.service} is {'the first' if alone else 'among the first'} to deviate, at {clock(view.worst.first)}",
            pointer,
        )
    strength = max(STRENGTHS["later_per_bucket"] * late, STRENGTHS["latest"])
    why = f"{candidate.service} deviates only from {clock(view.worst.first)}, after {min(firsts, key=lambda name: (firsts[name], name))}"
    return Finding("timing_of_deviation", strength, why, pointer)


def moves_together(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    view = situation.views.get(candidate.service)
    if view is None or view.together is None:
        return None
    strength = min(max(1.2 * (view.together - 0.4), -0.6), 0.7)
    how = "follows" if view.together > 0.4 else "does not follow"
    why = f"{candidate.service} {how} the trouble of the services hit (rank correlation {view.together:.2f})"
    return Finding("moves_together", strength, why, point("fct_metric_point", service=candidate.service, **_span(situation)))


def named_origin(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    if candidate.service not in situation.incident.origins:
        return None
    why = f"the incident names {candidate.service} as its origin"
    return Finding(
        "named_origin", STRENGTHS["named_origin"], why, point("bridge_incident_service", service=candidate.service, role="origin")
    )


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
        "novel_log_pattern", strength, why, point("fct_log_pattern", service=row.service, pattern=row.pattern, **_span(situation))
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
    known = bisect_left(rows, situation.onset - HOUR / 2, key=lambda row: row[2])
    before = {row[0] for row in rows[first:known]}
    counts: dict[tuple[str, str], int] = {}
    for pattern, severity, _, count in rows[begun:last]:
        if pattern not in before:
            counts[pattern, severity] = counts.get((pattern, severity), 0) + count
    callees = situation.graph.callees.get(service, ())
    return [
        Fresh(service, pattern, severity in LOUD, count, frozenset(name for name in callees if _mentions(pattern, name)))
        for (pattern, severity), count in sorted(counts.items())
        if count >= 3
    ]


def _mentions(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text, re.IGNORECASE) is not None


def alerted(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    moments = [at for at in around.alerts.get(candidate.service, ()) if situation.onset - TOLERANCE <= at <= situation.onset + HOUR]
    if not moments:
        return None
    why = f"{len(moments)} alert{'s' * (len(moments) > 1)} fired on {candidate.service} from {clock(moments[0])}"
    return Finding("alerted", STRENGTHS["alerted"], why, point("fct_alert", service=candidate.service, **_span(situation)))


def saturation(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    view = situation.views.get(candidate.service)
    if view is None or view.saturation is None:
        return None
    found = view.saturation
    place = f" in {found.region}" if found.region else ""
    pointer = point(
        "fct_metric_point", service=candidate.service, metric=found.metric, **{"from": iso(found.since), "to": iso(situation.onset)}
    )
    moved = f"from {_amount(found.usual, found.unit)} to {_amount(found.seen, found.unit)}"
    if found.filling:
        why = f"{candidate.service} was filling up for hours before the onset: {found.metric}{place} rose steadily {moved}"
        return Finding("saturation", STRENGTHS["filled_before"], why, pointer)
    return Finding(
        "saturation", STRENGTHS["near_limit"], f"{candidate.service} ran near its limit: {found.metric}{place} went {moved}", pointer
    )


# --- providers ---------------------------------------------------------------------------------------------------------------------------


def provider_reported(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    for change in around.by_service.get(candidate.service, ()):
        end = change.finished or change.started + 4 * HOUR
        if (
            change.started <= situation.incident.ended
            and end >= situation.onset - HOUR / 2
            and change.started >= situation.onset - LOOKBACK
        ):
            why = f"{candidate.service} reported {change.title or change.kind} from {clock(change.started)}"
            return Finding("provider_reported", STRENGTHS["provider_reported"], why, point("fct_change", change_id=change.change_id))
    return None


def callers_hurt(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    """A place without telemetry of its own is judged by those who call it."""
    if candidate.service in situation.views:
        return None
    callers = [situation.views[name] for name in situation.graph.callers.get(candidate.service, ()) if name in situation.views]
    if not callers:
        return None
    kind = situation.kind_of_harm
    hurt = [view.service for view in callers if view.worst.weight > CLEAR and (kind is None or view.own.get(kind, 0.0) > 0.3)]
    key = "no_caller_hurt" if not hurt else "all_callers_hurt" if len(hurt) > 1 and len(hurt) == len(callers) else "one_caller_hurt"
    why = f"{len(hurt)} of {len(callers)} measured callers of {candidate.service} hurt on their own account" + (
        f" ({', '.join(hurt[:3])})" if hurt else ""
    )
    return Finding("callers_hurt", STRENGTHS[key], why, point("dim_service_dependency", callee=candidate.service, hurt=hurt))


# --- none of these -----------------------------------------------------------------------------------------------------------------------


def nothing_deviates(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    harmful = {
        view.service: max((row.z for symptom, row in view.by_symptom.items() if symptom in HARMFUL), default=0.0)
        for view in situation.views.values()
    }
    if not harmful:
        why = "there is no telemetry around the onset to tell services apart"
        return Finding("nothing_deviates", 0.0, why, point("fct_metric_point", environment=around.environment, **_span(situation)))
    worst = max(harmful, key=lambda name: (harmful[name], name))
    strength = -deviation_strength(harmful[worst]) / 2
    pointer = point("fct_metric_point", service=worst, **_span(situation))
    if strength < 0:
        return Finding(
            "nothing_deviates", max(strength, -1.5), f"{worst} deviates clearly ({harmful[worst]:.1f} times its usual spread)", pointer
        )
    why = f"none of {len(harmful)} measured services fails or slows beyond its usual spread (the worst, {worst}, reaches {harmful[worst]:.1f})"
    return Finding("nothing_deviates", min(strength, STRENGTHS["nothing_deviates"]), why, pointer)


def demand_moved(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    """People came, or stayed away, while those who came were served as usual."""
    if any(
        row.z > 2 * CLEAR and row.first is not None
        for view in situation.views.values()
        for key, row in view.by_symptom.items()
        if key in HARMFUL
    ):
        return None
    span = (situation.onset, min(max(situation.incident.ended, situation.onset + HOUR / 4), situation.onset + HOUR))
    wanted = frozenset().union(*(around.journeys_of.get(name, frozenset()) for name in situation.incident.services))
    for panel, table in ((around.journeys, "fct_kpi_point"), (around.panel, "fct_metric_point")):
        if panel is None:
            continue
        names = wanted if table == "fct_kpi_point" else frozenset(situation.hops)
        rows = [i for i, series in enumerate(panel.series) if series.meaning.symptom == TRAFFIC and (not names or series.service in names)]
        steps = [step for step in steps_against_other_days(panel, rows, *span) if abs(step.z) > CLEAR]
        if not steps:
            continue
        step = max(steps, key=lambda step: (abs(step.z), step.row))
        series = panel.series[step.row]
        where = f"{series.service}{f' in {series.region}' if series.region else ''}"
        way = "fewer" if step.z < 0 else "more"
        strength = min(STRENGTHS["demand_per_z"] * abs(step.z), STRENGTHS["demand_most"]) * (1.0 if step.z < 0 else 0.5)
        why = (
            f"{way} people came than at this time on {step.days} other days: {series.metric} of {where} moved {100 * step.size:+.0f} % at the "
            f"onset ({abs(step.z):.1f} times the usual spread), and those who came were served as usual"
        )
        return Finding("demand_moved", strength, why, point(table, name=series.service, region=series.region, **_span(situation)))
    return None


def no_change_near(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    found = around.changes_between(situation.onset - LOOKBACK, situation.onset + TOLERANCE)
    hour = [change for change in found if change.started >= situation.onset - HOUR]
    pointer = point("fct_change", environment=around.environment, **{"from": iso(situation.onset - LOOKBACK), "to": iso(situation.onset)})
    if found:
        why = f"{len(found)} changes started in the day before the onset, {len(hour)} of them in the last hour"
        return Finding("changes_near", 0.0, why, pointer)
    return Finding("changes_near", 0.0, "no change is known in the day before the onset", pointer)


_PLACE: tuple[Check, ...] = (
    deviates,
    origin_or_victim,
    distance,
    timing_of_deviation,
    moves_together,
    named_origin,
    novel_log_pattern,
    alerted,
    callers_hurt,
)
CHECKS: dict[str, tuple[Check, ...]] = {
    "change": (change_before_onset, base_rate_of_changes, undone_after_onset, hurt_before_change, change_failed, region_of_change, *_PLACE),
    "service": (*_PLACE, saturation),
    "provider": (*_PLACE, saturation, provider_reported),
    "none": (nothing_deviates, demand_moved, no_change_near),
}
