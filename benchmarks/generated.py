"""A generated company of any size, written straight into a landing folder: services in a tree of calls, eight series each at five
minutes, journeys with revenue, changes, alerts and incidents in which a service fails and takes its callers with it.

For benchmarks of volume. Nothing passes through an extract: what an extract costs is measured by `benchmarks.landing`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from aftercast.entities import ENTITIES
from aftercast.landing import coverage, storage
from aftercast.landing.slices import slice_label, slice_path
from aftercast.settings import PROJECT, Settings
from aftercast.window import DAY, Window

START = datetime(2026, 6, 1, tzinfo=UTC)
SOURCE = "generated"
GRAIN = timedelta(minutes=5)
BUCKETS_A_DAY = 288
METRICS = {
    "requests": ("counter", "", 1000.0),
    "errors": ("counter", "", 3.0),
    "latency_p50_ms": ("gauge", "ms", 40.0),
    "latency_p95_ms": ("gauge", "ms", 120.0),
    "saturation_ratio": ("gauge", "", 0.4),
    "memory_usage": ("gauge", "bytes", 5e8),
    "queue_depth": ("gauge", "", 12.0),
    "restarts": ("counter", "", 0.0),
}
JOURNEYS = ("browse", "order", "pay", "return")
REGIONS = ("eu", "us")
CONFIG_FILES = ("signals.yml", "detectors.yml", "rankers.yml", "reports.yml")


@dataclass(frozen=True, slots=True)
class Company:
    """How large the generated company is.

    Attributes:
        services: services in the tree; each has eight series.
        start: first moment of its history.
        end: last moment, exclusive.
        incidents_a_day: how many incidents it declares a day, on average.
        seed: of everything random; a day's rows depend on the day alone, so that a longer history begins as a shorter one.
    """

    services: int
    start: datetime
    end: datetime
    incidents_a_day: float = 0.0
    seed: int = 7

    @classmethod
    def of_points(cls, points: int, *, series: int = 1600, incidents: int = 0, seed: int = 7) -> Company:
        """Return a company with about so many metric points, in whole hours."""
        services = max(series // len(METRICS), 2)
        buckets = max(round(points / (services * len(METRICS)) / 12), 1) * 12
        length = buckets * GRAIN
        return cls(services, START, START + length, incidents * DAY / length, seed)

    @property
    def names(self) -> list[str]:
        """Names of the services; each but the first is called by the one a third of its number."""
        return [f"service-{number:04}" for number in range(self.services)]

    @property
    def window(self) -> Window:
        """The whole history."""
        return Window(self.start, self.end)

    def longer(self, by: timedelta) -> Company:
        """Return the same company some time later."""
        return Company(self.services, self.start, self.end + by, self.incidents_a_day, self.seed)

    def days(self) -> Iterator[date]:
        """The days of its history."""
        for number in range(-(-(self.end - self.start) // DAY)):
            yield (self.start + number * DAY).date()

    def _incidents_on(self, day: date) -> pl.DataFrame:
        """Incidents of a day: a service, an onset, a length in minutes."""
        chance = np.random.default_rng([self.seed, day.toordinal(), 1])
        n = int(self.incidents_a_day) + int(chance.random() < self.incidents_a_day % 1)
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return pl.DataFrame(
            {
                "number": chance.integers(0, self.services, n),
                "started_at": [midnight + timedelta(minutes=int(minute)) for minute in chance.integers(0, 1300, n)],
                "minutes": chance.integers(15, 90, n),
            },
            schema={"number": pl.Int64, "started_at": pl.Datetime("us", "UTC"), "minutes": pl.Int64},
        )


def write_config(company: Company, folder: Path) -> None:
    """Write the declarations of the company: what it watches is what the embedded configuration watches."""
    (folder / "catalog").mkdir(parents=True, exist_ok=True)
    for name in CONFIG_FILES:
        (folder / name).write_text((PROJECT / "config" / name).read_text())
    source = {"name": SOURCE, "kind": "files", "options": {"inbox": "inbox", "files": [{"match": "*.jsonl", "entity": "metric_points"}]}}
    history = {"start": f"{company.start:%Y-%m-%d}", "end": f"{company.start + timedelta(days=2000):%Y-%m-%d}"}
    (folder / "sources.yml").write_text(json.dumps({"company": "Generated company", "history": history, "sources": [source]}))
    steps = [{"step": "buy", "services": company.names[:3], "earns": True}]
    shared = {"owner_team": "core", "currency": "EUR", "grain_minutes": 5, "slo_target": 0.95, "slo_window_days": 28, "steps": steps}
    (folder / "journeys.yml").write_text(
        json.dumps({"journeys": [{"journey": name, "title": name.title(), **shared} for name in JOURNEYS]})
    )
    rows = [f"{name},service,{name},core,high,https://runbooks.example/{name}" for name in company.names]
    (folder / "catalog" / "services.csv").write_text("\n".join(["service,kind,title,team,criticality,runbook", *rows, ""]))
    edges = [f"{company.names[(number - 1) // 3]},{company.names[number]}" for number in range(1, company.services)]
    (folder / "catalog" / "dependencies.csv").write_text("\n".join(["caller,callee", *edges, ""]))
    (folder / "catalog" / "teams.csv").write_text("team,title,channel,on_call\ncore,Core,#core,https://on-call.example/core\n")


def land(company: Company, settings: Settings, *, since: datetime | None = None, ingested_at: datetime = START) -> int:
    """Write the days of the company from `since` on (all by default) as landed files; return the metric points written."""
    written = 0
    for day in company.days():
        if since is not None and datetime(day.year, day.month, day.day, tzinfo=UTC) + DAY <= since:
            continue
        for entity, frame in _day(company, day).items():
            _write(settings, company, entity, day, frame, ingested_at)
            written += frame.height if entity == "metric_points" else 0
    for entity in ("metric_points", "journey_kpis", "changes", "incidents", "alerts"):
        counts = {"expected": None, "received": 1, "rejected": 0, "duplicate": 0, "late": 0, "landed": 1}
        coverage.record(settings, SOURCE, entity, company.window, in_pieces=False, counts=counts, watermark=company.end, reasons={})
    return written


def _write(settings: Settings, company: Company, entity: str, day: date, frame: pl.DataFrame, ingested_at: datetime) -> None:
    schema = ENTITIES[entity].schema
    lineage = {"source": pl.lit(SOURCE), "source_id": pl.lit(""), "ingested_at": pl.lit(ingested_at, pl.Datetime("us", "UTC"))}
    absent = {name: pl.lit(None, kind) for name, kind in schema.items() if name not in frame.columns and name not in lineage}
    rows = frame.with_columns(**lineage, **absent).select(pl.col(name).cast(kind) for name, kind in schema.items())
    storage.write(
        slice_path(settings, entity, SOURCE, day, slice_label(Window(START, START + 4000 * DAY), day)), rows, ignore=["ingested_at"]
    )


def _day(company: Company, day: date) -> dict[str, pl.DataFrame]:
    chance = np.random.default_rng([company.seed, day.toordinal()])
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    times = pl.datetime_range(midnight, midnight + DAY, GRAIN, closed="left", eager=True)
    known = (times < company.end).to_numpy()
    minute = np.arange(BUCKETS_A_DAY) * 5
    rhythm = 1 + 0.3 * np.sin(minute * 2 * np.pi / 1440)
    incidents = company._incidents_on(day)
    hurt = np.zeros((company.services, BUCKETS_A_DAY))
    for number, started_at, minutes in incidents.iter_rows():
        first, share = int((started_at - midnight).total_seconds()) // 60, 0.3
        during, at = (minute >= first) & (minute < first + minutes), number
        while share > 0.02:
            hurt[at, during] = np.maximum(hurt[at, during], share)
            if at == 0:
                break
            at, share = (at - 1) // 3, share / 3
    parts = []
    for metric, (kind, unit, level) in METRICS.items():
        values = level * rhythm * np.exp(0.05 * chance.standard_normal((company.services, BUCKETS_A_DAY)))
        if metric == "errors":
            values += 1000 * rhythm * hurt
        elif metric.startswith("latency"):
            values *= 1 + 3 * hurt
        parts.append((metric, kind, unit, np.round(values, 4)[:, known].ravel()))
    n = int(known.sum())
    names = pl.Series(company.names)
    points = pl.concat(
        pl.DataFrame(
            {
                "service": names.gather(np.repeat(np.arange(company.services), n)),
                "metric": pl.Series([metric]).new_from_index(0, company.services * n),
                "ts": pl.concat([times.filter(known)] * company.services),
                "value": values,
            }
        ).with_columns(kind=pl.lit(kind), unit=pl.lit(unit), environment=pl.lit("production"), region=pl.lit(""), attributes=pl.lit(""))
        for metric, kind, unit, values in parts
    )
    return {
        "metric_points": points,
        "journey_kpis": _kpis(chance, times, rhythm, hurt[:3].max(axis=0)).filter(pl.col("ts") < company.end),
        "changes": _changes(company, chance, midnight),
        "incidents": _incidents(company, incidents),
    }


def _kpis(chance: np.random.Generator, times: pl.Series, rhythm: np.ndarray, hurt: np.ndarray) -> pl.DataFrame:
    parts = []
    for journey in JOURNEYS:
        for region in REGIONS:
            attempts = chance.poisson(200 * rhythm)
            successes = chance.binomial(attempts, 0.97 * (1 - hurt))
            parts.append(
                pl.DataFrame({"ts": times, "attempts": attempts, "successes": successes, "revenue_minor": successes * 2500}).with_columns(
                    journey=pl.lit(journey),
                    step=pl.lit("buy"),
                    region=pl.lit(region),
                    currency=pl.lit("EUR"),
                    tier=pl.lit(""),
                    plan=pl.lit(""),
                    country=pl.lit(""),
                )
            )
    return pl.concat(parts)


def _changes(company: Company, chance: np.random.Generator, midnight: datetime) -> pl.DataFrame:
    n = max(company.services * 3 // 7, 1)
    rows = pl.DataFrame({"number": chance.integers(0, company.services, n), "minute": chance.integers(0, 1440, n)})
    return rows.select(
        change_id=pl.format("chg-{}-{}", pl.lit(f"{midnight:%Y%m%d}"), pl.int_range(pl.len())),
        kind=pl.lit("deploy"),
        service=pl.lit(pl.Series(company.names)).gather(pl.col("number")),
        environment=pl.lit("production"),
        region=pl.lit(""),
        title=pl.lit("Release"),
        started_at=pl.lit(midnight, pl.Datetime("us", "UTC")) + pl.duration(minutes=pl.col("minute")),
        result=pl.lit("success"),
    ).filter(pl.col("started_at") < company.end)


def _incidents(company: Company, incidents: pl.DataFrame) -> pl.DataFrame:
    ends = pl.col("started_at") + pl.duration(minutes=pl.col("minutes"))
    return incidents.select(
        incident_id=pl.format("INC-{}-{}", pl.col("started_at").dt.strftime("%Y%m%d"), pl.int_range(pl.len())),
        title=pl.format("Errors in service {}", pl.col("number")),
        severity=pl.lit("sev2"),
        status=pl.lit("resolved"),
        mode=pl.lit("real"),
        services=pl.concat_list(pl.lit(pl.Series(company.names)).gather(pl.col("number"))),
        environment=pl.lit("production"),
        region=pl.lit(""),
        started_at="started_at",
        detected_at=pl.col("started_at") + pl.duration(minutes=5),
        declared_at=pl.col("started_at") + pl.duration(minutes=7),
        mitigated_at=ends,
        resolved_at=ends + pl.duration(minutes=10),
        updated_at=ends + pl.duration(minutes=10),
    ).filter(pl.col("updated_at") < company.end)
