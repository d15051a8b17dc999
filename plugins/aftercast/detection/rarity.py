"""How rare a number is among those a series showed before: its causal tail probability, as -log10.

Inside what was seen the probability is a rank. Beyond, the largest values are continued with a Pareto tail (Hill's estimator over the
median), so a record is rarer the further it goes. Nothing that comes later changes anything earlier, and no unit matters.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LEAST = 20
"""Numbers needed before anything can be called rare."""
TAIL, TAIL_LEAST = 0.02, 10
"""Share of the past, and least count, that make the tail."""
LIGHTEST = 0.02
"""Smallest tail index: past values that are all alike must not make the next one infinitely rare."""


def rarity(numbers: Array) -> Array:
    """Return -log10 of the chance of a number as large as each (T,) among the ones before it; 0 while these are too few.

    Missing numbers (NaN) are 0 and not remembered.
    """
    found = np.zeros(len(numbers))
    past: list[float] = []
    for row, number in enumerate(numbers.tolist()):
        if math.isnan(number):
            continue
        if len(past) >= LEAST:
            found[row] = _rarity(past, number)
        insort(past, number)
    return found


def _rarity(past: list[float], number: float) -> float:
    n = len(past)
    size = min(max(TAIL_LEAST, int(TAIL * n)), n // 2)
    edge, middle = past[-size], past[n // 2]
    if number <= edge:
        return -math.log10((n - bisect_left(past, number) + 1) / (n + 1))
    reach = max(edge - middle, 1e-9 * abs(middle), 1e-12)
    index = sum(math.log(max(one - middle, reach) / reach) for one in past[-size:]) / size
    return -math.log10(size / n) + math.log10(max(number - middle, reach) / reach) / max(index, LIGHTEST)
