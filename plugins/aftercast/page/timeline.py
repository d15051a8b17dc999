"""What happened around an incident on one axis of time: people's steps, changes, alerts and episodes of watched series. Pure.

Places are per cent of the axis, so that one drawing fits every width; heights and labels are in pixels. The axis shows the incident and
some time before it; what lies outside is counted, never squeezed in, and stands in the list beneath.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from aftercast.reporting import wording

SERIES = 10  # lanes of signals; the others are counted
ROWS = 5  # labels above each other in one lane
PIXELS = 760.0  # the width labels are laid out for; narrower pages hide them
LETTER = 6.5
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10080)  # minutes between ticks
PHASES = ("started", "detected", "declared", "acknowledged", "mitigated", "resolved")


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment in a lane. `label` is empty when it would stand in the way of another; `row` is its height; `end`: it stands to the left."""

    x: float
    kind: str
    title: str
    label: str = ""
    row: int = 0
    end: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of time in a lane."""

    x: float
    width: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One line of the drawing."""

    name: str
    note: str
    kind: str
    marks: tuple[Mark, ...] = ()
    bars: tuple[Bar, ...] = ()
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Timeline:
    """The drawing.

    Attributes:
        ticks: place and words of each line of the axis.
        hit: where customers were hit, place and width.
        earlier, later: how many things lie outside the axis.
        told: the drawing in a sentence.
    """

    start: datetime
    end: datetime
    ticks: tuple[tuple[float, str], ...]
    hit: tuple[float, float]
    lanes: tuple[Lane, ...]
    earlier: int
    later: int
    told: str


def drawn(
    incident: dict[str, Any],
    entries: Sequence[dict[str, Any]],
    episodes: Sequence[dict[str, Any]],
    probabilities: dict[str, float],
    as_of: datetime,
) -> Timeline | None:
    """Lay out the timeline of an incident; None when it has no start.

    Args:
        incident: row of `mart_incidents`.
        entries: rows of `mart_incident_timeline`, in order.
        episodes: rows of `mart_anomalies`.
        probabilities: of changes that are candidates, by id.
        as_of: until when is known; an incident and an episode that are not over reach to here.
    """
    start = incident["started_at"]
    if start is None:
        return None
    over = max(start, incident["impact_end_at"] or as_of)
    end = max(over, incident["resolved_at"] or over)
    length = max(end - start, timedelta(minutes=10))
    before = max(timedelta(minutes=30), min(length, timedelta(hours=3)))
    axis = _Axis(start - before, end + max(timedelta(minutes=5), length * 0.12))
    inside = [entry for entry in entries if entry["occurred_at"] and axis.holds(entry["occurred_at"])]
    lanes = [_steps(axis, inside, start), *_changes(axis, inside, probabilities), *_alerts(axis, inside)]
    signals, left_out = _signals(axis, episodes, inside, as_of)
    lanes += signals
    if left_out:
        lanes.append(Lane(f"{left_out} more series", "listed below", "more"))
    times = [entry["occurred_at"] for entry in entries if entry["occurred_at"]]
    kinds = [entry["kind"] for entry in entries]
    told = (
        f"From {wording.day_and_time(axis.start)} to {wording.day_and_time(axis.end)} UTC: "
        f"{wording.count(kinds.count('change'), 'change')}, {wording.count(kinds.count('alert'), 'entry of alerts', 'entries of alerts')}, "
        f"{wording.count(kinds.count('anomaly'), 'episode')} of watched series and the steps of people; "
        "the list below says them all in order."
    )
    return Timeline(
        axis.start,
        axis.end,
        _ticks(axis),
        (axis.x(start), max(0.3, axis.x(over) - axis.x(start))),
        tuple(lanes),
        sum(moment < axis.start for moment in times),
        sum(moment > axis.end for moment in times),
        told,
    )


@dataclass(frozen=True, slots=True)
class _Axis:
    start: datetime
    end: datetime

    def x(self, moment: datetime) -> float:
        share = (moment - self.start) / (self.end - self.start)
        return round(100 * min(1.0, max(0.0, share)), 2)

    def holds(self, moment: datetime) -> bool:
        return self.start <= moment <= self.end


