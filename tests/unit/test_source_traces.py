"""The `jaeger` and `tempo` kinds: edges of samples without counts, full answers asked for again, metrics only as the server counts them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aftercast.errors import SourceRejected, SourceUnavailable
from aftercast.sources import web
from aftercast.sources.otlp.decoding import nanoseconds
from tests.answering import Answer, Asked, serve
from tests.unit.tracker_fixture import HOUR, START, Tracker, utc

ENTITIES = ("service_edges",)
BEGIN = nanoseconds(START)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(web, "FIRST_WAIT", 0.0)


@pytest.fixture
def jaeger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    return Tracker(tmp_path, monkeypatch, "jaeger", ENTITIES, password="k3y")


@pytest.fixture
def tempo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    return Tracker(tmp_path, monkeypatch, "tempo", ENTITIES, extra={"headers": {"X-Scope-OrgID": "shop"}})


def tag(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "type": "string", "value": value}


def trace(number: int, minutes: float, *, error: bool = False) -> dict[str, Any]:
    """The web shop asks the cart, as Jaeger tells it."""
    id_, at = f"{number:x}", BEGIN // 1000 + round(minutes * 60e6)

    def span(span: str, parent: str | None, process: str, kind: str, name: str, ms: int, *tags: dict[str, Any]) -> dict[str, Any]:
        references = [{"refType": "CHILD_OF", "traceID": id_, "spanID": parent}] if parent else []
        known = {"traceID": id_, "spanID": span, "operationName": name, "references": references, "processID": process}
        return {**known, "startTime": at, "duration": ms * 1000, "tags": [tag("span.kind", kind), *tags], "logs": []}

    failed = [tag("error", True), tag("otel.status_code", "ERROR")] if error else []
    spans = [
        span("a", None, "p1", "server", "GET /", 90),
        span("b", "a", "p1", "client", "GET", 50),
        span("c", "b", "p2", "server", "GET /cart/7", 40, *failed),
    ]
    processes = {
        "p1": {"serviceName": "web", "tags": []},
        "p2": {"serviceName": "cart", "tags": [tag("deployment.environment", "production")]},
    }
    return {"traceID": id_, "spans": spans, "processes": processes}


@dataclass
class Jaeger:
    """Finds traces that begin in a span of microseconds, the newest first, as many as the limit says."""

    traces: list[dict[str, Any]] = field(default_factory=list)
    dependencies: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != "Bearer k3y":
            return Answer({"errors": [{"code": 401, "msg": "no"}]}, status=401)
        found: list[Any]
        if asked.path == "/api/services":
            found = ["web", "jaeger-query", "cart"]
        elif asked.path == "/api/dependencies":
            found = self.dependencies
        else:
            start, end, limit = (int(asked.param(name) or 0) for name in ("start", "end", "limit"))
            inside = [one for one in self.traces if start <= one["spans"][0]["startTime"] <= end]
            found = sorted(inside, key=lambda one: -one["spans"][0]["startTime"])[:limit]
        return Answer({"data": found, "total": 0, "limit": 0, "offset": 0, "errors": None})


def edge_of(one: dict[str, Any]) -> tuple[str, str, int | None]:
    return one["caller"], one["callee"], one["calls"]


def test_dependencies_are_edges_without_a_number_of_calls(jaeger):
    told = [{"parent": "web", "child": "cart", "callCount": 4}, {"parent": "web", "child": "cart", "callCount": 2}]
    with serve(Jaeger(dependencies=told)) as server:
        landed = jaeger.extract(server.url)["service_edges"]
        assert edge_of(jaeger.one("service_edges")) == ("web", "cart", None)
        assert landed.reasons == {"edges of sampled traces: their calls are not counted": 1}
        assert server.asked[0].params == {"endTs": [str(BEGIN // 10**6 + 3_600_000)], "lookback": ["3600000"]}
        jaeger.extract(server.url, traffic=True, services=["none"])
        assert edge_of(jaeger.one("service_edges")) == ("web", "cart", 6)


def test_full_answers_are_asked_for_again_in_halves_until_every_trace_is_seen(jaeger):
    traces = [trace(n + 1, n * 2.5, error=n % 4 == 0) for n in range(23)]
    with serve(Jaeger(traces)) as server:
        jaeger.extract(server.url, edges="traces", traffic=True, limit=5)
    assert edge_of(jaeger.one("service_edges")) == ("web", "cart", 23)
    told = jaeger.landed("spans_red")
    assert sum(one["count"] for one in told if one["service"] == "cart") == 23
    assert sum(one["errors"] for one in told) == 6
    assert {(one["service"], one["operation"], one["peer"]) for one in told} >= {("web", "GET /", ""), ("web", "call GET", "cart")}


def test_a_sample_lands_no_traffic(jaeger):
    with serve(Jaeger([trace(1, 5)])) as server:
        landed = jaeger.extract(server.url, edges="traces")
    assert set(landed) == {"service_edges"} and edge_of(jaeger.one("service_edges")) == ("web", "cart", None)


def test_a_second_with_more_traces_than_an_answer_holds_is_said(jaeger):
    with serve(Jaeger([trace(n + 1, 5) for n in range(9)])) as server:
        landed = jaeger.extract(server.url, edges="traces", services=["web"], limit=4)
    assert landed["service_edges"].reasons["seconds of web with more than 4 traces: the others are not seen"] == 1


def test_spans_that_cannot_be_are_quarantined(jaeger):
    bad = trace(1, 5)
    bad["spans"][0]["duration"] = -1
    bad["spans"][2]["startTime"] = 17
    with serve(Jaeger([trace(2, 6), bad])) as server:
        jaeger.extract(server.url, edges="traces", services=["web"])
    assert jaeger.quarantined("service_edges") == [
        "clock: the span ends before it starts",
        "start time: not in microseconds since 1970",
    ]


def test_an_empty_jaeger_says_that_it_was_asked(jaeger):
    with serve(Jaeger()) as server:
        landed = jaeger.extract(server.url, edges="traces", traffic=True)
    assert {name: one.received for name, one in landed.items()} == {"service_edges": 0, "spans_red": 0}


@pytest.mark.parametrize("told", ["web", ["web", 7], {"web": 1}])
def test_services_that_are_no_list_of_names_are_refused_before_anything_else_is_asked(jaeger, told):
    with serve(lambda _: Answer({"data": told})) as server:
        with pytest.raises(SourceRejected, match=r"api/services.*expected a list of names"):
            jaeger.extract(server.url, edges="traces")
        assert len(server.asked) == 1


def test_jaeger_waits_when_told_to_and_names_wrong_credentials(jaeger, tmp_path, monkeypatch):
    told = [Answer({"data": []}, status=429, headers={"retry-after": "0"}), Answer({"data": []})]
    with serve(lambda _: told.pop(0)) as server:
        jaeger.extract(server.url)
    other = Tracker(tmp_path, monkeypatch, "jaeger", ENTITIES, password="wrong")
    with serve(Jaeger()) as server, pytest.raises(SourceRejected, match="answered 401; check login, password"):
        other.extract(server.url)
    with serve(lambda _: Answer(raw=b'{"data": [')) as server, pytest.raises(SourceUnavailable, match="no whole JSON"):
        jaeger.extract(server.url)


# --- Tempo


def series(samples: list[tuple[float, float]], **labels: Any) -> dict[str, Any]:
    told = [
        {"key": key.replace("__", "."), "value": {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}}
        for key, value in labels.items()
    ]
    return {
        "labels": told,
        "samples": [{"timestampMs": str(BEGIN // 10**6 + round(minutes * 60_000)), "value": value} for minutes, value in samples],
    }


@dataclass
class Tempo:
    """Counts as many requests as the minute is old, stamped at its end, one bucket more than asked; knows three traces."""

    longest: int = 10**9
    answer: Callable[[Asked], Answer | None] = lambda _: None

    def __call__(self, asked: Asked) -> Answer:
        given = self.answer(asked)
        if given is not None:
            return given
        if asked.headers.get("x-scope-orgid") != "shop":
            return Answer(raw=b"no org id", status=401)
        if asked.path == "/api/search":
            return Answer(
                {
                    "traces": [{"traceID": f"{n:032x}", "rootServiceName": "web"} for n in (1, 2, 3)][: int(asked.param("limit") or 0)],
                    "metrics": {},
                }
            )
        if asked.path.startswith("/api/v2/traces/"):
            return self._trace(asked.path.rsplit("/", 1)[1])
        return self._metrics(asked)

    def _trace(self, id_: str) -> Answer:
        if id_.endswith("3"):
            return Answer({}, status=404)

        def resource(service: str, span: str, parent: str, kind: int) -> dict[str, Any]:
            times = {"startTimeUnixNano": str(BEGIN + 10**9), "endTimeUnixNano": str(BEGIN + 2 * 10**9)}
            told = {"traceId": id_, "spanId": span * 16, "parentSpanId": parent * 16, "kind": kind, "name": "GET", **times}
            return {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
                "scopeSpans": [{"spans": [told]}],
            }

        return Answer({"trace": {"resourceSpans": [resource("web", "a", "", 3), resource("cart", "b", "a", 2)]}})

    def _metrics(self, asked: Asked) -> Answer:
        start, end = (int(asked.param(name) or 0) for name in ("start", "end"))
        if end - start > self.longest:
            return Answer({"error": "metrics query time range exceeds the maximum allowed duration"}, status=400)
        minutes = [(at - BEGIN // 10**9) / 60 for at in range(start, end + 1, 60)]
        query = asked.param("q") or ""
        if "quantile" in query:
            return Answer({"series": [series([(m, 0.25) for m in minutes], resource__service__name="cart", p=0.95)]})
        if "error" in query:
            return Answer({"series": []})
        nobody = series([(1, 5)], resource__service__name="nil")
        return Answer({"series": [series([(m, m) for m in minutes], resource__service__name="cart"), nobody]})


def test_what_tempo_counts_lands_under_the_start_of_each_minute_once(tempo):
    with serve(Tempo(longest=1200)) as server:
        landed = tempo.extract(server.url)
    told = tempo.landed("metric_points")
    requests = [one for one in told if one["metric"] == "traces.requests"]
    assert [(one["ts"], one["value"]) for one in requests] == [(utc(n), n + 1) for n in range(60)]
    assert {(one["unit"], one["kind"], one["value"]) for one in told if one["metric"] == "traces.duration_p95"} == {("ms", "gauge", 250.0)}
    assert landed["metric_points"].duplicate == 0 and landed["metric_points"].reasons["series without a service"] >= 1


def test_edges_of_a_search_have_no_counts_and_a_trace_that_is_gone_is_left_out(tempo):
    with serve(Tempo()) as server:
        landed = tempo.extract(server.url, metrics=False)
        fetched = [one.path for one in server.asked if "traces" in one.path]
    assert edge_of(tempo.one("service_edges")) == ("web", "cart", None) and len(fetched) == 3
    assert landed["service_edges"].reasons == {"edges of sampled traces: their calls are not counted": 1}


def test_a_tempo_without_metrics_says_so_and_lands_edges(tempo):
    absent = Tempo(answer=lambda asked: Answer({}, status=404) if "metrics" in asked.path else None)
    with serve(absent) as server:
        landed = tempo.extract(server.url)
    assert landed["metric_points"].reasons == {"Tempo counts no metrics (it answered 404)": 1}
    assert tempo.one("service_edges")["callee"] == "cart"


def test_a_query_tempo_refuses_is_named(tempo):
    wrong = Tempo(answer=lambda asked: Answer({"error": "parse error at line 1"}, status=400) if "metrics" in asked.path else None)
    with serve(wrong) as server, pytest.raises(SourceRejected, match=r"parse error.*the query was: \{ kinds = server \}"):
        tempo.extract(server.url, where="kinds = server")


def test_an_empty_search_says_that_it_was_asked(tempo):
    with serve(Tempo(answer=lambda asked: Answer({"metrics": {}}) if "search" in asked.path else None)) as server:
        assert tempo.extract(server.url, metrics=False)["service_edges"].received == 0


def test_tempo_windows_ask_for_their_hour_only(tempo):
    with serve(Tempo()) as server:
        tempo.extract(server.url, HOUR, traces=2)
        searched = [one.params for one in server.asked if one.path == "/api/search"]
    assert searched == [{"q": ["{ kind = server }"], "start": [str(BEGIN // 10**9)], "end": [str(BEGIN // 10**9 + 3600)], "limit": ["2"]}]
