"""The demo company as a source: a seeded simulation of a shop, its machines and its people (docs/demo_company.md).

The rows of a window depend on the window and the seed alone. Points are the same however time is cut; things that go on (incidents,
changes, alerts) come again with more filled in when something about them happened. What caused an incident is never extracted;
`truth` keeps it for benchmarks and tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import polars as pl

from aftercast.declarations import SourceRow
from aftercast.entities import ENTITIES
from aftercast.errors import ConfigError
from aftercast.settings import Settings
from aftercast.sources import Batch
from aftercast.sources.demo import business, lessons, records, reviews, telemetry
from aftercast.sources.demo.draws import BUCKETS, EPOCH, midnight
from aftercast.sources.demo.faults import faults_felt
from aftercast.sources.demo.physics import effects_of
from aftercast.window import DAY, Window

DEFAULT_SEED = 7
DAYS_PER_BATCH = 4
"""Points of this many days are handed over together: few files, little memory."""

POINTS = ("metric_points", "journey_kpis", "spans_red", "log_patterns")
RECORDS: dict[str, Callable[[int, Window], list[dict[str, Any]]]] = {
    "changes": records.change_rows,
    "alerts": records.alert_rows,
    "incidents": records.incident_rows,
    "incident_events": records.event_rows,
    "action_items": lambda seed, window: lessons.action_item_rows(seed, window.start, window.end),
    "postmortems": lambda seed, window: lessons.postmortem_rows(seed, window.start, window.end),
    "verdicts": lambda seed, window: [
        *lessons.verdict_rows(seed, window.start, window.end),
        *reviews.alarm_verdict_rows(seed, window.start, window.end),
    ],
    "insights": lambda seed, window: lessons.insight_rows(seed, window.start, window.end),
}
EXPECTED_SERIES = {"metric_points": len(telemetry.SERIES), "journey_kpis": business.LABELS.height}


@dataclass(frozen=True, slots=True)
class DemoSource:
    """The demo company seen by one seed."""

    seed: int
    entities: frozenset[str]

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield the rows of the window: points in batches of a few days, then the records of people and tools."""
        yield from self._points(window)
        if "service_edges" in self.entities:
            yield from self._edges(window)
        for entity, rows in RECORDS.items():
            if entity in self.entities:
                found = rows(self.seed, window)
                if found:
                    frame = pl.DataFrame(found, schema=dict(ENTITIES[entity].columns)).sort(ENTITIES[entity].key)
                    yield Batch(entity, frame, origin=f"demo {entity} {window}")

    def _points(self, window: Window) -> Iterator[Batch]:
        wanted = [entity for entity in POINTS if entity in self.entities]
        days = list(window.days()) if wanted else []
        for first in range(0, len(days), DAYS_PER_BATCH):
            part = days[first : first + DAYS_PER_BATCH]
            held: dict[str, list[pl.DataFrame]] = {entity: [] for entity in wanted}
            for day in part:
                for entity, frame in _day_points(self.seed, day.start.date(), wanted).items():
                    time = pl.col(ENTITIES[entity].time)
                    held[entity].append(frame if day.length == DAY else frame.filter((time >= day.start) & (time < day.end)))
            span = Window(part[0].start, part[-1].end)
            for entity, frames in held.items():
                expected = EXPECTED_SERIES[entity] * _buckets(span) if entity in EXPECTED_SERIES else None
                yield Batch(entity, pl.concat(frames), origin=f"demo {entity} {span}", expected=expected)

    def _edges(self, window: Window) -> Iterator[Batch]:
        closed = window.end.replace(minute=0, second=0, microsecond=0)
        hour = closed - timedelta(hours=1)
        if hour < window.start:
            return
        effects = effects_of(hour.date(), faults_felt(self.seed, midnight(hour.date()), midnight(hour.date()) + DAY))
        flows = business.day_flows(self.seed, hour.date(), effects)
        frame = telemetry.edge_rows(hour, telemetry.day_signals(self.seed, hour.date(), flows, effects))
        yield Batch("service_edges", frame, origin=f"demo service_edges {window}")


def _buckets(span: Window) -> int:
    """Count the buckets that start inside a span."""
    step = DAY / BUCKETS
    return (EPOCH - span.start) // step - (EPOCH - span.end) // step


def _day_points(seed: int, day: date, wanted: list[str]) -> dict[str, pl.DataFrame]:
    start = midnight(day)
    faults = faults_felt(seed, start, start + DAY)
    effects = effects_of(day, faults)
    flows = business.day_flows(seed, day, effects)
    frames = {}
    if "journey_kpis" in wanted:
        frames["journey_kpis"] = business.day_rows(seed, day, flows, undisturbed=not faults)
    if set(wanted) - {"journey_kpis"}:
        signals = telemetry.day_signals(seed, day, flows, effects)
        makers: dict[str, Callable[[], pl.DataFrame]] = {
            "metric_points": lambda: telemetry.metric_rows(seed, day, signals),
            "spans_red": lambda: telemetry.span_rows(day, signals),
            "log_patterns": lambda: telemetry.log_rows(seed, day, signals, faults),
        }
        frames.update({entity: make() for entity, make in makers.items() if entity in wanted})
    return {entity: frames[entity] for entity in wanted}


def open(row: SourceRow, settings: Settings) -> DemoSource:
    """Return the demo company of a row of sources.yml; its one option is `seed`.

    Raises:
        ConfigError: an unknown option, or a seed that is not a whole number from 0.
    """
    unknown = set(row.options) - {"seed"}
    if unknown:
        raise ConfigError(f"source {row.name!r}: unknown option(s) {', '.join(sorted(unknown))}; the demo knows only 'seed'")
    seed = row.options.get("seed", DEFAULT_SEED)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ConfigError(f"source {row.name!r}: seed must be a whole number from 0, got {seed!r}")
    return DemoSource(seed=seed, entities=frozenset(row.entities or (*POINTS, "service_edges", *RECORDS)))
