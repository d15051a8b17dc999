"""Detectors to compare with on the Numenta Anomaly Benchmark; none reads a label, and only `static_prior` looks ahead. The last one is what
the product itself reports of a series once it knows it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from aftercast.declarations import SignalRow
from aftercast.detection import detect
from aftercast.detection.prophet_batch import Spec, fit
from aftercast.detection.series import MASKS
from aftercast.window import Window
from benchmarks.nab_scoring import Series

Array = npt.NDArray[np.float64]

DAY = 86_400.0
WINDOW = 288
QUIET_ROWS = 200
"""Rows an alarm silences."""
BLOCK_SECONDS = 1_800.0
SCALE_DAYS = 14


def random(series: Series) -> Array:
    """Draw every score."""
    return np.random.default_rng(sum(series.name.encode())).random(len(series.values))


def static_prior(series: Series) -> Array:
    """Give 1 to rows beyond three standard deviations of the whole file, 0 to others: what a chart with fixed limits shows."""
    known = series.values[np.isfinite(series.values)]
    return np.where(np.abs(series.values - known.mean()) > 3.0 * known.std(), 1.0, 0.0)


def schedule(series: Series) -> Array:
    """Alarm at every twentieth part of a file, whatever it holds."""
    scores = np.zeros(len(series.values))
    scores[:: max(len(scores) // 20, 1)] = 0.5
    return scores


def rolling_z(series: Series) -> Array:
    """Distance to the mean of the last rows in their standard deviations, de-bounced."""
    values = _carried(series.values)
    sums, squares = (np.cumsum(np.concatenate([[0.0], values**power])) for power in (1, 2))
    row = np.arange(len(values))
    first = np.maximum(row - WINDOW, 0)
    count = np.maximum(row - first, 1)
    mean = (sums[row] - sums[first]) / count
    spread = np.sqrt(np.maximum((squares[row] - squares[first]) / count - mean**2, 0.0))
    return _debounced(_ratio(np.abs(values - mean), spread, values))


def prophet_refit(series: Series) -> Array:
    """Residual of plain Prophet, refitted every day to all days before, in robust deviations of its own past residuals; de-bounced."""
    times, values = np.maximum.accumulate(series.times), series.values
    residual = np.full(len(values), np.nan)
    day = ((times - times[0]) // DAY).astype(np.intp)
    scores = np.zeros(len(values))
    for today in range(2, int(day[-1]) + 1):
        until, following = np.searchsorted(day, [today, today + 1])
        if until == following:
            continue
        block = ((times[:until] - times[0]) // BLOCK_SECONDS).astype(np.intp)
        known = np.isfinite(values[:until])
        count = np.bincount(block[known])
        blocks = np.divide(np.bincount(block[known], values[:until][known]), count, out=np.full(len(count), np.nan), where=count > 0)
        model = fit(times[0] + (np.arange(len(blocks)) + 0.5) * BLOCK_SECONDS, blocks, Spec())
        residual[until:following] = values[until:following] - model.predict(times[until:following])[:, 0]
        past = np.abs(residual[np.searchsorted(day, today - SCALE_DAYS) : until])
        past = past[np.isfinite(past)]
        if len(past) >= QUIET_ROWS:
            spread = np.full(following - until, np.median(past) / 0.6745)
            scores[until:following] = _ratio(np.abs(residual[until:following]), spread, values[:until])
    return _debounced(scores)


def episodes(series: Series) -> Array:
    """What a refresh of the product reports of the file, a gauge on a regular grid: the score of each episode where it alarmed.

    Judged by kinds of day it has seen twice for a week, then by a model of the week; it asks for persistence, which these labels do not.
    """
    times = np.maximum.accumulate(series.times)
    spacing = np.median(np.diff(times)) / 60.0
    grain = next((size for size in (5, 10, 15, 30, 60) if size >= spacing), 60)
    points = pl.DataFrame(
        {
            "bucket_at": pl.Series((times // (60 * grain) * 60 * grain * 1e6).astype(np.int64)).cast(pl.Datetime("us", "UTC")),
            "value": series.values,
        }
    ).with_columns(
        *(pl.lit("file").alias(name) for name in ("series_id", "signal", "subject")),
        pl.lit("service").alias("subject_kind"),
        *(pl.lit("").alias(name) for name in ("environment", "region", "segment")),
        *(pl.lit(None, pl.Float64).alias(name) for name in ("numerator", "denominator")),
    )
    signal = SignalRow(name="file", fact="metric", value="file", by=("service",), aggregate="mean", grain_minutes=grain)
    start, end = (datetime.fromtimestamp(float(at), tz=UTC) for at in (times[0], times[-1] + 60 * grain))
    found = detect(points, [signal], pl.DataFrame(schema=dict(MASKS)), Window(start.replace(second=0), end)).anomalies
    scores = np.zeros(len(times))
    for alarmed_at, score in found.select("alarmed_at", "score").iter_rows():
        row = int(np.searchsorted(times, alarmed_at.timestamp()))
        if row < len(scores):
            scores[row] = max(scores[row], score)
    return scores


def _ratio(distance: Array, spread: Array, values: Array) -> Array:
    floor = 1e-3 * float(np.nanmax(np.abs(values), initial=0.0)) + 1e-12
    z = np.nan_to_num(distance) / np.maximum(spread, floor)
    return np.asarray(z / (z + 10.0))


def _debounced(scores: Array) -> Array:
    """Keep a score where it is above all of the last rows."""
    before = np.concatenate([np.full(QUIET_ROWS, -1.0), scores[:-1]])
    return np.where(scores > np.lib.stride_tricks.sliding_window_view(before, QUIET_ROWS).max(axis=1), scores, 0.0)


def _carried(values: Array) -> Array:
    known = np.isfinite(values)
    last = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    return np.where(last >= 0, values[np.maximum(last, 0)], 0.0)


BASELINES: dict[str, Callable[[Series], Array]] = {
    "random": random,
    "static_prior": static_prior,
    "schedule": schedule,
    "rolling_z_debounced": rolling_z,
    "prophet_daily_refit_debounced": prophet_refit,
    "episodes_of_a_refresh": episodes,
}
