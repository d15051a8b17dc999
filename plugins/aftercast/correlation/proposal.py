"""A proposal in the making, and the evidence it needs to open: plain state that the rules of `proposals` change."""

from __future__ import annotations

import hashlib
import math
from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field

from aftercast.correlation.matching import Extent
from aftercast.correlation.members import ANOMALY, Member, Subject
from aftercast.correlation.telemetry import MINUTE

SUFFICES = 0.8
"""Evidence from which a proposal opens."""
LASTS, BRIEF = 30 * MINUTE, 0.75
"""An episode of a service that has not lasted so long weighs no more than this: one short jolt of one series opens nothing."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A member of a proposal and why it is one. `role`: founder, witness (came before the opening) or joined."""

    member: Member
    role: str
    because: str


@dataclass(slots=True)
class Proposal:
    """A proposal in the making; times in microseconds. `opened` is None while the evidence does not suffice.

    Attributes:
        until: when the last of what counts in it ends, as far as is known.
        places: subject and region to the end of the last of what counts there; first: subject to when it began there.
        starts: of what counts, rising.
        ends_with: whether the resolution of an incident ended it; decided once, by what was known then.
    """

    environment: str
    joined: list[Joined] = field(default_factory=list)
    opened: int | None = None
    started: int = 0
    opened_because: str = ""
    follows: str | None = None
    reopened: int = 0
    closed_because: str | None = None
    ended: int | None = None
    until: int = 0
    places: dict[tuple[Subject, str], int] = field(default_factory=dict)
    first: dict[Subject, tuple[int, int]] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)
    series: set[tuple[str, str]] = field(default_factory=set)
    ends_with: dict[str, bool] = field(default_factory=dict)

    def add(self, one: Joined) -> None:
        member = one.member
        self.joined.append(one)
        self.series.add((member.kind, member.series))
        self.environment = self.environment or member.environment
        if member.why_weak:
            return
        self.until = max(self.until, member.until)
        place = (member.subject, member.region)
        self.places[place] = max(self.places.get(place, 0), member.until)
        began = (member.started, member.known)
        self.first[member.subject] = min(self.first.get(member.subject, began), began)
        insort(self.starts, member.started)

    @property
    def founder(self) -> Member:
        return self.joined[0].member

    @property
    def proposal_id(self) -> str:
        return "proposal-" + hashlib.sha256(f"{self.founder.kind}|{self.founder.member_id}".encode()).hexdigest()[:12]

    @property
    def strong(self) -> list[Member]:
        return [one.member for one in self.joined if not one.member.why_weak]

    def heard(self, moment: int) -> int:
        """The last time up to `moment` at which something in it that counts was going on."""
        return min(self.until, moment)

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """What it hit, in the order in which it began there."""
        return tuple(sorted((subject for subject in self.first if subject[1]), key=lambda subject: (self.first[subject], subject)))

    def extent(self, moment: int) -> Extent:
        """What it covers, by all that is known of it."""
        regions = frozenset(region for _, region in self.places)
        return Extent(self.environment, self.started, self.heard(moment), regions, self.subjects)

    def extent_then(self, moment: int) -> Extent:
        """What it covered, by what was known at a time."""
        known = [one for one in self.strong if one.known <= moment]
        subjects = tuple(sorted({one.subject for one in known if one.subject[1]}))
        heard = max((one.heard(moment) for one in known), default=self.started)
        return Extent(self.environment, self.started, heard, frozenset(one.region for one in known), subjects)


def evidence_of(members: Iterable[Member], moment: int) -> float:
    """Evidence at a time that something is wrong: 1 - product of (1 - weight), one witness per subject and kind of member."""
    witnesses: dict[tuple[str, str, Subject], float] = {}
    for one in members:
        if not one.why_weak:
            key = (one.kind, one.series if not one.subject[1] else "", one.subject)
            witnesses[key] = max(witnesses.get(key, 0.0), weight_at(one, moment))
    return round(1 - math.prod(1 - witnesses[key] for key in sorted(witnesses)), 9)


def weight_at(one: Member, moment: int) -> float:
    """How much a member weighs at a time."""
    is_brief = one.kind == ANOMALY and one.heard(moment) - one.started < LASTS
    return min(one.weight, BRIEF) if is_brief else one.weight
