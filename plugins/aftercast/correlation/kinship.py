"""How two subjects (services, journeys) belong together, in words and in a strength between 0 and 1.

A strength is a judgement stated once: how readily trouble of one is trouble of the other. Calls are followed in their direction only and
for two steps, because along any path everything is near everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aftercast.correlation.graph import Graph
from aftercast.correlation.members import JOURNEY, Subject

SAME_SERIES, SAME, CALLS, CARRIES, CALLS_TWICE = 1.0, 0.95, 0.8, 0.7, 0.6
ELSEWHERE, CARRIES_BELOW, SHARES, TOGETHER, NEARBY = 0.55, 0.5, 0.5, 0.4, 0.3


@dataclass(frozen=True, slots=True)
class Kin:
    """How strongly, and in which way, two subjects belong together."""

    strength: float
    words: str


@dataclass(frozen=True, slots=True)
class Kinship:
    """Relations of one environment. `shared` are the providers and stores: what many lean on, and what fails for all of them."""

    graph: Graph
    journeys_of: Mapping[str, frozenset[str]]
    shared: frozenset[str]
    _known: dict[tuple[Subject, Subject], Kin | None] = field(default_factory=dict, repr=False, compare=False)

    def knows(self, subject: Subject) -> bool:
        """Whether any call or journey of the subject is known; of others only time and region can tell."""
        kind, name = subject
        return kind == JOURNEY or name in self.graph.callees or name in self.graph.callers or name in self.journeys_of

    def between(self, one: Subject, other: Subject) -> Kin | None:
        """How `one` belongs to `other`; None when nothing known connects them."""
        pair = (one, other)
        if pair not in self._known:
            self._known[pair] = self._find(one, other)
        return self._known[pair]

    def _find(self, one: Subject, other: Subject) -> Kin | None:
        if one == other:
            return Kin(SAME, f"also on {one[1]}") if one[1] else None
        kinds = {one[0], other[0]}
        if kinds == {JOURNEY}:
            common = sorted(service for service, journeys in self.journeys_of.items() if {one[1], other[1]} <= journeys)
            return Kin(TOGETHER, f"{one[1]} and {other[1]} are both carried by {common[0]}") if common else None
        if JOURNEY in kinds:
            journey, service = (one[1], other[1]) if one[0] == JOURNEY else (other[1], one[1])
            return self._carried(journey, service)
        return self._called(one[1], other[1])

    def _carried(self, journey: str, service: str) -> Kin | None:
        if journey in self.journeys_of.get(service, frozenset()):
            return Kin(CARRIES, f"{service} carries {journey}")
        above = [name for name in self.graph.callers.get(service, ()) if journey in self.journeys_of.get(name, frozenset())]
        return Kin(CARRIES_BELOW, f"{above[0]}, which carries {journey}, calls {service}") if above else None

    def _called(self, one: str, other: str) -> Kin | None:
        for caller, callee in ((one, other), (other, one)):
            if callee in self.graph.callees.get(caller, ()):
                return Kin(CALLS, f"{caller} calls {callee}")
        for caller, callee in ((one, other), (other, one)):
            between = [name for name in self.graph.callees.get(caller, ()) if callee in self.graph.callees.get(name, ())]
            if between:
                return Kin(CALLS_TWICE, f"{caller} calls {between[0]}, which calls {callee}")
        common = sorted(set(self.graph.callees.get(one, ())) & set(self.graph.callees.get(other, ())) & self.shared)
        return Kin(SHARES, f"{one} and {other} both call {common[0]}") if common else None
