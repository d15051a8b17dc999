"""Which days of which signals are laid out again: those whose points are a function of something else than when they were laid out.

What the points of a signal on a day are a function of is told by a mark per day (`signals.marks_query`), the signal's query and the code.
Nothing here knows where points lie.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from aftercast.declarations import SignalRow
from aftercast.detection.signals import signal_query, spills
from aftercast.window import DAY

Origins = dict[date, dict[str, str]]
"""Of each day: the signals that have points on it, and a fingerprint of what these are a function of."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Days that follow each other, and the signals that are laid out on all of them."""

    days: tuple[date, ...]
    signals: tuple[str, ...]


def origins(signals: Sequence[SignalRow], marks: Mapping[str, pl.DataFrame], code: str) -> Origins:
    """Return what the points of every day are a function of.

    Args:
        signals: what is watched.
        marks: of each signal by name, what `marks_query` returns.
        code: fingerprint of the code that lays out.
    """
    found: Origins = {}
    for signal in signals:
        known = {date.fromisoformat(day): mark for day, mark in marks[signal.name].select("day", "mark").iter_rows()}
        head = f"{code}\n{signal_query(signal)}\n"
        # A bucket that begins on a day and ends on the next one is made of both.
        after = DAY if spills(signal) else 0 * DAY
        for day in known.keys() | {day - after for day in known}:
            made_of = f"{head}{known.get(day)}\n{known.get(day + after)}"
            found.setdefault(day, {})[signal.name] = hashlib.sha256(made_of.encode()).hexdigest()[:16]
    return found


def stale(wanted: Origins, kept: Origins) -> dict[date, tuple[str, ...]]:
    """Return the days that are not as wanted, in order, each with the signals to lay out again: none where one only has to go."""
    return {
        day: tuple(sorted(name for name, made_of in signals.items() if kept.get(day, {}).get(name) != made_of))
        for day, signals in sorted(wanted.items())
        if kept.get(day) != signals
    }


def batches(days: Mapping[date, tuple[str, ...]], n_points: Mapping[tuple[date, str], int], at_once: int) -> Iterator[Batch]:
    """Yield what `stale` returned in runs of days that can be read at once: at most so many points, or one day.

    `n_points` says how many points a signal has on a day.
    """
    run: list[date] = []
    signals: tuple[str, ...] = ()
    size = 0
    for day, names in days.items():
        own = sum(n_points.get((day, name), 0) for name in names)
        if run and (day != run[-1] + DAY or names != signals or size + own > at_once):
            yield Batch(tuple(run), signals)
            run, size = [], 0
        run.append(day)
        signals, size = names, size + own
    if run:
        yield Batch(tuple(run), signals)
