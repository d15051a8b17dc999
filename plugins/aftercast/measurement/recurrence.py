"""Whether a family came back less often after a fix: exact counts by exposure, wary of bad spells, of the weather, and of looking often.

Two sequential tests must agree. One is exact: the family's own incidents before, without those that led to the fix, because it exists only
since they happened. The other guards against regression to the mean and against drift: the family's rate is shrunk towards that of all
families, and exposure after the fix runs at the speed of the unfixed families whose rates are like its own (observed over expected, each
expectation shrunk as well, or leaving out the unlucky ones would make the rest seem to rise). Everything is computed for all fixes at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from aftercast.measurement import looking
from aftercast.measurement.rates import LEVEL, NO_PRIOR, Prior, ends, fit_prior
from aftercast.measurement.spans import Fix, Spans

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

DRIFT_WEIGHT = 4.0
"""Incidents the assumption "nothing drifts" weighs as much as: the speed of the rest is within a factor of about two, give or take."""
LEAST_CONTROL = 5.0
"""Incidents expected of the unfixed families below which their speed is not measured but taken as unchanged."""
LIKE = 3.0
"""Unfixed families are matched when their shrunk rate lies within this factor of the fixed one's; all of them where too few do."""
ALIKE_DAYS = 7.0
TAIL = (1 - LEVEL) / 2


@dataclass(frozen=True, slots=True)
class Families:
    """Incidents of every family: days of onset and ids, both sorted by day, and the code of the family of each."""

    names: tuple[str, ...]
    days: Array
    codes: Counts
    incidents: tuple[str, ...]

    @classmethod
    def of(cls, rows: Sequence[tuple[float, str, str]]) -> Families:
        """Make them of (day, incident, family) rows in any order."""
        names = tuple(sorted({family for _, _, family in rows}))
        code = {name: number for number, name in enumerate(names)}
        ordered = sorted(rows)
        return cls(
            names,
            np.array([day for day, _, _ in ordered], dtype=np.float64),
            np.array([code[family] for _, _, family in ordered], dtype=np.int64),
            tuple(incident for _, incident, _ in ordered),
        )

    def between(self, start: float, end: float) -> slice:
        """Return the incidents that began in [start, end)."""
        low, high = np.searchsorted(self.days, [start, end], side="left")
        return slice(int(low), int(high))

    def count(self, start: float, end: float) -> Counts:
        """Return the incidents of every family that began in [start, end), by code."""
        return np.bincount(self.codes[self.between(start, end)], minlength=len(self.names))


@dataclass(frozen=True, slots=True)
class Control:
    """How the unfixed families fared over the time after a fix, against what their time before made likely.

    Attributes:
        speed: observed / expected at each look, drawn towards 1; spread: squared coefficient of variation of the last.
        n_families: 0 when nothing was measured; low and high: 90 % interval of the last.
    """

    speed: Array
    spread: float
    n_families: int
    n_incidents: int
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Recurrence:
    """What is known about one fix, before a verdict.

    Attributes:
        n_before: without triggers; raw_before: with them. p_value: exact, at this look alone.
        sequential: p-value that stands any number of weekly looks, of both tests together; own and guarded are the two.
        crossed_high: high end of the interval when the exact boundary was first crossed; None when it never was.
    """

    n_before: int
    raw_before: int
    n_after: int
    low: float
    high: float | None
    p_value: float
    sequential: float
    own: float
    guarded: float
    shrunk: float | None
    shrunk_low: float | None
    shrunk_high: float | None
    control: Control
    expected: float
    avoided_low: float
    avoided_high: float
    prior: Prior | None
    looks_like_luck: bool


def prior_of(families: Families, spans: Spans) -> Prior | None:
    """Fit the families' rates as they were before a fix; None where too few had an incident then."""
    counts = families.count(spans.since, spans.first)
    return fit_prior(counts.tolist(), [spans.before] * len(counts)) if spans.before > 0 else None


