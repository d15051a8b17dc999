"""Which declared incident a proposal is about: how alike the two are in place and time, in words and in a number between 0 and 1.

Likeness = place x (1/2 + 1/2 exp(-gap / 1 hour)). *Place* is the strongest kinship between what the incident names and what the proposal
hit, so that an alert on a callee of the service an incident names belongs to it. *Gap* is the time between the two starts; they must
overlap, or the proposal must have ended within the hour before the incident began.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from aftercast.correlation.inputs import Inputs
from aftercast.correlation.kinship import Kinship
from aftercast.correlation.members import JOURNEY, SERVICE, Subject
from aftercast.correlation.situation import Incident
from aftercast.correlation.surroundings import micros
from aftercast.correlation.telemetry import HOUR, MINUTE

ALIKE = 0.3
"""Least likeness of a match: any overlap within two calls, or a start within the hour where only a shared provider or the time speaks."""
LOOK_BACK = HOUR
BY_TIME = 0.4
"""Place of an incident that names no service."""


@dataclass(frozen=True, slots=True)
class Declared:
    """An incident with the times at which people knew of it and were done with it."""

    incident: Incident
    declared: int
    resolved: int | None


@dataclass(frozen=True, slots=True)
class Match:
    """A declared incident a proposal is about. `gap`: start of the incident minus start of the proposal, in minutes."""

    incident_id: str
    likeness: float
    gap: float
    words: str


@dataclass(frozen=True, slots=True)
class Extent:
    """What a proposal covers: span, regions and subjects."""

    environment: str
    started: int
    heard: int
    regions: frozenset[str]
    subjects: tuple[Subject, ...]


@dataclass(frozen=True, slots=True)
class Incidents:
    """The declared incidents of one environment, by start and by resolution."""

    rows: tuple[Declared, ...]
    resolved: tuple[Declared, ...]
    longest: int

    @classmethod
    def of(cls, rows: Iterable[Declared]) -> Incidents:
        by_start = tuple(sorted(rows, key=lambda row: (row.incident.started, row.incident.incident_id)))
        done = sorted((row for row in by_start if row.resolved is not None), key=lambda row: (row.resolved or 0, row.incident.incident_id))
        return cls(by_start, tuple(done), max((row.incident.ended - row.incident.started for row in by_start), default=0))

    def around(self, start: int, end: int) -> tuple[Declared, ...]:
        """Incidents that were going on between `start` and `end`, or began within the hour after."""
        left = bisect_left(self.rows, start - self.longest, key=lambda row: row.incident.started)
        right = bisect_right(self.rows, end + LOOK_BACK, key=lambda row: row.incident.started)
        return tuple(row for row in self.rows[left:right] if row.incident.ended >= start)

    def resolved_between(self, start: int, end: int) -> tuple[Declared, ...]:
        left = bisect_left(self.resolved, start, key=lambda row: row.resolved or 0)
        right = bisect_right(self.resolved, end, key=lambda row: row.resolved or 0)
        return self.resolved[left:right]


def declared_of(inputs: Inputs, incidents: Iterable[Incident]) -> list[Declared]:
    """Put together the incidents and when they were declared (else detected, else begun) and resolved."""
    columns = ("incident_id", "declared_at", "detected_at", "started_at", "resolved_at")
    times = {row[0]: row[1:] for row in inputs.incidents.select(columns).sort(pl.all()).iter_rows()}
    found = []
    for incident in incidents:
        declared, detected, started, resolved = times[incident.incident_id]
        known = declared or detected or started
        found.append(Declared(incident, micros(known), micros(resolved) if resolved else None))
    return found


def match(extent: Extent, incident: Incident, kinship: Kinship) -> Match | None:
    """Compare a proposal with an incident; None when they are not alike enough."""
    if extent.started > incident.ended or extent.heard < incident.started - LOOK_BACK:
        return None
    if incident.region and "" not in extent.regions and incident.region not in extent.regions:
        return None
    place, words = _place(extent, incident, kinship)
    gap = (incident.started - extent.started) / MINUTE
    likeness = place * (0.5 + 0.5 * math.exp(-abs(gap) * MINUTE / HOUR))
    if likeness < ALIKE:
        return None
    when = (
        f"it began {abs(gap):.0f} min {'before' if gap >= 0 else 'after'} the reported start" if abs(gap) >= 0.5 else "both began at once"
    )
    return Match(incident.incident_id, round(likeness, 6), round(gap, 3), f"{words}; {when}")


def best(matches: Iterable[Match]) -> list[Match]:
    """Likeliest first; ties fall to the smaller gap, then to the id."""
    return sorted(matches, key=lambda one: (-one.likeness, abs(one.gap), one.incident_id))


def _place(extent: Extent, incident: Incident, kinship: Kinship) -> tuple[float, str]:
    if not incident.services:
        return BY_TIME, "the incident names no service: by time and region only"
    found = [
        (kin.strength, -named, -hit, _words(kin.words, service, subject, same=subject[1] == service))
        for named, service in enumerate(incident.services)
        for hit, subject in enumerate(extent.subjects)
        if (kin := kinship.between((SERVICE, service), subject)) is not None
    ]
    if found:
        strength, _, _, words = max(found)
        return strength, words
    unknown = all(not kinship.knows(subject) for subject in extent.subjects) or all(
        not kinship.knows((SERVICE, service)) for service in incident.services
    )
    return (BY_TIME, "no call between them is known: by time and region only") if unknown else (0.0, "")


def _words(kin: str, service: str, subject: Subject, *, same: bool) -> str:
    if same:
        return f"the incident names {service}"
    where = "journey hit" if subject[0] == JOURNEY else "hit"
    return f"the incident names {service}; {where}: {subject[1]} ({kin})"
