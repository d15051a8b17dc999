"""The `otlp` kind: what the SDK counted is what lands, whatever the order of lines; what cannot be used is said once."""

from __future__ import annotations

import gzip
import json
import os
import random
import tracemalloc
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercast.errors import ConfigError, SourceRejected, SourceUnavailable
from aftercast.sources.otlp import traces
from aftercast.sources.otlp.decoding import Buckets, Place
from aftercast.sources.otlp.patterns import masked
from aftercast.sources.otlp.spool import Spool
from aftercast.sources.otlp.spreads import Spread, Sum, exponential
from aftercast.window import Window
from tests.unit.landing_fixture import HOUR, START, deployment, hours, land, landed
from tests.unit.otlp_fixture import (
    CLIENT,
    CONSUMER,
    ERROR,
    PRODUCER,
    collected,
    counter,
    extract,
    frame,
    metric,
    notes,
    ns,
    point,
    records,
    rejected,
    row,
    span,
    spans,
    when,
    write,
)

ONE = hours(0, 1)


@pytest.fixture
def place(tmp_path):
    return deployment(tmp_path)


@pytest.fixture
def read(place, tmp_path):
    def run(*lines: Any, window: Window = ONE, **options: Any):
        write(tmp_path / "in", lines)
        return extract(place, tmp_path / "in", window, **options)

    return run


def values(batches, metric: str | None = None) -> dict[datetime, float]:
    found = frame(batches, "metric_points")
    if found.is_empty():
        return {}
    return dict(found.filter((pl.col("metric") == metric) if metric else pl.lit(True)).select("ts", "value").iter_rows())


# --- metrics


def test_a_cumulative_counter_lands_as_its_increase_per_step(read):
    found = read(metric("orders", counter(*(point(60 * n, 0, asInt=str(10 * n * n)) for n in range(1, 5)))))
    assert values(found) == {when(60 * (n - 1)): 10 * n * n - 10 * (n - 1) ** 2 for n in range(1, 5)}
    assert set(frame(found, "metric_points")["kind"]) == {"counter"}


def test_a_counter_that_begins_anew_loses_nothing(read):
    points = [point(60, 0, asInt="100"), point(120, 0, asInt="130"), point(180, 125, asInt="7"), point(240, 125, asInt="9")]
    assert sum(values(read(metric("orders", counter(*points)))).values()) == 139
    above = [point(60, 0, asInt="100"), point(120, 0, asInt="130"), point(180, 125, asInt="200")]
    assert sum(values(read(metric("orders", counter(*above)))).values()) == 330
    fallen = [point(60, 0, asInt="100"), point(120, 0, asInt="130"), point(180, 0, asInt="7")]
    assert sum(values(read(metric("orders", counter(*fallen)))).values()) == 137


def test_two_processes_are_no_counter_that_jumps(read):
    lines = [
        metric("orders", counter(point(60 * n, 0, asInt=str(start + n))), instance=who)
        for n in (1, 2, 3)
        for who, start in (("a", 0), ("b", 900))
    ]
    found = values(read(*lines))
    assert found[when(60)] == found[when(120)] == 2


def test_a_counter_without_an_earlier_point_is_not_taken_for_its_whole_life(read):
    found = read(metric("orders", counter(point(60, -90_000, asInt="5000000"), point(120, -90_000, asInt="5000003"))))
    assert values(found) == {when(60): 3}
    assert notes(found) == {"counters without an earlier point: their first increase is not known": 1}


def test_the_last_point_before_the_window_is_where_the_increase_begins(place, tmp_path):
    lines = [metric("orders", counter(point(60 * n, -90_000, asInt=str(n * n)))) for n in range(1, 121)]
    write(tmp_path / "in", lines)
    parts = [values(extract(place, tmp_path / "in", hours(n, n + 1))) for n in (0, 1)]
    assert {**parts[0], **parts[1]} == values(extract(place, tmp_path / "in", hours(0, 2)))
    assert not parts[0].keys() & parts[1].keys()
    assert sum(parts[1].values()) == 120**2 - 60**2


def test_deltas_add_up_and_a_point_told_twice_counts_once(read):
    line = metric("orders", counter(point(60, 0, asInt="4"), point(120, 60, asInt="5"), temporality=1))
    assert values(read(line, line)) == {when(0): 4, when(60): 5}


