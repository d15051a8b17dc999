"""Everything known about one environment, arranged for asking about one incident after another. Nothing crosses environments."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import polars as pl

from aftercast.correlation.calls import Book, book_of
from aftercast.correlation.graph import Graph
from aftercast.correlation.inputs import READ, Inputs
from aftercast.correlation.situation import Incident
from aftercast.correlation.telemetry import DAY, HOUR, Panel, panel_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RATE_HISTORY = 28 * DAY
RATE_PRIOR_HOURS = 72.0
LOUD = frozenset({"error", "fatal", "critical", "alert", "emergency"})


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // (datetime.resolution)


def clock(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment / 1e6, UTC):%H:%M}"


def iso(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment / 1e6, UTC):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True, slots=True)
class Change:
    """A change as the checks see it; times in microseconds."""

    change_id: str
    kind: str
    service: str
    region: str
    title: str
    started: int
    finished: int | None
    result: str
    version: str
    previous_version: str
    is_rollback: bool
    rolls_back: str
    attributes: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """One environment: its telemetry, calls, changes (oldest first), providers, alerts, logs and the customer journeys beside it."""

    environment: str
    as_of: int
    panel: Panel | None
    journeys: Panel | None
    journeys_of: Mapping[str, frozenset[str]]
    graph: Graph
    hints: Graph
    changes: tuple[Change, ...]
    by_service: Mapping[str, tuple[Change, ...]]
    providers: frozenset[str]
    services: frozenset[str]
    alerts: Mapping[str, tuple[int, ...]]
    patterns: Mapping[str, tuple[tuple[str, str, int, int], ...]]
    episodes: Mapping[str, tuple[tuple[int, int, float, str], ...]]
    book: Book | None = None

    def changes_between(self, start: int, end: int) -> tuple[Change, ...]:
        """Changes with start <= started <= end."""
        left = bisect_left(self.changes, start, key=lambda change: change.started)
        right = bisect_left(self.changes, end + 1, key=lambda change: change.started)
        return self.changes[left:right]

    def changes_per_hour(self, change: Change, onset: int) -> float:
        """How often this service is changed: its count over up to 28 days before the onset, this change left out.

        Shrunk towards the mean over all services with the weight of three days, so that a short history does not make a rate.
        """
        begin = max(self.changes[0].started, onset - RATE_HISTORY) if self.changes else onset
        hours = max(onset - begin, 0) / HOUR
        all_of_them = len(self.changes_between(begin, onset))
        usual = (all_of_them + 0.5) / (hours + 12.0) / max(len(self.services), 1)
        mine = sum(
            begin <= other.started <= onset and other.change_id != change.change_id for other in self.by_service.get(change.service, ())
        )
        return (mine + usual * RATE_PRIOR_HOURS) / (hours + RATE_PRIOR_HOURS)


def incidents_of(inputs: Inputs, as_of: datetime) -> list[Incident]:
    """Incidents that had begun by `as_of`, oldest first, with the services they name (origins first, without duplicates)."""
    roles: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for incident_id, service, role in inputs.incident_services.select("incident_id", "service", "role").unique().sort(pl.all()).iter_rows():
        if service:
            roles[incident_id].append((service, role or ""))
    found = []
    rows = inputs.incidents.filter(
        pl.col("started_at").is_not_null() & (pl.col("started_at") <= as_of) & ~pl.col("exclude_from_metrics").fill_null(value=False)
    )
    for row in rows.sort("started_at", "incident_id").iter_rows(named=True):
        named = roles.get(row["incident_id"], [])
        origins = tuple(service for service, role in named if role == "origin")
        services = dict.fromkeys(
            [*origins, *([row["service_origin"]] if row["service_origin"] else []), *(service for service, _ in named)]
        )
        ended = min(row["impact_end_at"] or as_of, as_of)
        found.append(
            Incident(
                row["incident_id"],
                row["title"] or "",
                row["environment"],
                row["region"],
                tuple(services),
                origins,
                row["trigger"] or "",
                micros(row["started_at"]),
                max(micros(ended), micros(row["started_at"])),
            )
        )
    return [replace(incident, calm_since=since) for incident, since in zip(found, _calm_since(found), strict=True)]


def _calm_since(incidents: list[Incident]) -> list[int]:
    """When the last incident of the same environment that was over by the start of each ended: trouble before that belongs to it."""
    over: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for one in incidents:
        over[one.environment].append((one.ended, one.started))
    ends = {environment: sorted(rows) for environment, rows in over.items()}
    return [_last_before(ends[one.environment], one.started) for one in incidents]


def _last_before(ends: list[tuple[int, int]], moment: int) -> int:
    """The latest end up to a moment of what had begun before it, of (end, start) in order; 0 when there is none."""
    place = bisect_right(ends, moment, key=lambda row: row[0])
    while place and ends[place - 1][1] >= moment:
        place -= 1
    return ends[place - 1][0] if place else 0


def surroundings_of(environment: str, inputs: Inputs, incidents: list[Incident], as_of: datetime) -> Surroundings:
    """Arrange what belongs to one environment. Points and changes at or after `as_of` are not seen."""
    here = pl.col("environment") == environment
    busy = [(incident.started, incident.ended) for incident in incidents if incident.environment == environment]
    graph = Graph.of_environment(inputs.dependencies, environment)
    changes = _changes(inputs.changes.filter(here & (pl.col("started_at") < as_of)))
    by_service: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        by_service[change.service].append(change)
    providers = frozenset(inputs.services.filter(pl.col("kind") == "provider")["service"].drop_nulls())
    panel = panel_of(inputs.metric_points.filter(here), busy, micros(as_of))
    measured = {series.service for series in panel.series} if panel else set()
    return Surroundings(
        environment,
        micros(as_of),
        panel,
        _journey_panel(inputs.kpi_points, busy, micros(as_of)),
        _journeys_of(inputs.journeys),
        graph,
        Graph.inferred_in(inputs.dependencies, environment),
        changes,
        {service: tuple(rows) for service, rows in by_service.items()},
        providers,
        frozenset(measured | graph.services | by_service.keys()) - {""},
        _alerts(inputs.alerts.filter(here & (pl.col("started_at") < as_of))),
        _patterns(inputs.log_patterns.filter(here & (pl.col("bucket") < as_of))),
        _episodes(inputs.anomalies.filter(here & (pl.col("subject_kind") == "service") & (pl.col("started_at") < as_of))),
        book_of(*told_in(environment, inputs, as_of), busy=busy),
    )


def told_in(environment: str, inputs: Inputs, as_of: datetime) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The rows of traces, events in spans and log patterns of one environment before `as_of`."""
    wanted = (pl.col("environment") == environment) & (pl.col("bucket") < as_of)
    return inputs.trace_red.filter(wanted), inputs.span_events.filter(wanted), inputs.log_patterns.filter(wanted)


