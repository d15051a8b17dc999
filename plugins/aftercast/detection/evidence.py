"""Evidence that something is going on: sums of clipped surprises over a short window and over an hour, in units of what is usual.

A sum is divided by how large such sums usually get in its series, so autocorrelated noise and heavy tails are paid for before an
episode can open. No single point can open one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

CLIP = 6.0  # 6 / sqrt(2) stays below the threshold of an episode
GAUSS_IQR = 1.349
GAUSS_P99 = 2.3263
TAIL_PAID = 1.5  # heavy tails raise the bar up to this factor over the spread of the body


def windows(grain_minutes: int) -> tuple[int, int]:
    """Return the lengths in points of the short and the long window."""
    short = 3 if grain_minutes <= 15 else 2
    return short, max(2 * short, round(60 / grain_minutes))


def usual_evidence(surprise: Array, past: int, length: int) -> Array:
    """Return signed evidence (N, M) of surprises (N, M), scaled by their first `past` columns; NaN where too few points are present.

    Args:
        surprise: NaN where missing. past: how many leading columns are history; masked points must be missing there.
        length: of the window, in points.
    """
    sums = rolled_sums(np.clip(surprise, -CLIP, CLIP), length)
    ordered = np.sort(sums[:, :past:length], axis=1)
    count = np.isfinite(ordered).sum(axis=1)

    def quantile(share: float) -> Array:
        place = np.rint(share * np.maximum(count - 1, 0)).astype(np.intp)
        return np.nan_to_num(np.take_along_axis(ordered, place[:, None], axis=1))

    body = np.maximum((quantile(0.75) - quantile(0.25)) / GAUSS_IQR, 1.0)
    up, down = (np.clip(tail / GAUSS_P99, body, TAIL_PAID * body) for tail in (quantile(0.99), -quantile(0.01)))
    return np.asarray(sums / np.where(sums > 0, up, down))


def rolled_sums(surprise: Array, length: int) -> Array:
    """Sum of the last `length` surprises over the root of how many were present; NaN where fewer than two thirds (at least two) were."""
    known = np.isfinite(surprise)
    count = np.rint(_rolled(known.astype(np.float64), length))
    total = _rolled(np.where(known, surprise, 0.0), length)
    enough = count >= max(2, -(-2 * length // 3))
    return np.divide(total, np.sqrt(count), out=np.full_like(total, np.nan), where=enough)


def _rolled(values: Array, length: int) -> Array:
    total = np.cumsum(np.concatenate([np.zeros((len(values), length)), values], axis=1), axis=1)
    return np.asarray(total[:, length:] - total[:, :-length])