def test_gauges_are_means_and_levels_sums_over_processes(read):
    def lines(name: str, body):
        return [metric(name, body(value), instance=who) for who, value in (("a", 2.0), ("b", 6.0))]

    gauges = lines("load", lambda value: {"gauge": {"dataPoints": [point(60, asDouble=value)]}})
    levels = lines("queue", lambda value: counter(point(60, 0, asDouble=value), monotonic=False))
    found = read(*gauges, *levels)
    assert values(found, "load") == {when(60): 4}
    assert values(found, "queue") == {when(60): 8}


def test_attributes_land_as_sorted_json_without_persons_and_by_list_only_those_listed(read):
    line = metric(
        "orders", counter(point(60, 0, {"z": "1", "a": 2, "user.email": "ann@example.com", "client.address": "10.0.0.1"}, asInt="1"))
    )
    assert set(frame(read(line), "metric_points")["attributes"]) == {'{"a":2,"z":"1"}'}
    assert set(frame(read(line, attributes=["z*"]), "metric_points")["attributes"]) == {'{"z":"1"}'}
    wide = read(line, attributes=[], resource_attributes=["service.instance.id"])
    assert set(frame(wide, "metric_points")["attributes"]) == {'{"service.instance.id":"a"}'}


def test_series_that_become_one_are_added(read):
    points = [point(60, 0, {"user": str(n)}, asInt="2") for n in range(5)]
    assert values(read(metric("orders", counter(*points)), attributes=[])) == {when(0): 10}


def test_a_histogram_lands_as_count_sum_and_quantiles(read):
    def state(at: float, counts: list[int], total: float):
        told = {"count": str(sum(counts)), "sum": total, "bucketCounts": [str(n) for n in counts], "explicitBounds": [10, 100, 1000]}
        return point(at, 0, **told)

    body = {"histogram": {"aggregationTemporality": 2, "dataPoints": [state(60, [10, 0, 0, 0], 50), state(120, [10, 90, 10, 0], 9000)]}}
    found = read(metric("latency", body, unit="ms"))
    assert values(found, "latency_count") == {when(0): 10, when(60): 100}
    assert values(found, "latency_sum") == {when(0): 50, when(60): 8950}
    assert values(found, "latency_p50")[when(60)] == pytest.approx(10 + 90 * 50 / 90)
    assert values(found, "latency_p95")[when(60)] == pytest.approx(100 + 900 * 5 / 10)
    units = dict(frame(found, "metric_points").select("metric", "unit").unique().iter_rows())
    assert units == {"latency_count": "1", "latency_sum": "ms", "latency_p50": "ms", "latency_p95": "ms", "latency_p99": "ms"}


def test_a_histogram_without_an_earlier_point_is_not_taken_for_its_whole_life(read):
    states = [
        point(at, -90_000, count=str(n), sum=float(n), bucketCounts=["0", str(n)], explicitBounds=[5]) for at, n in ((60, 900), (120, 907))
    ]
    found = read(metric("size", {"histogram": {"aggregationTemporality": 2, "dataPoints": states}}))
    assert values(found, "size_count") == {when(60): 7}
    assert notes(found) == {"counters without an earlier point: their first increase is not known": 1}


@pytest.mark.parametrize("scale", [0, 3, 8])
def test_quantiles_of_exponential_buckets_are_near(scale):
    sample = np.random.default_rng(3).lognormal(2, 1, 20_000)
    index = np.ceil(np.log2(sample) * 2.0**scale).astype(int) - 1
    counts = np.bincount(index - index.min())
    told = Sum()
    told.add(exponential(scale, [(int(index.min()), counts.tolist())], 0, None, None), None)
    width = 2.0 ** (2.0 ** -min(scale, 5)) - 1
    for q in (0.5, 0.95, 0.99):
        assert told.quantile(q) == pytest.approx(np.quantile(sample, q), rel=width)


@given(st.lists(st.tuples(st.integers(0, 6), st.dictionaries(st.integers(-40, 40), st.integers(1, 9), max_size=5)), min_size=1, max_size=5))
def test_exponential_spreads_add_up_in_any_order_and_scale(found):
    def added(parts):
        told = Sum()
        for scale, cells in parts:
            told.add(Spread(scale, Counter(cells)), None)
        return told.count, told.quantile(0.9)

    assert added(found) == added(found[::-1])
    assert added(found)[0] == sum(sum(cells.values()) for _, cells in found)


