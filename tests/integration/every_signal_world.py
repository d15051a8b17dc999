"""A shop that fails for ninety minutes, as five real systems and two answering ones would tell of it.

Two weeks, three services, one bad deployment of payments on the second Thursday. What each system is asked for is in SOURCES; what was
planted, and so must be found again, is returned by the functions that plant it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from tests.unit import tracker_fixture
from tests.unit.test_source_github import REPOSITORY, GitHub, shipped
from tests.unit.test_source_pagerduty import PagerDuty, entry, incident, reference

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
START, END = datetime(2026, 8, 30, tzinfo=UTC), datetime(2026, 9, 14, tzinfo=UTC)
ONSET, OVER = datetime(2026, 9, 10, 10, tzinfo=UTC), datetime(2026, 9, 10, 11, 30, tzinfo=UTC)
BUCKET = 5 * MINUTE
BUCKETS = (END - START) // BUCKET
PRICE = 40
SERVICES = {"frontend": 400.0, "payments": 200.0, "search": 250.0}
FAILING = {"frontend": 0.2, "payments": 0.35}
DEPLOYED_EVERY = 9 * 60 * MINUTE
CULPRIT_AT = ONSET - 6 * MINUTE
ALERT = {"alertname": "CheckoutFails", "service": "frontend", "severity": "page"}
ALERTED = (ONSET + 2 * MINUTE, OVER + 3 * MINUTE)
PROBE = {"alertname": "CheckoutProbeFails", "service": "frontend", "severity": "page"}

SOURCES = f"""
company: Every Signal
history: {{start: '{START:%Y-%m-%d}', end: '{END:%Y-%m-%d}'}}
sources:
  - name: monitoring
    kind: prometheus
    connection: monitoring
    entities: [metric_points, alerts]
    max_window_days: 5
    options:
      step_seconds: 300
      queries:
        - {{metric: requests, counter: http_requests_total, unit: "1"}}
        - {{metric: errors, counter: 'http_requests_total{{code=~"5.."}}', of: http_requests_total, unit: "1"}}
        - {{metric: latency, buckets: http_request_duration_seconds_bucket, quantiles: [0.95], scale: 1000, unit: ms}}
      alerts: true
  - name: pages
    kind: alertmanager
    connection: pages
    entities: [alerts]
  - name: shop_db
    kind: sql
    connection: shop_db
    entities: [journey_kpis]
    max_window_days: 4
    options:
      queries:
        - entity: journey_kpis
          bucket_minutes: 5
          sql: |
            select date_bin('5 minutes', ordered_at, timestamptz 'epoch') as bucket, count(*) as tried,
                count(*) filter (where paid) as paid, coalesce(sum(amount) filter (where paid), 0) * 100 as cents
            from orders
            where ordered_at >= :start and ordered_at < :end
            group by 1
          columns:
            journey: {{const: checkout}}
            step: {{const: pay}}
            ts: bucket
            attempts: tried
            successes: paid
            revenue_minor: cents
            currency: {{const: EUR}}
  - name: telemetry
    kind: otlp
    entities: [metric_points, log_patterns, spans_red, service_edges]
    max_window_days: 3
    options: {{inbox: inbox/telemetry}}
  - name: deployments
    kind: github
    connection: deployments
    entities: [changes]
    options:
      repositories: [{REPOSITORY}]
      service: {{at: payload.service}}
  - name: pagers
    kind: pagerduty
    connection: pagers
    entities: [incidents, incident_events]
    options: {{changes: null}}
"""
CONFIGURATION = {
    "sources.yml": SOURCES,
    "journeys.yml": """
journeys:
  - journey: checkout
    title: Checkout
    owner_team: shop
    currency: EUR
    slo_target: 0.9
    steps: [{step: pay, services: [frontend], earns: true}]
""",
    "signals.yml": """
