"""What an incident cost: per journey and segment, counterfactual minus actual, with an interval, a status and never twice.

Rules (docs/decisions/005-loss.md): the window opens with the bucket of the reported start, earlier where the journey already deviated;
it closes when the impact ended, later while the journey still deviates; what comes back afterwards is subtracted;
minutes that several incidents share on one journey and segment are split equally. The sign is kept. Results do not depend on the order
of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np

from aftercast.measurement.counterfactual import DAY, HOUR
from aftercast.measurement.currencies import read_rates
from aftercast.measurement.factors import RARE, Pools
from aftercast.measurement.flows import read_flows, seconds
from aftercast.measurement.inputs import Inputs
from aftercast.measurement.known_times import read_known_times
from aftercast.measurement.outcomes import Outcome, add_up
from aftercast.measurement.rows import At, Row, report
from aftercast.measurement.scope import Group, Scope, scopes
from aftercast.measurement.windows import REBOUND, Ledger, Span, find_span, kpi_signs, margins, measured_alone

LONGEST_UNRELATED = 2 * DAY
"""Longer incidents hide history only from the journeys they are linked to; else one forgotten ticket would blind all."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """An incident's window on a journey and the segments it is measured on."""

    span: Span
    columns: tuple[int, ...]


def measure_loss(inputs: Inputs, as_of: datetime) -> tuple[list[Row], list[Row]]:
    """Return rows of `impact` and of `incident_loss`, by incident, journey and segment."""
    flows = read_flows(inputs, as_of)
    reach = scopes(inputs, flows)
    incidents = {
        str(name): (seconds(started), min(seconds(ended) if ended else seconds(as_of), seconds(as_of)))
        for name, started, ended in inputs.incidents.select("incident_id", "started_at", "impact_end_at").sort("incident_id").iter_rows()
        if started < as_of
    }
    masks: dict[str, list[tuple[float, float]]] = {journey: [] for journey in flows}
    for name, (start, end) in incidents.items():
        linked = {group[0] for group in reach[name].linked}
        for journey in flows:
            if journey in linked or end - start <= LONGEST_UNRELATED:
                masks[journey].append(margins(flows[journey], start, end))
    ledger = Ledger(flows, masks, read_known_times(inputs, flows))
    rates = read_rates(inputs)
    signs = kpi_signs(inputs)

    spans: dict[tuple[str, str], Span | str] = {}
    by_time = sorted(incidents, key=lambda name: (incidents[name], name))  # so that worlds of one week are asked for together
    for name in by_time:
        start, end = incidents[name]
        for journey in sorted({group[0] for group in reach[name].linked | reach[name].possible}):
            spans[name, journey] = find_span(ledger, name, journey, start, end, signs.get(journey, ()))
    choices = {name: _choose(ledger, reach[name], name, spans) for name in by_time}
    chosen = {name: choices[name] for name in incidents}
    claims: dict[str, list[_Claim]] = {journey: [] for journey in flows}
    for name, groups in chosen.items():
        for journey in sorted({group[0] for group in groups}):
            span = spans[name, journey]
            columns = tuple(number for number, segment in enumerate(flows[journey].segments) if (journey, segment["region"]) in groups)
            if isinstance(span, Span):
                claims[journey].append(_Claim(span, columns))
    outcomes = {
        (claim.span.incident, journey): _settle(ledger, journey, claim, listed)
        for journey, listed in claims.items()
        for claim in sorted(listed, key=lambda one: (one.span.start, one.span.end))
    }
    impact: list[Row] = []
    totals: list[Row] = []
    for name, (start, _) in incidents.items():
        found, total = report(name, chosen[name], spans, outcomes, ledger, reach[name], At(rates, datetime.fromtimestamp(start, UTC)))
        impact += found
        totals.append(total)
    return impact, totals


def _choose(ledger: Ledger, scope: Scope, name: str, spans: dict[tuple[str, str], Span | str]) -> frozenset[Group]:
    """Groups that become rows: linked ones, and possible ones whose loss stands out (Benjamini-Hochberg over them)."""
    odds: list[tuple[float, Group]] = []
    for journey in sorted({group[0] for group in scope.possible}):
        span = spans[name, journey]
        if isinstance(span, str):
            continue
        outcome = measured_alone(ledger, journey, span)
        if isinstance(outcome, str):
            continue
        for group in sorted(group for group in scope.possible if group[0] == journey):
            odds.append((outcome.chance[group[1]], group))
    odds.sort()
    kept = 0
    for place, (chance, _) in enumerate(odds, start=1):
        if chance <= RARE * place / len(odds):
            kept = place
    return scope.linked | frozenset(group for _, group in odds[:kept])


def _settle(ledger: Ledger, journey: str, claim: _Claim, listed: list[_Claim]) -> Outcome | str:
    """Measure a claim among those it overlaps: cut where any of them begins or ends, each piece measured once and split equally."""
    span, flow, cluster = claim.span, ledger.flows[journey], (claim.span.start, claim.span.end)
    while True:
        touching = [other for other in listed if other.span.start < cluster[1] and other.span.end > cluster[0]]
        wider = (min(other.span.start for other in touching), max(other.span.end for other in touching))
        if wider == cluster:
            break
        cluster = wider
    world = ledger.world(journey, *cluster)
    if isinstance(world, str):
        return world
    following = min((other.span.start for other in listed if other.span.start >= cluster[1]), default=flow.n_buckets)
    until = min(cluster[1] + REBOUND // flow.grain, following, flow.n_buckets) if flow.grain <= HOUR else cluster[1]
    cuts = sorted({edge for other in touching for edge in (other.span.start, other.span.end)})
    pieces = []
    for start, end in pairwise(cuts):
        if start < span.start or end > span.end:
            continue
        here = [other for other in touching if other.span.start <= start and other.span.end >= end]
        claimants = np.zeros(world.n_segments)
        for other in here:
            claimants[list(other.columns)] += 1
        seed = f"{journey}|{flow.start + start * flow.grain}|{flow.start + end * flow.grain}"
        outcome = ledger.outcome(seed, world, start, end, cluster, until if end == cluster[1] else end, _pools(here))
        if isinstance(outcome, str):
            return outcome
        pieces.append((outcome, 1.0 / np.maximum(claimants, 1.0)))
    return add_up(pieces, flow.grain)


def _pools(claims: list[_Claim]) -> Pools:
    """Segments hit by the same claims."""
    found: dict[tuple[str, ...], list[int]] = {}
    for number in sorted({number for claim in claims for number in claim.columns}):
        who = tuple(sorted(claim.span.incident for claim in claims if number in claim.columns))
        found.setdefault(who, []).append(number)
    return tuple(sorted(tuple(members) for members in found.values()))
