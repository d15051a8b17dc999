"""What a signal's query returns for a star of a few rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from aftercast import warehouse
from aftercast.detection import signal_query
from aftercast.detection.series import POINTS
from aftercast.settings import SignalRow

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def metric(minute: int, value: float, **other: object) -> dict[str, object]:
    row = {
        "environment": "production",
        "service": "cart",
        "region": "eu",
        "metric": "requests",
        "attributes": "",
        "kind": "counter",
        "unit": "1",
        "bucket_at": NOON + timedelta(minutes=minute),
        "value": value,
        "n_samples": 1,
        "expected_samples": 1,
    }
    return row | other


def kpi(step: str, attempts: int, successes: int, revenue_minor: int | None = None, **other: object) -> dict[str, object]:
    row = {
        "journey": "checkout",
        "step": step,
        "region": "eu",
        "tier": "gold",
        "plan": "",
        "country": "",
        "bucket_at": NOON,
        "attempts": attempts,
        "successes": successes,
        "revenue_minor": revenue_minor,
        "earns": step == "pay",
    }
    return row | other


def run(signal: SignalRow, rows: list[dict[str, object]]) -> pl.DataFrame:
    star = pl.DataFrame(
        rows, schema_overrides={"bucket_at": pl.Datetime("us", "UTC"), "value": pl.Float64, "revenue_minor": pl.Int64}, strict=False
    )
    assert not star.is_empty()
    with warehouse.connect(None) as connection:
        connection.execute("create schema star")
        connection.execute(f"create table star.fct_{signal.fact}_point as select * from star")
        found = warehouse.frame(connection, signal_query(signal))
    assert {name: found.schema[name] for name in found.columns} == dict(POINTS)
    return found.sort("series_id", "bucket_at")


ERRORS = SignalRow(name="error_ratio", fact="metric", numerator="errors", denominator="requests", by=("service", "region"))


def test_a_ratio_keeps_both_sides_and_names_its_series() -> None:
    found = run(ERRORS, [metric(0, 200.0), metric(0, 4.0, metric="errors"), metric(0, 1.0, metric="errors", attributes="code=500")])
    assert found.row(0, named=True) == {
        "series_id": "error_ratio|environment=production|service=cart|region=eu",
        "signal": "error_ratio",
        "subject_kind": "service",
        "subject": "cart",
        "environment": "production",
        "region": "eu",
        "segment": "region=eu",
        "bucket_at": NOON,
        "numerator": 5.0,
        "denominator": 200.0,
        "value": 0.025,
    }


@pytest.mark.parametrize(
    "rows",
    [
        [metric(0, 0.0), metric(0, 0.0, metric="errors")],
        [metric(0, 200.0)],
        [metric(0, 200.0, n_samples=3, expected_samples=5), metric(0, 4.0, metric="errors")],
    ],
    ids=["nothing was asked", "errors were not reported", "a part of the samples is missing"],
)
def test_a_ratio_that_cannot_be_known_is_missing(rows: list[dict[str, object]]) -> None:
    assert run(ERRORS, rows)["value"].to_list() == [None]


def test_environments_are_never_mixed() -> None:
    found = run(
        ERRORS, [metric(0, 1.0, metric=name, environment=place) for name in ("errors", "requests") for place in ("production", "staging")]
    )
    assert found["environment"].to_list() == ["production", "staging"]
    assert found["series_id"].n_unique() == 2


def test_finer_buckets_are_brought_to_the_grain_of_the_signal() -> None:
    rows = [metric(minute, value, kind="gauge", metric="cpu") for minute, value in ((0, 1.0), (5, 3.0), (15, 7.0))]
    cpu = SignalRow(name="cpu", fact="metric", value="cpu", by=("service",), grain_minutes=15, aggregate="mean")
    found = run(cpu, rows)
    assert found["bucket_at"].to_list() == [NOON, NOON + timedelta(minutes=15)]
    assert found["value"].to_list() == [2.0, 7.0]
    assert found["segment"].to_list() == ["all", "all"]


def test_a_journey_signal_takes_the_steps_it_names_or_all() -> None:
    rows = [kpi("browse", 100, 50), kpi("pay", 40, 30, 123_456)]
    conversion = SignalRow(name="conversion", fact="kpi", numerator="successes", denominator="attempts", by=("journey", "region", "tier"))
    assert run(conversion, rows)["value"].to_list() == [80 / 140]
    named = run(conversion.model_copy(update={"steps": ("pay",)}), rows)
    assert named["value"].to_list() == [0.75]
    assert named.select("subject_kind", "subject", "segment", "series_id").row(0) == (
        "journey",
        "checkout",
        "region=eu,tier=gold",
        "conversion|journey=checkout|region=eu|tier=gold",
    )


def test_revenue_is_in_major_units_and_only_of_steps_that_earn() -> None:
    revenue = SignalRow(name="revenue", fact="kpi", value="revenue_minor", by=("journey",))
    assert run(revenue, [kpi("browse", 100, 50, 999), kpi("pay", 40, 30, 123_456)])["value"].to_list() == [1234.56]


def test_quotes_in_names_do_not_leave_the_text() -> None:
    odd = SignalRow(name="odd", fact="metric", value="it's", by=("service",))
    assert run(odd, [metric(0, 3.0, metric="it's")])["value"].to_list() == [3.0]
