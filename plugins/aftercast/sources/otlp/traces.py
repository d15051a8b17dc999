"""Spans of traces as requests, errors and durations, and as edges between services.

Counted are the requests a service serves (server, consumer and root spans; the peer is who called) and the calls it makes (client and
producer spans, `call …`; the peer is who answered in the same trace, else what the span says of it). Durations go to buckets half a percent
wide, whose counts add up in any order; so does the time a request spends in its own service, and a call on its way (`insides`). A span that
is found twice counts once.
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
from aftercast.sources.otlp.insides import at_most, events_of, own_time
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
    **dict.fromkeys(("p50_ms", "p95_ms", "p99_ms", "own_p50_ms", "own_p95_ms"), pl.Float64),
}
QUANTILES = (("duration", 0.5, "p50_ms"), ("duration", 0.95, "p95_ms"), ("duration", 0.99, "p99_ms"))
OWN_QUANTILES = (("own", 0.5, "own_p50_ms"), ("own", 0.95, "own_p95_ms"))
EVENT = ("service", "environment", "region", "operation", "event", "bucket")
EVENT_SCHEMA: Any = {**dict.fromkeys(EVENT[:-1], pl.String), "bucket": TIME, "count": pl.Int64}
SAID: dict[str, pl.DataType | type[pl.DataType]] = {"trace": pl.String, "span": pl.String, "text": pl.Int64}
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
    """Spans as they come, in any order; requests, edges and (if asked for) events once all are there."""

    def __init__(self, folder: Path, buckets: Buckets, *, room: int = ROOM, events: bool = False) -> None:
        self._buckets = buckets
        self._spool = Spool(folder, SCHEMA, room=room)
        self._said = Spool(folder / "said", SAID, room=room) if events else None
        self._places: dict[Place, int] = {}
        self._texts: dict[str, int] = {"": 0}

    @property
    def height(self) -> int:
        return self._spool.height

    def say(self, trace: str, span: str, pattern: str) -> None:
        """Take a log record that names the span it was written in."""
        if self._said is not None and trace and span:
            self._said.add((_part(trace), trace, span, self._texts.setdefault(pattern, len(self._texts))))

    def add(self, one: Work) -> None:
        self._spool.add(
            (
                _part(one.trace),
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
        red, edges, _ = self.summaries()
        return red, edges

    def summaries(self) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """Return spans_red, service_edges and span_events (empty unless asked for) of spans that start in the buckets, sorted by key."""
        red, edges, events = [], [], []
        places = pl.DataFrame(
            [(number, one.service, one.environment, one.region) for one, number in self._places.items()],
            schema={"place": pl.Int64, "service": pl.String, "environment": pl.String, "region": pl.String},
            orient="row",
        )
        texts = pl.DataFrame(
            [(number, one) for one, number in self._texts.items()], schema={"id": pl.Int64, "text": pl.String}, orient="row"
        )
        count = self._spool.count
        for number, part in enumerate(self._spool.parts()):
            spans = self._linked(part, places, texts)
            told = self._told(spans)
            red.append(self._cells(told))
            edges.append(_links(told))
            if self._said is not None:
                events.append(self._events(spans, self._said.part(number, count).join(texts, left_on="text", right_on="id", how="left")))
        return (
            _red(pl.concat(red)) if red else pl.DataFrame(schema=RED_SCHEMA),
            _edges(pl.concat(edges)) if edges else pl.DataFrame(schema=EDGE_SCHEMA),
            _happened(pl.concat(events)) if events else pl.DataFrame(schema=EVENT_SCHEMA),
        )

    def _linked(self, spans: pl.DataFrame, places: pl.DataFrame, texts: pl.DataFrame) -> pl.DataFrame:
        """Each span once, with its names, the service that called it and the time it took by itself."""
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
        return joined.with_columns(own_time(joined))

    def _told(self, joined: pl.DataFrame) -> pl.DataFrame:
        """Each span that starts in the buckets, with the service it called."""
        children = (
            joined.filter(pl.col("caller").is_not_null())
            .group_by("trace", pl.col("parent").alias("span"))
            .agg(pl.col("service").min().alias("callee"))
        )
        return joined.filter(self._inside()).join(children, on=["trace", "span"], how="left")

    def _inside(self) -> pl.Expr:
        return (pl.col("start") >= self._buckets.first) & (pl.col("start") < self._buckets.last)

    def _bucket(self) -> pl.Expr:
        width = self._buckets.width
        return (pl.col("start") // width * width // 1000).cast(TIME).alias("bucket")

    def _cells(self, told: pl.DataFrame) -> pl.DataFrame:
        """Counts and errors by key, measure and width of duration."""
        kind = pl.col("kind")
        counted = told.filter(kind.is_in([*SERVING, *CALLING]) | (pl.col("parent") == "")).select(
            "service",
            "environment",
            "region",
            _operation().alias("operation"),
            pl.when(kind.is_in(CALLING)).then(pl.coalesce("callee", "far")).otherwise(pl.coalesce("caller", pl.lit(""))).alias("peer"),
            self._bucket(),
            pl.col("nanoseconds").alias("duration"),
            "own",
            "error",
        )
        return pl.concat(
            counted.filter(pl.col(measure).is_not_null())
            .group_by(*RED, pl.lit(measure).alias("measure"), pl.col(measure).clip(1).log(GAMMA).ceil().cast(pl.Int32).alias("cell"))
            .agg(pl.len().cast(pl.Int64).alias("count"), pl.col("error").sum().cast(pl.Int64).alias("errors"))
            for measure in ("duration", "own")
        )

    def _events(self, spans: pl.DataFrame, said: pl.DataFrame) -> pl.DataFrame:
        """Spans by key and event; event '' are all of them."""
        keys = ("service", "environment", "region", "operation", "bucket")
        whole = spans.filter(self._inside()).select("trace", "span", *keys[:3], _operation().alias("operation"), self._bucket())
        whole = whole.unique(["trace", "span"], keep="first", maintain_order=True)
        found = whole.join(events_of(spans, said.rename({"text_right": "pattern"})), on=["trace", "span"])
        all_of_them = whole.with_columns(pl.lit("").alias("event"))
        return (
            pl.concat([all_of_them, found.select(all_of_them.columns)]).group_by(*keys, "event").agg(pl.len().cast(pl.Int64).alias("count"))
        )


def _part(trace: str) -> int:
    return int(trace[-15:], 16)


def _operation() -> pl.Expr:
    return pl.when(pl.col("kind").is_in(CALLING)).then(pl.lit("call ") + pl.col("name")).otherwise("name")


def _red(cells: pl.DataFrame) -> pl.DataFrame:
    """Cells added up; the duration of a quantile is the middle of the cell its rank falls into."""
    by = [*RED, "measure"]
    added = cells.group_by(*by, "cell").agg(pl.col("count", "errors").sum()).sort(*by, "cell")
    ranked = added.with_columns(pl.col("count").cum_sum().over(by).alias("rank"), pl.col("count").sum().over(by).alias("all"))
    milliseconds = 2 * (pl.col("cell") * math.log(GAMMA)).exp() / (GAMMA + 1) / 1e6
    quantiles = [
        milliseconds.filter((pl.col("measure") == measure) & (pl.col("rank") >= (pl.col("all") * quantile).ceil())).first().alias(name)
        for measure, quantile, name in (*QUANTILES, *OWN_QUANTILES)
    ]
    counts = pl.col("count", "errors").filter(pl.col("measure") == "duration").sum()
    return ranked.group_by(RED, maintain_order=True).agg(counts, *quantiles).select(list(RED_SCHEMA)).cast(RED_SCHEMA)


def _happened(counted: pl.DataFrame) -> pl.DataFrame:
    """Counts of all parts, the rarest events of a busy operation together."""
    added = counted.group_by(EVENT).agg(pl.col("count").sum())
    keys = tuple(name for name in EVENT if name != "event")
    spans, events = added.filter(pl.col("event") == ""), at_most(added.filter(pl.col("event") != ""), keys)
    return pl.concat([spans.select(list(EVENT_SCHEMA)), events.select(list(EVENT_SCHEMA))]).cast(EVENT_SCHEMA).sort(EVENT)


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
