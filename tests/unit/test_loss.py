"""Promises of measured loss, on a small shop with known noise."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from aftercast.measurement import Inputs, measure, windows
from aftercast.measurement.counterfactual import build_world
from aftercast.measurement.factors import weigh
from aftercast.measurement.outcomes import interval

START = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 35
GRAIN = timedelta(minutes=15)
AS_OF = START + timedelta(days=DAYS)
PRICE = 20.0
EDGES = [("web", "pay"), ("pay", "bank")]

Hit = tuple[datetime, datetime, str, float]


@lru_cache(maxsize=32)
def world(hits: tuple[Hit, ...] = (), seed: int = 3, journeys: tuple[str, ...] = ("shop",)) -> pl.DataFrame:
    """Browse -> buy in two regions; a hit lets that share of a region's buyers fail. Without hits: the same world as it would have been."""
    frames = []
    for place, journey in enumerate(journeys):
        times = [START + GRAIN * number for number in range(int(timedelta(days=DAYS) / GRAIN))]
        hours = np.array([moment.hour + moment.minute / 60 for moment in times])
        weekend = np.array([0.8 if moment.weekday() >= 5 else 1.0 for moment in times])
        for number, region in enumerate(("eu", "us")):
            chance = np.random.default_rng([seed, place, number])
            rate = 160 * np.exp(0.5 * np.cos(2 * np.pi * (hours - 18 + 6 * number) / 24)) * weekend * np.exp(np.arange(len(times)) * 2e-5)
            came = chance.poisson(rate * np.exp(0.03 * chance.standard_normal(len(times))))
            bought = chance.binomial(came, 0.4)
            kept = np.ones(len(times))
            for begin, end, where, share in hits:
                if where == region:
                    kept[[begin <= moment < end for moment in times]] *= 1 - share
            sold = np.random.default_rng([seed, place, number, 9]).binomial(bought, kept)
            label = {"journey": journey, "segment": f"region={region}", "region": region, "tier": "", "plan": "", "country": ""}
            basket = np.maximum(1 + 0.02 * chance.standard_normal(len(times)), 0.1)
            for step, attempts, wins, money in (("browse", came, came, None), ("buy", bought, sold, np.rint(sold * PRICE * 100 * basket))):
                frames.append(
                    pl.DataFrame({"bucket_at": times, "attempts": attempts.astype(int), "successes": wins.astype(int)}).with_columns(
                        *(pl.lit(text).alias(name) for name, text in label.items()),
                        pl.lit(step).alias("step"),
                        pl.lit("EUR" if money is not None else None, dtype=pl.String).alias("currency"),
                        pl.Series("revenue_minor", money, dtype=pl.Float64).cast(pl.Int64)
                        if money is not None
                        else pl.lit(None, dtype=pl.Int64).alias("revenue_minor"),
                    )
                )
    return pl.concat(frames)


def inputs(
    points: pl.DataFrame,
    incidents: list[tuple[str, datetime, datetime, str]],
    service: str | None = "web",
    journeys: tuple[str, ...] = ("shop",),
) -> Inputs:
    return Inputs(
        incidents=pl.DataFrame(
            [{"incident_id": name, "started_at": begin, "impact_end_at": end, "region": region} for name, begin, end, region in incidents],
            schema={
                "incident_id": pl.String,
                "started_at": pl.Datetime("us", "UTC"),
                "impact_end_at": pl.Datetime("us", "UTC"),
                "region": pl.String,
            },
        ),
        incident_services=pl.DataFrame(
            [{"incident_id": row[0], "service": service} for row in incidents if service],
            schema={"incident_id": pl.String, "service": pl.String},
        ),
        kpi_points=points,
        journeys=pl.DataFrame([{"journey": name, "currency": "EUR", "grain_minutes": 15} for name in journeys]),
        journey_services=pl.DataFrame(
            [
                {
                    "journey": name,
                    "step": step,
                    "position": position,
                    "service": f"{'' if name == 'shop' else name + '-'}{needed}",
                    "earns": step == "buy",
                }
                for name in journeys
                for position, (step, needed) in enumerate((("browse", "web"), ("buy", "pay")))
            ]
        ),
        dependencies=pl.DataFrame(EDGES, schema=["caller", "callee"], orient="row"),
    )


def revenue(points: pl.DataFrame, begin: datetime, end: datetime) -> float:
    inside = points.filter((pl.col("bucket_at") >= begin) & (pl.col("bucket_at") < end))
    return float(inside["revenue_minor"].sum()) / 100


def at(day: int, hour: float) -> datetime:
    return START + timedelta(days=day, hours=hour)


