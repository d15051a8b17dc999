"""Maximum a posteriori of trend * (1 + seasons) + additive columns, for many series at once, from sufficient statistics.

The curve is bilinear: sum over i, j of trend_i * multiplier_j * (trend column i times multiplier column j), the first multiplier column
being 1 with coefficient 1. The Gram matrix of all these products, shared by series that miss the same points, and the moments of each
series say everything: no step touches an array as long as the series. Each step linearises the curve around the present coefficients
(Gauss-Newton), solves that additive problem exactly (posterior.py), walks towards its solution as far as the true objective falls, and
sets the noise. The problem is not convex: what is found is a local optimum, the best of those reached from several starts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aftercast.detection.posterior import (
    OFFSET,
    Found,
    Prior,
    Statistics,
    maximise_posterior,
    noise_variance,
    objective,
    solve_coefficients,
)

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.intp]

MAX_ROUNDS = 200
FEW_POINTS = 1_000  # below, noise and changes of slope can explain each other
NOISES = (0.25, 0.5, 2.0) * 2  # variances to start again with, in units of the one found
LEAST_DIVISOR = 0.05  # of added seasons, when the level of the trend is lower
LOW_LEVEL = 2.0  # in units of the noise: trends below may be turned over
CHUNK = 2_048  # rows of products made at once
STEPS = np.array([1.0, 0.7, 0.4, 0.2, 0.1, 0.03, 0.01, 0.001, 1.5, 2.0])  # of the way to the solution of the linearised problem
SETTLED = 1e-7  # log units an objective must fall by for another round


@dataclass(frozen=True, slots=True)
class Shape:
    """How many columns: of the trend (slope, offset, changes of slope), multiplying (without the 1), and additive."""

    trend: int
    multiplying: int
    additive: int

    @property
    def products(self) -> int:
        return self.trend * (self.multiplying + 1)

    @property
    def order(self) -> Whole:
        """Places of slope, offset, multiplying, additive, changes of slope in: trend, multiplying, additive."""
        return np.concatenate(
            [[0, 1], np.arange(self.trend, self.trend + self.multiplying + self.additive), np.arange(2, self.trend)]
        ).astype(np.intp)

    def split(self, theta: Array) -> tuple[Array, Array, Array]:
        """Coefficients (N, P) as trend (N, p), multipliers with the leading 1 (N, q) and additive (N, a)."""
        end = 2 + self.multiplying
        trend = np.concatenate([theta[:, :2], theta[:, end + self.additive :]], axis=1)
        return trend, np.concatenate([np.ones((len(theta), 1)), theta[:, 2:end]], axis=1), theta[:, end : end + self.additive]

    def join(self, trend: Array, multipliers: Array, additive: Array) -> Array:
        return np.concatenate([trend[:, :2], multipliers[:, 1:], additive, trend[:, 2:]], axis=1)


@dataclass(frozen=True, slots=True)
class Products:
    """What N series say: Gram matrices of the products and additive columns (U, L, L), which of them is whose, and as in Statistics."""

    shape: Shape
    grams: Array
    pattern: Whole
    moment: Array
    power: Array
    count: Array
    centre: Array

    def take(self, series: Whole) -> Products:
        return Products(
            self.shape, self.grams, self.pattern[series], self.moment[series], self.power[series], self.count[series], self.centre[series]
        )

    def through(self, vectors: Array) -> Array:
        """Gram matrix times vector for every series, (N, L)."""
        result = np.empty_like(vectors)
        for pattern in np.unique(self.pattern):
            rows = self.pattern == pattern
            result[rows] = vectors[rows] @ self.grams[pattern]
        return result

    def vector(self, trend: Array, multipliers: Array, additive: Array) -> Array:
        """Coefficients of the products and additive columns, without the centre, (N, L)."""
        product = trend[:, :, None] * multipliers[:, None, :]
        product[:, OFFSET, 0] -= self.centre
        return np.concatenate([product.reshape(len(trend), -1), additive], axis=1)

    def additive(self, with_seasons: bool) -> Statistics:
        """Statistics of the model in which the multiplying columns are added; or take no part."""
        shape, width = self.shape, self.shape.multiplying + 1
        places = np.concatenate(
            [np.arange(shape.trend) * width, OFFSET * width + np.arange(1, width), shape.products + np.arange(shape.additive)]
        )[shape.order]
        keep = np.ones(len(places))
        if not with_seasons:
            keep[2 : 2 + shape.multiplying] = 0.0
        grams = self.grams[:, places[:, None], places] * (keep[:, None] * keep)
        return Statistics(grams[self.pattern], self.moment[:, places] * keep, self.power, self.count, self.centre)

    def linearised(self, theta: Array, error: Array) -> tuple[Array, Array]:
        """Gram matrix (N, P, P) and residual moment (N, P) of the columns of the curve's derivative; `error` is the residual's moment."""
        shape = self.shape
        trend, multipliers, _ = shape.split(theta)
        p, q, a = shape.trend, shape.multiplying + 1, shape.additive
        size = p + q - 1 + a
        gram, rest = np.empty((len(theta), size, size)), slice(p + q - 1, size)
        for pattern in np.unique(self.pattern):
            rows = np.flatnonzero(self.pattern == pattern)
            whole = self.grams[pattern]
            four = whole[: p * q, : p * q].reshape(p, q, p, q)
            half = (multipliers[rows] @ four.swapaxes(0, 1).reshape(q, -1)).reshape(-1, p, p, q)
            gram[rows, :p, :p] = (half @ multipliers[rows, None, :, None])[..., 0]
            gram[rows, :p, p : p + q - 1] = np.einsum("nikl,nk->nil", half, trend[rows])[..., 1:]
            pairs = (trend[rows, :, None] * trend[rows, None, :]).reshape(len(rows), -1)
            seasonal = (pairs @ four.transpose(0, 2, 1, 3).reshape(p * p, q * q)).reshape(-1, q, q)
            gram[rows, p : p + q - 1, p : p + q - 1] = seasonal[:, 1:, 1:]
            if a:
                cross = whole[: p * q, p * q :].reshape(p, q, a)
                gram[rows, :p, rest] = np.einsum("nj,ija->nia", multipliers[rows], cross)
                gram[rows, p : p + q - 1, rest] = np.einsum("ni,ija->nja", trend[rows], cross)[:, 1:]
                gram[rows, rest, rest] = whole[p * q :, p * q :]
        gram[:, p : p + q - 1, :p] = gram[:, :p, p : p + q - 1].swapaxes(1, 2)
        gram[:, rest, : p + q - 1] = gram[:, : p + q - 1, rest].swapaxes(1, 2)
        square = error[:, : p * q].reshape(-1, p, q)
        by_trend = (square @ multipliers[..., None])[..., 0]
        by_season = (trend[:, None, :] @ square)[:, 0, 1:]
        slope = np.concatenate([by_trend, by_season, error[:, p * q :]], axis=1)
        order = shape.order
        return gram[:, order[:, None], order], slope[:, order]


def gram_of_products(trend: Array, multiplying: Array, additive: Array, residuals: Array) -> tuple[Array, Array]:
    """Return the Gram matrix (L, L) of all products and its moments (N, L) with residuals (T, N)."""
    one = np.concatenate([np.ones((len(trend), 1)), multiplying], axis=1)
    size = trend.shape[1] * one.shape[1] + additive.shape[1]
    gram, moment = np.zeros((size, size)), np.zeros((residuals.shape[1], size))
    for begin in range(0, len(trend), CHUNK):
        rows = slice(begin, begin + CHUNK)
        products = (trend[rows, :, None] * one[rows, None, :]).reshape(len(trend[rows]), -1)
        columns = np.concatenate([products, additive[rows]], axis=1)
        gram += columns.T @ columns
        moment += residuals[rows].T @ columns
    return gram, moment


def maximise_product(products: Products, prior: Prior) -> tuple[Array, Array, Array]:
    """Return coefficients (N, P: slope, offset, multiplying, additive, changes of slope), noise and negative log posterior, (N,) each.

    The problem is not convex. Starts: the additive model, its seasons divided by the level of its trend, and below FEW_POINTS the trend
    alone, its slope not free to change. Then from the best so far: where a multiplying column is constant on the grid, so that it and the
    level can stand for each other, with less and with more noise; where the level drowns in the noise, with trend and seasons turned over.
    """
    best = _descend(products, prior, _from_additive(products, prior))
    few = np.flatnonzero(products.count < FEW_POINTS)
    if len(few):
        some = products.take(few)
        best = _better(best, _descend(some, prior, maximise_posterior(some.additive(False), prior, bends_first=False)[0]), few)
    torn = np.flatnonzero(_has_constant(products))
    for factor in NOISES if len(torn) else ():
        some, here = products.take(torn), best[0][torn]
        start = solve_coefficients(_around(some, here), factor * best[1][torn] ** 2, prior, here[:, prior.width :])
        start[:, OFFSET] += some.centre
        best = _better(best, _descend(some, prior, start), torn)
    trend, multipliers, rest = products.shape.split(best[0])
    low = np.flatnonzero(np.abs(_level(products, trend)) < LOW_LEVEL * best[1])
    if len(low):
        multipliers[:, 1:] *= -1.0
        turned = products.shape.join(-trend, multipliers, rest)[low]
        best = _better(best, _descend(products.take(low), prior, turned), low)
    return best


def _has_constant(products: Products) -> Flags:
    """Whether a multiplying column hardly varies, as the fourth daily cosine every six hours, (N,)."""
    width = products.shape.multiplying + 1
    places = OFFSET * width + np.arange(width)
    ones, columns = places[0], places[1:]
    sums, squares, count = products.grams[:, ones, columns], products.grams[:, columns, columns], products.grams[:, ones, ones, None]
    constant = np.any(sums**2 > 0.999 * count * squares, axis=1)
    return np.asarray(constant)[products.pattern]


def _better(old: Found, new: Found, places: Whole | None = None) -> Found:
    """Put the new into its places of the old (all of them) where its objective is lower, and return the old."""
    at = np.arange(len(old[2])) if places is None else places
    lower = new[2] < old[2][at]
    for kept, found in zip(old, new, strict=True):
        kept[at[lower]] = found[lower]
    return old


def _level(products: Products, trend: Array) -> Array:
    """Mean of the trend over the points of a series, (N,)."""
    width = products.shape.multiplying + 1
    sums = products.grams[:, OFFSET * width, np.arange(products.shape.trend) * width][products.pattern]
    return np.asarray(np.einsum("ni,ni->n", trend, sums) / products.count)


def _from_additive(products: Products, prior: Prior) -> Array:
    trend, multipliers, rest = products.shape.split(maximise_posterior(products.additive(True), prior)[0])
    level = _level(products, trend)
    multipliers[:, 1:] /= np.where(level < 0, -1.0, 1.0)[:, None] * np.maximum(np.abs(level), LEAST_DIVISOR)[:, None]
    return products.shape.join(trend, multipliers, rest)


def _descend(products: Products, prior: Prior, start: Array) -> Found:
    theta = start.copy()
    everything = products
    height = np.full(len(theta), np.inf)
    variance = np.zeros(len(theta))
    open_ = np.arange(len(theta))
    for number in range(MAX_ROUNDS):
        products = everything.take(open_)
        here = theta[open_]
        error, squares = _errors(products, here)
        if number == 0:
            variance[open_] = noise_variance(squares, products.count)
            height[open_] = objective(squares, variance[open_], products.count, here, prior)
        statistics = _around(products, here, (error, squares))
        goal = solve_coefficients(statistics, variance[open_], prior, here[:, prior.width :])
        goal[:, OFFSET] += products.centre
        theta[open_], variance[open_], lower = _walk(products, prior, here, goal - here, error, squares)
        fell = height[open_] - lower
        height[open_] = np.minimum(lower, height[open_])
        open_ = open_[fell > SETTLED]
        if not len(open_):
            break
    return theta, np.sqrt(variance), height


def _errors(products: Products, theta: Array) -> tuple[Array, Array]:
    """Moments (N, L) and squares (N,) of the residuals of these coefficients."""
    vector = products.vector(*products.shape.split(theta))
    error = products.moment - products.through(vector)
    squares = products.power - np.einsum("nl,nl->n", vector, products.moment + error)
    return error, np.maximum(squares, 1e-13 * products.power)


def _around(products: Products, theta: Array, residuals: tuple[Array, Array] | None = None) -> Statistics:
    """Statistics of the additive problem that is this one linearised around coefficients; `residuals` are their `_errors`, if known."""
    error, squares = residuals or _errors(products, theta)
    gram, slope = products.linearised(theta, error)
    shifted = theta.copy()
    shifted[:, OFFSET] -= products.centre
    through = (gram @ shifted[..., None])[..., 0]
    power = squares + np.einsum("np,np->n", shifted, 2.0 * slope + through)
    return Statistics(gram, slope + through, power, products.count, products.centre)


def _walk(products: Products, prior: Prior, here: Array, way: Array, error: Array, squares: Array) -> tuple[Array, Array, Array]:
    """Go the share of the way at which the objective, with the best noise there, is lowest; stay where no step lowers it."""
    shape = products.shape
    trend, multipliers, _ = shape.split(here)
    along_trend, along_multipliers, along_rest = shape.split(way)
    along_multipliers[:, 0] = 0.0
    one = along_trend[:, :, None] * multipliers[:, None, :] + trend[:, :, None] * along_multipliers[:, None, :]
    first = np.concatenate([one.reshape(len(here), -1), along_rest], axis=1)
    two = along_trend[:, :, None] * along_multipliers[:, None, :]
    second = np.concatenate([two.reshape(len(here), -1), np.zeros_like(along_rest)], axis=1)
    through_first, through_second = products.through(first), products.through(second)
    powers = np.stack(
        [
            squares,
            -2.0 * np.einsum("nl,nl->n", first, error),
            np.einsum("nl,nl->n", first, through_first) - 2.0 * np.einsum("nl,nl->n", second, error),
            2.0 * np.einsum("nl,nl->n", first, through_second),
            np.einsum("nl,nl->n", second, through_second),
        ]
    )
    best_theta, best_variance = here, noise_variance(squares, products.count)
    lowest = objective(squares, best_variance, products.count, here, prior)
    for step in STEPS:
        there = here + step * way
        reached = np.maximum(np.tensordot(step ** np.arange(5), powers, axes=1), 1e-13 * products.power)
        variance = noise_variance(reached, products.count)
        height = objective(reached, variance, products.count, there, prior)
        better = height < lowest
        lowest = np.where(better, height, lowest)
        best_theta = np.where(better[:, None], there, best_theta)
        best_variance = np.where(better, variance, best_variance)
    return best_theta, best_variance, lowest
