"""What a journey would have done: Prophet's expectation, moved to the local level, with the errors it makes in quiet windows.

1. Prophet is fitted per segment outside every masked span, on hourly (or coarser) means on the scale, plain, root or logarithmic, on
   which it follows the journey best: seasonality and growth multiply, which an additive model only follows on a bent scale.
2. The local level: how far the journey ran from that expectation before and after the window, near and far, in the segment and in the
   whole journey. How much each of these says is learned from quiet windows of the same length.
3. The interval: the relative errors steps 1 and 2 make in quiet windows of the window's own length (a block bootstrap), near the same
   time of day when there are enough, the same windows for all segments. So autocorrelation, the noise segments share and the error of
   the level itself are in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import signal, stats

from aftercast.detection import prophet_batch
from aftercast.measurement.flows import Array, Flags, Flow
from aftercast.measurement.known_times import KnownTime, Usual, lines, usual_effect

Whole = npt.NDArray[np.intp]

HOUR, DAY, WEEK = 3_600, 86_400, 604_800
GRAINS = (HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY)
FEWEST_PER_BUCKET = 8.0
"""Sales a journey must have per modelled bucket on average; below, buckets are made coarser."""
SPAN, SPAN_LONG = 42 * DAY, 182 * DAY
"""Training reaches this far to both sides, whole weeks; the long one where buckets are days or the window is longer than a day."""
TAIL = 0.025
"""Share of draws beyond each end of an interval: nominal 95 %."""
LEAST_DAYS = 14.0
LEAST_WINDOWS = 8
"""Quiet windows without overlap that an interval needs."""
MOST_MISSING = 0.2
"""Share of its expectation that a quiet window may miss."""
ALIKE = (0.5, 2.0)
"""Quiet windows are expected to sell this many times as much as the window asked about."""
MATCHED_WITHIN = 2 * HOUR
ENOUGH_MATCHED = 60
MOST_WINDOWS = 400
TREND_PARAMETERS = 5
"""Level, slope and what changepoints amount to."""
MOST_SPENT = 0.5
"""Beyond this share of a window fitted away, intervals are not widened further."""
REACHES = (3, 24, 168)
"""Modelled buckets over which the nearness of the context fades."""
LOG_OFFSET = 0.05
MEASURES = ("revenue", "attempts", "successes", "arrivals")


def columns_of(n_segments: int) -> list[slice]:
    """Columns of each measure."""
    return [slice(number * n_segments, (number + 1) * n_segments) for number in range(len(MEASURES))]


@dataclass(frozen=True, slots=True)
class Quiet:
    """Errors in quiet windows, and the correction learned from them.

    Attributes:
        times: start of each window, seconds since 1970.
        errors: actual / corrected expectation - 1, [window, column].
        correction: of the window asked about, [column].
        expected, actual: corrected expectation and actual sums, [window, column].
    """

    times: npt.NDArray[np.int64]
    errors: Array
    correction: Array
    expected: Array
    actual: Array


@dataclass(frozen=True)
class World:
    """One journey in one training span. Columns are revenue, attempts, successes, arrivals of all segments, in that order.

    Attributes:
        first: bucket of the flow at which the span begins.
        actual: 0 where missing. ordinary: Prophet's expectation, everywhere. present: there is a row. quiet: bucket outside every mask.
        periods: seconds after which what each parameter says repeats, infinite for level and trend.
        usual: what known times do to its buckets.
        trained: seconds the model was fitted on.
        trained_until: end of the last training bucket, seconds since 1970.
    """

    flow: Flow
    first: int
    modelled: int
    actual: Array
    ordinary: Array
    present: Flags
    quiet: Flags
    usual: Usual
    periods: Array
    trained: float
    trained_until: int

    @property
    def n_segments(self) -> int:
        return len(self.flow.segments)

    @cached_property
    def expected(self) -> Array:
        """The ordinary expectation, with what known times usually do."""
        return self.ordinary * self.usual.factor

    @cached_property
    def seen(self) -> Array:
        """Expectation where there is a row, else 0: what `actual` is to be compared with."""
        return np.where(self.present, self.expected, 0.0)

    @cached_property
    def sums(self) -> tuple[Array, Array]:
        """Running sums of actual and seen with a leading zero row."""
        zero = np.zeros((1, self.actual.shape[1]))
        return np.concatenate([zero, self.actual.cumsum(axis=0)]), np.concatenate([zero, self.seen.cumsum(axis=0)])

    @cached_property
    def running(self) -> tuple[Array, Array, Array]:
        """Running sums with a leading zero: the journey's ordinary expectation, its part without any row, and open buckets that are masked.

        Closed buckets expect nothing: whether they have rows or masks does not matter.
        """
        due = self.ordinary[:, columns_of(self.n_segments)[0 if self.flow.earns else 2]].sum(axis=1)
        missing = np.where(self.present.any(axis=1), 0.0, due)
        masked = (~self.quiet & (due > 0)).astype(float)
        return _running(due), _running(missing), _running(masked)

    @cached_property
    def contexts(self) -> list[tuple[Array, Array, Array, Array, Array]]:
        """Per reach: fading sums of quiet actual and seen, backward and forward with a leading or trailing zero row, and a floor."""
        keep = self.quiet[:, None]
        pair = [np.where(keep, matrix, 0.0) for matrix in (self.actual, self.seen)]
        pair = [np.hstack([matrix, *(matrix[:, own].sum(axis=1, keepdims=True) for own in columns_of(self.n_segments))]) for matrix in pair]
        zero = np.zeros((1, pair[0].shape[1]))
        step = self.modelled // self.flow.grain
        floor = pair[1].sum(axis=0) / max(self.quiet.sum(), 1) * step + 1e-9
        found = []
        for reach in REACHES:
            fade = np.exp(-1.0 / (reach * step))
            before = [np.concatenate([zero, signal.lfilter([1.0], [1.0, -fade], matrix, axis=0)]) for matrix in pair]
            after = [np.concatenate([signal.lfilter([1.0], [1.0, -fade], matrix[::-1], axis=0)[::-1], zero]) for matrix in pair]
            found.append((before[0], before[1], after[0], after[1], floor))
        return found

    def drift(self, starts: Whole, ends: Whole, lead: int, gap: int, *, after: bool) -> Array:
        """Relative distance from the expectation up to `lead` buckets before and from `gap` after windows.

        Shape [window, column, reach x (own, whole journey)].
        """
        n_columns, n_segments, size = self.actual.shape[1], self.n_segments, len(self.actual)
        whole = n_columns + np.repeat(np.arange(len(MEASURES)), n_segments)
        starts, later = np.maximum(starts - lead, 0), np.minimum(ends + gap, size)
        features = []
        for back_actual, back_seen, fore_actual, fore_seen, floor in self.contexts:
            real, due = back_actual[starts] + floor, back_seen[starts] + floor
            if after:
                real, due = real + fore_actual[later], due + fore_seen[later]
            ratio = np.clip(real / due - 1.0, -0.9, 3.0)
            features += [ratio[:, :n_columns], ratio[:, whole]]
        return np.stack(features, axis=2)

    def total(self, starts: Whole, ends: Whole) -> tuple[Array, Array]:
        """Actual and seen expectation summed over windows, [window, column]."""
        actual, seen = self.sums
        return actual[ends] - actual[starts], seen[ends] - seen[starts]

    def spent(self, length: int) -> float:
        """Share of a window's noise that the model took for rhythm or trend: a wave counts as far as a window of that length sees it."""
        seconds = length * self.flow.grain
        return float((np.sinc(seconds / self.periods) ** 2).sum() * seconds / self.trained)

    def _doubt(self, start: int, end: int) -> Array:
        """How much the known times in [start, end) may differ from what they usually do, relative to the window's expectation, [column]."""
        due = self.seen[start:end]
        unsure, whole = (due * self.usual.doubt[start:end]).sum(axis=0), due.sum(axis=0)
        return np.asarray(np.divide(unsure, whole, out=np.zeros_like(whole), where=whole > 0))

    def quiet_starts(self, start: int, length: int) -> Whole:
        """Starts of quiet windows of a length: near the same time of day if they are enough, otherwise at any time.

        A quiet window is unmasked, misses little of what it should sell, and should sell about as much as the one asked about.
        """
        grain, step = self.flow.grain, max(self.modelled // self.flow.grain, length // 4, 1)
        per_day = DAY // grain
        latest = len(self.actual) - length + 1
        every = np.arange(start % step, latest, step)
        choices: list[Whole] = [every]
        if per_day > 1 and length <= per_day // 2:
            shift = (every - start + per_day // 2) % per_day - per_day // 2
            choices.insert(0, every[np.abs(shift) * grain <= MATCHED_WITHIN])
        elif per_day > 1:
            choices.insert(0, np.arange(start % per_day, latest, per_day))
        due, missing, masked = self.running
        own = due[start + length] - due[start]
        for starts in choices:
            size, gone, hidden = (part[starts + length] - part[starts] for part in (due, missing, masked))
            fits = (hidden == 0) & (gone <= MOST_MISSING * size)
            if own > 0:
                fits &= (size >= ALIKE[0] * own) & (size <= ALIKE[1] * own)
            calm: Whole = starts[fits]
            if len(calm) >= ENOUGH_MATCHED:
                break
        if len(calm) > MOST_WINDOWS:
            calm = calm[np.linspace(0, len(calm) - 1, MOST_WINDOWS).astype(int)]
        return calm

    def quiet_errors(self, start: int, end: int) -> Quiet | None:
        """Learn the level of [start, end) and the errors of that method from quiet windows; None when they are too few.

        Quiet windows are judged with the same distance to what is known before and after as the window has.
        """
        length = end - start
        starts = self.quiet_starts(start, length)
        apart = _apart(starts, length)
        if apart < LEAST_WINDOWS:
            return None
        step = self.modelled // self.flow.grain
        lead, gap = _masked_run(self.quiet[:start][::-1], 24 * step), _masked_run(self.quiet[end:], 24 * step)
        after = int(self.quiet[end + gap : end + gap + 24 * step].sum()) >= 3 * step
        actual, due = self.total(starts, starts + length)
        features = self.drift(starts, starts + length, lead, gap, after=after)
        own = self.drift(np.array([start]), np.array([end]), lead, gap, after=after)[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            off = np.where(due > 0, actual / due - 1.0, 0.0)
        learned = 0.0
        moved, correction = np.zeros_like(off), np.zeros(off.shape[1])
        for columns in columns_of(self.n_segments):
            weights, freedom = _learn(features[:, columns], np.clip(off[:, columns], -1.0, 2.0), due[:, columns])
            learned = max(learned, freedom)
            moved[:, columns] = features[:, columns] @ weights
            correction[columns] = own[columns] @ weights
        usual = (off - moved).mean(axis=0) * apart / (apart + 10.0)
        expected = np.maximum(due * (1.0 + moved + usual), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            errors = np.where(expected > 0, actual / expected - 1.0, 0.0)
        few = float(stats.t.ppf(1 - TAIL, apart - 1) / stats.norm.ppf(1 - TAIL))
        inside = min(self.spent(length) + learned / apart, MOST_SPENT)  # quiet windows were fitted, the window asked about was not
        wider = few * np.sqrt(1.0 + 1.0 / apart) * np.sqrt((1.0 + inside) / (1.0 - inside))
        middle = errors.mean(axis=0)
        asked = self.total(np.array([start]), np.array([end]))[1][0] * np.maximum(1.0 + correction + usual, 0.0)
        errors = middle + (errors - middle) * wider * _size_of_day(errors - middle, expected, asked, self.n_segments)
        errors = errors + self._doubt(start, end) * _normal(len(errors))[:, None]
        times = self.flow.start + (self.first + starts.astype(np.int64)) * self.flow.grain
        return Quiet(times, errors, np.maximum(correction + usual, -1.0), expected, actual)


def _normal(n: int) -> Array:
    """Standard normal quantiles in an order that has nothing to do with time."""
    return np.asarray(stats.norm.ppf((np.random.default_rng(n).permutation(n) + 0.5) / n))


def _size_of_day(off: Array, expected: Array, due: Array, n_segments: int) -> Array:
    """How much louder the window asked about is than each quiet window, [window, column]: fewer sales are relatively noisier.

    The variance of a relative error is taken as a constant plus one over the expected count; revenue goes by its successes.
    """
    money, tries, wins, came = columns_of(n_segments)
    scale = np.ones_like(off)
    for columns in (tries, wins, came):
        size, asked = np.maximum(expected[:, columns], 1e-9), np.maximum(due[columns], 1e-9)
        steady = np.maximum((off[:, columns] ** 2 - 1.0 / size).mean(axis=0), 0.0)
        scale[:, columns] = np.sqrt((steady + 1.0 / asked) / (steady + 1.0 / size))
    scale[:, money] = scale[:, wins]
    return scale


def _running(values: Array) -> Array:
    """Running sums with a leading zero."""
    return np.concatenate([[0.0], values.cumsum()])


def _masked_run(quiet: Flags, most: int) -> int:
    """Length of the run of masked buckets at the beginning."""
    run = quiet[:most]
    return int(run.argmax()) if run.any() else len(run)


def _apart(starts: Whole, length: int) -> int:
    """How many of the windows, taken from the first on, do not overlap."""
    count, free = 0, -1
    for start in starts.tolist():
        if start >= free:
            count, free = count + 1, start + length
    return count


def _learn(features: Array, off: Array, weight: Array) -> tuple[Array, float]:
    """Ridge coefficients of `off` on the drift features and their degrees of freedom; windows and segments weigh what they should sell."""
    x, y, w = features.reshape(-1, features.shape[2]), off.ravel(), weight.ravel()
    if w.sum() <= 0:
        return np.zeros(x.shape[1]), 0.0
    w = w / w.sum()
    gram = (x * w[:, None]).T @ x
    ridge = 0.05 * np.trace(gram) / len(gram) + 1e-9
    solved = np.linalg.solve(gram + ridge * np.eye(len(gram)), np.column_stack([(x * w[:, None]).T @ y, gram]))
    return solved[:, 0], float(np.trace(solved[:, 1:]))


def modelled_grain(flow: Flow) -> int:
    """Seconds per modelled bucket: an hour, or coarser until a bucket holds enough sales."""
    per_second = np.nansum(flow.successes) / max(np.isfinite(flow.successes).any(axis=1).sum() * flow.grain, 1)
    fitting = [grain for grain in GRAINS if grain >= flow.grain and grain % flow.grain == 0]
    for grain in fitting:
        if per_second * grain >= FEWEST_PER_BUCKET:
            return grain
    return fitting[-1] if fitting else flow.grain


def is_long(start: float, end: float) -> bool:
    """Whether a window is so long that quiet windows of its length must be looked for farther away."""
    return end - start > DAY


def build_world(flow: Flow, masks: list[tuple[float, float]], start: float, end: float, times: tuple[KnownTime, ...] = ()) -> World | str:
    """Fit a journey around [start, end) in seconds; returns the reason in words when there is too little history."""
    grain = modelled_grain(flow)
    span = SPAN_LONG if grain >= DAY or is_long(start, end) else SPAN
    monday = (start - 4 * DAY) // WEEK * WEEK + 4 * DAY  # 1970-01-05 was a Monday
    last_week = -((4 * DAY - end) // WEEK) * WEEK + 4 * DAY
    first = max(flow.place(monday - span), 0)
    first += int(-(flow.start + first * flow.grain) % grain // flow.grain)
    until = min(flow.place_end(last_week + span), flow.n_buckets)
    if first >= until:
        return f"not enough history: 0 days, needs {LEAST_DAYS:.0f}"
    raw = np.hstack([getattr(flow, name)[first:until] for name in MEASURES])
    present = np.isfinite(raw)
    stamps = flow.start + (first + np.arange(len(raw), dtype=np.int64)) * flow.grain
    quiet = np.ones(len(raw), dtype=bool)
    for masked_from, masked_to in masks:
        quiet[max(flow.place(masked_from) - first, 0) : max(flow.place_end(masked_to) - first, 0)] = False
    inside = lines(times, stamps, flow.grain)
    calm = quiet.copy()
    for told in itertools.chain.from_iterable(inside):
        quiet &= ~told
    known = quiet & present[:, columns_of(len(flow.segments))[2]].any(axis=1)
    days = (known | (quiet & _always_closed(stamps, present.any(axis=1), flow.grain))).sum() * flow.grain / DAY
    needed = max(LEAST_DAYS, LEAST_WINDOWS * (end - start) / DAY)
    if days < needed:
        return f"not enough history: {days:.0f} days, needs {needed:.0f}"
    if not np.nansum(np.abs(raw[known])):
        return f"no traffic on the journey in {days:.0f} days of history"
    expected, periods, trained = _expect(stamps, np.where(quiet[:, None], raw, np.nan), flow, grain)
    actual = np.where(present, raw, 0.0)
    usual = usual_effect(times, inside, actual, np.where(present, expected, 0.0), calm, len(flow.segments))
    return World(
        flow=flow,
        first=first,
        modelled=grain,
        actual=actual,
        ordinary=expected,
        present=present,
        quiet=quiet,
        usual=usual,
        periods=periods,
        trained=trained,
        trained_until=int(stamps[np.flatnonzero(known)[-1]] + flow.grain),
    )


def _expect(stamps: npt.NDArray[np.int64], values: Array, flow: Flow, grain: int) -> tuple[Array, Array, float]:
    """Prophet's expectation per bucket and column, never negative, the periods of its parameters and the seconds it was fitted on."""
    middles, means = _coarsen(stamps, values, grain // flow.grain, grain)
    count = np.isfinite(means).sum(axis=0)
    size = np.divide(np.nansum(means, axis=0), count, out=np.zeros(len(count)), where=count > 0)
    scale = np.where(size > 0, size, 1.0)
    relative = means / scale
    n_segments = len(flow.segments)
    judged = columns_of(n_segments)[0 if flow.earns else 2]
    whole = np.nansum(means[:, judged], axis=1)
    whole = np.where(np.isfinite(means[:, judged]).any(axis=1), whole, np.nan)[:, None] / max(np.nanmean(whole), 1e-9)
    spec = _spec(grain)
    bend = min(_BENDS, key=lambda name: _misfit(middles, whole, spec, name))
    at = stamps + flow.grain / 2
    expected = _predict(middles, relative, spec, bend, at) * scale
    expected[~np.isfinite(expected)] = 0.0
    expected *= _open(middles, means, stamps, grain)[:, None] & (size > 0)[None, :]
    waves = [DAY / order for order in range(1, spec.daily_order + 1)] + [WEEK / order for order in range(1, spec.weekly_order + 1)]
    return expected, np.array([np.inf] * TREND_PARAMETERS + waves * 2), max(float(count.max()), 1.0) * grain


def _spec(grain: int) -> prophet_batch.Spec:
    if grain >= DAY:
        return prophet_batch.Spec(daily_order=0, weekly_order=3, changepoint_range=1.0, min_points=10)
    order = int(min(6, DAY // grain // 2))
    return prophet_batch.Spec(daily_order=order, weekly_order=6, changepoint_range=1.0)


def _coarsen(stamps: npt.NDArray[np.int64], values: Array, per: int, grain: int) -> tuple[Array, Array]:
    """Means over modelled buckets; one with fewer than half its points is missing."""
    n_whole = -(-len(stamps) // per)
    padded = np.full((n_whole * per, values.shape[1]), np.nan)
    padded[: len(values)] = values
    blocks = padded.reshape(n_whole, per, -1)
    n_points = np.isfinite(blocks).sum(axis=1)
    sums = np.nansum(blocks, axis=1)
    means = np.divide(sums, n_points, out=np.full(sums.shape, np.nan), where=n_points * 2 >= per)
    return stamps[0] + (np.arange(n_whole) + 0.5) * grain, means


def _open(middles: Array, means: Array, stamps: npt.NDArray[np.int64], grain: int) -> Flags:
    """False in the hours of the week (or weekdays) in which the whole journey never moved in three weeks, with rows of zeros or none."""
    n_slots = WEEK // grain
    seen = np.isfinite(means).any(axis=1)
    slot = (middles % WEEK // grain).astype(int)
    rows = np.bincount(slot[seen], minlength=n_slots)
    sold = np.bincount(slot[seen], weights=np.nansum(np.abs(means[seen]), axis=1), minlength=n_slots)
    closed = (sold == 0) & ((rows >= 3) | ((rows == 0) & (stamps[-1] - stamps[0] >= 3 * WEEK)))
    return np.asarray(~closed[stamps % WEEK // grain])


def _always_closed(stamps: npt.NDArray[np.int64], present: Flags, grain: int) -> Flags:
    """Buckets at times of the week that never have a row, in weeks that have some: closed, not missing. Takes three weeks to tell."""
    slot, week = stamps % WEEK // grain, (stamps - stamps[0]) // WEEK
    opened = np.bincount(week[present], minlength=int(week.max()) + 1) > 0
    if opened.sum() < 3:
        return np.zeros(len(stamps), dtype=bool)
    return np.asarray((np.bincount(slot[present], minlength=int(slot.max()) + 1)[slot] == 0) & opened[week])


_BENDS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "log": (lambda y: np.log(np.maximum(y, 0.0) + LOG_OFFSET), lambda z: np.exp(np.minimum(z, 20.0)) - LOG_OFFSET),
    "root": (lambda y: np.sqrt(np.maximum(y, 0.0)), lambda z: np.maximum(z, 0.0) ** 2),
    "plain": (lambda y: y, lambda z: z),
}


def _predict(times: Array, relative: Array, spec: prophet_batch.Spec, bend: str, at: npt.ArrayLike) -> Array:
    """Fit on the bent scale, predict on the plain one; a factor makes the training sums agree, because a mean does not survive bending."""
    down, up = _BENDS[bend]
    fit = prophet_batch.fit(times, down(relative), spec)
    known = np.isfinite(relative)
    fitted = np.where(known, np.maximum(up(fit.predict(times)), 0.0), 0.0)
    total, back = np.where(known, relative, 0.0).sum(axis=0), fitted.sum(axis=0)
    factor = np.divide(total, back, out=np.ones_like(total), where=back > 0)
    return np.asarray(np.maximum(up(fit.predict(at)), 0.0) * factor)


def _misfit(times: Array, whole: Array, spec: prophet_batch.Spec, bend: str) -> float:
    error = whole - _predict(times, whole, spec, bend, times)
    return float(np.nan_to_num(np.nansum(np.abs(error)), nan=np.inf))
