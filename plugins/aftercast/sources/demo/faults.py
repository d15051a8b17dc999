"""What goes wrong, and why: the plan of faults, week by week, with the families they belong to and the fixes that change their rate.

The plan is what the simulation acts out. Extracted rows show only its consequences; `truth` writes it down for benchmarks.
A story lasts eight weeks and repeats with the parts given to other families, so any window makes sense.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np

from aftercast.sources.demo.company import REGIONS, TIERS
from aftercast.sources.demo.draws import STORY_EPOCH, Stream, generator, token, week_of, week_start, whole_seconds

CYCLE_WEEKS = 8
LONGEST_ECHO = timedelta(hours=6)
"""How long after its end a fault may still move demand (people come back)."""
LONGEST_FAULT = timedelta(hours=20)
APART = timedelta(hours=7)
OVERLAPPING = 0.03
"""Share of faults that begin while another lasts."""


@dataclass(frozen=True, slots=True)
class Family:
    """Faults that share a mechanism.

    Attributes:
        kind: what kind of thing causes it: change, service, provider or none.
        change_kind: the kind of change, for families caused by one.
        origins: where it starts, with odds.
        error, latency, saturation, outage: ranges at the origin: share of requests failing; times slower (added); pool filling (added);
            share of a region's demand that never arrives.
        minutes: median duration.
        when: work (hours of change), peak (of the region) or any.
        scope: both regions, one region, or one tier (of both regions).
        discourage: part of the failing share that does not even try.
        rebound: part of the demand lost that returns afterwards.
        lead: hours during which a pool fills before anything fails.
        remedy: what ends it.
    """

    name: str
    kind: str
    change_kind: str | None
    origins: tuple[tuple[str, float], ...]
    error: tuple[float, float]
    latency: tuple[float, float]
    minutes: float
    when: str
    remedy: str
    saturation: tuple[float, float] = (0.0, 0.0)
    outage: tuple[float, float] = (0.0, 0.0)
    scopes: tuple[str, ...] = ("both",)
    discourage: float = 0.0
    rebound: float = 0.0
    lead: tuple[float, float] = (0.0, 0.0)
    ramp: tuple[float, float] = (1.0, 5.0)


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "bad_release",
            "change",
            "deploy",
            (("checkout", 0.55), ("pricing", 0.45)),
            (0.25, 0.75),
            (0.2, 1.5),
            55,
            "work",
            "rollback",
            scopes=("both", "one", "one"),
            rebound=0.15,
        ),
        Family(
            "config_push",
            "change",
            "config",
            (("payments", 0.6), ("accounts", 0.4)),
            (0.25, 0.6),
            (0.1, 1.0),
            50,
            "work",
            "revert",
            scopes=("both", "both", "one"),
            rebound=0.1,
        ),
        Family(
            "flag_rollout",
            "change",
            "flag",
            (("checkout", 0.5), ("pricing", 0.5)),
            (0.4, 0.85),
            (0.1, 0.6),
            75,
            "work",
            "flag_off",
            scopes=("tier", "one"),
        ),
        Family(
            "card_provider",
            "provider",
            None,
            (("cardway", 1.0),),
            (0.35, 0.9),
            (1.0, 4.0),
            65,
            "any",
            "self",
            rebound=0.35,
        ),
        Family(
            "message_provider",
            "provider",
            None,
            (("smsgate", 0.6), ("mailbird", 0.4)),
            (0.5, 0.95),
            (0.5, 3.0),
            95,
            "any",
            "self",
            rebound=0.2,
        ),
        Family(
            "catalog_capacity",
            "service",
            None,
            (("catalog", 1.0),),
            (0.05, 0.2),
            (2.5, 6.0),
            85,
            "peak",
            "scale_out",
            saturation=(0.35, 0.5),
            scopes=("one",),
            discourage=0.35,
            ramp=(10.0, 25.0),
        ),
        Family(
            "pool_leak",
            "service",
            None,
            (("wallet", 0.5), ("payments", 0.5)),
            (0.25, 0.55),
            (1.5, 4.0),
            60,
            "any",
            "restart",
            saturation=(0.4, 0.55),
            lead=(3.0, 9.0),
            discourage=0.1,
            rebound=0.1,
            ramp=(8.0, 20.0),
        ),
        Family(
            "store_migration",
            "change",
            "migration",
            (("ledger-db", 0.55), ("orders-db", 0.45)),
            (0.15, 0.4),
            (4.0, 10.0),
            80,
            "work",
            "abort",
            saturation=(0.2, 0.4),
            discourage=0.1,
            rebound=0.15,
            ramp=(3.0, 10.0),
        ),
        Family(
            "network_outage",
            "none",
            None,
            (("gateway", 1.0),),
            (0.0, 0.0),
            (0.0, 0.0),
            75,
            "any",
            "self",
            outage=(0.35, 0.8),
            scopes=("one",),
            rebound=0.3,
        ),
        Family(
            "internal_release",
            "change",
            "deploy",
            (("backoffice", 1.0),),
            (0.3, 0.8),
            (0.3, 2.0),
            60,
            "work",
            "rollback",
        ),
    )
}

PARTS: tuple[dict[str, str], ...] = (
    {"works": "catalog_capacity", "stays": "card_provider", "lucky": "config_push"},
    {"works": "pool_leak", "stays": "flag_rollout", "lucky": "message_provider"},
    {"works": "bad_release", "stays": "store_migration", "lucky": "card_provider"},
)
"""Which family gets which part in a cycle: its fix works; its fix does not; its fix only seems to, after an unlucky spell."""

PATTERN: dict[str, tuple[int, ...]] = {
    "works": (2, 2, 3, 2, 0, 0, 0, 0),
    "stays": (1, 2, 1, 2, 1, 1, 2, 1),
    "lucky": (0, 1, 2, 1, 0, 0, 1, 0),
}
ORDINARY = {
    "bad_release": 6,
    "flag_rollout": 5,
    "network_outage": 4,
    "store_migration": 3,
    "internal_release": 3,
    "pool_leak": 3,
    "message_provider": 3,
    "card_provider": 3,
    "config_push": 3,
    "catalog_capacity": 3,
}
ORDINARY_WEEKS = (2, 2, 1, 2, 4, 5, 3, 5)
SHIP_AFTER = {"works": timedelta(days=28, hours=9), "stays": timedelta(days=24, hours=13), "lucky": timedelta(days=25, hours=10)}
"""When, counted from the start of a cycle, the fix of each part ships."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault with its cause and its true span.

    Attributes:
        cause_id: id of the change, name of the service or provider, or `none`.
        regions, tiers: whom it reaches.
        started_at, ended_at: true span of its effect on requests or demand.
        change_at: when the causing change started.
    """

    incident_id: str
    week: int
    number: int
    family: Family
    service: str
    cause_id: str
    regions: tuple[str, ...]
    tiers: tuple[str, ...]
    started_at: datetime
    ended_at: datetime
    change_at: datetime | None
    error: float
    latency: float
    saturation: float
    outage: float
    ramp: float
    recover: float
    lead: timedelta

    @property
    def first_sign(self) -> datetime:
        return self.started_at - self.lead

    @property
    def minutes(self) -> float:
        return (self.ended_at - self.started_at).total_seconds() / 60


def cycle_of(week: int) -> int:
    return (week - week_of(STORY_EPOCH)) // CYCLE_WEEKS


def cycle_start(cycle: int) -> datetime:
    return STORY_EPOCH + timedelta(weeks=CYCLE_WEEKS * cycle)


def parts_of(cycle: int) -> dict[str, str]:
    return PARTS[cycle % len(PARTS)]


@lru_cache(maxsize=64)
def _deck(seed: int, cycle: int) -> tuple[str, ...]:
    """Families of a cycle's ordinary faults, in order.

    Families with a part stay out, and so does the one a fix has just ended; the first cycle has no past and shows every family.
    """
    taken = {*parts_of(cycle).values(), *([parts_of(cycle - 1)["works"]] if cycle != 0 else [])}
    cards = [name for name, times in ORDINARY.items() if name not in taken for _ in range(times)]
    chance = generator(seed, Stream.DECK, cycle)
    order = [cards[position] for position in chance.permutation(len(cards))]
    while len(order) < sum(ORDINARY_WEEKS):
        order.append(order[len(order) % len(cards)])
    return tuple(order)


def _families_of_week(seed: int, week: int) -> list[str]:
    cycle = cycle_of(week)
    phase = (week - week_of(STORY_EPOCH)) % CYCLE_WEEKS
    names = [family for part, family in parts_of(cycle).items() for _ in range(PATTERN[part][phase])]
    first = sum(ORDINARY_WEEKS[:phase])
    return names + list(_deck(seed, cycle)[first : first + ORDINARY_WEEKS[phase]])


def _onset(chance: np.random.Generator, family: Family, week: int, region: str) -> datetime:
    if family.when == "work":
        day, hour = int(chance.choice(7, p=[0.19, 0.2, 0.2, 0.19, 0.14, 0.04, 0.04])), float(np.clip(chance.normal(13.0, 2.8), 7, 21))
    elif family.when == "peak":
        day, hour = int(chance.integers(7)), float(chance.uniform(16.5, 19.0) if region == "eu" else chance.uniform(22.0, 23.7))
    else:
        day, hour = int(chance.integers(7)), float(chance.uniform(5.0, 23.0))
    return week_start(week) + timedelta(days=day, hours=hour)


def _span(
    chance: np.random.Generator, family: Family, week: int, region: str, length: timedelta, busy: list[tuple[datetime, datetime]]
) -> tuple[datetime, datetime]:
    """Choose when a fault happens: nearly always hours away from the others of its week, now and then in the middle of one."""
    if busy and family.when != "peak" and chance.random() < OVERLAPPING:
        other_start, other_end = busy[int(chance.integers(len(busy)))]
        start = other_start + (other_end - other_start) * float(chance.uniform(0.2, 0.8))
        return whole_seconds(start), whole_seconds(start + length)
    for _ in range(40):
        start = _onset(chance, family, week, region)
        if all(start + length + APART < other_start or start > other_end + APART for other_start, other_end in busy):
            break
    return whole_seconds(start), whole_seconds(start + length)


def _fault(seed: int, week: int, number: int, family: Family, busy: list[tuple[datetime, datetime]]) -> Fault:
    chance = generator(seed, Stream.FAULT, week, number)
    names = [name for name, _ in family.origins]
    service = str(chance.choice(names, p=[odds for _, odds in family.origins]))
    scope = str(chance.choice(list(family.scopes)))
    regions = (str(chance.choice(list(REGIONS), p=[0.6, 0.4])),) if scope == "one" else REGIONS
    tiers = (str(chance.choice(list(TIERS))),) if scope == "tier" else ()
    minutes = float(np.clip(family.minutes * np.exp(0.55 * chance.standard_normal()), 15, 240))
    start, end = _span(chance, family, week, regions[0], timedelta(minutes=minutes), busy)
    gap = float(np.clip(7 * np.exp(0.75 * chance.standard_normal()), 1, 40))
    change_at = whole_seconds(start - timedelta(minutes=gap)) if family.change_kind else None
    causes = {"change": f"chg-{token(seed, 'cause', week, number)}", "none": "none"}
    lead = timedelta(hours=float(chance.uniform(*family.lead)))
    return Fault(
        incident_id="",
        week=week,
        number=number,
        family=family,
        service=service,
        cause_id=causes.get(family.kind, service),
        regions=regions,
        tiers=tiers,
        started_at=start,
        ended_at=end,
        change_at=change_at,
        error=float(chance.uniform(*family.error)),
        latency=float(chance.uniform(*family.latency)),
        saturation=float(chance.uniform(*family.saturation)),
        outage=float(chance.uniform(*family.outage)),
        ramp=float(chance.uniform(*family.ramp)),
        recover=float(min(chance.uniform(3, 9), minutes / 3)),
        lead=lead,
    )


@lru_cache(maxsize=256)
def faults_of_week(seed: int, week: int) -> tuple[Fault, ...]:
    """Return the faults that begin in a week, in order of onset."""
    busy: list[tuple[datetime, datetime]] = []
    drawn = []
    for number, name in enumerate(_families_of_week(seed, week)):
        fault = _fault(seed, week, number, FAMILIES[name], busy)
        busy.append((fault.started_at, fault.ended_at))
        drawn.append(fault)
    drawn.sort(key=lambda fault: (fault.started_at, fault.number))
    return tuple(_named(fault, f"INC-{fault.week}{place:02d}") for place, fault in enumerate(drawn, start=1))


def _named(fault: Fault, incident_id: str) -> Fault:
    values = {name: getattr(fault, name) for name in Fault.__slots__}
    return Fault(**{**values, "incident_id": incident_id})


def faults_begun(seed: int, start: datetime, end: datetime) -> list[Fault]:
    """Return faults whose onset lies in [start, end), in order."""
    weeks = range(week_of(start), week_of(end - timedelta(microseconds=1)) + 1)
    return [fault for week in weeks for fault in faults_of_week(seed, week) if start <= fault.started_at < end]


def faults_felt(seed: int, start: datetime, end: datetime) -> list[Fault]:
    """Return faults that move anything in [start, end): from the first sign in a pool to the last returning customer."""
    near = faults_begun(seed, start - LONGEST_FAULT, end + LONGEST_FAULT)
    return [fault for fault in near if fault.first_sign < end and fault.ended_at + LONGEST_ECHO > start]


@dataclass(frozen=True, slots=True)
class Fix:
    """The fix of one part of a cycle's story."""

    cycle: int
    part: str
    family: Family
    service: str
    shipped_at: datetime
    change_id: str

    @property
    def works(self) -> bool:
        return self.part == "works"


def fixes_of_cycle(seed: int, cycle: int) -> tuple[Fix, ...]:
    """Return the fixes a cycle ships, in order of their part's name."""
    return tuple(
        Fix(
            cycle,
            part,
            FAMILIES[family],
            _mender(FAMILIES[family]),
            cycle_start(cycle) + SHIP_AFTER[part],
            f"chg-{token(seed, 'fix', cycle, part)}",
        )
        for part, family in sorted(parts_of(cycle).items())
    )


def _mender(family: Family) -> str:
    """The service whose release carries a fix: the origin, or who calls it when it is not ours."""
    owners = {"cardway": "payments", "smsgate": "accounts", "mailbird": "subscriptions", "ledger-db": "payments", "orders-db": "checkout"}
    origin = family.origins[0][0]
    return owners.get(origin, origin)
