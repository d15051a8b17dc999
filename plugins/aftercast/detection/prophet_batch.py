"""Prophet's default model fitted exactly for many series at once.

Linear trend with changepoints, additive Fourier seasonality, Gaussian noise: the maximum a posteriori estimate that `prophet.Prophet`
seeks with Stan has closed steps here (docs/decisions/003-prophet-batch.md). Series that miss the same points share one Gram matrix; the
ridge block (slope, offset, seasonality, regressors) is eliminated by a Schur complement, the Laplace prior on the slope changes leaves a
small lasso per series, and the noise follows from its stationarity. Missing points are left out, never read as zero. A series that
cannot be fitted is marked and predicted as missing; it never fails the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aftercast.detection.lasso import solve_lasso

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.intp]

MODEL_VERSION = "prophet-batch-1"
DAY = 86_400.0
PERIODS = (("yearly", 365.25), ("weekly", 7.0), ("daily", 1.0))
TREND_PRIOR_PRECISION = 1.0 / 25.0  # k, m ~ normal(0, 5) in Prophet's Stan model
MAX_ROUNDS = 60
FEW_POINTS = 1_000
BLOCK = 512  # series solved together; bounds the memory of the stacked Gram matrices


@dataclass(frozen=True, slots=True)
class Spec:
    """What is fitted. Defaults are the library's.

    A seasonality is used only where the library's `auto` would use it: two periods of history (daily two days, weekly two weeks, yearly two
    years) and a spacing below the period. `min_points` is ours: fewer present points give no fit.
    """

    daily_order: int = 4
    weekly_order: int = 3
    yearly_order: int = 0
    n_changepoints: int = 25
    changepoint_range: float = 0.8
    changepoint_prior_scale: float = 0.05
    seasonality_prior_scale: float = 10.0
    regressor_prior_scale: float = 10.0
    min_points: int = 24

    @property
    def orders(self) -> dict[str, int]:
        return {"yearly": self.yearly_order, "weekly": self.weekly_order, "daily": self.daily_order}


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
        features = _features(seconds, self.spec, regressors)
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


def as_seconds(times: npt.ArrayLike) -> Array:
    """Return times as seconds since 1970 UTC; accepts numbers (already seconds) and datetime64 (UTC).

    Raises:
        ValueError: a time is missing or infinite, or the array is not one-dimensional.
    """
    array = np.asarray(times)
    if np.issubdtype(array.dtype, np.datetime64):
        micros = array.astype("datetime64[us]")
        seconds = micros.astype(np.int64) / 1e6
        seconds[np.isnat(micros)] = np.nan
    else:
        seconds = array.astype(np.float64)
    if seconds.ndim != 1 or not np.isfinite(seconds).all():
        raise ValueError("times must be a one-dimensional array of finite UTC times")
    return seconds


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
    features = _features(seconds, spec, regressors)
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
    precision = _prior_precision(features.shape[1], spec)

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
        bends = _changepoints(t, spec)
        changepoints[series, : len(bends)] = bends
        design = np.zeros((len(rows), width + n_bends))
        design[:, 0], design[:, 1] = t, 1.0
        design[:, 2:width] = (features[rows] if len(rows) < len(seconds) else features) * features_in_use(seconds[rows], features.shape[1], spec)
        np.maximum(t[:, None] - bends, 0.0, out=design[:, width : width + len(bends)])
        scaled = own[:, ~flat] / scale[varied]
        gram_of[varied] = len(grams)
        grams.append(design.T @ design)
        moments[varied] = scaled.T @ design
        power[varied] = np.einsum("ij,ij->j", scaled, scaled)
        solvable[varied] = True

    todo = np.flatnonzero(solvable)
    for begin in range(0, len(todo), BLOCK):
        part = todo[begin : begin + BLOCK]
        stacked = np.stack(grams)[gram_of[part]]
        theta[part], sigma[part], objective[part] = _solve(stacked, moments[part], power[part], n_points[part], precision, width, spec)
        few = part[n_points[part] < FEW_POINTS]
        if len(few):  # two starts: the joint posterior of coefficients and noise can have two dips when points are few
            stacked = np.stack(grams)[gram_of[few]]
            again = _solve(stacked, moments[few], power[few], n_points[few], precision, width, spec, bends_first=False)
            better = again[2] < objective[few]
            theta[few[better]], sigma[few[better]], objective[few[better]] = (found[better] for found in again)
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


def _features(seconds: Array, spec: Spec, regressors: npt.ArrayLike | None) -> Array:
    days = 2.0 * np.pi * seconds / DAY
    columns = []
    for name, period in PERIODS:
        for order in range(1, spec.orders[name] + 1):
            columns += [np.sin(order / period * days), np.cos(order / period * days)]
    extra = np.empty((len(seconds), 0)) if regressors is None else np.asarray(regressors, dtype=np.float64).reshape(len(seconds), -1)
    if not np.isfinite(extra).all():
        raise ValueError("a regressor has missing or infinite values; regressors must be known wherever they are used")
    return np.column_stack([*columns, extra]) if columns else extra


def features_in_use(seconds: Array, n_features: int, spec: Spec) -> Array:
    """1 for feature columns the history supports, 0 for seasonalities that the library's `auto` switches off."""
    length = seconds[-1] - seconds[0]
    steps = np.diff(seconds)
    spacing = steps[steps > 0].min()
    needed = {"yearly": (730 * DAY, np.inf), "weekly": (14 * DAY, 7 * DAY), "daily": (2 * DAY, DAY)}
    used = np.ones(n_features)
    column = 0
    for name, _ in PERIODS:
        least, coarsest = needed[name]
        if length < least or spacing >= coarsest:
            used[column : column + 2 * spec.orders[name]] = 0.0
        column += 2 * spec.orders[name]
    return used


