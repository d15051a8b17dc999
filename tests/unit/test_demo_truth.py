"""The truth of the demo company agrees with the rows it extracts, and its faults behave as faults do."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

from aftercast.sources import demo
from aftercast.sources.demo.business import day_flows, day_rows
from aftercast.sources.demo.company import COMPONENTS, EDGES, JOURNEYS, REACH
from aftercast.sources.demo.draws import week_of
from aftercast.sources.demo.faults import FAMILIES, PARTS, cycle_of, faults_begun, faults_felt, fixes_of_cycle
from aftercast.sources.demo.physics import effects_of, no_effects
from aftercast.sources.demo.truth import Truth, truth
from aftercast.window import Window

SEED = 7
HISTORY = Window.parse("2026-09-21", "2026-11-16")


@pytest.fixture(scope="module")
def known() -> Truth:
    return truth(HISTORY, SEED)


@pytest.fixture(scope="module")
def points() -> dict[str, pl.DataFrame]:
    source = demo.DemoSource(SEED, frozenset(["metric_points", "journey_kpis"]))
    found: dict[str, list[pl.DataFrame]] = {}
    for batch in source.extract(HISTORY):
        found.setdefault(batch.entity, []).append(batch.frame)
    return {entity: pl.concat(frames) for entity, frames in found.items()}


def ratio(points: pl.DataFrame, service: str, region: str) -> pl.DataFrame:
    mine = points.filter((pl.col("service") == service) & (pl.col("region") == region) & pl.col("metric").is_in(["requests", "errors"]))
    return mine.pivot("metric", index="ts", values="value").sort("ts").with_columns((pl.col("errors") / pl.col("requests")).alias("ratio"))


def between(frame: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    return frame.filter((pl.col("ts") >= start) & (pl.col("ts") < end))


def test_losses_add_up_to_the_difference_of_the_two_worlds(known: Truth, points: dict[str, pl.DataFrame]) -> None:
    rows = points["journey_kpis"]
    quiet = pl.concat(
        day_rows(SEED, day.start.date(), day_flows(SEED, day.start.date(), no_effects()), undisturbed=False) for day in HISTORY.days()
    )
    both = quiet.join(rows, on=["journey", "step", "region", "tier", "plan", "ts"], suffix="_actual")
    missing = pl.col("revenue_minor") - pl.col("revenue_minor_actual")
    lost = both.group_by("journey").agg(missing.sum() / 100).sort("journey")
    stated = known.losses.group_by("journey").agg(pl.col("lost_revenue").sum()).sort("journey")
    assert np.allclose(lost["revenue_minor"], stated["lost_revenue"], atol=0.5)
    assert stated["lost_revenue"].sum() > 50_000


def test_loss_of_one_incident_is_seen_in_its_buckets(known: Truth, points: dict[str, pl.DataFrame]) -> None:
    releases = [one for one in faults_begun(SEED, HISTORY.start, HISTORY.end) if one.family.name == "bad_release" and one.minutes > 40]
    hours = timedelta(hours=12)
    fault = next(one for one in releases if faults_felt(SEED, one.started_at - hours, one.ended_at + hours) == [one])
    day = fault.started_at.date()
    worlds = {
        name: day_rows(SEED, day, day_flows(SEED, day, effects), undisturbed=False)
        for name, effects in (("without", no_effects()), ("with", effects_of(day, [fault])))
    }
    fell = (worlds["without"]["revenue_minor"].sum() - worlds["with"]["revenue_minor"].sum()) / 100
    stated = known.losses.filter(pl.col("incident_id") == fault.incident_id)["lost_revenue"].sum()
    assert stated == pytest.approx(fell, rel=0.05)
    before = between(worlds["with"], datetime.combine(day, datetime.min.time(), tzinfo=fault.started_at.tzinfo), fault.started_at)
    early = before.filter(pl.col("ts") < fault.started_at - timedelta(minutes=5))
    assert early.equals(worlds["without"].filter(pl.col("ts") < fault.started_at - timedelta(minutes=5)))


def test_truth_knows_exactly_the_incidents_extracted(known: Truth) -> None:
    source = demo.DemoSource(SEED, frozenset(["incidents", "action_items"]))
    frames = {batch.entity: batch.frame for batch in source.extract(HISTORY)}
    assert set(known.incidents["incident_id"]) == set(frames["incidents"]["incident_id"])
    done = frames["action_items"].filter(pl.col("status") == "done")["action_item_id"]
    assert set(known.fixes["action_item_id"]) == set(done)


def test_origin_suffers_before_its_caller(points: dict[str, pl.DataFrame]) -> None:
    leads = []
    faults = [one for one in faults_begun(SEED, HISTORY.start, HISTORY.end) if one.family.name in ("bad_release", "config_push")]
    for fault in faults:
        caller = "gateway"
        region = fault.regions[0]
        share = REACH[fault.service][caller].share
        first = {}
        for service, level in ((fault.service, 0.3 * fault.error), (caller, 0.3 * fault.error * share)):
            near = between(ratio(points["metric_points"], service, region), fault.started_at - timedelta(minutes=5), fault.ended_at)
            first[service] = near.filter(pl.col("ratio") > max(level, 0.012))["ts"].min()
        if None not in first.values():
            leads.append((first[caller] - first[fault.service]).total_seconds() / 60)
            peak = {
                name: between(ratio(points["metric_points"], name, region), fault.started_at, fault.ended_at)["ratio"].max()
                for name in first
            }
            assert peak[fault.service] > peak[caller]
    assert len(leads) >= 5
    assert min(leads) >= 0
    assert np.mean(np.array(leads) > 0) > 0.5


def test_a_leak_fills_its_pool_hours_before_anything_fails(points: dict[str, pl.DataFrame]) -> None:
    leaks = [one for one in faults_begun(SEED, HISTORY.start, HISTORY.end) if one.family.name == "pool_leak"]
    assert leaks
    for fault in leaks:
        region = fault.regions[0] if fault.service == "payments" else ""
        pool = points["metric_points"].filter(
            (pl.col("service") == fault.service) & (pl.col("region") == region) & (pl.col("metric") == "saturation_ratio")
        )
        half_way = fault.started_at - fault.lead / 3
        before = between(pool, half_way - timedelta(minutes=30), half_way)["value"].mean()
        yesterday = between(pool, half_way - timedelta(minutes=1470), half_way - timedelta(minutes=1440))["value"].mean()
        assert isinstance(before, float)
        assert isinstance(yesterday, float)
        assert before > yesterday + 0.1
        errors = between(ratio(points["metric_points"], fault.service, region), fault.started_at - timedelta(hours=1), fault.started_at)
        assert float(errors["ratio"].median() or 0) < 0.02


def test_a_network_outage_takes_customers_but_breaks_nothing(points: dict[str, pl.DataFrame]) -> None:
    outages = [one for one in faults_begun(SEED, HISTORY.start, HISTORY.end) if one.family.name == "network_outage"]
    assert outages
    for fault in outages:
        region = fault.regions[0]
        inside = (fault.started_at + timedelta(minutes=5), fault.ended_at - timedelta(minutes=10))
        if inside[1] - inside[0] < timedelta(minutes=15):
            continue
        shop = points["journey_kpis"].filter((pl.col("journey") == "shop") & (pl.col("step") == "browse") & (pl.col("region") == region))
        during = between(shop, *inside)["attempts"].mean()
        before = between(shop, fault.started_at - timedelta(minutes=40), fault.started_at)["attempts"].mean()
        assert isinstance(during, float)
        assert isinstance(before, float)
        assert during < 0.8 * before
        assert float(between(ratio(points["metric_points"], "gateway", region), *inside)["ratio"].median() or 0) < 0.01


def test_internal_incidents_lose_nothing(known: Truth) -> None:
    internal = known.incidents.filter(pl.col("family") == "internal_release")
    assert internal.height >= 2
    assert not internal["has_loss"].any()
    assert known.losses.filter(pl.col("incident_id").is_in(internal["incident_id"].to_list())).height == 0


def test_losses_have_the_size_of_the_company(known: Truth, points: dict[str, pl.DataFrame]) -> None:
    per_day = float(points["journey_kpis"]["revenue_minor"].sum()) / 100 / 56
    assert 250_000 < per_day < 400_000
    total = known.losses.group_by("incident_id").agg(pl.col("lost_revenue").sum())["lost_revenue"]
    assert 1_500 < float(total.median() or 0) < 6_000
    assert float(total.max() or 0) < 45_000  # type: ignore[arg-type]


@pytest.mark.parametrize("cycle", [0, 1, 2, 3])
def test_a_working_fix_ends_its_family_and_the_others_do_not(cycle: int) -> None:
    fixes = {fix.part: fix for fix in fixes_of_cycle(SEED, cycle)}
    start, end = HISTORY.start + timedelta(weeks=8 * cycle), HISTORY.start + timedelta(weeks=8 * (cycle + 1))
    faults = faults_begun(SEED, start, end)
    counts = {}
    for part, fix in fixes.items():
        mine = [fault for fault in faults if fault.family is fix.family]
        counts[part] = (sum(one.started_at < fix.shipped_at for one in mine), sum(one.started_at >= fix.shipped_at for one in mine))
    days = (fixes["works"].shipped_at - start) / (end - start)
    before, after = counts["works"]
    assert before >= 7
    assert after == 0
    assert binomtest(after, before + after, 1 - days).pvalue < 0.05
    assert min(counts["stays"]) >= 3
    assert counts["lucky"][0] >= 3
    assert 1 <= counts["lucky"][1] < counts["lucky"][0]
    share = (fixes["lucky"].shipped_at - start) / (end - start)
    assert binomtest(counts["lucky"][1], sum(counts["lucky"]), 1 - share).pvalue > 0.05


def test_first_cycle_shows_every_family(known: Truth) -> None:
    assert set(known.incidents["family"]) == set(FAMILIES)
    assert set(known.incidents["cause_kind"]) == {"change", "service", "provider", "none"}


def test_changes_come_shortly_before_what_they_cause() -> None:
    gaps = [
        (fault.started_at - fault.change_at).total_seconds() / 60
        for fault in faults_begun(SEED, HISTORY.start, HISTORY.end)
        if fault.change_at is not None
    ]
    assert len(gaps) >= 15
    assert min(gaps) > 0
    assert max(gaps) <= 40


def test_reported_start_is_near_the_true_one(known: Truth) -> None:
    frames = {batch.entity: batch.frame for batch in demo.DemoSource(SEED, frozenset(["incidents"])).extract(HISTORY)}
    both = known.incidents.join(frames["incidents"], on="incident_id", suffix="_reported")
    off = (both["started_at_reported"] - both["started_at"]).dt.total_seconds() / 60
    assert off.min() >= -6  # type: ignore[operator]
    assert off.max() <= 10  # type: ignore[operator]
    origin = both.select(pl.col("services").list.contains(pl.col("cause_service")).alias("named"))["named"].drop_nulls()
    assert 0.3 < float(origin.mean() or 0) < 0.75  # type: ignore[arg-type]


def test_truth_of_a_later_window_agrees_on_what_both_see() -> None:
    early = truth(Window.parse("2026-09-21", "2026-10-12"), SEED).incidents
    late = truth(Window.parse("2026-09-28", "2026-10-19"), SEED).incidents
    shared = set(early["incident_id"]) & set(late["incident_id"])
    assert len(shared) >= 8
    pick = pl.col("incident_id").is_in(list(shared))
    assert early.filter(pick).equals(late.filter(pick))


def test_the_company_is_whole() -> None:
    names = {component.name for component in COMPONENTS}
    assert {name for edge in EDGES for name in edge} <= names
    assert {service for journey in JOURNEYS for step in journey.steps for service in step.needs} <= names
    assert {family for parts in PARTS for family in parts.values()} <= set(FAMILIES)
    assert cycle_of(week_of(HISTORY.start)) == 0
