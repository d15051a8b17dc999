"""What trackers share: records of any shape are read safely, severities by name, who belongs to which window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast.sources.lifecycle import (
    Tracker,
    at,
    batch,
    earliest,
    from_milliseconds,
    is_due,
    items_at,
    latest,
    milliseconds,
    moment,
    text,
)
from aftercast.window import Window

WINDOW = Window.parse("2026-09-01", "2026-09-02")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_no_record_is_of_a_shape_that_cannot_be_read(record: Any):
    assert all(isinstance(one, dict) for one in items_at(record, "a"))
    assert text(at(record, "a", "b")) is None or isinstance(text(at(record, "a", "b")), str)
    assert moment(text(record)) is None or moment(text(record)).tzinfo is UTC  # type: ignore[union-attr]
    assert from_milliseconds(at(record, "c")) is None or isinstance(from_milliseconds(at(record, "c")), str)


@given(JSON, JSON)
def test_every_record_makes_a_row_of_texts(one: Any, other: Any):
    made = batch("incidents", [{"incident_id": one, "title": other, "services": ["cart"], "nonsense": 1}], "here")
    assert made.frame.height == 1
    assert set(made.frame.schema.values()) == {pl.String(), pl.List(pl.String)}
    assert made.frame["source_id"].to_list() == [text(one)]


@pytest.mark.parametrize("moved", [timedelta(), timedelta(days=1, microseconds=-1)])
def test_what_was_there_before_the_end_and_written_since_the_start_is_due(moved: timedelta):
    inside = (WINDOW.start + moved).isoformat()
    assert is_due(WINDOW, created=inside, updated=[inside])
    assert is_due(WINDOW, created="2020-01-01T00:00:00Z", updated=["2020-01-01T00:00:00Z", inside])
    assert is_due(WINDOW, created=inside, updated=["2026-12-01T00:00:00Z"])
    assert not is_due(WINDOW, created=WINDOW.end.isoformat(), updated=[])
    assert not is_due(WINDOW, created="2020-01-01T00:00:00Z", updated=["2026-08-31T23:59:59Z"])


def test_times_that_cannot_be_read_do_not_hide_a_record():
    assert is_due(WINDOW, created="yesterday", updated=["2026-09-01 10:00", None])


def test_words_for_severity_are_matched_without_case_and_unknown_ones_are_kept_for_landing_to_name():
    tracker = Tracker(severities={"Fire": "sev1", "P2": "sev3"})
    known = {"p1": "sev1", "p2": "sev2"}
    assert [tracker.severity(word, known) for word in ("fire", " P2 ", "p1", "P9", None)] == ["sev1", "sev3", "sev1", "P9", "unknown"]
    assert Tracker(severities={"*": "sev4"}).severity("P9", known) == "sev4"


def test_the_first_and_the_last_of_some_kinds_are_found_whatever_the_zone_they_are_written_in():
    times = ["2026-09-01T12:00:00+02:00", "2026-09-01T09:30:00Z", "2026-09-01T11:00:00Z", "soon"]
    events = [{"kind": kind, "occurred_at": time} for kind, time in zip(["ack", "ack", "done", "ack"], times, strict=True)]
    assert earliest(events, "ack") == "2026-09-01T09:30:00Z"
    assert latest(events, "ack") == "2026-09-01T12:00:00+02:00"
    assert earliest(events, "other") is None


@given(st.datetimes(datetime(2001, 1, 1), datetime(2090, 1, 1)))
def test_milliseconds_there_and_back_lose_less_than_one(instant: datetime):
    given_ = instant.replace(tzinfo=UTC)
    back = moment(from_milliseconds(milliseconds(given_)))
    assert back is not None
    assert abs(back - given_) <= timedelta(milliseconds=1)
