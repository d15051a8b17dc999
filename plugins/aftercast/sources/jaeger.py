"""The `jaeger` kind: who calls whom, and if asked for, requests and durations, of traces that Jaeger kept.

Jaeger keeps a sample. So edges land without a number of calls, and requests only with `traffic: true`, for who samples everything. Search
knows a limit and no next page: an answer that is full is asked for again in two halves of its time, down to `SHORTEST`.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import Field

from aftercast.connections import Endpoint, resolve
from aftercast.declarations import Row, SourceRow
from aftercast.entities import TIME
from aftercast.errors import SourceRejected
from aftercast.settings import Settings, check_options, raw_folder
from aftercast.sources import Batch
from aftercast.sources.otlp.decoding import FIRST, LAST, Buckets, Place, id_of, nanoseconds, text, whole
from aftercast.sources.otlp.traces import (
    CALLING,
    CLIENT,
    CONSUMER,
    INTERNAL,
    PRODUCER,
    SERVER,
    SERVING,
    Traces,
    Work,
    operation_of,
    remote_of,
)
from aftercast.sources.web import Parameters, Request, Web, records, signed_in
from aftercast.window import Window

SHORTEST = 1_000_000  # microseconds
KINDS = {"internal": INTERNAL, "server": SERVER, "client": CLIENT, "producer": PRODUCER, "consumer": CONSUMER}
REJECTED = {"reason": pl.String, "raw": pl.String}
SAMPLED = "edges of sampled traces: their calls are not counted"


class Options(Row):
    """Options of a `jaeger` source: which services (all without a list), where edges come from, and whether traces are all there are."""

    services: tuple[str, ...] = ()
    edges: Literal["dependencies", "traces"] = "dependencies"
    traffic: bool = False
    limit: int = Field(default=200, ge=2, le=20_000)
    bucket_seconds: int = Field(default=300, ge=1, le=3600)
    environment: tuple[str, ...] = ("deployment.environment.name", "deployment.environment")
    default_environment: str | None = None
    region: tuple[str, ...] = ("cloud.region",)


@dataclass(frozen=True, slots=True)
class Jaeger:
    """A query service and what it is asked for."""

    row: SourceRow
    settings: Settings
    endpoint: Endpoint
    options: Options

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield edges, and requests if traces are all there are."""
        with signed_in(self.row.name, self.endpoint, keep=raw_folder(self.settings, self.row, window)) as web:
            if self.options.edges == "dependencies":
                yield self._dependencies(web, window)
            if self.options.edges == "traces" or self.options.traffic:
                yield from self._traces(web, window)

    def _dependencies(self, web: Web, window: Window) -> Batch:
        ends = {"endTs": nanoseconds(window.end) // 10**6, "lookback": (nanoseconds(window.end) - nanoseconds(window.start)) // 10**6}
        page = web.ask(Request("/api/dependencies", ends))
        found: Counter[tuple[str, str]] = Counter()
        for one in records(page, "data", source=self.row.name):
            found[str(one["parent"]), str(one["child"])] += whole(one.get("callCount"))
        rows = [
            (caller, callee, count if self.options.traffic else None)
            for (caller, callee), count in sorted(found.items())
            if caller != callee
        ]
        frame = pl.DataFrame(rows, schema={"caller": pl.String, "callee": pl.String, "calls": pl.Int64}, orient="row").with_columns(
            pl.lit(self.options.default_environment, pl.String).alias("environment"),
            pl.lit("spans").alias("kind"),
            pl.lit(window.start, TIME).alias("first_seen"),
            pl.lit(window.end, TIME).dt.offset_by("-1us").alias("last_seen"),
        )
        return Batch("service_edges", frame, origin=page.origin, notes=self._said(frame))

    def _said(self, edges: pl.DataFrame) -> dict[str, int]:
        return {SAMPLED: edges.height} if edges.height and not self.options.traffic else {}

    def _traces(self, web: Web, window: Window) -> Iterator[Batch]:
        staging = self.settings.home / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        notes: Counter[str] = Counter()
        with tempfile.TemporaryDirectory(dir=staging) as folder:
            buckets = Buckets.of(window, self.options.bucket_seconds)
            traces = Traces(Path(folder), buckets)
            for service in self.options.services or self._services(web):
                for page in self._found(web, service, buckets.first // 1000, buckets.last // 1000, notes):
                    refused = [pair for trace in page[1] for pair in self._spans(trace, traces)]
                    if refused:
                        bad = pl.DataFrame(refused, schema=REJECTED, orient="row").unique(maintain_order=True)
                        yield Batch("service_edges", pl.DataFrame(), origin=page[0], rejected=bad)
            red, edges = traces.summary()
        origin = f"{self.endpoint.base_url}/api/traces"
        if self.options.traffic:
            yield Batch("spans_red", red, origin=origin)
        if self.options.edges == "traces":
            told = edges if self.options.traffic else edges.with_columns(pl.lit(None, pl.Int64).alias("calls"))
            yield Batch("service_edges", told, origin=origin, notes={**self._said(edges), **notes})

    def _services(self, web: Web) -> list[str]:
        page = web.ask(Request("/api/services"))
        found = page.data.get("data") if isinstance(page.data, dict) else page.data
        names = [] if found is None else found  # null: a Jaeger that has seen nothing yet
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise SourceRejected(f"source {self.row.name!r}: {page.origin}: expected a list of names at data, found {type(found).__name__}")
        return sorted({name for name in names if not name.startswith("jaeger")})

    def _found(self, web: Web, service: str, start: int, end: int, notes: Counter[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Yield the traces of a service that begin in [start, end) microseconds, in answers that are not full."""
        asked: Parameters = {"service": service, "start": start, "end": end - 1, "limit": self.options.limit}
        page = web.ask(Request("/api/traces", asked))
        found = records(page, "data", source=self.row.name)
        if len(found) >= self.options.limit and end - start >= 2 * SHORTEST:
            middle = (start + end) // 2
            yield from self._found(web, service, start, middle, notes)
            yield from self._found(web, service, middle, end, notes)
            return
        if len(found) >= self.options.limit:
            notes[f"seconds of {service} with more than {self.options.limit} traces: the others are not seen"] += 1
        yield page.origin, found

    def _spans(self, trace: Mapping[str, Any], traces: Traces) -> Iterator[tuple[str, str]]:
        """Count the spans of a trace; yield why others cannot be used."""
        processes = trace.get("processes") or {}
        for given in trace.get("spans") or ():
            try:
                traces.add(self._work(given, processes.get(given.get("processID")) or given.get("process") or {}))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                yield str(error), text(given)[:2000]

    def _work(self, given: Mapping[str, Any], process: Mapping[str, Any]) -> Work:
        tags, whose = _tags(given), _tags(process)
        start, length = whole(given.get("startTime")) * 1000, whole(given.get("duration")) * 1000
        if length < 0:
            raise ValueError("clock: the span ends before it starts")
        if not FIRST <= start < LAST:
            raise ValueError("start time: not in microseconds since 1970")
        service = process.get("serviceName")
        if not service:
            raise ValueError("no service")
        environment = next((str(whose[name]) for name in self.options.environment if whose.get(name)), self.options.default_environment)
        region = next((str(whose[name]) for name in self.options.region if whose.get(name)), "")
        kind = KINDS.get(str(tags.get("span.kind", "")).lower(), 0)
        parents = [
            one for one in given.get("references") or () if one.get("refType") == "CHILD_OF" and one.get("traceID") == given.get("traceID")
        ]
        remote, linked = remote_of(tags) if kind in (*CALLING, CONSUMER) else ("", False)
        return Work(
            trace=id_of(str(given["traceID"]).zfill(32)),
            span=id_of(str(given["spanID"]).zfill(16)),
            parent=id_of(str(parents[0]["spanID"]).zfill(16)) if parents else "",
            place=Place(str(service), environment, region),
            kind=kind,
            operation=operation_of(str(given.get("operationName") or ""), tags if kind in (*SERVING, *CALLING) else {}),
            remote=remote,
            linked=linked,
            start=start,
            end=start + length,
            error=tags.get("otel.status_code") == "ERROR" or tags.get("error") in (True, "true"),
        )


def _tags(given: Mapping[str, Any]) -> dict[str, Any]:
    return {str(one.get("key")): one.get("value") for one in given.get("tags") or ()}


def open(row: SourceRow, settings: Settings) -> Jaeger:
    """Return the query service a row of sources.yml declares.

    Raises:
        ConfigError: an option or the connection does not fit.
    """
    return Jaeger(row, settings, resolve(row.name, row.connection), check_options(row, Options))
