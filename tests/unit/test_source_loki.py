"""The `loki` kind: counts by metric queries, patterns of selections, and lines only where asked for, each once and never as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aftercast.errors import ConfigError, SourceRejected
from aftercast.sources import web
from aftercast.sources.otlp.decoding import nanoseconds
from tests.answering import Answer, Asked, serve
from tests.unit.tracker_fixture import HOUR, NEXT, START, Tracker, utc

BEGIN = nanoseconds(START)
COUNTED = {"metric": "log_lines", "query": "sum by (service_name, level) (count_over_time({app=~'.+'}[$step]))"}
LINES = [{"selector": '{app="cart"}'}]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(web, "FIRST_WAIT", 0.0)


@pytest.fixture
def loki(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    return Tracker(tmp_path, monkeypatch, "loki", (), login="me", password="k3y", extra={"headers": {"X-Scope-OrgID": "shop"}})


Entry = tuple[int, str, str]


@dataclass
class Loki:
    """Pages lines forward in [start, end); answers metric queries with three lines a step, and patterns."""

    entries: list[Entry] = field(default_factory=list)
    patterns: list[dict[str, Any]] | None = None
    first: Callable[[Asked], Answer | None] = lambda _: None

    def __call__(self, asked: Asked) -> Answer:
        given = self.first(asked)
        if given is not None:
            return given
        if not asked.headers.get("authorization", "").startswith("Basic ") or asked.headers.get("x-scope-orgid") != "shop":
            return Answer(raw=b"no org id", status=401)
        if asked.path == "/loki/api/v1/patterns":
            return Answer(raw=b"404 page not found", status=404) if self.patterns is None else self._told(self.patterns)
        query, start, end = asked.param("query") or "", int(asked.param("start") or 0), int(asked.param("end") or 0)
        if "count_over_time" in query:
            values = [[at, "3"] for at in range(start, end + 1, int(asked.param("step") or 60))] if asked.param("step") else []
            counted = {"metric": {"service_name": "cart", "level": "error"}, "values": values}
            return self._told({"resultType": "matrix", "result": [counted], "stats": {}})
        limit = int(asked.param("limit") or 100)
        page = sorted(one for one in set(self.entries) if start <= one[0] < end)[:limit]
        streams: dict[str, list[list[str]]] = {}
        for at, level, line in page:
            streams.setdefault(level, []).append([str(at), line])
        known = {"service_name": "cart", "env": "production"}
        result = [{"stream": {**known, "level": level}, "values": values} for level, values in streams.items()]
        return self._told({"resultType": "streams", "result": result, "stats": {}})

    @staticmethod
    def _told(data: Any) -> Answer:
        return Answer({"status": "success", "data": data})


def at(seconds: float, nanos: int = 0) -> int:
    return BEGIN + round(seconds * 1e9) + nanos


def patterns(loki: Tracker) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in loki.landed("log_patterns"):
        found[one["pattern"]] = found.get(one["pattern"], 0) + one["count"]
    return found


def test_a_metric_query_lands_as_counts_under_the_start_of_each_step(loki):
    with serve(Loki()) as server:
        loki.extract(server.url, queries=[COUNTED], labels={"service": "service_name", "attributes": ["level"]}, step_seconds=300)
        assert "[300s]" in (server.asked[0].param("query") or "")
    told = loki.landed("metric_points")
    assert [(one["ts"], one["value"]) for one in told] == [(utc(5 * n), 3.0) for n in range(12)]
    assert {(one["kind"], one["attributes"]) for one in told} == {("counter", "level=error")}
    assert loki.landed("log_patterns") == []


def test_lines_are_paged_by_their_nanoseconds_and_each_counts_once(loki):
    entries = [(at(n // 7 * 10), "error", f"order {'abcdefghijklmnopqrstuvwxyz'[n % 7]} lost") for n in range(70)]
    with serve(Loki(entries)) as server:
        for limit in (8, 9, 11, 20, 69, 70, 71, 5000):
            loki.extract(server.url, lines=LINES, limit=limit)
            assert patterns(loki) == {f"ERROR order {letter} lost": 10 for letter in "abcdefg"}, limit


def test_lines_of_one_nanosecond_over_many_pages_end_in_a_named_error(loki):
    many = Loki([(at(5), "info", f"line {'x' * n}") for n in range(30)])
    with serve(many) as server, pytest.raises(SourceRejected, match=r"more than 10 lines .* bear one time; raise `limit`"):
        loki.extract(server.url, lines=LINES, limit=10)
    assert loki.landed("log_patterns") == []


def test_windows_share_no_line(loki):
    entries = [(at(3600, -1), "info", "last"), (at(3600), "info", "first")]
    with serve(Loki(entries)) as server:
        loki.extract(server.url, HOUR, lines=LINES)
        assert patterns(loki) == {"INFO last": 1}
        loki.extract(server.url, NEXT, lines=LINES)
    assert patterns(loki) == {"INFO last": 1, "INFO first": 1}


def test_a_late_line_and_a_deleted_one_show_when_the_window_is_read_again(loki):
    server_side = Loki([(at(10), "info", "stays"), (at(20), "info", "goes")])
    with serve(server_side) as server:
        loki.extract(server.url, lines=LINES)
        server_side.entries = [(at(10), "info", "stays"), (at(30), "warn", "late 42")]
        loki.extract(server.url, lines=LINES)
    assert patterns(loki) == {"INFO stays": 1, "WARN late <n>": 1}


def test_no_raw_line_is_kept(loki):
    entries = [(at(n), "error", f"card of ann{n}@example.com declined after {n} tries") for n in range(1, 9)]
    with serve(Loki(entries)) as server:
        loki.extract(server.url, lines=LINES)
    assert patterns(loki) == {"ERROR card of <email> declined after <n> tries": 8}
    assert "example.com" not in loki.everything()


def test_patterns_that_loki_mines_are_counts(loki):
    now = BEGIN // 10**9
    mined = [
        {"pattern": "order <_> lost", "level": "error", "samples": [[now, 4], [now + 300, 2], [now + 3600, 9]]},
        {"pattern": "ready", "samples": [[now, 0]]},
    ]
    selection = {"selector": '{app="cart"}', "labels": {"service": {"const": "cart"}}}
    with serve(Loki(patterns=mined)) as server:
        loki.extract(server.url, patterns=[selection])
    assert patterns(loki) == {"ERROR order <_> lost": 6}
    with serve(Loki(patterns=None)) as server, pytest.raises(SourceRejected, match="answered 404"):
        loki.extract(server.url, patterns=[selection])


def test_options_that_cannot_work_are_refused(loki):
    with pytest.raises(ConfigError, match="nothing to extract"):
        loki.extract("http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"write \[\$step\]"):
        loki.extract("http://127.0.0.1:9", queries=[{**COUNTED, "query": "rate({app='x'}[1m])"}])
    with pytest.raises(ConfigError, match="name no service"):
        loki.extract("http://127.0.0.1:9", patterns=LINES)


def test_loki_waits_when_told_to_and_names_refusals(loki, tmp_path, monkeypatch):
    busy = [Answer({}, status=429, headers={"retry-after": "0"})]
    with serve(Loki([(at(1), "info", "a")], first=lambda _: busy.pop() if busy else None)) as server:
        loki.extract(server.url, lines=LINES)
    assert patterns(loki) == {"INFO a": 1}
    heavy = Loki(first=lambda _: Answer(raw=b"maximum of series (500) reached", status=400))
    with serve(heavy) as server, pytest.raises(SourceRejected, match="maximum of series"):
        loki.extract(server.url, queries=[COUNTED])
    other = Tracker(tmp_path, monkeypatch, "loki", (), login="me", password="k3y")
    with serve(Loki()) as server, pytest.raises(SourceRejected, match="answered 401"):
        other.extract(server.url, lines=LINES)
    with serve(Loki()) as server, pytest.raises(SourceRejected, match="expected streams of lines"):
        loki.extract(server.url, lines=[{"selector": "count_over_time({app='x'}[1m])"}])
