"""The weekly figures: the sums hold, uncertainty is said, and nothing is claimed from too little."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast.errors import ConfigError, QualityError, WarehouseError
from aftercast.reporting import compiling, intervals, wording
from aftercast.reporting.figures import Report
from aftercast.reporting.intervals import wilson
from aftercast.reporting.periods import WEEKLY
from aftercast.window import Window
from tests.unit import weekly_fixture as mart
from tests.unit.weekly_fixture import AS_OF, WEEK, as_rows, frames, incident

MONDAY = WEEK.start


def page_of(found: mart.Frames, absent: tuple[str, ...] = (), **arguments: Any) -> Report:
    return compiling.figures(as_rows(found, absent), WEEK, **arguments)


def only(*rows: dict[str, Any]) -> mart.Frames:
    """The usual eight weeks before, and these incidents in the reported one."""
    earlier = [row for row in mart._incidents() if row["started_at"] < MONDAY]
    return frames([*earlier, *rows])


def test_the_week_is_the_last_complete_one_before_as_of() -> None:
    assert compiling.figures(as_rows(frames())).label == "2026-W45"
    assert WEEKLY.last_complete(AS_OF) == WEEK
    assert WEEKLY.last_complete(AS_OF - timedelta(microseconds=1)).end == MONDAY
    assert WEEKLY.parse("2026-W45") == WEEK
    for text in ("2026-45", "2026-W54", "next"):
        with pytest.raises(ConfigError, match="week"):
            WEEKLY.parse(text)


def test_the_tile_is_the_sum_of_the_incidents_and_of_the_journeys() -> None:
    page = page_of(frames())
    amounts = [line.lost.value for line in page.incidents if line.lost.value is not None]
    assert page.tiles[0].value == page.lost.value == pytest.approx(math.fsum(amounts)) == pytest.approx(271_240)
    assert sum(line.lost for line in page.journeys) == pytest.approx(271_240)
    assert page.weeks[-1].lost.value == page.lost.value
    assert (page.n_quantified, page.n_below_noise, page.n_unknown, page.n_excluded) == (4, 1, 1, 1)


def test_a_page_that_does_not_add_up_is_refused() -> None:
    found = frames()
    impact = found["mart_incident_impact"]
    wrong = pl.when((pl.col("incident_id") == "INC-2874") & (pl.col("segment") == "region=eu")).then(1.0).otherwise("lost_revenue")
    found["mart_incident_impact"] = impact.with_columns(lost_revenue=wrong)
    with pytest.raises(QualityError, match=r"by journey is 271,240\.00, its parts come to 237,011\.00 \(off by 34,229\.00\)"):
        page_of(found)


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=40), st.integers(-(10**6), 10**6))
def test_adds_up_accepts_rounding_and_nothing_else(cents: list[int], error: int) -> None:
    parts = [value / 100 for value in cents]
    whole = sum(cents) / 100
    intervals.adds_up("x", whole, parts, cents=len(parts) + 1)
    if abs(error) > 50 * (len(parts) + 1):
        with pytest.raises(QualityError):
            intervals.adds_up("x", whole + error / 100, parts, cents=len(parts) + 1)


@given(st.integers(0, 400), st.integers(0, 400))
def test_wilson_holds_the_share_and_stays_between_zero_and_one(a: int, b: int) -> None:
    k, n = min(a, b), max(a, b)
    share = wilson(k, n)
    if n == 0:
        assert (share.value, share.low, share.high) == (None, None, None)
        return
    assert share.value is not None and share.low is not None and share.high is not None
    assert 0 <= share.low <= share.value <= share.high <= 1
    mirrored = wilson(n - k, n)
    assert mirrored.low is not None and mirrored.low == pytest.approx(1 - share.high, abs=1e-12)


def test_wilson_agrees_with_published_values() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29, score method without continuity correction.
    for k, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)):
        share = wilson(k, n)
        assert (share.low, share.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    with pytest.raises(QualityError, match="got 3 of 2"):
        wilson(3, 2)


def test_the_interval_of_a_sum_is_wider_than_one_part_and_narrower_than_the_sum_of_ends() -> None:
    summed = intervals.total([(100.0, 80.0, 130.0), (50.0, 40.0, 65.0), (None, None, None)])
    assert summed.value == 150
    assert summed.low == pytest.approx(150 - math.hypot(20, 10))
    assert summed.high == pytest.approx(150 + math.hypot(30, 15))
    assert intervals.total([(100.0, None, None), (1.0, 0.0, 2.0)]) == intervals.Range(101.0, None, None)
    assert intervals.total([]) == intervals.Range(None, None, None)


def test_normal_is_not_claimed_from_fewer_than_four_weeks() -> None:
    assert intervals.normal_range([1.0, None, 2.0, 3.0]) is None
    assert intervals.normal_range([1.0, 2.0, 3.0, 4.0]) == (pytest.approx(1.3), pytest.approx(3.7))
    found = frames()
    found["mart_run"] = found["mart_run"].with_columns(window_start=pl.lit(MONDAY - timedelta(days=21)).cast(pl.Datetime("us", "UTC")))
    page = page_of(found)
    assert len(page.weeks) == 4
    assert {tile.standing for tile in page.tiles} == {"unknown"}
    assert page.tiles[0].normal_text == "not enough weeks"
    assert "too few for a norm" in page.titles["money"]


def test_a_figure_is_coloured_only_outside_its_normal_range() -> None:
    page = page_of(frames())
    standing = {tile.name: tile.standing for tile in page.tiles}
    assert standing == {"lost": "worse", "incidents": "worse", "found": "usual", "mitigated": "usual", "journey": "worse"}


def test_a_share_of_one_incident_is_never_news() -> None:
    page = page_of(only(incident("INC-1", MONDAY, 10.0, is_found_by_us=False, detection_method="customer")))
    found = next(tile for tile in page.tiles if tile.name == "found")
    assert (found.text, found.note, found.standing) == ("0%", "0 of 1 incident", "usual")


def test_the_headline_names_a_fault_that_came_twice() -> None:
    page = page_of(frames())
    assert page.headline == "One recurring fault cost EUR 203k, three-quarters of the week’s measured loss"
    assert "INC-2871 and INC-2869" in page.sentences[0]
    assert "1 of 6 could not be quantified and 1 is within noise" in page.sentences[0]
    assert "Checkout stands worst" in page.sentences[1]
    assert page.decision == "Approve for shop: Remove the slow loyalty query from the checkout path"


def test_a_quiet_week_is_zero_and_an_unmeasured_one_is_not() -> None:
    quiet = page_of(only())
    assert quiet.headline == "A week without incidents"
    assert quiet.lost.value == 0
    unknown = page_of(only(incident("INC-1", MONDAY, None)))
    assert unknown.headline == "One incident, cost not known"
    assert unknown.lost.value is None
    assert unknown.tiles[0].text == "not known"
    noise = page_of(only(incident("INC-1", MONDAY, 5.0, impact_status="below_noise")))
    assert noise.headline == "One incident, no loss beyond noise"


def test_incidents_that_are_not_published_are_unknown_and_not_none() -> None:
    page = page_of({**frames(), **{name: frames([])[name] for name in ("mart_incidents", "mart_incident_impact")}}, ("mart_incidents",))
    assert page.headline == "Incidents cannot be reported this week"
    assert [tile.text for tile in page.tiles[:2]] == ["not known", "not known"]
    assert page.titles["incidents"] == "Not known: incidents are not published"
    assert any("not published" in text for text in page.banners)


def test_currencies_are_never_added() -> None:
    page = page_of(only(incident("INC-1", MONDAY, 100.0), incident("INC-2", MONDAY, 70.0, currency="USD")))
    assert (page.currency, page.lost.value) == ("EUR", 100.0)
    assert [(code, other.value) for code, other in page.other_money] == [("USD", 70.0)]
    assert "besides USD 70" in page.sentences[0]


def test_the_journey_table_counts_failures_and_not_ratios() -> None:
    page = page_of(frames())
    line = next(line for line in page.journeys if line.journey == "checkout")
    days = frames()["mart_journey_health"].filter((pl.col("journey") == "checkout") & (pl.col("day") >= datetime(2026, 10, 12).date()))
    failed = float((days["total"] - days["good"]).sum())
    assert line.budget_used == pytest.approx(failed / (0.001 * days["total"].sum()))
    assert line.burn[-1][1] == line.budget_used
    assert [used for _, used in line.burn] == sorted(used for _, used in line.burn)
    assert (line.jump_at, line.jump_incident) == (datetime(2026, 11, 4, tzinfo=UTC), "INC-2871")
    assert line.n_incidents == 3


def test_too_little_traffic_has_no_error_budget() -> None:
    signup = next(line for line in page_of(frames()).journeys if line.journey == "signup")
    assert signup.target is not None
    assert signup.budget_used is None
    assert signup.burn == ()


def test_a_fix_whose_fault_came_back_stands_first() -> None:
    page = page_of(frames())
    assert [(line.action_item_id, line.again) for line in page.fixes] == [("AI-11", 2), ("AI-12", 1), ("AI-07", 0)]
    assert page.fixes[1].verdict_text == "too early: needs 8 more weeks"
    assert page.titles["fixes"] == "1 of 3 fixes effective, 1 not, 1 too early to tell; 2 fixed faults came back this week"


def test_a_fix_that_cannot_be_compared_is_unknown_not_too_early() -> None:
    marts = frames()
    marts["mart_fix_impact"] = marts["mart_fix_impact"].with_columns(
        pl.when(pl.col("action_item_id") == "AI-12").then(pl.lit("unknown")).otherwise(pl.lit("judged")).alias("status")
    )
    texts = {line.action_item_id: line.verdict_text for line in page_of(marts).fixes}
    assert texts == {"AI-11": "not effective", "AI-12": "unknown: nothing can be compared", "AI-07": "effective"}


def test_actions_are_counted_by_team() -> None:
    page = page_of(frames())
    assert [(line.team, line.n_open, line.n_overdue) for line in page.teams] == [("shop", 2, 2), ("payments", 1, 1), ("discovery", 1, 0)]
    assert page.titles["actions"] == "Three actions are overdue, the oldest by 34 days"


def test_unknown_ways_of_detection_are_left_out_of_the_share() -> None:
    page = page_of(frames())
    found, _, soon, _ = page.detection
    assert (found.share.k, found.share.n) == (4, 5)
    # The open incident has lasted longer than 30 minutes: it counts, as not mitigated.
    assert (soon.share.k, soon.share.n) == (1, 6)


def test_the_banner_says_what_is_stale_late_or_missing() -> None:
    assert page_of(frames(), declared=["orders", "pagerduty", "prometheus"]).banners == ()
    found = frames()
    late = (
        pl.when(pl.col("source") == "orders").then(pl.lit(AS_OF - timedelta(days=2))).otherwise("window_end").cast(pl.Datetime("us", "UTC"))
    )
    found["mart_source_coverage"] = found["mart_source_coverage"].with_columns(window_end=late)
    said = page_of(found, declared=["orders", "statuspage"], now=AS_OF + timedelta(days=9)).banners
    assert said == (
        "Stale data: the newest is from Mon 9 Nov 00:00 UTC, 9 days ago.",
        "Missing: statuspage has delivered nothing yet; figures that rest on it are incomplete.",
        "Late: orders is complete only to Sat 7 Nov 00:00 UTC; figures that rest on it are incomplete.",
    )
    partial = compiling.figures(as_rows(frames()), Window(AS_OF - timedelta(days=7), AS_OF))
    assert partial.banners == ()


def test_a_week_under_way_says_so_and_one_outside_the_data_is_refused() -> None:
    found = frames()
    found["mart_run"] = found["mart_run"].with_columns(as_of=pl.lit(AS_OF - timedelta(days=2)).cast(pl.Datetime("us", "UTC")))
    assert page_of(found).banners[0].startswith("This week is not over")
    with pytest.raises(ConfigError, match="2026-W30 is outside the data"):
        compiling.figures(as_rows(frames()), WEEKLY.parse("2026-W30"))
    with pytest.raises(WarehouseError, match="it has 0"):
        compiling.figures(as_rows({**frames(), "mart_run": frames()["mart_run"].clear()}))


def test_the_same_mart_gives_the_same_page_whatever_the_order_of_its_rows() -> None:
    found = frames()
    shuffled = {name: frame.sample(fraction=1, shuffle=True, seed=7) for name, frame in found.items()}
    assert page_of(found) == page_of(shuffled)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not known"),
        (0, "0"),
        (-0.2, "0"),
        (842.4, "842"),
        (999.6, "1.00k"),
        (12_345, "12.3k"),
        (999_949, "1.00M"),
        (-5_000, "−5.00k"),
    ],
)
def test_amounts_have_three_significant_figures(value: float | None, text: str) -> None:
    assert wording.amount(value) == text


def test_a_share_below_one_is_never_written_as_all() -> None:
    assert wording.percent(0.99996, 2) == ">99.99%"
    assert wording.percent(0.001) == "<1%"
    assert wording.percent(1.0, 2) == "100.00%"


def test_the_page_warns_with_the_record_of_what_matches_now_and_not_with_what_was_rejected() -> None:
    page = page_of(frames())
    assert [(line.status, line.record) for line in page.leading] == [
        ("trusted", "8 of 9 earlier warnings came true (52 to 100 %)"),
        ("on trial", "not judged yet"),
    ]
    assert page.titles["leading"] == "Two early warnings are out; one from a trusted indicator"
    nothing = {**frames(), "mart_leading_matches": frames()["mart_leading_matches"].clear()}
    assert page_of(nothing).titles["leading"] == "Nothing that came before past incidents is seen now"
