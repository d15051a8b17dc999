"""Whom an incident hit for certain, and whom it may have hit: groups of segments, one per journey and region.

`linked` groups are stated by the facts and always become rows: a step of the journey needs a named service (or, when no step does,
the nearest journey within three calls), in the incident's region if it has one. Everybody else is `possible`, because people name what
they see first and faults travel along shared stores and providers: those groups become rows only when their loss stands out.
"""

from __future__ import annotations

from dataclasses import dataclass

from aftercast.measurement.flows import Flow
from aftercast.measurement.inputs import Inputs

MOST_HOPS = 3

Group = tuple[str, str]  # journey, region


@dataclass(frozen=True, slots=True)
class Scope:
    """Groups of one incident; `near` are the possible ones within reach of a named service; `rule` says why none is linked."""

    linked: frozenset[Group]
    possible: frozenset[Group]
    near: frozenset[Group]
    rule: str


def _hops(inputs: Inputs) -> dict[str, dict[str, int]]:
    """Service -> journeys that need it, with the fewest calls between them (0: a step names it)."""
    callees: dict[str, set[str]] = {}
    for caller, callee in inputs.dependencies.select("caller", "callee").iter_rows():
        callees.setdefault(caller, set()).add(callee)
    found: dict[str, dict[str, int]] = {}
    for (journey,), rows in inputs.journey_services.partition_by("journey", as_dict=True).items():
        reached: dict[str, int] = {}
        frontier = {service for service in rows["service"] if service}
        for hop in range(MOST_HOPS + 1):
            frontier -= reached.keys()
            reached.update(dict.fromkeys(frontier, hop))
            frontier = {callee for service in frontier for callee in callees.get(service, ())}
        for service, hop in reached.items():
            found.setdefault(service, {})[str(journey)] = hop
    return found


def scopes(inputs: Inputs, flows: dict[str, Flow]) -> dict[str, Scope]:
    """Return the scope of every incident by its id."""
    hops = _hops(inputs)
    everything = frozenset((name, segment["region"]) for name, flow in flows.items() for segment in flow.segments)
    named: dict[str, set[str]] = {}
    for incident, service in inputs.incident_services.select("incident_id", "service").iter_rows():
        if service:
            named.setdefault(incident, set()).add(service)
    regions = inputs.incidents.select("incident_id", "region").iter_rows()
    return {incident: _scope(named.get(incident, set()), region or "", hops, everything) for incident, region in regions}


def _scope(services: set[str], region: str, hops: dict[str, dict[str, int]], everything: frozenset[Group]) -> Scope:
    reach: dict[str, int] = {}
    for service in services:
        for journey, hop in hops.get(service, {}).items():
            reach[journey] = min(hop, reach.get(journey, hop))
    known = {journey: reach[journey] for journey, _ in everything if journey in reach}
    nearest = {journey for journey, hop in known.items() if hop == min(known.values())}
    here = frozenset(group for group in everything if group[0] in nearest)
    linked = frozenset(group for group in here if region and group[1] in (region, "")) or here
    rule = ""
    if not linked:
        rule = f"no journey needs {', '.join(sorted(services))} within {MOST_HOPS} calls" if services else "no service is named"
    return Scope(linked, everything - linked, frozenset(group for group in everything - linked if group[0] in known), rule)
