"""Peers of the detector on generated worlds: what others would run on the same points.

Every peer sees the history before a day and judges that day; runs of points beyond its threshold with at most half an hour between them are
one alarm, as ours are. `interval_library` is `prophet.Prophet` with its 99 % interval, refitted daily; it is slow, so a handful of series.
`interval` is the same on all series with our exact batched fit as a stand-in for the library. `interval_weekly` fits once before the week.
`level_and_persistence` subtracts the median residual of the last 24 hours, scales by the median absolute deviation of the fit and asks for
two points. `hour_of_week` is the median and median absolute deviation of the same hour of the week. `kernel_change_points` are segments of
`ruptures` on the daily residuals of a whole week at once: it sees the future of a point. `oracle` knows the true mean and deviation
of every bucket: about what is possible. `random` alarms at the rate of the anomalies, `static_prior` every day at noon.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from aftercast.detection.prophet_batch import Spec, fit
from benchmarks.episode_scoring import Alarm
from benchmarks.injected import TEST_DAYS, Line, World

Array = npt.NDArray[np.float64]

MERGE_MINUTES = 30
MAD = 1.4826
CLIP = 10.0
LEAST_SPREAD = 0.5  # of the standard deviation: a median deviation of sparse counts is 0
ORACLE_WINDOWS = (2, 3, 6, 12, 24, 48)


def alarms(world: World, scores: Sequence[Array], threshold: float, persistence: int = 1) -> list[Alarm]:
    """Return runs of test week scores (T,) per series, beyond the threshold for `persistence` points in a row; NaN is below it."""
    found = []
    for number, (line, own) in enumerate(zip(world.lines, scores, strict=True)):
        gap = max(MERGE_MINUTES // line.grain, 1)
        for sign in (1, -1):
            above = np.nan_to_num(sign * own) >= threshold
            edges = np.flatnonzero(np.diff(np.concatenate([[False], above, [False]]).astype(np.int8))).reshape(-1, 2)
            merged: list[list[int]] = []
            for begin, end in edges[edges[:, 1] - edges[:, 0] >= persistence].tolist():
                if merged and begin - merged[-1][1] <= gap:
                    merged[-1][1] = end
                else:
                    merged.append([begin, end])
            first = line.test_from
            found += [Alarm(number, first + begin, first + end, sign, first + begin + persistence - 1) for begin, end in merged]
    return found


def residuals(lines: Sequence[Line], *, daily: bool = True) -> Iterator[tuple[int, Array, Array, Array]]:
    """Yield (series, test week residuals, sigma per point, training residuals of the first fit) of Prophet fitted at full grain."""
    groups: dict[tuple[int, int], list[int]] = {}
    for number, line in enumerate(lines):
        groups.setdefault((line.grain, line.history), []).append(number)
    for members in groups.values():
        line = lines[members[0]]
        per_day, total = line.per_day, len(line.value)
        times = line.start.timestamp() + np.arange(total) * line.grain * 60.0
        values = np.stack([lines[number].value for number in members], axis=1)
        week, sigma = (np.full((TEST_DAYS * per_day, len(members)), np.nan) for _ in range(2))
        past = np.full((line.test_from, len(members)), np.nan)
        for day in range(TEST_DAYS if daily else 1):
            until = line.test_from + day * per_day
            following = until + per_day if daily else total
            model = fit(times[:until], values[:until], Spec())
            span = slice(until - line.test_from, following - line.test_from)
            week[span] = values[until:following] - model.predict(times[until:following])
            sigma[span] = model.sigma
            if day == 0:
                past = values[:until] - model.predict(times[:until])
        for place, number in enumerate(members):
            yield number, week[:, place], sigma[:, place], past[:, place]


def interval(world: World, *, daily: bool = True) -> list[Array]:
    """Residuals over the model's sigma: thresholds are widths of its interval, without the uncertainty of the trend."""
    scores: list[Array] = [np.empty(0)] * len(world.lines)
    for number, week, sigma, _ in residuals(world.lines, daily=daily):
        scores[number] = week / np.maximum(sigma, 1e-12)
    return scores


def level_and_persistence(world: World) -> list[Array]:
    """The recipe of the design notes: residuals less their 24-hour median, over their robust scale."""
    scores: list[Array] = [np.empty(0)] * len(world.lines)
    for number, week, _, past in residuals(world.lines):
        per_day = world.lines[number].per_day
        both = np.concatenate([past[-per_day:], week])
        before = np.lib.stride_tricks.sliding_window_view(both[:-1], per_day)
        with np.errstate(all="ignore"):
            level = np.nan_to_num(_median(before, axis=1))
            spread = float(np.nan_to_num(_median(np.abs(past - _median(past, axis=0)), axis=0))) * MAD
        least = LEAST_SPREAD * float(np.nan_to_num(np.nanstd(past)))
        scores[number] = (week - level) / max(spread, least, 1e-12)
    return scores


