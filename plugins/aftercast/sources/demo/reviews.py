"""What the on-call says of a week's alarms: every Monday somebody goes through a few series and calls an alarm real or noise.

People judge by what they know: alarms on a service that looked sick during a declared incident were worth ringing, alarms far from any
incident were noise. They name a series and a span, as they see it in a chart, and miss what nobody declared. Series are named as the
default configuration's signals.yml names them; a verdict on a series nobody watches judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from aftercast.sources.demo.company import REGIONS
from aftercast.sources.demo.draws import Stream, generator, token, week_of, week_start, whole_seconds
from aftercast.sources.demo.response import Response, responses_near

Row = dict[str, Any]
Span = tuple[datetime, datetime]

REVIEWED = {
    "latency_p95_ms": ("gateway", "checkout", "payments", "wallet", "subscriptions", "catalog", "pricing", "bets", "orders-db"),
    "error_ratio": ("gateway", "checkout", "payments"),
    "requests": ("gateway", "pricing"),
}
SHARE = 0.7  # of the series, each Monday
MEETS_AT = timedelta(hours=9, minutes=30)
BEFORE, AFTER = timedelta(hours=1), timedelta(hours=2)  # this near an incident nobody calls an alarm noise
WORTH_NAMING = timedelta(hours=8)  # shorter quiet spells are not


def alarm_verdict_rows(seed: int, start: datetime, end: datetime) -> list[Row]:
    """Return the verdicts on alarms given in [start, end), the Mondays after the weeks they are about."""
    weeks = range(week_of(start) - 1, week_of(end) + 1)
    return [row for week in weeks for row in _review(seed, week) if start <= row["decided_at"] < end]


def _review(seed: int, week: int) -> Iterator[Row]:
    begin, end = week_start(week), week_start(week + 1)
    incidents = [one for one in responses_near(seed, begin, end) if one.started_at < end and one.mitigated_at > begin]
    quiet = list(_quiet(incidents, begin, end))
    places = [(signal, service, region) for signal, services in REVIEWED.items() for service in services for region in REGIONS]
    for number, (signal, service, region) in enumerate(places):
        chance = generator(seed, Stream.REVIEW, week, number)
        if chance.random() > SHARE:
            continue
        series = f"{signal}|environment=production|service={service}|region={region}"
        decided_at = whole_seconds(end + MEETS_AT + timedelta(minutes=float(chance.uniform(0, 60))))
        author = f"person-{token(seed, 'person', int(chance.integers(48)))}"
        sick = [(one.started_at, one.mitigated_at) for one in incidents if service in one.services and one.region in ("", region)]
        for verdict, spans in (("confirm", sick), ("reject", quiet)):
            for span in spans:
                yield _row(seed, series, span, verdict, decided_at, author)


def _quiet(incidents: list[Response], begin: datetime, end: datetime) -> Iterator[Span]:
    """Yield the spells of a week that lie far from every incident anybody knows of, in order."""
    since = begin
    for one in sorted(incidents, key=lambda incident: incident.started_at):
        if one.started_at - BEFORE - since >= WORTH_NAMING:
            yield since, one.started_at - BEFORE
        since = max(since, one.mitigated_at + AFTER)
    if end - since >= WORTH_NAMING:
        yield since, end


def _row(seed: int, series: str, span: Span, verdict: str, decided_at: datetime, author: str) -> Row:
    begin, end = (f"{moment:%Y-%m-%dT%H:%MZ}" for moment in span)
    subject = f"{series}@{begin}/{end}"
    return {
        "verdict_id": f"VA-{token(seed, 'alarm', subject)}",
        "version": 1,
        "incident_id": None,
        "subject_kind": "anomaly",
        "subject_id": subject,
        "verdict": verdict,
        "decided_at": decided_at,
        "origin": "human",
        "author_token": author,
        "confidence": None,
    }
