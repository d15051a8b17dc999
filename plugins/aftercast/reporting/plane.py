"""The plane a series is drawn on: which span of time and values it shows, with few round labels on both axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import altair as alt
import polars as pl

from aftercast.reporting.charts import GRID, MUTED, axis
from aftercast.reporting.history import Unit

DAY = timedelta(days=1)
STEPS = [*(timedelta(minutes=minutes) for minutes in (15, 30, 60, 120, 180, 360, 720)), *(DAY * n for n in (1, 2, 7, 14, 28, 91, 365))]
LABEL = 96  # pixels a label of the time axis needs


@dataclass(frozen=True, slots=True)
class Plane:
    """Pixels [0, width] × [0, height] for times [start, end] and values [low, high]."""

    width: int
    height: int
    start: datetime
    end: datetime
    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def of(cls, rows: pl.DataFrame, start: datetime, end: datetime, width: int, height: int) -> Plane:
        """Return the plane for rows with actual_low, actual_high, expected, low and high."""
        lowest, highest = value_range(rows)
        ticks = round_values(lowest, highest)
        return cls(width, height, start, end, min(lowest, ticks[0]), max(highest, ticks[-1]), tuple(ticks))

    def x(self, field: str, *, labelled: bool = False) -> alt.X:
        scale = alt.Scale(domain=[self.start.isoformat(), self.end.isoformat()], type="utc", clamp=True)
        return alt.X(field, scale=scale, axis=self._times()) if labelled else alt.X(field, scale=scale)

    def y(self, field: str, unit: Unit | None = None) -> alt.Y:
        scale = alt.Scale(domain=[self.low, self.high], nice=False, zero=False)
        if unit is None:
            return alt.Y(field, scale=scale)
        return alt.Y(field, scale=scale, axis=axis(self.ticks, tick_labels(self.ticks, unit), grid=True))

    def pixel_x(self, at: datetime) -> float:
        return (at - self.start) / (self.end - self.start) * self.width

    def pixel_y(self, value: float) -> float:
        return self.height * (1 - (value - self.low) / (self.high - self.low))

    def at(self, pixel: float) -> str:
        return (self.start + (self.end - self.start) * (pixel / self.width)).isoformat()

    def value(self, pixel: float) -> float:
        return self.low + (1 - pixel / self.height) * (self.high - self.low)

    def _times(self) -> alt.Axis:
        """Label hours, days or weeks, whichever leaves each label room; the first label and midnights carry their date."""
        room = max(2, self.width // LABEL)
        step = next((step for step in STEPS if (self.end - self.start) / step <= room), STEPS[-1])
        origin = datetime(2001, 1, 1, tzinfo=self.start.tzinfo)  # a Monday
        first = origin + math.ceil((self.start - origin) / step) * step
        values = [(first + step * number).timestamp() * 1000 for number in range(math.floor((self.end - first) / step) + 1)]
        dated = f"utchours(datum.value) + utcminutes(datum.value) == 0 || time(datum.value) == {values[0] if values else 0}"
        hourly = f"{dated} ? utcFormat(datum.value, '%-d %b %H:%M') : utcFormat(datum.value, '%H:%M')"
        return alt.Axis(
            values=values,
            labelExpr=hourly if step < DAY else f"utcFormat(datum.value, '{'%-d %b' if step < STEPS[-1] else '%Y'}')",
            grid=False,
            domainColor=GRID,
            ticks=True,
            tickColor=GRID,
            tickSize=4,
            labelColor=MUTED,
            labelFontSize=11,
            labelPadding=4,
            labelOverlap=False,
            title=None,
        )


def value_range(rows: pl.DataFrame) -> tuple[float, float]:
    """Return what the vertical axis spans: all that was measured and expected, and as much of the band as does not dwarf it."""
    seen = [float(value) for name in ("actual_low", "actual_high", "expected") for value in rows[name].drop_nulls()]
    ends = [float(value) for name in ("low", "high") for value in rows[name].drop_nulls()]
    lowest, highest = min(seen), max(seen)
    reach = max(highest - lowest, 0.02 * max(abs(lowest), abs(highest)), 1e-12)
    low, high = max(min([*ends, lowest]), lowest - 0.6 * reach), min(max([*ends, highest]), highest + 0.6 * reach)
    from_zero = lowest >= 0 and low < 0.35 * high
    return 0.0 if from_zero else low - 0.12 * reach, high + 0.14 * reach


def round_values(lowest: float, highest: float) -> list[float]:
    """Return three to five round values between two ends."""
    rough = (highest - lowest) / 4
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * size for factor in (1, 2, 2.5, 5, 10) if factor * size >= rough)
    first, last = math.ceil(lowest / step - 1e-9), math.floor(highest / step + 1e-9)
    return [float(f"{step * number:.10g}") for number in range(first, last + 1)]


def tick_labels(ticks: Sequence[float], unit: Unit) -> list[str]:
    """Write ticks in the unit of the series, with no more digits than their distance needs."""
    if not unit.is_share:
        return [unit.write(tick) for tick in ticks]
    step = min((after - before for before, after in pairwise(ticks)), default=0.1) * 100
    digits = next((number for number in range(5) if abs(step * 10**number - round(step * 10**number)) < 1e-6), 4)
    return [f"{tick:.{digits}%}" for tick in ticks]