def offset(moment: datetime, start: datetime) -> str:
    """Return how long after the start of impact something was: `+15 min`, `−8 min`, `start`."""
    minutes = (moment - start).total_seconds() / 60
    if abs(minutes) < 0.5:
        return "start"
    return f"{'+' if minutes > 0 else '−'}{wording.minutes(abs(minutes))}"


def _ticks(axis: _Axis) -> tuple[tuple[float, str], ...]:
    minutes = (axis.end - axis.start).total_seconds() / 60
    step = timedelta(minutes=next((step for step in STEPS if minutes / step <= 7), STEPS[-1]))
    midnight = axis.start.replace(hour=0, minute=0, second=0, microsecond=0)
    at = midnight + step * -(-(axis.start - midnight) // step)
    found, day = [], None
    while at <= axis.end:
        x = axis.x(at)
        if x < 96:  # a label at the very end would be cut
            words = wording.day(at) if step >= timedelta(days=1) else f"{at:%H:%M}" if at.date() == day else f"{wording.day(at)} {at:%H:%M}"
            found.append((x, words))
            day = at.date()
        at += step
    return tuple(found)


def _steps(axis: _Axis, entries: Sequence[dict[str, Any]], start: datetime) -> Lane:
    """What people did. An event beside a phase of the same minute says the same and shows as one."""
    wanted = [entry for entry in entries if entry["kind"] in (*PHASES, "event")]
    phases = {round(axis.x(entry["occurred_at"]), 1) for entry in wanted if entry["kind"] in PHASES}
    marks = [
        Mark(
            axis.x(entry["occurred_at"]),
            "phase" if entry["kind"] in PHASES else "event",
            f"{entry['occurred_at']:%H:%M} UTC, {offset(entry['occurred_at'], start)}: {entry['text']}",
            wording.shorten(entry["text"] or "", 30),
        )
        for entry in wanted
        if entry["kind"] in PHASES or round(axis.x(entry["occurred_at"]), 1) not in phases
    ]
    placed, rows = _placed(marks)
    return Lane("People", "steps taken", "steps", placed, rows=rows)


def _changes(axis: _Axis, entries: Sequence[dict[str, Any]], probabilities: dict[str, float]) -> Iterable[Lane]:
    found = []
    for entry in entries:
        if entry["kind"] == "change":
            share = probabilities.get(entry["subject_id"])
            likely = share is not None and share >= 0.1
            title = f"{entry['occurred_at']:%H:%M} UTC: {entry['text']}"
            label = f"{wording.shorten(_bare(entry['text'] or ''), 26)} {wording.percent(share)}" if likely else ""
            found.append(Mark(axis.x(entry["occurred_at"]), "suspect" if likely else "change", title, label))
    if found:
        placed, rows = _placed(found)
        yield Lane("Changes", wording.count(len(found), "change"), "changes", placed, rows=rows)
    else:
        yield Lane("Changes", "none of what is watched, in this time", "nothing")


def _bare(text: str) -> str:
    """Return a change's words without what the mart says of its probability."""
    return text.rsplit(" (suspected", 1)[0]


def _alerts(axis: _Axis, entries: Sequence[dict[str, Any]]) -> Iterable[Lane]:
    marks = tuple(
        Mark(axis.x(entry["occurred_at"]), "alert", f"{entry['occurred_at']:%H:%M} UTC: {entry['text']}")
        for entry in entries
        if entry["kind"] == "alert"
    )
    if marks:
        yield Lane("Alerts", wording.count(len(marks), "rule"), "alerts", marks)
    else:
        yield Lane("Alerts", "none in this time", "nothing")


def _signals(axis: _Axis, episodes: Sequence[dict[str, Any]], entries: Sequence[dict[str, Any]], as_of: datetime) -> tuple[list[Lane], int]:
    """Lanes of the severest signals, first to deviate first; series of one signal, subject and region share a lane."""
    lanes: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for episode in episodes:
        ended = episode["ended_at"] or as_of
        if episode["started_at"] and ended >= axis.start and episode["started_at"] <= axis.end:
            key = (episode["signal"] or "signal", episode["subject"] or "", episode["region"] or "")
            lanes.setdefault(key, []).append(episode | {"ended_at": ended})
    if not lanes:
        marks = tuple(
            Mark(axis.x(entry["occurred_at"]), "alert", f"{entry['occurred_at']:%H:%M} UTC: {entry['text']}")
            for entry in entries
            if entry["kind"] == "anomaly"
        )
        return [
            Lane("Signals", "only where episodes began", "signals", marks)
            if marks
            else Lane("Signals", "no watched series deviated", "nothing")
        ], 0
    severest = sorted(lanes, key=lambda key: (-max(one["score"] or 0.0 for one in lanes[key]), key))[:SERIES]
    found = []
    for key in sorted(severest, key=lambda key: (min(one["started_at"] for one in lanes[key]), key)):
        signal, subject, region = key
        there = lanes[key]
        name = f"{signal.replace('_', ' ')}{f' of {subject}' if subject else ''}{f' ({region})' if region else ''}"
        ways = sorted({one["direction"] or "" for one in there} - {""})
        series = len({one["series_id"] for one in there})
        note = ", ".join([*ways, *([f"{series} series"] if series > 1 else [])])
        bars = tuple(_bar(axis, name, begin, until, kind) for begin, until, kind in _stretches(there))
        alarms = {axis.x(one["alarmed_at"]) for one in there if one["alarmed_at"] and axis.holds(one["alarmed_at"])}
        marks = tuple(Mark(x, "alarm", "alarm raised") for x in sorted(alarms)[:1])
        found.append(Lane(name, note, "signals", marks, bars))
    return found, len(lanes) - len(severest)


def _stretches(episodes: Sequence[dict[str, Any]]) -> list[tuple[datetime, datetime, str]]:
    """Return the stretches of time that episodes cover together; one that harms is `hurts`."""
    found: list[tuple[datetime, datetime, str]] = []
    for one in sorted(episodes, key=lambda one: one["started_at"]):
        kind = "hurts" if one["hurts"] else "harmless"
        if found and found[-1][2] == kind and one["started_at"] <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], one["ended_at"]), kind)
        else:
            found.append((one["started_at"], one["ended_at"], kind))
    return found


