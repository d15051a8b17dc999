"""The drawings: they say their numbers, fit their width, and keep labels apart."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from aftercast.reporting import charts, compiling, marks
from aftercast.reporting.figures import Report
from aftercast.reporting.intervals import wilson
from tests.unit.weekly_fixture import WEEK, as_rows, frames


@pytest.fixture(scope="module")
def page() -> Report:
    return compiling.figures(as_rows(frames()), WEEK)


@pytest.mark.parametrize("width", [1000, 330])
def test_the_weekly_chart_states_every_week_and_fits(page: Report, width: int) -> None:
    drawn = charts.lost_by_week(page.weeks, page.weeks_normal, "EUR", alarm=True, width=width)
    assert "2026-W45 EUR 271k (244k to 307k)" in drawn
    assert f'width="{width}"' in drawn
    assert "http" not in drawn
    assert drawn.count("Wk ") == len(page.weeks)


def test_a_week_that_is_not_known_is_a_question_mark_and_not_a_zero(page: Report) -> None:
    unknown = compiling.figures(
        as_rows(
            {**frames(), "mart_incidents": frames([])["mart_incidents"], "mart_incident_impact": frames([])["mart_incident_impact"]},
            ("mart_incidents",),
        ),
        WEEK,
    )
    drawn = charts.lost_by_week(unknown.weeks, None, "EUR", alarm=False, width=500)
    assert drawn.count(">?<") == len(unknown.weeks)


def test_the_budget_chart_names_the_incident_on_the_jump(page: Report) -> None:
    drawn = charts.budget_burn(page.journeys, width=500)
    assert "INC-2871" in drawn
    assert "Checkout 117%" in drawn
    assert "even spend" in drawn
    assert charts.budget_burn((), width=500) == ""


def test_labels_that_would_overlap_are_moved_apart(page: Report) -> None:
    placed = charts._apart([(0.5, line) for line in page.journeys], 0.1)
    spots = [spot for spot, _ in placed]
    assert all(after - before >= 0.1 - 1e-9 for before, after in pairwise(spots))


@pytest.mark.parametrize("most", [0.0, 0.3, 1.0, 7.0, 99.0, 12_345.0, 9.9e8])
def test_axes_carry_few_round_ticks(most: float) -> None:
    ticks = charts._ticks(most)
    assert ticks[0] == 0
    assert len(ticks) <= 6
    assert ticks[-1] <= most * 1.11


def test_titles_from_a_mart_cannot_break_out_of_a_drawing(page: Report) -> None:
    tile = page.tiles[0]
    evil = type(tile)(
        tile.name, '</title><script>"', tile.value, tile.text, tile.note, tile.standing, tile.normal, tile.normal_text, tile.values
    )
    assert "<script>" not in marks.sparkline(evil, [week.label for week in page.weeks])


def test_small_drawings_stay_inside_their_box(page: Report) -> None:
    drawn = [marks.sparkline(tile, ["a", "b"]) for tile in page.tiles]
    drawn += [marks.ratio_interval(fix) for fix in page.fixes]
    drawn += [marks.loss_interval(line.lost, 201_000.0) for line in page.incidents]
    drawn += [marks.share_interval(wilson(k, 3), wilson(1, 2)) for k in range(4)]
    drawn += [marks.loss_bar(line.lost, line.usual_loss, 252_000.0, alarm=False) for line in page.journeys]
    for text in drawn:
        if not text:
            continue
        width = float(re.search(r'viewBox="0 0 ([\d.]+)', text)[1])  # type: ignore[index]
        for value in re.findall(r' (?:x|x1|x2|cx)="(-?[\d.]+)"', text):
            assert -0.01 <= float(value) <= width + 0.01, text
