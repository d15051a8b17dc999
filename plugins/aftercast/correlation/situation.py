"""One incident as the telemetry shows it: when it began, which services deviate, and how much of the harm arises in each.

Two quantities carry the ranking. *Deviation* is a robust z in the direction that hurts: is it unusual? *Added harm* (`harm`) is physical,
and a service's *own* share of it is what its callees do not account for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from aftercast.correlation.association import rank_correlation
from aftercast.correlation.calls import Book, Calls, calls_of
from aftercast.correlation.graph import Graph
from aftercast.correlation.harm import CLEAR, HARM, STRONG, Harm, harms, largest, own_shares
from aftercast.correlation.saturation import Saturation, saturations
from aftercast.correlation.semantics import AVAILABILITY, ERRORS, LATENCY, OTHER, SATURATION, TRAFFIC
from aftercast.correlation.telemetry import HOUR, MINUTE, OFF_THE_SCALE, Floats, Normal, Panel, normal_before, worst_of

SEARCH_BEFORE = 60 * MINUTE
SEARCH_AFTER = 30 * MINUTE
SETTLED_BEFORE = 30 * MINUTE
SEARCH_SHARE, SETTLED_SHARE = 3, 6
"""Of a history of a few hours or minutes, at most a third is searched for the onset, and a sixth left out before it."""
ONSET_PART = 15
FIRST_HOUR = HOUR
NEAR_HOPS = 3
MOST_OF_TRAFFIC = 12.0
SYMPTOM_WEIGHT = {ERRORS: 1.0, AVAILABILITY: 1.0, LATENCY: 1.0, SATURATION: 0.8, OTHER: 0.5, TRAFFIC: 0.3}


@dataclass(frozen=True, slots=True)
class Incident:
    """What the ranking needs to know of an incident; times in microseconds. `calm_since`: when the last incident before it had ended."""

    incident_id: str
    title: str
    environment: str
    region: str
    services: tuple[str, ...]
    origins: tuple[str, ...]
    trigger: str
    started: int
    ended: int
    calm_since: int = 0


@dataclass(frozen=True, slots=True)
class Deviation:
    """The most telling series of a service.

    Attributes:
        z: robust z in the direction that hurts (either direction for two-sided metrics), mean of the worst sixth of the points of the first
            hour, at least two.
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
        """How much the deviation says about the service: demand alone, however unusual, says little."""
        return min(self.z, MOST_OF_TRAFFIC if self.symptom == TRAFFIC else self.z) * SYMPTOM_WEIGHT[self.symptom]


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
    calls: Calls = field(default_factory=Calls)

    @property
    def latest(self) -> int:
        """Until when a cause may have begun: the onset, or the reported start when the onset may belong to an incident going on beside."""
        return max(self.onset, self.incident.started)

    def onset_at(self, service: str) -> int:
        """When a service itself began to hurt clearly; the onset of the incident when it did not or cannot be told."""
        view = self.views.get(service)
        if view is None:
            return self.onset
        firsts = [row.first for key, row in view.by_symptom.items() if key in HARM and row.first is not None and row.z >= STRONG]
        return min(firsts, default=self.onset)


def silent(incident: Incident, graph: Graph) -> Situation:
    """The situation when there is no telemetry of this environment at all."""
    hit = incident.services
    return Situation(incident, incident.started, False, {}, graph.hops_down(hit), graph.hops_up(hit), graph, None, None, True)


def look(incident: Incident, panel: Panel | None, graph: Graph, as_of: int, book: Book | None = None) -> Situation:
    """Measure onset, deviations and harm of one incident, and what its traces and logs tell."""
    seen = silent(incident, graph) if panel is None or not panel.series else _measured(incident, panel, graph, as_of)
    ended = min(incident.ended, incident.started + FIRST_HOUR)
    return replace(seen, calls=calls_of(book, incident.started, seen.onset, ended, incident.calm_since, graph))


