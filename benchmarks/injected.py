"""A generated world of watched series with planted anomalies: what detection may read, and the truth only the scorer may.

Series are counts, ratios of counts, latency gauges, sums of money and sparse counts, at 5, 15 and 60 minutes, after 21 or 28 days of
history. Each draws its own daily shape (a quarter with a narrow peak no Fourier series of low order follows), weekend, trend, slow
autocorrelated and fast noise, heavy tails, noise that depends on the time of day, missing points and runs; seasons multiply or add. A
quarter has an unannounced incident in its history, as real histories do. `reference` draws a plain world instead, as the design notes
describe theirs: 5-minute gauges, 21 days of history, additive seasons, Gaussian noise, nothing missing, clean histories.

Anomalies fall into the last seven days: spike trains, level shifts, ramps, drops to zero, bursts of variance, and hours that follow the
daily shape of other hours. They last from 15 minutes (two buckets) to 12 hours; their height is drawn evenly in logarithms from 4 to 20
standard deviations of a bucket (drops and patterns have the height they have, at least 4). Some cannot be told from noise by anyone:
`Line.mean` and `Line.deviation` let the scorer ask an oracle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from aftercast.declarations import SignalRow
from aftercast.detection.series import POINTS

Array = npt.NDArray[np.float64]

TEST_START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
TEST_DAYS = 7
HISTORIES = (21, 28)
GRAINS = (5, 15, 60)
KINDS = ("requests", "errors", "conversion", "latency", "revenue", "sparse")
SHAPES = ("spikes", "level", "ramp", "drop", "burst", "pattern")
LEAST_HEIGHT, MOST_HEIGHT = 4.0, 20.0
APART_HOURS = 6.0
PURCHASE = 20.0  # mean of one purchase; its spread is as large


@dataclass(frozen=True, slots=True)
class Event:
    """A planted anomaly over buckets [start, end) of its series; `sign` 0 where either direction is right."""

    series: int
    shape: str
    start: int
    end: int
    sign: int
    height: float


@dataclass(frozen=True, slots=True)
class Line:
    """One series. `value` (T,) is NaN where missing; ratios carry both sides; `mean` and `deviation` are the truth without anomalies."""

    kind: str
    grain: int
    history: int
    is_dirty: bool
    value: Array
    mean: Array
    deviation: Array
    numerator: Array | None
    denominator: Array | None

    @property
    def start(self) -> datetime:
        return TEST_START - timedelta(days=self.history)

    @property
    def per_day(self) -> int:
        return 1440 // self.grain

    @property
    def test_from(self) -> int:
        return self.history * self.per_day

    @property
    def signal(self) -> str:
        return f"{self.kind}_{self.grain}"


@dataclass(frozen=True, slots=True)
class World:
    """Series and the anomalies planted into their test week."""

    lines: tuple[Line, ...]
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """A series before its noise is drawn: expected level (T,), relative slow noise, relative fast noise per bucket."""

    kind: str
    grain: int
    history: int
    mean: Array
    shifted: Array  # the level that follows the daily shape of other hours
    slow: Array
    fast: Array
    degrees: float
    exposure: Array  # denominator of ratios


def world(n_series: int, seed: int, *, reference: bool = False) -> World:
    """Draw series in turn over kinds, grains and histories, so that any number is balanced."""
    lines, events = [], []
    for number in range(n_series):
        random = np.random.default_rng([seed, number, int(reference)])
        kind = "latency" if reference else KINDS[number % len(KINDS)]
        grain = 5 if reference else GRAINS[number // len(KINDS) % len(GRAINS)]
        history = 21 if reference else HISTORIES[number // (len(KINDS) * len(GRAINS)) % len(HISTORIES)]
        plan = _plain_plan(random, grain, history) if reference else _plan(random, kind, grain, history)
        planted = _events(random, plan, number)
        is_dirty = not reference and random.random() < 0.25
        old = [_old_incident(random, plan, number)] if is_dirty else []
        lines.append(_drawn(random, plan, [*old, *planted], is_dirty=is_dirty, whole=reference))
        events += planted
    return World(tuple(lines), tuple(events))


def quiet(seed: Sequence[int], grain: int, history: int) -> Line:
    """Return a series of the plain world without anomalies."""
    random = np.random.default_rng(list(seed))
    return _drawn(random, _plain_plan(random, grain, history), [], is_dirty=False, whole=True)


def _shape(random: np.random.Generator) -> tuple[Array, Array, Array]:
    """A daily shape as Fourier coefficients (sine, cosine) of four orders and a narrow peak (hour, height, width in hours)."""
    size = np.array([1.0, 0.5, 0.3, 0.15]) * random.uniform(0.3, 1.0)
    peak = np.array([random.uniform(0, 24), random.uniform(0.3, 1.2), random.uniform(0.3, 1.0)])
    peak[1] *= random.random() < 0.25
    return size * random.normal(size=4), size * random.normal(size=4), peak


def _daily(shape: tuple[Array, Array, Array], hours: Array) -> Array:
    sine, cosine, (at, height, width) = shape
    orders = np.arange(1, 5)
    angle = 2 * np.pi * hours[:, None] / 24 * orders
    gap = (hours - at + 12) % 24 - 12
    return np.asarray(0.35 * (np.sin(angle) @ sine + np.cos(angle) @ cosine) + height * np.exp(-0.5 * (gap / width) ** 2))


def _plan(random: np.random.Generator, kind: str, grain: int, history: int) -> _Plan:
    total = (history + TEST_DAYS) * (1440 // grain)
    hours = np.arange(total) * grain / 60
    weekend = ((hours // 24).astype(int) % 7) >= 5  # histories are whole weeks, so day 0 is a Monday
    shape, offset = _shape(random), random.uniform(3, 9)
    quiet = random.uniform(0.4, 1.0)
    trend = 1 + random.uniform(-0.1, 0.3) * hours / hours[-1]
    if random.random() < 0.3:
        trend += np.maximum(hours / hours[-1] - random.uniform(0.3, 0.8), 0) * random.uniform(-0.4, 0.4)
    wander = 1 + random.uniform(0, 0.03) * np.repeat(random.normal(size=history + TEST_DAYS), 1440 // grain)

    def rhythm(at: Array) -> Array:
        daily = _daily(shape, at)
        if multiplies:
            return np.asarray(np.exp(daily) * np.where(weekend, quiet, 1.0) * trend)
        return np.asarray(np.maximum(trend + np.clip(daily, -0.7, None) - (1 - quiet) * weekend * 0.5, 0.15))

    multiplies = bool(random.random() < 0.5)
    usual, shifted = rhythm(hours), rhythm(hours + offset)
    slow = random.uniform(0.01, 0.05) * _slow(random, total, random.uniform(0.5, 6.0) * 60 / grain)
    by_hour = 1 + random.uniform(0, 2) * (1 + np.sin(2 * np.pi * (hours / 24 + random.random()))) / 2
    fast = random.uniform(0.01, 0.08) * by_hour
    degrees = float(random.uniform(3, 5)) if random.random() < 0.33 else np.inf
    exposure = np.ones(total)
    if kind in ("requests", "revenue", "latency"):
        level = 10 ** random.uniform(1.0, 3.0) * {"requests": grain / 5, "revenue": grain, "latency": 1}[kind]
        usual, shifted = usual * level, shifted * level
    elif kind == "sparse":
        level = random.uniform(0.02, 0.2) * grain / 5
        usual, shifted = usual * level, shifted * level
    else:
        exposure = np.maximum(random.poisson(10 ** random.uniform(1.5, 3.5) * grain / 5 * usual), 0).astype(np.float64)
        base = 10 ** random.uniform(-2.7, -1.5) if kind == "errors" else random.uniform(0.1, 0.7)
        swing = random.uniform(0, 0.3)
        usual, shifted = (base * np.exp(swing * _daily(shape, at) / 2) for at in (hours, hours + offset))
    return _Plan(kind, grain, history, usual * wander, shifted * wander, slow, fast, degrees, exposure)


def _plain_plan(random: np.random.Generator, grain: int, history: int) -> _Plan:
    total = (history + TEST_DAYS) * (1440 // grain)
    days = np.arange(total) * grain / 1440
    phase, week = random.uniform(size=2)
    swing, weekly = random.uniform(0.1, 0.5), random.uniform(0.0, 0.2)

    def level(at: Array) -> Array:
        return np.asarray(100 * (1 + swing * np.sin(2 * np.pi * (at + phase)) + weekly * np.sin(2 * np.pi * (at / 7 + week)) + 0.005 * at))

    slow = random.uniform(0.005, 0.02) * _slow(random, total, random.uniform(0.5, 3.0) * 60 / grain)
    fast = np.full(total, random.uniform(0.02, 0.06))
    return _Plan("latency", grain, history, level(days), level(days + random.uniform(3, 9) / 24), slow, fast, np.inf, np.ones(total))


def _slow(random: np.random.Generator, total: int, half_life: float) -> Array:
    """Autocorrelated noise of unit variance."""
    keep = 0.5 ** (1 / half_life)
    shocks = random.normal(size=total) * np.sqrt(1 - keep**2)
    found = np.empty(total)
    last = random.normal()
    for number, shock in enumerate(shocks):
        last = keep * last + shock
        found[number] = last
    return found


def _may(kind: str) -> tuple[str, ...]:
    if kind == "sparse":
        return ("level", "ramp")
    return tuple(shape for shape in SHAPES if shape != "drop" or kind not in ("errors", "latency"))


def _span(random: np.random.Generator, grain: int, shape: str) -> int:
    """Length in buckets: even in logarithms from 15 minutes or two buckets to 12 hours; a train of spikes and a ramp need some room."""
    room = {"spikes": 6, "ramp": 4, "burst": 6, "pattern": 6}.get(shape, 2)
    least = max(15.0, room * grain, 240.0 if shape == "pattern" else 0.0)
    return round(float(np.exp(random.uniform(np.log(least), np.log(720.0)))) / grain)


def _sign(random: np.random.Generator, kind: str, shape: str) -> int:
    if shape in ("burst", "pattern"):
        return 0
    if shape == "drop":
        return -1
    usual = {"errors": 1, "latency": 1, "sparse": 1, "requests": -1, "revenue": -1, "conversion": -1}[kind]
    return usual if kind == "sparse" or random.random() < 0.8 else -usual


def _event(random: np.random.Generator, plan: _Plan, series: int, shape: str, begin: int, until: int) -> Event:
    length = _span(random, plan.grain, shape)
    start = int(random.integers(begin, max(until - length, begin + 1)))
    sign = _sign(random, plan.kind, shape)
    height = float(np.exp(random.uniform(np.log(LEAST_HEIGHT), np.log(MOST_HEIGHT))))
    if shape != "burst":
        inside = slice(start, start + length)
        size = plan.mean[inside] / _deviation(plan)[inside]  # as far as a series that cannot be negative can fall
        if shape == "pattern":
            size = np.abs(plan.shifted / plan.mean - 1)[inside] * size
        reach = float(np.quantile(size, 0.75))
        height = min(height, reach) if sign < 0 and shape != "drop" else reach if shape in ("drop", "pattern") else height
    return Event(series, shape, start, start + length, sign, height)


def _events(random: np.random.Generator, plan: _Plan, series: int) -> list[Event]:
    """None to three anomalies in the test week, at least six hours apart."""
    per_day = 1440 // plan.grain
    begin, until = plan.history * per_day + per_day // 12, len(plan.mean) - per_day // 12
    apart = round(APART_HOURS * 60 / plan.grain)
    found: list[Event] = []
    wanted = int(random.choice(4, p=[0.15, 0.35, 0.35, 0.15]))
    for shape in random.choice(_may(plan.kind), wanted):
        for _ in range(30):
            one = _event(random, plan, series, str(shape), begin, until)
            if one.height >= LEAST_HEIGHT and all(one.start - other.end >= apart or other.start - one.end >= apart for other in found):
                found.append(one)
                break
    return sorted(found, key=lambda event: event.start)


def _old_incident(random: np.random.Generator, plan: _Plan, series: int) -> Event:
    per_day = 1440 // plan.grain
    return _event(random, plan, series, str(random.choice(_may(plan.kind))), 8 * per_day, (plan.history - 1) * per_day)


def _deviation(plan: _Plan) -> Array:
    """Standard deviation of a bucket (T,), slow noise and the noise of counting included."""
    relative = np.sqrt(plan.fast**2 + np.var(plan.slow))
    if plan.kind in ("errors", "conversion"):
        counting = plan.mean * (1 - plan.mean) / np.maximum(plan.exposure, 1)
        return np.asarray(np.sqrt((0.5 * relative * plan.mean) ** 2 + counting))
    counting = {"requests": 1.0, "sparse": 1.0, "revenue": 2 * PURCHASE}.get(plan.kind, 0.0) * plan.mean
    return np.asarray(np.sqrt((relative * plan.mean) ** 2 + counting))


def _drawn(random: np.random.Generator, plan: _Plan, events: Sequence[Event], *, is_dirty: bool, whole: bool) -> Line:
    total, deviation = len(plan.mean), _deviation(plan)
    is_ratio = plan.kind in ("errors", "conversion")
    mean, louder = _disturbed(random, plan, deviation, events)
    noise = (
        random.normal(size=total)
        if np.isinf(plan.degrees)
        else random.standard_t(plan.degrees, total) / np.sqrt(plan.degrees / (plan.degrees - 2))
    )
    wave = plan.slow + plan.fast * noise
    numerator = denominator = None
    if is_ratio:
        share = np.clip(mean + louder * plan.mean * wave / 2 + (louder - 1) * deviation * random.normal(size=total), 0.0, 1.0)
        denominator = plan.exposure
        numerator = random.binomial(denominator.astype(int), share).astype(np.float64)
        value = np.divide(numerator, denominator, out=np.full(total, np.nan), where=denominator > 0)
    elif plan.kind in ("requests", "sparse"):
        extra = (louder - 1) * np.sqrt(plan.mean) * random.normal(size=total)
        value = random.poisson(np.maximum(mean * (1 + louder * wave) + extra, 0)).astype(np.float64)
    elif plan.kind == "revenue":
        spent = np.maximum(mean * (1 + louder * wave) + (louder - 1) * deviation * random.normal(size=total) / 2, 0)
        value = np.round(PURCHASE * random.gamma(np.maximum(random.poisson(spent / PURCHASE), 1e-12)), 2)
    else:
        value = np.maximum(mean + plan.mean * louder * wave, 0.0)
    gone = np.zeros(total, dtype=bool) if whole else _missing(random, total, plan.grain)
    value = np.where(gone, np.nan, value)
    sides = [None if side is None else np.where(gone, np.nan, side) for side in (numerator, denominator)]
    return Line(plan.kind, plan.grain, plan.history, is_dirty, value, plan.mean, deviation, *sides)


def _disturbed(random: np.random.Generator, plan: _Plan, deviation: Array, events: Sequence[Event]) -> tuple[Array, Array]:
    """The expected level with the anomalies in it, and by how much noise is multiplied."""
    mean, louder = plan.mean.copy(), np.ones(len(plan.mean))
    for event in events:
        inside = slice(event.start, event.end)
        length = event.end - event.start
        push = event.sign * event.height * deviation[inside]
        if event.shape == "burst":
            louder[inside] = event.height
        elif event.shape == "pattern":
            mean[inside] = plan.shifted[inside]
        elif event.shape == "drop":
            mean[inside] *= random.uniform(0.0, 0.05)
        elif event.shape == "ramp":
            mean[inside] += push * np.arange(1, length + 1) / length
        elif event.shape == "spikes":
            mean[inside] += push * (np.arange(length) % int(random.integers(3, 5)) < int(random.integers(1, 3)))
        else:
            mean[inside] += push
    return np.maximum(mean, 0.0), louder


def _missing(random: np.random.Generator, total: int, grain: int) -> npt.NDArray[np.bool_]:
    gone = random.random(total) < random.choice([0.0, 0.01, 0.04], p=[0.5, 0.3, 0.2])
    for _ in range(int(random.choice(4, p=[0.6, 0.2, 0.1, 0.1]))):
        length = int(random.uniform(1, 12) * 60 / grain)
        start = int(random.integers(0, total - length))
        gone[start : start + length] = True
    return np.asarray(gone)


def signals(lines: Sequence[Line], sensitivity: float = 1.0) -> list[SignalRow]:
    """Return the declared signals of the series: one per kind and grain."""
    rows = []
    for name, kind, grain in dict.fromkeys((line.signal, line.kind, line.grain) for line in lines):
        measure = {"numerator": "part", "denominator": "whole"} if kind in ("errors", "conversion") else {"value": "value"}
        aggregate = "mean" if kind == "latency" else "sum"
        row = {"name": name, "fact": "metric", **measure, "by": ("service",), "grain_minutes": grain, "aggregate": aggregate}
        rows.append(SignalRow.model_validate({**row, "sensitivity": sensitivity}))
    return rows


def points(lines: Sequence[Line], numbers: Sequence[int], environments: Sequence[str] | None = None) -> pl.DataFrame:
    """Return the rows detection reads; series `numbers[i]` is the subject `s<number>`."""
    frames = []
    for place, (line, number) in enumerate(zip(lines, numbers, strict=True)):
        total, environment = len(line.value), environments[place] if environments else "production"
        sides = {
            name: np.full(total, np.nan) if side is None else side
            for name, side in (("value", line.value), ("numerator", line.numerator), ("denominator", line.denominator))
        }
        times = pl.datetime_range(
            line.start, line.start + timedelta(minutes=line.grain * total), f"{line.grain}m", closed="left", time_unit="us", eager=True
        )
        texts = {
            "series_id": f"{line.signal}|environment={environment}|service=s{number:05d}",
            "signal": line.signal,
            "subject_kind": "service",
            "subject": f"s{number:05d}",
            "environment": environment,
            "region": "",
            "segment": "all",
        }
        frame = pl.DataFrame(sides).with_columns(pl.all().fill_nan(None), bucket_at=times)
        frames.append(frame.with_columns(**{name: pl.lit(text) for name, text in texts.items()}).drop_nulls("value").select(list(POINTS)))
    return pl.concat(frames)
