"""Holidays as columns of the design matrix, built as the library builds them from its `holidays` frame.

A holiday is a name and a UTC day, widened by a window of days before and after. Every day of the window has a column and a coefficient of
its own, shared by all occurrences of the name; a column is 1 on the points of its day and 0 elsewhere. Columns are named and sorted as in
`prophet.Prophet.make_holiday_features`, so coefficients can be exchanged with the library by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

Array = npt.NDArray[np.float64]

DAY = 86_400.0
EPOCH = date(1970, 1, 1)
DELIMITER = "_delim_"  # between a component's name and its column, as the library has it


@dataclass(frozen=True, slots=True)
class Holiday:
    """One occurrence of a holiday; `lower_window` (0 or below) and `upper_window` (0 or above) are days around `day` that count too."""

    name: str
    day: date
    lower_window: int = 0
    upper_window: int = 0
    prior_scale: float | None = None  # of every occurrence; None is the `holidays_prior_scale` of the Spec

    def __post_init__(self) -> None:
        if not self.name or DELIMITER in self.name:
            raise ValueError(f"holiday {self.name!r} on {self.day}: a name must not be empty and must not contain {DELIMITER!r}")
        if self.lower_window > 0 or self.upper_window < 0:
            raise ValueError(f"holiday {self.name!r} on {self.day}: lower_window must be 0 or below, upper_window 0 or above")
        if self.prior_scale is not None and not self.prior_scale > 0:
            raise ValueError(f"holiday {self.name!r} on {self.day}: the prior scale must be above 0")


def holidays_from(frame: pl.DataFrame) -> tuple[Holiday, ...]:
    """Return the rows of a frame with columns `ds` (date or UTC time), `holiday` and optionally the windows and `prior_scale`.

    Raises:
        ValueError: a column or a value is missing, or a holiday is refused; names the row.
    """
    missing = {"ds", "holiday"} - set(frame.columns)
    if missing:
        raise ValueError(f"holidays need the columns ds and holiday; {', '.join(sorted(missing))} missing")
    if ("lower_window" in frame.columns) != ("upper_window" in frame.columns):
        raise ValueError("holidays need both lower_window and upper_window, or neither")
    found = []
    for number, row in enumerate(frame.iter_rows(named=True)):
        day, name = row["ds"], row["holiday"]
        if day is None or name is None:
            raise ValueError(f"holidays: row {number} has no {'ds' if day is None else 'holiday'}")
        lower, upper, scale = (_number(row.get(key)) for key in ("lower_window", "upper_window", "prior_scale"))
        if lower is None or upper is None:  # the library reads a row with half a window as one without
            lower = upper = 0.0
        found.append(Holiday(str(name), day.date() if isinstance(day, datetime) else day, int(lower), int(upper), scale))
    return tuple(found)


def _number(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)


def holiday_columns(holidays: Sequence[Holiday], default_scale: float) -> tuple[tuple[str, float], ...]:
    """Return name and prior scale of every column, sorted by name.

    Raises:
        ValueError: occurrences of one holiday have different prior scales.
    """
    scales: dict[str, float] = {}
    for one in holidays:
        scale = default_scale if one.prior_scale is None else one.prior_scale
        if scales.setdefault(one.name, scale) != scale:
            raise ValueError(f"holiday {one.name!r} has prior scales {scales[one.name]} and {scale}; give every occurrence the same")
    return tuple((name, scales[name.split(DELIMITER)[0]]) for name in sorted(_days(holidays)))


def holiday_features(seconds: Array, holidays: Sequence[Holiday]) -> Array:
    """Return the columns (T, H) at UTC seconds since 1970."""
    days = np.floor(seconds / DAY)
    by_name = _days(holidays)
    columns = [np.isin(days, by_name[name]).astype(np.float64) for name in sorted(by_name)]
    return np.column_stack(columns) if columns else np.empty((len(seconds), 0))


def _days(holidays: Sequence[Holiday]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for one in holidays:
        for offset in range(one.lower_window, one.upper_window + 1):
            name = f"{one.name}{DELIMITER}{'+' if offset >= 0 else '-'}{abs(offset)}"
            found.setdefault(name, []).append((one.day + timedelta(days=offset) - EPOCH).days)
    return found