signals:
  - {name: error_ratio, fact: metric, numerator: errors, denominator: requests, by: [service], hurts: up, minimum_effect: 0.01}
  - {name: requests, fact: metric, value: requests, by: [service], hurts: down}
  - {name: latency_p95_ms, fact: metric, value: latency_p95_ms, aggregate: mean, by: [service], hurts: up, minimum_effect: 5}
  - {name: saturation_ratio, fact: metric, value: saturation_ratio, aggregate: mean, by: [service], hurts: up, minimum_effect: 0.1}
  - name: conversion
    fact: kpi
    numerator: successes
    denominator: attempts
    by: [journey]
    grain_minutes: 15
    hurts: down
    minimum_effect: 0.02
""",
    "reports.yml": "reports:\n  - {name: weekly}\n",
    # Who calls whom is declared nowhere: spans must tell.
    "catalog/services.csv": "service,kind,team,criticality\n"
    "frontend,service,shop,critical\npayments,service,money,critical\nsearch,service,shop,low\ndb,store,money,critical\n",
    "catalog/aliases.csv": "kind,alias,name\nservice,Checkout (frontend),frontend\nservice,postgresql/orders,db\n",
}


def configure(folder: Path) -> None:
    """Write the configuration."""
    (folder / "catalog").mkdir(parents=True)
    for name, text in CONFIGURATION.items():
        (folder / name).write_text(text)


def every(since: datetime, until: datetime, step: timedelta) -> list[datetime]:
    """Moments from one to another, its end excluded."""
    return [since + number * step for number in range((until - since) // step)]


def level_at(moments: Iterable[datetime]) -> np.ndarray:
    """How busy the shop is: a wave a day."""
    hours = np.array([(moment - START) / timedelta(hours=1) for moment in moments])
    return 1 + 0.5 * np.sin((hours - 9) / 24 * 2 * np.pi)


def _inside(moments: Iterable[datetime]) -> np.ndarray:
    return np.array([ONSET <= moment < OVER for moment in moments])


def _series(name: str, labels: dict[str, str], moments: list[datetime], values: Iterable[float]) -> list[str]:
    text = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return [f"{name}{{{text}}} {value:.0f} {moment.timestamp():.0f}" for moment, value in zip(moments, values, strict=True)]


def history() -> tuple[str, dict[str, int]]:
    """Return what Prometheus scraped every minute, an hour more on both sides, and how many requests and errors of the window that are."""
    random = np.random.default_rng(20260910)
    moments = every(START - 60 * MINUTE, END + 60 * MINUTE, MINUTE)
    level, inside = level_at(moments), _inside(moments)
    counted = np.array([START <= moment < END for moment in moments])
    scraped = [moment + MINUTE for moment in moments]  # what happened in a minute is seen at its end
    requests, planted = ["# TYPE http_requests counter"], {"requests": 0, "errors": 0}
    latency = ["# TYPE http_request_duration_seconds histogram"]
    for service, size in SERVICES.items():
        lost = np.where(inside & (service in FAILING), 0.7, 1.0)
        seen = random.poisson(size * level * lost)
        failed = random.binomial(seen, np.where(inside, FAILING.get(service, 0.005), 0.005))
        planted["requests"] += int(seen[counted].sum())
        planted["errors"] += int(failed[counted].sum())
        for code, values in (("200", seen - failed), ("500", failed)):
            requests += _series("http_requests_total", {"service": service, "code": code}, scraped, values.cumsum())
        if service == "payments":
            slow = random.binomial(seen, np.where(inside, 0.3, 0.02))
            for bound, values in (("0.1", seen - slow), ("1.0", seen), ("+Inf", seen)):
                labels = {"service": service, "le": bound}
                latency += _series("http_request_duration_seconds_bucket", labels, scraped, values.cumsum())
    firing = every(*ALERTED, MINUTE)
    since = [ALERTED[0].timestamp()] * len(firing)
    text = [
        *requests,
        *latency,
        "# TYPE up gauge",
        *_series("up", {"job": "shop"}, scraped, [1] * len(scraped)),
        "# TYPE ALERTS gauge",
        *_series("ALERTS", {"alertstate": "firing", **ALERT}, firing, [1] * len(firing)),
        "# TYPE ALERTS_FOR_STATE gauge",
        *_series("ALERTS_FOR_STATE", ALERT, firing, since),
        "# EOF",
        "",
    ]
    return "\n".join(text), planted


def scraped(folder: Path, promtool: str) -> dict[str, int]:
    """Write the history as blocks below `folder`/data; what was planted."""
    text, planted = history()
    (folder / "history.txt").write_text(text)
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=400h", str(folder / "history.txt")]
    subprocess.run([*command, str(folder / "data")], check=True, capture_output=True)
    return planted


def listed() -> list[dict[str, Any]]:
    """The alerts Alertmanager is told of: one that Prometheus knows as well, one from a probe, both still active."""
    forever = "2099-01-01T00:00:00Z"
    return [
        {"labels": labels, "startsAt": since.isoformat(), "endsAt": forever}
        for labels, since in ((ALERT, ALERTED[0]), (PROBE, ONSET + 4 * MINUTE))
    ]


@dataclass(frozen=True)
class Sold:
    """What the shop sold, and what it would have sold besides."""

    attempts: int
    orders: int
    lost: float


def sell(dsn: str) -> Sold:
    """Fill the table of orders: in the outage fewer are tried, and of those many are not paid."""
    random = np.random.default_rng(20260910)
    moments = every(START, END, MINUTE)
    wished = random.poisson(8 * level_at(moments))
    payable = random.binomial(wished, 0.95)
    inside = _inside(moments)
    tried = np.where(inside, random.binomial(wished, 0.8), wished)
    paid = np.where(inside, random.binomial(np.minimum(payable, tried), 0.6), payable)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "create table orders (id bigserial primary key, ordered_at timestamptz not null, paid boolean not null, amount numeric(12, 2))"
        )
        with connection.cursor().copy("copy orders (ordered_at, paid, amount) from stdin") as copy:
            for moment, attempts, orders in zip(moments, tried, paid, strict=True):
                for number in range(attempts):
                    copy.write_row((moment + timedelta(seconds=number), bool(number < orders), PRICE))
    return Sold(int(tried.sum()), int(paid.sum()), float((payable - paid).sum() * PRICE))


def deployed() -> tuple[GitHub, str]:
    """Return GitHub with a deployment every few hours, and the id of the bad one."""
    routine = [moment for moment in every(START, END, DEPLOYED_EVERY) if abs(moment - ONSET) > 4 * 60 * MINUTE]
    moments = [(moment, ("frontend", "search", "payments")[number % 3]) for number, moment in enumerate(routine)]
    moments = sorted([*moments, (CULPRIT_AT, "payments")])
    records = [
        shipped(number, minutes(moment), payload={"service": service}, description=f"Deploy {service} {number}")
        for number, (moment, service) in enumerate(moments, start=1)
    ]
    culprit = 1 + [moment for moment, _ in moments].index(CULPRIT_AT)
    return GitHub(records), f"{REPOSITORY}/deployments/{culprit}"


def paged() -> PagerDuty:
    """Return PagerDuty with the incident, as a person acknowledged and resolved it."""
    service = PagerDuty()
    began, over = minutes(ONSET + 3 * MINUTE), minutes(OVER)
    at = tracker_fixture.clock
    record = incident("PINC", began, title="Orders fail", service=reference("PFRONT", "Checkout (frontend)"), status="resolved")
    service.add(
        record | {"resolved_at": at(over), "updated_at": at(over)},
        entry("L1", "trigger", began, "inbound_integration", event_details={"description": "payments answers 500"}),
        entry("L2", "acknowledge", began + 5),
        entry("L3", "annotate", began + 40, channel={"summary": "ask jane@acme.test about the pool of connections"}),
        entry("L4", "resolve", over),
    )
    return service


def minutes(moment: datetime) -> float:
    """A moment as the fixtures of the trackers count it."""
    return (moment - tracker_fixture.START) / MINUTE
