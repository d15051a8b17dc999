"""The second of two identical incidents on a series, when the first is long enough to bend training.

Each case is a latency gauge at 15 minutes over three weeks, in an environment of its own. The first incident lasts 48 to 84 hours and ends
two to five days before the second begins, which has the same height, length and clock time. Recall is the share of second incidents on
which an alarm in the right direction is raised within `IN_TIME` of their start: with the first masked from training as a known incident,
without masks, and by Prophet alone with a 99 % interval and two points, refitted daily (our exact batch as the library's stand-in).
`false_per_case` counts alarms between the end of the first and the start of the second; `few_false` is Prophet alone at the first
threshold with at most `FEW_FALSE` of them per case, because recall can be bought.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from aftercast.detection import detect
from aftercast.detection.series import MASKS
from aftercast.window import Window
from benchmarks import detection_peers as peers
from benchmarks.episode_scoring import Alarm, as_alarms
from benchmarks.injected import TEST_DAYS, TEST_START, Line, World, points, quiet, signals

Array = npt.NDArray[np.float64]

N_CASES = 72
GRAIN, HISTORY = 15, 14
HOUR = 60 // GRAIN
IN_TIME = 2 * HOUR
AFTERMATH = 6 * HOUR  # the end of the first may still be felt so long
INTERVAL = 2.576
THRESHOLDS = (INTERVAL, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 10.0, 14.0)
FEW_FALSE = 0.05


@dataclass(frozen=True, slots=True)
class Case:
    """A series and the first buckets of both incidents, of the same length."""

    line: Line
    first: int
    second: int
    length: int

    def environment(self, number: int) -> str:
        return f"case{number:03d}"


def cases(n_cases: int, seed: int) -> list[Case]:
    found = []
    for number in range(n_cases):
        line = quiet((seed, number, 2), GRAIN, HISTORY)
        random = np.random.default_rng([seed, number, 3])
        length = int(random.integers(48, 85)) * HOUR
        second = line.test_from + int(random.integers(12, 60)) * HOUR
        first = second - (int(random.integers(2, 5)) + -(-length // (24 * HOUR))) * 24 * HOUR
        value = line.value.copy()
        push = float(np.exp(random.uniform(np.log(3.0), np.log(8.0)))) * float(np.median(line.deviation))
        for start in (first, second):
            value[start : start + length] += push
        found.append(Case(replace(line, value=value), first, second, length))
    return found


def product(given: Sequence[Case], *, masked: bool) -> list[Alarm]:
    """Run the product's detector; `masked`: the first incidents are known to it."""
    names = [case.environment(number) for number, case in enumerate(given)]
    lines = [case.line for case in given]
    step = timedelta(minutes=GRAIN)
    masks = pl.DataFrame(
        [
            {
                "environment": name,
                "started_at": case.line.start + case.first * step,
                "ended_at": case.line.start + (case.first + case.length) * step,
            }
            for name, case in zip(names, given, strict=True)
            if masked
        ],
        schema=dict(MASKS),
    )
    window = Window(lines[0].start, TEST_START + timedelta(days=TEST_DAYS))
    anomalies = detect(points(lines, range(len(lines)), names), signals(lines), masks, window).anomalies
    return as_alarms(anomalies, dict(enumerate(lines)))


def library_model(given: Sequence[Case], *, masked: bool) -> tuple[World, list[Array]]:
    """Return the series and their scores in units of the model's noise."""
    lines = []
    for case in given:
        value = case.line.value.copy()
        if masked:
            value[case.first : case.first + case.length] = np.nan
        lines.append(replace(case.line, value=value))
    made = World(tuple(lines), ())
    return made, peers.interval(made)


def judged(given: Sequence[Case], alarms: Sequence[Alarm]) -> dict[str, float]:
    found = np.zeros(len(given), dtype=bool)
    n_false = 0
    for alarm in alarms:
        case = given[alarm.series]
        if (
            alarm.sign > 0
            and alarm.at is not None
            and case.second <= alarm.at < case.second + IN_TIME
            and alarm.start >= case.second - HOUR
        ):
            found[alarm.series] = True
        elif case.first + case.length + AFTERMATH <= alarm.start and alarm.end <= case.second - HOUR:
            n_false += 1
    return {"recall": round(float(found.mean()), 4), "false_per_case": round(n_false / len(given), 3)}


def masking(seed: int, n_cases: int = N_CASES) -> dict[str, Any]:
    """Return recall of the second incident by what was masked from training."""
    given = cases(n_cases, seed)
    found: dict[str, Any] = {"n": n_cases}
    for name, masked in (("masked", True), ("unmasked", False)):
        found[name] = judged(given, product(given, masked=masked))
    for name, masked in (("library_model_unmasked", False), ("library_model_masked", True)):
        made, scores = library_model(given, masked=masked)
        rows = {at: judged(given, peers.alarms(made, scores, at, 2)) for at in THRESHOLDS}
        found[name] = rows[INTERVAL]
        calm = next((row for row in rows.values() if row["false_per_case"] <= FEW_FALSE), None)
        found[f"{name}_few_false"] = calm
    return found
