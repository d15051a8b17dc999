"""A small company with one planted incident whose every number is known; written as the files a team would drop into an inbox.

Four weeks, two regions, three services and a payment provider. On Thursday 24 September from 10:00 to 11:30 UTC a deploy of
`payments` breaks payments in the region eu: 42 % of its calls fail, its caller `web` passes most of it on, and 40 % of
would-be orders are lost. Titles, the summary and a line that is refused hold canaries, and every change was made by one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import yaml

from tests.canaries import PERSON, PROSE

START = datetime(2026, 8, 31, tzinfo=UTC)
END = datetime(2026, 9, 28, tzinfo=UTC)
ONSET = datetime(2026, 9, 24, 10, 0, tzinfo=UTC)
OVER = datetime(2026, 9, 24, 11, 30, tzinfo=UTC)
ORDER_MINOR = 4_000
CULPRIT = "deploy-77"
GRAIN = timedelta(minutes=5)

SOURCES = """
company: Planted World
history: {start: '2026-08-31', end: '2026-09-28'}
sources:
  - name: drop
    kind: files
    owner: tests
    entities: [metric_points, journey_kpis, changes, incidents, service_edges]
    options:
      inbox: inbox
      files:
        - {match: "metrics*.parquet", entity: metric_points}
        - match: "orders*.csv"
          entity: journey_kpis
          columns:
            journey: {const: checkout}
            step: {const: pay}
            region: area
            ts: at
            attempts: tries
            successes: paid
            revenue_minor: cents
            currency: money
        - {match: "changes*.jsonl", entity: changes}
        - {match: "incidents*.jsonl", entity: incidents}
        - {match: "edges*.csv", entity: service_edges}
"""
FILES = {
    "kpis": "orders.csv",
    "changes": "changes.jsonl",
    "incidents": "incidents.jsonl",
    "edges": "edges.csv",
    "metrics": "metrics.parquet",
}
JOURNEYS = """
journeys:
  - journey: checkout
    title: Checkout
    owner_team: shop
    currency: EUR
    slo_target: 0.95
    steps:
      - {step: pay, services: [web], earns: true}
"""
SIGNALS = """
signals:
  - {name: error_ratio, fact: metric, numerator: errors, denominator: requests, by: [service, region], hurts: up, minimum_effect: 0.01}
  - name: conversion
    fact: kpi
    numerator: successes
    denominator: attempts
    by: [journey, region]
    grain_minutes: 15
    hurts: down
    minimum_effect: 0.02
