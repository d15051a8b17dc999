"""Checks on a place (a service, or the service a change or provider stands for): does it hurt, of itself, first, and near what was hit."""

from __future__ import annotations

import math

from aftercast.correlation.findings import (
    ABOVE,
    DISTANCE,
    FAR,
    HINTED,
    LOOKBACK,
    STRENGTHS,
    TOLERANCE,
    UNREACHED,
    Candidate,
    Finding,
    amount,
    deviation_strength,
    moved,
    point,
    span,
)
from aftercast.correlation.harm import CLEAR, FAILURES, WAITING, explained, largest, sure
from aftercast.correlation.semantics import LATENCY
from aftercast.correlation.situation import Situation, View
from aftercast.correlation.surroundings import Surroundings, clock, iso
from aftercast.correlation.telemetry import HOUR, MINUTE


def deviates(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    view = situation.views.get(candidate.service)
    if view is None:
        return _episode(candidate, situation, around)
    worst = view.worst
    strength = deviation_strength(worst.weight)
    if strength < 0 and _traces_speak(candidate.service, situation):
        strength = 0.0
    if strength > 0 and worst.symptom == LATENCY and _loses_no_time(candidate.service, situation):
        strength *= STRENGTHS["contradicted"]
    if strength > 0:
        # What its callees account for would show in this service whoever caused it: that part says nothing about this service.
        strength *= 0.4 + 0.6 * own_share(view)
        if worst.first is None and worst.points_seen >= 6:
            strength = min(strength, STRENGTHS["passing"])
    verb = (
        moved(worst)
        if strength > 0
        else f"stayed normal: its worst metric, {worst.metric}, is {worst.z:.1f} times its usual spread from usual"
    )
    pointer = point("fct_metric_point", service=candidate.service, metric=worst.metric, region=worst.region, **span(situation))
    return Finding("service_deviates", strength, f"{candidate.service} {verb}", pointer)


def _traces_speak(service: str, situation: Situation) -> bool:
    """Whether traces or logs show trouble of a service: metrics that do not are then no evidence against it."""
    lost, broken = situation.calls.lost.get(service), situation.calls.broken.get(service)
    return (lost is not None and lost.z > CLEAR) or (broken is not None and broken.weight > 0.5 and broken.explained < 0.5)


def _loses_no_time(service: str, situation: Situation) -> bool:
    """Whether traces tell how long a service takes by itself, and it is no longer than usual: then it waits for others, or for nobody."""
    lost = situation.calls.lost.get(service)
    return service in situation.calls.timed and (lost is None or lost.z <= CLEAR)


def own_share(view: View) -> float:
    """The share of a service's harm that its callees do not account for, by the kind of harm that stands out most; 1 when unknown."""
    kinds = [(view.harm[kind].z, view.own[kind]) for kind in view.own]
    return max(kinds)[1] if kinds else 1.0


def _episode(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    """Without points to measure, an anomaly the detector recorded around the onset still speaks."""
    for start, end, score, anomaly in around.episodes.get(candidate.service, ()):
        if start <= situation.onset + HOUR // 2 and end >= situation.onset - HOUR // 2:
            why = f"{candidate.service} has a recorded anomaly from {clock(start)} (severity {score:.2f})"
            return Finding("service_deviates", STRENGTHS["episode"], why, point("fct_anomaly", anomaly_id=anomaly))
    return None


def origin_or_victim(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    """How much of the harm at the services hit arises in this service itself, after what its callees account for.

    Where no call is known, nothing can be said about it: a victim shows as much harm as its origin.
    """
    view, kind = situation.views.get(candidate.service), situation.kind_of_harm
    if view is None or kind is None or not situation.graph:
        return None
    shares = {each: _share(view, situation, each, kind) for each in (WAITING, FAILURES)}
    known = {each: share for each, share in shares.items() if share is not None}
    if not known:
        return _by_callees(candidate, situation)
    best = max(known, key=lambda each: (known[each], each))
    share = known[best]
    strength = min(max(math.log((share + 0.02) / 0.25), -2.5), 1.5)
    if best == WAITING and candidate.service in situation.calls.timed:
        # Traces tell where time is lost; what is left over of the callees' metrics need not.
        strength *= STRENGTHS["contradicted"]
    if strength > 0:
        strength *= sure(view.harm[best].z)
    what = "added waiting" if best == WAITING else "added failures"
    pointer = point("fct_metric_point", service=candidate.service, kind=best, **span(situation))
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
    why = f"{100 * share:.0f} % of the {what} that the services hit show arises in {candidate.service} itself"
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
    pointer = point("fct_metric_point", service=candidate.service, **span(situation))
    if worst.worst.weight > max(CLEAR, 0.3 * view.worst.weight):
        return Finding(
            "origin_or_victim", -1.2, f"{candidate.service} looks like a victim: {worst.service}, which it calls, deviates too", pointer
        )
    return Finding("origin_or_victim", 1.0, f"nothing {candidate.service} calls deviates, so the trouble arises there", pointer)


def distance(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    if not situation.incident.services or not candidate.service:
        return None
    if not situation.graph:
        return _hinted_distance(candidate, situation, around)
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


def _hinted_distance(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    """Where no call is known at all: a little for a service whose trouble has come right before that of a service hit."""
    hit = [name for name in situation.incident.services if candidate.service in around.hints.callees.get(name, ())]
    if not hit:
        return None
    why = f"no call is known here, but in the past trouble of {hit[0]} has followed that of {candidate.service} (an inferred edge)"
    return Finding("graph_distance", HINTED, why, point("fct_inferred_edge", service=candidate.service, hit=hit))


def timing_of_deviation(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    view = situation.views.get(candidate.service)
    if view is None or view.worst.first is None or around.panel is None:
        return None
    firsts = {name: other.worst.first for name, other in situation.views.items() if other.worst.first is not None}
    if len(firsts) < 2:
        return None
    late = (view.worst.first - min(firsts.values())) // max(around.panel.grain, MINUTE)
    pointer = point("fct_metric_point", service=candidate.service, metric=view.worst.metric, **span(situation))
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
    return Finding("moves_together", strength, why, point("fct_metric_point", service=candidate.service, **span(situation)))


def named_origin(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    if candidate.service not in situation.incident.origins:
        return None
    why = f"the incident names {candidate.service} first"
    return Finding(
        "named_origin", STRENGTHS["named_origin"], why, point("bridge_incident_service", service=candidate.service, role="origin")
    )


def alerted(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    moments = [at for at in around.alerts.get(candidate.service, ()) if situation.onset - TOLERANCE <= at <= situation.onset + HOUR]
    if not moments:
        return None
    why = f"{len(moments)} alert{'s' * (len(moments) > 1)} fired on {candidate.service} from {clock(moments[0])}"
    return Finding("alerted", STRENGTHS["alerted"], why, point("fct_alert", service=candidate.service, **span(situation)))


def saturation(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    view = situation.views.get(candidate.service)
    if view is None or view.saturation is None:
        return None
    found = view.saturation
    place = f" in {found.region}" if found.region else ""
    pointer = point(
        "fct_metric_point", service=candidate.service, metric=found.metric, **{"from": iso(found.since), "to": iso(situation.onset)}
    )
    moved = f"from {amount(found.usual, found.unit)} to {amount(found.seen, found.unit)}"
    if found.filling:
        why = f"{candidate.service} was filling up for hours before the onset: {found.metric}{place} rose steadily {moved}"
        return Finding("saturation", STRENGTHS["filled_before"], why, pointer)
    return Finding(
        "saturation", STRENGTHS["near_limit"], f"{candidate.service} ran near its limit: {found.metric}{place} went {moved}", pointer
    )


def provider_reported(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    for change in around.by_service.get(candidate.service, ()):
        end = change.finished or change.started + 4 * HOUR
        if (
            change.started <= situation.incident.ended
            and end >= situation.onset - HOUR // 2
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