def _changepoints(t: Array, spec: Spec) -> Array:
    """Potential changepoints as the library places them: evenly by count over the first part of the history."""
    size = int(np.floor(len(t) * spec.changepoint_range))
    count = min(spec.n_changepoints, size - 1)
    if count <= 0:
        return np.empty(0)
    return np.asarray(t[np.linspace(0, size - 1, count + 1).round().astype(int)][1:], dtype=np.float64)


def _prior_precision(n_features: int, spec: Spec) -> Array:
    seasonal = 2 * sum(spec.orders.values())
    precision = np.full(2 + n_features, TREND_PRIOR_PRECISION)
    precision[2 : 2 + seasonal] = spec.seasonality_prior_scale**-2
    precision[2 + seasonal :] = spec.regressor_prior_scale**-2
    return precision


def _solve(
    gram: Array,
    moment: Array,
    power: Array,
    n_points: Whole,
    precision: Array,
    width: int,
    spec: Spec,
    *,
    bends_first: bool = True,
) -> tuple[Array, Array, Array]:
    """Alternate coefficients and noise to convergence; return coefficients (N, P), noise (N,) and negative log posterior (N,).

    The first noise is that of least squares with every slope change free (`bends_first`) or with none.
    Given the noise s, minimising the negative log posterior times s^2 is: 1/2 x'(G + s^2 P)x - x'B + s^2/tau |bends|_1.
    """
    n_series, total = moment.shape
    count = n_points.astype(np.float64)
    theta = np.zeros((n_series, total))
    free = total if bends_first else width
    variance = _noise_variance(_least_squares_error(gram[:, :free, :free], moment[:, :free], power), count)
    open_ = np.arange(n_series)
    for _ in range(MAX_ROUNDS):
        theta[open_] = _coefficients(gram[open_], moment[open_], variance[open_], precision, width, theta[open_, width:], spec)
        updated = _noise_variance(_squared_error(gram[open_], moment[open_], power[open_], theta[open_]), count[open_])
        moved = np.abs(updated - variance[open_]) > 1e-7 * updated
        variance[open_] = updated
        open_ = open_[moved]
        if not len(open_):
            break
    error = _squared_error(gram, moment, power, theta)
    objective = (
        0.5 * count * np.log(variance)
        + 0.5 * error / variance
        + 2.0 * variance
        + 0.5 * (theta[:, :width] ** 2) @ precision
        + np.abs(theta[:, width:]).sum(axis=1) / spec.changepoint_prior_scale
    )
    return theta, np.sqrt(variance), objective


def _squared_error(gram: Array, moment: Array, power: Array, theta: Array) -> Array:
    quadratic = np.einsum("ni,nij,nj->n", theta, gram, theta, optimize=True)
    return np.maximum(power - 2.0 * np.einsum("ni,ni->n", theta, moment) + quadratic, 1e-13 * power)


def _least_squares_error(gram: Array, moment: Array, power: Array) -> Array:
    size = gram.shape[1]
    ridge = gram + (1e-9 * np.trace(gram, axis1=1, axis2=2) / size)[:, None, None] * np.eye(size)
    return _squared_error(gram, moment, power, np.linalg.solve(ridge, moment[..., None])[..., 0])


def _noise_variance(error: Array, count: Array) -> Array:
    """The positive root of 4 v^2 + T v - SSE = 0: stationarity of the noise under its half-normal(0, 0.5) prior."""
    return np.asarray(2.0 * error / (count + np.sqrt(count**2 + 16.0 * error)))


def _coefficients(gram: Array, moment: Array, variance: Array, precision: Array, width: int, warm: Array, spec: Spec) -> Array:
    ridge = gram[:, :width, :width] + variance[:, None, None] * np.diag(precision)
    cross = gram[:, :width, width:]
    solved = np.linalg.solve(ridge, np.concatenate([cross, moment[:, :width, None]], axis=2))
    across = np.swapaxes(cross, 1, 2)
    reduced = gram[:, width:, width:] - across @ solved[..., :-1]
    target = moment[:, width:] - (across @ solved[..., -1:])[..., 0]
    bends = solve_lasso(reduced, target, variance / spec.changepoint_prior_scale, warm)
    smooth = solved[..., -1] - (solved[..., :-1] @ bends[..., None])[..., 0]
    return np.concatenate([smooth, bends], axis=1, dtype=np.float64)