def _measured(incident: Incident, panel: Panel, graph: Graph, as_of: int) -> Situation:
    hit = incident.services
    down, up = graph.hops_down(hit), graph.hops_up(hit)
    near = frozenset(name for name, hops in down.items() if hops <= NEAR_HOPS) if hit else frozenset(s.service for s in panel.series)
    history = max(incident.started - int(panel.times[0]), 0)
    search, settled = min(SEARCH_BEFORE, history // SEARCH_SHARE), min(SETTLED_BEFORE, history // SETTLED_SHARE)
    normal = normal_before(panel, incident.started - search - settled, as_of)
    onset, is_measured = _onset(incident, panel, normal, near, search, as_of)
    if is_measured:
        normal = normal_before(panel, onset - settled, as_of)
    during = panel.between(onset - panel.grain + 1, min(max(min(onset + FIRST_HOUR, incident.ended), onset + 3 * panel.grain), as_of))
    reference = _reference(panel, normal, onset)
    scores = _scores(panel, normal, reference, during)
    deviations = _deviations(panel, normal, reference, scores, during)
    harm = harms(panel, reference, scores, during, deviations)
    own = own_shares(harm, graph)
    regions = _regions(panel, scores)
    together = _together(panel, deviations, hit, onset, incident.ended, as_of)
    saturated = saturations(panel, normal, onset, during, as_of)
    views = {
        service: View(
            service,
            max(rows.values(), key=lambda row: (row.weight, row.metric)),
            rows,
            regions.get(service, {}),
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
    return np.where(normal.known[:, None], np.clip(apart / spread, -OFF_THE_SCALE, OFF_THE_SCALE), np.nan)


def _onset(incident: Incident, panel: Panel, normal: Normal, near: frozenset[str], search: int, as_of: int) -> tuple[int, bool]:
    """Earliest bucket around the reported start from which a strongly hurt series near the incident stays hurt; else the reported start.

    A start needs a run: most of the points from there to a quarter of an hour after the report (at least two) are clear of the normal.
    """
    if normal.is_stale:
        return incident.started, False
    until = min(max(incident.started + SEARCH_AFTER, min(incident.ended, incident.started + SEARCH_AFTER)), as_of)
    columns = panel.between(max(incident.started - search, incident.calm_since), until)
    if columns.stop - columns.start < 3:
        return incident.started, False
    chosen = [
        position
        for position, series in enumerate(panel.series)
        if series.service in near and series.meaning.symptom in HARM and bool(normal.known[position])
    ]
    if not chosen:
        return incident.started, False
    times = panel.times[columns]
    z = _signed(panel, _z(panel, normal, normal.centre, columns))[chosen]
    starts = []
    for row in z:
        peak = worst_of(row, ONSET_PART) if np.isfinite(row).sum() >= 2 else -np.inf
        if peak < STRONG:
            continue
        start = _first_run(row, max(CLEAR, 0.25 * peak))
        if start is not None:
            starts.append((int(times[start]), peak))
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
        worst = worst_of(row)
        values = panel.values[position, during][known].astype(np.float64)
        start = _first_run(row, CLEAR)
        deviation = Deviation(
            series.metric,
            series.region,
            series.meaning.symptom,
            "share" if series.whole == 1.0 else "%" if series.whole else series.unit,
            worst,
            float(reference[position]),
            float(np.median(values)) if worst < CLEAR else float(values[np.argsort(-row[known], kind="stable")[:3]].mean()),
            int(times[start]) if start is not None else None,
            int(known.sum()),
        )
        rows = found.setdefault(series.service, {})
        held = rows.get(series.meaning.symptom)
        if held is None or (deviation.z, series.metric, series.region) > (held.z, held.metric, held.region):
            rows[series.meaning.symptom] = deviation
    return found


def _regions(panel: Panel, scores: Floats) -> dict[str, dict[str, float]]:
    """Worst z of each region of each service over metrics that show harm."""
    found: dict[str, dict[str, float]] = {}
    for position, series in enumerate(panel.series):
        if series.region and series.meaning.symptom in HARM:
            worst = worst_of(scores[position])
            if np.isfinite(worst):
                regions = found.setdefault(series.service, {})
                regions[series.region] = max(regions.get(series.region, -np.inf), worst)
    return found


def _leading_harm(views: Mapping[str, View], hit: tuple[str, ...]) -> tuple[str | None, Harm | None]:
    """Kind of harm that stands out most at the services hit (or anywhere, when they are not measured), and the largest of it there."""
    places = [views[name] for name in hit if name in views] or list(views.values())
    scored = [(harm.z, kind) for view in places for kind, harm in view.harm.items()]
    if not scored:
        return None, None
    kind = max(scored)[1]
    return kind, largest([view.harm[kind] for view in places if kind in view.harm])


def _together(
    panel: Panel, deviations: Mapping[str, Mapping[str, Deviation]], hit: tuple[str, ...], onset: int, ended: int, as_of: int
) -> dict[str, float]:
    """Correlation (Pearson over ranks) of each service's worst series with the worst series of the services hit, around the onset."""
    columns = panel.between(onset - HOUR, min(max(ended, onset + 15 * MINUTE), onset + HOUR, as_of) + panel.grain)
    rows = {(series.service, series.metric, series.region): position for position, series in enumerate(panel.series)}

    def telling(service: str) -> tuple[float, int] | None:
        known = [row for symptom, row in deviations.get(service, {}).items() if symptom in HARM]
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
            result[service] = rank_correlation(lead[both], other[both])
    return result


def _upward(panel: Panel, position: int, columns: slice) -> Floats:
    hurts = panel.series[position].meaning.hurts or 1
    return panel.values[position, columns].astype(np.float64) * hurts
