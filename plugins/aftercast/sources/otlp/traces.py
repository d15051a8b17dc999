"""Spans of traces as requests, errors and durations, and as edges between services.

Counted are the requests a service serves (server, consumer and root spans; the peer is who called) and the calls it makes (client and
producer spans, `call …`; the peer is who answered in the same trace, else what the span says of it). Durations go to buckets half a percent
wide, whose counts add up in any order. A span that is found twice counts once.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from aftercast.entities import TIME
from aftercast.sources.otlp.decoding import Buckets, Place, clean
from aftercast.sources.otlp.spool import ROOM, Spool

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
KINDS = {f"SPAN_KIND_{name}": number for number, name in enumerate(("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"))}
SERVING, CALLING = (SERVER, CONSUMER), (CLIENT, PRODUCER)
ACCURACY = 0.005  # of a quantile
GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
PEERS = ("peer.service", "service.peer.name")
ADDRESSES = ("server.address", "net.peer.name", "http.host", "rpc.service")
LONGEST = 200  # characters of an operation
_IDS = re.compile(
    r"(?P<uuid>\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b)"
    r"|(?<=[/=:])(?P<id>[0-9a-fA-F]{12,}|(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{16,})(?=$|[/?&:. ])"
    r"|(?<=[/=:])(?P<n>\d+)(?=$|[/?&:. ])"
)
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "trace": pl.String,
    "span": pl.String,
    "parent": pl.String,
    "place": pl.Int64,
    "kind": pl.Int8,
    "operation": pl.Int64,
    "remote": pl.Int64,
    "linked": pl.Boolean,
    "start": pl.Int64,
    "nanoseconds": pl.Int64,
    "error": pl.Boolean,
}
RED = ("service", "environment", "region", "operation", "peer", "bucket")
RED_SCHEMA: Any = {
    **dict.fromkeys(RED[:-1], pl.String),
    "bucket": TIME,
    **dict.fromkeys(("count", "errors"), pl.Int64),
    **dict.fromkeys(("p50_ms", "p95_ms", "p99_ms"), pl.Float64),
}
EDGE = ("environment", "caller", "callee")
EDGE_SCHEMA: Any = {**dict.fromkeys((*EDGE, "kind"), pl.String), "first_seen": TIME, "last_seen": TIME, "calls": pl.Int64}


@dataclass(frozen=True, slots=True)
class Work:
    """One span. `remote` is what it says of the other side; `linked` when that is a dependency worth an edge of its own."""

    trace: str
    span: str
    parent: str
    place: Place
    kind: int
    operation: str
    remote: str
    linked: bool
    start: int
    end: int
    error: bool


def operation_of(name: str, attributes: Mapping[str, Any]) -> str:
    """Return the name of an operation without ids: the route where the span tells it, else its name with ids masked."""
    route, method = attributes.get("http.route"), attributes.get("http.request.method") or attributes.get("http.method")
    if route and method:
        return clean(f"{method} {route}"[:LONGEST])
    return clean(_IDS.sub(lambda found: f"<{found.lastgroup}>", name.split("?", 1)[0])[:LONGEST])


def remote_of(attributes: Mapping[str, Any]) -> tuple[str, bool]:
    """Return what a span says of the other side, and whether it is a dependency by itself: a named peer, a store, a host by name."""
    for name in PEERS:
        if attributes.get(name):
            return str(attributes[name]), True
    store = attributes.get("db.system.name") or attributes.get("db.system")
    if store:
        within = attributes.get("db.namespace") or attributes.get("db.name")
        return (f"{store}/{within}" if within and not str(within).isdigit() else str(store)), True
    if attributes.get("messaging.system"):
        return str(attributes["messaging.system"]), True
    for name in ADDRESSES:
        if attributes.get(name):
            host = str(attributes[name])
            return ("", False) if _is_address(host) else (clean(host), name != "rpc.service")
    return "", False


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host in ("localhost", "")
    return True


class Traces:
    """Spans as they come, in any order; `red` and `edges` once all are there."""

    def __init__(self, folder: Path, buckets: Buckets, *, room: int = ROOM) -> None:
        self._buckets = buckets
        self._spool = Spool(folder, SCHEMA, room=room)
        self._places: dict[Place, int] = {}
        self._texts: dict[str, int] = {"": 0}

    @property
    def height(self) -> int:
        return self._spool.height

    def add(self, one: Work) -> None:
        part = int(one.trace[-15:], 16)
        self._spool.add(
            (
                part,
                one.trace,
                one.span,
                one.parent,
                self._places.setdefault(one.place, len(self._places)),
                one.kind,
                self._texts.setdefault(one.operation, len(self._texts)),
                self._texts.setdefault(one.remote, len(self._texts)),
                one.linked,
                one.start,
                one.end - one.start,
                one.error,
            )
        )

    def summary(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return spans_red and service_edges of the spans that start in the buckets, sorted by key."""
        red, edges = [], []
        places = pl.DataFrame(
            [(number, one.service, one.environment, one.region) for one, number in self._places.items()],
            schema={"place": pl.Int64, "service": pl.String, "environment": pl.String, "region": pl.String},
            orient="row",
        )
        texts = pl.DataFrame(
            [(number, one) for one, number in self._texts.items()], schema={"id": pl.Int64, "text": pl.String}, orient="row"
        )
        for part in self._spool.parts():
            told = self._told(part, places, texts)
            red.append(self._cells(told))
            edges.append(_links(told))
        if not red:
            return pl.DataFrame(schema=RED_SCHEMA), pl.DataFrame(schema=EDGE_SCHEMA)
        return _red(pl.concat(red)), _edges(pl.concat(edges))

    def _told(self, spans: pl.DataFrame, places: pl.DataFrame, texts: pl.DataFrame) -> pl.DataFrame:
        """Each span that counts, with the service that called it and the services it called."""
        whole = spans.sort(spans.columns).unique(["trace", "span", "kind"], keep="first", maintain_order=True)
        named = (
            whole.join(places, on="place", how="left")
            .join(texts.rename({"id": "operation", "text": "name"}), on="operation", how="left")
            .join(texts.rename({"id": "remote", "text": "far"}), on="remote", how="left")
        )
        parents = named.group_by("trace", pl.col("span").alias("parent")).agg(
            pl.col("service").min().alias("caller"), pl.col("kind").max().alias("caller_kind")
        )
        joined = named.join(parents, on=["trace", "parent"], how="left").with_columns(
            pl.when(pl.col("caller") != pl.col("service")).then("caller").alias("caller")
        )
        children = (
            joined.filter(pl.col("caller").is_not_null())
            .group_by("trace", pl.col("parent").alias("span"))
            .agg(pl.col("service").min().alias("callee"))
        )
        inside = joined.filter((pl.col("start") >= self._buckets.first) & (pl.col("start") < self._buckets.last))
        return inside.join(children, on=["trace", "span"], how="left")

    def _cells(self, told: pl.DataFrame) -> pl.DataFrame:
        """Counts and errors by key and width of duration."""
        kind, calls = pl.col("kind"), pl.col("kind").is_in(CALLING)
        counted = told.filter(kind.is_in([*SERVING, *CALLING]) | (pl.col("parent") == ""))
        width = self._buckets.width
        return counted.group_by(
            "service",
            "environment",
            "region",
            pl.when(calls).then(pl.lit("call ") + pl.col("name")).otherwise("name").alias("operation"),
            pl.when(calls).then(pl.coalesce("callee", "far")).otherwise(pl.coalesce("caller", pl.lit(""))).alias("peer"),
            (pl.col("start") // width * width // 1000).cast(TIME).alias("bucket"),
            (pl.col("nanoseconds").clip(1).log(GAMMA)).ceil().cast(pl.Int32).alias("cell"),
        ).agg(pl.len().cast(pl.Int64).alias("count"), pl.col("error").sum().cast(pl.Int64).alias("errors"))


def _red(cells: pl.DataFrame) -> pl.DataFrame:
    """Cells added up; the duration of a quantile is the middle of the cell its rank falls into."""
    added = cells.group_by(*RED, "cell").agg(pl.col("count", "errors").sum()).sort(*RED, "cell")
    ranked = added.with_columns(pl.col("count").cum_sum().over(RED).alias("rank"), pl.col("count").sum().over(RED).alias("all"))
    milliseconds = 2 * (pl.col("cell") * math.log(GAMMA)).exp() / (GAMMA + 1) / 1e6
    quantiles = [
        milliseconds.filter(pl.col("rank") >= (pl.col("all") * quantile).ceil()).first().alias(f"p{quantile * 100:.0f}_ms")
        for quantile in (0.5, 0.95, 0.99)
    ]
    return (
        ranked.group_by(RED, maintain_order=True).agg(pl.col("count", "errors").sum(), *quantiles).select(list(RED_SCHEMA)).cast(RED_SCHEMA)
    )


def _links(told: pl.DataFrame) -> pl.DataFrame:
    """Calls between services of one trace, and from a service to what has no spans of its own; a queue stands between its two sides."""
    direct = pl.col("caller").is_not_null() & ~((pl.col("kind") == CONSUMER) & pl.col("linked"))
    outward = pl.col("kind").is_in([*CALLING, CONSUMER]) & pl.col("linked") & (pl.col("callee").is_null() | (pl.col("kind") == PRODUCER))
    ends = [
        told.filter(direct).select("environment", "caller", pl.col("service").alias("callee"), "start"),
        told.filter(outward).select("environment", pl.col("service").alias("caller"), pl.col("far").alias("callee"), "start"),
    ]
    return _added(
        pl.concat(ends).select(*EDGE, pl.col("start").alias("first"), pl.col("start").alias("last"), pl.lit(1, pl.Int64).alias("calls"))
    )


def _added(links: pl.DataFrame) -> pl.DataFrame:
    return links.group_by(EDGE).agg(pl.col("first").min(), pl.col("last").max(), pl.col("calls").sum())


def _edges(links: pl.DataFrame) -> pl.DataFrame:
    told = _added(links.filter(pl.col("caller") != pl.col("callee")).drop_nulls(["caller", "callee"])).sort(EDGE)
    return told.select(
        *EDGE,
        pl.lit("spans").alias("kind"),
        (pl.col("first") // 1000).cast(TIME).alias("first_seen"),
        (pl.col("last") // 1000).cast(TIME).alias("last_seen"),
        "calls",
    )
