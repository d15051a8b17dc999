"""Checks on a change: when it came, how often such changes come, whether it was undone, whom it touched."""

from __future__ import annotations

import math

from aftercast.correlation.findings import (
    AFTERMATH,
    LOOKBACK,
    STRENGTHS,
    TOLERANCE,
    Candidate,
    Finding,
    point,
    span,
    timing_density,
)
from aftercast.correlation.harm import CLEAR
from aftercast.correlation.semantics import words
from aftercast.correlation.situation import Situation
from aftercast.correlation.surroundings import Change, Surroundings, clock, iso
from aftercast.correlation.telemetry import HOUR, MINUTE


def change_before_onset(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    change = candidate.change
    if change is None or candidate.gap_minutes is None:
        return None
    strength = math.log(timing_density(candidate.gap_minutes / 60) * LOOKBACK / HOUR)
    began = situation.onset_at(change.service)
    if began != situation.onset:
        onset = f"{change.service} began to deviate"
    else:
        onset = "the first deviation" if situation.onset_is_measured else "the reported start"
    gap = candidate.gap_minutes
    when = f"{gap:.0f} min before" if gap >= 0 else f"{-gap:.0f} min after"
    what = f"{change.kind} {change.title or change.version}".strip()
    why = f"{what} on {change.service or 'an unnamed service'} started {clock(change.started)}, {when} {onset} at {clock(began)}"
    return Finding("change_before_onset", strength, why, point("fct_change", change_id=change.change_id, onset=iso(began)))


def base_rate_of_changes(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    change, rate = candidate.change, candidate.base_rate_per_hour
    if change is None or rate is None or candidate.lift is None:
        return None
    strength = -math.log(rate * LOOKBACK / HOUR)
    often = f"{rate * 24:.1f} times a day"
    whose = change.service or "this service"
    why = f"{whose} is changed about {often}; with its timing this change is {candidate.lift:.1f} times likelier than chance"
    return Finding("base_rate_of_changes", strength, why, point("fct_change", service=change.service, environment=around.environment))


def undone_after_onset(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    change, incident = candidate.change, situation.incident
    if change is None:
        return None
    later = _related(change, around, situation.onset + 1, incident.ended + AFTERMATH)
    after = [other for other in later if other.started > change.started]
    scored = [(strength, other) for other in after if (strength := _undoes(change, other, around, situation.onset + TOLERANCE)) > 0]
    if not scored:
        touched = any(other.service == change.service for other in after)
        if touched or incident.ended + HOUR > around.as_of:
            return None
        why = f"the incident ended at {clock(incident.ended)} without anyone touching {change.service or 'it'} again"
        return Finding("undone_after_onset", STRENGTHS["not_undone"], why, point("fct_change", change_id=change.change_id))
    strength, undo = max(scored, key=lambda pair: (pair[0], -pair[1].started, pair[1].change_id))
    recovered = undo.started <= incident.ended <= undo.started + HOUR // 2
    if recovered:
        strength += STRENGTHS["recovered_after_undo"]
    why = f"it was undone at {clock(undo.started)} by {undo.kind} {undo.title or undo.version or undo.change_id}".rstrip()
    if recovered:
        why += f", and the incident ended {(incident.ended - undo.started) / MINUTE:.0f} min later"
    return Finding("undone_after_onset", strength, why, point("fct_change", change_id=undo.change_id, undoes=change.change_id))


def undone_before_onset(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    change = candidate.change
    if change is None:
        return None
    began = situation.onset_at(change.service)
    between = _related(change, around, change.started + 1, min(began, situation.onset) - 1)
    undoing = [other for other in between if _undoes(change, other, around, other.started - 1) > 0]
    if not undoing:
        return None
    undo = undoing[0]
    why = f"it had been undone at {clock(undo.started)}, {(began - undo.started) / MINUTE:.0f} min before the trouble began"
    return Finding(
        "undone_before_onset", STRENGTHS["undone_before"], why, point("fct_change", change_id=undo.change_id, undoes=change.change_id)
    )


def _related(change: Change, around: Surroundings, start: int, end: int) -> list[Change]:
    """Other changes from start to end, oldest first: of the same service, or undoing this one by name."""
    mine, name = change.service, change.change_id
    return [
        other
        for other in around.changes_between(start, end)
        if (other.service == mine or other.rolls_back == name) and other.change_id != name
    ]


def _undoes(change: Change, other: Change, around: Surroundings, until: int) -> float:
    if other.rolls_back:
        return STRENGTHS["rolled_back_by_name"] if other.rolls_back == change.change_id else 0.0
    if other.service != change.service:
        return 0.0
    if change.previous_version and other.version == change.previous_version:
        return STRENGTHS["rolled_back_to_previous_version"]
    if other.is_rollback and _is_latest(change, around, until):
        return STRENGTHS["undone_on_same_service"]
    if other.kind == change.kind and change.kind in {"flag", "config"} and _same_subject(change, other):
        return STRENGTHS["undone_on_same_service"]
    return 0.0


def _is_latest(change: Change, around: Surroundings, until: int) -> bool:
    """Whether no other change of the service, rollbacks aside, lies between this one and a moment."""
    latest = next(
        (row for row in reversed(around.by_service.get(change.service, ())) if row.started <= until and not row.is_rollback), None
    )
    return latest is not None and latest.started == change.started


def _same_subject(change: Change, other: Change) -> bool:
    """Whether two changes speak of the same flag or setting: most words of the shorter title are shared."""
    first, second = set(words(change.title)), set(words(other.title))
    return bool(first and second) and len(first & second) >= 0.5 * min(len(first), len(second))


def hurt_before_change(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    change, view = candidate.change, situation.views.get(candidate.service)
    if change is None or view is None or view.worst.first is None or not situation.onset_is_measured:
        return None
    early = change.started - situation.onset_at(candidate.service)
    if early < TOLERANCE:
        return None
    began = clock(situation.onset_at(candidate.service))
    why = f"{candidate.service} already deviated at {began}, {early / MINUTE:.0f} min before this change"
    pointer = point("fct_metric_point", service=candidate.service, metric=view.worst.metric, **span(situation))
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
