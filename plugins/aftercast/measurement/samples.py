"""How durations, sizes, sums and shares differ before and after a fix: exact tests, censoring respected, intervals that bear weekly looks.

Durations: Kaplan-Meier curves, restricted means up to the longest time both curves know, permutation log-rank test (Mantel's scores). Sizes
and weekly sums: permutation test of means. Shares: Fisher's exact test, relative risk, Newcombe's difference. Each look is held to a fifth
of the error, which keeps the whole over some fifteen looks (Pocock 1977; Jennison and Turnbull 2000, table 2.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt
from scipy import stats

from aftercast.measurement.looking import ALPHA

PER_LOOK = ALPHA / 5
MOST_PARTITIONS = 5_000
RESAMPLES = 1_999
LARGE = 10

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Contrast:
    """After against before, in the outcome's unit; None where it cannot be said.

    Attributes:
        estimate: typical value after / before, low and high its repeated interval. p_value: one-sided, for "less after", at one look.
        smallest_p: what the test could say at best with so few.
        value_before, value_after: median, mean or share; difference: after minus before of restricted means, means or shares.
    """

    estimate: float | None
    low: float
    high: float | None
    p_value: float
    smallest_p: float
    value_before: float | None
    value_after: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    censored_before: int = 0
    censored_after: int = 0

    @property
    def sequential(self) -> float:
        return min(1.0, self.p_value * ALPHA / PER_LOOK)


def durations(before: Array, open_before: Flags, after: Array, open_after: Flags) -> Contrast:
    """Compare times in minutes, of which those still open are known to be at least so long. Both samples need one that ended."""
    everything, is_open = np.concatenate([before, after]), np.concatenate([open_before, open_after])
    scores = _logrank_scores(everything, is_open)
    chance, smallest = _permutation(-scores[: len(before)], -scores[len(before) :])
    horizon = min(before.max(), after.max()) if is_open.any() else everything.max()
    logs = [
        _restricted_mean(np.log(np.maximum(times, 1.0)), opened, float(np.log(max(horizon, 1.0))))
        for times, opened in ((before, open_before), (after, open_after))
    ]
    plain = [_restricted_mean(times, opened, float(horizon)) for times, opened in ((before, open_before), (after, open_after))]
    ratio, low, high = _welch(logs[0], logs[1], len(before), len(after))
    difference, difference_low, difference_high = _welch(plain[0], plain[1], len(before), len(after))
    return Contrast(
        float(np.exp(ratio)),
        float(np.exp(low)),
        float(np.exp(high)) if np.isfinite(high) else None,
        chance,
        smallest,
        _median(before, open_before),
        _median(after, open_after),
        difference,
        _known(difference_low),
        _known(difference_high),
        int(open_before.sum()),
        int(open_after.sum()),
    )


def sizes(before: Array, after: Array) -> Contrast:
    """Compare means of sizes or sums; no ratio where there was nothing to lose before."""
    chance, smallest = _permutation(before, after)
    ends = [(float(sample.mean()), float(sample.var(ddof=1) / len(sample)) if len(sample) > 1 else np.inf) for sample in (before, after)]
    difference, low, high = _welch(ends[0], ends[1], len(before), len(after))
    mean = ends[0][0]
    ratio = ends[1][0] / mean if mean > 0 else None
    ratio_low, ratio_high = _ratio_ends(ends, len(before), len(after)) if ratio is not None else (0.0, None)
    ratio_low = min(ratio_low, ratio) if ratio is not None else 0.0
    return Contrast(ratio, ratio_low, ratio_high, chance, smallest, mean, ends[1][0], difference, _known(low), _known(high))


def shares(failed_before: int, n_before: int, failed_after: int, n_after: int) -> Contrast:
    """Compare the share that failed."""
    table = np.array([[failed_after, n_after - failed_after], [failed_before, n_before - failed_before]])
    chance = float(stats.fisher_exact(table, alternative="less").pvalue)
    failed = failed_before + failed_after
    best = max(0, failed - n_before)
    smallest = float(stats.hypergeom.cdf(best, n_before + n_after, failed, n_after))
    level = 1 - 2 * PER_LOOK
    wilson = [stats.binomtest(k, n).proportion_ci(level, method="wilson") for k, n in ((failed_before, n_before), (failed_after, n_after))]
    first, second = failed_before / n_before, failed_after / n_after
    gap = second - first
    down = float(np.hypot(second - wilson[1].low, wilson[0].high - first))
    up = float(np.hypot(wilson[1].high - second, first - wilson[0].low))
    ratio, low, high = second / first if first > 0 else None, 0.0, None
    if first > 0:
        scaled = stats.binomtest(failed_after, failed) if failed else None
        ends = scaled.proportion_ci(level, method="exact") if scaled is not None else None
        if ends is not None:
            scale = n_before / n_after
            low = float(ends.low / (1 - ends.low) * scale)
            high = float(ends.high / (1 - ends.high) * scale) if ends.high < 1 else None
    return Contrast(ratio, low, high, chance, smallest, first, second, gap, gap - down, gap + up)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _logrank_scores(times: Array, is_open: Flags) -> Array:
    """Ended or not, minus the hazard passed until then (Nelson-Aalen over both samples): high scores end soon."""
    moments, place = np.unique(times, return_inverse=True)
    ended = np.bincount(place, weights=~is_open, minlength=len(moments))
    at_risk = np.bincount(place, minlength=len(moments))[::-1].cumsum()[::-1]
    hazard = np.cumsum(ended / at_risk)
    return np.asarray((~is_open).astype(float) - hazard[place])


@lru_cache(maxsize=256)
def _splits(n: int, m: int) -> npt.NDArray[np.int64]:
    """Return places of the later sample, [split, m]: every way to choose m of n + m where there are few, else random ones."""
    if comb(n + m, m) <= MOST_PARTITIONS:
        return np.array(list(combinations(range(n + m), m)), dtype=np.int64)
    chance = np.random.default_rng([n, m])
    return chance.permuted(np.tile(np.arange(n + m), (RESAMPLES, 1)), axis=1)[:, :m].astype(np.int64)


def _permutation(before: Array, after: Array) -> tuple[float, float]:
    """Return the chance that a random split has so low a mean after, and the smallest chance any split could have.

    Exact below 5,000 splits, by 1,999 random ones above, by their normal limit from ten a side.
    """
    n, m = len(before), len(after)
    smallest = 1.0 / comb(n + m, m)
    both = np.concatenate([before, after])
    spread = float(both.var())
    if spread <= 0:
        return 1.0, 1.0
    if min(n, m) >= LARGE:
        deviation = np.sqrt(spread * n / (m * (n + m - 1)))
        return float(stats.norm.cdf((after.mean() - both.mean()) / deviation)), smallest
    places = _splits(n, m)
    sums = both[places].sum(axis=1)
    low = int((sums <= after.sum() + 1e-9 * max(float(np.abs(both).max()), 1e-300)).sum())
    return (low / len(sums), smallest) if len(sums) == comb(n + m, m) else ((low + 1) / (len(sums) + 1), smallest)


def _curve(times: Array, is_open: Flags) -> tuple[Array, Array]:
    curve = stats.ecdf(stats.CensoredData.right_censored(times, is_open)).sf
    return np.asarray(curve.quantiles, float), np.asarray(curve.probabilities, float)


def _restricted_mean(times: Array, is_open: Flags, horizon: float) -> tuple[float, float]:
    """Mean of the times cut at the horizon, from the Kaplan-Meier curve, and its variance (Greenwood); infinite from a single time."""
    moments, survival = _curve(times, is_open)
    start = min(0.0, float(moments[0]))
    inside = moments < horizon
    edges = np.concatenate([[start], moments[inside], [horizon]])
    areas = np.diff(edges) * np.concatenate([[1.0], survival[inside]])
    mean = start + float(areas.sum())
    if len(times) < 2:
        return mean, np.inf
    rest = areas[::-1].cumsum()[::-1][1:]
    at_risk = (times[None, :] >= moments[inside, None]).sum(axis=1)
    ended = ((times[None, :] == moments[inside, None]) & ~is_open[None, :]).sum(axis=1)
    usable = at_risk > ended
    terms = rest[usable] ** 2 * ended[usable] / (at_risk[usable] * (at_risk[usable] - ended[usable]))
    return mean, float(terms.sum()) * len(times) / (len(times) - 1)


def _median(times: Array, is_open: Flags) -> float | None:
    moments, survival = _curve(times, is_open)
    past = np.flatnonzero(survival <= 0.5)
    return float(moments[past[0]]) if len(past) else None


def _welch(before: tuple[float, float], after: tuple[float, float], n: int, m: int) -> tuple[float, float, float]:
    """Return after minus before with its repeated interval (Welch and Satterthwaite)."""
    gap, variance = after[0] - before[0], before[1] + after[1]
    if not np.isfinite(variance) or n < 2 or m < 2:
        return gap, -np.inf, np.inf
    if variance <= 0:
        return gap, gap, gap
    freedom = variance**2 / (before[1] ** 2 / (n - 1) + after[1] ** 2 / (m - 1))
    reach = float(stats.t.ppf(1 - PER_LOOK, freedom)) * variance**0.5
    return gap, gap - reach, gap + reach


def _ratio_ends(ends: list[tuple[float, float]], n: int, m: int) -> tuple[float, float | None]:
    """Fieller's interval of mean after / mean before: where after - ratio * before is not told from nothing."""
    (before, var_before), (after, var_after) = ends
    if not np.isfinite(var_before + var_after):
        return 0.0, None
    factor = float(stats.t.ppf(1 - PER_LOOK, max(min(n, m) - 1, 1))) ** 2
    bound = before**2 - factor * var_before
    if bound <= 0:
        return 0.0, None
    middle = before * after
    root = max(middle**2 - bound * (after**2 - factor * var_after), 0.0) ** 0.5
    return max((middle - root) / bound, 0.0), (middle + root) / bound
