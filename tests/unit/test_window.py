from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast.errors import ConfigError
from aftercast.window import Window, parse_utc

moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


def test_a_time_without_zone_is_refused():
    with pytest.raises(ConfigError, match="no time zone"):
        parse_utc("2026-09-21T10:00")


def test_a_bare_date_is_midnight_utc():
    assert parse_utc("2026-09-21") == datetime(2026, 9, 21, tzinfo=UTC)


def test_an_offset_is_converted():
    assert parse_utc("2026-09-21T10:00+02:00") == datetime(2026, 9, 21, 8, tzinfo=UTC)


def test_nonsense_names_the_text():
    with pytest.raises(ConfigError, match="next tuesday"):
        parse_utc("next tuesday")


def test_a_window_cannot_end_before_it_starts():
    with pytest.raises(ConfigError, match="must end after"):
        Window.parse("2026-09-22", "2026-09-21")


@given(moments, st.integers(1, 60 * 24 * 20))
def test_days_tile_the_window(start: datetime, minutes: int):
    window = Window(start, start + timedelta(minutes=minutes))
    days = list(window.days())
    assert days[0].start == window.start
    assert days[-1].end == window.end
    assert all(before.end == after.start for before, after in itertools.pairwise(days))
    assert all(day.start.date() == (day.end - timedelta(microseconds=1)).date() for day in days)
