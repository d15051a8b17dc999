"""Series that share a design, summarised once and solved together: by posterior.py where all adds up, else by multiplicative.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aftercast.detection.multiplicative import Products, Shape, gram_of_products, maximise_product
from aftercast.detection.posterior import Found, Prior, Statistics, maximise_posterior

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.intp]

FEW_POINTS = 1_000  # below, the joint posterior of coefficients and noise can have two peaks and two starts are tried
BLOCK = 512  # additive series solved together; bounds the memory of the stacked Gram matrices
PRODUCT_BLOCK = 128  # multiplicative series solved together


@dataclass(frozen=True, slots=True)
class Problem:
    """Sufficient statistics of n series with one design; see `Statistics` and `Products`.

    Attributes:
        series: the caller's numbers of the series, (n,).
        multiplying, additive: which feature columns take part, and how. Without multiplying ones every column takes part.
        trend: number of trend columns (slope, offset, changes of slope).
    """

    series: Whole
    multiplying: Whole
    additive: Whole
    trend: int
    gram: Array
    moment: Array
    power: Array
    count: Array
    centre: Array


def summarise(series: Whole, trend: Array, features: Array, multiplies: Flags, values: Array) -> Problem:
    """Summarise values (T, n) over a design: trend columns (T, 2 + S), features (T, K) of which `multiplies` (K,) multiply the trend.

    Feature columns that are all zero get the coefficient zero.
    """
    used = features.any(axis=0)
    multiplying = np.flatnonzero(used & multiplies)
    additive = np.flatnonzero(used & ~multiplies) if len(multiplying) else np.arange(features.shape[1])
    centre = values.mean(axis=0)
    residuals = values - centre
    if len(multiplying):
        gram, moment = gram_of_products(trend, features[:, multiplying], features[:, additive], residuals)
    else:
        design = np.concatenate([trend[:, :2], features, trend[:, 2:]], axis=1)
        gram, moment = design.T @ design, residuals.T @ design
    power = np.einsum("ij,ij->j", residuals, residuals)
    count = np.full(len(series), float(len(values)))
    return Problem(series, multiplying, additive, trend.shape[1], gram, moment, power, count, centre)


def solve(problems: Sequence[Problem], scales: Array, laplace_scale: float) -> Iterator[tuple[Whole, Array, Array, Array]]:
    """Yield series, coefficients (n, 2 + K + S: slope, offset, features, changes of slope), noise and objective (n,) each.

    Args:
        problems: of any designs; those with columns alike are stacked.
        scales: (K,) of the normal priors of the features. laplace_scale: of the changes of slope.
    """
    alike: dict[tuple[bytes, bytes, int], list[Problem]] = {}
    for problem in problems:
        alike.setdefault((problem.multiplying.tobytes(), problem.additive.tobytes(), problem.trend), []).append(problem)
    for group in alike.values():
        pattern = np.repeat(np.arange(len(group)), [len(one.series) for one in group])
        series, power, count, centre = (
            np.concatenate([getattr(one, name) for one in group]) for name in ("series", "power", "count", "centre")
        )
        moment = np.concatenate([one.moment for one in group])
        block = PRODUCT_BLOCK if len(group[0].multiplying) else BLOCK
        for begin in range(0, len(series), block):
            part = np.arange(begin, min(begin + block, len(series)))
            first, last = pattern[part[0]], pattern[part[-1]]
            grams = np.stack([one.gram for one in group[first : last + 1]])
            own = (pattern[part] - first, moment[part], power[part], count[part], centre[part])
            theta, noise, objective = _solve_alike(group[0], grams, own, scales, laplace_scale)
            yield series[part], theta, noise, objective


def _solve_alike(like: Problem, grams: Array, own: tuple[Whole, Array, Array, Array, Array], scales: Array, laplace_scale: float) -> Found:
    pattern, moment, power, count, centre = own
    if not len(like.multiplying):
        return _solve_additive(Statistics(grams[pattern], moment, power, count, centre), Prior.of(scales, laplace_scale))
    taking = np.concatenate([like.multiplying, like.additive])
    shape = Shape(like.trend, len(like.multiplying), len(like.additive))
    found, noise, objective = maximise_product(
        Products(shape, grams, pattern, moment, power, count, centre), Prior.of(scales[taking], laplace_scale)
    )
    theta = np.zeros((len(moment), like.trend + len(scales)))
    theta[:, :2] = found[:, :2]
    theta[:, 2 + taking] = found[:, 2 : 2 + len(taking)]
    theta[:, 2 + len(scales) :] = found[:, 2 + len(taking) :]
    return theta, noise, objective


def _solve_additive(statistics: Statistics, prior: Prior) -> Found:
    found = maximise_posterior(statistics, prior)
    few = np.flatnonzero(statistics.count < FEW_POINTS)
    if len(few):
        again = maximise_posterior(statistics.take(few), prior, bends_first=False)
        lower = again[2] < found[2][few]
        for kept, new in zip(found, again, strict=True):
            kept[few[lower]] = new[lower]
    return found
