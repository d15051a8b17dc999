"""Prophet fitted exactly for many series at once.

Linear or flat trend with changepoints, Fourier seasons, holidays and regressors that add to the trend or multiply it, Gaussian noise: the
maximum a posteriori estimate that `prophet.Prophet` seeks with Stan, from sufficient statistics (docs/decisions/003-prophet-batch.md).
Additive models are solved exactly; multiplicative ones have several optima and get the best of a few starts. Series that miss the same
points share one Gram matrix. Missing points are left out, never read as zero; points at the same time are kept side by side. A series
that cannot be fitted is marked with a reason and predicted as missing; it never fails the batch. Logistic growth and whatever else is
not here has `library.fit_with_library`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from aftercast.detection.design import (
    Holiday,
    Regressor,
    Season,
    Spec,
    as_seconds,
    feature_columns,
    features,
    features_in_use,
    place_changepoints,
)
from aftercast.detection.fitted import FLAT, MODEL_VERSION, Fit, load, nothing, put
from aftercast.detection.solving import Problem, solve, summarise

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.intp]

__all__ = ["MODEL_VERSION", "Fit", "Holiday", "Regressor", "Season", "Spec", "as_seconds", "fit", "fit_many", "load"]

PENDING = 8_000_000  # numbers in the Gram matrices of summarised series before they are solved: 64 MB


def fit(times: npt.ArrayLike, values: npt.ArrayLike, spec: Spec | None = None, regressors: npt.ArrayLike | None = None) -> Fit:
    """Fit every column of `values` over a shared grid.

    Args:
        times: T times, seconds since 1970, datetime64 (UTC) or datetimes with a zone, in any order; the grid need not be regular, and times
            may occur twice.
        values: array (T, N) or (T,); NaN and infinities are missing points. Both T and N may be 0.
        spec: what to fit.
        regressors: array (T, R) of extra columns shared by all series, used as given; the caller standardises them. Holidays are better
            named in the Spec.

    Raises:
        ValueError: the Spec is not covered, shapes do not match, or a time or regressor is not finite.
    """
    spec = spec or Spec()
    if spec.growth not in ("linear", "flat"):
        raise ValueError(f"growth {spec.growth} is not covered by the batch; use aftercast.detection.library.fit_with_library")
    seconds = as_seconds(times)
    y = np.asarray(values, dtype=np.float64)
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or y.shape[0] != len(seconds):
        raise ValueError(f"values have shape {y.shape}, expected ({len(seconds)}, number of series)")
    columns = features(seconds, spec, regressors)
    if (np.diff(seconds) < 0).any():
        order = np.argsort(seconds, kind="stable")
        seconds, y, columns = seconds[order], y[order], columns[order]
    return _fit_sorted(seconds, y, columns, 0 if regressors is None else _width(regressors), spec)


def fit_many(
    histories: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]],
    spec: Spec | None = None,
    regressors: Sequence[npt.ArrayLike] | None = None,
) -> Fit:
    """Fit series that do not share a grid; those with equal times (and regressors) are fitted together.

    Args:
        histories: (times, values) per series, (T,) each, as in `fit`. A history that cannot be read (times that are missing, infinite or
            without a zone, lengths that differ) is marked with a reason and fails no other.
        spec: what to fit. regressors: (T, R) per series.
    """
    spec = spec or Spec()
    if regressors is not None and len(regressors) != len(histories):
        raise ValueError(f"{len(histories)} histories and regressors for {len(regressors)}")
    n_regressors = len(spec.regressors) or (_width(regressors[0]) if regressors else 0)
    whole = nothing(len(histories), spec, len(feature_columns(spec, n_regressors)))
    reasons = [""] * len(histories)
    alike: dict[tuple[bytes, bytes], list[int]] = {}
    read: dict[int, tuple[Array, Array, Array | None]] = {}
    for number, (times, values) in enumerate(histories):
        try:
            read[number] = _read(times, values, None if regressors is None else regressors[number])
        except ValueError as error:
            reasons[number] = str(error)
            continue
        seconds, _, extra = read[number]
        alike.setdefault((seconds.tobytes(), b"" if extra is None else extra.tobytes()), []).append(number)
    for members in alike.values():
        seconds, _, extra = read[members[0]]
        try:
            part = fit(seconds, np.column_stack([read[one][1] for one in members]), spec, extra)
        except ValueError as error:
            if regressors is None:
                raise
            part, why = nothing(len(members), spec, whole.beta.shape[1]), str(error)  # its regressors are not usable
            part = replace(part, reason=(why,) * len(members))
        put(whole, np.array(members, dtype=np.intp), part)
        for one, reason in zip(members, part.reason, strict=True):
            reasons[one] = reason
    return replace(whole, reason=tuple(reasons))


def _width(regressors: npt.ArrayLike) -> int:
    shape = np.shape(regressors)
    return int(shape[1]) if len(shape) > 1 else 1


def _read(times: npt.ArrayLike, values: npt.ArrayLike, regressors: npt.ArrayLike | None) -> tuple[Array, Array, Array | None]:
    seconds, y = as_seconds(times), np.asarray(values, dtype=np.float64)
    if y.shape != seconds.shape:
        raise ValueError(f"values have shape {y.shape}, times {seconds.shape}")
    extra = None if regressors is None else np.asarray(regressors, dtype=np.float64)
    if extra is not None and len(extra) != len(seconds):
        raise ValueError(f"regressors have {len(extra)} rows, times {len(seconds)}")
    order = np.argsort(seconds, kind="stable")
    return seconds[order], y[order], None if extra is None else extra[order]


def _fit_sorted(seconds: Array, y: Array, columns: Array, n_regressors: int, spec: Spec) -> Fit:
    described = feature_columns(spec, n_regressors)
    multiplies = np.array([column.multiplies for column in described], dtype=bool)
    scales = np.array([column.prior_scale for column in described], dtype=np.float64)
    found = nothing(y.shape[1], spec, len(described))
    reasons = [""] * y.shape[1]
    present = np.isfinite(y)
    found.n_points[:] = present.sum(axis=0)
    problems: list[Problem] = []
    pending = 0
    least = max(spec.min_points, 2)
    for series in _groups(present):
        rows = np.flatnonzero(present[:, series[0]])
        if len(rows) < least or seconds[rows[-1]] <= seconds[rows[0]]:
            why = f"{len(rows)} points, {least} needed" if len(rows) < least else f"{len(rows)} points, all at one time"
            for one in series:
                reasons[one] = why
            continue
        complete = len(rows) == len(seconds)
        own = y[:, series] if complete else y[rows][:, series]
        found.start[series], found.span[series] = seconds[rows[0]], seconds[rows[-1]] - seconds[rows[0]]
        largest = np.abs(own).max(axis=0)
        found.y_scale[series] = np.where(largest > 0, largest, 1.0)
        found.ok[series] = True
        flat = (own == own[0]).all(axis=0)
        found.m[series[flat]] = own[0, flat] / found.y_scale[series[flat]]
        for one in series[flat]:
            reasons[one] = FLAT
        varied = series[~flat]
        if not len(varied):
            continue
        t = (seconds[rows] - seconds[rows[0]]) / found.span[series[0]]
        bends = place_changepoints(t, spec)
        found.changepoints[series, : len(bends)] = bends
        trend = np.column_stack([t if spec.growth == "linear" else np.zeros_like(t), np.ones_like(t), np.maximum(t[:, None] - bends, 0.0)])
        used = (columns if complete else columns[rows]) * features_in_use(seconds[rows], len(described), spec)
        problems.append(summarise(varied, trend, used, multiplies, own[:, ~flat] / found.y_scale[varied]))
        pending += problems[-1].gram.size
        if pending > PENDING:
            _solve_into(found, problems, scales, reasons)
            problems, pending = [], 0
    _solve_into(found, problems, scales, reasons)
    return replace(found, sigma=found.sigma * found.y_scale, reason=tuple(reasons))


def _solve_into(found: Fit, problems: Sequence[Problem], scales: Array, reasons: list[str]) -> None:
    width = 2 + len(scales)
    for series, theta, noise, objective in solve(problems, scales, found.spec.changepoint_prior_scale):
        found.k[series], found.m[series] = theta[:, 0], theta[:, 1]
        found.beta[series] = theta[:, 2:width]
        found.delta[series, : theta.shape[1] - width] = theta[:, width:]
        found.sigma[series], found.objective[series] = noise, objective
        for one in series[~(np.isfinite(theta).all(axis=1) & np.isfinite(noise))]:
            found.ok[one], reasons[one] = False, "no finite parameters found; values or regressors are out of range"


def _groups(present: Flags) -> list[Whole]:
    """Series that miss the same points, in order of their first member."""
    packed = np.packbits(present, axis=0)
    members: dict[bytes, list[int]] = {}
    for series in range(present.shape[1]):
        members.setdefault(packed[:, series].tobytes(), []).append(series)
    return [np.array(group, dtype=np.intp) for group in members.values()]
