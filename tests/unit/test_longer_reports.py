"""Months and quarters: the same layout from the same rows, periods that fit together, and what only a longer look can show."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast import reporting
from aftercast.errors import ConfigError
from aftercast.reporting import compiling, page, periods, rows
from aftercast.reporting.periods import CADENCES, MONTHLY, QUARTERLY, WEEKLY, Cadence
from aftercast.window import Window
from tests.unit import weekly_fixture as mart
from tests.unit.reports_fixture import longer_frames
from tests.unit.test_weekly_page import EVIL, parse
from tests.unit.weekly_fixture import AS_OF, START, as_rows, frames, incident

MOMENTS = st.datetimes(datetime(2001, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC))
OCTOBER = Window(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC))


def figures(cadence: Cadence = MONTHLY, period: Window | None = None, found: mart.Frames | None = None) -> compiling.Report:
    return compiling.figures(as_rows((found or frames()) | longer_frames()), period, cadence=cadence)


@given(MOMENTS, st.sampled_from(list(CADENCES.values())))
def test_periods_hold_their_moments_follow_each_other_and_are_read_as_written(moment: datetime, cadence: Cadence) -> None:
    period = cadence.of(moment)
    assert period.start <= moment < period.end
    assert cadence.before(period).end == period.start
    assert cadence.of(period.start) == period
    assert cadence.parse(cadence.label(period)) == period
    assert cadence.last_complete(period.end) == period


@given(MOMENTS, st.sampled_from([MONTHLY, QUARTERLY]))
def test_the_weeks_of_a_period_add_up_to_it_and_begin_on_mondays(moment: datetime, cadence: Cadence) -> None:
    period = cadence.of(moment)
    parts = list(periods.parts(period))
    assert (parts[0].start, parts[-1].end) == (period.start, period.end)
    assert all(before.end == after.start and after.start.weekday() == 0 for before, after in pairwise(parts))


@pytest.mark.parametrize(
    ("cadence", "text"),
    [
        (MONTHLY, "2026-13"),
        (MONTHLY, "2026-00"),
        (MONTHLY, "2026-W10"),
        (QUARTERLY, "2026-Q5"),
        (QUARTERLY, "2026-Q0"),
        (WEEKLY, "2026-10"),
    ],
)
def test_a_period_that_does_not_exist_is_said(cadence: Cadence, text: str) -> None:
    with pytest.raises(ConfigError, match=f"{cadence.noun} '{text}'"):
        cadence.parse(text)


def test_the_usual_period_is_complete_and_known_whole_else_the_one_under_way() -> None:
    covered = Window(START, AS_OF)
    assert MONTHLY.usual(covered) == OCTOBER
    assert QUARTERLY.label(QUARTERLY.usual(covered)) == "2026-Q4", "of the third quarter only three weeks are known"
    assert MONTHLY.label(MONTHLY.usual(Window(START, OCTOBER.start))) == "2026-09"
    assert WEEKLY.label(WEEKLY.usual(covered)) == "2026-W45"


def test_a_month_adds_up_over_its_weeks_its_incidents_and_its_journeys() -> None:
    found = figures()
    assert found.label == "2026-10"
    assert [week.label for week in found.weeks] == ["1–4 Oct", "5–11 Oct", "12–18 Oct", "19–25 Oct", "26–31 Oct"]
    assert sum(week.lost.value or 0.0 for week in found.weeks) == pytest.approx(found.lost.value)
    assert sum(week.n_incidents or 0 for week in found.weeks) == len(found.incidents)
    assert sum(line.lost for line in found.journeys) == pytest.approx(found.lost.value, abs=1)
    assert found.tiles[0].normal is None, "two months are no norm"
    assert found.tiles[0].normal_text == "not enough months"


def test_an_unfinished_quarter_says_so_and_shows_only_weeks_there_are() -> None:
    found = figures(QUARTERLY)
    assert found.banners[0] == "This quarter is not over: data reaches to Mon 9 Nov 00:00 UTC, so every figure is partial."
    assert found.weeks[-1].label == "2–8 Nov"
    assert all(line.success_slo is not None for line in found.journeys if line.journey == "checkout"), "the SLO's window ends with the data"
    assert "complete" in {line.standing for line in found.sources}, "no source is late for days that have not come"


def test_a_quarter_that_began_before_the_data_says_so() -> None:
    found = figures(QUARTERLY, QUARTERLY.parse("2026-Q3"))
    assert found.banners[0] == "The data begins Mon 7 Sep 00:00 UTC: nothing of this quarter is known before."
    assert found.weeks[0].label == "7–13 Sep"


def test_patterns_beyond_chance_come_first_and_those_of_other_months_not_at_all() -> None:
    found = figures()
    assert [(line.title, line.status) for line in found.patterns] == [
        ("migration", "above_expected"),
        ("deploy", "below_expected"),
        ("<b>eu</b>", "as_expected"),
    ]
    assert found.titles["patterns"] == "More incidents than expected: kind of change migration; one more beyond chance"
    november = figures(MONTHLY, MONTHLY.of(AS_OF - timedelta(days=1)))
    assert november.patterns == ()
    assert november.titles["patterns"] == "Too few incidents to say where they pile up"


def test_fixes_are_summed_up_by_kind_with_their_doubt_and_what_promises_nothing_is_left_out() -> None:
    found = figures()
    assert [(line.outcome, line.subject, line.n_shipped) for line in found.portfolio] == [
        ("recurrence", "", 3),
        ("time to recover", "", 0),
        ("recurrence", "Pool", 1),
    ]
    assert found.titles["portfolio"] == "1 of 2 judged fixes effective, of 3 shipped"
    text = page.html(found)
    assert "31% to 81%" in text
    assert "EUR 106k" in text


def test_indicators_without_a_record_are_counted_and_not_listed() -> None:
    found = figures()
    assert [(line.title, line.status) for line in found.indicators] == [
        ("change flag of wallet", "trusted"),
        ("change flag of checkout", "rejected"),
    ]
    assert found.titles["indicators"] == "One leading indicator is trusted, 1 on trial, 1 rejected"


@pytest.mark.parametrize("cadence", [MONTHLY, QUARTERLY])
@pytest.mark.parametrize("kind", ["full", "empty", "one incident", "nothing published", "hostile", "many"])
def test_every_state_is_a_readable_page(cadence: Cadence, kind: str) -> None:
    absent: tuple[str, ...] = ()
    evil = incident(EVIL, OCTOBER.start, 12_345.67, title=EVIL * 40, url="javascript:alert(1)", family_id="x", family_title=EVIL)
    held = {
        "full": frames,
        "empty": lambda: frames([]),
        "one incident": lambda: frames([incident("INC-1", OCTOBER.start, 12.0)]),
        "nothing published": lambda: {name: frame if name == "mart_run" else frame.clear() for name, frame in frames().items()},
        "hostile": lambda: frames([evil, evil | {"incident_id": "INC-2", "title": "تعذر الدفع"}, evil | {"incident_id": "x" * 300}]),
        "many": lambda: frames([incident(f"INC-{n}", OCTOBER.start + timedelta(minutes=n), float(n + 1)) for n in range(1000)]),
    }[kind]()
    more = longer_frames()
    if kind == "nothing published":
        absent = tuple(name for name in rows.MARTS | rows.LONGER if name != "mart_run")
        more = {name: frame.clear() for name, frame in more.items()}
    found = compiling.figures(as_rows(held | more, absent), OCTOBER if cadence is MONTHLY else None, cadence=cadence)
    text = page.html(found)
    checker = parse(text)
    shown = re.sub(r"<style>.*?</style>", "", checker.text, flags=re.S)
    assert re.findall(r"\b(None|nan|NaN|inf|Undefined|datetime)\b|\{\{", shown) == []
    assert not re.search(r"\bthis week\b|week’s|normal week", shown, re.I), "a longer report speaks of its own period"
    assert "<script>alert" not in text
    assert all(attributes.get("scope") for tag, attributes in checker.tags if tag == "th")
    assert [tag for tag, _ in checker.tags].count("table") == [tag for tag, _ in checker.tags].count("caption")
    assert len(text) < 700_000
    expected = {
        "empty": f"A {cadence.noun} without incidents",
        "one incident": "One incident cost EUR 12",
        "nothing published": f"Incidents cannot be reported this {cadence.noun}",
        "many": "1,000 incidents cost",
    }
    assert expected.get(kind, "incident") in checker.text
    assert page.markdown(found)


def test_marts_that_only_longer_reports_read_are_named_when_they_are_missing(tmp_path: Path) -> None:
    file = mart.write(tmp_path / "mart.duckdb", frames())
    monthly = reporting.render(file, cadence=MONTHLY)
    assert "Not published, so not shown: mart_incident_patterns, mart_fix_portfolio and mart_leading_indicators" in monthly.html
    assert "mart_fix_portfolio" not in reporting.render(file).html
