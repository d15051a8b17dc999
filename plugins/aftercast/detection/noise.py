"""How surprising a value is: deviations in units of the noise its kind of series must have, before any scale is learned.

Counts and ratios of counts have a known least noise (Poisson, binomial), so their deviations are signed root deviances, which stay honest
at small numbers: one error among three requests is no alarm. Other sums have noise that grows with the root of their level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aftercast.detection.correcting import nan_median
from aftercast.detection.series import Panel

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

SPARSE = 8.0  # events per training block below which medians of blocks are useless


@dataclass(frozen=True, slots=True)
class Kind:
    """What may be assumed of each series (N,): a share of counted events, a count, another non-negative sum, or nothing."""

    share: Flags
    count: Flags
    total: Flags
    weighted: Flags

    @property
    def least(self) -> Array:
        """Smallest scale that can be true: 1 where the noise of counting is known."""
        return np.where(self.share | self.count, 1.0, 0.0)

    @property
    def non_negative(self) -> Flags:
        return self.share | self.count | self.total


def kinds(panel: Panel) -> Kind:
    """Judge each series by its own values."""
    value, none = panel.value, np.zeros(panel.value.shape[0], dtype=bool)
    known = np.isfinite(value)
    if panel.numerator is not None and panel.denominator is not None:
        top, bottom = panel.numerator, panel.denominator
        sides = np.isfinite(top) & np.isfinite(bottom)
        whole = (np.abs(top - np.rint(top)) < 1e-6) & (np.abs(bottom - np.rint(bottom)) < 1e-6) & (top >= 0) & (top <= bottom)
        weighted = np.asarray((~known | (sides & (bottom > 0))).all(axis=1))
        share = np.asarray((~sides | whole).all(axis=1) & weighted)
        return Kind(share=share, count=none, total=none, weighted=weighted & ~share)
    positive = np.asarray((~known | (value >= 0)).all(axis=1) & (panel.signal.aggregate == "sum"))
    count = np.asarray(positive & (~known | (np.abs(value - np.rint(value)) < 1e-6)).all(axis=1))
    return Kind(share=none, count=count, total=positive & ~count, weighted=none)


def deviations(panel: Panel, kind: Kind, expected: Array, usual: Array) -> tuple[Array, Array]:
    """Return deviations (N, T) and the noise unit (N, T) they are measured in, in the units of the series.

    Args:
        panel: the series. expected: (N, T), NaN where nothing is expected.
        kind: see `kinds`.
        usual: (N,) a typical level: the pooled ratio of a share, the mean of a count or sum; keeps expectations off zero.
    """
    value = panel.value
    unit = np.ones_like(value)
    deviation = value - expected
    if kind.share.any() and panel.numerator is not None and panel.denominator is not None:
        rows = kind.share
        count, events = panel.denominator[rows], panel.numerator[rows]
        share = np.clip(expected[rows], 0.3 * usual[rows, None], 1.0 - 0.3 * (1.0 - usual[rows, None]))
        deviance = _xlogy(events, share * count) + _xlogy(count - events, (1.0 - share) * count)
        with np.errstate(invalid="ignore", divide="ignore"):
            unit[rows] = np.sqrt(share * (1.0 - share) / count)
        deviation[rows] = np.sign(value[rows] - share) * np.sqrt(2.0 * np.maximum(deviance, 0.0))
    if kind.weighted.any() and panel.denominator is not None:
        rows = kind.weighted
        count = panel.denominator[rows]
        unit[rows] = np.sqrt(nan_median(np.where(count > 0, count, np.nan), axis=1)[0][:, None] / np.maximum(count, 1e-300))
        deviation[rows] /= unit[rows]
    if kind.count.any():
        rows = kind.count
        mean = np.maximum(expected[rows], 0.3 * usual[rows, None])
        deviance = _xlogy(value[rows], mean) - (value[rows] - mean)
        unit[rows] = np.sqrt(mean)
        deviation[rows] = np.sign(value[rows] - mean) * np.sqrt(2.0 * np.maximum(deviance, 0.0))
    if kind.total.any():
        rows = kind.total
        unit[rows] = np.sqrt(np.maximum(expected[rows], 0.05 * usual[rows, None]) + 1e-300)
        deviation[rows] /= unit[rows]
    return deviation, unit


def _xlogy(observed: Array, expected: Array) -> Array:
    """Return observed * log(observed / expected), 0 where nothing was observed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(observed > 0, observed * np.log(observed / expected), 0.0 * observed)


def usual_levels(panel: Panel, kind: Kind, quiet: Flags) -> Array:
    """Return the typical level (N,) of each series over its unmasked points; shares and counts stay above zero by half an event."""
    if panel.numerator is not None and panel.denominator is not None:
        known = quiet & np.isfinite(panel.numerator) & np.isfinite(panel.denominator)
        top, bottom = (np.where(known, side, 0.0).sum(axis=1) for side in (panel.numerator, panel.denominator))
        pooled = (top + 0.5) / (bottom + 1.0)
        plain = np.divide(top, bottom, out=np.zeros_like(top), where=bottom != 0)
        return np.asarray(np.where(kind.share, pooled, plain))
    known = quiet & np.isfinite(panel.value)
    n_known = np.maximum(known.sum(axis=1), 1)
    mean = np.where(known, panel.value, 0.0).sum(axis=1) / n_known
    return np.asarray(np.where(kind.count, np.maximum(mean, 0.5 / n_known), mean))


def events_per_block(panel: Panel, kind: Kind, usual: Array, block: int) -> Array:
    """Return how many of the rarer events a training block usually holds (N,); infinite where nothing is counted."""
    events = np.full(len(usual), np.inf)
    events[kind.count] = usual[kind.count] * block
    if kind.share.any() and panel.denominator is not None:
        count = nan_median(np.where(np.isfinite(panel.value), panel.denominator, np.nan)[kind.share], axis=1)[0]
        rarer = np.minimum(usual[kind.share], 1.0 - usual[kind.share])
        events[kind.share] = np.nan_to_num(count) * rarer * block
    return events
