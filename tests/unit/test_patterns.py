"""Promises of incident patterns: counts beside an expectation that says what it rests on, and silence below the floor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from aftercast.correlation.families import Portrait
from aftercast.correlation.inputs import Inputs
from aftercast.correlation.patterns import WEEKDAYS, Contrast, pattern_rows
from aftercast.correlation.situation import Incident
from aftercast.correlation.surroundings import micros

START, AS_OF = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 11, 16, tzinfo=UTC)


def rows_of(moments: Sequence[datetime], *, changes: Sequence[tuple[str, datetime]] = (), **other: Any) -> list[dict[str, Any]]:
    incidents = [
        Incident(f"INC-{number}", "", "production", other.get("region", ""), ("store",), (), "", micros(at), micros(at) + 1)
        for number, at in enumerate(moments)
    ]
    nothing: Any = frozenset()
    portraits = [
        Portrait(
            one.incident_id, one.started, "change", other.get("change_kind", "deploy"), "store", 0.9, nothing, nothing, nothing, "", None
        )
        for one in incidents
    ]
    frame = pl.DataFrame(
        [{"change_id": str(number), "kind": kind, "service": "store", "started_at": at} for number, (kind, at) in enumerate(changes)]
        or [{"change_id": "first", "kind": "maintenance", "service": "store", "started_at": START}]
    )
    family_of = {one.incident_id: "f" for one in incidents}
    return pattern_rows(Inputs.of({"changes": frame}).conformed(), incidents, portraits, family_of, AS_OF)


def one(rows: list[dict[str, Any]], dimension: str, value: str, period: str, start: datetime) -> dict[str, Any]:
    return next(
        row for row in rows if (row["dimension"], row["value"], row["period"], row["period_start_at"]) == (dimension, value, period, start)
    )


def days(first: datetime, n: int, every: int = 1, hour: int = 3) -> list[datetime]:
    return [first.replace(hour=hour) + timedelta(days=every * number) for number in range(n)]


def test_an_hour_in_which_incidents_pile_up_is_named() -> None:
    rows = rows_of(days(datetime(2026, 10, 1, tzinfo=UTC), 12, every=2))
    row = one(rows, "hour", "03", "month", datetime(2026, 10, 1, tzinfo=UTC))
    assert (row["n_incidents"], row["n_known"], row["expected"], row["basis"]) == (12, 12, pytest.approx(0.5), "uniform")
    assert (row["status"], row["ratio_high"], row["rate_ratio"]) == ("above_expected", None, None)  # no other hour had any
    assert row["ratio_low"] > 1
    assert one(rows, "hour", "04", "month", datetime(2026, 10, 1, tzinfo=UTC))["n_incidents"] == 0


def test_weekdays_count_the_days_that_were_observed() -> None:
    rows = rows_of(days(datetime(2026, 11, 2, tzinfo=UTC), 14))
    month = [one(rows, "weekday", name, "month", datetime(2026, 11, 1, tzinfo=UTC)) for name in WEEKDAYS]
    assert sum(row["expected"] for row in month) == pytest.approx(14)
    assert month[6]["expected"] == pytest.approx(14 * 3 / 15)  # three Sundays in the first fifteen days
    assert {row["status"] for row in month} == {"as_expected"}


def test_a_service_is_compared_with_its_own_past() -> None:
    moments = [*days(datetime(2026, 9, 2, tzinfo=UTC), 3, every=10), *days(datetime(2026, 10, 1, tzinfo=UTC), 20)]
    row = one(rows_of(moments), "service", "store", "month", datetime(2026, 10, 1, tzinfo=UTC))
    assert (row["n_incidents"], row["basis"], row["expected"]) == (20, "own_past", pytest.approx(3 * 31 / 30))
    assert row["status"] == "above_expected"
    first = one(rows_of(moments), "service", "store", "month", datetime(2026, 9, 1, tzinfo=UTC))
    assert (first["status"], first["expected"], first["rate_ratio"]) == ("not_enough_data", None, None)


def test_a_kind_of_change_is_compared_with_how_often_it_happens() -> None:
    begin = datetime(2026, 10, 1, tzinfo=UTC)
    changes = [("deploy", at) for at in days(begin, 30)] + [("migration", at) for at in days(begin, 2)]
    rows = rows_of(days(begin, 8), changes=changes, change_kind="migration")
    row = one(rows, "change_type", "migration", "month", begin)
    assert (row["expected"], row["basis"], row["status"]) == (pytest.approx(8 * 2 / 32), "exposure", "above_expected")


def test_below_the_floor_nothing_is_compared() -> None:
    rows = rows_of(days(datetime(2026, 10, 1, tzinfo=UTC), 5))
    assert {row["status"] for row in rows} == {"not_enough_data"}
    assert all(row["p_value"] is None and row["ratio_low"] is None for row in rows)


def test_the_interval_is_the_exact_one_and_agrees_with_the_test() -> None:
    ratio, low, high, p_value = Contrast(9, 3, 10.0, 10.0).ratio()
    test = stats.binomtest(9, 12, 0.5)
    ends = test.proportion_ci(method="exact")
    assert (ratio, p_value) == (3.0, test.pvalue)
    assert high is not None
    assert low == pytest.approx(ends.low / (1 - ends.low))
    assert high == pytest.approx(ends.high / (1 - ends.high))


def test_chance_alone_shows_hardly_any_pattern() -> None:
    shown = tested = 0
    for world in range(10):
        chance = np.random.default_rng(world)
        moments = sorted(START + timedelta(hours=float(hour)) for hour in chance.uniform(0, (AS_OF - START) / timedelta(hours=1), 60))
        rows = rows_of(moments)
        shown += sum(row["status"] in ("above_expected", "below_expected") for row in rows)
        tested += sum(row["p_value"] is not None for row in rows)
    assert tested > 500
    assert shown / tested <= 0.01


def test_every_period_counts_each_incident_once_a_dimension() -> None:
    rows = rows_of(days(datetime(2026, 9, 2, tzinfo=UTC), 40), region="eu")
    for dimension in ("hour", "weekday", "cause_kind", "family", "region"):
        year = [row for row in rows if row["dimension"] == dimension and row["period"] == "year"]
        assert sum(row["n_incidents"] for row in year) == 40
        assert sorted(name for row in year for name in row["incidents"]) == sorted(f"INC-{number}" for number in range(40))