BEGIN, END = at(20, 12), at(20, 14)
DROP: tuple[Hit, ...] = ((BEGIN, END, "eu", 0.5), (BEGIN, END, "us", 0.5))


def test_a_planted_drop_is_recovered_within_the_interval():
    found = measure(inputs(world(DROP), [("a", BEGIN, END, "")]), AS_OF)
    row = found.incident_loss.row(0, named=True)
    true = revenue(world(), BEGIN, END) - revenue(world(DROP), BEGIN, END)
    assert row["status"] == "quantified"
    assert row["lost_revenue_low"] <= true <= row["lost_revenue_high"]
    assert row["lost_revenue"] == pytest.approx(true, rel=0.25)
    assert found.impact["lost_revenue"].sum() == pytest.approx(row["lost_revenue"], abs=0.011)
    assert set(found.impact["trained_until"].to_list()) == {AS_OF}


def test_quiet_incidents_cover_zero_about_as_often_as_stated():
    listed = [
        (f"q{day}", at(day, hour), at(day, hour + 1.5), "") for day, hour in zip(range(4, 33, 2), [3, 9, 15, 20, 11] * 3, strict=True)
    ]
    covered, flagged, n = 0, 0, 0
    for seed in (3, 4, 5, 6):
        found = measure(inputs(world(seed=seed), listed), AS_OF).incident_loss
        covered += found.filter((pl.col("lost_revenue_low") <= 0) & (pl.col("lost_revenue_high") >= 0)).height
        flagged += found.filter(pl.col("status") == "quantified").height
        n += found.height
    assert n == 60
    assert covered >= 0.8 * n
    assert flagged <= 0.12 * n


def test_a_small_loss_is_below_noise_and_keeps_its_sign():
    found = measure(inputs(world(), [(f"q{day}", at(day, 10), at(day, 11), "") for day in (6, 11, 16, 21, 26)]), AS_OF).impact
    quiet = found.filter(pl.col("status") == "below_noise")
    assert quiet.height >= 8
    assert quiet["lost_revenue"].min() < 0


def test_incidents_that_overlap_split_their_shared_minutes_and_count_nothing_twice():
    third = at(20, 13)
    alone = measure(inputs(world(DROP), [("a", BEGIN, END, "")]), AS_OF).incident_loss["lost_revenue"].sum()
    same = measure(inputs(world(DROP), [("a", BEGIN, END, ""), ("b", BEGIN, END, "")]), AS_OF)
    halves = same.incident_loss["lost_revenue"].to_list()
    assert halves[0] == pytest.approx(halves[1], abs=0.02)
    assert sum(halves) == pytest.approx(alone, abs=0.05)
    assert same.impact["shared_minutes"].to_list() == [120.0] * 4
    partly = measure(inputs(world(DROP), [("a", BEGIN, END, ""), ("b", third, END, "")]), AS_OF)
    cut = measure(inputs(world(DROP), [("a", BEGIN, third, ""), ("b", third, END, "")]), AS_OF)
    gross = {
        name: (part.impact["expected_revenue"] - part.impact["actual_revenue"]).sum() for name, part in (("partly", partly), ("cut", cut))
    }
    assert gross["partly"] == pytest.approx(gross["cut"], rel=0.02)
    look_back = 15.0  # the journey already deviated before b was reported
    assert partly.impact.filter(pl.col("incident_id") == "b")["shared_minutes"].to_list() == [60.0 + look_back] * 2


def test_results_do_not_depend_on_the_order_of_rows_and_repeat_exactly():
    listed = [("a", BEGIN, END, ""), ("b", at(20, 13), at(20, 15), ""), ("c", at(9, 8), at(9, 9), "eu")]
    first = inputs(world(DROP), listed)
    turned = replace(
        first,
        incidents=first.incidents.reverse(),
        kpi_points=first.kpi_points.sample(fraction=1.0, shuffle=True, seed=1),
        journey_services=first.journey_services.reverse(),
    )
    one, two = measure(first, AS_OF), measure(turned, AS_OF)
    assert one.impact.equals(two.impact)
    assert one.incident_loss.equals(two.incident_loss)


def test_rows_after_the_as_of_time_are_not_read():
    early = at(27, 0)
    points = world(DROP)
    late = points.filter(pl.col("bucket_at") >= early).with_columns(pl.col("revenue_minor") * 3, pl.col("successes") * 3)
    spoiled = pl.concat([points.filter(pl.col("bucket_at") < early), late])
    listed = [("a", BEGIN, END, "")]
    assert measure(inputs(points, listed), early).impact.equals(measure(inputs(spoiled, listed), early).impact)