def _priors(families: Families, fixes: Sequence[Fix], spans: Mapping[str, Spans]) -> list[Prior | None]:
    """The prior of each fix; fixes compared over nearly the same time share one."""
    known: dict[tuple[int, int], Prior | None] = {}
    found = []
    for fix in fixes:
        span = spans[fix.item]
        key = round(span.since / ALIKE_DAYS), round(span.first / ALIKE_DAYS)
        if key not in known:
            known[key] = prior_of(families, span)
        found.append(known[key])
    return found


def control_of(
    families: Families, family: str, spans: Spans, fixed: Mapping[str, Sequence[float]], prior: Prior | None, looks: Array
) -> Control:
    """Return how the matched unfixed families fared; an unmeasured speed of one where there are too few."""
    unmeasured = Control(np.ones(len(looks)), 0.0, 0, 0, None, None)
    if prior is None or spans.before <= 0:
        return unmeasured
    own = families.names.index(family)
    unfixed = np.array([not any(spans.since <= day < spans.until for day in fixed.get(name, ())) for name in families.names])
    unfixed[own] = False
    shapes = prior.shape + families.count(spans.since, spans.first)
    rate = prior.rate + spans.before
    like = unfixed & (np.abs(np.log(shapes / shapes[own])) <= np.log(LIKE))
    for chosen in (like, unfixed):
        expected = float(shapes[chosen].sum()) / rate * looks
        if expected[-1] >= LEAST_CONTROL:
            break
    else:
        return unmeasured
    listed = families.between(spans.last, spans.until)
    days = families.days[listed][chosen[families.codes[listed]]]
    observed = np.searchsorted(days, spans.last + looks, side="left")
    known, due = DRIFT_WEIGHT + observed, DRIFT_WEIGHT + expected
    spread = 1.0 / float(known[-1]) + float(shapes[chosen].sum()) * (looks[-1] / rate) ** 2 / float(due[-1]) ** 2
    speed = known / due
    low, high = (float(stats.gamma.ppf(tail, 1 / spread, scale=spread * speed[-1])) for tail in (TAIL, 1 - TAIL))
    return Control(speed, spread, int(chosen.sum()), int(observed[-1]), low, high)


