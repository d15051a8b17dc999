"""Speed of the batched Prophet against the library: `python -m benchmarks.speed [--series N] [--peers N] [--seed N] [--json]`.

Series are generated: 28 days at five minutes with daily and weekly seasons, a bent trend and noise. Both sides fit the same points on one
thread. `refit_cpu_ratio`: CPU seconds per series of `Prophet().fit(); predict()`, its own child processes included, over ours;
`score_ratio`: of the library's `predict` of one new hour over ours for all series at once. `max_yhat_difference_pct`: largest difference of
the fitted curves in percent of the series' mean. `objective_worse_pct`: share of series whose negative log posterior is more than a
thousandth above the library's. `detect_seconds`: CPU of the whole detection over `detect_series` series of 56 days at five minutes;
`new_hour_seconds_1600`: of the same call with one more hour and the scores of the first kept, as the task of a refresh makes it, in
proportion for 1,600 series: panels, fingerprints, the refit and scores of the day, episodes.
The peers beside: the library without uncertainty samples, and those that are faster and no model at all: an hour-of-week median, a constant
(the mean of the history, the static prior) and a random draw from it. The two last are for the rule that every benchmark shows them.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.printing import show

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl
    from prophet import Prophet

    Array = npt.NDArray[Any]

GRAIN = 300.0
POINTS = 28 * 288
START = 1_767_571_200.0  # Monday 2026-01-05
HOUR = 12
DETECT_DAYS = 56


@dataclass(frozen=True, slots=True)
class Timed:
    """A result and the CPU seconds it took, children of this process included."""

    result: Any
    cpu: float


def timed(work: Callable[[], Any]) -> Timed:
    before = _cpu()
    result = work()
    return Timed(result, _cpu() - before)


def _cpu() -> float:
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def generated(n_series: int, n_points: int, seed: int) -> tuple[Array, Array]:
    """Return times (T,) and values (T, N)."""
    import numpy as np

    random = np.random.default_rng(seed)
    times = START + np.arange(n_points) * GRAIN
    days = ((times - START) / 86_400)[:, None]
    phase, swing, week = random.uniform(size=(3, n_series))
    bend = np.maximum(days - random.uniform(5, 20, n_series), 0) * random.normal(0, 0.01, n_series)
    shape = 1 + 0.4 * swing * np.sin(2 * np.pi * (days + phase)) + 0.1 * week * np.sin(2 * np.pi * (days / 7 + phase)) + bend
    noise = random.uniform(0.02, 0.1, n_series) * random.normal(size=(n_points, n_series))
    return times, 10 ** random.uniform(0, 4, n_series) * (shape + noise)


def library_objective(model: Prophet) -> float:
    """Return the negative log posterior of a fitted library model, without constants."""
    import numpy as np

    history = model.history
    k, m, sigma = (float(model.params[name].ravel()[0]) for name in ("k", "m", "sigma_obs"))
    delta, beta = model.params["delta"].ravel(), model.params["beta"].ravel()
    t, y = history["t"].to_numpy(), history["y_scaled"].to_numpy()
    features = model.make_all_seasonality_features(history)[0].to_numpy()
    curve = k * t + m + np.maximum(t[:, None] - model.changepoints_t, 0) @ delta + features @ beta
    prior = k**2 / 50 + m**2 / 50 + (beta**2).sum() / 200 + np.abs(delta).sum() / 0.05 + 2 * sigma**2
    return float(len(t) * np.log(sigma) + ((y - curve) ** 2).sum() / (2 * sigma**2) + prior)


def detection_points(n_series: int, seed: int) -> pl.DataFrame:
    """Return `n_series` gauges of DETECT_DAYS days as the rows detection reads."""
    import numpy as np
    import polars as pl

    times, values = generated(n_series, DETECT_DAYS * 288, seed)
    names = pl.Series([f"load|environment=production|service=s{number:04d}" for number in range(n_series)])
    row = np.repeat(np.arange(n_series, dtype=np.uint32), len(times))
    micros = pl.Series(np.tile((times * 1e6).astype(np.int64), n_series)).cast(pl.Datetime("us", "UTC"))
    texts = {"signal": "load", "subject_kind": "service", "environment": "production", "region": "", "segment": "all"}
    return pl.DataFrame({"series_id": names.gather(row), "bucket_at": micros, "value": values.T.ravel()}).with_columns(
        **{name: pl.lit(text) for name, text in texts.items()},
        subject=pl.col("series_id"),
        numerator=pl.lit(None, dtype=pl.Float64),
        denominator=pl.lit(None, dtype=pl.Float64),
    )


def measure(n_series: int, n_peers: int, n_detect: int, seed: int) -> dict[str, Any]:
    """Fit, score and detect; see the module's text for the keys."""
    import numpy as np
    import pandas as pd
    import polars as pl
    from prophet import Prophet
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    from aftercast.declarations import SignalRow
    from aftercast.detection import detect
    from aftercast.detection.prophet_batch import fit
    from aftercast.detection.series import MASKS
    from aftercast.window import Window

    started = time.perf_counter()
    times, values = generated(n_series, POINTS, seed)
    later = times[-1] + GRAIN * np.arange(1, HOUR + 1)
    history, hour = (pd.DataFrame({"ds": pd.to_datetime(at, unit="s")}) for at in (times, later))
    with threadpool_limits(limits=1):
        ours = timed(lambda: fit(times, values))
        scored = timed(lambda: [ours.result.predict(later) for _ in range(20)])
        curves = ours.result.predict(times)
        naive, bare, hourly, apart, worse = [], [], [], [], []
        for series in range(min(n_peers, n_series)):
            frame = history.assign(y=values[:, series])

            def library(samples: int, frame: pd.DataFrame = frame) -> tuple[Prophet, pd.DataFrame]:
                model = Prophet(uncertainty_samples=samples).fit(frame)
                return model, model.predict(frame)

            whole = timed(partial(library, 1000))
            model, forecast = whole.result
            naive.append(whole.cpu)
            bare.append(timed(partial(library, 0)).cpu)
            hourly.append(timed(partial(model.predict, hour)).cpu)
            apart.append(np.abs(forecast["yhat"].to_numpy() - curves[:, series]).max() / np.abs(values[:, series]).mean())
            worse.append(ours.result.objective[series] > library_objective(model) + 1e-3)
        medians = timed(lambda: [np.median(values.reshape(4, -1, n_series), axis=0)])
        constant = timed(lambda: values.mean(axis=0))
        drawn = timed(lambda: values[np.random.default_rng(seed).integers(0, POINTS, HOUR)])
    points = detection_points(n_detect, seed)
    signal = SignalRow(name="load", fact="metric", value="load", by=("service",), aggregate="mean")
    start = datetime.fromtimestamp(START, tz=UTC)
    window = Window(start, start + timedelta(days=DETECT_DAYS))
    masks = pl.DataFrame(schema=dict(MASKS))
    before = points.filter(pl.col("bucket_at") < window.end - timedelta(hours=1))
    found = timed(lambda: detect(before, [signal], masks, window))
    hourly_task = timed(lambda: detect(points, [signal], masks, window, kept=found.result.scores))
    per_fit, per_score = ours.cpu / n_series, scored.cpu / 20 / n_series
    return {
        "n": n_series,
        "n_peers": len(naive),
        "refit_cpu_ratio": round(float(np.mean(naive)) / per_fit, 1),
        "score_ratio": round(float(np.mean(hourly)) / per_score, 1),
        "max_yhat_difference_pct": round(100 * float(np.max(apart)), 4),
        "objective_worse_pct": round(100 * float(np.mean(worse)), 2),
        "series_per_second_refit": round(1 / per_fit, 1),
        "series_per_second_score": round(1 / per_score, 1),
        "detect_series": n_detect,
        "detect_seconds": round(found.cpu, 2),
        "detect_series_per_second": round(n_detect / found.cpu, 1),
        "new_hour_seconds_1600": round(hourly_task.cpu / n_detect * 1600, 2),
        "detect_quiet_episodes": found.result.anomalies.height,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "baselines": {
            "library_cpu_seconds": round(float(np.mean(naive)), 3),
            "library_without_samples_cpu_seconds": round(float(np.mean(bare)), 3),
            "hour_of_week_median_cpu_seconds": round(medians.cpu / n_series, 6),
            "static_prior_cpu_seconds": round(constant.cpu / n_series, 8),
            "random_cpu_seconds": round(drawn.cpu / n_series, 8),
        },
        "seconds": round(time.perf_counter() - started, 1),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, or one JSON object with --json."""
    parser = argparse.ArgumentParser(description="Speed of the batched Prophet against the library")
    parser.add_argument("--series", type=int, default=400, help="series fitted by the batch")
    parser.add_argument("--peers", type=int, default=6, help="of these, fitted by the library too")
    parser.add_argument("--detect", type=int, default=150, help="series of the whole detection")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ.setdefault(name, "1")
    for name in ("prophet", "prophet.plot", "cmdstanpy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    from aftercast.detection.prophet_batch import MODEL_VERSION

    result = measure(options.series, options.peers, options.detect, options.seed) | {"version": MODEL_VERSION}
    show(result, as_json=options.json, width=52)


if __name__ == "__main__":
    main()
