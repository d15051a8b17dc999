"""Alarms against planted anomalies: what counts as found, what as false, and how late.

An anomaly is found by an alarm in a right direction that overlaps it or starts within `AFTER` of its start, and that began no more than an
hour (two buckets) before it: one day-long alarm finds nothing. An alarm that overlaps no anomaly, widened by `AFTER` on both sides, is
false; further alarms on an anomaly, and those in the wrong direction while it lasts, count neither way. Precision is found anomalies over
found anomalies and false alarms, so many alarms on one anomaly do not help. The delay runs from the onset of a found anomaly to the end of
the bucket at which the detector first alarmed on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from benchmarks.injected import Event, Line, World

AFTER = 30.0  # minutes, at least two buckets
BEFORE = 60.0


@dataclass(frozen=True, slots=True)
class Alarm:
    """Buckets [start, end) of a series; `sign` 0: either direction.

    `at` is the bucket whose arrival raised it, None where the method looks back over all.
    """

    series: int
    start: int
    end: int
    sign: int
    at: int | None


def as_alarms(anomalies: pl.DataFrame, lines: Mapping[int, Line]) -> list[Alarm]:
    """Return the anomalies of subjects `s<number>` in buckets of their series."""

    def bucket(line: Line, at: datetime) -> int:
        return (at - line.start) // timedelta(minutes=line.grain)

    found = []
    for row in anomalies.iter_rows(named=True):
        number = int(row["subject"][1:])
        line = lines[number]
        start, end, at = (bucket(line, row[name]) for name in ("started_at", "ended_at", "alarmed_at"))
        found.append(Alarm(number, start, end, 1 if row["direction"] == "up" else -1, at - 1))  # the bucket that ended then
    return found


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of anomalies and alarms of some series: found anomalies with their delay in minutes, missed ones, false alarms."""

    found: tuple[tuple[Event, float | None], ...]
    missed: tuple[Event, ...]
    false: tuple[Alarm, ...]

    @property
    def f1(self) -> float:
        return 2 * len(self.found) / max(2 * len(self.found) + len(self.missed) + len(self.false), 1)

    def row(self) -> dict[str, Any]:
        """Return precision, recall, F1 and the median delay; null where nothing could be counted."""
        n_found, n_missed, n_false = len(self.found), len(self.missed), len(self.false)
        delays = [delay for _, delay in self.found if delay is not None]
        return {
            "f1": round(self.f1, 4) if n_found + n_missed + n_false else None,
            "precision": round(n_found / (n_found + n_false), 4) if n_found + n_false else None,
            "recall": round(n_found / (n_found + n_missed), 4) if n_found + n_missed else None,
            "lead_minutes_median": float(np.median(delays)) if delays else None,
            "n": n_found + n_missed,
            "false": n_false,
        }

    def of(self, series: Iterable[int]) -> Tally:
        """Return the part of some of the series."""
        own = set(series)
        return Tally(
            tuple(pair for pair in self.found if pair[0].series in own),
            tuple(event for event in self.missed if event.series in own),
            tuple(alarm for alarm in self.false if alarm.series in own),
        )


def tally(world: World, alarms: Sequence[Alarm], series: Iterable[int] | None = None) -> Tally:
    """Judge alarms in the test weeks of all or some of the series."""
    numbers = list(range(len(world.lines)) if series is None else series)
    events: dict[int, list[Event]] = {number: [] for number in numbers}
    raised: dict[int, list[Alarm]] = {number: [] for number in numbers}
    for event in world.events:
        if event.series in events:
            events[event.series].append(event)
    for alarm in alarms:
        if alarm.series in raised and alarm.end > world.lines[alarm.series].test_from:
            raised[alarm.series].append(alarm)
    found, missed, false = [], [], []
    for number in numbers:
        grain = world.lines[number].grain
        after, before = (max(2, round(minutes / grain)) for minutes in (AFTER, BEFORE))
        for event in events[number]:
            hits = [
                alarm
                for alarm in raised[number]
                if event.start - before <= alarm.start < max(event.end, event.start + after)
                and alarm.end > event.start
                and alarm.sign * event.sign >= 0
            ]
            if not hits:
                missed.append(event)
                continue
            times = [alarm.at for alarm in hits if alarm.at is not None]
            found.append((event, float(max(min(times) + 1 - event.start, 1) * grain) if times else None))
        false += [
            alarm
            for alarm in raised[number]
            if all(alarm.end <= event.start - after or alarm.start >= event.end + after for event in events[number])
        ]
    return Tally(tuple(found), tuple(missed), tuple(false))
