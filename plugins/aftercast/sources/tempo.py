"""The `tempo` kind: requests, errors and durations as TraceQL metrics count them, and who calls whom in a sample of traces.

Search returns some traces, never all: nothing of it is counted, edges land without a number of calls. What Tempo counts itself
(`/api/metrics/query_range`) lands as metric points; where that is not switched on, coverage says so and edges land alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import Field, field_validator

from aftercast.connections import Endpoint, resolve
from aftercast.declarations import Row, SourceRow
from aftercast.entities import TIME
from aftercast.errors import SourceRejected
from aftercast.privacy import redact
from aftercast.settings import Settings, check_options, raw_folder
from aftercast.sources import Batch
from aftercast.sources.jaeger import SAMPLED
from aftercast.sources.labels import Labels
from aftercast.sources.otlp.decoding import nanoseconds, number, value, whole
from aftercast.sources.otlp.options import Options as Reader
from aftercast.sources.otlp.records import Reading
from aftercast.sources.prometheus.ranges import next_length, steps
from aftercast.sources.quoting import attribute_name, segment
from aftercast.sources.web import Page, Parameters, Request, Web, records, signed_in
from aftercast.window import Window

METRICS, SEARCH, TRACE = "/api/metrics/query_range", "/api/search", "/api/v2/traces/"
ABSENT = (404, 501)
REFUSED = (400, 422, *ABSENT)
TOO_LONG = ("exceed", "duration", "time range")
NOTHING = ("nil", "None", "")
UNITS = {"requests": "1", "errors": "1", "duration": "ms"}
FIRST_STEPS = 60
POINTS: dict[str, Any] = {
    **dict.fromkeys(("service", "environment", "region", "metric", "attributes", "unit", "kind"), pl.String),
    "ts": pl.Int64,
    "value": pl.Float64,
}


class Options(Row):
    """Options of a `tempo` source.

    `where` is what counts as a request, `labels` are attributes as TraceQL groups by. `traces` is how many traces a window's edges are read
    from (0: none), spread over its hours. `stamped` says which end of a step Tempo's times name: its end, before 2.8 its start.
    """

    where: str = "kind = server"
    labels: Labels = Labels(
        service="resource.service.name", environment="resource.deployment.environment.name", region="resource.cloud.region"
    )
    metrics: bool = True
    quantiles: tuple[float, ...] = (0.5, 0.95, 0.99)
    step_seconds: int = Field(default=60, ge=1, le=3600)
    stamped: Literal["end", "start"] = "end"
    traces: int = Field(default=200, ge=0, le=10_000)
    query: str = "{ kind = server }"

    @field_validator("labels")
    @classmethod
    def _are_attributes(cls, labels: Labels) -> Labels:
        for name in labels.kept:
            attribute_name(name)
        return labels


@dataclass(frozen=True, slots=True)
class Tempo:
    """A server and what it is asked for."""

    row: SourceRow
    settings: Settings
    endpoint: Endpoint
    options: Options

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield metric points, and the edges of a sample of traces."""
        with signed_in(self.row.name, self.endpoint, keep=raw_folder(self.settings, self.row, window)) as web:
            if self.options.metrics:
                yield from self._metrics(web, window)
            if self.options.traces:
                yield from self._edges(web, window)

    def _metrics(self, web: Web, window: Window) -> Iterator[Batch]:
        mapping, where = self.options.labels, self.options.where
        by = f" by ({', '.join(map(attribute_name, mapping.kept))})"
        quantiles = ", ".join(f"{q:g}" for q in self.options.quantiles)
        asked = [
            ("requests", f"{{ {where} }} | count_over_time(){by}"),
            ("errors", f"{{ {where} && status = error }} | count_over_time(){by}"),
            *([("duration", f"{{ {where} }} | quantile_over_time(duration, {quantiles}){by}")] if quantiles else []),
        ]
        for name, query in asked:
            wanted = steps(window, self.options.step_seconds, closing=True)
            at, length, most, count = 0, FIRST_STEPS, len(wanted), 0
            while at < len(wanted):
                part, count = wanted[at : at + min(length, most)], count + 1
                params: Parameters = {"q": query, "start": part[0] - part.step, "end": part[-1], "step": f"{part.step}s"}
                page = web.ask(Request(METRICS, params, accepted=REFUSED), number=count)
                if page.status in ABSENT:
                    notes = {f"Tempo counts no metrics (it answered {page.status})": 1}
                    yield Batch("metric_points", pl.DataFrame(), origin=page.origin, notes=notes)
                    return
                if page.status in REFUSED:
                    most = self._shorter(page, query, len(part))
                    continue
                batch = self._points(page, name, part)
                yield batch
                length, at = next_length(len(part), batch.frame.height), at + len(part)

    def _shorter(self, page: Page, query: str, length: int) -> int:
        """Return how many steps to ask for instead.

        Raises:
            SourceRejected: it is not the length of time that was refused.
        """
        said = redact(str(page.data)[:200])
        if length > 1 and any(word in said for word in TOO_LONG):
            return length // 2
        raise SourceRejected(f"source {self.row.name!r}: {page.origin} answered {page.status} ({said}); the query was: {query}")

    def _points(self, page: Page, name: str, part: range) -> Batch:
        """Points of one answer; what lies outside of what was asked for (a first bucket more, for example) is left out."""
        shift = part.step if self.options.stamped == "end" else 0
        rows: list[tuple[Any, ...]] = []
        nameless = 0
        for series in records(page, "series", source=self.row.name):
            told = {str(one["key"]): str(value(one.get("value"))) for one in series.get("labels") or ()}
            labels = {key: found for key, found in told.items() if found not in NOTHING}
            found = self.options.labels.read(labels, "service", "environment", "region")
            if found["service"] is None:
                nameless += 1
                continue
            kind, scale = ("gauge", 1e3) if name == "duration" else ("counter", 1.0)
            suffix = f"_p{float(labels['p']) * 100:g}".replace(".", "_") if name == "duration" else ""
            series_is = (*found.values(), f"traces.{name}{suffix}", self.options.labels.attributes_of(labels), UNITS[name], kind)
            for sample in series.get("samples") or ():
                ts, measured = whole(sample.get("timestampMs")) // 1000 - shift, number(sample.get("value", 0))
                if measured is not None and part[0] - part.step <= ts <= part[-1] - part.step:
                    rows.append((*series_is, ts * 1_000_000, measured * scale))
        frame = pl.DataFrame(rows, schema=POINTS, orient="row").with_columns(pl.col("ts").cast(TIME))
        return Batch("metric_points", frame, origin=page.origin, notes={"series without a service": nameless} if nameless else {})

    def _edges(self, web: Web, window: Window) -> Iterator[Batch]:
        staging = self.settings.home / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        reader = Reader(inbox="", signals=("traces",), bucket_seconds=1, lookback_minutes=60)
        with tempfile.TemporaryDirectory(dir=staging) as folder:
            reading = Reading(Path(folder), window, reader, self.row.name)
            refused = 0
            for trace in self._sample(web, window):
                page = web.ask(Request(TRACE + segment(trace), accepted=(404,)))
                if page.status == 404:
                    continue  # it was there when searched, and is gone
                refused += len(reading.take(_as_otlp(page.data)))
            found = dict(reading.frames("traces"))
        edges = found.get("service_edges", pl.DataFrame())
        told = edges.with_columns(pl.lit(None, pl.Int64).alias("calls")) if edges.height else edges
        notes = {SAMPLED: edges.height, "spans that cannot be used": refused}
        yield Batch("service_edges", told, origin=f"{self.endpoint.base_url}{SEARCH}", notes={name: n for name, n in notes.items() if n})

    def _sample(self, web: Web, window: Window) -> list[str]:
        """Ids of some traces, as evenly spread over the window as hours allow."""
        start, end = nanoseconds(window.start) // 10**9, nanoseconds(window.end) // 10**9
        slices = max(1, min((end - start) // 3600, self.options.traces))
        each = -(-self.options.traces // slices)
        found: dict[str, None] = {}
        for n in range(slices):
            times: Parameters = {"start": start + (end - start) * n // slices, "end": start + (end - start) * (n + 1) // slices}
            page = web.ask(Request(SEARCH, {"q": self.options.query, **times, "limit": each}), number=n + 1)
            listed = records(page, "traces", source=self.row.name) if page.data.get("traces") is not None else []
            found |= {str(one["traceID"]): None for one in listed if one.get("traceID")}
        return sorted(found)[: self.options.traces]


def _as_otlp(data: Mapping[str, Any]) -> dict[str, Any]:
    """A trace as OTLP: version 2 wraps it, older ones call resources `batches`."""
    trace = data.get("trace") or data
    return {"resourceSpans": trace.get("resourceSpans") or trace.get("batches") or []}


def open(row: SourceRow, settings: Settings) -> Tempo:
    """Return the server a row of sources.yml declares.

    Raises:
        ConfigError: an option or the connection does not fit.
    """
    return Tempo(row, settings, resolve(row.name, row.connection), check_options(row, Options))
