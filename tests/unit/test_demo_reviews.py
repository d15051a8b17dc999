"""The on-call's weekly word on alarms is a function of the week, and about what people knew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from aftercast.conform import conform
from aftercast.entities import ENTITIES
from aftercast.sources.demo.response import responses_near
from aftercast.sources.demo.reviews import REVIEWED, alarm_verdict_rows
from aftercast.window import Window

START, END = datetime(2026, 9, 21, tzinfo=UTC), datetime(2026, 11, 16, tzinfo=UTC)
ROWS = alarm_verdict_rows(7, START, END)


def span(row: dict[str, object]) -> Window:
    begin, end = str(row["subject_id"]).rpartition("@")[2].split("/")
    return Window.parse(begin, end)


def test_reviews_do_not_depend_on_the_window_asked_for():
    days = [alarm_verdict_rows(7, START + n * timedelta(days=1), START + (n + 1) * timedelta(days=1)) for n in range(56)]
    assert len(ROWS) > 100
    assert sorted(map(repr, ROWS)) == sorted(repr(row) for day in days for row in day)
    assert {row["verdict_id"] for row in ROWS} != {row["verdict_id"] for row in alarm_verdict_rows(8, START, END)}


def test_no_alarm_near_a_declared_incident_is_called_noise_and_only_those_in_one_are_called_real():
    incidents = [(one.started_at, one.mitigated_at) for one in responses_near(7, START - timedelta(days=8), END)]
    assert {row["verdict"] for row in ROWS} == {"confirm", "reject"}
    for row in ROWS:
        judged = span(row)
        near = any(begin < judged.end and end > judged.start for begin, end in incidents)
        assert near == (row["verdict"] == "confirm"), row["subject_id"]


def test_a_week_is_judged_after_it_ended():
    assert all(span(row).end <= row["decided_at"] < span(row).start + timedelta(days=8) for row in ROWS)


def test_reviews_fit_their_entity_and_name_only_reviewed_series():
    frame = pl.DataFrame(ROWS, schema=dict(ENTITIES["verdicts"].columns))
    assert conform(ENTITIES["verdicts"], frame, origin="demo", key=b"k").rejected.is_empty()
    assert {str(row["subject_id"]).split("|")[0] for row in ROWS} == set(REVIEWED)
