"""One incident as the telemetry shows it: when it began, which services deviate, and how much of the harm arises in each.

Two quantities carry the ranking. *Deviation* is a robust z in the direction that hurts: is it unusual? *Added harm* is physical: extra
waiting (added latency times requests) or extra failures (added failure share times requests), and a service's *own* part of it is what its
callees do not already account for: a caller inherits the trouble of its callees, the origin does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from aftercast.correlation.graph import Graph
from aftercast.correlation.semantics import AVAILABILITY, ERRORS, LATENCY, OTHER, SATURATION, TRAFFIC, tail_order
from aftercast.correlation.telemetry import HOUR, MINUTE, Floats, Normal, Panel, normal_before

SEARCH_BEFORE = 60 * MINUTE
SEARCH_AFTER = 30 * MINUTE
SETTLED_BEFORE = 30 * MINUTE
FIRST_HOUR = HOUR
SATURATION_LEAD = 3 * HOUR
CLEAR = 4.0
"""A robust z from which a point counts as deviating."""
STRONG = 8.0
NEAR_HOPS = 3
MULTIPLICITY = 3.0
STEADY, FILLED, NEAR_LIMIT = 0.8, 0.2, 0.8
"""A resource fills when it rises steadily (rank correlation with time) by a fifth of its level; near its limit is 80 % of it."""
SYMPTOM_WEIGHT = {ERRORS: 1.0, AVAILABILITY: 1.0, LATENCY: 1.0, SATURATION: 0.8, OTHER: 0.5, TRAFFIC: 0.3}
WAITING, FAILURES = "waiting", "failures"
_HARM = {LATENCY: WAITING, ERRORS: FAILURES, AVAILABILITY: FAILURES}


@dataclass(frozen=True, slots=True)
class Incident:
    """What the ranking needs to know of an incident; times in microseconds."""

    incident_id: str
    title: str
    environment: str
    region: str
    services: tuple[str, ...]
    origins: tuple[str, ...]
    trigger: str
    started: int
    ended: int


@dataclass(frozen=True, slots=True)
class Deviation:
    """The most telling series of a service.

    Attributes:
        z: robust z in the direction that hurts (either direction for two-sided metrics), mean of the two worst points of the first hour.
        usual, seen: normal level and level during the first hour.
        first: start of the first deviating bucket that lasted, None when none did.
    """

    metric: str
    region: str
    symptom: str
    unit: str
    z: float
    usual: float
    seen: float
    first: int | None
    points_seen: int

    @property
    def weight(self) -> float:
        return self.z * SYMPTOM_WEIGHT[self.symptom]


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


@dataclass(frozen=True, slots=True)
class Saturation:
    """A resource that filled up before the onset, or stood near its limit after it."""

    metric: str
    region: str
    unit: str
    filling: bool
    usual: float
    seen: float
    since: int
    z: float


@dataclass(frozen=True, slots=True)
class View:
    """A service during an incident. `own` is the share of its `harm` that its callees do not account for; both by kind of harm."""

    service: str
    worst: Deviation
    by_symptom: Mapping[str, Deviation]
    regions: Mapping[str, float]
    harm: Mapping[str, Harm]
    own: Mapping[str, float]
    together: float | None
    saturation: Saturation | None


@dataclass(frozen=True, slots=True)
class Situation:
    """An incident with everything the checks look at. `hops` counts calls from the services hit down to each service."""

    incident: Incident
    onset: int
    onset_is_measured: bool
    views: Mapping[str, View]
    hops: Mapping[str, int]
    above: Mapping[str, int]
    graph: Graph
    kind_of_harm: str | None
    total_harm: Harm | None
    stale: bool
    measured: frozenset[str] = field(default_factory=frozenset)


def silent(incident: Incident, graph: Graph) -> Situation:
    """The situation when there is no telemetry of this environment at all."""
    hit = incident.services
    return Situation(incident, incident.started, False, {}, graph.hops_down(hit), graph.hops_up(hit), graph, None, None, True)


def look(incident: Incident, panel: Panel | None, graph: Graph, as_of: int) -> Situation:
    """Measure onset, deviations and harm of one incident."""
    if panel is None or not panel.series:
        return silent(incident, graph)
    hit = incident.services
    down, up = graph.hops_down(hit), graph.hops_up(hit)
    near = frozenset(name for name, hops in down.items() if hops <= NEAR_HOPS) if hit else frozenset(s.service for s in panel.series)
    normal = normal_before(panel, incident.started - SEARCH_BEFORE - SETTLED_BEFORE, as_of)
    onset, is_measured = _onset(incident, panel, normal, near, as_of)
    if is_measured:
        normal = normal_before(panel, onset - SETTLED_BEFORE, as_of)
    during = panel.between(onset - panel.grain + 1, min(max(min(onset + FIRST_HOUR, incident.ended), onset + 3 * panel.grain), as_of))
    reference = _reference(panel, normal, onset)
    scores = _scores(panel, normal, reference, during)
    deviations = _deviations(panel, normal, reference, scores, during)
    harm = _harm(panel, reference, scores, during, deviations)
    own = _own(harm, graph)
    together = _together(panel, deviations, hit, onset, incident.ended, as_of)
    saturated = _saturations(panel, normal, onset, during, as_of)
    views = {
        service: View(
            service,
            max(rows.values(), key=lambda row: (row.weight, row.metric)),
            rows,
            _regions(panel, scores, service, during),
            harm.get(service, {}),
            own.get(service, {}),
            together.get(service),
            saturated.get(service),
        )
        for service, rows in sorted(deviations.items())
    }
    kind, total = _leading_harm(views, hit)
    measured = frozenset(views)
    return Situation(incident, onset, is_measured, views, down, up, graph, kind, total, normal.is_stale, measured)


def _signed(panel: Panel, z: Floats) -> Floats:
    """Turn z so that harm is positive; two-sided metrics by magnitude."""
    hurts = np.array([series.meaning.hurts for series in panel.series])[:, None]
    return np.where(hurts == 0, np.abs(z), z * hurts)


def _z(panel: Panel, normal: Normal, level: Floats, columns: slice) -> Floats:
    apart = panel.values[:, columns].astype(np.float64) - level[:, None]
    spread = np.where(apart >= 0, normal.up[:, None], normal.down[:, None])
    return np.where(normal.known[:, None], apart / spread, np.nan)


def _onset(incident: Incident, panel: Panel, normal: Normal, near: frozenset[str], as_of: int) -> tuple[int, bool]:
    """Earliest bucket around the reported start from which a strongly hurt series near the incident stays hurt; else the reported start.

    A start needs a run: most of the points from there to a quarter of an hour after the report (at least two) are clear of the normal.
    """
    if normal.is_stale:
        return incident.started, False
    until = min(max(incident.started + SEARCH_AFTER, min(incident.ended, incident.started + SEARCH_AFTER)), as_of)
    columns = panel.between(incident.started - SEARCH_BEFORE, until)
    if columns.stop - columns.start < 3:
        return incident.started, False
    chosen = [
        position
        for position, series in enumerate(panel.series)
        if series.service in near and series.meaning.symptom in _HARM and bool(normal.known[position])
    ]
    if not chosen:
        return incident.started, False
    times = panel.times[columns]
    z = _signed(panel, _z(panel, normal, normal.centre, columns))[chosen]
    starts = []
    for row in z:
        known = np.isfinite(row)
        peak = np.sort(row[known])[-2:].mean() if known.sum() >= 2 else -np.inf
        if peak < STRONG:
            continue
        start = _first_run(row, max(CLEAR, 0.25 * float(peak)))
        if start is not None:
            starts.append((int(times[start]), float(peak)))
    if not starts:
        return incident.started, False
    strongest = max(peak for _, peak in starts)
    return min(start for start, peak in starts if peak >= 0.3 * strongest), True


def _first_run(row: Floats, threshold: float) -> int | None:
    """First index that is above the threshold together with half of its next three known points."""
    above = row > threshold
    for start in np.flatnonzero(above):
        after = row[start + 1 : start + 4]
        after = after[np.isfinite(after)]
        if after.size and 2 * (after > threshold).sum() >= after.size:
            return int(start)
    return None


def _reference(panel: Panel, normal: Normal, onset: int) -> Floats:
    """Level to compare with: the normal's centre, or, when the normal is out of date, the points right before the onset."""
    if not normal.is_stale:
        return normal.centre
    before = panel.values[:, panel.between(onset - HOUR, onset - panel.grain + 1)].astype(np.float64)
    count = np.isfinite(before).sum(axis=1)
    level = np.sort(before, axis=1)
    middle = np.where(count > 0, level[np.arange(len(level)), np.maximum(count - 1, 0) // 2], np.nan) if level.shape[1] else normal.centre
    return np.where(np.isfinite(middle), middle, normal.centre)


def _scores(panel: Panel, normal: Normal, reference: Floats, during: slice) -> Floats:
    return _signed(panel, _z(panel, normal, reference, during))


def _deviations(panel: Panel, normal: Normal, reference: Floats, scores: Floats, during: slice) -> dict[str, dict[str, Deviation]]:
    """Per service and symptom the series that deviates most."""
    times = panel.times[during]
    found: dict[str, dict[str, Deviation]] = {}
    for position, series in enumerate(panel.series):
        row = scores[position]
        known = np.isfinite(row)
        if not known.any():
            continue
        worst = np.sort(row[known])[::-1][:2]
        values = panel.values[position, during][known].astype(np.float64)
        start = _first_run(row, CLEAR)
        deviation = Deviation(
            series.metric,
            series.region,
            series.meaning.symptom,
            "share" if series.whole == 1.0 else "%" if series.whole else series.unit,
            float(worst.mean()),
            float(reference[position]),
            float(np.median(values)) if worst.mean() < CLEAR else float(values[np.argsort(-row[known], kind="stable")[:3]].mean()),
            int(times[start]) if start is not None else None,
            int(known.sum()),
        )
        rows = found.setdefault(series.service, {})
        held = rows.get(series.meaning.symptom)
        if held is None or (deviation.z, series.metric, series.region) > (held.z, held.metric, held.region):
            rows[series.meaning.symptom] = deviation
    return found


def _regions(panel: Panel, scores: Floats, service: str, during: slice) -> dict[str, float]:
    """Worst z of each region of a service over metrics that show harm."""
    found: dict[str, float] = {}
    for position, series in enumerate(panel.series):
        if series.service == service and series.region and series.meaning.symptom in _HARM:
            row = scores[position]
            known = row[np.isfinite(row)]
            if known.size:
                found[series.region] = max(found.get(series.region, -np.inf), float(np.sort(known)[-2:].mean()))
    return found


def _harm(panel: Panel, reference: Floats, scores: Floats, during: slice, deviations: Mapping[str, object]) -> dict[str, dict[str, Harm]]:
    """Added waiting and added failures of each service over its regions, by kind; zero when it did not get worse."""
    plainest: dict[tuple[str, str, str], tuple[tuple[int, str, str], int]] = {}
    for position, series in enumerate(panel.series):
        kind = _HARM.get(series.meaning.symptom)
        if kind is None or (kind == FAILURES and not series.whole) or series.service not in deviations:
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
        z = scores[position][np.isfinite(scores[position])]
        worst = float(np.sort(z)[-2:].mean()) if z.size else 0.0
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


def _own(harm: Mapping[str, Mapping[str, Harm]], graph: Graph) -> dict[str, dict[str, float]]:
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

    What the callee's own harm amounts to counts, as far as it stands out. Beyond that, one request of the caller may stand for several calls, retries and
    timeouts: a callee that clearly deviates, and at least as badly per request as its caller, may account for up to three times its own
    amount. A callee whose traffic is unknown is judged per request only. A callee that reports no failures at all may have slowed into them.
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


def _leading_harm(views: Mapping[str, View], hit: tuple[str, ...]) -> tuple[str | None, Harm | None]:
    """Kind of harm that stands out most at the services hit (or anywhere, when they are not measured), and the largest of it there."""
    places = [views[name] for name in hit if name in views] or list(views.values())
    scored = [(harm.z, kind) for view in places for kind, harm in view.harm.items()]
    if not scored:
        return None, None
    kind = max(scored)[1]
    return kind, largest([view.harm[kind] for view in places if kind in view.harm])


def largest(harms: list[Harm]) -> Harm | None:
    """The largest amount and the largest intensity among harms of one kind."""
    if not harms:
        return None
    amounts = [harm.amount for harm in harms if harm.amount is not None]
    return Harm(max(amounts) if amounts else None, max(harm.intensity for harm in harms), max(harm.z for harm in harms))


def _together(
    panel: Panel, deviations: Mapping[str, Mapping[str, Deviation]], hit: tuple[str, ...], onset: int, ended: int, as_of: int
) -> dict[str, float]:
    """Correlation (Pearson over ranks) of each service's worst series with the worst series of the services hit, around the onset."""
    columns = panel.between(onset - HOUR, min(max(ended, onset + 15 * MINUTE), onset + HOUR, as_of) + panel.grain)
    rows = {(series.service, series.metric, series.region): position for position, series in enumerate(panel.series)}

    def telling(service: str) -> tuple[float, int] | None:
        known = [row for symptom, row in deviations.get(service, {}).items() if symptom in _HARM]
        if not known:
            return None
        worst = max(known, key=lambda row: (row.z, row.metric))
        return worst.z, rows[service, worst.metric, worst.region]

    leads = [found for name in hit if (found := telling(name)) is not None]
    if not leads:
        return {}
    lead = _upward(panel, max(leads)[1], columns)
    result = {}
    for service in deviations:
        if service in hit:
            continue
        found = telling(service)
        if found is None:
            continue
        other = _upward(panel, found[1], columns)
        both = np.isfinite(lead) & np.isfinite(other)
        if both.sum() >= 5:
            result[service] = _rank_correlation(lead[both], other[both])
    return result


def _upward(panel: Panel, position: int, columns: slice) -> Floats:
    hurts = panel.series[position].meaning.hurts or 1
    return panel.values[position, columns].astype(np.float64) * hurts


def _rank_correlation(left: Floats, right: Floats) -> float:
    first, second = _ranks(left), _ranks(right)
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Floats) -> Floats:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    return np.asarray((ends - (count - 1) / 2)[place], dtype=np.float64)


def _saturations(panel: Panel, normal: Normal, onset: int, during: slice, as_of: int) -> dict[str, Saturation]:
    """Per service the resource that filled before the onset (beyond what the clock explains), else one near its limit during it."""
    rows = [i for i, series in enumerate(panel.series) if series.meaning.symptom == SATURATION and bool(normal.known[i])]
    found: dict[str, Saturation] = {}
    lead = panel.between(onset - SATURATION_LEAD, onset - panel.grain + 1)
    if normal.is_stale or not rows:
        return found
    part = panel.only(rows)
    earlier = normal_before(part, onset - SATURATION_LEAD, as_of)
    for position, row in enumerate(rows):
        series, values = panel.series[row], panel.values[row, lead].astype(np.float64)
        values = values[np.isfinite(values)]
        usual, spread = float(normal.centre[row]), float(normal.up[row])
        saturation: Saturation | None = None
        if values.size >= 12:
            late = float(np.median(values[-6:]))
            rise = late - float(np.median(values[:6])) - (usual - float(earlier.centre[position]))
            steady = _rank_correlation(np.arange(values.size, dtype=np.float64), values)
            if steady >= STEADY and rise >= max(FILLED * abs(usual), 3 * _jitter(values)) and late > usual + spread:
                since = int(panel.times[lead][0])
                saturation = Saturation(series.metric, series.region, series.unit, True, usual, late, since, (late - usual) / spread)
        seen = panel.values[row, during].astype(np.float64)
        seen = seen[np.isfinite(seen)]
        limit = _limit(series.unit)
        if saturation is None and limit and seen.size:
            level = float(np.sort(seen)[-3:].mean())
            if level >= NEAR_LIMIT * limit and level > usual + CLEAR / 2 * spread:
                z = (level - usual) / spread
                saturation = Saturation(series.metric, series.region, series.unit, False, usual, level, onset, z)
        held = found.get(series.service)
        if saturation is not None and (held is None or (saturation.filling, saturation.z) > (held.filling, held.z)):
            found[series.service] = saturation
    return found


def _jitter(values: Floats) -> float:
    """Spread from point to point, free of the trend."""
    return float(np.median(np.abs(np.diff(values)))) * 1.05


def _limit(unit: str) -> float:
    return {"ratio": 1.0, "1": 1.0, "percent": 100.0, "%": 100.0, "pct": 100.0}.get(unit.lower(), 0.0)