def _bar(axis: _Axis, name: str, begin: datetime, until: datetime, kind: str) -> Bar:
    left, right = axis.x(begin), axis.x(until)
    return Bar(left, round(max(0.6, right - left), 2), kind, f"{name}: {begin:%H:%M} to {until:%H:%M} UTC")


def _placed(marks: Sequence[Mark]) -> tuple[tuple[Mark, ...], int]:
    """Give every mark's label a row in which nothing crosses it, or none; return how many rows that takes.

    From right to left, so that labels climb to the left and the line from a label down to its mark stays clear of the others.
    """
    dots = [one.x for one in marks]
    placed: list[tuple[float, tuple[float, float], int]] = []
    found = []
    for mark in sorted(marks, key=lambda one: (one.kind not in ("phase", "suspect"), -one.x)):
        wide = (len(mark.label) * LETTER + 18) * 100 / PIXELS
        end = mark.x + wide > 100
        span = (mark.x - wide, mark.x) if end else (mark.x, mark.x + wide)
        row = next((row for row in range(ROWS) if _clear(mark.x, span, row, dots, placed)), None) if mark.label and span[0] >= 0 else None
        if row is None:
            found.append(Mark(mark.x, mark.kind, mark.title))
            continue
        placed.append((mark.x, span, row))
        found.append(Mark(mark.x, mark.kind, mark.title, mark.label, row, end))
    return tuple(sorted(found, key=lambda one: one.x)), max((row for _, _, row in placed), default=0) + 1


def _clear(
    x: float, span: tuple[float, float], row: int, dots: Sequence[float], placed: Sequence[tuple[float, tuple[float, float], int]]
) -> bool:
    """Return whether a label would cross no mark, no other label, and no line from a label down to its mark."""
    if row == 0 and any(span[0] - 0.7 < dot < span[1] + 0.7 and dot != x for dot in dots):
        return False
    for other, there, level in placed:
        if level == row and span[0] < there[1] and there[0] < span[1]:
            return False
        if (level > row and span[0] < other < span[1]) or (row > level and there[0] < x < there[1]):
            return False
    return True
