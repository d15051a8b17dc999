"""Chance, by name: every random number of the demo company comes from a stream keyed by seed, purpose and day, week or incident.

So a value depends on what it is, never on which window asked for it. `drift` is smooth over midnight for the same reason.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

BUCKETS = 288
"""Five-minute buckets of a day."""
EPOCH = datetime(2020, 1, 6, tzinfo=UTC)
"""A Monday; weeks are counted from here."""
STORY_EPOCH = datetime(2026, 9, 21, tzinfo=UTC)
"""A Monday; the first day of a story cycle, and the day growth is measured from."""


class Stream(IntEnum):
    """What a stream of random numbers is for."""

    DEMAND_DAY = 1
    DEMAND_HOUR = 2
    KPI = 3
    PROMOTION = 4
    TELEMETRY = 5
    TELEMETRY_HOUR = 6
    GAPS = 7
    CHANGES = 8
    DECK = 9
    WEEK = 10
    FAULT = 11
    RESPONSE = 12
    DECOY = 13
    ALERTS = 14
    ALERT_NOISE = 15
    LESSON = 16
    LOGS = 17
    KPI_GAPS = 18
    BLIPS = 19
    MAINTENANCE = 20
    REVIEW = 21


def generator(seed: int, stream: Stream, *keys: int) -> np.random.Generator:
    """Return the generator of one purpose; keys may be negative."""
    return np.random.default_rng(np.random.SeedSequence([seed, int(stream), *(key + 2**31 for key in keys)]))


def token(seed: int, *parts: object) -> str:
    """Return eight hexadecimal digits that name something for good."""
    return hashlib.blake2s("|".join(map(str, (seed, *parts))).encode(), digest_size=4).hexdigest()


def week_of(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(weeks=1)


def week_start(week: int) -> datetime:
    return EPOCH + timedelta(weeks=week)


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def bucket_times(day: date) -> npt.NDArray[np.datetime64]:
    """Starts of the day's buckets as microsecond datetimes (UTC)."""
    return np.datetime64(day.isoformat(), "us") + np.arange(BUCKETS) * np.timedelta64(5, "m")


def whole_seconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def drift(seed: int, stream: Stream, day: date, series: int, per_day: int) -> Array:
    """Return smooth noise of about unit size, [series, BUCKETS], continuous over midnight.

    Independent normal values at `per_day` knots, joined by straight lines; the knot at the end is the next day's first.
    """
    today = generator(seed, stream, day.toordinal()).standard_normal((series, per_day))
    tomorrow = generator(seed, stream, day.toordinal() + 1).standard_normal((series, per_day))
    knots = np.concatenate([today, tomorrow[:, :1]], axis=1)
    place = np.arange(BUCKETS) * per_day / BUCKETS
    left = place.astype(int)
    part = place - left
    return np.asarray(knots[:, left] * (1 - part) + knots[:, left + 1] * part)


def counts(mean: Array, normal: Array) -> Array:
    """Return whole counts with Poisson-like spread around `mean`, monotone in both arguments.

    The same `normal` with a smaller mean gives a smaller or equal count: that is what makes a world with and one without a fault
    comparable point by point.
    """
    root = np.maximum(np.sqrt(np.maximum(mean, 0.0)) + normal / 2, 0.0)
    return np.where(mean > 0, np.rint(np.maximum(root * root - 0.25, 0.0)), 0.0)
