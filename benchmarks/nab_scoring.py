"""The Numenta Anomaly Benchmark's corpus and its scoring rules; promises NAB's own numbers to rounding, and reads labels for nothing else.

Rules (Lavin and Ahmad 2015, arXiv:1510.03336). The first 15 % of a file's rows, 750 at most, are not scored. Rows at or above the
threshold are alarms. In a window the earliest alarm counts, worth s(r) / s(-1) times the weight of a true positive, where
s(y) = 2 / (1 + e^(5y)) - 1 and r runs from -1 at the window's first row to -1/width at its last; a window without alarm costs the weight
of a false negative. Every alarm outside costs up to the weight of a false positive: s of its distance past the last window in units of
that window's width, -1 beyond three widths or before any window. One threshold per profile serves all files, and the sum is put on a
scale where a detector that never alarms has 0 and a perfect one 100.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from aftercast.errors import AftercastError

Array = npt.NDArray[np.float64]
Whole = npt.NDArray[np.intp]

PROBATION, PROBATION_ROWS = 0.15, 750
NEVER = 1.1
"""A threshold no score reaches."""
STEEPNESS, FAR = 5.0, 3.0
STAMP = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True, slots=True)
class Profile:
    """What a true positive is worth and what a false positive and a missed window cost."""

    name: str
    true_positive: float
    false_positive: float
    false_negative: float


@dataclass(frozen=True, slots=True)
class Series:
    """One file: `times` in seconds and `values` (NaN where missing) in the order of its rows; `group/file.csv` is its name."""

    name: str
    times: Array
    values: Array

    @property
    def group(self) -> str:
        return self.name.split("/")[0]


@dataclass(frozen=True, slots=True)
class Rows:
    """What an alarm at each row would be worth.

    Attributes:
        credit: (T,) between -1 and 1, before weights.
        window: (T,) number of the window the row is in; -1 outside, -2 in the probationary period.
        n_windows: windows of the file, also those an alarm cannot reach.
    """

    credit: Array
    window: Whole
    n_windows: int


def read_series(folder: Path) -> list[Series]:
    """Read `data/<group>/<file>.csv` in order of name; rows keep their order, however odd their stamps are.

    Raises:
        AftercastError: there is no file, a column is missing, a stamp or a value cannot be read; names the file and the row.
    """
    paths = sorted((folder / "data").glob("*/*.csv"))
    if not paths:
        raise AftercastError(f"no files data/<group>/<file>.csv in {folder}; give the folder of NAB's data, windows.json and profiles.json")
    return [_read(path, path.relative_to(folder / "data").as_posix()) for path in paths]


def _read(path: Path, name: str) -> Series:
    try:
        rows = pl.read_csv(path, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise AftercastError(f"{name} is not a table of timestamp,value: {str(error).splitlines()[0]}") from error
    if not {"timestamp", "value"} <= set(rows.columns):
        raise AftercastError(f"{name} has the columns {', '.join(rows.columns)}; timestamp and value are needed")
    stamp, text = rows["timestamp"].str.strip_chars(), rows["value"].str.strip_chars()
    times = stamp.str.to_datetime(STAMP, strict=False)
    values = text.cast(pl.Float64, strict=False)
    missing = text.is_null() | text.str.to_lowercase().is_in(["", "nan", "na", "null"])
    for what, given, bad in (("stamp", stamp, times.is_null()), ("value", text, values.is_null() & ~missing)):
        if bad.any():
            row = int(bad.fill_null(value=True).arg_max() or 0)
            raise AftercastError(f"{name}, line {row + 2}: cannot read the {what} {given[row]!r}; {int(bad.sum())} such rows in the file")
    seconds = times.dt.epoch("us").to_numpy() / 1e6
    return Series(name, seconds.astype(np.float64), values.cast(pl.Float64).fill_null(np.nan).to_numpy().astype(np.float64))


def read_windows(folder: Path, series: Sequence[Series]) -> dict[str, list[tuple[int, int]]]:
    """Return first and last row of every window per file.

    Raises:
        AftercastError: `windows.json` lacks a file, or a window does not begin and end at rows of its file.
    """
    labels = _json(folder / "windows.json")
    found = {}
    for one in series:
        if one.name not in labels:
            raise AftercastError(f"windows.json says nothing about {one.name}; a file without anomalies needs an empty list")
        found[one.name] = [(_row(one, start), _row(one, end)) for start, end in labels[one.name]]
        for before, after in pairwise(found[one.name]):
            if before[1] >= after[0]:
                raise AftercastError(f"windows.json: the windows of {one.name} overlap or are out of order at row {after[0]}")
    return found


def _row(series: Series, stamp: str) -> int:
    """First row with a stamp."""
    seconds = datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp()
    rows = np.flatnonzero(series.times == seconds)
    if not len(rows):
        raise AftercastError(f"windows.json: {series.name} has no row stamped {stamp}")
    return int(rows[0])


def read_profiles(folder: Path) -> list[Profile]:
    """Read the weights of `profiles.json`, in its order."""
    weights = {name: found["CostMatrix"] for name, found in _json(folder / "profiles.json").items()}
    return [Profile(name, cost["tpWeight"], cost["fpWeight"], cost["fnWeight"]) for name, cost in weights.items()]


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AftercastError(f"cannot read {path.name}: {error}") from error
    return found


def sigmoid(position: float) -> float:
    """Return the credit at a position: near 1 at -1, 0 at 0, -1 beyond 3."""
    return -1.0 if position > FAR else 2.0 / (1.0 + math.exp(STEEPNESS * position)) - 1.0


def probation(n_rows: int) -> int:
    return min(int(PROBATION * n_rows), PROBATION_ROWS)


def judge(n_rows: int, windows: Sequence[tuple[int, int]]) -> Rows:
    """Say what an alarm at each row is worth, given first and last row of every window in order."""
    credit, window = np.full(n_rows, -1.0), np.full(n_rows, -1, dtype=np.intp)
    best = sigmoid(-1.0)
    for number, (first, last) in enumerate(windows):
        width = last - first + 1
        for row in range(first, last + 1):
            credit[row] = sigmoid(-(last - row + 1) / width) / best
            window[row] = number
        until = windows[number + 1][0] if number + 1 < len(windows) else n_rows
        for row in range(last + 1, until):
            credit[row] = sigmoid((row - last) / max(width - 1, 1))
    window[: probation(n_rows)] = -2
    return Rows(credit, window, len(windows))


@dataclass(frozen=True, slots=True)
class Sweep:
    """Raw scores at every threshold that matters, from none on downward, before they are put on NAB's scale."""

    thresholds: Array
    raw: Array
    n_windows: int
    profile: Profile

    def scaled(self, raw: float) -> float:
        """Return a raw score where never alarming is 0 and perfection 100; NaN without windows."""
        null, perfect = -self.profile.false_negative * self.n_windows, self.profile.true_positive * self.n_windows
        return 100.0 * (raw - null) / (perfect - null) if self.n_windows else math.nan

    def best(self) -> tuple[float, float]:
        """Return the highest score and the highest threshold that reaches it."""
        place = int(np.argmax(self.raw))
        return self.scaled(float(self.raw[place])), float(self.thresholds[place])

    def raw_at(self, threshold: float) -> float:
        """Return the raw score at a threshold."""
        place = int(np.searchsorted(-self.thresholds, -threshold, side="right")) - 1
        return float(self.raw[max(place, 0)])

    def at(self, threshold: float) -> float:
        """Return the score at a threshold."""
        return self.scaled(self.raw_at(threshold))


