"""What a signal's query returns for a star of a few rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from aftercast import warehouse
from aftercast.declarations import SignalRow
from aftercast.detection import masks_query, signal_query
from aftercast.detection.series import MASKS, POINTS
from aftercast.settings import PROJECT, load_deployment

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
        connection.execute("create table star.dim_journey as select 'checkout' as journey, 5 as grain_minutes union select 'hourly', 60")
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


def test_revenue_per_minute_is_the_same_whatever_the_bucket() -> None:
    revenue = SignalRow(name="revenue", fact="kpi", value="revenue_minor", per="minute", by=("journey", "region", "tier"))
    rows = [kpi("pay", 40, 30, 60_000, bucket_at=NOON + timedelta(minutes=minute)) for minute in (0, 5, 10)]
    assert run(revenue, rows)["value"].to_list() == [120.0] * 3
    wide = run(revenue.model_copy(update={"grain_minutes": 15}), rows)
    assert wide["value"].to_list() == [120.0]
    assert wide["segment"].to_list() == ["region=eu,tier=gold"]


def test_the_bucket_of_a_journey_longer_than_that_of_the_signal_counts() -> None:
    revenue = SignalRow(name="revenue", fact="kpi", value="revenue_minor", per="minute", by=("journey",), grain_minutes=15)
    assert run(revenue, [kpi("pay", 40, 30, 60_000, journey="hourly")])["value"].to_list() == [10.0]


def test_a_ratio_over_less_than_its_least_volume_is_missing_and_keeps_its_sides() -> None:
    rows = [metric(minute, asked) for minute, asked in ((0, 19.0), (5, 20.0))]
    rows += [metric(minute, 1.0, metric="errors") for minute in (0, 5)]
    found = run(ERRORS.model_copy(update={"minimum_volume": 20.0}), rows)
    assert found["value"].to_list() == [None, 0.05]
    assert found["denominator"].to_list() == [19.0, 20.0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"value": "revenue_minor", "aggregate": "mean", "per": "minute"}, "only sums of journeys"),
        ({"numerator": "successes", "denominator": "attempts", "per": "minute"}, "only sums of journeys"),
        ({"fact": "metric", "value": "requests", "per": "minute"}, "only sums of journeys"),
        ({"value": "attempts", "minimum_volume": 5}, "needs numerator and denominator"),
    ],
)
def test_a_signal_that_makes_no_sense_is_refused(row: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SignalRow.model_validate({"name": "odd", "fact": "kpi", "by": [], **row})


def test_the_demo_company_watches_errors_latency_conversion_and_revenue_each_with_its_own_sensitivity() -> None:
    rows = {row.name: row for row in load_deployment(PROJECT / "config").signals}
    assert rows["error_ratio"].denominator == "requests"
    assert "region" in rows["latency_p95_ms"].by
    assert {"region", "tier", "plan"} < set(rows["conversion"].by)
    assert {"region", "tier", "plan"} < set(rows["revenue_per_minute"].by)
    assert rows["revenue_per_minute"].per == "minute"
    assert all("sensitivity" in row.model_fields_set for row in rows.values())


MASK_STAR = """
create schema star;
create table star.dim_run as select timestamptz '2026-03-09 00:00Z' as as_of;
create table star.fct_incident as
    select * replace (started_at::timestamptz as started_at, impact_end_at::timestamptz as impact_end_at),
        'production' as environment, 'us' as region
    from (values
        ('real', 'real', 'resolved', '2026-03-02 12:00Z', '2026-03-02 13:00Z'),
        ('announced', 'maintenance', 'open', '2026-03-03 02:00Z', '2026-03-03 03:00Z'),
        ('off', 'maintenance', 'cancelled', '2026-03-04 02:00Z', '2026-03-04 03:00Z'),
        ('whole', 'maintenance', 'resolved', '2026-03-05 02:00Z', '2026-03-05 03:00Z')
    ) as rows (incident_id, mode, status, started_at, impact_end_at);
create table star.bridge_incident_service as
    select * from (values ('real', 'cart'), ('announced', 'cart'), ('announced', 'mail')) as rows (incident_id, service);
create table star.fct_change as
    select * replace (started_at::timestamptz as started_at, finished_at::timestamptz as finished_at),
        'mail' as service, 'production' as environment, 'eu' as region
    from (values
        ('deploy', 'deploy', '2026-03-02 12:00Z', '2026-03-02 12:05Z'),
        ('work', 'maintenance', '2026-03-06 02:00Z', '2026-03-06 04:00Z'),
        ('forgotten', 'maintenance', '2026-03-06 12:00Z', null),
        ('going on', 'maintenance', '2026-03-08 23:00Z', null)
    ) as rows (change_id, kind, started_at, finished_at);
"""


def test_masks_are_incidents_everywhere_and_maintenance_of_the_services_it_names() -> None:
    with warehouse.connect(None) as connection:
        connection.execute(MASK_STAR)
        found = warehouse.frame(connection, masks_query())
    assert dict(found.schema) == MASKS
    assert [
        (row["kind"], row["name"], row["service"], row["region"], f"{row['ended_at']:%d %H}") for row in found.iter_rows(named=True)
    ] == [
        ("incident", "real", "", "", "02 13"),
        ("maintenance", "announced", "cart", "us", "03 03"),
        ("maintenance", "announced", "mail", "us", "03 03"),
        ("maintenance", "forgotten", "mail", "eu", "07 12"),
        ("maintenance", "going on", "mail", "eu", "09 00"),
        ("maintenance", "whole", "", "us", "05 03"),
        ("maintenance", "work", "mail", "eu", "06 04"),
    ]
