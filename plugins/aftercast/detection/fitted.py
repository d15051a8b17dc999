"""What a fit leaves: parameters of many series, what they predict, and how they are stored and read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from aftercast.detection.design import Spec, as_seconds, feature_columns, features
from aftercast.errors import ModelRejected

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.intp]

MODEL_VERSION = "prophet-batch-2"
PER_SERIES = ("start", "span", "y_scale", "k", "m", "delta", "changepoints", "beta", "sigma", "objective", "n_points", "ok")
STORED = ("start", "span", "y_scale", "k", "m", "changepoints", "delta", "beta", "sigma", "n_points", "reason")
FLAT = "flat"


@dataclass(frozen=True, slots=True)
class Fit:
    """Fitted parameters of N series, scaled as the library scales them unless said otherwise.

    Attributes:
        spec: what was fitted.
        start, span: first present time and length of history per series in seconds (t = (time - start) / span).
        y_scale: largest absolute value per series.
        k, m: slope and offset, shape (N,).
        delta, changepoints: slope changes and their t, shape (N, n_changepoints); unused places hold 0.
        beta: coefficients of the feature columns (`design.feature_columns`: seasons, holidays, regressors), shape (N, K).
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
        """Return the expected values at `times` as an array (M, N); NaN for series without a fit.

        Holidays of the Spec are known by their dates; regressors (M, R) must be given as they were to `fit`.
        """
        seconds = as_seconds(times)
        columns = features(seconds, self.spec, regressors)
        if columns.shape[1] != self.beta.shape[1]:
            raise ValueError(f"fitted with {self.beta.shape[1]} seasonal and regressor columns, asked to predict with {columns.shape[1]}")
        n_regressors = 0 if regressors is None else columns.shape[1] - len(feature_columns(replace(self.spec, regressors=()), 0))
        multiplies = np.array([column.multiplies for column in feature_columns(self.spec, n_regressors)], dtype=bool)
        expected = np.empty((len(seconds), len(self.k)))
        grids = np.column_stack([self.start, self.span, self.changepoints])
        _, first, member = np.unique(grids, axis=0, return_index=True, return_inverse=True)
        for number, example in enumerate(first):
            series = np.flatnonzero(member.ravel() == number)
            t = (seconds - self.start[example]) / self.span[example]
            bends = np.maximum(t[:, None] - self.changepoints[example], 0.0)
            expected[:, series] = t[:, None] * self.k[series] + self.m[series] + bends @ self.delta[series].T
        if multiplies.any():
            expected *= 1.0 + columns[:, multiplies] @ self.beta[:, multiplies].T
        expected += columns[:, ~multiplies] @ self.beta[:, ~multiplies].T
        expected *= self.y_scale
        expected[:, ~self.ok] = np.nan
        return expected

    def take(self, series: Whole) -> Fit:
        """Return the fit of some of the series."""
        arrays = {name: getattr(self, name)[series] for name in PER_SERIES}
        return replace(self, **arrays, reason=tuple(self.reason[one] for one in series))

    def parameters(self, index: int) -> dict[str, Any]:
        """Return everything needed to predict one series again, ready for JSON; see `load`. Unused changepoints are left out."""
        kept = np.flatnonzero(self.delta[index])
        return {
            "model_version": MODEL_VERSION,
            "growth": self.spec.growth,
            "seasonality_mode": self.spec.seasonality_mode,
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


def load(rows: Sequence[dict[str, Any]], spec: Spec, names: Sequence[str] | None = None) -> Fit:
    """Return the fit whose `parameters` were stored; other keys of the rows are ignored. The objective is not stored.

    Args:
        rows: one per series. spec: what they were fitted with. names: of the series, for errors.

    Raises:
        ModelRejected: a row is of another model version, growth or mode, lacks a key or has another number of columns; names the series.
    """
    expected = {"model_version": MODEL_VERSION, "growth": spec.growth, "seasonality_mode": spec.seasonality_mode}
    least = len(feature_columns(spec, len(spec.regressors)))
    n_columns = len(rows[0].get("beta", ())) if rows else least
    for number, row in enumerate(rows):
        wrong = _why_refused(row, expected, least, n_columns, exact=bool(spec.regressors))
        if wrong:
            raise ModelRejected(f"the stored model of series {names[number] if names else number} {wrong}; fit it again")
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
        beta=np.array([row["beta"] for row in rows], dtype=np.float64).reshape(len(rows), n_columns),
        sigma=column("sigma"),
        objective=np.full(len(rows), np.nan),
        n_points=np.array([row["n_points"] for row in rows], dtype=np.intp),
        ok=np.array([reason in ("", FLAT) for reason in reasons], dtype=bool),
        reason=reasons,
    )


def _why_refused(row: dict[str, Any], expected: dict[str, str], least: int, n_columns: int, *, exact: bool) -> str:
    for key, value in expected.items():
        if row.get(key) != value:
            return f"has {key} {row.get(key)!r}, this code reads {value!r}"
    missing = [key for key in STORED if row.get(key) is None]
    if missing:
        return f"lacks {', '.join(missing)}"
    if len(row["delta"]) != len(row["changepoints"]):
        return f"has {len(row['delta'])} slope changes at {len(row['changepoints'])} changepoints"
    found = len(row["beta"])
    if found != n_columns or found < least or (exact and found != least):
        return f"has {found} coefficients, the Spec has {least if exact or found < least else n_columns}"
    return ""


def nothing(n_series: int, spec: Spec, n_columns: int) -> Fit:
    """Return the fit of series of which nothing is known yet: not ok, without a reason; its arrays are to be filled in."""
    return Fit(
        spec=spec,
        start=np.zeros(n_series),
        span=np.ones(n_series),
        y_scale=np.ones(n_series),
        k=np.zeros(n_series),
        m=np.zeros(n_series),
        delta=np.zeros((n_series, spec.n_changepoints)),
        changepoints=np.zeros((n_series, spec.n_changepoints)),
        beta=np.zeros((n_series, n_columns)),
        sigma=np.zeros(n_series),
        objective=np.full(n_series, np.nan),
        n_points=np.zeros(n_series, dtype=np.intp),
        ok=np.zeros(n_series, dtype=bool),
        reason=("",) * n_series,
    )


def put(whole: Fit, places: Whole, part: Fit) -> None:
    """Write the arrays of a fit into `places` of another of the same Spec; reasons are not arrays and stay."""
    for name in PER_SERIES:
        getattr(whole, name)[places] = getattr(part, name)