def test_more_series_than_is_sane_are_refused_by_name(read):
    points = [point(60, 0, {"order": str(n)}, asInt="2") for n in range(6)]
    with pytest.raises(SourceRejected, match=r"more than 5 series, 6 of them of metric 'orders'"):
        read(metric("orders", counter(*points)), most_series=5)


# --- spans


def calls(trace: int = 1, *, at: float = 10, error: bool = False) -> list[dict[str, Any]]:
    """The web shop asks the cart, which asks its database and a bank outside."""
    status = ERROR if error else {}
    bank = {"server.address": "api.bank.example", "http.request.method": "POST"}
    return [
        spans("web", span(trace, 1, at=at, ms=100, name="GET /", attributes={"http.route": "/", "http.request.method": "GET"})),
        spans("web", span(trace, 2, 1, at=at, ms=50, kind=CLIENT, name="GET", attributes={"server.address": "cart.internal"})),
        spans("cart", span(trace, 3, 2, at=at, ms=40, name="GET /cart/8731", status=status)),
        spans(
            "cart", span(trace, 4, 3, at=at, ms=20, kind=CLIENT, name="SELECT", attributes={"db.system": "postgresql", "db.name": "shop"})
        ),
        spans("cart", span(trace, 5, 3, at=at, ms=10, kind=CLIENT, name="POST", attributes=bank)),
        spans("cart", span(trace, 6, 3, at=at, ms=5, kind=1, name="price")),
    ]


def edges(batches) -> dict[tuple[str, str], int]:
    return {
        (caller, callee): count for caller, callee, count in frame(batches, "service_edges").select("caller", "callee", "calls").iter_rows()
    }


def test_a_trace_spread_over_files_and_lines_is_one(place, tmp_path):
    lines = calls(1) + calls(2, error=True)
    write(tmp_path / "in", lines[::2], "a.json")
    write(tmp_path / "in", lines[1::2], "b.jsonl")
    found = extract(place, tmp_path / "in", ONE)
    red = {
        (one["service"], one["operation"], one["peer"]): (one["count"], one["errors"])
        for one in frame(found, "spans_red").iter_rows(named=True)
    }
    assert red == {
        ("web", "GET /", ""): (2, 0),
        ("web", "call GET", "cart"): (2, 0),
        ("cart", "GET /cart/<n>", "web"): (2, 1),
        ("cart", "call SELECT", "postgresql/shop"): (2, 0),
        ("cart", "call POST", "api.bank.example"): (2, 0),
    }
    assert edges(found) == {("web", "cart"): 2, ("cart", "postgresql/shop"): 2, ("cart", "api.bank.example"): 2}


def test_a_queue_stands_between_its_two_sides(read):
    kafka = {"messaging.system": "kafka", "messaging.destination.name": "orders"}
    found = read(
        spans("cart", span(1, 1, name="POST /pay"), span(1, 2, 1, kind=PRODUCER, name="orders publish", attributes=kafka)),
        spans("mailer", span(1, 3, 2, kind=CONSUMER, name="orders process", attributes=kafka)),
    )
    assert edges(found) == {("cart", "kafka"): 1, ("mailer", "kafka"): 1}


def test_a_caller_before_the_window_is_still_the_caller(read):
    found = read(spans("web", span(1, 1, at=-5, kind=CLIENT, name="GET")), spans("cart", span(1, 2, 1, at=2)))
    assert frame(found, "spans_red").select("service", "peer", "count").rows() == [("cart", "web", 1)]
    assert edges(found) == {("web", "cart"): 1}


def test_a_span_found_twice_counts_once(read):
    assert frame(read(*calls(), *calls()), "spans_red")["count"].to_list() == [1] * 5


def test_quantiles_of_durations_are_within_half_a_percent(read):
    sample = np.random.default_rng(5).lognormal(3, 1, 4000).round(6)
    found = frame(read(*(spans("cart", span(n + 1, 1, ms=float(ms))) for n, ms in enumerate(sample))), "spans_red")
    for q, name in ((0.5, "p50_ms"), (0.95, "p95_ms"), (0.99, "p99_ms")):
        assert found[name][0] == pytest.approx(np.quantile(sample, q, method="inverted_cdf"), rel=0.006)


