"""How much a count must surprise when it is looked at every week: exact sequential boundaries, so that looking often costs no honesty.

A family's rate is known as a gamma distribution (shape, rate in days); if nothing changed, incidents after the fix follow a Pólya process,
whose counts are negative binomial. With the shape equal to the incidents before and the rate to their exposure, a single look is the exact
conditional binomial test of two Poisson rates. The error of all looks together is kept by spending it along the calendar
(Lan and DeMets 1983), with the exact discrete distribution instead of a normal one (Jennison and Turnbull 2000, chapter 12; Silva and
Kulldorff 2015): in proportion to time until the window ends, and the last tenth over all the time after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

ALPHA = 0.05
IN_WINDOW = 0.9
LEVELS = ALPHA / 1.35 ** np.arange(20)
"""Errors the boundaries are drawn for: a sequential p-value is the smallest of them that was crossed."""

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Boundary:
    """Largest counts that count as fewer, by chain and look; -1 where none would.

    Attributes:
        most: [chain, look]; unused: error not spent by then, because counts are whole.
    """

    most: Counts
    unused: Array


def spend(days: Array, window: Array, alpha: float | Array = ALPHA) -> Array:
    """Return the error that may be spent by `days` after shipping: all but a tenth of it by the end of the window."""
    late = np.divide(window, days, out=np.ones_like(days + window), where=days > window)
    return np.asarray(
        alpha * np.where(days <= window, IN_WINDOW * days / window, IN_WINDOW + (1 - IN_WINDOW) * (1 - late)),
        dtype=np.float64,
    )


def weekly(days: Array) -> Array:
    """Return the looks of spans of `days` as [span, look]: each full week, and now; shorter spans repeat their last look."""
    n_looks = max(1, int(np.ceil(days.max() / 7)))
    return np.asarray(np.minimum(7.0 * np.arange(1, n_looks + 1)[None, :], days[:, None]))


def boundary(shape: Array, rate: Array, exposures: Array, spent: Array) -> Boundary:
    """Draw the boundary of each chain, look by look, from what the looks before it left of the error.

    Args:
        shape, rate: of the gamma distribution of the rate, [chain].
        exposures: after the fix at each look, non-decreasing, [chain, look]; spent: error that may be spent by then.
    """
    n_chains, n_looks = exposures.shape
    ends = stats.nbinom.ppf(spent[:, -1], shape, rate / (rate + exposures[:, -1]))
    counts = np.arange(int(np.nanmax(ends, initial=0.0)) + 2)
    alive = np.zeros((n_chains, len(counts)))
    alive[:, 0] = 1.0
    used, before = np.zeros(n_chains), np.zeros(n_chains)
    most, unused = np.full((n_chains, n_looks), -1, dtype=np.int64), np.zeros((n_chains, n_looks))
    sizes = shape[:, None] + counts
    for look in range(n_looks):
        now = exposures[:, look]
        stay = ((rate + before) / (rate + now))[:, None]
        step, arrived = stay**sizes, np.zeros_like(alive)
        for more in range(len(counts)):
            arrived[:, more:] += alive[:, : len(counts) - more] * step[:, : len(counts) - more]
            step = step * (sizes + more) / (more + 1) * (1 - stay)
            if step.max() < 1e-14:
                break
        reached = np.cumsum(arrived, axis=1)
        left = (spent[:, look] - used)[:, None]
        crossed = (reached <= left + 1e-15).sum(axis=1) - 1
        crossed = np.maximum(crossed, most[:, look - 1] if look else -1)
        hit = counts <= crossed[:, None]
        used = used + np.where(hit, arrived, 0.0).sum(axis=1)
        alive, before = np.where(hit, 0.0, arrived), now
        most[:, look], unused[:, look] = crossed, np.maximum(spent[:, look] - used, 0.0)
    return Boundary(most, unused)


def nominal(line: Boundary, shape: Array, rate: Array, exposures: Array) -> Array:
    """Return the level of a single test that draws the same line, by chain and look."""
    chance = rate[:, None] / (rate[:, None] + exposures)
    level = np.where(line.most >= 0, stats.nbinom.cdf(line.most, shape[:, None], chance), 0.0)
    further = stats.nbinom.cdf(line.most + 1, shape[:, None], chance) * (1 - 1e-9)
    return np.asarray(np.clip(level + line.unused, level, further), dtype=np.float64)


def p_value(shape: Array, rate: Array, exposures: Array, counts: Counts, days: Array, window: Array) -> Array:
    """Return the sequential p-value of "fewer after", [chain]: the smallest of `LEVELS` whose boundary any look crossed, 1 if none.

    Valid whenever one stops looking: if nothing changed it falls to p or below, ever, with probability at most p.
    """
    found = np.ones(len(shape))
    asked = np.flatnonzero(shape > 0)
    for level in LEVELS:
        if not len(asked):
            break
        line = boundary(shape[asked], rate[asked], exposures[asked], spend(days[asked], window[asked, None], level))
        crossed = (counts[asked] <= line.most).any(axis=1)
        asked = asked[crossed]
        found[asked] = level
    return found
