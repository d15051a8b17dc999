"""How much harm each service adds, and how much of it its callees account for.

Harm is physical: extra waiting (added latency times requests) or extra failures (added failure share times requests). A caller inherits
the trouble of its callees; the origin does not.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

import numpy as np

from aftercast.correlation.graph import Graph
from aftercast.correlation.semantics import AVAILABILITY, ERRORS, LATENCY, tail_order
from aftercast.correlation.telemetry import Floats, Panel, worst_of

WAITING, FAILURES = "waiting", "failures"
HARM = {LATENCY: WAITING, ERRORS: FAILURES, AVAILABILITY: FAILURES}
CLEAR = 4.0
"""A robust z from which a point counts as deviating."""
STRONG = 8.0
MULTIPLICITY = 3.0


@dataclass(frozen=True, slots=True)
class Harm:
    """Added harm of a service.

    Attributes:
        amount: added waiting (latency times requests) or added failures (share times requests) per bucket; None when traffic is unknown.
        intensity: per request: added latency relative to its usual level, or added share of failures; the worst region.
        z: how unusual it is.
    """

    amount: float | None
    intensity: float
    z: float


def harms(panel: Panel, reference: Floats, scores: Floats, during: slice, measured: Container[str]) -> dict[str, dict[str, Harm]]:
    """Added waiting and added failures of each service over its regions, by kind; zero when it did not get worse."""
    plainest: dict[tuple[str, str, str], tuple[tuple[int, str, str], int]] = {}
    for position, series in enumerate(panel.series):
        kind = HARM.get(series.meaning.symptom)
        if kind is None or (kind == FAILURES and not series.whole) or series.service not in measured:
            continue
        order = (tail_order(series.metric), series.metric, series.attributes)
        place = (series.service, series.region, kind)
        if place not in plainest or order < plainest[place][0]:
            plainest[place] = (order, position)
    parts: dict[tuple[str, str], list[Harm]] = {}
    for (service, _, kind), (_, position) in sorted(plainest.items()):
        series = panel.series[position]
        seen = panel.values[position, during].astype(np.float64)
        added = (seen - reference[position]) * series.meaning.hurts / (series.whole or 1.0)
        known = added[np.isfinite(added)]
        if not known.size:
            continue
        usual = 1.0 if kind == FAILURES else max(float(reference[position]), 1e-9)
        worst = worst_of(scores[position])
        worst = worst if np.isfinite(worst) else 0.0
        volume = panel.values[series.volume, during].astype(np.float64) if series.volume >= 0 else None
        if volume is None:
            amount = None
        else:
            weighed = added * np.where(np.isfinite(volume), volume, 0.0)
            amount = max(float(np.nanmean(weighed)), 0.0)
        parts.setdefault((service, kind), []).append(Harm(amount, max(float(known.mean()) / usual, 0.0), worst))
    total: dict[str, dict[str, Harm]] = {}
    for (service, kind), rows in parts.items():
        amounts = [row.amount for row in rows if row.amount is not None]
        total.setdefault(service, {})[kind] = Harm(
            sum(amounts) if amounts else None, max(row.intensity for row in rows), max(row.z for row in rows)
        )
    return total


def own_shares(harm: Mapping[str, Mapping[str, Harm]], graph: Graph) -> dict[str, dict[str, float]]:
    """Share of each service's harm that its direct callees do not account for, in [0, 1], by kind."""
    return {
        service: {
            kind: max(1.0 - sum(explained(mine, harm.get(callee, {}), kind) for callee in graph.callees.get(service, ())), 0.0)
            for kind, mine in kinds.items()
        }
        for service, kinds in harm.items()
    }


def explained(mine: Harm, callee: Mapping[str, Harm], kind: str) -> float:
    """Share of a caller's harm of one kind that one callee accounts for.

    What the callee's own harm amounts to counts, as far as it stands out. Beyond that, one request of the caller may stand for several
    calls, retries and timeouts: a callee that clearly deviates, and at least as badly per request as its caller, may account for up to
    three times its own amount. A callee whose traffic is unknown is judged per request only. A callee that reports no failures at all
    may have slowed into them.
    """
    theirs = callee.get(kind)
    if theirs is None:
        slowed = callee.get(WAITING) if kind == FAILURES else None
        return 0.5 * sure(slowed.z) * min(slowed.intensity, 1.0) if slowed is not None else 0.0
    alike = min(theirs.intensity / mine.intensity, 1.0) if mine.intensity > 0 else 0.0
    if mine.amount is None or theirs.amount is None:
        return alike * sure(theirs.z)
    part = min(theirs.amount / mine.amount, 1.0) if mine.amount > 0 else 0.0
    return max(part * min(max(theirs.z, 0.0) / STRONG, 1.0), min(MULTIPLICITY * part, alike, 1.0) * sure(theirs.z))


def sure(z: float) -> float:
    """How far a deviation can be relied on: 0 up to a z of 4, 1 from 12."""
    return min(max((z - CLEAR) / STRONG, 0.0), 1.0)


def largest(harms: list[Harm]) -> Harm | None:
    """The largest amount and the largest intensity among harms of one kind."""
    if not harms:
        return None
    amounts = [harm.amount for harm in harms if harm.amount is not None]
    return Harm(max(amounts) if amounts else None, max(harm.intensity for harm in harms), max(harm.z for harm in harms))