def _changes(frame: pl.DataFrame) -> tuple[Change, ...]:
    rows = (
        frame.filter(pl.col("change_id").is_not_null())
        .sort("started_at", "change_id", *READ["changes"])
        .unique("change_id", keep="first", maintain_order=True)
    )
    return tuple(
        Change(
            row["change_id"],
            row["kind"],
            row["service"] or "",
            row["region"],
            row["title"] or "",
            micros(row["started_at"]),
            micros(row["finished_at"]) if row["finished_at"] else None,
            row["result"] or "",
            row["version"] or "",
            row["previous_version"] or "",
            bool(row["is_rollback"]) or row["kind"] == "rollback",
            row["rolls_back_change_id"] or "",
            row["attributes"],
        )
        for row in rows.iter_rows(named=True)
    )


def _journey_panel(points: pl.DataFrame, busy: list[tuple[int, int]], until: int) -> Panel | None:
    """Attempts and successes of each journey and region as series of a panel whose services are the journeys."""
    if not points.height:
        return None
    total = points.group_by("journey", "region", "bucket_at").agg(pl.col("attempts").sum(), pl.col("successes").sum())
    long = total.unpivot(
        ["attempts", "successes"], index=["journey", "region", "bucket_at"], variable_name="metric", value_name="value"
    ).select(
        pl.col("journey").alias("service"),
        "region",
        "metric",
        pl.lit("").alias("attributes"),
        pl.lit("counter").alias("kind"),
        pl.lit("").alias("unit"),
        "bucket_at",
        pl.col("value").cast(pl.Float64),
    )
    return panel_of(long, busy, until)


def _journeys_of(bridge: pl.DataFrame) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for journey, service in bridge.select("journey", "service").drop_nulls().iter_rows():
        found[service].add(journey)
    return {service: frozenset(journeys) for service, journeys in found.items()}


def _alerts(frame: pl.DataFrame) -> dict[str, tuple[int, ...]]:
    found: dict[str, list[int]] = defaultdict(list)
    for service, started in frame.select("service", "started_at").drop_nulls().sort("started_at").iter_rows():
        found[service].append(micros(started))
    return {service: tuple(moments) for service, moments in found.items()}


def _patterns(frame: pl.DataFrame) -> dict[str, tuple[tuple[str, str, int, int], ...]]:
    """Per service: (pattern, severity, bucket, count), oldest first."""
    found: dict[str, list[tuple[str, str, int, int]]] = defaultdict(list)
    known = frame.filter(pl.col("service").is_not_null() & pl.col("pattern").is_not_null() & pl.col("bucket").is_not_null())
    rows = known.select("service", "pattern", pl.col("severity").fill_null(""), "bucket", pl.col("count").fill_null(0))
    for service, pattern, severity, bucket, count in rows.sort("bucket", "pattern").iter_rows():
        found[service].append((pattern, severity.lower(), micros(bucket), count))
    return {service: tuple(entries) for service, entries in found.items()}


def _episodes(frame: pl.DataFrame) -> dict[str, tuple[tuple[int, int, float, str], ...]]:
    """Per service: (start, end, score, anomaly id) of hurting anomalies, oldest first."""
    found: dict[str, list[tuple[int, int, float, str]]] = defaultdict(list)
    rows = frame.filter(pl.col("hurts").fill_null(value=False) & pl.col("subject").is_not_null() & pl.col("started_at").is_not_null())
    for row in rows.sort("started_at", "anomaly_id").iter_rows(named=True):
        start = micros(row["started_at"])
        end = micros(row["ended_at"]) if row["ended_at"] else start
        found[row["subject"]].append((start, end, row["score"] or 0.0, row["anomaly_id"] or ""))
    return {service: tuple(entries) for service, entries in found.items()}
