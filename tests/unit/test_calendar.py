"""What a row of calendar.yml may say, what is refused, and when it happens."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast.declarations import CalendarRow
from aftercast.detection.known_times import occurrences
from aftercast.errors import ConfigError
from aftercast.settings import PROJECT, load_deployment
from aftercast.sources.demo.changes import STORES, changes_of_day
from aftercast.sources.demo.demand import promotion
from aftercast.window import DAY, Window, parse_utc

FILES = {
    "sources.yml": "history: {start: '2026-09-21', end: '2026-09-28'}\nsources: []\n",
    "signals.yml": """
signals:
  - {name: attempts, fact: kpi, value: attempts, by: [journey]}
  - {name: requests, fact: metric, value: requests, by: [service]}
""",
    "journeys.yml": """
journeys:
  - {journey: shop, title: Shop, owner_team: shop, currency: EUR, steps: [{step: pay, services: [checkout, cards]}]}
""",
    "catalog/services.csv": "service\ncheckout\ncards\nmail\n",
}


def load(folder: Path, row: str) -> CalendarRow:
    for name, text in {**FILES, "calendar.yml": f"calendar:\n  - {{{row}}}\n"}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (found,) = load_deployment(folder).calendar
    return found


SALE = "name: sale, kind: promotion"
FRIDAY = "starts: '2026-11-27', ends: '2026-11-28'"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"{SALE}, {FRIDAY}, journey: [shop]", r"row 1\.journey: unknown key; did you mean 'journeys'"),
        (f"{SALE}, {FRIDAY}, journeys: [shp]", r"row 1 \(sale\): unknown journey 'shp'; did you mean 'shop'"),
        (f"{SALE}, {FRIDAY}, signals: [atempts]", "unknown signal 'atempts'; did you mean 'attempts'"),
        (f"{SALE}, {FRIDAY}, signals: [requests], services: [chekout]", "unknown service 'chekout'; did you mean 'checkout'"),
        (f"{SALE}, {FRIDAY}, services: [checkout]", "names services but no signal of theirs"),
        (f"{SALE}, {FRIDAY}, zone: Europe/Berln", "unknown time zone 'Europe/Berln'; did you mean 'Europe/Berlin'"),
        (f"{SALE}, starts: '2026-11-28', ends: '2026-11-27'", "must end after it starts"),
        (f"{SALE}, starts: '2026-11-27T08:00', ends: '2026-11-28'", "has no time zone"),
        (f"{SALE}, starts: 2026-11-27T08:00:00, ends: 2026-11-28", "has no time zone"),
        (f"{SALE}, starts: '', ends: '2026-11-28'", "is not an ISO 8601 date"),
        (f"{SALE}, starts: '2026-11-27'", "give both starts and ends"),
        (SALE, "say when: either starts and ends, or times, or weekly, or country"),
        (f"{SALE}, {FRIDAY}, country: DE", "say when"),
        (f"{SALE}, {FRIDAY}, subdivision: BY", "a subdivision needs its country"),
        (f"{SALE}, times: [{{{FRIDAY}}}, {{starts: '2026-11-27T23:00Z', ends: '2026-11-29'}}]", "its times overlap"),
        ("name: feast, kind: holiday, country: GBX", "no public holidays are known of country 'GBX'; did you mean 'GB'"),
        ("name: feast, kind: holiday, country: DE, subdivision: BYY", "subdivision 'BYY' of 'DE'; did you mean 'BY'"),
    ],
)
def test_a_row_that_makes_no_sense_is_refused_with_its_name(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"calendar\.yml") as refused:
        load(tmp_path, row)
    assert refused.match(message)


def test_two_rows_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'sale' is declared twice"):
        load(tmp_path, f"{SALE}, {FRIDAY}}}\n  - {{{SALE}, {FRIDAY}")


def test_a_row_of_a_journey_is_also_of_the_services_that_carry_it(tmp_path: Path) -> None:
    assert load(tmp_path, f"{SALE}, {FRIDAY}, journeys: [shop]").services == ("checkout", "cards")
    assert load(tmp_path, f"{SALE}, {FRIDAY}, journeys: [shop], services: [mail]").services == ("mail",)


def test_days_without_quotes_are_read_as_written(tmp_path: Path) -> None:
    plain, quoted = (load(tmp_path, f"{SALE}, starts: {mark}2026-11-27{mark}, ends: {mark}2026-11-28{mark}") for mark in ("", "'"))
    assert plain == quoted
    assert plain.windows == (Window.parse("2026-11-27", "2026-11-28"),)


def test_norway_is_a_country(tmp_path: Path) -> None:
    assert load(tmp_path, "name: feast, kind: holiday, country: NO").country == "NO"


def test_a_bare_date_is_midnight_of_the_zone_and_a_day_of_changing_clocks_has_another_length() -> None:
    row = CalendarRow(name="sale", kind="promotion", zone="Europe/Berlin", times=[  # type: ignore[list-item]
        {"starts": "2026-03-29", "ends": "2026-03-30"},
        {"starts": "2026-10-25", "ends": "2026-10-26"},
        {"starts": "2026-07-01T12:00+02:00", "ends": "2026-07-01T13:00+02:00"},
    ])  # fmt: skip
    assert [one.length for one in row.windows] == [timedelta(hours=23), timedelta(hours=1), timedelta(hours=25)]
    assert row.windows[0].start == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert row.windows[1].start == datetime(2026, 7, 1, 10, tzinfo=UTC)
    assert row.windows[2].end == datetime(2026, 10, 25, 23, tzinfo=UTC)


def test_public_holidays_of_a_place_are_local_days() -> None:
    bavaria = CalendarRow(name="off", kind="holiday", country="DE", subdivision="BY", zone="Europe/Berlin")
    days = occurrences(bavaria, Window.parse("2026-10-01", "2027-01-01"))
    starts = [one.start for one in days]
    # Unity Day, All Saints' (of Bavaria, in winter time), two days of Christmas, and New Year, which begins in the old year of UTC.
    expected = ("2026-10-02T22:00Z", "2026-10-31T23:00Z", "2026-12-24T23:00Z", "2026-12-25T23:00Z", "2026-12-31T23:00Z")
    assert starts == [parse_utc(text) for text in expected]
    assert {one.length for one in days} == {DAY}
    everywhere = bavaria.model_copy(update={"subdivision": None})
    assert parse_utc("2026-10-31T23:00Z") not in [one.start for one in occurrences(everywhere, Window.parse("2026-10-01", "2027-01-01"))]


@given(offset=st.integers(-400, 400), length=st.integers(1, 300))
def test_an_occurrence_is_returned_when_and_only_when_it_overlaps_the_window(offset: int, length: int) -> None:
    window = Window.parse("2026-11-01", "2026-11-02")
    start = window.start + timedelta(minutes=10 * offset)
    end = start + timedelta(minutes=10 * length)
    row = CalendarRow(name="sale", kind="promotion", starts=start.isoformat(), ends=end.isoformat())
    assert occurrences(row, window) == ([Window(start, end)] if start < window.end and end > window.start else [])


def test_the_calendar_of_the_demo_company_lists_what_its_marketing_planned() -> None:
    deployment = load_deployment(PROJECT / "config")
    (declared,) = [row for row in deployment.calendar if row.kind == "promotion"]
    (demo,) = [row for row in deployment.sources if row.kind == "demo"]
    planned = {}
    for number in range(122):
        day = date(2026, 9, 1) + number * DAY
        extra = promotion(demo.options["seed"], day)
        if extra.max() > 0:
            present = np.flatnonzero(extra >= 0.05 * extra.max())
            planned[day] = [
                datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=5 * int(one)) for one in present[[0, -1]]
            ]
    assert len(planned) == 5
    found = {one.start.date(): one for one in declared.windows}
    assert found.keys() == planned.keys()
    for day, (first, last) in planned.items():
        assert found[day] == Window(first, last + timedelta(minutes=5))
    assert {row.kind for row in deployment.calendar} == {"promotion", "holiday"}


def test_the_demo_company_maintains_a_store_every_other_tuesday_night() -> None:
    days = [one.start.date() for one in load_deployment(PROJECT / "config").history.days()]
    found = [change for day in days for change in changes_of_day(7, day) if change.kind == "maintenance"]
    assert len(found) == 4
    assert {change.service for change in found} <= set(STORES)
    assert all(change.started_at.weekday() == 1 and 1 <= change.started_at.hour < change.finished_at.hour < 5 for change in found)
