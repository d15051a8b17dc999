"""What happens inside spans: own time of requests and calls, and events counted per operation."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from aftercast.sources.otlp.decoding import Buckets, Place
from aftercast.sources.otlp.insides import MOST_EVENTS
from aftercast.sources.otlp.traces import CLIENT, CONSUMER, INTERNAL, PRODUCER, SERVER, Traces, Work

START = 1_700_000_040 * 10**9
MS = 10**6


def work(span: int, parent: int | None, service: str, start: int, end: int, kind: int = SERVER, name: str = "op", trace: int = 1) -> Work:
    return Work(
        f"{trace:032x}",
        f"{span:016x}",
        f"{parent:016x}" if parent is not None else "",
        Place(service, "production", ""),
        kind,
        name,
        "",
        False,
        START + start * MS,
        START + end * MS,
        False,
    )


@pytest.fixture
def told(tmp_path: Path):
    def run(*spans: Work, said: tuple[tuple[int, str], ...] = (), room: int = 10**6) -> tuple[pl.DataFrame, pl.DataFrame]:
        found = Traces(tmp_path / str(room), Buckets(START, START + 300 * 10**9, 60 * 10**9), events=True, room=room)
        for one in spans:
            found.add(one)
        for span, text in said:
            found.say(f"{1:032x}", f"{span:016x}", text)
        red, _, events = found.summaries()
        return red, events

    return run


def own(red: pl.DataFrame) -> dict[tuple[str, str], float | None]:
    return {(service, operation): value for service, operation, value in red.select("service", "operation", "own_p50_ms").iter_rows()}


def test_own_time_is_what_calls_do_not_cover_and_calls_at_once_count_once(told):
    red, _ = told(
        work(1, None, "web", 0, 100, name="GET /"),
        work(2, 1, "web", 5, 95, INTERNAL, "render"),
        work(3, 2, "web", 10, 50, CLIENT, "a"),
        work(4, 2, "web", 30, 70, CLIENT, "b"),
        work(5, 3, "cart", 12, 42, name="cart"),
    )
    found = own(red)
    assert found["web", "GET /"] == pytest.approx(40, rel=0.01)
    assert found["web", "call a"] == pytest.approx(10, rel=0.01)
    assert found["cart", "cart"] == pytest.approx(30, rel=0.01)
    assert found["web", "call b"] is None


def test_a_request_that_calls_without_a_span_for_the_call_is_not_charged_for_it(told):
    red, _ = told(work(1, None, "web", 0, 100), work(2, 1, "cart", 20, 90, name="cart"))
    assert own(red) == {("web", "op"): pytest.approx(30, rel=0.01), ("cart", "cart"): pytest.approx(70, rel=0.01)}


def test_what_a_queue_hands_on_later_is_no_time_of_the_request(told):
    red, _ = told(
        work(1, None, "web", 0, 100, name="POST"),
        work(2, 1, "web", 90, 92, PRODUCER, "send"),
        work(3, 2, "mail", 95, 500, CONSUMER, "mail"),
    )
    found = own(red)
    assert found["web", "POST"] == pytest.approx(98, rel=0.01) and found["web", "call send"] is None
    assert found["mail", "mail"] == pytest.approx(405, rel=0.01)


def test_what_is_consumed_right_below_a_request_is_no_time_of_it(told):
    red, _ = told(work(1, None, "web", 0, 100, name="POST"), work(2, 1, "mail", 40, 500, CONSUMER, "mail"))
    assert own(red)["web", "POST"] == pytest.approx(100, rel=0.01)


def test_parents_in_a_circle_and_parents_that_are_missing_do_not_hang(told):
    red, events = told(
        work(1, 2, "web", 0, 10, INTERNAL), work(2, 1, "web", 0, 10, INTERNAL), work(3, 3, "web", 0, 10, CLIENT), work(4, 9, "cart", 0, 8)
    )
    assert own(red)["cart", "op"] == pytest.approx(8, rel=0.01)
    assert events.filter(pl.col("event") == "")["count"].sum() == 4


def test_events_are_counted_once_per_span_whatever_the_parts(told):
    spans = [
        work(1, None, "web", 0, 100, name="GET /"),
        work(2, 1, "web", 0, 9, INTERNAL, "step"),
        work(3, 1, "web", 9, 19, INTERNAL, "step"),
        work(4, 1, "cart", 20, 90, name="cart"),
        *(work(10 + n, None, "web", 0, 10, name="GET /", trace=100 + n) for n in range(5)),
    ]
    said = ((1, "INFO done"), (1, "INFO done"), (1, "INFO more"), (77, "INFO of no span we know"))
    red, events = told(*spans, said=said)
    assert events.select("service", "operation", "event", "count").rows() == [
        ("cart", "cart", "", 1),
        ("web", "GET /", "", 6),
        ("web", "GET /", "call cart cart", 1),
        ("web", "GET /", "inside step", 1),
        ("web", "GET /", "inside step (again)", 1),
        ("web", "GET /", "log", 1),
        ("web", "GET /", "log INFO done", 1),
        ("web", "GET /", "log INFO done (again)", 1),
        ("web", "GET /", "log INFO more", 1),
        ("web", "step", "", 2),
    ]
    assert told(*spans, said=said, room=2)[1].equals(events) and told(*reversed(spans), said=said[::-1], room=3)[0].equals(red)


def test_the_rarest_events_of_a_busy_operation_count_together(told):
    spans = [work(0, None, "web", 0, 100), *(work(n + 1, 0, "web", 0, 1, INTERNAL, f"step {n:03}") for n in range(MOST_EVENTS + 7))]
    _, events = told(*spans)
    assert events.filter(pl.col("event") == "<other>")["count"].to_list() == [7]
    assert events.filter(pl.col("operation") == "op").height == MOST_EVENTS + 2