def sweep(judged: Mapping[str, Rows], scores: Mapping[str, Array], profile: Profile) -> Sweep:
    """Lower the threshold from none through every score of every file and note the sum of the files.

    Raises:
        AftercastError: a file's scores are too few, too many, missing or outside [0, 1].
    """
    level, change = [np.array([NEVER])], [np.array([0.0])]
    start, n_windows = 0.0, 0
    for name, rows in judged.items():
        score = scores[name]
        if score.shape != rows.credit.shape or not np.all((score >= 0.0) & (score <= 1.0)):
            raise AftercastError(f"{name}: {rows.credit.size} scores in [0, 1] are needed")
        outside = rows.window == -1
        level.append(score[outside])
        change.append(rows.credit[outside] * profile.false_positive)
        n_windows += rows.n_windows
        for number in range(rows.n_windows):
            inside = np.flatnonzero(rows.window == number)
            if not len(inside):
                continue  # wholly in the probationary period: nobody can find or miss it
            start -= profile.false_negative
            order = inside[np.argsort(-score[inside], kind="stable")]
            best = np.maximum.accumulate(np.maximum(rows.credit[order] * profile.true_positive, -profile.false_negative))
            level.append(score[order])
            change.append(np.diff(best, prepend=-profile.false_negative))
    levels, changes = np.concatenate(level), np.concatenate(change)
    order = np.argsort(-levels, kind="stable")
    total = start + np.cumsum(changes[order])
    last = np.append(np.flatnonzero(np.diff(levels[order])), len(order) - 1)
    return Sweep(levels[order][last], total[last], n_windows, profile)
