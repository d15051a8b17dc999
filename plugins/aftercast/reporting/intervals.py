"""Uncertainty of the figures on a page: Wilson intervals for shares, normal ranges, intervals of sums. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aftercast.errors import QualityError

Z95 = 1.959963984540054
FEWEST_WEEKS = 4


@dataclass(frozen=True, slots=True)
class Share:
    """k of n with its 95 % Wilson interval; all ends are None when n is zero."""

    k: int
    n: int
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Range:
    """A sum with the interval of the sum; None where nothing was measured, which is not zero."""

    value: float | None
    low: float | None
    high: float | None


def wilson(k: int, n: int) -> Share:
    """Return the share k/n with its 95 % score interval (Wilson 1927), which stays inside [0, 1] and is honest for small n."""
    if not 0 <= k <= n:
        raise QualityError(f"a share needs 0 <= k <= n, got {k} of {n}")
    if n == 0:
        return Share(0, 0, None, None, None)
    share, z2 = k / n, Z95 * Z95
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Share(k, n, share, 0.0 if k == 0 else middle - half, 1.0 if k == n else middle + half)


def total(parts: Iterable[tuple[float | None, float | None, float | None]]) -> Range:
    """Add (value, low, high) triples whose errors are taken as independent: the distances to each end add in squares.

    A part without a value is left out. When a part has a value but no interval, neither has the sum.
    """
    known = [(value, low, high) for value, low, high in parts if value is not None]
    if not known:
        return Range(None, None, None)
    value = math.fsum(part[0] for part in known)
    ends = [(v - low, high - v) for v, low, high in known if low is not None and high is not None]
    if len(ends) < len(known):
        return Range(value, None, None)
    return Range(value, value - math.hypot(*(below for below, _ in ends)), value + math.hypot(*(above for _, above in ends)))


def quantile(values: Sequence[float], q: float) -> float:
    """Return the q-quantile by linear interpolation between the sorted values (at least one)."""
    ordered = sorted(values)
    position = q * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def normal_range(earlier: Iterable[float | None]) -> tuple[float, float] | None:
    """Return the 10th and 90th percentile of the earlier weeks that have a value; None when fewer than four have."""
    known = [value for value in earlier if value is not None]
    return (quantile(known, 0.1), quantile(known, 0.9)) if len(known) >= FEWEST_WEEKS else None


def adds_up(what: str, whole: float, parts: Iterable[float], *, cents: int = 0) -> None:
    """Refuse a page on which a whole is not the sum of its parts.

    Args:
        what: which figure, for the message.
        whole: the figure shown.
        parts: the rows it is the sum of.
        cents: how many amounts rounded to two decimals stand on either side; each may be off by half a cent.

    Raises:
        QualityError: naming the figure, both sides and their difference.
    """
    shown = math.fsum(parts)
    if abs(whole - shown) > 0.005 * cents + 1e-9 * max(abs(whole), abs(shown), 1.0):
        raise QualityError(
            f"the report does not add up: {what} is {whole:,.2f}, its parts come to {shown:,.2f} "
            f"(off by {whole - shown:,.2f}); nothing was written"
        )
