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

from aftercast.detection.correcting import nan_median
from aftercast.detection.prophet_batch import Fit, Spec, fit

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.intp]

LOWEST = 0.02  # of the median: smaller values are read as that before taking logarithms, or one dead block would bend the whole fit


@dataclass(frozen=True, slots=True)
class Chosen:
    """Models of N series: series i is row `place[i]` of `fits[which[i]]`, in logarithms where `is_logged[which[i]]`; -1 without a model."""

    fits: tuple[Fit, ...]
    is_logged: tuple[bool, ...]
    which: Whole
    place: Whole
    n_points: Whole

    @property
    def ok(self) -> Flags:
        return np.asarray(self.which >= 0)

    @property
    def logged(self) -> Flags:
        """Which series (N,) are modelled in logarithms."""
        return np.isin(self.which, np.flatnonzero(self.is_logged))

    def predict(self, times: Array) -> Array:
        """Return expected values (N, M), in logarithms where `logged`; NaN for series without a model."""
        expected = np.full((len(self.which), len(times)), np.nan)
        for number, fitted in enumerate(self.fits):
            rows = np.flatnonzero(self.which == number)
            if len(rows):
                expected[rows] = fitted.take(self.place[rows]).predict(times).T
        return expected

    def to_scale(self, values: Array) -> Array:
        """Return values (N, M) on the scale of the models; a logged value is read as at least a sliver of the series' median."""
        scaled = values.copy()
        scaled[self.logged] = _logarithms(values[self.logged])
        return scaled

    def to_units(self, scaled: Array) -> Array:
        """Return values (N, M) on the scale of the models in the units of the series."""
        values = scaled.copy()
        values[self.logged] = _back(scaled[self.logged])
        return values

    def start(self, series: int) -> float:
        """Seconds of the first training point of a series with a model."""
        return float(self.fits[self.which[series]].start[self.place[series]])

    def parameters(self, series: int) -> dict[str, Any]:
        """Return the parameters of a series for JSON, with the growth and the scale they were fitted on."""
        number = self.which[series]
        fitted = self.fits[number]
        transform = "log" if self.is_logged[number] else "none"
        return {"transform": transform, "growth": fitted.spec.growth, **fitted.parameters(int(self.place[series]))}


def may_be_logged(blocks: Array, candidates: Flags) -> Flags:
    """Which series (N,) have logarithms worth trying: candidates whose block means are all but never zero and vary by half or more."""
    ordered = np.sort(blocks, axis=1)
    count = np.isfinite(ordered).sum(axis=1)

    def quantile(share: float) -> Array:
        place = np.rint(share * np.maximum(count - 1, 0)).astype(np.intp)
        return np.asarray(np.take_along_axis(ordered, place[:, None], axis=1)[:, 0])

    with np.errstate(invalid="ignore"):
        return np.asarray(candidates & (count > 0) & (quantile(0.02) > 0) & (quantile(0.98) > 1.5 * quantile(0.02)))


def fit_better(times: Array, training: Array, candidates: Flags, young: Flags, min_points: int) -> Chosen:
    """Fit series (N, M) at `times` (M,).

    Args:
        times: in seconds. training: NaN where missing or masked.
        candidates: (N,) which series may be logged.
        young: (N,) which have too little history to tell a trend from the shape of a week: their trend is flat, one week tells the shape.
        min_points: fewer present points give no model.
    """
    specs = {False: Spec(min_points=min_points), True: Spec(min_points=min_points, growth="flat", periods_needed=0.9)}
    fits: list[Fit] = []
    is_logged: list[bool] = []
    which, place = np.full(len(training), -1), np.zeros(len(training), dtype=np.intp)
    for is_young, spec in specs.items():
        rows = np.flatnonzero(young == is_young)
        if not len(rows):
            continue
        plain = fit(times, training[rows].T, spec)
        which[rows[plain.ok]], place[rows] = len(fits), np.arange(len(rows))
        fits.append(plain)
        is_logged.append(False)
        tried = np.flatnonzero(candidates[rows] & plain.ok)
        if not len(tried):
            continue
        own = training[rows[tried]]
        logged = fit(times, _logarithms(own).T, spec)
        missed = [_missed(own, expected.T) for expected in (plain.take(tried).predict(times), _back(logged.predict(times)))]
        better = np.flatnonzero(missed[1] < missed[0])
        which[rows[tried[better]]], place[rows[tried[better]]] = len(fits), better
        fits.append(logged)
        is_logged.append(True)
    return Chosen(tuple(fits), tuple(is_logged), which, place, np.isfinite(training).sum(axis=1))


def _missed(actual: Array, expected: Array) -> Array:
    return np.asarray(nan_median(np.abs(actual - expected), axis=1)[0])


def _logarithms(values: Array) -> Array:
    middle, _ = nan_median(values, axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.log(np.maximum(values, np.maximum(LOWEST * middle, 1e-300)[:, None])))


def _back(logarithms: Array) -> Array:
    return np.asarray(np.exp(np.clip(logarithms, -700.0, 700.0)))
