"""What an incident looked like, as far as comparing it with others goes, and what was tried to end it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from aftercast.correlation.harm import STRONG
from aftercast.correlation.ranking import Ranked
from aftercast.correlation.semantics import AVAILABILITY, ERRORS, words
from aftercast.correlation.situation import Incident, Situation
from aftercast.correlation.surroundings import Change, Surroundings, clock
from aftercast.correlation.telemetry import MINUTE

LOUD_SHARE = 0.25
DONE = ("done", "verified")
REMEDIES = ("rollback", "flag", "config", "infra")
"""Kinds of change by which people end incidents; an ordinary release during an incident is taken for one only when it undoes another."""
ENDS_WITHIN = 60 * MINUTE
"""An attempt worked when it was the last one and the impact ended within an hour of its start."""
_STOP_WORDS = "the a an of in on at to for and or is are was were with by from after since incident issue problem"
_STOP = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True, slots=True)
class Attempt:
    """A change by which somebody seems to have tried to end an incident. `worked` is None while the incident goes on."""

    kind: str
    service: str
    worked: bool | None
    minutes_to_end: float | None


@dataclass(frozen=True, slots=True)
class Portrait:
    """What an incident looked like; times in microseconds."""

    incident_id: str
    started: int
    kind: str
    change_kind: str
    place: str
    certainty: float
    symptoms: frozenset[tuple[str, str]]
    services: frozenset[str]
    title: frozenset[str]
    trigger: str
    fixed_by: str | None
    attempts: tuple[Attempt, ...] = ()
    region: str = ""


@dataclass(frozen=True, slots=True)
class Sight:
    """What of a situation a portrait shows: the incident, when it began (microseconds), and its clearest symptoms."""

    incident: Incident
    onset: int
    symptoms: frozenset[tuple[str, str]]


def sight_of(situation: Situation) -> Sight:
    """Return the symptoms, (service, kind), that are clear and not far behind the loudest."""
    clear = {
        (view.service, "failures" if symptom in {ERRORS, AVAILABILITY} else symptom): row.weight
        for view in situation.views.values()
        for symptom, row in view.by_symptom.items()
        if row.weight >= STRONG
    }
    loudest = max(clear.values(), default=0.0)
    return Sight(situation.incident, situation.onset, frozenset(key for key, weight in clear.items() if weight >= LOUD_SHARE * loudest))


def portrait(situation: Situation, ranked: list[Ranked], around: Surroundings, action_items: pl.DataFrame) -> Portrait:
    """Describe an incident by its likeliest cause and its clearest symptoms."""
    return portrayed(sight_of(situation), ranked, around, done_of(action_items).get(situation.incident.incident_id, ()))


def done_of(action_items: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    """Titles of the action items of each incident that are done, in the order of their ids."""
    done = action_items.filter(pl.col("status").is_in(DONE) & pl.col("incident_id").is_not_null() & pl.col("title").is_not_null())
    titles = done.sort("action_item_id").group_by("incident_id", maintain_order=True).agg("title")
    return {incident_id: tuple(held) for incident_id, held in titles.iter_rows()}


def portrayed(sight: Sight, ranked: Sequence[Ranked], around: Surroundings, done: Sequence[str]) -> Portrait:
    """Describe an incident by its likeliest cause and its clearest symptoms; `done`: titles of its action items that are done."""
    incident, top = sight.incident, ranked[0]
    return Portrait(
        incident.incident_id,
        incident.started,
        top.candidate.kind,
        top.candidate.change.kind if top.candidate.change else "",
        top.candidate.service,
        top.probability,
        sight.symptoms,
        frozenset(incident.services),
        frozenset(words(incident.title)) - _STOP,
        incident.trigger.lower(),
        _fixed_by(sight, ranked, around, done),
        _attempts(sight, ranked, around),
        incident.region,
    )


def _undone(row: Ranked) -> str | None:
    """What the check on undoing says of a candidate that was undone after the onset."""
    return next((found.why for found in row.findings if found.check == "undone_after_onset" and found.strength > 0), None)


def _fixed_by(sight: Sight, ranked: Sequence[Ranked], around: Surroundings, done: Sequence[str]) -> str | None:
    """What ended the incident: the change that undid a candidate, else an action item that was done."""
    for row in ranked[:3]:
        why = _undone(row)
        if why is not None and row.candidate.change is not None:
            return f"{row.candidate.change.kind} on {row.candidate.service} undone: {why}"
    if done:
        return f"action done: {done[0]}" + (f" and {len(done) - 1} more" if len(done) > 1 else "")
    for change in around.changes_between(sight.onset + 1, sight.incident.ended):
        if change.is_rollback and change.service in {row.candidate.service for row in ranked[:3]}:
            return f"rollback of {change.service} at {clock(change.started)}"
    return None


def _attempts(sight: Sight, ranked: Sequence[Ranked], around: Surroundings) -> tuple[Attempt, ...]:
    """Remedies on a service under suspicion between onset and end, oldest first; each service and kind counts once, at its last try."""
    incident = sight.incident
    suspected = {row.candidate.service for row in ranked[:3] if row.candidate.kind != "none"}
    blamed = {row.candidate.change.change_id for row in ranked[:3] if row.candidate.change is not None}
    tried = [
        change
        for change in around.changes_between(sight.onset + 1, incident.ended)
        if change.service in suspected and change.change_id not in blamed and (change.is_rollback or change.kind in REMEDIES)
    ]
    last: dict[tuple[str, str], Change] = {("rollback" if one.is_rollback else one.kind, one.service): one for one in tried}
    over = incident.ended < around.as_of
    final = max((one.started for one in tried), default=0)
    found = []
    for (kind, service), one in sorted(last.items(), key=lambda pair: (pair[1].started, pair[0])):
        minutes = (incident.ended - one.started) / MINUTE
        worked = one.started == final and incident.ended - one.started <= ENDS_WITHIN
        found.append(Attempt(kind, service, worked if over else None, round(minutes, 1) if over else None))
    return tuple(found)
