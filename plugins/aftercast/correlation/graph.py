"""Who calls whom in one environment: distances along calls, robust against cycles, self-edges and unknown names."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, slots=True)
class Graph:
    """Direct callees and callers of each service; both sorted, so that walks are deterministic."""

    callees: Mapping[str, tuple[str, ...]]
    callers: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, edges: Iterable[tuple[str, str]]) -> Graph:
        down: dict[str, set[str]] = {}
        up: dict[str, set[str]] = {}
        for caller, callee in edges:
            if caller != callee:
                down.setdefault(caller, set()).add(callee)
                up.setdefault(callee, set()).add(caller)
        return cls(
            {name: tuple(sorted(others)) for name, others in sorted(down.items())},
            {name: tuple(sorted(others)) for name, others in sorted(up.items())},
        )

    @classmethod
    def of_environment(cls, dependencies: pl.DataFrame, environment: str) -> Graph:
        """Edges declared for this environment or for any ('')."""
        here = dependencies.filter(pl.col("environment").is_in(["", environment]) & pl.col("caller").is_not_null())
        return cls.of(here.select("caller", "callee").drop_nulls().iter_rows())

    def __bool__(self) -> bool:
        return bool(self.callees)

    @property
    def services(self) -> frozenset[str]:
        return frozenset(self.callees) | frozenset(self.callers)

    def hops_down(self, starts: Iterable[str]) -> dict[str, int]:
        """Calls from the nearest start to each service it reaches, starts included at 0."""
        return _walk(starts, self.callees)

    def hops_up(self, starts: Iterable[str]) -> dict[str, int]:
        """Calls from each service that reaches a start, starts included at 0."""
        return _walk(starts, self.callers)


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
