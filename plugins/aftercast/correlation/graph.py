"""Who calls whom in one environment: distances along calls, robust against cycles, self-edges and unknown names.

Calls that were seen or declared make the graph. Edges inferred from series that move one after the other are no calls: they are used only
where no call is known at all, and a graph made of them says so.
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

    `is_inferred` tells that no call is known and series that move together stand in.
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
        """Edges known for this environment or for any (''); inferred ones only when there is no other."""
        here = dependencies.filter(pl.col("environment").is_in(["", environment])).drop_nulls(["caller", "callee"])
        weak = pl.col("provenance").is_in(sorted(INFERRED)).fill_null(value=False) if "provenance" in here.columns else pl.lit(value=False)
        calls = here.filter(~weak)
        known = calls if calls.height else here
        return cls.of(known.select("caller", "callee").iter_rows(), is_inferred=not calls.height and known.height > 0)

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