def test_clocks_and_ids_that_cannot_be_are_refused_with_a_reason(read):
    backwards = span(1, 1) | {"endTimeUnixNano": ns(9)}
    seconds = span(1, 1) | {"startTimeUnixNano": "1787875200"}
    found = read(spans("cart", span(9, 9), backwards, seconds, span(1, 1) | {"traceId": "zz"}, span(0, 1)), spans(None, span(2, 2)))
    assert [reason for reason, _ in rejected(found)] == [
        "clock: the span ends before it starts",
        "start time: not in nanoseconds since 1970",
        "an id that is neither 8 nor 16 bytes of hex",
        "no trace id",
        "no service.name",
    ]
    assert frame(found, "spans_red")["count"].sum() == 1


def test_a_window_lands_whole_buckets_and_neighbours_share_none(place, tmp_path):
    write(tmp_path / "in", [spans("cart", span(n + 1, 1, at=n * 37)) for n in range(190)])
    cuts = [START + timedelta(seconds=seconds) for seconds in (0, 1000, 3600, 5400, 7200)]
    parts = [frame(extract(place, tmp_path / "in", Window(*pair)), "spans_red") for pair in pairwise(cuts)]
    assert pl.concat(parts).equals(frame(extract(place, tmp_path / "in", hours(0, 2)), "spans_red"))


def test_a_late_span_lands_with_the_next_overlapping_window(place, tmp_path):
    source, overlapping = row(tmp_path / "in"), Window(when(1800), when(7200))
    early, late = spans("cart", span(1, 1, at=3500)), spans("cart", span(2, 2, at=3510))
    land(place, ONE, *extract(place, write(tmp_path / "in", [early]), ONE), source=source)
    assert landed(place, "spans_red")["count"].to_list() == [1]
    land(place, overlapping, *extract(place, write(tmp_path / "in", [early, late]), overlapping), source=source)
    assert landed(place, "spans_red")["count"].to_list() == [2]


# --- logs


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 81 paid in 12.5ms", "order 9942 paid in 3ms"),
        ("user ann@example.com signed in from 10.1.2.3:80", "user bo@example.org signed in from 192.168.0.9:4431"),
        ("job 550e8400-e29b-41d4-a716-446655440000 done", "job 6ba7b810-9dad-11d1-80b4-00c04fd430c8 done"),
        ("at 2026-09-01T10:00:00.5Z retry", "at 2026-09-02 11:30:01 retry"),
        ("trace 4bf92f3577b34da6 lost", "trace 00f067aa0ba902b7 lost"),
        ("GET /a?x=1&y=2 failed", "GET /a?q=shoes failed"),
    ],
)
def test_records_that_differ_in_what_varies_have_one_pattern(one, other):
    assert masked(one) == masked(other) != one


def test_words_are_not_masked():
    assert masked("connection to http2 backend s3 refused") == "connection to http2 backend s3 refused"


def test_log_records_are_counted_by_pattern_and_severity_with_a_redacted_sample(place, tmp_path):
    lines = [
        records(
            "mail to ann@example.com failed after 3 tries", "mail to bo@example.com failed after 4 tries", severity=17, traceId=f"{7:032x}"
        ),
        records("mail to cy@example.com failed after 5 tries", severity=13, at=20),
        records({"kvlistValue": {"values": [{"key": "msg", "value": {"stringValue": "cache miss 12"}}]}}, severity=5),
        records({"bytesValue": "AAEC"}, severity=0),
    ]
    write(tmp_path / "in", lines)
    source = row(tmp_path / "in")
    land(place, ONE, *extract(place, tmp_path / "in", ONE), source=source)
    found = landed(place, "log_patterns")
    counted = {one["pattern"]: (one["severity"], one["count"], one["trace_ids"]) for one in found.iter_rows(named=True)}
    assert counted == {
        "ERROR mail to <email> failed after <n> tries": ("error", 2, [f"{7:032x}"]),
        "WARN mail to <email> failed after <n> tries": ("warn", 1, []),
        "DEBUG cache miss <n>": ("debug", 1, []),
        "AAEC": (None, 1, []),
    }
    assert not any("example.com" in sample for sample in found["sample"])


