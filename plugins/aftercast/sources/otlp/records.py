"""One line of OTLP/JSON to its metrics, log records and spans, each to where it is counted; a line counts whole or not at all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from aftercast.entities import TIME
from aftercast.sources.otlp.decoding import (
    Buckets,
    Place,
    Unreadable,
    attributes,
    enum,
    id_of,
    moment,
    nanoseconds,
    place_of,
    text,
    value,
    whole,
)
from aftercast.sources.otlp.options import Options
from aftercast.sources.otlp.patterns import Patterns, severity_of, spoken, words_of
from aftercast.sources.otlp.points import Points, decoded
from aftercast.sources.otlp.traces import CALLING, KINDS, SERVER, SERVING, Traces, Work, operation_of, remote_of
from aftercast.window import Window

SIGNALS = {"resourceMetrics": "metrics", "resourceLogs": "logs", "resourceSpans": "traces"}
STUMBLES = (Unreadable, TypeError, AttributeError, ValueError, KeyError, IndexError)
STATUS = {"STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}
FAILED = 2
SEVERITY = {
    f"SEVERITY_NUMBER_{name}{n or ''}": 1 + 4 * at + max(n - 1, 0)
    for at, name in enumerate(("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"))
    for n in (0, 2, 3, 4)
}
Act = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Refused:
    """A record (or a line) that cannot be used; `signal` is '' when even that is not known."""

    signal: str
    reason: str
    raw: str


class Reading:
    """Everything one extract has read so far. `latest` is the newest time of the last line that bore one."""

    def __init__(self, folder: Path, window: Window, options: Options, source: str) -> None:
        steps, buckets = Buckets.of(window, options.step_seconds), Buckets.of(window, options.bucket_seconds)
        self._options = options
        self._points = Points(folder / "points", steps, options, source)
        self._patterns = Patterns(buckets)
        self._traces = Traces(folder / "traces", buckets, events=options.events)
        self._buckets = buckets
        wide = buckets.widened(self._points.reach)
        self._near = {"metrics": steps.widened(self._points.reach), "logs": wide if options.events else buckets, "traces": wide}
        self._versions: dict[tuple[Place, str], tuple[int, int]] = {}
        self.exact = Buckets(nanoseconds(window.start), nanoseconds(window.end), 1)
        self.latest: int | None = None
        self.read: Counter[str] = Counter()

    def __str__(self) -> str:
        return ", ".join(f"{count:,} {signal}" for signal, count in sorted(self.read.items())) or "nothing in the window"

    def take(self, line: Any) -> list[Refused]:
        """Count what a line holds; return what of it cannot be used."""
        if not isinstance(line, Mapping):
            return [Refused("", f"not a JSON object but {type(line).__name__}", text(line))]
        known = [key for key in SIGNALS if key in line]
        if not known:
            return [Refused("", "no OTLP: none of resourceMetrics, resourceLogs, resourceSpans", text(line))] if line else []
        acts: list[Act] = []
        refused: list[Refused] = []
        times: list[int] = []
        for key in known:
            signal = SIGNALS[key]
            if signal not in self._options.signals:
                continue
            try:
                for group in line[key] or ():
                    self._group(signal, group, acts, refused, times)
            except STUMBLES as error:
                return [Refused(signal, f"not the shape of OTLP: {type(error).__name__}: {error}", text(line))]
        for act in acts:
            act()
        if times:
            self.latest = max(times)
        return refused

    def _group(self, signal: str, group: Mapping[str, Any], acts: list[Act], refused: list[Refused], times: list[int]) -> None:
        """What one resource sends."""
        resource = attributes((group.get("resource") or {}).get("attributes"))
        place = place_of(resource, self._options)
        own: list[int] = []
        near = self._near[signal]

        def use(record: Any, at: int, act: Act) -> None:
            own.append(at)
            if at not in near:
                return
            if place.service is None:
                if at in self.exact:
                    refused.append(Refused(signal, f"no {' or '.join(self._options.service)}", text(record)))
                return
            acts.append(act)
            self.read[signal] += 1

        stream = text(resource) if signal == "metrics" else ""
        for scope in group.get({"metrics": "scopeMetrics", "logs": "scopeLogs", "traces": "scopeSpans"}[signal]) or ():
            if signal == "metrics":
                named = scope.get("scope") or {}
                self._metrics(scope, f"{stream}{named.get('name')}{named.get('version')}", resource, place, refused, use)
                continue
            for record in scope.get("logRecords" if signal == "logs" else "spans") or ():
                try:
                    at, act = self._log(record, place) if signal == "logs" else self._span(record, place)
                except STUMBLES as error:
                    refused.append(Refused(signal, str(error), text(record)))
                else:
                    use(record, at, act)
        times += own
        version = resource.get("service.version")
        if self._options.deployments and version and own and place.service:
            key = (place, str(version))
            first, last = self._versions.get(key, (own[0], own[0]))
            self._versions[key] = (min(first, *own), max(last, *own))

    def _metrics(self, scope: Any, stream: str, resource: dict[str, Any], place: Place, refused: list[Refused], use: Any) -> None:
        for metric in scope.get("metrics") or ():
            for point in decoded(metric, stream, resource, self._options):
                if isinstance(point, tuple):
                    refused.append(Refused("metrics", str(point[0]), text(point[1])))
                else:
                    use(point.metric, point.at, lambda point=point: self._points.add(place, point))

    def _log(self, record: Mapping[str, Any], place: Place) -> tuple[int, Act]:
        at = moment(record.get("timeUnixNano") if whole(record.get("timeUnixNano")) else record.get("observedTimeUnixNano"), "time")
        own = attributes(record.get("attributes"))
        pattern, said = words_of(value(record.get("body")), own, str(record.get("eventName") or own.get("event.name") or ""))
        severity = severity_of(enum(record.get("severityNumber"), SEVERITY), str(record.get("severityText") or ""))
        trace, span = id_of(record.get("traceId")), id_of(record.get("spanId"))

        def act() -> None:
            if at in self._buckets:
                self._patterns.add(place, at, severity, pattern, said, trace)
            self._traces.say(trace, span, spoken(severity, pattern))

        return at, act

    def _span(self, record: Mapping[str, Any], place: Place) -> tuple[int, Act]:
        start, end = moment(record.get("startTimeUnixNano"), "start time"), moment(record.get("endTimeUnixNano"), "end time")
        if end < start:
            raise Unreadable("clock: the span ends before it starts")
        trace, span = id_of(record.get("traceId")), id_of(record.get("spanId"))
        if not trace or not span:
            raise Unreadable("no trace id" if not trace else "no span id")
        own = attributes(record.get("attributes"))
        kind = enum(record.get("kind"), KINDS)
        remote, linked = remote_of(own) if kind not in (SERVER, 0, 1) else ("", False)
        status = enum((record.get("status") or {}).get("code"), STATUS)
        name = operation_of(str(record.get("name") or ""), own if kind in (*SERVING, *CALLING) else {})
        work = Work(
            trace, span, id_of(record.get("parentSpanId")), place, kind, name, remote, linked, start, end, status == FAILED
        )  # fmt: skip
        return start, lambda: self._traces.add(work)

    def frames(self, signal: str) -> Iterator[tuple[str, pl.DataFrame]]:
        """Yield the rows of the entities of a signal; none when there are none."""
        found: Iterator[tuple[str, pl.DataFrame]]
        if signal == "metrics":
            found = (("metric_points", frame) for frame in self._points.frames())
        elif signal == "logs":
            found = iter([("log_patterns", self._patterns.frame())])
        else:
            red, edges, events = self._traces.summaries()
            found = iter([("spans_red", red), ("service_edges", edges), ("span_events", events)])
        yield from ((entity, frame) for entity, frame in found if frame.height)

    def notes(self, signal: str) -> dict[str, int]:
        """Return what is worth saying of a signal."""
        folded = {"log records of patterns beyond the limit, counted as <other>": self._patterns.folded}
        said = {"metrics": self._points.notes, "logs": folded, "traces": {}}[signal]
        return {reason: count for reason, count in said.items() if count}

    def deployments(self) -> pl.DataFrame:
        """Return a change for each version that was first seen in the window while or after another one was."""
        rows: list[dict[str, Any]] = []
        before: dict[Place, tuple[int, str]] = {}
        for (place, version), (first, _) in sorted(self._versions.items(), key=lambda one: (one[1][0], one[0][1])):
            earlier = before.get(place)
            if earlier is not None and first in self.exact:
                where = "/".join(filter(None, (place.environment, place.region)))
                rows.append(
                    {
                        "change_id": f"telemetry/{place.service}/{where}/{version}",
                        "kind": "deploy",
                        "service": place.service,
                        "environment": place.environment,
                        "region": place.region,
                        "title": f"{place.service} {version} first seen in telemetry",
                        "started_at": first // 1000,
                        "result": "unknown",
                        "version": version,
                        "previous_version": earlier[1],
                        "attributes": json.dumps({"seen_in": "telemetry"}),
                    }
                )
            before[place] = (first, version)
        return pl.DataFrame(rows).with_columns(pl.col("started_at").cast(TIME)) if rows else pl.DataFrame()
