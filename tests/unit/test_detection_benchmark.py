"""The detection benchmark's own rules: what counts as found, false and late, and that its worlds can be drawn again."""

from __future__ import annotations

import numpy as np

from benchmarks.episode_scoring import Alarm, tally
from benchmarks.injected import KINDS, SHAPES, Event, World, quiet, world

LINE = quiet((1,), 15, 21)
START = LINE.test_from + 100
EVENT = Event(series=0, shape="level", start=START, end=START + 8, sign=1, height=6.0)
WORLD = World((LINE,), (EVENT,))


def alarm(start: int, end: int, sign: int = 1) -> Alarm:
    return Alarm(0, START + start, START + end, sign, START + start)


def test_an_overlapping_alarm_in_the_right_direction_finds_an_anomaly() -> None:
    judged = tally(WORLD, [alarm(1, 6)])
    assert judged.f1 == 1.0
    assert judged.row()["lead_minutes_median"] == 30.0  # the second bucket ends half an hour after the onset


def test_an_alarm_all_day_long_finds_nothing() -> None:
    judged = tally(WORLD, [alarm(-40, 50)])
    assert (len(judged.found), len(judged.missed)) == (0, 1)


def test_the_wrong_direction_finds_nothing_and_is_not_false() -> None:
    judged = tally(WORLD, [alarm(1, 6, sign=-1)])
    assert (len(judged.found), len(judged.false)) == (0, 0)


def test_many_alarms_on_one_anomaly_count_once() -> None:
    judged = tally(WORLD, [alarm(0, 2), alarm(3, 5), alarm(6, 8), alarm(40, 44)])
    assert judged.row()["precision"] == 0.5


def test_alarms_in_the_history_do_not_count() -> None:
    early = Alarm(0, LINE.test_from - 20, LINE.test_from - 10, 1, LINE.test_from - 20)
    assert not tally(WORLD, [early]).false


def test_a_world_holds_every_kind_and_shape_and_can_be_drawn_again() -> None:
    first, again = world(72, 3), world(72, 3)
    assert {line.kind for line in first.lines} == set(KINDS)
    assert {event.shape for event in first.events} == set(SHAPES)
    assert first.events == again.events
    assert all(np.array_equal(one.value, two.value, equal_nan=True) for one, two in zip(first.lines, again.lines, strict=True))
    assert all(
        first.lines[event.series].test_from <= event.start < event.end <= len(first.lines[event.series].value) for event in first.events
    )
