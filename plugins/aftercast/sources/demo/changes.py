"""What people change in one day of the demo company: some twenty releases, flags, settings; nearly all of them harmless.

Changes that cause a fault, that end one, that only happen to be near one, and that ship a fix are written exactly like the others.
Announced work on a store makes it slow and hurts nobody.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import lru_cache

import numpy as np

from aftercast.sources.demo.company import COMPONENTS, EDGES, callers
from aftercast.sources.demo.draws import Stream, generator, midnight, token, week_of, whole_seconds
from aftercast.sources.demo.faults import Fault, cycle_of, faults_begun, fixes_of_cycle

SERVICES = tuple(component.name for component in COMPONENTS if component.kind == "service")
STORES = tuple(component.name for component in COMPONENTS if component.kind == "store")
_RELEASE_ODDS = np.array([component.deploys for component in COMPONENTS if component.kind == "service"])
REPORTED_AS = {"checkout": "checkout-svc"}
"""The release tool knows this service by another name; config/catalog/aliases.csv says which."""
VERSION_MEMORY = 6
"""Days a service's releases are looked back for its previous version."""

_WORDS = ("basket", "search", "session", "invoice", "profile", "limit", "currency", "banner", "export", "retry", "receipt", "address")
_TITLES = {
    "deploy": ("Release {word} improvements", "Release {word} fixes", "Release new {word} flow", "Upgrade {word} library"),
    "config": ("Change {word} limit", "Tune {word} timeout", "Update {word} rules"),
    "flag": ("Roll out {word} variant to 100 %", "Enable new {word} for some customers", "Switch {word} experiment"),
    "migration": ("Add index for {word}", "Migrate {word} table", "Backfill {word} column"),
    "infra": ("Replace nodes", "Resize pool", "Renew certificates"),
}
_MINUTES = {"deploy": (3, 9), "rollback": (2, 5), "config": (0.5, 2), "flag": (0.1, 0.5), "migration": (20, 90), "infra": (5, 30)}


@dataclass(frozen=True, slots=True)
class Change:
    """One change as the tools record it."""

    change_id: str
    kind: str
    service: str
    region: str
    title: str
    started_at: datetime
    finished_at: datetime
    result: str
    actor: int
    planned: bool
    version: str | None = None
    previous_version: str | None = None


def _change(chance: np.random.Generator, change_id: str, kind: str, service: str, started_at: datetime, region: str = "") -> Change:
    titles = _TITLES["deploy" if kind == "rollback" else kind]
    title = str(chance.choice(list(titles))).format(word=chance.choice(list(_WORDS)))
    minutes = float(chance.uniform(*_MINUTES[kind]))
    result = "failure" if kind == "deploy" and chance.random() < 0.02 else "success"
    return Change(
        change_id=change_id,
        kind=kind,
        service=service,
        region=region,
        title=f"Roll back {service}" if kind == "rollback" else title,
        started_at=whole_seconds(started_at),
        finished_at=whole_seconds(started_at + timedelta(minutes=minutes)),
        result=result,
        actor=int(chance.integers(48)),
        planned=kind != "rollback",
    )


def _ordinary(seed: int, day: date) -> list[Change]:
    chance = generator(seed, Stream.CHANGES, day.toordinal())
    busy = 1.0 if day.weekday() < 4 else 0.75 if day.weekday() == 4 else 0.2
    found = []
    for kind, per_day in (("deploy", 23.0), ("flag", 3.5), ("config", 3.0), ("migration", 0.5), ("infra", 0.8)):
        for number in range(int(chance.poisson(per_day * busy))):
            hour = float(np.clip(chance.normal(13.0, 3.0), 6.0, 22.5))
            if kind == "migration":
                service = str(chance.choice(list(STORES)))
            else:
                service = str(chance.choice(list(SERVICES), p=_RELEASE_ODDS / _RELEASE_ODDS.sum()))
            change_id = f"chg-{token(seed, 'ordinary', day, kind, number)}"
            region = str(chance.choice(["", "", "eu", "us"])) if kind in ("flag", "config", "infra") else ""
            found.append(_change(chance, change_id, kind, service, midnight(day) + timedelta(hours=hour), region))
    return found


def remedy_of(seed: int, fault: Fault) -> Change | None:
    """Return the change with which responders ended a fault, when they ended it with one."""
    chance = generator(seed, Stream.DECOY, fault.week, fault.number, 1)
    kind = {"rollback": "rollback", "revert": "config", "flag_off": "flag", "scale_out": "infra"}.get(fault.family.remedy)
    if kind is None or chance.random() < 0.12:
        return None
    ended = fault.ended_at - timedelta(minutes=fault.recover + float(chance.uniform(1, 4)))
    began = max(ended, fault.started_at + timedelta(minutes=4))
    region = fault.regions[0] if kind != "rollback" and len(fault.regions) == 1 else ""
    change = _change(chance, f"chg-{token(seed, 'remedy', fault.week, fault.number)}", kind, fault.service, began, region)
    titles = {"config": "Restore previous settings", "flag": "Switch flag off", "infra": "Add capacity"}
    finished = began + timedelta(minutes=float(chance.uniform(0.5, 2)))
    return replace(change, title=titles.get(kind, change.title), finished_at=whole_seconds(finished), planned=False, result="success")


