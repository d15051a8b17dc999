"""Resources that filled up before an incident, or stood near their limit during it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aftercast.correlation.association import rank_correlation
from aftercast.correlation.harm import CLEAR
from aftercast.correlation.semantics import SATURATION, Meaning
from aftercast.correlation.telemetry import HOUR, Floats, Normal, Panel, normal_before

SATURATION_LEAD = 3 * HOUR
STEADY, FILLED, NEAR_LIMIT = 0.8, 0.2, 0.8
"""A resource fills when it rises steadily (rank correlation with time) by a fifth of its level; near its limit is 80 % of it."""


@dataclass(frozen=True, slots=True)
class Saturation:
    """A resource that filled up before the onset, or stood near its limit after it."""

    metric: str
    region: str
    unit: str
    filling: bool
    usual: float
    seen: float
    since: int
    z: float


def saturations(panel: Panel, normal: Normal, onset: int, during: slice, as_of: int) -> dict[str, Saturation]:
    """Per service the resource that filled before the onset (beyond what the clock explains), else one near its limit during it."""
    rows = [i for i, series in enumerate(panel.series) if series.meaning == Meaning(SATURATION, 1) and bool(normal.known[i])]
    found: dict[str, Saturation] = {}
    lead = panel.between(onset - SATURATION_LEAD, onset - panel.grain + 1)
    if normal.is_stale or not rows:
        return found
    part = panel.only(rows)
    earlier = normal_before(part, onset - SATURATION_LEAD, as_of)
    for position, row in enumerate(rows):
        series, values = panel.series[row], panel.values[row, lead].astype(np.float64)
        values = values[np.isfinite(values)]
        usual, spread = float(normal.centre[row]), float(normal.up[row])
        saturation: Saturation | None = None
        if values.size >= 12:
            late = float(np.median(values[-6:]))
            rise = late - float(np.median(values[:6])) - (usual - float(earlier.centre[position]))
            clear = rise >= max(FILLED * abs(usual), 3 * _jitter(values)) and late > usual + spread
            if clear and rank_correlation(np.arange(values.size, dtype=np.float64), values) >= STEADY:
                since = int(panel.times[lead][0])
                saturation = Saturation(series.metric, series.region, series.unit, True, usual, late, since, (late - usual) / spread)
        seen = panel.values[row, during].astype(np.float64)
        seen = seen[np.isfinite(seen)]
        limit = _limit(series.unit)
        if saturation is None and limit and seen.size:
            level = float(np.sort(seen)[-3:].mean())
            if level >= NEAR_LIMIT * limit and level > usual + CLEAR / 2 * spread:
                z = (level - usual) / spread
                saturation = Saturation(series.metric, series.region, series.unit, False, usual, level, onset, z)
        held = found.get(series.service)
        if saturation is not None and (held is None or (saturation.filling, saturation.z) > (held.filling, held.z)):
            found[series.service] = saturation
    return found


def _jitter(values: Floats) -> float:
    """Spread from point to point, free of the trend."""
    return float(np.median(np.abs(np.diff(values)))) * 1.05


def _limit(unit: str) -> float:
    return {"ratio": 1.0, "1": 1.0, "percent": 100.0, "%": 100.0, "pct": 100.0}.get(unit.lower(), 0.0)
