"""What counts of incidents say about a change of rate: the exact ratio, and rates shrunk towards those of other families.

Exact: given n incidents in all, those after the fix are binomial with the share of exposure that lies after it, if nothing changed
(Przyborowski and Wilenski 1940); ends of intervals are Clopper-Pearson's. Shrunk: family rates are gamma distributed (Robbins' empirical
Bayes). Families nobody has seen are not in the data, so counts are fitted as zero-truncated negative binomials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

LEVEL = 0.90
LEAST_FAMILIES = 4
SHAPES = (0.05, 150.0)

Array = npt.NDArray[np.float64]


def ends(
    n_before: npt.ArrayLike, exposure_before: npt.ArrayLike, n_after: npt.ArrayLike, exposure_after: npt.ArrayLike, level: npt.ArrayLike
) -> tuple[Array, Array]:
    """Return low and high ends of rate after / rate before, each wrong with probability `level` at most; inf where none before bound it."""
    before, after, chance = np.broadcast_arrays(np.asarray(n_before, float), np.asarray(n_after, float), np.asarray(level, float))
    scale = np.asarray(exposure_before, float) / np.asarray(exposure_after, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        low = np.where(after > 0, stats.beta.ppf(chance, np.maximum(after, 1e-9), before + 1), 0.0)
        high = np.where(before > 0, stats.beta.ppf(1 - chance, after + 1, np.maximum(before, 1e-9)), 1.0)
        return low / (1 - low) * scale, np.where(high < 1, high / (1 - high) * scale, np.inf)


def rate_ratio(
    n_before: int, exposure_before: float, n_after: int, exposure_after: float
) -> tuple[float | None, float, float | None, float]:
    """Return rate after / rate before, the ends of its 90 % interval, and the one-sided p-value for "fewer after", at a single look.

    Infinite or undefined ends are None: no incident before leaves the ratio without an upper end.
    """
    total, share = n_before + n_after, exposure_after / (exposure_before + exposure_after)
    if total == 0:
        return None, 0.0, None, 1.0
    test = stats.binomtest(n_after, total, share, alternative="less")
    low, high = ends(n_before, exposure_before, n_after, exposure_after, (1 - LEVEL) / 2)
    estimate = n_after / n_before * exposure_before / exposure_after if n_before else None
    return estimate, float(low), float(high) if np.isfinite(high) else None, float(test.pvalue)


@dataclass(frozen=True, slots=True)
class Prior:
    """Gamma distribution of the families' rates: shape, and rate in days."""

    shape: float
    rate: float


NO_PRIOR = Prior(0.0, 0.0)
"""Knows nothing: what remains is the exact test."""


def fit_prior(counts: Sequence[int], days: Sequence[float]) -> Prior | None:
    """Fit the distribution of family rates to incidents in days watched, by marginal likelihood; None below four families with incidents.

    Families without any incident are not looked at, and the likelihood knows that.
    """
    numbers, spans = np.asarray(counts, float), np.asarray(days, float)
    seen = (numbers > 0) & (spans > 0)
    if seen.sum() < LEAST_FAMILIES:
        return None
    numbers, spans = numbers[seen], spans[seen]
    mean = float(numbers.sum() / spans.sum())

    def surprise(logs: Array) -> float:
        shape, rate = np.exp(logs[0]), np.exp(logs[0] - logs[1])
        chance = rate / (rate + spans)
        return -float((stats.nbinom.logpmf(numbers, shape, chance) - np.log1p(-(chance**shape))).sum())

    limits = [tuple(np.log(SHAPES)), (np.log(mean) - 8.0, np.log(mean) + 1e-9)]
    starts = [np.array([np.log(shape), np.log(mean * share)]) for shape, share in ((0.5, 0.5), (5.0, 1.0))]
    found = min((optimize.minimize(surprise, start, bounds=limits, method="L-BFGS-B") for start in starts), key=lambda one: float(one.fun))
    return Prior(float(np.exp(found.x[0])), float(np.exp(found.x[0] - found.x[1])))


def surprise_after(n_before: int, exposure_before: float, n_after: int, exposure_after: float, prior: Prior | None) -> float:
    """Chance of so few incidents after the fix if the family kept its shrunk rate; the exact binomial p-value where there is no prior."""
    known = prior or NO_PRIOR
    shape, rate = known.shape + n_before, known.rate + exposure_before
    return float(stats.nbinom.cdf(n_after, shape, rate / (rate + exposure_after))) if shape > 0 else 1.0