def _around(seed: int, fault: Fault) -> list[Change]:
    """Changes a fault brings with it: its cause, its remedy, and harmless ones that happen to be near."""
    chance = generator(seed, Stream.DECOY, fault.week, fault.number, 0)
    found = []
    if fault.change_at is not None and fault.family.change_kind is not None:
        region = fault.regions[0] if fault.family.change_kind in ("flag", "config") and len(fault.regions) == 1 else ""
        cause = _change(chance, fault.cause_id, fault.family.change_kind, fault.service, fault.change_at, region)
        if cause.kind == "migration":
            cause = replace(cause, finished_at=whole_seconds(fault.ended_at - timedelta(minutes=fault.recover)), result="aborted")
        found.append(replace(cause, result="success") if cause.kind != "migration" else cause)
    remedy = remedy_of(seed, fault)
    if remedy is not None:
        found.append(remedy)
    neighbours = sorted({*callers(fault.service), *(callee for caller, callee in EDGES if caller == fault.service)} & set(SERVICES))
    tempting = fault.family.kind == "provider" and chance.random() < 0.5
    if neighbours and (tempting or chance.random() < 0.5):
        ahead = float(chance.uniform(3, 15) if tempting else chance.uniform(-5, 45))
        decoy_id = f"chg-{token(seed, 'decoy', fault.week, fault.number)}"
        when = fault.started_at - timedelta(minutes=ahead)
        found.append(_change(chance, decoy_id, "deploy", str(chance.choice(neighbours)), when))
    return found


def _maintenance(seed: int, day: date) -> list[Change]:
    """Announced work on a store, on Tuesday night of every other week."""
    week = week_of(midnight(day))
    if day.weekday() != 1 or week % 2:
        return []
    chance = generator(seed, Stream.MAINTENANCE, week)
    store = str(chance.choice(list(STORES)))
    started_at = midnight(day) + timedelta(hours=1, minutes=float(chance.uniform(0, 120)))
    finished_at = started_at + timedelta(minutes=float(chance.uniform(50, 110)))
    return [
        Change(
            change_id=f"chg-{token(seed, 'maintenance', week)}",
            kind="maintenance",
            service=store,
            region="",
            title=f"Maintenance of {store}",
            started_at=whole_seconds(started_at),
            finished_at=whole_seconds(finished_at),
            result="success",
            actor=int(chance.integers(48)),
            planned=True,
        )
    ]


def _shipped(seed: int, day: date) -> list[Change]:
    found = []
    for fix in fixes_of_cycle(seed, cycle_of(week_of(midnight(day)))):
        if fix.shipped_at.date() == day:
            chance = generator(seed, Stream.LESSON, 900, fix.cycle, len(fix.part))
            change = _change(chance, fix.change_id, "deploy", fix.service, fix.shipped_at)
            found.append(replace(change, result="success"))
    return found


@lru_cache(maxsize=256)
def _planned(seed: int, day: date) -> tuple[Change, ...]:
    """The day's changes in order, versions not yet written."""
    start = midnight(day)
    faults = faults_begun(seed, start - timedelta(days=1), start + timedelta(days=2))
    near = [change for fault in faults for change in _around(seed, fault) if change.started_at.date() == day]
    hurt = [
        (fault.service, fault.change_at, fault.ended_at)
        for fault in faults
        if fault.change_at is not None and fault.family.change_kind == "deploy"
    ]
    calm = [
        change
        for change in _ordinary(seed, day)
        if not any(change.service == service and began <= change.started_at <= ended for service, began, ended in hurt)
    ]
    return tuple(
        sorted([*calm, *near, *_shipped(seed, day), *_maintenance(seed, day)], key=lambda change: (change.started_at, change.change_id))
    )


@lru_cache(maxsize=128)
def changes_of_day(seed: int, day: date) -> tuple[Change, ...]:
    """Return the changes that start on a day, in order, with versions."""
    current: dict[str, str] = {}
    before: dict[str, str] = {}
    written: list[Change] = []
    for back in range(VERSION_MEMORY, -1, -1):
        past = day - timedelta(days=back)
        numbers: dict[str, int] = {}
        for change in _planned(seed, past):
            done = change
            if change.kind in ("deploy", "rollback"):
                numbers[change.service] = numbers.get(change.service, 0) + 1
                now = current.get(change.service)
                new = before.get(change.service) if change.kind == "rollback" else f"{past:%Y.%j}.{numbers[change.service]}"
                done = replace(change, version=new, previous_version=now)
                if new is not None and change.result == "success":
                    current[change.service], before[change.service] = new, now or new
            if back == 0:
                written.append(done)
    return tuple(written)
