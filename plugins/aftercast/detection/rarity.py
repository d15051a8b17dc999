"""How rare a number is among those its series showed before: a causal tail probability, as -log10.

Inside what was seen the probability is a rank. Beyond, the largest values are continued with a Pareto tail (Hill's estimator over the
median), so a record is rarer the further it goes. Every number counts from the next row on: what was news a row ago is less so now.
Nothing that comes later changes anything earlier, and no unit matters.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from heapq import nsmallest

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LEAST = 20
"""Numbers needed before anything can be called rare."""
TAIL, TAIL_LEAST = 0.02, 10
"""Share of the past, and least count, that make the tail."""
LIGHTEST = 0.02
"""Smallest tail index: past values that are all alike must not make the next one infinitely rare."""
MOST = 2.0
"""A past of n numbers proves no more than n to minus this."""
NEIGHBOUR, APART = 3, 12


def rarity(numbers: Array) -> Array:
    """Return -log10 of the chance of a number as large as each (T,) among the ones before it; 0 while these are too few."""
    found = np.zeros(len(numbers))
    past = sorted(numbers[:LEAST].tolist())
    for row, number in enumerate(numbers[LEAST:].tolist(), LEAST):
        found[row] = _rarity(past, number)
        insort(past, number)
    return found


def rarity_after(numbers: Array, first: int) -> Array:
    """Return the rarity of numbers[first:] among numbers[:first], which all of them are compared with."""
    past, new, n = np.sort(numbers[:first]), numbers[first:], first
    if n < LEAST:
        return np.zeros(len(new))
    size, middle, reach, index = _tail(past)
    rank = np.log10((n + 1) / (n - np.searchsorted(past, new) + 1))
    beyond = math.log10(n / size) + np.log10(np.maximum(new - middle, reach) / reach) / index
    return np.where(new > past[-size], np.minimum(beyond, MOST * math.log10(n)), rank)


def _rarity(past: list[float], number: float) -> float:
    n = len(past)
    if number <= past[-_tail_size(n)]:
        return math.log10((n + 1) / (n - bisect_left(past, number) + 1))
    size, middle, reach, index = _tail(past)
    return min(math.log10(n / size) + math.log10(max(number - middle, reach) / reach) / index, MOST * math.log10(n))


def _tail_size(n: int) -> int:
    return min(max(TAIL_LEAST, int(TAIL * n)), n // 2)


def _tail(past: list[float] | Array) -> tuple[int, float, float, float]:
    """Return count, origin and beginning (above the origin) of the tail of sorted numbers, and its index."""
    size = _tail_size(len(past))
    middle = float(past[len(past) // 2])
    reach = max(float(past[-size]) - middle, 1e-9 * max(abs(float(past[0])), abs(float(past[-1]))), 1e-300)
    above = np.log(np.maximum(np.array(past[-size:]) - middle, reach) / reach)
    return size, middle, reach, max(float(above.sum()) / size, LIGHTEST)


def loneliness(numbers: Array) -> Array:
    """Return the distance of each number (T,) to the third nearest of those at least twelve rows before it; 0 while these are too few."""
    found = np.zeros(len(numbers))
    past: list[float] = []
    for row, number in enumerate(numbers.tolist()):
        if row >= APART:
            insort(past, float(numbers[row - APART]))
        if len(past) > 2 * NEIGHBOUR:
            place = bisect_left(past, number)
            near = past[max(place - NEIGHBOUR, 0) : place + NEIGHBOUR]
            found[row] = nsmallest(NEIGHBOUR, [abs(number - one) for one in near])[-1]
    return found


def loneliness_after(numbers: Array, first: int) -> Array:
    """Return loneliness (T,) where numbers[first:] are compared with numbers[:first] only."""
    past, own = np.sort(numbers[:first]), loneliness(numbers[:first])
    if first <= 2 * NEIGHBOUR:
        return np.concatenate([own, np.zeros(len(numbers) - first)])
    near = np.searchsorted(past, numbers[first:])[:, None] + np.arange(-NEIGHBOUR, NEIGHBOUR)
    distance = np.abs(past[np.clip(near, 0, first - 1)] - numbers[first:, None])
    distance[(near < 0) | (near >= first)] = np.inf
    return np.concatenate([own, np.sort(distance, axis=1)[:, NEIGHBOUR - 1]])