def compare(
    families: Families,
    fixes: Sequence[Fix],
    spans: Mapping[str, Spans],
    windows: Mapping[str, float],
    fixed: Mapping[str, Sequence[float]],
) -> dict[str, Recurrence]:
    """Compare every fix that has spans, all at once; results by item.

    Args:
        windows: days after shipping by which most of the error may be spent; fixed: days on which fixes of each family shipped.
    """
    listed = [fix for fix in fixes if fix.item in spans and fix.family is not None]
    if not listed:
        return {}
    listed.sort(key=lambda fix: (spans[fix.item].since, spans[fix.item].first, fix.item))
    own = {name: np.flatnonzero(families.codes == number) for number, name in enumerate(families.names)}
    days_after = np.array([spans[fix.item].after for fix in listed])
    days = looking.weekly(days_after)
    priors = _priors(families, listed, spans)
    n_before, raw_before = np.zeros(len(listed)), np.zeros(len(listed))
    counts = np.zeros(days.shape, dtype=np.int64)
    controls = []
    for row, fix in enumerate(listed):
        span, places = spans[fix.item], own[str(fix.family)]
        mine = families.days[places]
        earlier = places[(mine >= span.since) & (mine < span.first)]
        raw_before[row] = len(earlier)
        n_before[row] = sum(families.incidents[place] not in span.triggers for place in earlier)
        later = mine[(mine >= span.last) & (mine < span.until)]
        counts[row] = np.searchsorted(later, span.last + days[row], side="left")
        controls.append(control_of(families, str(fix.family), span, fixed, priors[row], days[row]))
    days_before = np.array([spans[fix.item].before for fix in listed])
    window = np.array([windows[fix.item] for fix in listed])
    n_after = counts[:, -1]
    shape = np.array([(prior or NO_PRIOR).shape for prior in priors]) + raw_before
    rate = np.array([(prior or NO_PRIOR).rate for prior in priors]) + days_before
    has_prior = np.array([prior is not None for prior in priors])
    speeds = np.array([control.speed for control in controls])
    spread = np.array([control.spread for control in controls])
    clock = np.maximum.accumulate(speeds * days, axis=1)
    loose = np.divide(1.0, 1.0 / np.maximum(shape, 1e-9) + spread)
    own_p = looking.p_value(n_before, days_before, days, counts, days, window)
    asked = (own_p <= looking.ALPHA) & has_prior
    guarded = np.where(has_prior, 1.0, own_p)
    if asked.any():
        guarded[asked] = looking.p_value(
            loose[asked], (rate * loose / np.maximum(shape, 1e-9))[asked], clock[asked], counts[asked], days[asked], window[asked]
        )
    low, high = _interval(n_before, days_before, days, counts, window)
    chance = rate / (rate + clock[:, -1])
    with np.errstate(invalid="ignore"):
        single = np.where(n_before > 0, stats.nbinom.cdf(n_after, n_before, days_before / (days_before + days_after)), 1.0)
        naive = np.where(raw_before > 0, stats.nbinom.cdf(n_after, raw_before, days_before / (days_before + days_after)), 1.0)
        wary = np.where(shape > 0, stats.nbinom.cdf(n_after, shape, chance), 1.0)
        due = [np.asarray(stats.nbinom.ppf(tail, np.maximum(shape, 1e-9), chance)) for tail in (TAIL, 1 - TAIL)]
    shrunk_low, shrunk_high = ends(shape, rate, n_after, clock[:, -1], TAIL)
    expected = shape / rate * clock[:, -1]
    found = {}
    for row, fix in enumerate(listed):
        found[fix.item] = Recurrence(
            n_before=int(n_before[row]),
            raw_before=int(raw_before[row]),
            n_after=int(n_after[row]),
            low=float(low[row]),
            high=float(high[row]) if np.isfinite(high[row]) else None,
            p_value=float(single[row]),
            sequential=float(max(own_p[row], guarded[row])),
            own=float(own_p[row]),
            guarded=float(guarded[row]),
            shrunk=float(n_after[row] / expected[row]) if has_prior[row] and expected[row] > 0 else None,
            shrunk_low=float(shrunk_low[row]) if has_prior[row] else None,
            shrunk_high=float(shrunk_high[row]) if has_prior[row] and np.isfinite(shrunk_high[row]) else None,
            control=controls[row],
            expected=float(expected[row]),
            avoided_low=float(due[0][row] - n_after[row]),
            avoided_high=float(due[1][row] - n_after[row]),
            prior=priors[row],
            looks_like_luck=bool(naive[row] <= looking.ALPHA and max(single[row], wary[row]) > looking.ALPHA),
        )
    return found


def _interval(n_before: Array, days_before: Array, days: Array, counts: Counts, window: Array) -> tuple[Array, Array]:
    """Return the repeated interval of the rate ratio now (Jennison and Turnbull 1989): its ends hold at all weekly looks together.

    The high end is the lowest any look left it at, until the present estimate contradicts it.
    """
    low, high = np.zeros(len(n_before)), np.full(len(n_before), np.inf)
    asked = np.flatnonzero(n_before > 0)
    level = np.broadcast_to(looking.spend(days[:, -1], window)[:, None], days.shape).copy()
    if len(asked):
        spent = looking.spend(days[asked], window[asked, None])
        known = n_before[asked], days_before[asked], days[asked]
        level[asked] = looking.nominal(looking.boundary(*known, spent), *known)
    each_low, each_high = ends(n_before[:, None], days_before[:, None], counts, days, np.maximum(level, 1e-12))
    low[:] = each_low[:, -1]
    high[:] = each_high.min(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = np.where(n_before > 0, counts[:, -1] / n_before * days_before / days[:, -1], 0.0)
    return low, np.where(estimate > high, each_high[:, -1], high)
