"""Exceptions that hold for a time: masks of the detector, known unusual times, versions on trial; each with its end or date of review."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from aftercast.declarations import CalendarRow, DetectorRow, RankerRow
from aftercast.promoting import SHADOW_DAYS
from aftercast.reporting.figures import ExceptionLine
from aftercast.reporting.wording import day, listing

MOST = 6


@dataclass(frozen=True, slots=True)
class Declared:
    """The rows of a configuration in which exceptions stand."""

    detectors: tuple[DetectorRow, ...] = ()
    rankers: tuple[RankerRow, ...] = ()
    calendar: tuple[CalendarRow, ...] = ()


NONE = Declared()


def lines(declared: Declared, as_of: datetime) -> tuple[ExceptionLine, ...]:
    """Return what is open at a moment and ends, or is due for review, by that date. What has no end is no exception but the rule."""
    found = [*_trials(declared.detectors, as_of), *_trials(declared.rankers, as_of), *_masks(declared, as_of)]
    return tuple(sorted(found, key=lambda line: (line.until, line.title)))


def _trials(rows: Iterable[DetectorRow | RankerRow], as_of: datetime) -> Iterator[ExceptionLine]:
    for row in rows:
        if row.state == "shadow" and row.since is not None and row.since <= as_of:
            yield ExceptionLine("trial", row.version, row.since + timedelta(days=SHADOW_DAYS))


def _masks(declared: Declared, as_of: datetime) -> Iterator[ExceptionLine]:
    masks = [("mask", mask) for row in declared.detectors if row.state != "retired" for mask in row.masks]
    for kind, row in (*masks, *(("known time", one) for one in declared.calendar)):
        if row.windows and row.windows[-1].end > as_of:
            yield ExceptionLine(kind, row.name, row.windows[-1].end)


def notes(found: tuple[ExceptionLine, ...], as_of: datetime) -> tuple[str, ...]:
    """Say them in one sentence; nothing without any."""
    words = {"mask": "mask {} until {}", "known time": "known time {} until {}"}
    trial = ("trial of {} to be reviewed from {}", "trial of {} due for review since {}")
    told = [
        (trial[line.until <= as_of] if line.kind == "trial" else words[line.kind]).format(line.title.replace("_", " "), day(line.until))
        for line in found
    ]
    return (f"Exceptions with an end: {listing(told, MOST)}.",) if told else ()
