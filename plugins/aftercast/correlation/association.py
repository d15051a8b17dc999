"""Rank correlation of two series: short windows, ties and jumps are the rule, so ranks and not values are compared."""

from __future__ import annotations

import numpy as np

from aftercast.correlation.telemetry import Floats


def rank_correlation(left: Floats, right: Floats) -> float:
    """Pearson correlation of the ranks, ties at their mean rank; 0 when either side does not move."""
    first, second = _ranks(left), _ranks(right)
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Floats) -> Floats:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    return np.asarray((ends - (count - 1) / 2)[place], dtype=np.float64)
