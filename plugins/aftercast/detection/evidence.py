"""Evidence that something is going on: sums of clipped surprises over a short window and an hour, and how loud the hour is, in units of
what is usual.

A sum is divided by how large such sums usually get in its series, so autocorrelated noise and heavy tails are paid for before an
episode can open; so is loudness, which sees what cancels in sums: bursts of noise, trains of spikes. No single point can open one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

CLIP = 6.0  # 6 / sqrt(2) stays below the threshold of an episode
GAUSS_IQR = 1.349
GAUSS_P99 = 2.3263
TAIL_PAID = 1.5  # heavy tails raise the bar up to this factor over the spread of the body
LOUDEST = 8.0  # a louder surprise counts as this
LEAST_LOUD = 6  # points that loudness needs
LOUD_PAID = 1.3  # loudness has heavier tails than a sum: it must be this much rarer


def windows(grain_minutes: int) -> tuple[int, int]:
    """Return the lengths in points of the short and the long window."""
    short = 3 if grain_minutes <= 15 else 2
    return short, max(2 * short, round(60 / grain_minutes))


def reach(grain_minutes: int) -> tuple[int, int]:
    """Return over how many points short and long evidence look back."""
    short, long = windows(grain_minutes)
    return short, max(long, LEAST_LOUD)


def evidence(surprise: Array, past: int, grain_minutes: int) -> tuple[Array, Array]:
    """Return the evidence (N, M) of the short and of the long window that end at each point; the long one is the sum's or the loudness's,
    whichever is stronger. See `usual_evidence`.
    """
    short, long = windows(grain_minutes)
    sums, loud = usual_evidence(surprise, past, long), usual_loudness(surprise, past, reach(grain_minutes)[1])
    stronger = np.isfinite(loud) & ~(np.abs(loud) <= np.abs(sums))
    return usual_evidence(surprise, past, short), np.where(stronger, loud, sums)


def usual_evidence(surprise: Array, past: int, length: int) -> Array:
    """Return signed evidence (N, M) of surprises (N, M), scaled by their first `past` columns; NaN where too few points are present.

    Args:
        surprise: NaN where missing. past: how many leading columns are history; masked points must be missing there.
        length: of the window, in points.
    """
    sums = rolled_sums(np.clip(surprise, -CLIP, CLIP), length)
    low, quarter, _, three_quarters, high = _quantiles(sums[:, :past:length])
    body = np.maximum((three_quarters - quarter) / GAUSS_IQR, 1.0)
    up, down = (np.clip(tail / GAUSS_P99, body, TAIL_PAID * body) for tail in (high, -low))
    return np.asarray(sums / np.where(sums > 0, up, down))


def usual_loudness(surprise: Array, past: int, length: int) -> Array:
    """Return how much louder than usual a window is, (N, M), with the sign of its sum; arguments as for `usual_evidence`.

    Loudness is the root mean square of the surprises in the window but the largest.
    """
    present = np.isfinite(surprise)
    count = np.rint(_rolled(present.astype(np.float64), length))
    clipped = np.clip(np.where(present, surprise, 0.0), -LOUDEST, LOUDEST)
    power = np.maximum(_rolled(clipped**2, length) - _largest(clipped**2, length), 0.0)
    loud = np.sqrt(np.divide(power, count - 1, out=np.full_like(power, np.nan), where=count >= max(3, -(-2 * length // 3))))
    _, quarter, middle, three_quarters, high = _quantiles(loud[:, : past : max(length // 2, 1)])
    body = np.maximum((three_quarters - quarter) / GAUSS_IQR, 1.0 / np.sqrt(2.0 * (length - 1)))
    usual = np.clip((high - middle) / GAUSS_P99, body, TAIL_PAID * body) * LOUD_PAID
    return np.asarray(np.where(_rolled(clipped, length) >= 0, 1.0, -1.0) * (loud - middle) / usual)


def _quantiles(values: Array) -> list[Array]:
    """1 %, 25 %, 50 %, 75 % and 99 % quantiles of the present values of each row, each (N, 1); 0 where there is none."""
    ordered = np.sort(values, axis=1)
    last = np.maximum(np.isfinite(ordered).sum(axis=1) - 1, 0)
    places = (np.rint(share * last).astype(np.intp)[:, None] for share in (0.01, 0.25, 0.5, 0.75, 0.99))
    return [np.nan_to_num(np.take_along_axis(ordered, place, axis=1)) for place in places]


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


def _largest(values: Array, length: int) -> Array:
    """Largest of the last `length` values; fewer at the beginning."""
    found, width = values.copy(), 1
    while width < length:
        step = min(width, length - width)
        found[:, step:] = np.maximum(found[:, step:], found[:, :-step])
        width += step
    return found
