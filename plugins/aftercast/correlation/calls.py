"""What traces and logs tell of one incident: where time is lost, and which operations no longer do what they did.

Time is looked for where it is spent: in the service itself, or on the way between a caller and the service that answers. A way has two
ends; lost time is attributed to the end most of whose ways lose time. A broken operation that calls a broken one is its victim.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from aftercast.correlation.graph import Graph
from aftercast.correlation.harm import sure
from aftercast.correlation.occurrences import Counts, Floats, Shift, Tally, shifts
from aftercast.correlation.reach import BEGINNING, END, Reach

CALL = "call "
LOG = "log"
RECORDS = "its log records"
FAILED = "fails"
MOST_NORMAL, ENOUGH_QUIET = 288, 48
"""Normal are at most this many buckets, those nearest; buckets within other incidents only where there are not so many others."""
BEFORE = 10
"""Buckets right before: what was so then did not begin with the incident."""
BEGAN_BEFORE = 0.5
AFTER = 5
FEWEST_CALLS = 3
FEWEST_BUCKETS = 6
LEAST_SPREAD = 0.1
"""Spread of the logarithm of a duration that is always believed: one tenth."""
QUARTILE = 0.6745
REACH = 3
SLIGHT = 0.03
"""A thirtieth more time than all requests take anyway is half of what counts."""
FULL_EVIDENCE = 15.0
UNPLACED = 0.3
"""What log records weigh that name no span: who changed what it logs need not have changed what it does."""


@dataclass(frozen=True, slots=True)
class Way:
    """Time by bucket of requests served (`peer` empty) or of calls on their way from a service to its peer."""

    service: str
    peer: str
    operation: str
    logs: Floats
    counts: Counts


@dataclass(frozen=True, slots=True)
class Book:
    """Traces and logs of one environment by bucket; times in microseconds. `reach` is told how far normals read."""

    times: npt.NDArray[np.int64]
    quiet: npt.NDArray[np.bool_]
    grain: int
    ways: tuple[Way, ...]
    tallies: tuple[Tally, ...]
    reach: Reach = field(default_factory=Reach, compare=False)


@dataclass(frozen=True, slots=True)
class Lost:
    """Time a service loses: milliseconds added in all, its part of what all lose, and the way or operation that shows it most."""

    added: float
    share: float
    z: float
    operation: str
    peer: str
    usual: float
    seen: float


@dataclass(frozen=True, slots=True)
class Broken:
    """The operation of a service that changed most, from 0 to 1 how surely and how far, and whether it was so already before."""

    shift: Shift
    weight: float
    began_before: bool
    because_of: str
    explained: float


@dataclass(frozen=True, slots=True)
class Calls:
    """What traces and logs tell of an incident, by service.

    Attributes:
        timed: services whose time is known, whether or not any is lost.
        matters: from 0 to 1, how far the time lost counts beside what all requests take anyway.
    """

    lost: Mapping[str, Lost] = field(default_factory=dict)
    broken: Mapping[str, Broken] = field(default_factory=dict)
    timed: frozenset[str] = frozenset()
    matters: float = 0.0


def book_of(red: pl.DataFrame, events: pl.DataFrame, patterns: pl.DataFrame, *, busy: list[tuple[int, int]]) -> Book | None:
    """Arrange requests, events inside spans and log patterns of one environment; None when there are none."""
    at = pl.col("bucket").dt.epoch("us").alias("at")
    red = red.drop_nulls(["service", "operation", "bucket", "count"]).with_columns(at, pl.col("peer").fill_null(""))
    events = events.drop_nulls(["service", "operation", "event", "bucket", "count"]).with_columns(at)
    patterns = patterns.drop_nulls(["service", "pattern", "bucket", "count"]).with_columns(at)
    times = np.unique(np.concatenate([frame["at"].to_numpy() for frame in (red, events, patterns)]))
    if not times.size:
        return None
    grain = int(np.median(np.diff(times))) if times.size > 1 else 300_000_000
    quiet = np.ones(times.size, dtype=np.bool_)
    for start, end in busy:
        left, right = np.searchsorted(times, [start, end])
        quiet[left:right] = False
    inside = events.with_columns((pl.col("event").str.starts_with(f"{LOG} ") | (pl.col("event") == LOG)).alias("is_log"))
    known = set(inside.filter("is_log")["service"])
    tallies = [
        _tally(inside.filter(pl.col("event") == ""), inside.filter(~pl.col("is_log") & (pl.col("event") != "")), times),
        _tally(inside.filter(pl.col("event") == ""), inside.filter("is_log"), times, silent=True),
        _tally(*_failures(red), times),
        _tally(*_records(patterns.filter(~pl.col("service").is_in(known))), times),
    ]
    return Book(times, quiet, grain, _ways(red, times), tuple(tally for tally in tallies if tally.events))


def _failures(red: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    served = red.filter(~pl.col("operation").str.starts_with(CALL)).select("service", "operation", "at", "count", "errors")
    failed = served.select("service", "operation", "at", pl.col("errors").fill_null(0).alias("count"), pl.lit(FAILED).alias("event"))
    return served, failed if failed["count"].sum() else failed.clear()


def _records(patterns: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    event = (pl.lit(f"{LOG} ") + pl.col("pattern")).alias("event")
    told = patterns.select("service", pl.lit(RECORDS).alias("operation"), "at", "count", event)
    return told, told


def _tally(wholes: pl.DataFrame, events: pl.DataFrame, times: npt.NDArray[np.int64], *, silent: bool = False) -> Tally:
    """Matrices of counts; `silent`: in a bucket without any of the events nothing was collected, so that nothing is missing."""
    keys = ["service", "operation"]
    places = wholes.select(keys).unique().sort(keys).with_row_index("whole")
    rows = events.select(*keys, "event").unique().sort(*keys, "event").join(places, on=keys, maintain_order="left").with_row_index("row")
    matrix = _matrix(wholes.join(places, on=keys), "whole", places.height, times)
    counts = _matrix(events.join(rows, on=[*keys, "event"]), "row", rows.height, times)
    if silent:
        matrix[:, counts.sum(axis=0) == 0] = 0
    names = tuple((service, operation) for service, operation in places.select(keys).iter_rows())
    return Tally(names, matrix, tuple(rows["event"]), rows["whole"].to_numpy().astype(np.int64), counts)


def _matrix(frame: pl.DataFrame, row: str, height: int, times: npt.NDArray[np.int64]) -> Counts:
    found = np.zeros((height, times.size), dtype=np.int64)
    if frame.height:
        columns = np.searchsorted(times, frame["at"].to_numpy())
        np.add.at(found, (frame[row].to_numpy().astype(np.int64), columns), frame["count"].to_numpy())
    return found


def _ways(red: pl.DataFrame, times: npt.NDArray[np.int64]) -> tuple[Way, ...]:
    """Own time of each operation a service serves, whoever calls, and of each call to a peer."""
    is_call = pl.col("operation").str.starts_with(CALL)
    timed = red.filter((pl.col("own_p50_ms") > 0) & (pl.col("count") > 0) & (~is_call | (pl.col("peer") != ""))).with_columns(
        pl.when(is_call).then("peer").otherwise(pl.lit("")).alias("peer"), pl.col("own_p50_ms").log().alias("log")
    )
    keys = ["service", "peer", "operation"]
    mean = (pl.col("log") * pl.col("count")).sum() / pl.col("count").sum()
    merged = timed.group_by(*keys, "at").agg(mean, pl.col("count").sum()).sort(*keys, "at")
    ways = []
    for (service, peer, operation), rows in merged.group_by(keys, maintain_order=True):
        logs, counts = np.full(times.size, np.nan), np.zeros(times.size, dtype=np.int64)
        columns = np.searchsorted(times, rows["at"].to_numpy())
        logs[columns], counts[columns] = rows["log"].to_numpy(), rows["count"].to_numpy()
        ways.append(Way(str(service), str(peer), str(operation), logs, counts))
    return tuple(ways)


def calls_of(book: Book | None, started: int, onset: int, ended: int, calm_since: int, graph: Graph) -> Calls:
    """Compare the buckets of an incident with normal ones and with those right before it.

    A report comes a bucket late, so the incident begins one before the report; right before it is what precedes a measured onset, too.
    """
    if book is None:
        return Calls()
    first = started // book.grain * book.grain - book.grain
    until = min(first, onset // book.grain * book.grain)
    last = max(ended, first + 3 * book.grain)
    during = np.flatnonzero((book.times >= first) & (book.times < last))
    if not during.size:
        return Calls()
    normal = _normal(book, first, last)
    since = max(until - BEFORE * book.grain, calm_since - book.grain // 2)
    before = np.flatnonzero((book.times < until) & (book.times >= since))
    lost, timed, matters = _lost(book.ways, during, normal)
    return Calls(lost, _broken(book.tallies, during, normal, before, graph), timed, matters)


def _normal(book: Book, first: int, last: int) -> Counts:
    other = (book.times < first) | (book.times >= last + AFTER * book.grain)
    chosen = np.flatnonzero(other & book.quiet)
    is_enough = chosen.size >= ENOUGH_QUIET
    if not is_enough:
        chosen = np.flatnonzero(other)
    apart = np.abs(book.times[chosen] - first)
    nearest = np.argsort(apart, kind="stable")[:MOST_NORMAL]
    if is_enough and chosen.size > MOST_NORMAL:
        furthest = int(apart[nearest[-1]])
        book.reach.note(first - furthest, first + furthest)
    else:
        book.reach.note(BEGINNING, END)
    return np.sort(chosen[nearest])


# --- time lost ---------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Delay:
    way: Way
    z: float
    added: float
    usual: float
    seen: float
    calls: int


def _lost(ways: tuple[Way, ...], during: Counts, normal: Counts) -> tuple[dict[str, Lost], frozenset[str], float]:
    delays = [found for way in ways if (found := _delay(way, during, normal)) is not None]
    edges: dict[tuple[str, str], list[_Delay]] = defaultdict(list)
    own: dict[str, list[_Delay]] = defaultdict(list)
    for delay in delays:
        if delay.way.peer:
            edges[delay.way.service, delay.way.peer].append(delay)
        else:
            own[delay.way.service].append(delay)
    troubled = {edge: _trouble(rows) for edge, rows in edges.items()}
    ends: dict[str, list[float]] = defaultdict(list)
    for (caller, callee), trouble in sorted(troubled.items()):
        ends[caller].append(trouble)
        ends[callee].append(trouble)
    consistent = {service: float(np.mean(found)) for service, found in ends.items()}
    parts: dict[str, list[tuple[float, _Delay]]] = defaultdict(list)
    for service, rows in own.items():
        parts[service] += [(delay.added * sure(delay.z), delay) for delay in rows]
    for (caller, callee), rows in sorted(edges.items()):
        mine, theirs = consistent[caller] ** 2, consistent[callee] ** 2
        at_callee = theirs / (mine + theirs) if mine + theirs > 0 else 0.5
        for delay in rows:
            loss = delay.added * sure(delay.z)
            parts[callee].append((loss * at_callee, delay))
            parts[caller].append((loss * (1 - at_callee), delay))
    total = sum(loss for rows in parts.values() for loss, _ in rows)
    timed = frozenset(parts)
    if total <= 0:
        return {}, timed, 0.0
    lost: dict[str, Lost] = {}
    for service, losses in sorted(parts.items()):
        added = sum(loss for loss, _ in losses)
        loss, worst = max(losses, key=lambda row: (row[0], row[1].z, row[1].way.operation))
        # A way counts as the trouble of its end only as far as it is attributed to it.
        z = worst.z if loss > 0.3 * worst.added * sure(worst.z) > 0 else 0.0
        lost[service] = Lost(added, added / total, z, worst.way.operation, worst.way.peer, worst.usual, worst.seen)
    usual = sum(delay.usual * delay.calls for delay in delays)
    return lost, timed, total / (total + SLIGHT * usual)


def _delay(way: Way, during: Counts, normal: Counts) -> _Delay | None:
    calls = way.counts[during]
    history = np.sort(way.logs[normal][np.isfinite(way.logs[normal])])
    if calls.sum() < FEWEST_CALLS or history.size < FEWEST_BUCKETS:
        return None
    seen = way.logs[during]
    known = np.isfinite(seen)
    level = float(np.average(seen[known], weights=calls[known]))
    low, centre, high = (float(value) for value in np.quantile(history, [0.25, 0.5, 0.75]))
    spread = max((high - low) / 2, high - centre, LEAST_SPREAD * QUARTILE) / QUARTILE
    usual, now = float(np.exp(centre)), float(np.exp(level))
    return _Delay(way, (level - centre) / spread, max(now - usual, 0.0) * int(calls.sum()), usual, now, int(calls.sum()))


def _trouble(rows: list[_Delay]) -> float:
    """How surely the calls of an edge lose time, in [0, 1]; the operations called most count most."""
    return float(np.average([sure(row.z) for row in rows], weights=[row.calls for row in rows]))


# --- operations that broke ---------------------------------------------------------------------------------------------------------------


def _broken(tallies: tuple[Tally, ...], during: Counts, normal: Counts, before: Counts, graph: Graph) -> dict[str, Broken]:
    best: dict[str, tuple[float, Shift, bool]] = {}
    for tally in tallies:
        earlier = {(row.service, row.whole, row.event): row for row in shifts(tally, before, normal)} if before.size else {}
        for row in shifts(tally, during, normal):
            was = earlier.get((row.service, row.whole, row.event))
            began_before = was is not None and abs(was.seen - row.usual) > 0.5 * abs(row.seen - row.usual)
            weight = _weight(row) * (BEGAN_BEFORE if began_before else 1.0)
            held = best.get(row.service)
            if held is None or (weight, row.evidence, row.whole, row.event) > (held[0], held[1].evidence, held[1].whole, held[1].event):
                best[row.service] = (weight, row, began_before)
    found = {}
    for service, (weight, row, began_before) in sorted(best.items()):
        # What began before the incident does not explain what begins with it, nor the other way round.
        at_once = {name for name, (_, _, before_too) in best.items() if before_too == began_before}
        below = {name for name, hops in graph.hops_down([service]).items() if 0 < hops <= REACH and name in at_once}
        cause = max(below, key=lambda name: (best[name][0], name), default="")
        explained = min(best[cause][0] / weight, 1.0) if cause and weight > 0 else 0.0
        found[service] = Broken(row, weight, began_before, cause, explained)
    return found


def _weight(row: Shift) -> float:
    """In [0, 1]: how sure it is that the share changed, and how far it did."""
    placed = UNPLACED if row.whole == RECORDS else 1.0
    return placed * float(1 - np.exp(-row.evidence / FULL_EVIDENCE)) * (0.4 + 0.6 * abs(row.seen - row.usual))
