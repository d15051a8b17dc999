"""Minimise 1/2 x'Qx - c'x + penalty |x|_1 exactly for every row of a batch, by feature-sign search (Lee, Battle, Raina, Ng 2007).

Each step solves the smooth problem on the active coordinates, walks there with an exact line search over the sign changes on the way,
and activates the inactive coordinate that violates optimality most. The objective falls in every step, so the search ends.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def solve_lasso(quadratic: Array, linear: Array, penalty: Array, warm: Array | None = None) -> Array:
    """Return the minimiser, (N, S).

    Args:
        quadratic: (N, S, S) positive semidefinite. linear: (N, S). penalty: (N,) positive.
        warm: (N, S) where to start; its non-zero coordinates are the first active set.
    """
    n_series, size = linear.shape
    x = np.zeros((n_series, size)) if warm is None else warm.copy()
    if size == 0:
        return x
    diagonal = np.einsum("nii->ni", quadratic)
    jitter = 1e-12 * diagonal + 1e-300
    slack = 1e-9 * np.abs(linear).max(axis=1) + 1e-8 * penalty
    open_ = np.arange(n_series)
    settled = ~(x != 0).any(axis=1)
    signs = np.sign(x)
    for _ in range(40 * size):
        gradient = (quadratic[open_] @ x[open_, :, None])[..., 0] - linear[open_]
        violation = np.where(signs[open_] == 0, np.abs(gradient), 0.0) - (penalty + slack)[open_, None]
        worst = violation.argmax(axis=1)
        rows = np.arange(len(open_))
        waits = settled[open_]
        done = waits & (violation[rows, worst] <= 0)
        grows = waits & ~done
        signs[open_[grows], worst[grows]] = -np.sign(gradient[rows[grows], worst[grows]])
        open_, gradient = open_[~done], gradient[~done]
        if not len(open_):
            break
        active = signs[open_] != 0
        matrix = np.where(active[:, :, None] & active[:, None, :], quadratic[open_], 0.0)
        np.einsum("nii->ni", matrix)[...] += np.where(active, jitter[open_], 1.0)
        goal = np.linalg.solve(matrix, np.where(active, linear[open_] - penalty[open_, None] * signs[open_], 0.0)[..., None])[..., 0]
        here = x[open_]
        step = np.where(active, goal, 0.0) - here
        turns = active & (goal * signs[open_] < 0)
        crossing = np.ones_like(here)
        np.divide(here, here - goal, out=crossing, where=turns)
        stops = np.concatenate([crossing, np.ones((len(open_), 1))], axis=1)
        slope = np.einsum("ni,ni->n", step, gradient)
        curve = np.einsum("ni,ni->n", step, (quadratic[open_] @ step[..., None])[..., 0])
        along = np.abs(here[:, None, :] + stops[..., None] * step[:, None, :]).sum(axis=2)
        height = stops * slope[:, None] + 0.5 * stops**2 * curve[:, None] + penalty[open_, None] * along
        best = np.take_along_axis(stops, height.argmin(axis=1)[:, None], axis=1)
        moved = np.where(turns & (crossing == best), 0.0, here + best * step)
        settled[open_] = (best[:, 0] == 1.0) & ~turns.any(axis=1)
        x[open_] = moved
        signs[open_] = np.sign(moved)
    return x
