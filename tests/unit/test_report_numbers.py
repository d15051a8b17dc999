"""The numbers beside a page are those of the page, each with its unit, its doubt, its moment and its definition."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser

import pytest

from aftercast.reporting import compiling, numbers, page, wording
from aftercast.reporting.figures import Report
from aftercast.reporting.periods import CADENCES, MONTHLY
from tests.unit.reports_fixture import longer_frames
from tests.unit.weekly_fixture import as_rows, frames, incident


def report(cadence: str = "weekly") -> Report:
    return compiling.figures(as_rows(frames(episodes=cadence == "weekly") | longer_frames()), cadence=CADENCES[cadence])


def lines(found: Report) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(numbers.to_csv(found))))


class Cells(HTMLParser):
    """Collects the text of right-aligned cells and of tiles: that is where a page has its numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        classes = str(dict(attrs).get("class") or "").split()
        if self.depth:
            self.depth += tag not in ("br", "img")
        elif (tag == "td" and "n" in classes) or (tag == "div" and "value" in classes):
            self.depth = 1
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.depth = max(0, self.depth - 1)

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.texts[-1] += f" {data} "


def written(value: float) -> set[str]:
    """Every way a page writes a number."""
    shares = {wording.percent(value, digits) for digits in (0, 2)} | {wording.percent(1 - value)}
    ages = {wording.count(max(1, int(value)), "day")} if value >= 0 else set()
    return {
        wording.amount(value),
        f"{value:,.0f}",
        f"{value:.1f}",
        wording.ratio(value),
        f"{int(value)}",
        f"{round(value)}",
        *shares,
        *ages,
    }


@pytest.mark.parametrize("cadence", ["weekly", "monthly", "quarterly"])
def test_every_number_of_the_page_is_in_the_file(cadence: str) -> None:
    found = report(cadence)
    known: set[str] = set()
    for line in lines(found):
        for cell in ("value", "low", "high", "n"):
            if re.fullmatch(r"-?[\d.]+(e[-+]?\d+)?", line[cell]):
                known |= written(float(line[cell]))
                known |= {"100"} if float(line[cell]) > 100 else set()  # "over 100"
        if line["n"] and line["unit"] == "share" and line["value"]:
            known |= {f"{round(float(line['value']) * float(line['n']))}"}  # k of n
    for share in [*(line.share for line in found.detection), *(line.came_true for line in found.indicators)]:
        known |= {str(share.k), str(share.n)}
    totals = {str(sum(getattr(team, name) for team in found.teams)) for name in ("n_open", "n_overdue")}
    slo_days = {str(line.window_days) for line in found.journeys} | {str(line.days_known) for line in found.journeys}
    reader = Cells()
    reader.feed(page.html(found))
    seen = 0
    for text in reader.texts:
        for token in re.findall(r"[<>]?[−-]?\d[\d,.]*(?: days?|[kMG%])?", text):
            seen += 1
            assert token in known | totals | slo_days | {"28 days"}, f"{token!r} of {text!r} is not in the file"
    assert seen > 60


@pytest.mark.parametrize("cadence", ["weekly", "monthly", "quarterly"])
def test_each_line_says_what_it_is_and_as_of_when(cadence: str) -> None:
    found = lines(report(cadence))
    assert list(found[0]) == list(numbers.HEADER)
    assert len(found) > 150
    assert {line["as_of"] for line in found} == {"2026-11-09T00:00:00+00:00"}
    assert {line["report"] for line in found} == {cadence}
    for line in found:
        assert len(line["definition"]) > 8
        assert "{" not in line["definition"]
        if line["value"] and line["low"] and line["high"]:
            assert float(line["low"]) <= float(line["high"])
    keys = [(line["section"], line["item"], line["name"]) for line in found]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("cadence", ["weekly", "monthly", "quarterly"])
def test_the_sum_the_journeys_and_the_weeks_are_the_same_money(cadence: str) -> None:
    found = lines(report(cadence))
    noun = CADENCES[cadence].noun

    def added(section: str) -> float:
        return sum(float(line["value"] or 0) for line in found if (line["section"], line["name"]) == (section, "lost_revenue"))

    total = added(noun)
    assert total > 1000
    assert added("incident") == pytest.approx(total)
    if cadence != "weekly":
        assert added("week by week") == pytest.approx(total)
    assert added("journey") == pytest.approx(total, abs=0.005 * 500)


def test_markdown_and_page_say_the_same_sentences() -> None:
    for cadence in CADENCES:
        found = report(cadence)
        html, markdown = page.html(found), page.markdown(found)
        missing = {
            title for name, title in found.titles.items() if name not in ("journeys", "slo") and page.markdown_text(title) not in markdown
        }
        assert missing == set()
        assert found.headline in html


def test_what_is_not_known_is_empty_and_not_zero() -> None:
    found = compiling.figures(as_rows(frames([incident("INC-1", report().week.start, None)])))
    (week,) = [line for line in lines(found) if (line["section"], line["name"]) == ("week", "lost_revenue")]
    assert week["value"] == ""
    assert {line["value"] for line in lines(found) if (line["section"], line["name"]) == ("journey", "lost_revenue")} == {""}


def test_only_a_longer_report_has_patterns() -> None:
    assert {line["section"] for line in lines(report("monthly"))} - {line["section"] for line in lines(report())} >= {
        "pattern",
        "portfolio",
    }
    assert report().cadence is not MONTHLY
