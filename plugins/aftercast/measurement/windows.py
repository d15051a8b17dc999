"""Which buckets belong to an incident on a journey, and the fitted worlds they are measured in.

The window opens with the bucket of the reported start, at an earlier KPI anomaly (one hour at most), or up to 15 minutes earlier while
the journey is below what 95 % of quiet buckets reach; it closes when the impact ended, or later while the journey stays there (an hour
at most).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aftercast.measurement.counterfactual import DAY, HOUR, LEAST_DAYS, LEAST_WINDOWS, WEEK, World, build_world, columns_of, is_long
from aftercast.measurement.factors import RARE, Pools, groups_of
from aftercast.measurement.flows import Flow, seconds
from aftercast.measurement.inputs import Inputs
from aftercast.measurement.known_times import KnownTime
from aftercast.measurement.outcomes import Outcome, evaluate

LOOK_BACK = 15 * 60
EARLIEST_SIGN = HOUR
LONGEST_TAIL = HOUR
REBOUND = 4 * HOUR
"""Span after an incident in which lost sales may come back."""
MOST_CELLS = 4_000_000
"""Buckets times columns of the worlds kept at once; a cell takes some 160 bytes with all that is derived from it."""

Key = tuple[str, float, float, bool]


@dataclass(frozen=True, slots=True)
class Span:
    """Window of one incident on one journey, in buckets of the flow, end exclusive."""

    incident: str
    start: int
    end: int


class Ledger:
    """Worlds of a measurement, one per journey and training span, and what was measured in them."""

    def __init__(
        self, flows: dict[str, Flow], masks: dict[str, list[tuple[float, float]]], times: dict[str, tuple[KnownTime, ...]]
    ) -> None:
        self.flows, self.masks, self.times = flows, masks, times
        self._worlds: OrderedDict[Key, World] = OrderedDict()
        self._refused: dict[Key, str] = {}
        self._asked: dict[Key, tuple[float, float]] = {}
        self._outcomes: dict[tuple[str, Pools], Outcome | str] = {}

    def world(self, journey: str, start: int, end: int) -> World | str:
        """Return the journey around buckets [start, end), or why there is too little history.

        Worlds are large, and a year has hundreds: those asked for last are kept, the others are built again, as they were first.
        """
        flow = self.flows[journey]
        begin, finish = flow.start + start * flow.grain, flow.start + end * flow.grain
        key: Key = (journey, (begin - 4 * DAY) // WEEK, (finish - 4 * DAY - 1) // WEEK, is_long(begin, finish))
        found = self._refused.get(key) or self._worlds.get(key) or self._built(key, *self._asked.setdefault(key, (begin, finish)))
        if isinstance(found, World):
            self._worlds.move_to_end(key)
        days = (finish - begin) / DAY
        if isinstance(found, World) and days * LEAST_WINDOWS > max(known := found.quiet.sum() * flow.grain / DAY, LEAST_DAYS):
            return f"not enough history: {known:.0f} days, needs {days * LEAST_WINDOWS:.0f}"
        return found

    def _built(self, key: Key, begin: float, finish: float) -> World | str:
        journey = key[0]
        found = build_world(self.flows[journey], self.masks[journey], begin, finish, self.times.get(journey, ()))
        if isinstance(found, str):
            self._refused[key] = found
            return found
        self._worlds[key] = found
        while len(self._worlds) > 1 and sum(world.actual.size for world in self._worlds.values()) > MOST_CELLS:
            self._worlds.popitem(last=False)
        return found

    def outcome(self, seed: str, world: World, start: int, end: int, cluster: tuple[int, int], until: int, pools: Pools) -> Outcome | str:
        key = (seed, pools)
        if key not in self._outcomes:
            self._outcomes[key] = evaluate(world, start, end, cluster, until, pools, seed)
        return self._outcomes[key]


def margins(flow: Flow, start: float, end: float) -> tuple[float, float]:
    """Span an incident may have touched, masked from training."""
    if flow.grain > HOUR:
        return start, end
    return start - EARLIEST_SIGN, end + LONGEST_TAIL + REBOUND


def kpi_signs(inputs: Inputs) -> dict[str, list[tuple[float, float]]]:
    """Return when each journey was worse than expected: [begin, end) of its anomalies, in order."""
    rows = inputs.anomalies.select("subject_kind", "subject", "started_at", "ended_at", "hurts").iter_rows()
    found: dict[str, list[tuple[float, float]]] = {}
    for kind, name, begin, end, hurts in rows:
        if kind == "journey" and hurts:
            found.setdefault(str(name), []).append((seconds(begin), seconds(end)))
    return {name: sorted(signs) for name, signs in found.items()}


def find_span(ledger: Ledger, name: str, journey: str, start: float, end: float, signs: Sequence[tuple[float, float]]) -> Span | str:
    """Window of an incident on a journey, whose `signs` may open it earlier; text says why there is none."""
    flow = ledger.flows[journey]
    if end <= flow.start or start >= flow.end:
        return "no journey data in window"
    if flow.grain <= HOUR:
        near = signs[bisect_left(signs, (start - EARLIEST_SIGN,)) : bisect_left(signs, (end,))]
        start = min([start, *(begin for begin, stop in near if stop > start)])
    first = flow.place(start)
    last = max(flow.place_end(end), first + 1)
    if first < 0 or last > flow.n_buckets:
        if first < 0:
            return "incident began before the journey's data"
        last = flow.n_buckets
    world = ledger.world(journey, first, last)
    if isinstance(world, str):
        return world
    first, last = _extended(world, first, last)
    return Span(name, first, min(last, flow.n_buckets))


def _extended(world: World, start: int, end: int) -> tuple[int, int]:
    """Open the window earlier, and close it later, while the whole journey is below what 95 % of quiet buckets reach."""
    flow, size = world.flow, len(world.actual)
    columns = columns_of(world.n_segments)[0 if flow.earns else 2]
    actual, due = world.actual[:, columns].sum(axis=1), world.seen[:, columns].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(due > 0, actual / due, 1.0)
    floor = float(np.quantile(ratio[world.quiet], RARE)) if world.quiet.any() else 0.0
    first, last = start - world.first, end - world.first
    for _ in range(LOOK_BACK // flow.grain):
        if not 0 < first <= size or ratio[first - 1] >= floor:
            break
        first -= 1
    longest = min(LONGEST_TAIL, max((end - start) * flow.grain, LOOK_BACK)) // flow.grain
    for _ in range(longest):
        if not 0 <= last < size or ratio[last] >= floor:
            break
        last += 1
    return first + world.first, last + world.first


def measured_alone(ledger: Ledger, journey: str, span: Span) -> Outcome | str:
    world = ledger.world(journey, span.start, span.end)
    if isinstance(world, str):
        return world
    pools = tuple(tuple(members) for members in groups_of(ledger.flows[journey]).values())
    return ledger.outcome(f"{journey}|{span.start}|{span.end}|alone", world, span.start, span.end, (span.start, span.end), span.end, pools)
