"""Promotions and holidays as loss reads them: nothing is learned from them about ordinary days, and what they usually do is expected.

What one name does is the median over its occurrences in the training span, earlier and later ones, outside of incidents. Until several
agree, the next one is expected to differ by half of it; of a name that occurs once nothing is known, and the interval says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aftercast.measurement.flows import Array, Flags, Flow, seconds
from aftercast.measurement.inputs import Inputs

DIFFER = 0.5
"""Occurrences are taken to differ by this part of their effect until there are enough to tell; an unknown effect, by this part of sales."""


@dataclass(frozen=True, slots=True)
class KnownTime:
    """A name, the segments of the journey it moves, and its occurrences in seconds since 1970."""

    name: str
    columns: tuple[int, ...]
    spans: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Usual:
    """What known times do to the buckets of a world.

    Attributes:
        factor: what the ordinary expectation is multiplied by, [bucket, column].
        doubt: how much that differs between occurrences, relative, one standard deviation, [bucket, column].
        unseen: names of which no other occurrence is known, with their buckets.
    """

    factor: Array
    doubt: Array
    unseen: tuple[tuple[str, Flags], ...]

    def note(self, start: int, end: int) -> str | None:
        """Name what buckets [start, end) fall into without any other occurrence to learn from."""
        names = sorted({name for name, inside in self.unseen if inside[start:end].any()})
        return f"falls into {', '.join(names)}, of which no other occurrence is known" if names else None


def read_known_times(inputs: Inputs, flows: dict[str, Flow]) -> dict[str, tuple[KnownTime, ...]]:
    """Return the known times that move each journey, by its name."""
    rows = inputs.known_times.sort("name", "starts_at")
    found: dict[str, tuple[KnownTime, ...]] = {}
    for journey, flow in flows.items():
        own: dict[tuple[str, tuple[int, ...]], list[tuple[float, float]]] = {}
        for name, starts, ends, journeys, regions, countries in rows.select(
            "name", "starts_at", "ends_at", "journeys", "regions", "countries"
        ).iter_rows():
            if journeys and journey not in journeys:
                continue
            columns = tuple(
                number
                for number, segment in enumerate(flow.segments)
                if (not regions or segment["region"] in (*regions, "")) and (not countries or segment["country"] in (*countries, ""))
            )
            if columns and ends > starts:
                own.setdefault((name, columns), []).append((seconds(starts), seconds(ends)))
        found[journey] = tuple(KnownTime(name, columns, tuple(spans)) for (name, columns), spans in own.items())
    return found


def lines(times: tuple[KnownTime, ...], stamps: npt.NDArray[np.int64], grain: int) -> list[list[Flags]]:
    """Return the buckets of every occurrence of every known time that touches the stamps."""
    return [[inside for first, until in one.spans if (inside := (stamps + grain > first) & (stamps < until)).any()] for one in times]


def usual_effect(
    times: tuple[KnownTime, ...], inside: list[list[Flags]], actual: Array, expected: Array, fair: Flags, n_segments: int
) -> Usual:
    """Learn from buckets that are `fair` (present and outside of incidents) what each known time does; measures apart."""
    factor, doubt = np.ones_like(expected), np.zeros_like(expected)
    unseen = []
    for one, spans in zip(times, inside, strict=True):
        if not spans:
            continue
        whole = np.logical_or.reduce(spans)
        seen = 0
        for first in range(0, expected.shape[1], n_segments):
            columns = [first + number for number in one.columns]
            ratios = []
            for span in spans:
                due = float(expected[span & fair][:, columns].sum())
                if due > 0:
                    ratios.append(float(actual[span & fair][:, columns].sum()) / due)
            seen = max(seen, len(ratios))
            effect = float(np.median(ratios)) if ratios else 1.0
            part = np.ix_(whole, columns)
            factor[part] *= effect
            doubt[part] = np.hypot(doubt[part], _spread(ratios, effect))
        if not seen:
            unseen.append((one.name, whole))
    return Usual(factor, doubt, tuple(unseen))


def _spread(ratios: list[float], effect: float) -> float:
    """Standard deviation of another occurrence around the usual one, relative to it."""
    n = len(ratios)
    if n == 0 or effect <= 0:
        return DIFFER
    spread = float(np.std(ratios, ddof=1)) if n > 1 else 0.0
    variance = ((DIFFER * (effect - 1)) ** 2 + (n - 1) * spread**2) / n
    return float(np.sqrt(variance * (1 + 1 / n)) / effect)
