"""What traces and logs tell of an incident: shares that change, time lost on a way or in a service, and what is no evidence."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast.correlation import correlate
from aftercast.correlation.occurrences import NEWS, Shift, Tally, shifts
from aftercast.correlation.reading import query
from tests.unit.correlate_fixture import AS_OF, END, ONSET, START, inputs

BUCKETS = 3 * 288
TIMES = [START + timedelta(minutes=5 * bucket) for bucket in range(BUCKETS)]
HURT = [ONSET <= moment < END for moment in TIMES]


def tally(wholes: list[int], **events: list[int]) -> Tally:
    return Tally(
        (("store", "GET"),),
        np.array([wholes], dtype=np.int64),
        tuple(events),
        np.zeros(len(events), dtype=np.int64),
        np.array(list(events.values()), dtype=np.int64),
    )


def found(given_tally: Tally, during: int = 3) -> dict[str, Shift]:
    buckets = given_tally.wholes.shape[1]
    return {row.event: row for row in shifts(given_tally, np.arange(buckets - during, buckets), np.arange(buckets - during))}


# --- shares that change


def test_a_share_that_stays_is_no_evidence_and_one_that_goes_is_much():
    rows = found(tally([20] * 43, stays=[18] * 43, goes=[19] * 40 + [0] * 3))
    assert "stays" not in rows and rows["goes"].evidence > 30
    assert (rows["goes"].usual, rows["goes"].seen, rows["goes"].out_of) == (pytest.approx(0.95), 0.0, 60)


def test_a_share_that_always_wanders_may_wander():
    wandering = [2, 18, 5, 16, 9, 20, 1, 12] * 5
    firm = found(tally([20] * 43, event=[10] * 40 + [2] * 3))["event"].evidence
    loose = found(tally([20] * 43, event=[*wandering, 2, 2, 2]))
    assert firm > 10 and ("event" not in loose or loose["event"].evidence < 2)


def test_other_incidents_of_the_same_service_do_not_become_its_normal():
    spoilt = [19] * 33 + [0] * 7
    assert found(tally([20] * 43, event=[*spoilt, 0, 0, 0]))["event"].evidence > 30


def test_news_counts_together_against_how_often_there_is_news():
    texts = {f"token {n}": [int(n == bucket) * 5 for bucket in range(43)] for n in range(43)}
    assert not found(tally([20] * 43, **texts))
    rows = found(tally([20] * 43, usual=[20] * 43, shock=[0] * 40 + [15] * 3))
    assert rows[NEWS + "shock"].evidence > 30 and "usual" not in rows


def test_what_is_seen_too_rarely_is_silent():
    assert not found(tally([20] * 40 + [0, 1, 1], event=[20] * 40 + [0, 0, 0]))
    assert not found(tally([0] * 39 + [5] + [20] * 3, event=[0] * 39 + [5] + [0] * 3))


@given(st.lists(st.integers(0, 30), min_size=10, max_size=40), st.integers(0, 2**32 - 1))
def test_evidence_is_finite_and_independent_of_the_order_of_buckets(wholes, seed):
    chance = np.random.default_rng(seed)
    counts = chance.binomial(wholes, chance.random())
    rows = found(tally(wholes, event=counts.tolist()), during=2)
    order = [*chance.permutation(len(wholes) - 2).tolist(), len(wholes) - 2, len(wholes) - 1]
    again = found(tally([wholes[n] for n in order], event=[int(counts[n]) for n in order]), during=2)
    assert rows.keys() == again.keys()
    assert all(np.isfinite(row.evidence) and row.evidence == pytest.approx(again[key].evidence) for key, row in rows.items())


# --- the checks


def events(service: str, operation: str, shares: Mapping[str, tuple[float, float]], count: int = 40) -> pl.DataFrame:
    """Spans of an operation in every bucket, and in which share of them an event happens before and during the incident."""
    rows: list[dict[str, Any]] = []
    for bucket, hurt in zip(TIMES, HURT, strict=True):
        rows.append({"event": "", "bucket": bucket, "count": count})
        rows += [{"event": event, "bucket": bucket, "count": round(count * share[hurt])} for event, share in shares.items()]
    return pl.DataFrame([row for row in rows if row["count"]]).with_columns(
        service=pl.lit(service), environment=pl.lit("production"), operation=pl.lit(operation)
    )


def red(service: str, operation: str, own: tuple[float, float], *, peer: str = "", count: int = 40, errors: int = 0) -> pl.DataFrame:
    """Requests of every bucket with their own time before and during the incident; `errors` of them fail during it."""
    chance = np.random.default_rng(len(service + operation))
    return pl.DataFrame(
        {
            "bucket": TIMES,
            "own_p50_ms": [own[hurt] * float(np.exp(0.05 * chance.standard_normal())) for hurt in HURT],
            "errors": [errors * hurt for hurt in HURT],
        }
    ).with_columns(
        service=pl.lit(service), environment=pl.lit("production"), operation=pl.lit(operation), peer=pl.lit(peer), count=pl.lit(count)
    )


def told(check: str, **frames: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """The rows of one check, by candidate."""
    rows = correlate(inputs(**frames), AS_OF).evidence.filter(pl.col("check_name") == check)
    return {row["candidate_id"]: row for row in rows.iter_rows(named=True)}


def quiet() -> list[pl.DataFrame]:
    """Ways and requests that lose nothing."""
    return [
        red("web", "GET /", (20, 20)),
        red("web", "call api", (3, 3), peer="api"),
        red("web", "call mail", (3, 3), peer="mail"),
        red("api", "GET", (9, 9), peer="web"),
        red("store", "GET", (9, 9), peer="api"),
        red("mail", "GET", (9, 9), peer="web"),
    ]


def test_time_lost_on_every_way_to_a_service_is_lost_there():
    frames = [*quiet(), red("api", "call store", (3, 250), peer="store"), red("mail", "call store", (3, 250), peer="store")]
    rows = told("exclusive_time", trace_red=pl.concat(frames))
    assert rows["store"]["strength"] > 1.5 and "on the way or in line" in rows["store"]["why"]
    assert rows["api"]["strength"] < 0 and rows["web"]["strength"] < -1


def test_time_lost_on_every_way_from_a_service_is_its_own():
    frames = [one for one in quiet() if "call mail" not in one["operation"].to_list()]
    slow = [
        red("web", "call mail", (3, 3), peer="mail"),
        red("api", "call store", (3, 90), peer="store"),
        red("api", "call mail", (3, 90), peer="mail"),
    ]
    slow_in = red("web", "call api", (3, 90), peer="api")
    rest = [one for one in frames if "call api" not in one["operation"].to_list()]
    rows = told("exclusive_time", trace_red=pl.concat([*rest, *slow, slow_in]))
    assert all(rows[name]["strength"] < rows["api"]["strength"] - 0.5 for name in ("store", "mail", "web"))


def test_time_spent_in_a_service_itself_is_told_from_time_it_waits():
    slow = [one for one in quiet() if one["service"][0] != "store"] + [red("store", "GET", (9, 400), peer="api")]
    rows = told("exclusive_time", trace_red=pl.concat([*slow, red("api", "call store", (3, 3), peer="store")]))
    assert rows["store"]["strength"] > 1.5 and "itself spends" in rows["store"]["why"] and rows["api"]["strength"] < -1


def test_where_no_time_is_lost_the_check_is_silent():
    assert not told("exclusive_time", trace_red=pl.concat(quiet()))


@pytest.mark.parametrize(
    "shares", [{"inside write": (1.0, 0.0)}, {"log ERROR lost": (0.0, 0.9), "log": (0.9, 0.9)}, {"call mail send (again)": (0.9, 0.1)}]
)
def test_an_operation_that_does_something_else_is_broken(shares):
    row = told("broken_operation", span_events=events("store", "PUT", shares))["store"]
    assert row["strength"] > 2.5 and "PUT" in row["why"]


def test_a_caller_of_a_broken_operation_is_its_victim():
    both = pl.concat([events("store", "PUT", {"inside write": (1.0, 0.0)}), events("api", "POST", {"inside done": (1.0, 0.1)})])
    rows = told("broken_operation", span_events=both)
    assert rows["store"]["strength"] > 2.5 and rows["api"]["strength"] < 0.5 and "store" in rows["api"]["why"]


def test_what_began_before_the_incident_explains_nothing_that_begins_with_it():
    early = events("store", "PUT", {"inside write": (1.0, 0.0)})
    since = ONSET - timedelta(minutes=40)
    gone = pl.col("bucket").is_between(since, ONSET, closed="left") & (pl.col("event") != "")
    rows = told("broken_operation", span_events=pl.concat([early.filter(~gone), events("api", "POST", {"inside done": (1.0, 0.0)})]))
    assert rows["api"]["strength"] > 2.5 and rows["store"]["strength"] < 2.5 and "before the incident" in rows["store"]["why"]


def test_messages_that_name_a_callee_are_no_evidence_against_who_writes_them():
    assert not told(
        "broken_operation", span_events=events("api", "POST", {"log ERROR store does not answer": (0.0, 1.0), "log": (0.9, 1.0)})
    )


def test_logs_that_nobody_collected_are_not_missing():
    frame = events("store", "PUT", {"inside write": (1.0, 1.0), "log INFO done": (1.0, 0.0), "log": (1.0, 0.0)})
    assert not told("broken_operation", span_events=frame)


def test_an_operation_that_fails_is_broken():
    row = told("broken_operation", trace_red=pl.concat([*quiet(), red("store", "PUT", (9, 9), peer="api", errors=35)]))["store"]
    assert row["strength"] > 2 and "fails" in row["why"] and "fct_trace_red" in row["pointer"]


def test_log_records_without_spans_weigh_little():
    rows = [
        {"bucket": bucket, "pattern": pattern, "severity": "info", "count": count}
        for bucket, hurt in zip(TIMES, HURT, strict=True)
        for pattern, count in (("INFO done", 40 - 38 * hurt), ("INFO skipped", 1 + 37 * hurt))
    ]
    frame = pl.DataFrame(rows).with_columns(service=pl.lit("store"), environment=pl.lit("production"), region=pl.lit(""))
    assert 0.5 < told("broken_operation", log_patterns=frame)["store"]["strength"] < 1.5


def test_quiet_metrics_do_not_speak_against_a_service_whose_traces_show_trouble():
    frames = {"span_events": events("store", "PUT", {"inside write": (1.0, 0.0)})}
    without, beside = told("service_deviates")["store"]["strength"], told("service_deviates", **frames)["store"]["strength"]
    assert without < -0.5 and beside == 0


def test_empty_and_nameless_rows_are_no_error():
    nothing = pl.DataFrame(
        {"service": [None], "environment": ["production"], "operation": ["x"], "event": [""], "bucket": [ONSET], "count": [1]}
    )
    assert not told("broken_operation", span_events=nothing.cast({"service": pl.String}))


def test_rows_in_any_order_say_the_same():
    frames = {"span_events": events("store", "PUT", {"inside write": (1.0, 0.2)}), "trace_red": pl.concat(quiet())}
    mixed = {name: frame.sample(fraction=1.0, shuffle=True, seed=5) for name, frame in frames.items()}
    assert correlate(inputs(**frames), AS_OF).evidence.equals(correlate(inputs(**mixed), AS_OF).evidence)


def test_only_events_around_incidents_are_read():
    incidents = "('p', '2026-01-02 00:00:00Z', null, false), ('p', '2026-03-02 00:00:00Z', null, true)"
    hours = "range(timestamptz '2025-12-31 00:00:00Z', timestamptz '2026-03-03 00:00:00Z', interval 1 hour) as t(b)"
    with duckdb.connect() as connection:
        for sql in (
            "create schema star",
            "create table star.fct_incident"
            " (environment text, started_at timestamptz, impact_end_at timestamptz, exclude_from_metrics boolean)",
            f"insert into star.fct_incident values {incidents}",
            "create table star.fct_span_event (service text, environment text, bucket timestamptz)",
            f"insert into star.fct_span_event select 's', e, b from {hours}, (values ('p'), ('q')) as v(e)",
        ):
            connection.execute(sql)
        rows = connection.execute(query("span_events", "star.fct_span_event", ["service", "environment", "bucket"])).fetchall()
    assert len(rows) == 26 and {row[1] for row in rows} == {"p"}
