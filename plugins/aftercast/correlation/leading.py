"""What came before past incidents, and whether it kept its word: patterns mined on the past, judged only on what came later.

The rules, in the order in which they act:

- A *warning* is an occurrence of a pattern that is not part of an incident of its subject (from 15 minutes before the reported start to 30
  minutes after the end) and not a repetition of a warning still running: horizons of a pattern do not overlap.
- It *came true* when an incident of its subject began within the horizon; a service's incidents are those that name it, or whose likeliest
  cause it is; a journey's those of its services. What happened is known when the horizon is over (the embargo on labels).
- A pattern is *mined* at the moment its closed warnings have preceded two incidents, twice as often as chance. Nothing before that moment
  counts for it. `trusted`, `rejected`, `on_trial` are judged on later warnings only.
- *Chance* is the share of time, at the hours and kinds of day of the warnings, after which such an incident follows within the horizon.

All functions are pure; times are in microseconds.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from aftercast.correlation.precursors import Occurrence, Occurrences, Pattern
from aftercast.correlation.telemetry import DAY, HOUR, MINUTE, Floats

HORIZON = 8 * HOUR
"""One working shift."""
PART_OF_IT, AFTERMATH = 15 * MINUTE, 30 * MINUTE
STEP = 15 * MINUTE
SATURDAY = 5
LEAST_MINED, LEAST_LIFT = 2, 2.0
LEAST_JUDGED, LEAST_TRUE = 5, 3
ENOUGH_TO_REJECT = 10
FALSE_DISCOVERIES = 0.05
TRUSTED, ON_TRIAL, REJECTED, NOT_ENOUGH = "trusted", "on_trial", "rejected", "not_enough_data"

Subject = tuple[str, str, str]
"""Kind, name and environment ('' for every environment)."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """An incident of a subject."""

    started: int
    ended: int
    incident_id: str


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning and what became of it. `trouble` is None when no incident followed, or none has yet."""

    subject: str
    occurrence: Occurrence
    trouble: Trouble | None

    @property
    def at(self) -> int:
        return self.occurrence.at

    @property
    def closes(self) -> int:
        return self.occurrence.at + HORIZON


@dataclass(frozen=True, slots=True)
class Rate:
    """k of n, its exact 95 % interval."""

    n: int
    k: int

    @property
    def share(self) -> float | None:
        return self.k / self.n if self.n else None

    @property
    def ends(self) -> tuple[float, float] | tuple[None, None]:
        return exact_ends(self.k, self.n) if self.n else (None, None)


