"""Who calls whom in one environment: distances along calls, robust against cycles, self-edges and unknown names.

Calls that were seen or declared make the graph. Edges inferred from series that move one after the other are no calls: they make a graph of
their own, which is empty wherever a call is known, and says what it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

INFERRED = frozenset({"inferred", "correlation"})
"""Provenances of edges that are no calls."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Direct callees and callers of each service; both sorted, so that walks are deterministic.

    `is_inferred` tells that its edges are no calls.
    """

    callees: Mapping[str, tuple[str, ...]]
    callers: Mapping[str, tuple[str, ...]]
    is_inferred: bool = False

    @classmethod
    def of(cls, edges: Iterable[tuple[str, str]], *, is_inferred: bool = False) -> Graph:
        down: dict[str, set[str]] = {}
        up: dict[str, set[str]] = {}
        for caller, callee in edges:
            if caller != callee:
                down.setdefault(caller, set()).add(callee)
                up.setdefault(callee, set()).add(caller)
        return cls(
            {name: tuple(sorted(others)) for name, others in sorted(down.items())},
            {name: tuple(sorted(others)) for name, others in sorted(up.items())},
            is_inferred,
        )

    @classmethod
    def of_environment(cls, dependencies: pl.DataFrame, environment: str) -> Graph:
        """Calls known for this environment or for any (''); inferred edges are none."""
        calls, _ = _known(dependencies, environment)
        return cls.of(calls.select("caller", "callee").iter_rows())

    @classmethod
    def inferred_in(cls, dependencies: pl.DataFrame, environment: str) -> Graph:
        """What is inferred for an environment in which no call is known; empty where one is."""
        calls, weak = _known(dependencies, environment)
        return cls.of([] if calls.height else weak.select("caller", "callee").iter_rows(), is_inferred=True)

    def __bool__(self) -> bool:
        return bool(self.callees)

    @property
    def services(self) -> frozenset[str]:
        return frozenset(self.callees) | frozenset(self.callers)

    def in_cycle(self, service: str) -> bool:
        """Whether a call of this service can come back to it over others."""
        return service in _walk(self.callees.get(service, ()), self.callees)

    def hops_down(self, starts: Iterable[str]) -> dict[str, int]:
        """Calls from the nearest start to each service it reaches, starts included at 0."""
        return _walk(starts, self.callees)

    def hops_up(self, starts: Iterable[str]) -> dict[str, int]:
        """Calls from each service that reaches a start, starts included at 0."""
        return _walk(starts, self.callers)


def _known(dependencies: pl.DataFrame, environment: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Calls, and edges that are only inferred."""
    here = dependencies.filter(pl.col("environment").is_in(["", environment])).drop_nulls(["caller", "callee"])
    if "provenance" not in here.columns:
        return here, here.clear()
    weak = pl.col("provenance").is_in(sorted(INFERRED)).fill_null(value=False)
    return here.filter(~weak), here.filter(weak)


def _walk(starts: Iterable[str], onward: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    hops = dict.fromkeys(sorted(starts), 0)
    queue = deque(hops)
    while queue:
        here = queue.popleft()
        for there in onward.get(here, ()):
            if there not in hops:
                hops[there] = hops[here] + 1
                queue.append(there)
    return hops
