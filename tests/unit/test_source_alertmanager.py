"""The `alertmanager` kind: however often it is polled, one alert is one episode, and it ends when it is no longer listed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import polars as pl
import pytest

from aftercast.declarations import SourceRow
from aftercast.errors import ConfigError, SourceRejected
from aftercast.sources import open_source, web
from aftercast.window import Window
from tests.answering import Answer, in_turn, serve
from tests.unit.landing_fixture import HOUR, START, coverage, deployment, files, land, landed

LATER = START + timedelta(days=400)


def hour(number: int) -> Window:
    return Window(START + number * HOUR, START + (number + 1) * HOUR)


def stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def alert(
    print_: str = "a1b2c3d4e5f60718", *, minute: float = 10, ends: datetime | None = None, status: dict | None = None, **labels: str
) -> dict:
    started = START + timedelta(minutes=minute)
    return {
        "annotations": {"summary": "ask jane@example.org"},
        "endsAt": stamp(ends or LATER),
        "fingerprint": print_,
        "receivers": [{"name": "on-call"}],
        "startsAt": stamp(started),
        "status": {"inhibitedBy": [], "silencedBy": [], "state": "active", **(status or {})},
        "updatedAt": stamp(started),
        "generatorURL": "http://prometheus/graph",
        "labels": {"alertname": "Slow", "service": "cart", "region": "eu", "severity": "page", **labels},
    }


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(web, "FIRST_WAIT", 0.0)


@pytest.fixture
def place(tmp_path):
    return deployment(tmp_path)


@pytest.fixture
def poll(monkeypatch, place):
    """Extract an hour and land it; the server answers two minutes after its end unless told otherwise."""

    def run(number: int, *listed: dict, at: datetime | None = None, answers: list[Answer] | None = None, **options):
        window = hour(number)
        date = format_datetime(at or window.end + timedelta(minutes=2), usegmt=True)
        with serve(in_turn(*(answers or []), Answer(list(listed), headers={"Date": date}))) as server:
            monkeypatch.setenv(
                "AIRFLOW_CONN_ALERTS", json.dumps({"conn_type": "http", "host": server.url, **options.pop("connection", {})})
            )
            row = SourceRow(name="shop", kind="alertmanager", connection="alerts", options=options)
            batches = list(open_source(row, place).extract(window))
            land(place, window, *batches, source=row, at=window.end + timedelta(minutes=3))
        return batches[0], server.asked

    return run


def known(place) -> list[tuple[str, float, float | None]]:
    """Fingerprint, start and end (minutes since the first hour) as staging tells them: an ended version before an open one."""
    versions: dict[tuple[str, datetime], datetime | None] = {}
    rows = landed_versions(place)
    for row in rows:
        key = row["fingerprint"], row["started_at"]
        versions[key] = row["ended_at"] or versions.get(key)
    minutes = [(key[0], key[1], ended) for key, ended in sorted(versions.items())]
    return [(one, (since - START).total_seconds() / 60, ended and (ended - START).total_seconds() / 60) for one, since, ended in minutes]


def landed_versions(place) -> list[dict]:
    paths = sorted(place.landing.glob("alerts/source=shop/**/*.parquet"))
    rows = [row for path in paths for row in pl.read_parquet(path, hive_partitioning=False).iter_rows(named=True)]
    return sorted(rows, key=lambda row: row["ingested_at"])


ONE = "a1b2c3d4e5f60718"


def test_repeated_snapshots_make_one_episode(poll, place):
    for number in range(3):
        poll(number, alert())
    assert known(place) == [(ONE, 10.0, None)]
    row = landed(place, "alerts").row(0, named=True)
    assert {name: row[name] for name in ("name", "service", "environment", "region", "severity")} == {
        "name": "Slow",
        "service": "cart",
        "environment": "production",
        "region": "eu",
        "severity": "page",
    }


def test_an_end_in_the_future_means_still_firing_and_one_in_the_past_has_come(poll, place):
    poll(0, alert(), alert("b" * 16, ends=START + timedelta(minutes=40)), alert("c" * 16, ends=datetime(1, 1, 1, tzinfo=UTC)))
    assert known(place) == [(ONE, 10.0, None), ("b" * 16, 10.0, 40.0), ("c" * 16, 10.0, None)]


def test_what_is_no_longer_listed_has_ended_by_the_time_of_the_poll(poll, place):
    poll(0, alert(), alert("b" * 16))
    batch, _ = poll(1, alert("b" * 16))
    assert batch.frame.height == 2
    assert known(place) == [(ONE, 10.0, 122.0), ("b" * 16, 10.0, None)]
    batch, _ = poll(2, alert("b" * 16))
    assert batch.frame.height == 1, "an end is told once"


def test_a_replay_changes_nothing_and_forgets_nothing(poll, place):
    poll(0, alert())
    poll(1, alert("b" * 16, minute=70))
    before = files(place, "alerts")
    poll(1, alert("b" * 16, minute=70))
    assert files(place, "alerts") == before
    poll(1, at=START + 5 * HOUR)
    assert known(place) == [(ONE, 10.0, 122.0), ("b" * 16, 70.0, 300.0)], "the first end known stands; what only this hour knew has ended"


def test_an_alert_that_is_listed_again_after_its_end_is_open_until_it_ends_again(poll, place):
    poll(0, alert())
    poll(1)
    poll(2, alert())
    batch, _ = poll(3)
    assert batch.frame["ended_at"].to_list() == [START + 4 * HOUR + timedelta(minutes=2)]
    assert known(place) == [(ONE, 10.0, 242.0)]


def test_the_same_fingerprint_with_another_start_is_another_episode(poll, place):
    poll(0, alert())
    poll(1, alert(minute=65))
    assert known(place) == [(ONE, 10.0, 122.0), (ONE, 65.0, None)]


def test_what_starts_after_the_window_is_left_to_the_next(poll, place):
    poll(0, alert(minute=61))
    assert known(place) == []
    poll(1, alert(minute=61))
    assert known(place) == [(ONE, 61.0, None)]


def test_a_clock_that_runs_ahead_is_noted(poll, place):
    batch, _ = poll(0, alert(minute=90))
    assert batch.notes == {"alert starts after it was listed: a clock runs ahead": 1}
    assert known(place) == []


def test_suppressed_alerts_are_counted_and_may_be_left(poll, place):
    quiet = {"silencedBy": ["s1"], "state": "suppressed"}
    listed = [alert(), alert("b" * 16, status=quiet), alert("c" * 16, status={"inhibitedBy": [ONE], "mutedBy": ["night"]})]
    batch, asked = poll(0, *listed, filter=['region="eu"', 'severity="page"'])
    assert batch.notes == {"alert silenced": 1, "alert inhibited": 1, "alert muted": 1}
    assert batch.frame.height == 3
    assert asked[0].params == {
        **{name: ["true"] for name in ("active", "silenced", "inhibited", "unprocessed")},
        "filter": ['region="eu"', 'severity="page"'],
    }
    batch, _ = poll(1, *listed, suppressed="leave")
    assert batch.frame["fingerprint"].to_list() == [ONE]
    assert [ended for *_, ended in known(place)] == [None] * 3, "a silence ends no alert"


def test_nobody_is_named(poll):
    batch, _ = poll(0, alert())
    assert "jane" not in str(batch.frame.rows())


def test_nothing_listed_is_an_answer_and_twice_listed_is_one(poll, place):
    poll(0)
    assert coverage(place)["received"].to_list() == [0]
    batch, _ = poll(0, alert(), alert())
    assert batch.frame.height == 1


def test_what_is_no_alert_is_quarantined(poll, place):
    broken = [{"labels": {}}, {**alert(), "startsAt": "yesterday"}, {**alert(), "labels": None}, {**alert(), "startsAt": 3}]
    batch, _ = poll(0, alert("b" * 16), *broken)
    assert batch.rejected is not None
    assert batch.rejected["reason"].to_list() == [
        "not an alert: KeyError",
        "not an alert: ConfigError",
        "not an alert: AttributeError",
        "not an alert: TypeError",
    ]
    assert known(place) == [("b" * 16, 10.0, None)]


def test_it_waits_when_asked_to_and_heals_torn_bodies(poll, place):
    batch, asked = poll(0, alert(), answers=[Answer(status=429, headers={"Retry-After": "0"}), Answer(raw=b'[{"labels"')])
    assert (batch.frame.height, len(asked)) == (1, 3)


@pytest.mark.parametrize(
    ("answer", "message"),
    [(Answer(status=401), r"answered 401.*'alerts'"), (Answer({"status": "success", "data": []}), "expected a list of objects")],
)
def test_what_it_cannot_use_is_named_and_ends_nothing(poll, place, answer, message):
    poll(0, alert())
    with pytest.raises(SourceRejected, match=message):
        poll(1, answers=[answer])
    assert known(place) == [(ONE, 10.0, None)]


def test_an_unknown_option_is_named(place):
    with pytest.raises(ConfigError, match="did you mean 'filter'"):
        open_source(SourceRow(name="shop", kind="alertmanager", connection="alerts", options={"filters": ["a"]}), place)


def test_an_alert_is_suppressed_only_while_it_never_notified(poll, place):
    def told() -> dict[str, bool]:
        return {row["fingerprint"]: row["suppressed"] for row in landed_versions(place)}

    quiet = {"silencedBy": ["s1"], "state": "suppressed"}
    poll(0, alert(), alert("b" * 16, status=quiet))
    assert told() == {ONE: False, "b" * 16: True}
    poll(1, alert(status=quiet), alert("b" * 16, status=quiet))
    assert told() == {ONE: False, "b" * 16: True}, "silenced after it notified somebody"
    poll(2, alert(status=quiet), alert("b" * 16))
    assert told() == {ONE: False, "b" * 16: False}, "the silence ended while it fired"
    poll(3, alert("b" * 16, status=quiet))
    assert told() == {ONE: False, "b" * 16: False}


def test_what_landed_before_a_column_was_added_is_still_read(poll, place):
    poll(0, alert())
    for path in place.landing.glob("alerts/source=shop/**/*.parquet"):
        pl.read_parquet(path, hive_partitioning=False).drop("suppressed").write_parquet(path)
    batch, _ = poll(1)
    assert batch.frame["ended_at"].to_list() == [START + 2 * HOUR + timedelta(minutes=2)]
    assert batch.frame["suppressed"].to_list() == [None]
