"""The `loki` kind: LogQL metric queries as metric points, counts of patterns, and only where `lines` asks for it the lines themselves.

Lines are counted as patterns and forgotten. They are asked for forward, a page at a time from the last nanosecond of the page before; what
that page already had of it is left out. Patterns that Loki mines itself are kept by it for a few hours only.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from aftercast.connections import Endpoint, resolve
from aftercast.declarations import Row, SourceRow
from aftercast.errors import SourceRejected
from aftercast.settings import Settings, check_options, raw_folder
from aftercast.sources import Batch
from aftercast.sources.labels import Labels
from aftercast.sources.otlp.decoding import SECOND, Buckets, Place, whole
from aftercast.sources.otlp.patterns import Patterns, masked, severity_of
from aftercast.sources.prometheus.points import points
from aftercast.sources.prometheus.queries import Only, Question
from aftercast.sources.prometheus.ranges import PATIENCE, ask, steps
from aftercast.sources.quoting import narrowed
from aftercast.sources.web import Parameters, Request, Web, records, signed_in
from aftercast.window import Window

QUERY_RANGE, PATTERNS = "/loki/api/v1/query_range", "/loki/api/v1/patterns"
MOST_LINES = 5_000  # of one answer, as Loki allows unless told otherwise
LEVELS = ("detected_level", "level", "severity")


class Query(Row):
    """What lands under the name of a metric: a LogQL metric query with `[$step]`."""

    metric: str = Field(min_length=1)
    query: str
    kind: Literal["gauge", "counter"] = "counter"
    unit: str = "1"
    scale: float = 1.0
    step_seconds: int | None = Field(default=None, ge=1)
    labels: Labels | None = None

    @model_validator(mode="after")
    def _counts_steps(self) -> Self:
        if "$step" not in self.query:
            raise ValueError('write [$step], e.g. sum by (service, level) (count_over_time({app=~".+"}[$step]))')
        return self


class Selection(Row):
    """Log streams by a selector, and whose they are: a label, or `{const: …}`, which Loki's own patterns need.

    `only` narrows the selector to streams whose labels have exactly these values.
    """

    selector: str = "{}"
    only: Only = Field(default_factory=dict)
    labels: Labels | None = None

    @property
    def logql(self) -> str:
        """The selector as it is asked."""
        return narrowed(self.selector, self.only)

    @model_validator(mode="after")
    def _selects(self) -> Self:
        if self.logql.strip() == "{}":
            raise ValueError('which streams? add a selector, such as {app=~".+"}, or only: {app: shop}')
        return self


class Options(Row):
    """Options of a `loki` source: metric `queries`, selections whose `patterns` Loki counts, and of `lines` to mask."""

    queries: tuple[Query, ...] = ()
    patterns: tuple[Selection, ...] = ()
    lines: tuple[Selection, ...] = ()
    labels: Labels = Labels(service="service_name")
    step_seconds: int = Field(default=60, ge=1, le=3600)
    bucket_seconds: int = Field(default=300, ge=1, le=3600)
    limit: int = Field(default=MOST_LINES, ge=2, le=100_000)

    @model_validator(mode="after")
    def _something_to_ask(self) -> Self:
        if not (self.queries or self.patterns or self.lines):
            raise ValueError("nothing to extract: add queries, patterns or lines")
        for one in self.patterns:
            if isinstance((one.labels or self.labels).service, str):
                raise ValueError(f"patterns of {one.selector} name no service: add labels: {{service: {{const: …}}}}")
        return self


@dataclass(frozen=True, slots=True)
class Loki:
    """A server and what it is asked for."""

    row: SourceRow
    settings: Settings
    endpoint: Endpoint
    options: Options

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield the points of every query, and the patterns of every selection."""
        keep = None if self.options.lines else raw_folder(self.settings, self.row, window)
        with signed_in(self.row.name, self.endpoint, keep=keep, timeout=PATIENCE + 10) as web:
            for query in self.options.queries:
                yield from self._points(web, query, window)
            if self.options.patterns or self.options.lines:
                yield from self._patterns(web, window)

    def _points(self, web: Web, query: Query, window: Window) -> Iterator[Batch]:
        step = query.step_seconds or self.options.step_seconds
        text, labels = query.query.replace("$step", f"{step}s"), query.labels or self.options.labels
        question = Question(query.metric, text, query.kind, query.unit, query.scale, step, True, labels)
        yield Batch("metric_points", pl.DataFrame(), origin=f"metric {query.metric!r}: {self.endpoint.base_url}")
        wanted = steps(window, step, closing=True)
        for answer in ask(web, self.row.name, f"metric {query.metric!r}", text, wanted, path=QUERY_RANGE):
            yield points(answer, question, self.row.name)

    def _patterns(self, web: Web, window: Window) -> Iterator[Batch]:
        buckets = Buckets.of(window, self.options.bucket_seconds)
        found, notes = Patterns(buckets), Counter[str]()
        for one in self.options.patterns:
            self._mined(web, one, buckets, found)
        for one in self.options.lines:
            self._masked(web, one, buckets, found, notes)
        if found.folded:
            notes["lines of patterns beyond the limit, counted as <other>"] = found.folded
        yield Batch("log_patterns", found.frame(), origin=self.endpoint.base_url, notes=notes)

    def _mined(self, web: Web, one: Selection, buckets: Buckets, found: Patterns) -> None:
        """Count what Loki's pattern ingester found."""
        place = _place((one.labels or self.options.labels).read({}, "service", "environment", "region"))
        width = buckets.width // SECOND
        asked: Parameters = {"query": one.logql, "start": buckets.first, "end": buckets.last, "step": f"{width}s"}
        page = web.ask(Request(PATTERNS, asked))
        for pattern in records(page, "data", source=self.row.name):
            severity = severity_of(0, str(pattern.get("level") or ""))
            for moment, count in pattern.get("samples") or ():
                if whole(count) and whole(moment) * SECOND in buckets:
                    text = str(pattern["pattern"]).strip()
                    found.add(place, whole(moment) * SECOND, severity, text, text, "", count=whole(count))

    def _masked(self, web: Web, one: Selection, buckets: Buckets, found: Patterns, notes: Counter[str]) -> None:
        """Count lines by what is left of them when what varies is masked."""
        labels = one.labels or self.options.labels
        for moment, stream, line in self._lines(web, one.logql, buckets):
            place = _place(labels.read(stream, "service", "environment", "region"))
            if place.service is None:
                notes[f"lines without label {labels.service}"] += 1
                continue
            level = next((stream[name] for name in LEVELS if stream.get(name)), "")
            found.add(place, moment, severity_of(0, level), masked(line), line, stream.get("trace_id", ""))

    def _lines(self, web: Web, selector: str, buckets: Buckets) -> Iterator[tuple[int, dict[str, str], str]]:
        """Yield lines in order of time, each once.

        Raises:
            SourceRejected: more lines than one answer holds bear one time.
        """
        start, seen, number = buckets.first, set[tuple[str, str]](), 0
        while start < buckets.last:
            number += 1
            asked: Parameters = {
                "query": selector,
                "start": start,
                "end": buckets.last,
                "direction": "forward",
            }
            page = web.ask(Request(QUERY_RANGE, {**asked, "limit": self.options.limit}), number=number)
            data = page.data.get("data") if isinstance(page.data, dict) else None
            if not isinstance(data, dict) or data.get("resultType") != "streams":
                raise SourceRejected(f"source {self.row.name!r}: {page.origin}: expected streams of lines; `lines` take a selector")
            told = sorted(
                (whole(pair[0]), json.dumps(one["stream"], sort_keys=True), str(pair[1]))
                for one in data["result"]
                for pair in one["values"]
            )
            fresh = [(at, stream, line) for at, stream, line in told if (at > start or (stream, line) not in seen) and at in buckets]
            for at, stream, line in fresh:
                yield at, json.loads(stream), line
            if len(told) < self.options.limit:
                return
            last = told[-1][0]
            if last == start and not fresh:
                raise SourceRejected(
                    f"source {self.row.name!r}: {page.origin}: more than {self.options.limit:,} lines of {selector} bear one time; "
                    "raise `limit` (and Loki's max_entries_limit_per_query) or narrow the selector"
                )
            seen = {(stream, line) for at, stream, line in told if at == last} | (seen if last == start else set())
            start = last


def _place(found: dict[str, Any]) -> Place:
    return Place(found["service"], found["environment"], found["region"] or "")


def open(row: SourceRow, settings: Settings) -> Loki:
    """Return the server a row of sources.yml declares.

    Raises:
        ConfigError: an option or the connection does not fit.
    """
    return Loki(row, settings, resolve(row.name, row.connection), check_options(row, Options))
