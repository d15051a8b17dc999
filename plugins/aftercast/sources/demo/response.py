"""How people noticed and handled a fault: the declared incident, its timeline and the alerts around it.

An incident knows what responders knew: symptoms, a start that is off by some minutes, the services that looked sick rather than the
one that was. Its row at a moment holds nothing that happened later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

import numpy as np

from aftercast.sources.demo.changes import SERVICES, remedy_of
from aftercast.sources.demo.company import COMPONENTS, INDEX, REACH, callers
from aftercast.sources.demo.draws import Stream, generator, midnight, token, whole_seconds
from aftercast.sources.demo.faults import Fault, faults_begun
from aftercast.sources.demo.physics import MINUTES_PER_CALL

LONGEST_RESPONSE = timedelta(days=3)
"""An incident is resolved at most this long after its onset."""


@dataclass(frozen=True, slots=True)
class Response:
    """What responders recorded about a fault."""

    fault: Fault
    title: str
    severity: str
    services: tuple[str, ...]
    region: str
    method: str
    started_at: datetime
    detected_at: datetime
    declared_at: datetime
    acknowledged_at: datetime
    mitigated_at: datetime
    resolved_at: datetime

    @property
    def moments(self) -> tuple[datetime, ...]:
        """Times at which the incident's row changed, in order."""
        return tuple(sorted((self.declared_at, self.acknowledged_at, self.mitigated_at, self.resolved_at)))


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """One line of an incident's timeline."""

    event_id: str
    incident_id: str
    kind: str
    text: str
    author: int
    occurred_at: datetime
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert episode."""

    fingerprint: str
    name: str
    service: str
    region: str
    severity: str
    started_at: datetime
    ended_at: datetime


_SICK = {
    "gateway": ("Elevated errors at the edge", "Customers report the site failing", "5xx above normal"),
    "catalog": ("Product pages slow or failing", "Search and listing degraded"),
    "pricing": ("Prices missing on product pages", "Price lookups failing"),
    "checkout": ("Checkout errors above normal", "Customers cannot complete orders", "Orders dropping"),
    "payments": ("Card payments failing", "Payment declines above normal", "Payments timing out"),
    "accounts": ("Sign-up and login problems", "Customers cannot sign in"),
    "subscriptions": ("Subscriptions not activating", "Subscription purchase failing"),
    "wallet": ("Deposits and withdrawals failing", "Wallet slow for customers"),
    "bets": ("Bets rejected", "Bet placement slow"),
    "public-api": ("API errors for integrators", "API latency above promise"),
    "metering": ("Usage billing delayed", "Billing runs failing"),
    "backoffice": ("Back office unavailable for support", "Internal tool errors"),
    "cardway": ("Card provider degraded", "Card authorisations failing"),
    "smsgate": ("Text messages not delivered", "Verification codes missing"),
    "mailbird": ("E-mails delayed", "Activation mails missing"),
    "orders-db": ("Order storage slow", "Order writes timing out"),
    "ledger-db": ("Ledger slow", "Ledger writes timing out"),
}
_FALSE_RULES = ("HighLatency", "HighErrorRatio", "DiskFilling", "PodRestarting")
_QUIET = ("Traffic well below normal", "Drop in visits", "Fewer orders than expected, no errors")


def _symptoms(fault: Fault, chance: np.random.Generator) -> tuple[str, ...]:
    above = [name for name in callers(fault.service) if name != "gateway"] or list(callers(fault.service))
    if fault.family.kind == "none" or not above:
        return (fault.service,)
    draw = chance.random()
    if draw < 0.35:
        return (above[0], fault.service)
    if draw < 0.75:
        return (str(chance.choice(above[:2])),)
    if draw < 0.87 and "gateway" in REACH[fault.service]:
        return ("gateway", above[0]) if above[0] != "gateway" else ("gateway",)
    return (fault.service,)


def _severity(fault: Fault, chance: np.random.Generator) -> str:
    if fault.service == "backoffice":
        return "sev4"
    size = max(fault.error, fault.outage, 0.08 * fault.latency) * (1.0 if len(fault.regions) == 2 else 0.7) * (0.5 if fault.tiers else 1.0)
    seen = size * float(np.exp(0.25 * chance.standard_normal()))
    return "sev1" if seen > 0.6 else "sev2" if seen > 0.35 else "sev3"


@lru_cache(maxsize=1024)
def response_to(seed: int, fault: Fault) -> Response:
    """Return what responders did about a fault."""
    chance = generator(seed, Stream.RESPONSE, fault.week, fault.number)
    onset = fault.started_at
    method = str(chance.choice(["monitor", "customer", "employee"], p=[0.62, 0.24, 0.14]))
    notice = {"monitor": 6.0, "customer": 16.0, "employee": 11.0}[method] * float(np.exp(0.5 * chance.standard_normal()))
    detected = onset + timedelta(minutes=min(notice, 0.8 * fault.minutes + 2))
    declared = detected + timedelta(minutes=float(chance.uniform(1, 9)))
    acknowledged = declared + timedelta(minutes=float(chance.uniform(0.3, 7)))
    mitigated = max(fault.ended_at + timedelta(minutes=float(chance.uniform(-3, 6))), acknowledged + timedelta(minutes=1))
    resolved = mitigated + timedelta(minutes=float(np.clip(28 * np.exp(0.6 * chance.standard_normal()), 6, 300)))
    reported = min(onset + timedelta(minutes=float(chance.uniform(-5, 10))), detected)
    services = _symptoms(fault, chance)
    phrases = _QUIET if fault.family.kind == "none" else _SICK[services[0]]
    region = fault.regions[0] if len(fault.regions) == 1 and chance.random() < 0.8 else ""
    where = f" in {region.upper()}" if region else ""
    return Response(
        fault=fault,
        title=str(chance.choice(list(phrases))) + where,
        severity=_severity(fault, chance),
        services=services,
        region=region,
        method=method,
        started_at=reported.replace(second=0, microsecond=0),
        detected_at=whole_seconds(detected),
        declared_at=whole_seconds(declared),
        acknowledged_at=whole_seconds(acknowledged),
        mitigated_at=whole_seconds(mitigated),
        resolved_at=whole_seconds(resolved),
    )


def responses_near(seed: int, start: datetime, end: datetime) -> list[Response]:
    """Return responses of which some moment may lie in [start, end), in order of onset."""
    return [response_to(seed, fault) for fault in faults_begun(seed, start - LONGEST_RESPONSE, end + timedelta(hours=1))]


def timeline_of(seed: int, response: Response) -> tuple[TimelineEvent, ...]:
    """Return the timeline lines of an incident in order of recording."""
    fault = response.fault
    chance = generator(seed, Stream.RESPONSE, fault.week, fault.number, 7)
    how = {"monitor": "Alert fired", "customer": "Support reports complaints", "employee": "A colleague noticed problems"}[response.method]
    remedy = remedy_of(seed, fault)
    ended = {
        "rollback": f"Rolled back {fault.service}",
        "config": "Restored the previous settings",
        "flag": "Switched the flag off",
        "infra": "Added capacity",
    }
    by_itself = {
        "restart": f"Restarted {fault.service}, pool is free again",
        "abort": "Stopped the migration",
        "self": "Recovered without our doing",
    }
    done = ended[remedy.kind] if remedy else by_itself.get(fault.family.remedy, "Symptoms gone")
    halfway = response.acknowledged_at + (response.mitigated_at - response.acknowledged_at) / 2
    lines = [
        ("detected", how, response.detected_at, response.declared_at),
        ("declared", f"Declared: {response.title}", response.declared_at, response.declared_at),
        ("acknowledged", "Responder engaged", response.acknowledged_at, response.acknowledged_at),
        ("update", f"Looking at {', '.join(response.services)}; customers affected", halfway, halfway + timedelta(minutes=2)),
        ("mitigated", done, response.mitigated_at, response.mitigated_at + timedelta(minutes=float(chance.uniform(0, 3)))),
        ("resolved", "Resolved after watching for a while", response.resolved_at, response.resolved_at),
    ]
    author = int(chance.integers(48))
    return tuple(
        TimelineEvent(
            f"{fault.incident_id}-{number}", fault.incident_id, kind, text, author, whole_seconds(occurred), whole_seconds(recorded)
        )
        for number, (kind, text, occurred, recorded) in enumerate(lines, start=1)
    )


def alerts_of(seed: int, fault: Fault) -> tuple[Alert, ...]:
    """Return the alerts a fault raised: a storm for a large one, a few for a small one, none when nothing fails inside."""
    chance = generator(seed, Stream.ALERTS, fault.week, fault.number)
    found: list[Alert] = []
    reaches = {**REACH[fault.service]} if fault.family.kind != "none" else {}
    for name, reach in reaches.items():
        component = COMPONENTS[INDEX[name]]
        onset = fault.started_at + timedelta(minutes=reach.hops * MINUTES_PER_CALL)
        rules = []
        if fault.error * reach.share > 0.03 and component.kind != "store":
            rules.append("HighErrorRatio")
        if fault.latency * reach.share > 0.5:
            rules.append("HighLatency")
        if fault.saturation and name == fault.service:
            rules.append("PoolNearlyFull")
        for region in fault.regions if component.regional else ("",):
            for rule in rules:
                pods = 1 + int(chance.integers(0, 3)) if component.kind == "service" and fault.error * reach.share > 0.12 else 1
                found.extend(
                    alert for pod in range(pods) for alert in _episodes(seed, chance, fault, onset, (rule, name, region, pod), pods > 1)
                )
    if fault.family.kind == "none":
        onset = fault.started_at + timedelta(minutes=8)
        found.extend(_episodes(seed, chance, fault, onset, ("TrafficBelowNormal", "gateway", fault.regions[0], 0), False))
    return tuple(sorted(found, key=lambda alert: (alert.started_at, alert.fingerprint)))


def _episodes(
    seed: int, chance: np.random.Generator, fault: Fault, onset: datetime, label: tuple[str, str, str, int], is_large: bool
) -> list[Alert]:
    rule, service, region, pod = label
    begins = onset + timedelta(minutes=float(chance.uniform(2, 9)))
    times = 1 + int(chance.poisson(0.8)) if is_large and fault.minutes > 40 else 1
    length = (fault.ended_at - begins) / times
    if length < timedelta(minutes=2):
        return []
    name = f"{rule}/{pod}" if pod else rule
    fingerprint = token(seed, "alert", name, service, region)
    severity = "critical" if rule == "HighErrorRatio" and is_large else "warning"
    return [
        Alert(
            fingerprint,
            name,
            service,
            region,
            severity,
            whole_seconds(begins + number * length),
            whole_seconds(begins + (number + 1) * length - timedelta(minutes=1) + timedelta(minutes=5 * (number == times - 1))),
        )
        for number in range(times)
    ]


def false_alerts(seed: int, day: date) -> tuple[Alert, ...]:
    """Return the day's alerts that meant nothing."""
    chance = generator(seed, Stream.ALERT_NOISE, day.toordinal())
    found = []
    for _ in range(int(chance.poisson(7))):
        service, rule = str(chance.choice(list(SERVICES))), str(chance.choice(list(_FALSE_RULES)))
        region = str(chance.choice(list(COMPONENTS[INDEX[service]].regions)))
        begins = whole_seconds(midnight(day) + timedelta(hours=float(chance.uniform(0, 24))))
        ends = whole_seconds(begins + timedelta(minutes=float(chance.uniform(3, 25))))
        found.append(Alert(token(seed, "alert", rule, service, region), rule, service, region, "warning", begins, ends))
    return tuple(sorted(found, key=lambda alert: (alert.started_at, alert.fingerprint)))
