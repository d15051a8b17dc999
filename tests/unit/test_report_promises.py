"""What a report says of objectives declared in OpenSLO, of definitions that changed, and of exceptions with an end."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from aftercast import reporting
from aftercast.declarations import CalendarRow, DetectorRow, RankerRow
from aftercast.errors import QualityError
from aftercast.reporting import compiling, definitions, exceptions, letters, numbers, objectives, page
from aftercast.reporting.figures import Report
from aftercast.reporting.periods import WEEKLY
from tests.unit import weekly_fixture as mart
from tests.unit.weekly_fixture import AS_OF, WEEK, as_rows, frames


def report(found: mart.Frames | None = None, week: str | None = None) -> Report:
    return compiling.figures(as_rows(found or frames()), WEEKLY.parse(week) if week else WEEK)


def test_objectives_are_counted_once_and_said_everywhere() -> None:
    found = report()
    assert [(line.slo, line.status, line.firing) for line in found.objectives] == [
        ("eu-checkout", "missed", ("page_1h",)),
        ("pay-in", "kept", ()),
        ("night", "not_judged", ()),
    ], "a journey's own target is told with journeys"
    said = found.titles["objectives"]
    assert said == (
        "One of 3 objectives declared in OpenSLO is met; missed: Checkout in Europe; 1 cannot be judged; burning now: Checkout in Europe"
    )
    letter, post = letters.letter(found), letters.post(found)
    for text in (page.html(found), page.markdown(found), letter.html, letter.text, str(post.blocks)):
        assert said in text
    lines = {(one.item, one.name): one.value for one in numbers.of(found) if one.section in ("objective", "objectives")}
    judged = [lines["all", f"objectives_{name}"] for name in ("met", "missed", "not_judged")]
    assert judged == [1, 1, 1]
    assert lines["eu-checkout", "objective_status"] == "missed"
    assert lines["night", "objective_budget_used"] is None


def test_objectives_that_are_all_met_are_no_line_in_the_chat() -> None:
    held = frames()
    held["mart_slo_health"] = held["mart_slo_health"].filter(pl.col("slo") == "pay-in")
    held["mart_slo_burn"] = held["mart_slo_burn"].clear()
    found = report(held)
    assert found.titles["objectives"] == "The objective declared in OpenSLO is met"
    assert "OpenSLO" not in str(letters.post(found).blocks)


def test_without_declared_objectives_there_is_no_section() -> None:
    held = frames()
    held["mart_slo_health"] = held["mart_slo_health"].filter(pl.col("slo") == "checkout")
    assert "OpenSLO" not in page.html(report(held)) + page.markdown(report(held))


def test_an_earlier_week_is_told_as_it_stood_then_and_without_what_burns_now() -> None:
    then = report(week="2026-W41").objectives[0]
    assert then.success == pytest.approx(0.9712 + 34e-5)
    assert then.firing == ()


def test_an_objective_that_was_not_measured_in_the_period_is_not_judged() -> None:
    held = frames()
    held["mart_slo_health"] = held["mart_slo_health"].filter(pl.col("day") < WEEK.start.date())
    assert {(line.status, line.reason) for line in report(held).objectives} == {("not_judged", "nothing measured")}


def test_an_objective_whose_figures_contradict_each_other_is_not_published() -> None:
    held = frames()
    held["mart_slo_health"] = held["mart_slo_health"].with_columns(status=pl.lit("kept"))
    with pytest.raises(QualityError, match="objective eu-checkout is kept"):
        report(held)


def test_what_changed_is_read_from_the_report_before() -> None:
    now = numbers.stamp(report())
    assert definitions.changed(None, now, "weekly") == "None known: this is the first weekly report."
    before = definitions.stamp("2026-W44", numbers.to_csv(report(week="2026-W44")))
    assert before is not None
    assert definitions.changed(before, now, "weekly") == "None since 2026-W44."
    other = replace(
        before,
        code="0.0.9",
        configuration="old",
        models={**before.models, "detection": "prophet-0"},
        numbers={**before.numbers, "lost_revenue": "something else"},
    )
    assert definitions.changed(other, now, "weekly") == (
        "Since 2026-W44: model of detection prophet-0 → prophet-1; lost_revenue defined otherwise; "
        "configuration old → 5e1f0c77aa10; code 0.0.9 → 0.1.0+1f3a9c0d2b4e."
    )


def test_an_earlier_file_that_says_less_is_compared_by_what_it_says() -> None:
    now = numbers.stamp(report())
    assert definitions.stamp("2026-W44", "not,a,report\n1,2,3\n") is None
    old = definitions.stamp(
        "2026-W44", "section,item,name,value,definition\nrun,x,code_version,0.0.9,version of the code that made the mart\n"
    )
    assert definitions.changed(old, now, "weekly") == "Since 2026-W44: code 0.0.9 → 0.1.0+1f3a9c0d2b4e."


def test_the_newest_earlier_report_of_the_same_cadence_is_the_one_before(tmp_path: Path) -> None:
    file, reports = mart.write(tmp_path / "mart.duckdb", frames()), tmp_path / "reports"
    stamped = "section,item,name,value,definition\nrun,x,code_version,{},version of the code that made the mart\n"
    for label, name in (("2026-W40", "weekly"), ("2026-W43", "weekly"), ("2026-W46", "weekly"), ("2026-10", "monthly")):
        (reports / label).mkdir(parents=True)
        (reports / label / f"{name}.csv").write_text(stamped.format(label))
    made = reporting.render(file, WEEK, reports=reports)
    assert made.figures.changed == "Since 2026-W43: code 2026-W43 → 0.1.0+1f3a9c0d2b4e."
    assert "<b>Changed definitions</b>: <bdi>Since 2026-W43" in made.html
    assert "Since 2026-W43" in made.markdown


def test_exceptions_end_or_are_due() -> None:
    ago, ahead = AS_OF - timedelta(days=20), AS_OF + timedelta(days=9)
    mask = {"name": "batch", "signals": ["latency"], "services": ["ledger"], "expects": "up", "starts": "2026-11-01", "ends": "2026-12-01"}
    weekly = {**mask, "name": "every_week", "weekly": {"starts": "01:00", "ends": "02:00"}, "starts": None, "ends": None}
    declared = exceptions.Declared(
        (
            DetectorRow.model_validate({"version": "live", "state": "live", "masks": [mask, weekly]}),
            DetectorRow.model_validate({"version": "calm", "state": "shadow", "since": ago}),
            DetectorRow.model_validate({"version": "old", "state": "retired", "masks": [mask]}),
        ),
        (RankerRow.model_validate({"version": "learned", "state": "shadow", "since": AS_OF}),),
        (
            CalendarRow.model_validate({"name": "sale", "kind": "promotion", "starts": "2026-11-10", "ends": f"{ahead:%Y-%m-%d}"}),
            CalendarRow.model_validate({"name": "past", "kind": "promotion", "starts": "2026-10-10", "ends": "2026-10-12"}),
        ),
    )
    found = exceptions.lines(declared, AS_OF)
    assert [(line.kind, line.title) for line in found] == [
        ("trial", "calm"),
        ("known time", "sale"),
        ("trial", "learned"),
        ("mask", "batch"),
    ], "what is over, retired, or has no end is no open exception"
    assert exceptions.notes(found, AS_OF) == (
        "Exceptions with an end: trial of calm due for review since 3 Nov, known time sale until 18 Nov, "
        "trial of learned to be reviewed from 23 Nov and mask batch until 1 Dec.",
    )
    assert exceptions.notes((), AS_OF) == ()
    made = compiling.figures(as_rows(frames()), WEEK, excepted=declared)
    assert exceptions.notes(found, AS_OF)[0] in page.html(made)
    ends = [one.value for one in numbers.of(made) if one.name == "ends_at"]
    assert ends[-1] == datetime(2026, 12, 1, tzinfo=UTC)


def test_a_title_of_a_single_objective() -> None:
    missed = report().objectives[0]
    assert objectives.title((replace(missed, firing=()),)) == "The objective declared in OpenSLO is missed: Checkout in Europe"
    assert objectives.title((missed, missed)).startswith("None of 2 objectives declared in OpenSLO are met; missed: ")


def test_a_week_like_all_others_without_loss_is_a_sentence_and_no_empty_picture() -> None:
    quiet = compiling.figures(as_rows(frames([])), WEEK)
    assert "Nothing was lost in any of the 9 weeks to 2026-W45." in page.html(quiet)
    assert "Nothing was lost in any of" not in page.html(report())
