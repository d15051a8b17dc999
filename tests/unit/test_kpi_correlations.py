"""Which metrics move with which customer figures: the planted link is found, distant services are left out and counted, doubt is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from aftercast.analyses import DERIVED
from aftercast.correlation import kpi_correlations as module
from aftercast.correlation import reading
from aftercast.correlation.inputs import PACKED, Inputs
from aftercast.correlation.kpi_correlations import correlate_kpis

AS_OF = datetime(2026, 9, 28, tzinfo=UTC)
BUCKETS = 28 * 96
GRAIN = timedelta(minutes=15)
TIMES = pl.datetime_range(AS_OF - BUCKETS * GRAIN, AS_OF, GRAIN, closed="left", eager=True).alias("bucket_at")


def metric(service: str, name: str, values: np.ndarray, region: str = "eu", kind: str = "gauge") -> pl.DataFrame:
    told = {"environment": "production", "service": service, "region": region, "metric": name, "attributes": "", "kind": kind, "unit": ""}
    return pl.DataFrame({"bucket_at": TIMES, "value": values}).with_columns(**{key: pl.lit(value) for key, value in told.items()})


def figures(successes: np.ndarray, region: str = "eu", journey: str = "shop") -> pl.DataFrame:
    told = {"journey": journey, "step": "checkout", "region": region}
    rows = pl.DataFrame({"bucket_at": TIMES, "attempts": [1000] * BUCKETS, "successes": successes.astype(int)})
    return rows.with_columns(**{key: pl.lit(value) for key, value in told.items()}, revenue_minor=pl.col("successes") * 500)


@pytest.fixture(scope="module")
def frames() -> dict[str, pl.DataFrame]:
    """The pool of payments-db fills now and then; cards are declined half an hour later, in eu only."""
    rng = np.random.default_rng(11)
    trouble = np.zeros(BUCKETS)
    for start in rng.integers(96, BUCKETS - 40, 25):
        trouble[start : start + rng.integers(4, 16)] = 1.0
    pool = 0.4 + 0.05 * rng.standard_normal(BUCKETS) + 0.4 * trouble
    return {
        "metric_points": pl.concat(
            [
                metric("payments-db", "connections_used", pool),
                metric("payments-db", "connections_used", 0.4 + 0.05 * rng.standard_normal(BUCKETS), region="us"),
                metric("web", "latency_p95_ms", 200 + 20 * rng.standard_normal(BUCKETS)),
                metric("flat", "queue_depth", np.zeros(BUCKETS)),
                *(metric(f"far-{number}", "latency_p95_ms", 100 + rng.standard_normal(BUCKETS)) for number in range(9)),
            ]
        ),
        "kpi_points": pl.concat(
            [
                figures(rng.binomial(1000, 0.95 - 0.1 * np.roll(trouble, 2))),
                figures(rng.binomial(1000, np.full(BUCKETS, 0.95)), region="us"),
            ]
        ),
        "journeys": pl.DataFrame({"journey": ["shop", "shop"], "step": ["checkout"] * 2, "position": [1, 1], "service": ["web", "flat"]}),
        "dependencies": pl.DataFrame({"environment": [""], "caller": ["web"], "callee": ["payments-db"], "provenance": ["declared"]}),
        "incidents": pl.DataFrame(
            {
                "incident_id": ["i1"],
                "environment": ["production"],
                "started_at": [AS_OF - timedelta(days=3)],
                "impact_end_at": [AS_OF - timedelta(days=3) + timedelta(hours=1)],
            }
        ),
    }


@pytest.fixture(scope="module")
def found(frames) -> pl.DataFrame:
    return correlate_kpis(Inputs.of(frames), AS_OF)


def test_the_planted_link_is_found_with_its_lag_in_its_region(found):
    rows = found.filter((pl.col("status") == "significant") & (pl.col("kpi") == "conversion"))
    assert rows.select("service", "service_region", "region", "lag_minutes").rows()[0] == ("payments-db", "eu", "eu", 30)
    best = rows.row(0, named=True)
    assert -1 < best["ci_low"] < best["correlation"] < best["ci_high"] < 0
    assert best["q_value"] < 1e-6 and best["hops"] == 1 and 30 < best["n_effective"] <= best["n"]
    assert rows.filter(pl.col("region") == "us").is_empty()


def test_a_row_says_what_it_means_and_never_what_causes_what(found):
    said = found.row(0, named=True)["meaning"]
    assert said.startswith("When payments-db connections_used in eu is above its usual level, shop")
    assert "30 minutes later" in said and "does not say that one causes the other" in said
    assert found.filter(pl.col("status") == "not_significant")["meaning"].str.contains("told from chance").all()


def test_regions_are_not_mixed(found):
    assert found.filter(
        (pl.col("region") != "") & (pl.col("service_region") != "") & (pl.col("region") != pl.col("service_region"))
    ).is_empty()


def test_services_a_journey_does_not_reach_are_few_and_the_others_counted(found):
    far = found.filter(pl.col("hops").is_null())
    assert far["service"].n_unique() == module.OTHERS
    assert set(found["n_services_left_out"]) == {9 - module.OTHERS}


def test_a_series_that_does_not_move_is_not_enough_data(found):
    rows = found.filter(pl.col("service") == "flat")
    assert set(rows["status"]) == {"not_enough_data"}
    assert rows.select("correlation", "p_value", "q_value", "lag_minutes").null_count().row(0) == (rows.height,) * 4
    assert rows["meaning"].str.contains("hardly moves").all()


def test_a_relation_that_rests_on_incidents_says_what_is_left_outside(frames):
    spans = frames["metric_points"].filter((pl.col("service") == "payments-db") & (pl.col("region") == "eu") & (pl.col("value") > 0.62))
    incidents = pl.DataFrame({"incident_id": [str(number) for number in range(spans.height)], "started_at": spans["bucket_at"]})
    incidents = incidents.with_columns(environment=pl.lit("production"), impact_end_at=pl.col("started_at") + timedelta(hours=1))
    row = correlate_kpis(Inputs.of({**frames, "incidents": incidents}), AS_OF).row(0, named=True)
    assert row["correlation"] < -0.15
    assert abs(row["quiet_correlation"]) < 0.1 and 0 < row["n_quiet"] < row["n"]
    assert "outside incidents" in row["meaning"]


def test_pairs_beyond_the_most_are_counted_and_the_nearest_kept(frames, monkeypatch):
    monkeypatch.setattr(module, "MOST_PAIRS", 12)
    rows = correlate_kpis(Inputs.of(frames), AS_OF)
    assert rows.height == 12
    assert set(rows["service"]) <= {"web", "flat", "payments-db"}
    assert rows.unique("family")["n_pairs_left_out"].sum() > 0


def test_packed_points_and_any_order_give_the_same_rows(frames, found):
    keys = ["environment", "service", "region", "metric", "attributes", "kind", "unit"]
    point = pl.struct(pl.col("bucket_at").dt.epoch("us").alias("at"), pl.col("value").cast(pl.Float32)).alias(PACKED)
    packed = frames["metric_points"].group_by(keys).agg(point)
    shuffled = {name: frame.sample(fraction=1.0, shuffle=True, seed=3) for name, frame in frames.items()}
    for other in ({**frames, "metric_points": packed}, shuffled):
        again = correlate_kpis(Inputs.of(other), AS_OF)
        assert again.select("pair_id", "lag_minutes", "status").equals(found.select("pair_id", "lag_minutes", "status"))


def test_nothing_after_the_as_of_time_is_seen(frames):
    early = AS_OF - timedelta(days=7)
    until = {name: frame.filter(pl.col("bucket_at") < early) if "bucket_at" in frame.columns else frame for name, frame in frames.items()}
    assert correlate_kpis(Inputs.of(frames), early).equals(correlate_kpis(Inputs.of(until), early))


@pytest.mark.parametrize("missing", ["metric_points", "kpi_points", "journeys", "dependencies", "incidents"])
def test_what_is_missing_leaves_a_table_and_no_exception(frames, missing):
    rows = correlate_kpis(Inputs.of({name: frame for name, frame in frames.items() if name != missing}), AS_OF)
    assert rows.schema == pl.Schema(DERIVED["kpi_correlations"])
    assert rows.is_empty() == (missing in {"metric_points", "kpi_points"})


def test_the_star_is_asked_for_sums_of_revenue_by_step():
    text = reading.query(
        "kpi_points", "star.fct_kpi_point", ["journey", "step", "region", "bucket_at", "attempts", "revenue_minor", "tier"]
    )
    assert "sum(revenue_minor)" in text and text.endswith("group by journey, step, region, bucket_at")