def test_sales_that_come_back_are_subtracted():
    points = world(DROP)
    surge = (pl.col("bucket_at") >= END) & (pl.col("bucket_at") < END + timedelta(hours=4))
    more = [
        pl.when(surge).then((pl.col(name) * 1.25).round()).otherwise(pl.col(name)).cast(pl.Int64).alias(name)
        for name in ("attempts", "successes", "revenue_minor")
    ]
    listed = [("a", BEGIN, END, "")]
    plain, rebound = measure(inputs(world(DROP), listed), AS_OF), measure(inputs(points.with_columns(more), listed), AS_OF)
    lost = rebound.impact["expected_revenue"].sum() - rebound.impact["actual_revenue"].sum()
    assert rebound.impact["recovered_later"].sum() > 0.5 * lost
    assert plain.impact["recovered_later"].sum() < 0.2 * lost
    net = rebound.incident_loss.row(0, named=True)
    assert net["lost_revenue"] == pytest.approx(lost - rebound.impact["recovered_later"].sum(), abs=0.05)
    assert net["lost_revenue_high"] < plain.incident_loss["lost_revenue_high"][0] - 0.2 * lost


def test_an_incident_that_names_nothing_claims_only_what_stands_out():
    journeys = ("shop", "books")
    hit = world(DROP, journeys=("shop",))
    quiet = world(seed=11, journeys=("books",))
    found = measure(inputs(pl.concat([hit, quiet]), [("a", BEGIN, END, "")], service=None, journeys=journeys), AS_OF)
    assert set(found.impact["journey"]) == {"shop"}
    assert found.incident_loss["status"].to_list() == ["quantified"]


def test_a_service_no_journey_needs_costs_nothing_within_what_noise_hides():
    found = measure(inputs(world(), [("a", BEGIN, END, "")], service="backoffice"), AS_OF)
    row = found.incident_loss.row(0, named=True)
    assert found.impact.is_empty()
    assert row["status"] == "below_noise"
    assert row["lost_revenue"] == 0
    assert row["lost_revenue_low"] <= 0 <= row["lost_revenue_high"]
    assert "no journey needs backoffice" in row["reason"]


def test_a_service_behind_the_journey_reaches_it_and_a_region_keeps_others_out():
    found = measure(inputs(world(((BEGIN, END, "eu", 0.6),)), [("a", BEGIN, END, "eu")], service="bank"), AS_OF)
    assert found.impact["segment"].to_list() == ["region=eu"]
    assert found.incident_loss["status"].to_list() == ["quantified"]


def test_too_little_history_is_an_answer():
    young = world(DROP).filter(pl.col("bucket_at") >= at(12, 0))
    found = measure(inputs(young.filter(pl.col("bucket_at") < at(21, 0)), [("a", BEGIN, END, "")]), at(21, 0))
    assert found.incident_loss["status"].to_list() == ["unknown"]
    assert found.incident_loss["lost_revenue"].to_list() == [None]
    assert found.incident_loss["reason"][0].startswith("not enough history: ")
    assert found.incident_loss["reason"][0].endswith("needs 14")


def test_an_incident_longer_than_history_can_tell_is_unknown():
    found = measure(inputs(world(), [("a", at(10, 0), at(25, 0), "")]), AS_OF)
    assert found.incident_loss["reason"][0].startswith("not enough history")


def test_a_window_without_data_is_unknown():
    gone = world().filter(~pl.col("bucket_at").is_between(at(20, 11), at(20, 16)))
    found = measure(inputs(gone, [("a", BEGIN, END, "")]), AS_OF)
    assert found.impact["reason"].to_list() == ["no journey data in window"] * 2
    assert found.incident_loss["status"].to_list() == ["unknown"]
    before = measure(inputs(world(), [("a", at(-9, 0), at(-9, 1), "")]), AS_OF)
    assert before.incident_loss["reason"].to_list() == ["no journey data in window"]


def test_a_mix_of_currencies_is_unknown():
    points = world(DROP)
    mixed = points.with_columns(
        pl.when((pl.col("step") == "buy") & (pl.col("bucket_at") > at(15, 0))).then(pl.lit("USD")).otherwise("currency").alias("currency")
    )
    found = measure(inputs(mixed, [("a", BEGIN, END, "")]), AS_OF)
    assert found.impact["reason"].to_list() == ["currency mix: EUR, USD"] * 2
    assert found.impact["lost_successes"].min() > 0
    assert found.incident_loss["status"].to_list() == ["unknown"]


def test_a_journey_that_earns_nothing_states_attempts_but_no_money():
    base = inputs(world(DROP), [("a", BEGIN, END, "")])
    found = measure(replace(base, journey_services=base.journey_services.with_columns(pl.lit(value=False).alias("earns"))), AS_OF)
    assert found.impact["reason"].to_list() == ["no step of the journey earns"] * 2
    assert found.impact["lost_revenue"].to_list() == [None, None]
    assert (found.impact["expected_successes"] > found.impact["actual_successes"]).all()