def test_at_most_five_traces_are_kept_the_earliest(read):
    found = read(*(records("lost", at=n, traceId=f"{n:032x}") for n in range(9, 0, -1)))
    assert frame(found, "log_patterns")["trace_ids"].to_list() == [[f"{n:032x}" for n in range(1, 6)]]


def test_patterns_beyond_the_limit_are_counted_together(monkeypatch, read):
    monkeypatch.setattr("aftercast.sources.otlp.patterns.Patterns.__init__.__kwdefaults__", {"most": 2})
    found = read(records("alpha", "beta", "gamma", "delta", "alpha"))
    counted = dict(frame(found, "log_patterns").select("pattern", "count").iter_rows())
    assert counted == {"INFO alpha": 2, "INFO beta": 1, "INFO <other>": 2}
    assert notes(found) == {"log records of patterns beyond the limit, counted as <other>": 2}


# --- files


def test_a_torn_last_line_is_read_again_and_not_quarantined(place, tmp_path):
    whole = json.dumps(spans("cart", span(2, 2)))
    write(tmp_path / "in", [spans("cart", span(1, 1)), whole[:80]], end="")
    found = extract(place, tmp_path / "in", ONE)
    assert rejected(found) == [] and notes(found) == {"file telemetry.json ends in a torn line, read again next time": 1}
    assert frame(found, "spans_red")["count"].to_list() == [1]
    write(tmp_path / "in", [spans("cart", span(1, 1)), whole], end="")
    found = extract(place, tmp_path / "in", ONE)
    assert notes(found) == {} and frame(found, "spans_red")["count"].to_list() == [2]


def test_a_damaged_line_is_quarantined_by_one_window_only(place, tmp_path):
    lines = [
        '{"resourceSpans',
        "[1]",
        spans("cart", span(1, 1)),
        "{broken",
        spans("cart", span(2, 1, at=4000)),
        '{"resourceSpans": {"a": 1}}',
        {"foo": 1},
    ]
    write(tmp_path / "in", lines)
    first, second = (extract(place, tmp_path / "in", hours(n, n + 1)) for n in (0, 1))
    assert [number for _, number in rejected(first)] == [1, 2, 4]
    assert [number for _, number in rejected(second)] == [6, 7]
    assert "none of resourceMetrics" in rejected(second)[1][0]


