"""Maximum a posteriori coefficients and noise of many series from their sufficient statistics: Gram matrix, moments, power."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aftercast.detection.lasso import solve_lasso

Array = npt.NDArray[np.float64]

Found = tuple[Array, Array, Array]  # coefficients (N, P), noise (N,), negative log posterior (N,)

MAX_ROUNDS = 60
TREND_PRECISION = 1.0 / 25.0  # slope, offset ~ normal(0, 5) in Prophet's Stan model
OFFSET = 1  # which coefficient the centre is part of


@dataclass(frozen=True, slots=True)
class Statistics:
    """What N series say about P coefficients: D'D (N, P, P), D'r (N, P), r'r (N,) and the number of points (N,), with r = y - centre.

    Without the centre (N,) a series that varies by a millionth of its level would drown in rounding.
    """

    gram: Array
    moment: Array
    power: Array
    count: Array
    centre: Array

    def take(self, series: npt.NDArray[np.intp]) -> Statistics:
        return Statistics(self.gram[series], self.moment[series], self.power[series], self.count[series], self.centre[series])


@dataclass(frozen=True, slots=True)
class Prior:
    """Normal precision of the first coefficients (slope, offset, features); Laplace scale of the others (slope changes)."""

    precision: Array
    laplace_scale: float

    @classmethod
    def of(cls, feature_scales: npt.ArrayLike, laplace_scale: float) -> Prior:
        """Return the library's prior for features with normal priors of these scales."""
        scales = np.asarray(feature_scales, dtype=np.float64)
        return cls(np.concatenate([[TREND_PRECISION, TREND_PRECISION], scales**-2.0]), laplace_scale)

    @property
    def width(self) -> int:
        return len(self.precision)


def maximise_posterior(statistics: Statistics, prior: Prior, *, bends_first: bool = True) -> Found:
    """Alternate coefficients and noise to convergence; return coefficients (N, P), noise (N,) and negative log posterior (N,).

    The first noise is that of least squares with every slope change free (`bends_first`) or with none.
    Slope and offset are the first two coefficients. Given the noise s, minimising the negative log posterior times s^2 is:
    1/2 x'(G + s^2 P)x - x'B + s^2/tau |bends|_1.
    """
    n_series, total = statistics.moment.shape
    theta = np.zeros((n_series, total))  # of the residual from the centre
    variance = noise_variance(_least_squares_error(statistics, total if bends_first else prior.width), statistics.count)
    open_ = np.arange(n_series)
    for _ in range(MAX_ROUNDS):
        rest = statistics.take(open_)
        theta[open_] = solve_coefficients(rest, variance[open_], prior, theta[open_, prior.width :])
        updated = noise_variance(_squared_error(rest, theta[open_]), rest.count)
        moved = np.abs(updated - variance[open_]) > 1e-7 * updated
        variance[open_] = updated
        open_ = open_[moved]
        if not len(open_):
            break
    error = _squared_error(statistics, theta)
    theta[:, OFFSET] += statistics.centre
    return theta, np.sqrt(variance), objective(error, variance, statistics.count, theta, prior)


def objective(error: Array, variance: Array, count: Array, theta: Array, prior: Prior) -> Array:
    """Return the negative log posterior (N,) without constants, from squared error, noise variance and number of points (N,) each."""
    found: Array = (
        0.5 * count * np.log(variance)
        + 0.5 * error / variance
        + 2.0 * variance
        + 0.5 * (theta[:, : prior.width] ** 2) @ prior.precision
        + np.abs(theta[:, prior.width :]).sum(axis=1) / prior.laplace_scale
    )
    return found


def _squared_error(statistics: Statistics, theta: Array) -> Array:
    fitted = (statistics.gram @ theta[..., None])[..., 0]
    error = statistics.power + np.einsum("ni,ni->n", theta, fitted - 2.0 * statistics.moment)
    return np.asarray(np.maximum(error, 1e-13 * statistics.power))  # below that, rounding; a perfect fit must not have zero noise


def _least_squares_error(statistics: Statistics, size: int) -> Array:
    theta = np.zeros_like(statistics.moment)
    gram = statistics.gram[:, :size, :size]
    ridge = gram + (1e-9 * np.trace(gram, axis1=1, axis2=2) / size)[:, None, None] * np.eye(size)
    theta[:, :size] = np.linalg.solve(ridge, statistics.moment[:, :size, None])[..., 0]
    return _squared_error(statistics, theta)


def noise_variance(error: Array, count: Array) -> Array:
    """Return the positive root of 4 v^2 + T v - SSE = 0: stationarity of the noise under its half-normal(0, 0.5) prior."""
    return np.asarray(2.0 * error / (count + np.sqrt(count**2 + 16.0 * error)))


def solve_coefficients(statistics: Statistics, variance: Array, prior: Prior, warm: Array) -> Array:
    """Return the best coefficients (N, P) given the noise, the offset without the centre; `warm` (N, S) are slope changes to start from."""
    width = prior.width
    gram, moment = statistics.gram, statistics.moment.copy()
    moment[:, OFFSET] -= variance * prior.precision[OFFSET] * statistics.centre
    ridge = gram[:, :width, :width] + variance[:, None, None] * np.diag(prior.precision)
    # Columns that repeat each other must not be singular where the noise is all but nothing. This keeps their coefficients small, where the
    # prior would share the level among them: worth at most 1/50 of a log unit, and large coefficients would cost the error its digits.
    np.einsum("nii->ni", ridge)[...] *= 1.0 + 1e-13
    cross = gram[:, :width, width:]
    solved = np.linalg.solve(ridge, np.concatenate([cross, moment[:, :width, None]], axis=2))
    across = np.swapaxes(cross, 1, 2)
    reduced = gram[:, width:, width:] - across @ solved[..., :-1]
    target = moment[:, width:] - (across @ solved[..., -1:])[..., 0]
    bends = solve_lasso(reduced, target, variance / prior.laplace_scale, warm)
    smooth = solved[..., -1] - (solved[..., :-1] @ bends[..., None])[..., 0]
    coefficients: Array = np.concatenate([smooth, bends], axis=1)
    return coefficients
