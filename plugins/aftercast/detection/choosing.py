"""One Prophet model per series, on its values or on their logarithms, whichever missed less of its own history.

Logarithms make seasons multiply instead of add: what a shop whose nights and weekends shrink together needs. Both candidates have the same
number of parameters, so the median absolute error over the training points, in the units of the series, compares them fairly. Shares,
sparse series and series that reach zero or below are never logged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aftercast.detection.prophet_batch import Fit, Spec, fit

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

LOWEST = 0.02  # of the median: smaller values are read as that before taking logarithms, or one dead block would bend the whole fit


@dataclass(frozen=True, slots=True)
class Chosen:
    """Fits of N series; `place` (N,) is a series' row in `logged` where `is_logged`."""

    plain: Fit
    logged: Fit | None
    place: npt.NDArray[np.intp]
    is_logged: Flags

    @property
    def ok(self) -> Flags:
        return self.plain.ok

    def predict(self, times: npt.ArrayLike) -> Array:
        """Return expected values (M, N) in the units of the series; NaN for series without a fit."""
        expected = self.plain.predict(times)
        if self.logged is not None and self.is_logged.any():
            expected[:, self.is_logged] = _back(self.logged.predict(times))[:, self.place[self.is_logged]]
        return expected

    def parameters(self, series: int) -> dict[str, Any]:
        """Return the parameters of a series for JSON, with the scale they were fitted on."""
        if self.logged is not None and self.is_logged[series]:
            return {"transform": "log", **self.logged.parameters(int(self.place[series]))}
        return {"transform": "none", **self.plain.parameters(series)}


def may_be_logged(blocks: Array, candidates: Flags) -> Flags:
    """Which series (N,) have logarithms worth trying: candidates whose block means are all but never zero and vary by half or more."""
    ordered = np.sort(blocks, axis=1)
    count = np.isfinite(ordered).sum(axis=1)

    def quantile(share: float) -> Array:
        place = np.rint(share * np.maximum(count - 1, 0)).astype(np.intp)
        return np.asarray(np.take_along_axis(ordered, place[:, None], axis=1)[:, 0])

    with np.errstate(invalid="ignore"):
        return np.asarray(candidates & (count > 0) & (quantile(0.02) > 0) & (quantile(0.98) > 1.5 * quantile(0.02)))


def fit_better(times: Array, training: Array, candidates: Flags, spec: Spec) -> Chosen:
    """Fit series (N, M) at `times` (M,), trying logarithms for `candidates` (N,)."""
    plain = fit(times, training.T, spec)
    place = np.zeros(len(training), dtype=np.intp)
    rows = np.flatnonzero(candidates & plain.ok)
    if not len(rows):
        return Chosen(plain, None, place, np.zeros(len(training), dtype=bool))
    own = training[rows]
    with np.errstate(invalid="ignore"):
        logarithms = np.log(np.maximum(own, LOWEST * np.nanmedian(own, axis=1, keepdims=True)))
    logged = fit(times, logarithms.T, spec)
    place[rows] = np.arange(len(rows))
    missed = [np.nanmedian(np.abs(own - expected.T), axis=1) for expected in (plain.predict(times)[:, rows], _back(logged.predict(times)))]
    is_logged = np.zeros(len(training), dtype=bool)
    is_logged[rows] = missed[1] < missed[0]
    return Chosen(plain, logged, place, is_logged)


def _back(logarithms: Array) -> Array:
    return np.asarray(np.exp(np.clip(logarithms, -700.0, 700.0)))