def hour_of_week(world: World) -> list[Array]:
    """Robust z-scores among the points of the same hour of the week in the history."""
    scores: list[Array] = []
    for line in world.lines:
        hour = (np.arange(len(line.value)) * line.grain // 60) % 168
        own = np.full(TEST_DAYS * line.per_day, np.nan)
        history, week = line.value[: line.test_from], line.value[line.test_from :]
        least = LEAST_SPREAD * float(np.nanstd(history))
        for one in range(168):
            known = history[hour[: line.test_from] == one]
            known = known[np.isfinite(known)]
            if len(known):
                middle = np.median(known)
                spread = max(MAD * float(np.median(np.abs(known - middle))), least, 1e-12)
                place = hour[line.test_from :] == one
                own[place] = (week[place] - middle) / spread
        scores.append(own)
    return scores


def oracle(world: World) -> list[Array]:
    """Strongest of sums over 2 to 48 points of deviations from the true mean, each in units of how such sums vary in the history.

    An approximation to what can be known: it gets the mean and deviation that everyone else must learn.
    """
    scores = []
    for line in world.lines:
        true = np.clip((line.value - line.mean) / line.deviation, -CLIP, CLIP)
        strongest = np.zeros(len(true))
        for length in ORACLE_WINDOWS:
            sums = np.convolve(np.nan_to_num(true), np.ones(length))[: len(true)] / np.sqrt(length)
            past = sums[: line.test_from]
            sums = sums / max(float(np.median(np.abs(past))) * MAD, 1.0)
            strongest = np.where(np.abs(sums) > np.abs(strongest), sums, strongest)
        scores.append(np.where(np.isfinite(line.value), strongest, np.nan)[line.test_from :])
    return scores


def change_points(world: World, scores: Sequence[Array], penalty: float) -> list[list[tuple[int, int, float]]]:
    """Return per series the segments (start, end, mean score) that kernel change points find in its week; needs `ruptures`."""
    import ruptures

    found = []
    for line, own in zip(world.lines, scores, strict=True):
        known = np.flatnonzero(np.isfinite(own))
        segments = []
        if len(known) > 4:
            signal = np.clip(own[known], -CLIP, CLIP)[:, None]
            ends = ruptures.KernelCPD(kernel="linear", min_size=2).fit(signal).predict(pen=penalty)
            for begin, end in zip([0, *ends[:-1]], ends, strict=True):
                first, last = line.test_from + int(known[begin]), line.test_from + int(known[end - 1]) + 1
                segments.append((first, last, float(signal[begin:end].mean())))
        found.append(segments)
    return found


def segment_alarms(segments: Sequence[Sequence[tuple[int, int, float]]], threshold: float) -> list[Alarm]:
    return [
        Alarm(number, begin, end, 1 if mean > 0 else -1, None)
        for number, own in enumerate(segments)
        for begin, end, mean in own
        if abs(mean) >= threshold
    ]


def random_alarms(world: World, seed: int) -> list[Alarm]:
    """As many alarms as anomalies, of an hour (two buckets), anywhere, in a random direction."""
    random = np.random.default_rng(seed)
    found = []
    for _ in world.events:
        number = int(random.integers(len(world.lines)))
        line = world.lines[number]
        length = max(2, 60 // line.grain)
        start = int(random.integers(line.test_from, len(line.value) - length))
        found.append(Alarm(number, start, start + length, int(random.choice([-1, 1])), start))
    return found


def static_alarms(world: World) -> list[Alarm]:
    """Every day from noon for an hour (two buckets), either direction."""
    return [
        Alarm(number, start, start + max(2, 60 // line.grain), 0, start)
        for number, line in enumerate(world.lines)
        for start in range(line.test_from + line.per_day // 2, len(line.value), line.per_day)
    ]


def library(world: World, numbers: Sequence[int]) -> list[Array]:
    """Scores of `prophet.Prophet`, refitted daily: distance to its forecast in units of its 99 % interval's half width over 2.576."""
    import pandas as pd
    from prophet import Prophet

    for name in ("prophet", "prophet.plot", "cmdstanpy"):
        logging.getLogger(name).disabled = True
    np.random.seed(0)  # the library samples its interval from the global generator
    scores: list[Array] = [np.full(TEST_DAYS * line.per_day, np.nan) for line in world.lines]
    for number in numbers:
        line = world.lines[number]
        times = pd.date_range(line.start.replace(tzinfo=None), periods=len(line.value), freq=f"{line.grain}min")
        frame = pd.DataFrame({"ds": times, "y": line.value})
        for day in range(TEST_DAYS):
            until = line.test_from + day * line.per_day
            model = Prophet(interval_width=0.99, uncertainty_samples=300).fit(frame[:until])
            ahead = model.predict(frame[["ds"]][until : until + line.per_day])
            half = (ahead["yhat_upper"] - ahead["yhat_lower"]).to_numpy() / 2
            own = (line.value[until : until + line.per_day] - ahead["yhat"].to_numpy()) / np.maximum(half / 2.576, 1e-12)
            scores[number][day * line.per_day : (day + 1) * line.per_day] = own
    return scores


def _median(values: Array, axis: int) -> Array:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an empty slice has no median
        return np.asarray(np.nanmedian(values, axis=axis))