@cache
def exact_ends(k: int, n: int) -> tuple[float, float]:
    """Clopper-Pearson 95 % interval of k of n."""
    low = float(stats.beta.ppf(0.025, k, n - k + 1)) if k else 0.0
    return low, float(stats.beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0


@dataclass(frozen=True, slots=True)
class Indicator:
    """A pattern with its record.

    Attributes:
        warnings: all of them, oldest first; those at or after `mined_at` are the ones it is judged on.
        chance: how often an incident follows the hours of the judged warnings anyway (of all closed ones before it is mined).
        p_value, q_value: of "no better than chance" on judged warnings, one-sided exact; q adjusted over all judged patterns.
        recalled: of the subjects' incidents after `mined_at`, those it warned of; None for a pattern that was not mined.
    """

    pattern: Pattern
    warnings: tuple[Warned, ...]
    mined_at: int | None
    chance: float
    judged: Rate
    recalled: Rate | None
    p_value: float | None = None
    q_value: float | None = None
    status: str = NOT_ENOUGH

    def closed(self, as_of: int) -> Iterator[Warned]:
        return (one for one in self.warnings if is_closed(one, as_of))

    @property
    def lift(self) -> float | None:
        return self.judged.share / self.chance if self.judged.share is not None and self.chance > 0 else None


def is_closed(warned: Warned, as_of: int) -> bool:
    return warned.trouble is not None or warned.closes <= as_of


class Watch:
    """The incidents of one subject, and how usual it is that one follows."""

    def __init__(self, troubles: Sequence[Trouble], begin: int, as_of: int) -> None:
        self.troubles = sorted(troubles, key=lambda one: (one.started, one.incident_id))
        self._starts = [one.started for one in self.troubles]
        self._over_by = np.maximum.accumulate([one.ended for one in self.troubles]).tolist() if self.troubles else []
        self._begin = begin // DAY * DAY
        days = max(-((self._begin - as_of) // DAY), 1)
        times = self._begin + STEP * np.arange(days * DAY // STEP, dtype=np.int64)
        free, followed = times < as_of, np.zeros(len(times), dtype=bool)
        for one in self.troubles:
            free &= (times < one.started - PART_OF_IT) | (times > one.ended + AFTERMATH)
            followed |= (times >= one.started - HORIZON) & (times < one.started - PART_OF_IT)
        self._free, self._followed = _sums(free, self._begin), _sums(free & followed, self._begin)

    def is_part_of_one(self, at: int) -> bool:
        """Whether a moment lies in an incident, just before its reported start, or in its aftermath."""
        begun = bisect_right(self._starts, at + PART_OF_IT)
        return bool(begun) and self._over_by[begun - 1] + AFTERMATH >= at

    def next_after(self, at: int) -> Trouble | None:
        """The first incident that begins within the horizon of a moment, and not at once."""
        place = bisect_right(self._starts, at + PART_OF_IT)
        return self.troubles[place] if place < len(self.troubles) and self._starts[place] <= at + HORIZON else None

    def between(self, start: int, end: int) -> list[Trouble]:
        return self.troubles[bisect_left(self._starts, start) : bisect_left(self._starts, end)]

    def chances(self, start: int, end: int) -> Floats:
        """Per kind of day (workday, weekend) and hour: share of free time, then or ever (if larger), after which an incident follows.

        Counted over the whole days from start to end of which it is known at `end`; of the first and last day only when there is no other.
        """
        last = (end - HORIZON - self._begin) // DAY
        first = min(max((start - self._begin) // DAY, 0), max(last - 1, 0))
        last = min(max(last, first + 1), len(self._free) - 1)
        free, followed = self._free[last] - self._free[first], self._followed[last] - self._followed[first]
        at_any = followed.sum() / max(free.sum(), 1)
        return np.asarray(np.maximum(followed / np.maximum(free, 1), at_any))


def time_of_week(at: int) -> tuple[int, int]:
    """Kind of day (0 workday, 1 weekend) and hour, UTC."""
    return int((at // DAY + 3) % 7 >= SATURDAY), at % DAY // HOUR


def _sums(flags: NDArray[np.bool_], begin: int) -> NDArray[np.int64]:
    """Running sums over days of flagged steps of each kind of day and hour, with a leading zero."""
    per_hour = flags.reshape(-1, 24, HOUR // STEP).sum(axis=2)
    sums = np.zeros((len(per_hour) + 1, 2, 24), dtype=np.int64)
    for day, row in enumerate(per_hour):
        sums[day + 1, time_of_week(begin + day * DAY)[0]] = row
    return np.asarray(sums.cumsum(axis=0))


def mine(found: Occurrences, troubles: Mapping[Subject, Sequence[Trouble]], as_of: int) -> list[Indicator]:
    """Judge every pattern that ever preceded an incident, of one subject and of any; in order of pattern.

    Args:
        troubles: incidents of each subject; a subject without any is watched in vain.
    """
    begin = min((row[0].at for row in found.values() if row), default=as_of)
    watches: dict[Subject, Watch] = {}
    for pattern in found:
        subject = (pattern.subject_kind, pattern.subject, pattern.environment)
        if subject not in watches:
            watches[subject] = Watch(troubles.get(subject, ()), begin, as_of)
    warned = {pattern: _warnings(pattern, rows, watches) for pattern, rows in found.items()}
    together: dict[Pattern, list[Pattern]] = {}
    for pattern in found:
        together.setdefault(pattern.anywhere, []).append(pattern)
    streams = {pattern: (rows, [pattern]) for pattern, rows in warned.items()}
    for anywhere, parts in together.items():
        if len(parts) > 1:
            streams[anywhere] = (_one_each([one for part in parts for one in warned[part]]), parts)
    judged = [
        _judge(pattern, rows, [watches[part.subject_kind, part.subject, part.environment] for part in parts], parts, begin, as_of)
        for pattern, (rows, parts) in sorted(streams.items())
        if any(one.trouble for one in rows)
    ]
    return _with_status(judged)


def _warnings(pattern: Pattern, rows: Sequence[Occurrence], watches: Mapping[Subject, Watch]) -> list[Warned]:
    watch = watches[pattern.subject_kind, pattern.subject, pattern.environment]
    warnings: list[Warned] = []
    running = -1
    for row in rows:
        if row.at < running or watch.is_part_of_one(row.at):
            continue
        warnings.append(Warned(pattern.subject, row, watch.next_after(row.at)))
        trouble = warnings[-1].trouble
        running = trouble.ended if trouble else row.at + HORIZON
    return warnings


def _one_each(rows: list[Warned]) -> list[Warned]:
    """Warnings of several subjects, oldest first; of those that precede the same incident the first."""
    seen: set[str] = set()
    kept = []
    for one in sorted(rows, key=lambda row: (row.at, row.subject)):
        if one.trouble is None or one.trouble.incident_id not in seen:
            kept.append(one)
        if one.trouble is not None:
            seen.add(one.trouble.incident_id)
    return kept


def _judge(
    pattern: Pattern, warnings: Sequence[Warned], watches: Sequence[Watch], parts: Sequence[Pattern], begin: int, as_of: int
) -> Indicator:
    of = {part.subject: watch for part, watch in zip(parts, watches, strict=True)}
    mined_at = _mined_at(warnings, of, begin, as_of)
    later = [one for one in warnings if mined_at is not None and one.at >= mined_at and is_closed(one, as_of)]
    basis, start = (later, mined_at or begin) if later else ([one for one in warnings if is_closed(one, as_of)], begin)
    chance = _chance(basis, of, start, as_of)
    judged = Rate(len(later), sum(one.trouble is not None for one in later))
    recalled = None
    if mined_at is not None:
        due = {one.incident_id for watch in watches for one in watch.between(mined_at, as_of + 1)}
        met = {one.trouble.incident_id for one in warnings if one.trouble is not None and one.at >= mined_at}
        recalled = Rate(len(due), len(due & met))
    p_value = float(stats.binom.sf(judged.k - 1, judged.n, chance)) if judged.n and chance > 0 else None
    return Indicator(pattern, tuple(warnings), mined_at, chance, judged, recalled, p_value)


def _mined_at(warnings: Sequence[Warned], of: Mapping[str, Watch], begin: int, as_of: int) -> int | None:
    """When the pattern first had a record worth watching, counting each warning only once its horizon is over."""
    incidents: set[str] = set()
    for n, one in enumerate(warnings, start=1):
        if one.closes > as_of:
            return None
        if one.trouble is None:
            continue
        incidents.add(one.trouble.incident_id)
        if len(incidents) < LEAST_MINED:
            continue
        chance = _chance(warnings[:n], of, begin, one.closes)
        if chance > 0 and len(incidents) / n >= LEAST_LIFT * chance:
            return one.closes
    return None


def _chance(warnings: Sequence[Warned], of: Mapping[str, Watch], start: int, end: int) -> float:
    """Mean chance over the warnings."""
    if not warnings:
        return 0.0
    hours = {subject: watch.chances(start, end) for subject, watch in of.items()}
    return float(np.mean([hours[one.subject][time_of_week(one.at)] for one in warnings]))


def _with_status(indicators: Sequence[Indicator]) -> list[Indicator]:
    """Adjust p-values by Benjamini-Hochberg over all patterns with any judged warning, and say what each pattern is worth."""
    tested = [place for place, one in enumerate(indicators) if one.p_value is not None]
    q_values = dict(zip(tested, adjusted([indicators[place].p_value or 0.0 for place in tested]), strict=True))
    return [replace(one, q_value=q_values.get(place), status=_status(one, q_values.get(place))) for place, one in enumerate(indicators)]


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Benjamini-Hochberg."""
    return [float(q) for q in stats.false_discovery_control(p_values)] if p_values else []


def _status(one: Indicator, q_value: float | None) -> str:
    if one.mined_at is None:
        return NOT_ENOUGH
    lift = one.lift or 0.0
    if one.judged.n >= LEAST_JUDGED and one.judged.k >= LEAST_TRUE and q_value is not None and q_value <= FALSE_DISCOVERIES:
        return TRUSTED if lift >= LEAST_LIFT else ON_TRIAL
    return REJECTED if one.judged.n >= ENOUGH_TO_REJECT and lift < LEAST_LIFT else ON_TRIAL