"""
REPORTS = "reports:\n  - {name: weekly}\n"
SERVICES = """service,kind,team,criticality
web,service,shop,critical
payments,service,payments,critical
search,service,search,low
paypoint,provider,payments,critical
"""
DEPENDENCIES = "caller,callee\nweb,payments\nweb,search\npayments,paypoint\n"


@dataclass(frozen=True, slots=True)
class Truth:
    """What was planted."""

    lost_revenue: float
    revenue: float
    orders: int
    kpi_rows: int
    metric_rows: int
    changes: int


def _times() -> np.ndarray:
    steps = int((END - START) / GRAIN)
    return np.array([START + index * GRAIN for index in range(steps)])


def _level(times: np.ndarray) -> np.ndarray:
    hour = np.array([t.hour + t.minute / 60 for t in times])
    weekend = np.array([t.weekday() >= 5 for t in times])
    return (1 + 0.6 * np.sin((hour - 9) / 24 * 2 * np.pi)) * np.where(weekend, 0.8, 1.0)


def separate(config: Path, inbox: Callable[[str], str]) -> None:
    """Declare a source for each file of `FILES` instead of one for all; `inbox` says where the file of a source lies."""
    declared = yaml.safe_load(SOURCES)
    (drop,) = declared["sources"]
    declared["sources"] = []
    for name, file in FILES.items():
        (one,) = [one for one in drop["options"]["files"] if Path(file).match(one["match"])]
        options = {"inbox": inbox(name), "files": [one]}
        declared["sources"].append({**drop, "name": name, "entities": [one["entity"]], "options": options})
    (config / "sources.yml").write_text(yaml.safe_dump(declared))


def plant(home: Path) -> Truth:
    """Write the configuration to `home/config` and the files to `home/inbox`; return what was planted."""
    random = np.random.default_rng(20260924)
    times = _times()
    level = _level(times)
    inside = np.array([ONSET <= t < OVER for t in times])
    inbox, config = home / "inbox", home / "config"
    (config / "catalog").mkdir(parents=True)
    inbox.mkdir()
    for name, text in {
        "sources.yml": SOURCES,
        "journeys.yml": JOURNEYS,
        "signals.yml": SIGNALS,
        "reports.yml": REPORTS,
        "catalog/services.csv": SERVICES,
        "catalog/dependencies.csv": DEPENDENCIES,
    }.items():
        (config / name).write_text(text)

    lost = 0.0
    orders = []
    for region, size in (("eu", 120.0), ("us", 90.0)):
        tries = random.poisson(size * level)
        paid = random.binomial(tries, 0.96)
        if region == "eu":
            kept = random.binomial(paid, np.where(inside, 0.6, 1.0))
            lost = float((paid - kept).sum()) * ORDER_MINOR / 100
            paid = kept
        orders.append(
            pl.DataFrame(
                {
                    "area": region,
                    "at": [t.isoformat() for t in times],
                    "tries": tries,
                    "paid": paid,
                    "cents": paid * ORDER_MINOR,
                    "money": "EUR",
                }
            )
        )
    kpis = pl.concat(orders)
    damaged = [
        "eu,2026-09-25T10:00:00,5,5,20000,EUR",  # a time without zone
        "eu,2026-09-25T10:00:00+00:00,-5,5,20000,EUR",  # negative
        "eu,2026-09-25T10:05:00+00:00,many,5,20000,EUR",  # not a number
        "eu,2026-09-25T10:05:00+00:00,9,5,20000,USD",  # another currency
    ]
    first = kpis.row(0)
    duplicate = ",".join(map(str, first))
    (inbox / "orders.csv").write_text(kpis.write_csv() + "\n".join([*damaged, duplicate]) + "\n")

    metrics = []
    for service, size in (("web", 400.0), ("payments", 200.0), ("search", 250.0), ("paypoint", 180.0)):
        for region in ("eu", "us"):
            requests = random.poisson(size * level)
            ratio = np.full(len(times), 0.004)
            if region == "eu":
                ratio = np.where(inside, {"payments": 0.42, "web": 0.25}.get(service, 0.004), ratio)
            errors = random.binomial(requests, ratio)
            for metric, values in (("requests", requests), ("errors", errors)):
                metrics.append(
                    pl.DataFrame({"service": service, "region": region, "metric": metric, "ts": list(times), "value": values.astype(float)})
                    .with_columns(kind=pl.lit("counter"), unit=pl.lit("1"), environment=pl.lit("production"))
                    .with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC")))
                )
    points = pl.concat(metrics)
    points.write_parquet(inbox / "metrics.parquet")

    changes = []
    for index in range(80):
        service = ("web", "search", "payments")[index % 3]
        at = START + timedelta(minutes=int(random.integers(0, 27 * 1440)))
        if ONSET - timedelta(hours=6) < at < OVER:
            at -= timedelta(hours=12)
        changes.append((f"deploy-{index + 100}", "deploy", service, at, f"v{index}"))
    changes.append((CULPRIT, "deploy", "payments", ONSET - timedelta(minutes=4), "v900"))
    changes.append(("deploy-78", "deploy", "search", ONSET - timedelta(minutes=9), "v901"))
    (inbox / "changes.jsonl").write_text(
        "".join(
            json.dumps(
                {
                    "change_id": name,
                    "kind": kind,
                    "service": service,
                    "environment": "production",
                    "started_at": at.isoformat(),
                    "finished_at": (at + timedelta(minutes=2)).isoformat(),
                    "result": "success",
                    "version": version,
                    "title": f"Deploy {service} {version}, ask {PROSE}",
                    "actor_token": PERSON,
                }
            )
            + "\n"
            for name, kind, service, at, version in changes
        )
    )
    incident = {
        "incident_id": "INC-1",
        "title": "Orders fail in Europe, ask ann.canary@shop.example",
        "summary": f"Seen by {PROSE}",
        "severity": "sev1",
        "status": "resolved",
        "mode": "real",
        "services": ["web"],
        "environment": "production",
        "region": "eu",
        "started_at": (ONSET + timedelta(minutes=3)).isoformat(),
        "detected_at": (ONSET + timedelta(minutes=6)).isoformat(),
        "acknowledged_at": (ONSET + timedelta(minutes=9)).isoformat(),
        "mitigated_at": OVER.isoformat(),
        "resolved_at": (OVER + timedelta(minutes=30)).isoformat(),
        "detection_method": "monitor",
        "updated_at": (OVER + timedelta(minutes=30)).isoformat(),
    }
    (inbox / "incidents.jsonl").write_text(json.dumps(incident) + f"\n{{not json {PROSE}\n")
    (inbox / "edges.csv").write_text(
        "environment,caller,callee,kind,first_seen,last_seen,calls\n"
        + "".join(
            f"production,{caller},{callee},spans,2026-08-31T00:00:00Z,2026-09-27T23:55:00Z,1000\n"
            for caller, callee in (("web", "payments"), ("web", "search"), ("payments", "paypoint"))
        )
    )
    return Truth(
        lost_revenue=lost,
        revenue=float(kpis["cents"].sum()) / 100,
        orders=int(kpis["paid"].sum()),
        kpi_rows=kpis.height,
        metric_rows=points.height,
        changes=len(changes),
    )
