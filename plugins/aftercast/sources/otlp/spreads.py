"""Distributions as histograms tell them: explicit buckets or exponential ones, their increase, their sum, their quantiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

FINEST = 5  # scale: buckets 2.2 % wide; finer ones are joined

Cell = tuple[float, float]  # (low, high]; infinities where a histogram is open


@dataclass(frozen=True, slots=True)
class Spread:
    """Counts of values by cell.

    Attributes:
        scale: of exponential buckets; None for explicit bounds.
        cells: by the index of the exponential bucket, or by the place of the cell among the bounds.
        bounds: explicit bounds; empty for exponential buckets.
        zero: values at (or below) zero of an exponential histogram.
        low, high: the least and the greatest value, as far as known.
    """

    scale: int | None
    cells: Counter[int]
    bounds: tuple[float, ...] = ()
    zero: int = 0
    low: float | None = None
    high: float | None = None

    @property
    def count(self) -> int:
        return self.cells.total() + self.zero

    def coarser(self, scale: int) -> Spread:
        """Return it in the wider buckets of a smaller scale."""
        if self.scale is None or self.scale <= scale:
            return self
        joined: Counter[int] = Counter()
        for index, count in self.cells.items():
            joined[index >> (self.scale - scale)] += count
        return Spread(scale, joined, (), self.zero, self.low, self.high)

    def since(self, earlier: Spread) -> Spread | None:
        """Return what came in addition to an earlier state; None when it is no later state of the same histogram."""
        if (self.scale is None) != (earlier.scale is None) or self.bounds != earlier.bounds:
            return None
        scale = None if self.scale is None or earlier.scale is None else min(self.scale, earlier.scale)
        now, before = (self, earlier) if scale is None else (self.coarser(scale), earlier.coarser(scale))
        if now.zero < before.zero or any(now.cells[index] < count for index, count in before.cells.items()):
            return None
        more = Counter({index: count - before.cells[index] for index, count in now.cells.items() if count > before.cells[index]})
        return Spread(scale, more, self.bounds, now.zero - before.zero, self.low, self.high)

    def spans(self) -> list[tuple[Cell, int]]:
        """Return the cells with their counts, open ends closed by the least and the greatest value where these are known."""
        if self.scale is None:
            edges = (float("-inf"), *self.bounds, float("inf"))
            found = [((edges[index], edges[index + 1]), count) for index, count in sorted(self.cells.items())]
        else:
            base = 2.0 ** (2.0**-self.scale)
            found = [((base**index, base ** (index + 1)), count) for index, count in sorted(self.cells.items())]
            found = [((0.0, 0.0), self.zero), *found] if self.zero else found
        return [(self._closed(cell), count) for cell, count in found if count]

    def _closed(self, cell: Cell) -> Cell:
        low, high = cell
        if low == float("-inf"):
            low = self.low if self.low is not None else min(0.0, high)
        elif self.low is not None:
            low = max(low, min(self.low, high))
        if high == float("inf"):
            high = self.high if self.high is not None else low
        elif self.high is not None:
            high = min(high, max(self.high, low))
        return (min(low, high), high)


@dataclass(slots=True)
class Sum:
    """Spreads of one series in one step, added up."""

    count: int = 0
    total: float | None = 0.0
    kinds: dict[tuple[float, ...] | None, Spread] = field(default_factory=dict)

    def add(self, spread: Spread, total: float | None) -> None:
        self.count += spread.count
        self.total = None if self.total is None or total is None else self.total + total
        kind = None if spread.scale is not None else spread.bounds
        before = self.kinds.get(kind)
        if before is None:
            self.kinds[kind] = spread
            return
        if before.scale is not None and spread.scale is not None:
            scale: int | None = min(before.scale, spread.scale)
            before, spread = before.coarser(scale or 0), spread.coarser(scale or 0)
        else:
            scale = None
        ends = (_end(min, before.low, spread.low), _end(max, before.high, spread.high))
        self.kinds[kind] = Spread(scale, before.cells + spread.cells, before.bounds, before.zero + spread.zero, *ends)

    def quantile(self, q: float) -> float | None:
        """Return the value of a quantile, even inside its cell; None without values or when nothing is known of where they lie."""
        cells = sorted((cell, count) for spread in self.kinds.values() for cell, count in spread.spans())
        total = sum(count for _, count in cells)
        wanted, below = q * total, 0
        for (low, high), count in cells:
            if below + count >= wanted and count:
                return low + (high - low) * (wanted - below) / count
            below += count
        return None


def _end(which: object, one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return None
    return min(one, other) if which is min else max(one, other)


def exponential(scale: int, parts: Iterable[tuple[int, Iterable[int]]], zero: int, low: float | None, high: float | None) -> Spread:
    """Return a spread of exponential buckets given as offsets with counts."""
    cells = Counter({offset + place: count for offset, counts in parts for place, count in enumerate(counts) if count})
    return Spread(scale, cells, (), zero, low, high).coarser(FINEST)
