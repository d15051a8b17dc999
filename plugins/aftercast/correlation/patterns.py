"""Where incidents pile up: by service, hour, weekday, kind of change, kind of cause, trigger, family, region; per month, quarter, year.

Each count is compared with an expectation that says what it rests on, by an exact conditional test of two Poisson rates:

- hours and weekdays: all hours observed in the period alike (`uniform`);
- kinds of change: as many incidents as the kind has of all changes of the period (`exposure`);
- the others: the same value's own rate before the period (`own_past`).

Below a floor, or without an expectation, a row says `not_enough_data`. Times are UTC; periods are cut where the data begins and at the
as-of time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl
from scipy import stats

from aftercast.correlation.inputs import MODEL_VERSION, Inputs
from aftercast.correlation.leading import adjusted, exact_ends
from aftercast.correlation.portraits import Portrait
from aftercast.correlation.precursors import NOT_BY_US, first_point
from aftercast.correlation.situation import Incident

PERIODS = ("month", "quarter", "year")
MONTHS = {"month": 1, "quarter": 3, "year": 12}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
FLOOR = 6
"""Fewer incidents on both sides together cannot differ from chance in a two-sided test of equal halves."""
FALSE_DISCOVERIES = 0.05
HOUR = timedelta(hours=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Row = dict[str, object]
Values = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Contrast:
    """A count beside what it is compared with. `n`, `others`: incidents; `weight`, `other_weight`: their exposures, in any one unit."""

    n: int
    others: int
    weight: float
    other_weight: float

    @property
    def is_possible(self) -> bool:
        return self.weight > 0 and self.other_weight > 0 and self.n + self.others >= FLOOR

    def ratio(self) -> tuple[float | None, float, float | None, float]:
        """Rate ratio, low and high end of its exact 95 % interval, two-sided p; None where no incident is on the other side."""
        total, share = self.n + self.others, self.weight / (self.weight + self.other_weight)
        p_value = float(stats.binomtest(self.n, total, share).pvalue)
        left, right = exact_ends(self.n, total)
        scale = self.other_weight / self.weight
        ratio = self.n / self.others * scale if self.others else None
        high = right / (1 - right) * scale if right < 1 else None
        return ratio, left / (1 - left) * scale, high, p_value


@dataclass(frozen=True, slots=True)
class Period:
    """A calendar period as far as it was observed: from `begin` until before `end`."""

    name: str
    start: datetime
    begin: datetime
    end: datetime


def pattern_rows(
    inputs: Inputs, incidents: Sequence[Incident], portraits: Sequence[Portrait], family_of: Mapping[str, str], as_of: datetime
) -> list[Row]:
    """Rows of `incident_patterns`; `inputs` conformed."""
    if not incidents:
        return []
    started = {one.incident_id: EPOCH + timedelta(microseconds=one.started) for one in incidents}
    since = _observed_since(inputs, min(started.values()))
    values = _values(incidents, portraits, family_of, started)
    rows: list[Row] = []
    for period in (each for name in PERIODS for each in _periods(name, since, as_of)):
        inside = {incident_id for incident_id, moment in started.items() if period.begin <= moment < period.end}
        before = {incident_id for incident_id, moment in started.items() if moment < period.begin}
        if not inside:
            continue
        changes = _changes(inputs.changes, period)
        of_period = [
            row
            for dimension, by_incident in values.items()
            for row in _dimension_rows(dimension, by_incident, inside, before, period, since, changes)
        ]
        rows.extend(_adjusted(of_period))
    return rows


def _dimension_rows(
    dimension: str, values: Values, inside: set[str], before: set[str], period: Period, since: datetime, changes: Mapping[str, int]
) -> Iterator[Row]:
    members: dict[str, list[str]] = defaultdict(list)
    for incident_id in sorted(inside):
        for value in values.get(incident_id, ()):
            members[value].append(incident_id)
    earlier = Counter(value for incident_id in before for value in values.get(incident_id, ()))
    known = sum(bool(values.get(incident_id)) for incident_id in inside)
    exposures = _uniform(dimension, period) or (changes if dimension == "change_type" else {})
    for value in sorted({*members, *(_uniform(dimension, period)), *(name for name, n in earlier.items() if n >= FLOOR)}):
        n = len(members[value])
        if dimension in ("hour", "weekday", "change_type"):
            total = float(sum(exposures.values()))
            contrast = Contrast(n, known - n, float(exposures.get(value, 0.0)), total - exposures.get(value, 0.0))
            expected = known * contrast.weight / total if total else None
            basis = "exposure" if dimension == "change_type" else "uniform"
        else:
            contrast = Contrast(n, earlier[value], (period.end - period.begin) / HOUR, max((period.begin - since) / HOUR, 0.0))
            expected = earlier[value] * contrast.weight / contrast.other_weight if contrast.other_weight else None
            basis = "own_past"
        yield _row(dimension, value, period, members[value], known, len(inside), contrast, expected, basis)


def _row(
    dimension: str,
    value: str,
    period: Period,
    members: Sequence[str],
    known: int,
    total: int,
    contrast: Contrast,
    expected: float | None,
    basis: str,
) -> Row:
    ratio, low, high, p_value = contrast.ratio() if contrast.is_possible else (None, None, None, None)
    return {
        "dimension": dimension,
        "value": value,
        "period": period.name,
        "period_start_at": period.start,
        "observed_from": period.begin,
        "observed_until": period.end,
        "n_incidents": len(members),
        "n_known": known,
        "n_period": total,
        "share": len(members) / known if known else None,
        "expected": expected,
        "basis": basis if expected is not None else None,
        "rate_ratio": ratio,
        "ratio_low": low,
        "ratio_high": high,
        "p_value": p_value,
        "incidents": list(members),
        "model_version": MODEL_VERSION,
    }


def _adjusted(rows: list[Row]) -> list[Row]:
    """Adjust for all rows tested in one period (Benjamini-Hochberg), and say what each row shows."""
    tested = [row for row in rows if row["p_value"] is not None]
    for row, q_value in zip(tested, adjusted([float(str(row["p_value"])) for row in tested]), strict=True):
        row["q_value"] = q_value
    return [{**row, "q_value": row.get("q_value"), **_status(row)} for row in rows]


def _status(row: Row) -> Row:
    if row["p_value"] is None:
        nothing = "nothing to compare with yet" if row["expected"] is None else f"fewer than {FLOOR} incidents to compare"
        return {"status": "not_enough_data", "reason": nothing}
    n, expected = int(str(row["n_incidents"])), float(str(row["expected"]))
    told = f"{n} where {expected:.1f} were expected"
    if float(str(row["q_value"])) > FALSE_DISCOVERIES:
        return {"status": "as_expected", "reason": f"{told}: within chance"}
    return {"status": "above_expected" if n > expected else "below_expected", "reason": told}


def _values(
    incidents: Sequence[Incident], portraits: Sequence[Portrait], family_of: Mapping[str, str], started: Mapping[str, datetime]
) -> dict[str, Values]:
    """Each dimension's values of each incident; several for services, none where nothing is known."""

    def known(value: str) -> tuple[str, ...]:
        return (value,) if value else ()

    return {
        "service": {one.incident_id: tuple(sorted(set(one.services) - {""})) for one in incidents},
        "hour": {one.incident_id: (f"{started[one.incident_id]:%H}",) for one in incidents},
        "weekday": {one.incident_id: (WEEKDAYS[started[one.incident_id].weekday()],) for one in incidents},
        "change_type": {one.incident_id: known(one.change_kind if one.kind == "change" else "") for one in portraits},
        "cause_kind": {one.incident_id: (one.kind,) for one in portraits},
        "trigger": {one.incident_id: known(one.trigger) for one in incidents},
        "family": {one.incident_id: known(family_of.get(one.incident_id, "")) for one in incidents},
        "region": {one.incident_id: known(one.region) for one in incidents},
    }


