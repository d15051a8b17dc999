"""The `prometheus` kind: whole steps once each, in parts the server bears; what is missing stays missing; refusals are named."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from urllib.parse import parse_qs

import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aftercast.declarations import SourceRow
from aftercast.errors import ConfigError, SourceRejected, SourceUnavailable
from aftercast.settings import PROJECT, check_options, load_deployment
from aftercast.sources import alertmanager, open_source, web
from aftercast.sources.prometheus import Options, ranges
from aftercast.sources.prometheus.fired import fingerprint
from aftercast.sources.prometheus.queries import questions
from aftercast.sources.prometheus.ranges import EPOCH, MOST_STEPS, next_length, steps
from aftercast.sources.web import Page, Request
from aftercast.window import Window
from tests.answering import Answer, Asked, serve
from tests.unit.landing_fixture import coverage, deployment, land, landed

START = datetime(2026, 9, 1, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
ONE_HOUR = Window(START, START + HOUR)
CART = {"service": "cart", "region": "eu"}
LEVEL = {"metric": "saturation_ratio", "query": "level"}

Values = Callable[[int], "str | None"]


def param(asked: Asked, name: str) -> str:
    return (asked.param(name) if asked.method == "GET" else parse_qs(asked.body)[name][0]) or ""


def asked_steps(asked: Asked) -> range:
    return range(int(param(asked, "start")), int(param(asked, "end")) + 1, int(param(asked, "step")))


def matrix(*series: tuple[dict[str, str], list[list[object]]], **more: object) -> Answer:
    result = [{"metric": labels, "values": values} for labels, values in series]
    return Answer({"status": "success", "data": {"resultType": "matrix", "result": result}, **more})


def promql(*series: tuple[dict[str, str], Values], when: str = "") -> Callable[[Asked], Answer]:
    """A server whose series have a value (or none) at every step, for queries that contain `when`."""

    def rule(asked: Asked) -> Answer:
        if when not in param(asked, "query"):
            return matrix()
        found = [(labels, [[at, value(at)] for at in asked_steps(asked) if value(at) is not None]) for labels, value in series]
        return matrix(*((labels, values) for labels, values in found if values))

    return rule


def refusal(kind: str, text: str, status: int) -> Answer:
    return Answer({"status": "error", "errorType": kind, "error": text}, status=status)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(web, "FIRST_WAIT", 0.0)


@pytest.fixture
def place(tmp_path):
    return deployment(tmp_path)


def source_row(monkeypatch, url: str, *, connection: dict | None = None, **options) -> SourceRow:
    monkeypatch.setenv("AIRFLOW_CONN_METRICS", json.dumps({"conn_type": "http", "host": url, **(connection or {})}))
    return SourceRow(name="shop", kind="prometheus", connection="metrics", options=options or {"queries": [LEVEL]})


@pytest.fixture
def extract(monkeypatch, place):
    def run(rule, window: Window = ONE_HOUR, **arguments):
        with serve(rule) as server:
            row = source_row(monkeypatch, server.url, **arguments)
            batches = list(open_source(row, place).extract(window))
        return batches, server.asked

    return run


def rows(batches) -> pl.DataFrame:
    return pl.concat([batch.frame for batch in batches if batch.frame.height], how="diagonal")


def notes(batches) -> dict[str, int]:
    found: dict[str, int] = {}
    for batch in batches:
        for reason, count in batch.notes.items():
            found[reason] = found.get(reason, 0) + count
    return found


moments = st.integers(0, 40_000_000_000).map(lambda micros: START + timedelta(microseconds=micros))


@given(cuts=st.lists(moments, min_size=2, max_size=6, unique=True), step=st.integers(1, 7200), closing=st.booleans())
def test_windows_that_tile_time_hold_every_step_once(cuts, step, closing):
    edges = sorted(cuts)
    parts = [at for start, end in pairwise(edges) for at in steps(Window(start, end), step, closing=closing)]
    assert parts == list(steps(Window(edges[0], edges[-1]), step, closing=closing))
    assert all(at % step == 0 for at in parts)
    low, high = ((edge - EPOCH) / ranges.SECOND for edge in (edges[0], edges[-1]))
    assert all(low < at <= high if closing else low <= at < high for at in parts)
    assert len(parts) >= (high - low) // step


class CountingServer:
    """Answers with as many series as it is told, part by part, and refuses parts longer than it bears."""

    def __init__(self, series: list[int], bears: int) -> None:
        self.series, self.bears, self.parts = series, bears, []

    def ask(self, request: Request, *, number: int) -> Page:
        part = range(int(request.params["start"]), int(request.params["end"]) + 1, int(request.params["step"]))
        if len(part) > self.bears:
            return Page(request, {"status": "error", "errorType": "timeout", "error": "query timed out"}, {}, number, "here")
        self.parts.append(part)
        many = self.series[min(len(self.parts), len(self.series)) - 1]
        result = [{"metric": {"service": str(one)}, "values": [[at, "1"] for at in part]} for one in range(many)]
        return Page(request, {"status": "success", "data": {"resultType": "matrix", "result": result}}, {}, number, "here")


@given(
    length=st.integers(0, 30_000),
    series=st.lists(st.integers(0, 3), min_size=1, max_size=4),
    bears=st.integers(1, 20_000),
    step=st.sampled_from([1, 15, 60, 300]),
)
def test_parts_tile_what_is_wanted_whatever_the_server_bears(length, series, bears, step):
    wanted = range(step * 7, step * (7 + length % (bears * 12)), step)
    server = CountingServer(series, bears)
    answers = list(ranges.ask(server, "shop", "level", "level", wanted, room=5_000))
    assert [at for part in server.parts for at in part] == list(wanted)
    assert [at for answer in answers for at in answer.steps] == list(wanted)
    assert all(len(part) <= MOST_STEPS for part in server.parts)


@given(points=st.lists(st.integers(1, 5_000), min_size=1, max_size=30))
def test_a_steady_answer_never_exceeds_the_room(points):
    for per_step in points:
        length = 60
        for _ in range(8):
            length = next_length(length, per_step * length, room=200_000)
        assert length * per_step <= max(200_000, per_step)
        assert 1 <= length <= MOST_STEPS


def test_counters_land_under_the_start_of_their_step_and_levels_at_their_moment(extract):
    options = {"queries": [{"metric": "requests", "counter": 'hits_total{code="200"}', "unit": "1"}, LEVEL]}
    batches, asked = extract(promql((CART, lambda at: str(at % 7200))), **options)
    assert param(asked[0], "query") == 'sum by (service, environment, region) (increase(hits_total{code="200"}[60s]))'
    found = rows(batches)
    requests, level = (found.filter(pl.col("metric") == name) for name in ("requests", "saturation_ratio"))
    minutes = [START + one * MINUTE for one in range(60)]
    assert requests["ts"].to_list() == level["ts"].to_list() == minutes
    assert requests["value"].to_list() == [float((one + 1) * 60 % 7200) for one in range(60)]
    assert level["value"].to_list() == [one * 60.0 for one in range(60)]
    assert requests.select("service", "environment", "region", "attributes", "kind", "unit").unique().rows() == [
        ("cart", None, "eu", "", "counter", "1")
    ]


def test_a_part_of_a_counter_is_zero_where_only_the_whole_counts(extract):
    row = {"metric": "errors", "counter": 'hits_total{code=~"5.."}', "of": "hits_total", "labels": {"environment": {"const": "staging"}}}
    _, asked = extract(promql(), queries=[row])
    by = "sum by (service, region)"
    assert param(asked[0], "query") == f'{by} (increase(hits_total{{code=~"5.."}}[60s])) or {by} (increase(hits_total[60s])) * 0'


def test_quantiles_are_asked_for_by_name_and_scaled(extract):
    row = {"metric": "latency", "buckets": "seconds_bucket", "quantiles": [0.5, 0.95, 0.999], "scale": 1000, "unit": "ms"}
    batches, asked = extract(promql((CART, lambda _: "0.25")), queries=[row], step_seconds=300)
    assert "histogram_quantile(0.95, sum by (le, service, environment, region) (increase(seconds_bucket[300s])))" in [
        param(one, "query") for one in asked
    ]
    assert sorted(rows(batches)["metric"].unique()) == ["latency_p50_ms", "latency_p95_ms", "latency_p99_9_ms"]
    assert rows(batches)["value"].unique().to_list() == [250.0]


def test_long_windows_come_in_parts_and_replays_ask_the_same(extract):
    week = Window(START, START + timedelta(days=14))
    batches, asked = extract(promql((CART, lambda _: "1")), week)
    assert len(asked) > 2
    assert max(len(asked_steps(one)) for one in asked) <= 11_000
    found = rows(batches)
    assert found["ts"].to_list() == [START + one * MINUTE for one in range(14 * 1440)]
    again, asked_again = extract(promql((CART, lambda _: "1")), week)
    assert [one.params for one in asked_again] == [one.params for one in asked]
    assert rows(again).equals(found)


def test_what_is_no_number_is_missing_and_counted(extract):
    odd = {0: "NaN", 1: "+Inf", 2: "-Inf", 3: "0"}
    batches, _ = extract(promql((CART, lambda at: odd.get(at // 60 % 60, "1.5"))))
    assert rows(batches).height == 57
    assert rows(batches)["value"].min() == 0.0
    assert all(math.isfinite(value) for value in rows(batches)["value"])
    assert notes(batches) == {"metric saturation_ratio: not a finite number": 3}


def test_a_gap_stays_a_gap(extract):
    batches, _ = extract(promql((CART, lambda at: None if 600 <= at % 3600 < 1200 else "1")))
    assert rows(batches).height == 50


def test_nothing_found_is_said(extract):
    batches, _ = extract(promql())
    assert [batch.frame.height for batch in batches] == [0, 0]
    assert notes(batches) == {"metric saturation_ratio: nothing found": 1}


def test_labels_become_columns_and_attributes(extract):
    labels = {"service": "app", "environment": {"const": "staging"}, "attributes": ["route", "method"]}
    series = ({"app": "cart", "route": "/pay", "method": "GET", "pod": "a"}, lambda _: "1"), ({"app": "cart"}, lambda _: "2")
    batches, _ = extract(promql(*series), queries=[LEVEL], labels=labels)
    assert rows(batches).select("service", "environment", "attributes", "value").unique(maintain_order=True).rows() == [
        ("cart", "staging", "method=GET,route=/pay", 1.0),
        ("cart", "staging", "", 2.0),
    ]


def test_series_that_would_become_one_are_refused(extract):
    pods = [({**CART, "pod": pod}, lambda _: "1") for pod in "ab"]
    with pytest.raises(SourceRejected, match=r"'shop'.*'saturation_ratio'.*2 series become one.*cart.*pod.*sum by \(service"):
        extract(promql(*pods))
    early, late = (lambda at: "1" if at % 3600 < 1800 else None), (lambda at: "2" if at % 3600 >= 1800 else None)
    batches, _ = extract(promql(({**CART, "pod": "a"}, early), ({**CART, "pod": "b"}, late)))
    assert rows(batches).height == 60, "a pod that follows another continues its series"


def test_a_series_told_twice_lands_once(monkeypatch, place):
    with serve(promql((CART, lambda _: "1"), (CART, lambda _: "1"))) as server:
        row = source_row(monkeypatch, server.url)
        counts = land(place, ONE_HOUR, *open_source(row, place).extract(ONE_HOUR), source=row)["metric_points"]
    assert (counts.received, counts.landed, counts.duplicate) == (120, 60, 60)


def test_a_series_without_a_service_is_rejected_by_name(extract):
    batches, _ = extract(promql(({}, lambda _: "1"), (CART, lambda _: "2")))
    (rejected,) = [batch.rejected for batch in batches if batch.rejected is not None]
    assert rejected["reason"].to_list() == ["metric saturation_ratio: series without label service"]
    assert rows(batches)["value"].unique().to_list() == [2.0]


def test_a_scalar_lands_once_its_service_is_declared(extract):
    batches, _ = extract(promql(({}, lambda _: "2")), queries=[{**LEVEL, "query": "1 + 1", "labels": {"service": {"const": "shop"}}}])
    assert rows(batches)["service"].unique().to_list() == ["shop"]


@pytest.mark.parametrize("kind", ["scalar", "string", "vector"])
def test_an_answer_that_is_no_matrix_is_named(extract, kind):
    answer = Answer({"status": "success", "data": {"resultType": kind, "result": [1, "2"]}})
    with pytest.raises(SourceRejected, match=rf"'shop'.*'saturation_ratio'.*expected a matrix.*found a {kind}"):
        extract(lambda _: answer)


@pytest.mark.parametrize(
    "data",
    [
        {"status": "success"},
        {"status": "success", "data": {"resultType": "matrix", "result": [{"values": []}]}},
        {"status": "success", "data": {"resultType": "matrix", "result": {"metric": {}}}},
        {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": CART, "values": [["later"]]}]}},
        {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": CART, "values": [["later", "1"]]}]}},
        {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": CART, "values": 3}]}},
        [1, 2],
    ],
)
def test_a_body_of_another_shape_is_named(extract, data):
    with pytest.raises(SourceRejected, match=r"'shop'.*'saturation_ratio'"):
        extract(lambda _: Answer(data))


def test_a_query_the_server_does_not_understand_is_named_with_its_reason(extract):
    with pytest.raises(SourceRejected, match=r"'saturation_ratio'.*bad_data: 1:7: parse error.*the query was: level") as caught:
        extract(lambda _: refusal("bad_data", "1:7: parse error: unexpected end", 400))
    assert "query_range" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "text", "status"),
    [
        ("timeout", "query timed out in expression evaluation", 503),
        ("execution", "query processing would load too many samples into memory in query execution", 422),
        ("bad_data", "exceeded maximum resolution of 11,000 points per timeseries", 400),
    ],
)
def test_a_query_that_is_too_heavy_is_asked_in_smaller_parts(extract, kind, text, status):
    fine = promql((CART, lambda _: "1"))

    def rule(asked: Asked) -> Answer:
        return fine(asked) if len(asked_steps(asked)) <= 10 else refusal(kind, text, status)

    batches, asked = extract(rule)
    assert rows(batches).height == 60
    assert [len(asked_steps(one)) for one in asked][:4] == [60, 30, 15, 7]


def test_a_query_that_always_takes_too_long_is_unavailable(extract):
    with pytest.raises(SourceUnavailable, match=r"'saturation_ratio'.*timeout: query timed out"):
        extract(lambda _: refusal("timeout", "query timed out", 503))


def test_warnings_of_the_server_are_counted(extract):
    answer = matrix((CART, [[int(START.timestamp()), "1"]]), warnings=["store eu answered in part"], infos=["might not be a counter"])
    batches, _ = extract(lambda _: answer)
    assert notes(batches) == {"warning: store eu answered in part": 1, "info: might not be a counter": 1}


def test_native_histograms_are_rejected_with_advice(extract):
    series = {"metric": CART, "histograms": [[int(START.timestamp()), {"count": "1"}]]}
    answer = Answer({"status": "success", "data": {"resultType": "matrix", "result": [series]}})
    batches, _ = extract(lambda _: answer)
    assert batches[0].rejected is not None
    assert "native histogram" in batches[0].rejected["reason"][0]


def test_it_waits_when_asked_to_and_heals_torn_bodies(extract):
    fine = promql((CART, lambda _: "1"))
    answers = [Answer(status=429, headers={"Retry-After": "0"}), Answer(raw=b'{"status": "succ'), Answer(status=503, raw=b"starting")]
    batches, asked = extract(lambda one: answers.pop() if answers else fine(one))
    assert (rows(batches).height, len(asked)) == (60, 4)


def test_wrong_credentials_are_named_and_land_nothing(monkeypatch, place):
    with serve(lambda _: Answer(status=401, raw=b"Unauthorized")) as server:
        row = source_row(monkeypatch, server.url, connection={"login": "u", "password": "s3cret-s3cret"})
        with pytest.raises(SourceRejected, match=r"answered 401.*'metrics'") as caught:
            land(place, ONE_HOUR, *open_source(row, place).extract(ONE_HOUR), source=row)
    assert "s3cret" not in str(caught.value)
    assert not place.landing.exists() or not list(place.landing.glob("metric_points/source=shop/**/*.parquet"))


@pytest.mark.parametrize(
    ("connection", "header", "value"),
    [
        ({"login": "u", "password": "p"}, "authorization", "Basic dTpw"),
        ({"password": "t0ken"}, "authorization", "Bearer t0ken"),
        ({"extra": {"headers": {"X-Scope-OrgID": "shop"}}}, "x-scope-orgid", "shop"),
    ],
)
def test_it_identifies_itself_as_the_connection_says(extract, connection, header, value):
    _, asked = extract(promql(), connection=connection)
    assert asked[0].headers[header] == value


def test_a_server_behind_a_path_is_asked_there(monkeypatch, place):
    with serve(promql((CART, lambda _: "1"))) as server:
        row = source_row(monkeypatch, f"{server.url}/prometheus")
        assert rows(open_source(row, place).extract(ONE_HOUR)).height == 60
    assert server.asked[0].path == "/prometheus/api/v1/query_range"


def test_long_queries_are_posted(extract):
    query = " or ".join(f'level{{pod="{one}"}}' for one in range(200))
    batches, asked = extract(promql((CART, lambda _: "1")), queries=[{**LEVEL, "query": query}])
    assert (asked[0].method, asked[0].params) == ("POST", {})
    assert param(asked[0], "query") == query
    assert rows(batches).height == 60


def test_what_changed_or_went_upstream_changes_or_goes_when_it_is_extracted_again(monkeypatch, place):
    for rule, expected in (
        (promql((CART, lambda _: "1")), {1.0}),
        (promql((CART, lambda at: "2" if at % 3600 < 600 else "1")), {1.0, 2.0}),
        (promql(), set()),
    ):
        with serve(rule) as server:
            row = source_row(monkeypatch, server.url)
            land(place, ONE_HOUR, *open_source(row, place).extract(ONE_HOUR), source=row)
        assert set(landed(place)["value"]) == expected
    assert coverage(place)["landed"].to_list() == [0]


def test_points_outside_of_the_time_asked_for_do_not_land(extract):
    now = int(START.timestamp())
    batches, _ = extract(lambda _: matrix((CART, [[now - 60, "1"], [now, "2"], [now + 7200, "3"]])))
    assert rows(batches)["value"].to_list() == [2.0]
    assert notes(batches) == {"metric saturation_ratio: outside of the time asked for": 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to extract"),
        ({"queries": [{"metric": "a"}]}, "exactly one of counter, buckets and query"),
        ({"queries": [{"metric": "a", "query": "b", "counter": "c"}]}, "exactly one of counter, buckets and query"),
        ({"queries": [{"metric": "a", "buckets": "b"}]}, "buckets need quantiles"),
        ({"queries": [{"metric": "a", "query": "b", "of": "c"}]}, "only a counter"),
        ({"queries": [{"metric": "a", "buckets": "b", "quantiles": [95]}]}, "buckets need quantiles between 0 and 1"),
        ({"queries": [{"metric": "a", "query": "hits_total", "kind": "counter"}]}, "increase per step"),
        ({"queries": [{"metric": "a", "query": "b", "unti": "ms"}]}, "did you mean 'unit'"),
        ({"alerts": {"selecter": "x"}}, "unknown key"),
    ],
)
def test_options_that_do_not_fit_are_explained(monkeypatch, place, options, message):
    monkeypatch.setenv("AIRFLOW_CONN_METRICS", '{"conn_type": "http", "host": "http://127.0.0.1"}')
    row = SourceRow(name="shop", kind="prometheus", connection="metrics", options=options)
    with pytest.raises(ConfigError, match=message):
        open_source(row, place)


SLOW = {"alertname": "Slow", "service": "cart", "severity": "page"}
SINCE = int((START + timedelta(hours=1, seconds=-90)).timestamp())
FIRED = range(SINCE + 90, SINCE + 90 + 2 * 3600, 60)  # from one o'clock to three


def monitored(*, fired: range = FIRED, since: int = SINCE, silent: range = range(0), up: bool = True) -> Callable[[Asked], Answer]:
    def value(at: int) -> str | None:
        return str(since) if at in fired and at not in silent else None

    def rule(asked: Asked) -> Answer:
        if "timestamp(up)" in param(asked, "query"):
            return promql(({}, lambda at: str(at - 5) if up and at not in silent else None))(asked)
        return promql(({"__name__": "ALERTS_FOR_STATE", **SLOW}, value))(asked)

    return rule


def hour(first: float, last: float) -> Window:
    return Window(START + first * HOUR, START + last * HOUR)


def seconds(found: pl.DataFrame) -> list[tuple[int, int | None]]:
    return found.select(pl.col("started_at", "ended_at").dt.epoch("s")).rows()


@pytest.fixture
def alerts(extract):
    def run(window: Window, rule=None, **options):
        batches, _ = extract(rule or monitored(), window, alerts=options or True)
        (batch,) = batches
        return batch

    return run


def test_an_alert_keeps_its_start_and_gets_its_end_once(alerts):
    at = [seconds(alerts(hour(first, first + 1)).frame) for first in range(5)]
    assert at == [[], [(SINCE, None)], [(SINCE, None)], [(SINCE, FIRED.stop)], []]
    assert seconds(alerts(hour(0, 5)).frame) == [(SINCE, FIRED.stop)]
    row = alerts(hour(0, 5)).frame.row(0, named=True)
    assert {name: row[name] for name in ("name", "service", "severity", "environment")} == {
        "name": "Slow",
        "service": "cart",
        "severity": "page",
        "environment": None,
    }
    assert row["fingerprint"] == fingerprint(SLOW)


@given(cuts=st.sets(st.integers(1, 299), max_size=4))
def test_however_time_is_cut_the_last_word_about_an_alert_is_the_same(cuts):
    from aftercast.sources.labels import Labels
    from aftercast.sources.prometheus.fired import AlertOptions, episodes

    class Asking:
        def ask(self, request: Request, *, number: int) -> Page:
            named = {name: [str(value)] for name, value in request.params.items()}
            return Page(request, monitored()(Asked("GET", "", named, {}, None)).data, {}, number, "here")

    known: dict[tuple[str, datetime], datetime | None] = {}
    edges = [0, *sorted(cuts), 300]
    for first, last in pairwise(edges):
        (batch,) = episodes(Asking(), "shop", AlertOptions(), Labels(), Window(START + first * MINUTE, START + last * MINUTE))
        for row in batch.frame.iter_rows(named=True):
            key = row["fingerprint"], row["started_at"]
            known[key] = known.get(key) or row["ended_at"]
    assert list(known.values()) == [START + 3 * HOUR]


def test_a_silent_monitor_does_not_end_an_alert(alerts):
    silent = range(FIRED.start + 1800, FIRED.start + 5400, 60)
    rule = monitored(silent=silent)
    assert seconds(alerts(hour(1, 2), rule).frame) == [(SINCE, None)], "not seen to end"
    assert seconds(alerts(hour(2, 4), rule).frame) == [(SINCE, FIRED.stop)]
    gone = monitored(silent=range(FIRED.start + 1800, FIRED.stop + 3600, 60))
    assert seconds(alerts(hour(1, 2), gone).frame) == [(SINCE, None)]
    assert seconds(alerts(hour(4, 5), gone).frame) == [(SINCE, FIRED.stop + 3600)], "ended by the time somebody watched again"


def test_without_targets_every_step_counts_as_watched(alerts):
    assert seconds(alerts(hour(3, 4), monitored(up=False)).frame) == [(SINCE, FIRED.stop)]


def test_an_alert_that_becomes_active_again_is_another_episode(alerts):
    def value(at: int) -> str | None:
        return str(SINCE) if at in FIRED[:30] else str(FIRED[50]) if at in FIRED[50:] else None

    def rule(asked: Asked) -> Answer:
        return matrix() if "up" in param(asked, "query") else promql((SLOW, value))(asked)

    assert seconds(alerts(hour(0, 5), rule).frame) == [(SINCE, FIRED[30]), (FIRED[50], FIRED.stop)]


def test_an_alert_from_the_future_is_noted(alerts):
    found = alerts(hour(1, 2), monitored(since=FIRED.start + 300))
    assert found.notes == {"alert fires before it became active: a clock runs ahead": 5}


def test_alerts_can_be_selected(extract):
    options = {"selector": 'alertname!="Watchdog"', "step_seconds": 30}
    _, asked = extract(monitored(), alerts=options)
    firing = 'ALERTS{alertstate="firing",alertname!="Watchdog"}'
    assert param(asked[0], "query") == f'ALERTS_FOR_STATE{{alertname!="Watchdog"}} and ignoring(alertstate) {firing}'
    assert param(asked[0], "step") == "30"


def guide(kind: str) -> SourceRow:
    text = (PROJECT / "docs" / "sources" / f"{kind}.md").read_text(encoding="utf-8")
    (row,) = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    return SourceRow.model_validate(row)


def test_the_rows_of_the_guides_are_accepted_and_feed_the_watched_signals():
    check_options(guide("alertmanager"), alertmanager.Options)
    options = check_options(guide("prometheus"), Options)
    landing_names = {one.metric for one in questions(options.queries, step=60, labels=options.labels)}
    watched = [row for row in load_deployment(PROJECT / "config").signals if row.fact == "metric"]
    assert {name for row in watched for name in (row.value, row.numerator, row.denominator) if name} <= landing_names