def test_gzip_is_unpacked_and_torn_gzip_is_no_damage(place, tmp_path):
    inbox = write(tmp_path / "in", [spans("cart", span(n, 1)) for n in range(1, 400)])
    packed = gzip.compress((inbox / "telemetry.json").read_bytes())
    (inbox / "telemetry.json").unlink()
    (inbox / "a.jsonl.gz").write_bytes(packed)
    assert frame(extract(place, inbox, ONE), "spans_red")["count"].sum() == 399
    (inbox / "a.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    found = extract(place, inbox, ONE)
    assert rejected(found) == [] and 0 < frame(found, "spans_red")["count"].sum() < 399
    (inbox / "a.jsonl.gz").write_bytes(b"no gzip at all")
    assert "not gzip" in rejected(extract(place, inbox, Window(START, START + 3000 * HOUR)))[0][0]


def test_files_settled_before_the_window_are_not_opened(place, tmp_path, monkeypatch):
    inbox = write(tmp_path / "in", [spans("cart", span(1, 1))])
    os.utime(inbox / "telemetry.json", ((START - HOUR).timestamp(),) * 2)
    monkeypatch.setattr("aftercast.sources.otlp.inbox.Inbox.lines", lambda *_: pytest.fail("read"))
    assert {batch.entity for batch in extract(place, inbox, ONE)} == {"metric_points", "log_patterns", "spans_red", "service_edges"}


def test_an_object_store_is_an_inbox(place):
    with fsspec.open("memory://bucket/telemetry/a.json", "wt") as file:
        file.write(json.dumps(spans("cart", span(1, 1))) + "\n")
    assert frame(extract(place, "memory://bucket/telemetry", ONE), "spans_red")["count"].to_list() == [1]


def test_a_missing_inbox_and_wrong_options_are_named(place, tmp_path):
    with pytest.raises(SourceUnavailable, match="nowhere does not exist"):
        extract(place, tmp_path / "nowhere", ONE)
    with pytest.raises(ConfigError, match="signal"):
        extract(place, tmp_path, ONE, signals=["profiles"])
    with pytest.raises(ConfigError, match="cannot be opened"):
        extract(place, "gopher://hole", ONE)


def test_an_empty_inbox_says_that_there_was_nothing(place, tmp_path):
    (tmp_path / "in").mkdir()
    found = extract(place, tmp_path / "in", ONE)
    assert [(batch.entity, batch.frame.height) for batch in found] == [
        ("metric_points", 0),
        ("log_patterns", 0),
        ("spans_red", 0),
        ("service_edges", 0),
    ]


def test_a_version_that_takes_over_is_a_deployment(read):
    lines = [spans("cart", span(n, 1, at=60 * n), **{"service.version": "1.4" if n < 20 else "1.5"}) for n in range(1, 40)]
    assert frame(read(*lines), "changes").is_empty()
    found = frame(read(*lines, deployments=True), "changes").row(0, named=True)
    assert (found["service"], found["previous_version"], found["version"], found["started_at"]) == ("cart", "1.4", "1.5", when(1200))
    assert frame(read(*lines, deployments=True, window=hours(1, 2)), "changes").is_empty()


def everything() -> list[dict[str, Any]]:
    lines = [line for n in range(1, 8) for line in calls(n, at=n * 300, error=n % 3 == 0)]
    lines += [metric("orders", counter(point(60 * n, 0, asInt=str(n * n))), instance=who) for n in range(1, 20) for who in "ab"]
    lines += [
        metric("load", {"gauge": {"dataPoints": [point(60 * n, asDouble=n / 7)]}}, instance=who) for n in range(1, 20) for who in "abc"
    ]
    bounds = {"explicitBounds": [1, 2], "sum": 0.1}
    for n in range(1, 10):
        told = point(60 * n, 0, count=str(3 * n), bucketCounts=[str(n)] * 3, **bounds)
        lines.append(metric("size", {"histogram": {"aggregationTemporality": 2, "dataPoints": [told]}}))
    return lines + [records(f"order {n} failed", "no stock", at=n * 100, severity=17, traceId=f"{n:032x}") for n in range(1, 20)]


@settings(max_examples=12, deadline=None)
@given(order=st.randoms(use_true_random=False), files=st.integers(1, 4))
def test_the_order_of_lines_and_files_changes_nothing(tmp_path_factory, order: random.Random, files: int):
    root: Path = tmp_path_factory.mktemp("otlp")
    place, lines = deployment(root), everything()
    expected = extract(place, write(root / "sorted", lines), ONE)
    order.shuffle(lines)
    for number in range(files):
        write(root / "in", lines[number::files], f"{number}.json")
    found = extract(place, root / "in", ONE)
    for entity in ("metric_points", "log_patterns", "spans_red", "service_edges"):
        assert frame(expected, entity).height
        assert frame(found, entity).equals(frame(expected, entity)), entity


def test_parts_on_disk_change_nothing(tmp_path):
    def told(room: int):
        found = traces.Traces(tmp_path / str(room), Buckets(0, 10**12, 3 * 10**11), room=room)
        chance = random.Random(7)
        for n in range(2000):
            place = Place(chance.choice("abc"), "production", "")
            trace, parent = f"{n // 4 + 1:032x}", f"{n - 1:016x}" if n % 4 else ""
            found.add(
                traces.Work(
                    trace, f"{n:016x}", parent, place, 2, "GET", "", False, n * 10**8, n * 10**8 + chance.randrange(10**9), n % 9 == 0
                )
            )
        return found.summary()

    for whole, parted in zip(told(10**6), told(300), strict=True):
        assert whole.height and whole.equals(parted)


def test_a_spool_keeps_together_what_belongs_together(tmp_path):
    spool = Spool(tmp_path, {"n": pl.Int64}, room=10)
    for n in range(95):
        spool.add((n % 7, n))
    parts = list(spool.parts())
    assert len(parts) == 10 and sorted(pl.concat(parts)["n"]) == list(range(95))
    assert all(len({n % 7 for n in part["n"]}) <= 1 for part in parts)


def test_memory_holds_what_is_set_aside_at_a_time_not_every_span(place, tmp_path, monkeypatch):
    monkeypatch.setattr("aftercast.sources.otlp.spool.ROWS_PER_FILE", 1000)

    def peak(blocks: int) -> int:
        lines = [spans("cart", *(span(block * 100 + n + 1, n + 1, at=block * 10, ms=n + 1) for n in range(100))) for block in range(blocks)]
        inbox = write(tmp_path / str(blocks), lines)
        del lines
        tracemalloc.start()
        red = frame(extract(place, inbox, ONE), "spans_red")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert red["count"].sum() == blocks * 100
        return found

    assert peak(200) < 1.5 * peak(40)


# --- the real SDK


def test_what_the_sdk_counted_is_what_lands(place, tmp_path):
    import logging

    from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

    begun = datetime.now(UTC)
    lines: list[dict[str, Any]] = []
    exporter, logs = InMemorySpanExporter(), InMemoryLogRecordExporter()
    tracers = {}
    for service in ("web", "cart"):
        provider = TracerProvider(resource=Resource({"service.name": service, "deployment.environment": "staging", "cloud.region": "eu"}))
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        tracers[service] = provider.get_tracer("shop")
    named = Resource({"service.name": "cart", "deployment.environment.name": "staging"})
    reader = InMemoryMetricReader()
    views = [View(instrument_name="size", aggregation=ExponentialBucketHistogramAggregation())]
    meter = MeterProvider([reader], resource=named, views=views).get_meter("shop")
    orders, size, wait = meter.create_counter("orders"), meter.create_histogram("size"), meter.create_histogram("wait", unit="ms")
    logging_provider = LoggerProvider(resource=named)
    logging_provider.add_log_record_processor(SimpleLogRecordProcessor(logs))
    shop_log = logging.getLogger("shop.sdk")
    handler = LoggingHandler(logger_provider=logging_provider)
    shop_log.addHandler(handler)
    shop_log.propagate = False
    try:
        for n in range(60):
            web = tracers["web"]
            with web.start_as_current_span("GET /", kind=SpanKind.SERVER), web.start_as_current_span("GET", kind=SpanKind.CLIENT) as client:
                served = tracers["cart"].start_span("GET /cart", context=set_span_in_context(client), kind=SpanKind.SERVER)
                if n % 6 == 0:
                    served.set_status(StatusCode.ERROR)
                    shop_log.error("no stock for order %d", n)
                served.end()
            orders.add(2, {"tier": "gold" if n % 2 else "free"})
            size.record(n + 1)
            wait.record(n)
            if n % 20 == 19:
                lines.append(collected(encode_metrics(reader.get_metrics_data())))
    finally:
        shop_log.removeHandler(handler)
    lines += [collected(encode_spans([one])) for one in exporter.get_finished_spans()]
    lines += [collected(encode_logs([one])) for one in logs.get_finished_logs()]
    assert all(len(one["traceId"]) == 32 for one in lines[3]["resourceSpans"][0]["scopeSpans"][0]["spans"])
    window = Window(begun.replace(minute=0, second=0, microsecond=0) - HOUR, begun.replace(minute=0, second=0, microsecond=0) + 2 * HOUR)
    found = extract(place, write(tmp_path / "in", lines), window)
    assert rejected(found) == []
    red = frame(found, "spans_red").group_by("service", "operation", "peer").agg(pl.col("count", "errors").sum()).sort("operation").rows()
    assert red == [("web", "GET /", "", 60, 0), ("cart", "GET /cart", "web", 60, 10), ("web", "call GET", "cart", 60, 0)]
    assert edges(found) == {("web", "cart"): 60}
    points = frame(found, "metric_points")
    assert set(points["environment"]) == {"staging"}
    sums = dict(
        points.filter(pl.col("kind") == "counter")
        .group_by("metric", "attributes")
        .agg(pl.col("value").sum())
        .select(pl.col("metric") + pl.col("attributes"), "value")
        .iter_rows()
    )
    assert sums == {
        'orders{"tier":"gold"}': 60,
        'orders{"tier":"free"}': 60,
        "size_count": 60,
        "size_sum": sum(range(1, 61)),
        "wait_count": 60,
        "wait_sum": sum(range(60)),
    }
    if points["ts"].n_unique() == 1:  # the run did not cross a minute
        assert values(found, "size_p50").popitem()[1] == pytest.approx(30, rel=0.04)
    patterns = frame(found, "log_patterns").group_by("pattern").agg(pl.col("count").sum(), pl.col("trace_ids").first().list.len()).rows()
    assert patterns == [("ERROR no stock for order <n>", 10, 5)]