def _uniform(dimension: str, period: Period) -> dict[str, float]:
    """Observed hours of each hour of day or weekday; empty for other dimensions."""
    if dimension == "hour":
        found = {f"{hour:02d}": 0.0 for hour in range(24)}
    elif dimension == "weekday":
        found = dict.fromkeys(WEEKDAYS, 0.0)
    else:
        return {}
    moment = period.begin
    while moment < period.end:
        after = min(moment.replace(minute=0, second=0, microsecond=0) + HOUR, period.end)
        found[f"{moment:%H}" if dimension == "hour" else WEEKDAYS[moment.weekday()]] += (after - moment) / HOUR
        moment = after
    return found


def _changes(changes: pl.DataFrame, period: Period) -> dict[str, int]:
    """Changes of each kind in the period, what others announced left out."""
    rows = changes.filter((pl.col("started_at") >= period.begin) & (pl.col("started_at") < period.end) & ~pl.col("kind").is_in(NOT_BY_US))
    return dict(rows.group_by("kind").len().sort("kind").iter_rows())


def _observed_since(inputs: Inputs, first_incident: datetime) -> datetime:
    """When anything was first seen."""
    moments = [
        first_point(inputs.metric_points),
        inputs.changes["started_at"].min(),
        inputs.alerts["started_at"].min(),
        first_incident,
    ]
    return min(moment for moment in moments if isinstance(moment, datetime))


def _periods(name: str, since: datetime, as_of: datetime) -> Iterator[Period]:
    months = MONTHS[name]
    start = datetime(since.year, (since.month - 1) // months * months + 1, 1, tzinfo=UTC)
    while start < as_of:
        number = start.year * 12 + start.month - 1 + months
        end = datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)
        yield Period(name, start, max(start, since), min(end, as_of))
        start = end