def test_hours_that_are_always_closed_expect_nothing():
    open_hours = pl.col("bucket_at").dt.hour().is_between(8, 19)
    shut = world().with_columns(
        pl.when(open_hours).then(name).otherwise(0).alias(name) for name in ("attempts", "successes", "revenue_minor")
    )
    found = measure(inputs(shut, [("a", at(20, 1), at(20, 3), "")]), AS_OF)
    assert found.impact["expected_revenue"].to_list() == [0.0, 0.0]
    assert found.incident_loss["status"].to_list() == ["below_noise"]


def test_days_of_a_shop_that_closes_at_night_and_on_saturdays_are_measured_like_any_other():
    opened = pl.col("bucket_at").dt.hour().is_between(8, 19) & (pl.col("bucket_at").dt.weekday() != 6)
    begin, end = at(14, 8), at(16, 20)
    days: tuple[Hit, ...] = ((begin, end, "eu", 0.3), (begin, end, "us", 0.3))
    listed = [("drop", begin, end, ""), ("quiet", at(21, 8), at(23, 20), "")]
    covered = 0
    for seed in (3, 4, 5, 6):
        hit, whole = world(days, seed).filter(opened), world(seed=seed).filter(opened)
        rows = {row["incident_id"]: row for row in measure(inputs(hit, listed), AS_OF).incident_loss.to_dicts()}
        true = revenue(whole, begin, end) - revenue(hit, begin, end)
        assert rows["drop"]["status"] == "quantified"
        assert rows["drop"]["lost_revenue"] == pytest.approx(true, rel=0.15)
        covered += rows["drop"]["lost_revenue_low"] <= true <= rows["drop"]["lost_revenue_high"]
        covered += rows["quiet"]["lost_revenue_low"] <= 0 <= rows["quiet"]["lost_revenue_high"]
    assert covered >= 7


def test_days_without_rows_now_and_then_are_missing_and_not_closed():
    gap = pl.col("bucket_at").is_between(at(1, 0), at(26, 23.99))
    asked = at(31, 0)
    found = measure(inputs(world().filter(~gap & (pl.col("bucket_at") < asked)), [("a", at(28, 12), at(28, 14), "")]), asked)
    assert found.incident_loss["status"].to_list() == ["unknown"]
    assert found.incident_loss["reason"][0].endswith("needs 14")


def test_empty_tables_measure_to_empty_tables():
    found = measure(Inputs(), AS_OF)
    assert found.impact.is_empty()
    assert found.incident_loss.is_empty()
    assert found.fix_impact.is_empty()


def test_an_incident_without_any_kpi_is_unknown():
    found = measure(replace(inputs(world(), [("a", BEGIN, END, "")]), kpi_points=pl.DataFrame()), AS_OF)
    assert found.incident_loss.select("status", "reason").rows() == [("unknown", "no journey data in window")]


def test_a_table_without_a_needed_column_is_refused_by_name():
    with pytest.raises(ValueError, match="impact_end_at of incidents"):
        Inputs(incidents=pl.DataFrame({"incident_id": ["a"], "region": [""], "started_at": [BEGIN]}))


def test_what_is_seen_through_noise_is_shrunk_and_what_towers_over_it_is_kept():
    noise = np.random.default_rng(1).standard_normal(400) * 10
    chance = np.random.default_rng(2)
    assert weigh(0.0, noise, 1_000.0, chance).mean() < 5
    assert weigh(100.0, noise, 1_000.0, chance).mean() == pytest.approx(100, abs=4)
    assert weigh(100.0, noise, 60.0, chance).max() <= 60
    low, high = interval(noise)
    assert -20 < low < -13 < 13 < high < 20


def test_worlds_that_are_not_kept_are_built_again_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [(f"q{20 - day}", at(day, 10), at(day, 11), "") for day in (6, 7, 11, 16, 21, 26)] + [("a", BEGIN, END, "")]
    kept = measure(inputs(world(DROP), listed), AS_OF)
    built: list[float] = []

    def counted(flow: Any, masks: Any, start: float, *rest: Any) -> Any:
        built.append(start)
        return build_world(flow, masks, start, *rest)

    monkeypatch.setattr(windows, "build_world", counted)
    monkeypatch.setattr(windows, "MOST_CELLS", 1)
    again = measure(inputs(world(DROP), listed), AS_OF)
    assert len(built) > len(set(built)) > 1
    assert_frame_equal(again.impact, kept.impact)
    assert_frame_equal(again.incident_loss, kept.incident_loss)
