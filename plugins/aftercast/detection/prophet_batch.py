"""Prophet's default model fitted exactly for many series at once.

Linear trend with changepoints, additive Fourier seasonality, Gaussian noise: the maximum a posteriori estimate that `prophet.Prophet`
seeks with Stan has closed steps here (docs/decisions/003-prophet-batch.md). Series that miss the same points share one Gram matrix; the
ridge block (slope, offset, seasonality, regressors) is eliminated by a Schur complement, the Laplace prior on the slope changes leaves a
small lasso per series, and the noise follows from its stationarity. Missing points are left out, never read as zero. A series that
cannot be fitted is marked and predicted as missing; it never fails the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from aftercast.detection.design import Spec, as_seconds, features_in_use, place_changepoints, prior_precision, seasonal_features
from aftercast.detection.posterior import Prior, Statistics, maximise_posterior

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.intp]

__all__ = ["MODEL_VERSION", "Fit", "Spec", "as_seconds", "fit", "load"]

MODEL_VERSION = "prophet-batch-1"
FEW_POINTS = 1_000
PER_SERIES = ("start", "span", "y_scale", "k", "m", "delta", "changepoints", "beta", "sigma", "objective", "n_points", "ok")
BLOCK = 512  # series solved together; bounds the memory of the stacked Gram matrices


@dataclass(frozen=True, slots=True)
class Fit:
    """Fitted parameters of N series, scaled as the library scales them unless said otherwise.

    Attributes:
        spec: what was fitted.
        start, span: first present time and length of history per series in seconds (t = (time - start) / span).
        y_scale: largest absolute value per series.
        k, m: slope and offset, shape (N,).
        delta, changepoints: slope changes and their t, shape (N, n_changepoints); unused places hold 0.
        beta: Fourier coefficients (yearly, weekly, daily) then regressors, shape (N, K).
        sigma: noise standard deviation in the units of the series; 0 for a flat series.
        objective: negative log posterior in the library's scaling, without constants; NaN where nothing was fitted.
        n_points: present points.
        ok: predictions exist. reason: why not, or `flat` (constant history, predicted as that constant).
    """

    spec: Spec
    start: Array
    span: Array
    y_scale: Array
    k: Array
    m: Array
    delta: Array
    changepoints: Array
    beta: Array
    sigma: Array
    objective: Array
    n_points: Whole
    ok: Flags
    reason: tuple[str, ...]

    def predict(self, times: npt.ArrayLike, regressors: npt.ArrayLike | None = None) -> Array:
        """Return the expected values at `times` as an array (M, N); NaN for series without a fit."""
        seconds = as_seconds(times)
        features = seasonal_features(seconds, self.spec, regressors)
        if features.shape[1] != self.beta.shape[1]:
            raise ValueError(f"fitted with {self.beta.shape[1]} seasonal and regressor columns, asked to predict with {features.shape[1]}")
        expected = features @ self.beta.T
        grids = np.column_stack([self.start, self.span, self.changepoints])
        _, first, member = np.unique(grids, axis=0, return_index=True, return_inverse=True)
        for number, example in enumerate(first):
            series = np.flatnonzero(member.ravel() == number)
            t = (seconds - self.start[example]) / self.span[example]
            bends = np.maximum(t[:, None] - self.changepoints[example], 0.0)
            expected[:, series] += t[:, None] * self.k[series] + self.m[series] + bends @ self.delta[series].T
        expected *= self.y_scale
        expected[:, ~self.ok] = np.nan
        return expected

    def take(self, series: Whole) -> Fit:
        """Return the fit of some of the series."""
        arrays = {name: getattr(self, name)[series] for name in PER_SERIES}
        return replace(self, **arrays, reason=tuple(self.reason[one] for one in series))

    def parameters(self, index: int) -> dict[str, Any]:
        """Return everything needed to predict one series again, ready for JSON; see `load`."""
        kept = np.flatnonzero(self.delta[index])
        return {
            "start": self.start[index].item(),
            "span": self.span[index].item(),
            "y_scale": self.y_scale[index].item(),
            "k": self.k[index].item(),
            "m": self.m[index].item(),
            "changepoints": self.changepoints[index, kept].tolist(),
            "delta": self.delta[index, kept].tolist(),
            "beta": self.beta[index].tolist(),
            "sigma": self.sigma[index].item(),
            "n_points": int(self.n_points[index]),
            "reason": self.reason[index],
        }


def load(rows: Sequence[dict[str, Any]], spec: Spec) -> Fit:
    """Return the fit whose `parameters` were stored. The objective and unused changepoints are not stored."""
    width = max((len(row["delta"]) for row in rows), default=0)

    def column(name: str) -> Array:
        return np.array([row[name] for row in rows], dtype=np.float64)

    def padded(name: str) -> Array:
        return np.array([row[name] + [0.0] * (width - len(row[name])) for row in rows], dtype=np.float64).reshape(len(rows), width)

    reasons = tuple(str(row["reason"]) for row in rows)
    return Fit(
        spec=spec,
        start=column("start"),
        span=column("span"),
        y_scale=column("y_scale"),
        k=column("k"),
        m=column("m"),
        delta=padded("delta"),
        changepoints=padded("changepoints"),
        beta=np.array([row["beta"] for row in rows], dtype=np.float64),
        sigma=column("sigma"),
        objective=np.full(len(rows), np.nan),
        n_points=np.array([row["n_points"] for row in rows], dtype=np.intp),
        ok=np.array([reason in ("", "flat") for reason in reasons], dtype=bool),
        reason=reasons,
    )


def fit(times: npt.ArrayLike, values: npt.ArrayLike, spec: Spec | None = None, regressors: npt.ArrayLike | None = None) -> Fit:
    """Fit every column of `values` over a shared grid.

    Args:
        times: T times, seconds since 1970 or datetime64, UTC, in any order; the grid need not be regular.
        values: array (T, N) or (T,); NaN and infinities are missing points.
        spec: what to fit.
        regressors: array (T, R) of extra columns (holidays, calendars) shared by all series, used as given; the caller standardises them.

    Raises:
        ValueError: shapes do not match, or a time or regressor is not finite.
    """
    spec = spec or Spec()
    seconds = as_seconds(times)
    y = np.asarray(values, dtype=np.float64)
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or y.shape[0] != len(seconds):
        raise ValueError(f"values have shape {y.shape}, expected ({len(seconds)}, number of series)")
    features = seasonal_features(seconds, spec, regressors)
    if (np.diff(seconds) < 0).any():
        order = np.argsort(seconds, kind="stable")
        seconds, y, features = seconds[order], y[order], features[order]
    return _fit_sorted(seconds, y, features, spec)


def _fit_sorted(seconds: Array, y: Array, features: Array, spec: Spec) -> Fit:
    n_series, n_bends = y.shape[1], spec.n_changepoints
    present = np.isfinite(y)
    n_points = present.sum(axis=0).astype(np.intp)
    ok, reasons = np.ones(n_series, dtype=bool), [""] * n_series
    start, span = np.zeros(n_series), np.ones(n_series)
    scale = np.ones(n_series)
    changepoints = np.zeros((n_series, n_bends))
    width = 2 + features.shape[1]
    theta = np.zeros((n_series, width + n_bends))
    sigma, objective = np.zeros(n_series), np.full(n_series, np.nan)

    grams: list[Array] = []
    gram_of = np.zeros(n_series, dtype=np.intp)
    moments = np.zeros((n_series, width + n_bends))
    power = np.zeros(n_series)
    solvable = np.zeros(n_series, dtype=bool)
    for series in _groups(present):
        rows = np.flatnonzero(present[:, series[0]])
        if len(rows) < max(spec.min_points, 2) or seconds[rows[-1]] <= seconds[rows[0]]:
            ok[series] = False
            for one in series:
                reasons[one] = f"{len(rows)} points, {max(spec.min_points, 2)} needed"
            continue
        own = y[rows][:, series] if len(rows) < len(seconds) else y[:, series]
        start[series], span[series] = seconds[rows[0]], seconds[rows[-1]] - seconds[rows[0]]
        largest = np.abs(own).max(axis=0)
        scale[series] = np.where(largest > 0, largest, 1.0)
        flat = np.ptp(own, axis=0) == 0
        theta[series[flat], 1] = own[0, flat] / scale[series[flat]]
        for one in series[flat]:
            reasons[one] = "flat"
        varied = series[~flat]
        if not len(varied):
            continue
        t = (seconds[rows] - start[series[0]]) / span[series[0]]
        bends = place_changepoints(t, spec)
        changepoints[series, : len(bends)] = bends
        design = np.zeros((len(rows), width + n_bends))
        design[:, 0], design[:, 1] = t if spec.growth == "linear" else 0.0, 1.0
        seasons = features[rows] if len(rows) < len(seconds) else features
        design[:, 2:width] = seasons * features_in_use(seconds[rows], features.shape[1], spec)
        np.maximum(t[:, None] - bends, 0.0, out=design[:, width : width + len(bends)])
        scaled = own[:, ~flat] / scale[varied]
        gram_of[varied] = len(grams)
        grams.append(design.T @ design)
        moments[varied] = scaled.T @ design
        power[varied] = np.einsum("ij,ij->j", scaled, scaled)
        solvable[varied] = True

    prior = Prior(prior_precision(features.shape[1], spec), spec.changepoint_prior_scale)
    todo = np.flatnonzero(solvable)
    for begin in range(0, len(todo), BLOCK):
        part = todo[begin : begin + BLOCK]
        statistics = Statistics(np.stack([grams[number] for number in gram_of[part]]), moments[part], power[part], n_points[part] * 1.0)
        theta[part], sigma[part], objective[part] = maximise_posterior(statistics, prior)
        few = np.flatnonzero(n_points[part] < FEW_POINTS)
        if len(few):  # two starts: with few points the joint posterior of coefficients and noise can have two peaks
            again = maximise_posterior(statistics.take(few), prior, bends_first=False)
            better = again[2] < objective[part[few]]
            theta[part[few[better]]], sigma[part[few[better]]], objective[part[few[better]]] = (found[better] for found in again)
    return Fit(
        spec=spec,
        start=start,
        span=span,
        y_scale=scale,
        k=theta[:, 0],
        m=theta[:, 1],
        delta=theta[:, width:],
        changepoints=changepoints,
        beta=theta[:, 2:width],
        sigma=sigma * scale,
        objective=objective,
        n_points=n_points,
        ok=ok,
        reason=tuple(reasons),
    )


def _groups(present: Flags) -> list[Whole]:
    """Series that miss the same points, in order of their first member."""
    packed = np.packbits(present, axis=0)
    members: dict[bytes, list[int]] = {}
    for series in range(present.shape[1]):
        members.setdefault(packed[:, series].tobytes(), []).append(series)
    return [np.array(group, dtype=np.intp) for group in members.values()]
