"""Telemetry as the collector's file exporter writes it: by hand, and by the real SDK."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from google.protobuf.json_format import MessageToDict

from aftercast.declarations import SourceRow
from aftercast.settings import Settings
from aftercast.sources import Batch, open_source
from aftercast.sources.otlp.decoding import nanoseconds
from aftercast.window import Window
from tests.unit.landing_fixture import START

IDS = ("traceId", "spanId", "parentSpanId")
SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5
ERROR = {"code": 2}


def ns(seconds: float = 0) -> str:
    return str(nanoseconds(START) + round(seconds * 1e9))


def tagged(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


def keys(given: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": tagged(value)} for key, value in given.items()]


def resource(service: str | None = "cart", **more: Any) -> dict[str, Any]:
    named = {"service.name": service} if service else {}
    return {"attributes": keys({**named, "deployment.environment.name": "production", "cloud.region": "eu", **more})}


def span(trace: int, id_: int, parent: int = 0, *, at: float = 10, ms: float = 5, kind: int = SERVER, name: str = "GET /cart", **more: Any):
    attributes = keys(more.pop("attributes", {}))
    times = {"startTimeUnixNano": ns(at), "endTimeUnixNano": ns(at + ms / 1000)}
    ids = {"traceId": f"{trace:032x}", "spanId": f"{id_:016x}", "parentSpanId": f"{parent:016x}" if parent else ""}
    return {**ids, "name": name, "kind": kind, **times, "attributes": attributes, "status": {}, "flags": 256} | more


def spans(service: str | None, *found: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": resource(service, **more), "scopeSpans": [{"scope": {"name": "t"}, "spans": list(found)}]}]}


def records(*bodies: Any, service: str | None = "cart", at: float = 10, severity: int = 9, **more: Any) -> dict[str, Any]:
    found = [
        {"timeUnixNano": ns(at), "severityNumber": severity, "body": tagged(body) if isinstance(body, str) else body, **more}
        for body in bodies
    ]
    return {"resourceLogs": [{"resource": resource(service), "scopeLogs": [{"scope": {}, "logRecords": found}]}]}


def metric(name: str, body: dict[str, Any], *, service: str = "cart", instance: str = "a", unit: str = "1", **more: Any) -> dict[str, Any]:
    found = {"name": name, "unit": unit, **body}
    where = resource(service, **{"service.instance.id": instance, **more})
    return {"resourceMetrics": [{"resource": where, "scopeMetrics": [{"scope": {"name": "t"}, "metrics": [found]}]}]}


def point(at: float, since: float | None = None, attributes: dict[str, Any] | None = None, **value: Any) -> dict[str, Any]:
    began = {} if since is None else {"startTimeUnixNano": ns(since)}
    return {"timeUnixNano": ns(at), **began, "attributes": keys(attributes or {}), **value}


def counter(*points: dict[str, Any], temporality: int = 2, monotonic: bool = True) -> dict[str, Any]:
    return {"sum": {"dataPoints": list(points), "aggregationTemporality": temporality, "isMonotonic": monotonic}}


def collected(message: Any) -> dict[str, Any]:
    """Return a message as the collector writes it: like protobuf's JSON, but numbers for enumerations and hex for ids."""

    def hexed(found: Any) -> Any:
        if isinstance(found, list):
            return [hexed(one) for one in found]
        if isinstance(found, dict):
            return {key: base64.b64decode(one).hex() if key in IDS else hexed(one) for key, one in found.items()}
        return found

    return hexed(MessageToDict(message, use_integers_for_enums=True))


def write(inbox: Path, lines: Iterable[Any], name: str = "telemetry.json", *, end: str = "\n") -> Path:
    inbox.mkdir(parents=True, exist_ok=True)
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (inbox / name).write_text("\n".join(texts) + end)
    return inbox


def row(inbox: Path | str, **options: Any) -> SourceRow:
    return SourceRow(name="shop", kind="otlp", options={"inbox": str(inbox), **options})


def extract(place: Settings, inbox: Path | str, window: Window, **options: Any) -> list[Batch]:
    return list(open_source(row(inbox, **options), place).extract(window))


def frame(batches: Iterable[Batch], entity: str) -> pl.DataFrame:
    found = [batch.frame for batch in batches if batch.entity == entity and batch.frame.height]
    return pl.concat(found) if found else pl.DataFrame()


def rejected(batches: Iterable[Batch]) -> list[tuple[str, int]]:
    return [pair for batch in batches if batch.rejected is not None for pair in batch.rejected.select("reason", "row").iter_rows()]


def notes(batches: Iterable[Batch]) -> dict[str, int]:
    return {reason: count for batch in batches for reason, count in batch.notes.items()}


def when(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)
