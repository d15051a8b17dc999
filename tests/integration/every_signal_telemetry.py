"""What the shop's services send to an OpenTelemetry collector: made with the real SDK, dated as the outage was."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from tests.integration.every_signal_world import BUCKET, DAY, END, MINUTE, ONSET, OVER, SERVICES, START, every, level_at
from tests.unit.otlp_fixture import collected, write

TRACES_EVERY = 10 * MINUTE


@dataclass
class Traced:
    """What the files of the collector hold."""

    traces: int = 0
    failed: int = 0
    retries: int = 0


def observed(inbox: Path) -> Traced:
    """Write a file a day with metrics, spans and logs of the real SDK, closed just after midnight; what they hold."""
    from opentelemetry._logs import SeverityNumber
    from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

    spans, logs = InMemorySpanExporter(), InMemoryLogRecordExporter()
    resources = {name: Resource({"service.name": name, "deployment.environment.name": "production"}) for name in SERVICES}
    tracers = {}
    for name, resource in resources.items():
        provider = TracerProvider(resource=resource)
        provider.add_span_processor(SimpleSpanProcessor(spans))
        tracers[name] = provider.get_tracer("shop")
    speaking = LoggerProvider(resource=resources["payments"])
    speaking.add_log_record_processor(SimpleLogRecordProcessor(logs))
    logger = speaking.get_logger("shop")
    held = Traced()

    def serve(moment: datetime) -> None:
        began, failed = round(moment.timestamp()) * 10**9, ONSET <= moment < OVER
        took = iter((90, 80, 70, 60, 20, 10, 5))  # milliseconds: each call within the one that makes it

        def call(service: str, kind: SpanKind, within: Any = None, **attributes: str) -> Any:
            length = next(took)
            context = set_span_in_context(within) if within else None
            span = tracers[service].start_span(
                f"{service} {kind.name}", context, kind=kind, attributes=attributes, start_time=began + (100 - length) * 10**6
            )
            if failed and service != "search":
                span.set_status(StatusCode.ERROR)
            span.end(began + 200 * 10**6)
            return span

        front = call("frontend", SpanKind.SERVER)
        paying = call("payments", SpanKind.SERVER, call("frontend", SpanKind.CLIENT, front))
        call("payments", SpanKind.CLIENT, paying, **{"db.system.name": "postgresql", "db.namespace": "orders"})
        call("search", SpanKind.SERVER, call("frontend", SpanKind.CLIENT, front))
        body = f"no connection for order {began}" if failed else f"charged order {began}"
        severity = SeverityNumber.ERROR if failed else SeverityNumber.INFO
        logger.emit(timestamp=began, observed_timestamp=began, severity_number=severity, body=body, context=set_span_in_context(paying))
        held.traces += 1
        held.failed += failed

    for day in every(START, END, DAY):
        for moment in every(day, day + DAY, TRACES_EVERY):
            serve(moment)
        told = [encode_spans(spans.get_finished_spans()), encode_logs(logs.get_finished_logs()), metered(day, resources["payments"], held)]
        lines = [collected(one) for one in told]
        spans.clear()
        logs.clear()
        write(inbox, lines, f"otlp-{day:%Y-%m-%d}.json")
        os.utime(inbox / f"otlp-{day:%Y-%m-%d}.json", ((day + DAY + MINUTE).timestamp(),) * 2)
    return held


def metered(day: datetime, resource: Any, held: Traced) -> Any:
    """Return a day of a gauge and of a cumulative counter of a process, as the SDK exports them every five minutes."""
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
    from opentelemetry.sdk.metrics import export
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    began, busy, retried = round(START.timestamp()) * 10**9, [], []
    for moment in every(day, day + DAY, BUCKET):
        at, failing = round(moment.timestamp()) * 10**9, ONSET <= moment < OVER
        held.retries += 20 if failing else 1
        wave = 0.02 * float(np.sin(at / 10**12)) + 0.1 * float(level_at([moment])[0])
        busy.append(export.NumberDataPoint({}, began, at, (0.9 if failing else 0.3) + wave))
        retried.append(export.NumberDataPoint({"peer": "db"}, began, at + 240 * 10**9, held.retries))
    metrics = [
        export.Metric("saturation_ratio", "", "1", export.Gauge(busy)),
        export.Metric("retries", "", "{retry}", export.Sum(retried, export.AggregationTemporality.CUMULATIVE, is_monotonic=True)),
    ]
    scoped = [export.ScopeMetrics(InstrumentationScope("shop"), metrics, "")]
    return encode_metrics(export.MetricsData([export.ResourceMetrics(resource, scoped, "")]))
