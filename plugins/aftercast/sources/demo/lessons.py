"""What people learnt and promised: postmortems, action items with the fixes that ship, verdicts and insights, each version at its time."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from aftercast.sources.demo.company import COMPONENTS, INDEX, JOURNEYS
from aftercast.sources.demo.draws import Stream, generator, token, week_of, whole_seconds
from aftercast.sources.demo.faults import Fault, Fix, cycle_of, cycle_start, faults_begun, fixes_of_cycle
from aftercast.sources.demo.response import Response, response_to

Row = dict[str, Any]

LONGEST_LESSON = timedelta(days=30)
"""Everything learnt from an incident is written down at most this long after its onset."""

TEAM = {
    "gateway": "edge",
    "catalog": "discovery",
    "pricing": "discovery",
    "checkout": "orders",
    "orders-db": "orders",
    "payments": "money",
    "cardway": "money",
    "ledger-db": "money",
    "accounts": "identity",
    "accounts-db": "identity",
    "smsgate": "identity",
    "subscriptions": "memberships",
    "mailbird": "memberships",
    "wallet": "play",
    "bets": "play",
    "public-api": "platform",
    "metering": "platform",
    "backoffice": "platform",
}

_TRIGGER = {
    "bad_release": "binary push",
    "internal_release": "binary push",
    "config_push": "config push",
    "flag_rollout": "config push",
    "store_migration": "pipeline",
    "card_provider": "provider",
    "message_provider": "provider",
    "catalog_capacity": "capacity",
    "pool_leak": "performance decay",
    "network_outage": "network",
}
_FACTORS = {
    "bad_release": ("missing test for old clients", "release went to all regions at once"),
    "internal_release": ("no staging for internal tools",),
    "config_push": ("settings are not validated before use", "no gradual roll-out of settings"),
    "flag_rollout": ("flag opened for everybody in one step", "variant not covered by monitoring"),
    "store_migration": ("migration took a long lock", "no rehearsal on production-sized data"),
    "card_provider": ("single provider for cards", "long timeouts"),
    "message_provider": ("no second channel for messages",),
    "catalog_capacity": ("fixed number of instances", "evening peak grew"),
    "pool_leak": ("connections are not returned on errors", "nobody watches the pool level"),
    "network_outage": ("outside our network",),
}
_PREVENT = {
    "bad_release": "Release {service} to one region first and stop on errors",
    "internal_release": "Add a smoke test for back office pages",
    "config_push": "Validate settings of {service} before they are applied",
    "flag_rollout": "Open flags in steps with an automatic stop",
    "store_migration": "Run migrations with a lock timeout",
    "card_provider": "Retry card authorisations with shorter timeouts",
    "message_provider": "Queue messages and resend them later",
    "catalog_capacity": "Scale {service} automatically with load",
    "pool_leak": "Return connections of {service} on every error path",
    "network_outage": "Agree on notice with the network carrier",
}


def _within(rows: list[Row], time: str, start: datetime, end: datetime) -> list[Row]:
    return [row for row in rows if start <= row[time] < end]


def _responses(seed: int, start: datetime, end: datetime) -> list[Response]:
    return [response_to(seed, fault) for fault in faults_begun(seed, start - LONGEST_LESSON, end)]


def _person(seed: int, chance: np.random.Generator) -> str:
    return f"person-{token(seed, 'person', int(chance.integers(48)))}"


def _postmortem_times(seed: int, response: Response) -> tuple[datetime, datetime] | None:
    """When the postmortem was drafted and reviewed; None when nobody wrote one."""
    chance = generator(seed, Stream.LESSON, response.fault.week, response.fault.number, 1)
    if chance.random() > 0.6:
        return None
    drafted = response.resolved_at + timedelta(hours=float(chance.uniform(18, 44)))
    return whole_seconds(drafted), whole_seconds(drafted + timedelta(hours=float(chance.uniform(12, 70))))


def postmortem_rows(seed: int, start: datetime, end: datetime) -> list[Row]:
    """Return the postmortem versions written in [start, end)."""
    rows = []
    for response in _responses(seed, start, end):
        times = _postmortem_times(seed, response)
        if times is None:
            continue
        fault = response.fault
        author = _person(seed, generator(seed, Stream.LESSON, fault.week, fault.number, 2))
        for version, (status, moment) in enumerate(zip(("draft", "reviewed"), times, strict=True), start=1):
            rows.append(
                {
                    "postmortem_id": f"PM-{fault.incident_id[4:]}",
                    "version": version,
                    "incident_id": fault.incident_id,
                    "title": response.title,
                    "status": status,
                    "text": _text(response, status),
                    "trigger": _TRIGGER[fault.family.name] if status == "reviewed" else None,
                    "contributing_factors": list(_FACTORS[fault.family.name]) if status == "reviewed" else [],
                    "created_at": times[0],
                    "updated_at": moment,
                    "url": f"https://demo.example/postmortems/{fault.incident_id}",
                    "origin": "human",
                    "author_token": author,
                    "confidence": None,
                }
            )
    return _within(rows, "updated_at", start, end)


def _text(response: Response, status: str) -> str:
    minutes = int((response.mitigated_at - response.started_at).total_seconds() // 60)
    lines = [f"{response.title}. Customers were affected for about {minutes} minutes.", f"Noticed through: {response.method}."]
    if status == "reviewed":
        factors = "; ".join(_FACTORS[response.fault.family.name])
        lines += [f"Trigger: {_TRIGGER[response.fault.family.name]}.", f"Contributing: {factors}.", "Went well: people joined quickly."]
    return "\n".join(lines)


def action_item_rows(seed: int, start: datetime, end: datetime) -> list[Row]:
    """Return the versions of action items written in [start, end)."""
    cycles = range(cycle_of(week_of(start)) - 1, cycle_of(week_of(end)) + 1)
    rows = [row for cycle in cycles for fix in fixes_of_cycle(seed, cycle) for row in _fix_rows(seed, fix)]
    for response in _responses(seed, start, end):
        rows += _item_rows(seed, response)
    return _within(rows, "updated_at", start, end)


def fix_item_id(fix: Fix) -> str:
    return f"AI-{week_of(fix.shipped_at)}{ {'works': 1, 'stays': 2, 'lucky': 3}[fix.part] }"


def _versions(base: Row, states: list[tuple[str, datetime, Row]]) -> list[Row]:
    return [
        {**base, "version": version, "status": status, "updated_at": whole_seconds(moment), **extra}
        for version, (status, moment, extra) in enumerate(states, start=1)
    ]


def _fix_rows(seed: int, fix: Fix) -> list[Row]:
    before = [fault for fault in faults_begun(seed, cycle_start(fix.cycle), fix.shipped_at) if fault.family is fix.family]
    if not before:
        return []
    chance = generator(seed, Stream.LESSON, 901, fix.cycle, len(fix.part))
    opened = max(fix.shipped_at - timedelta(days=9), before[0].ended_at + timedelta(days=1))
    base = _item(
        seed,
        fix_item_id(fix),
        before[0],
        _PREVENT[fix.family.name].format(service=fix.service),
        "prevent",
        fix.service,
        opened,
        fix.shipped_at + timedelta(days=3),
        "No incident of this kind in the 28 days after shipping",
        _person(seed, chance),
    )
    done = {"shipped_change_id": fix.change_id, "done_at": whole_seconds(fix.shipped_at + timedelta(minutes=25))}
    return _versions(
        base,
        [
            ("open", opened, {}),
            ("in_progress", opened + (fix.shipped_at - opened) / 2, {}),
            ("done", fix.shipped_at + timedelta(minutes=25), done),
        ],
    )


def _item(
    seed: int,
    item_id: str,
    fault: Fault,
    title: str,
    kind: str,
    service: str,
    opened: datetime,
    due: datetime,
    criterion: str | None,
    author: str,
) -> Row:
    return {
        "action_item_id": item_id,
        "incident_id": fault.incident_id,
        "title": title,
        "type": kind,
        "service": service,
        "owner_team": TEAM[service],
        "success_criterion": criterion,
        "shipped_change_id": None,
        "created_at": whole_seconds(opened),
        "due_at": due.replace(hour=0, minute=0, second=0, microsecond=0),
        "done_at": None,
        "url": f"https://demo.example/items/{item_id}",
        "origin": "human",
        "author_token": author,
        "confidence": None,
    }


def _item_rows(seed: int, response: Response) -> list[Row]:
    """The action item a postmortem asked for, when it asked for one: things to look into get done, repairs linger."""
    times = _postmortem_times(seed, response)
    fault = response.fault
    chance = generator(seed, Stream.LESSON, fault.week, fault.number, 3)
    if times is None or chance.random() > 0.55:
        return []
    service = fault.service if COMPONENTS[INDEX[fault.service]].kind == "service" else response.services[0]
    opened = times[1]
    is_small = chance.random() < 0.4
    kind = str(chance.choice(["investigate", "detect"])) if is_small else str(chance.choice(["repair", "prevent", "mitigate"]))
    title = {
        "investigate": "Find out why {service} was noticed late",
        "detect": "Alert earlier on {service}",
        "mitigate": "Write a runbook for {service}",
    }.get(kind, _PREVENT[fault.family.name])
    base = _item(
        seed,
        f"AI-{fault.incident_id[4:]}-1",
        fault,
        title.format(service=service),
        kind,
        service,
        opened,
        opened + timedelta(days=14),
        None if chance.random() < 0.3 else "Holds for 28 days after shipping",
        _person(seed, chance),
    )
    states: list[tuple[str, datetime, Row]] = [("open", opened, {})]
    if is_small:
        done = whole_seconds(opened + timedelta(days=float(chance.uniform(4, 12))))
        states.append(("done", done, {"done_at": done}))
    elif chance.random() < 0.4:
        states.append(("in_progress", opened + timedelta(days=float(chance.uniform(2, 6))), {}))
    return _versions(base, states)


def verdict_rows(seed: int, start: datetime, end: datetime) -> list[Row]:
    """Return what people decided about causes in [start, end): a few reviewed postmortems confirm one, days after the incident."""
    rows = []
    for response in _responses(seed, start, end):
        times, fault = _postmortem_times(seed, response), response.fault
        chance = generator(seed, Stream.LESSON, fault.week, fault.number, 4)
        if times is None or chance.random() > 0.35:
            continue
        rows.append(
            {
                "verdict_id": f"V-{fault.incident_id[4:]}",
                "version": 1,
                "incident_id": fault.incident_id,
                "subject_kind": fault.family.kind,
                "subject_id": fault.cause_id,
                "verdict": "confirm",
                "decided_at": whole_seconds(times[1] + timedelta(hours=float(chance.uniform(1, 30)))),
                "origin": "human",
                "author_token": _person(seed, chance),
                "confidence": round(float(chance.uniform(0.7, 1.0)), 2),
            }
        )
    return _within(rows, "decided_at", start, end)


def insight_rows(seed: int, start: datetime, end: datetime) -> list[Row]:
    """Return the insights people wrote down in [start, end)."""
    rows = []
    watched = {service for journey in JOURNEYS for step in journey.steps for service in step.needs}
    for response in _responses(seed, start, end):
        fault = response.fault
        chance = generator(seed, Stream.LESSON, fault.week, fault.number, 5)
        if chance.random() > 0.25 or fault.service not in watched:
            continue
        mood = str(chance.choice(["descriptive", "prescriptive"]))
        service = response.services[0]
        texts = {
            "descriptive": f"When {service} looks sick, look at what it calls before looking at it",
            "prescriptive": f"Ask the {TEAM[service]} team first and compare regions before rolling anything back",
        }
        rows.append(
            {
                "insight_id": f"IN-{fault.incident_id[4:]}",
                "version": 1,
                "incident_id": fault.incident_id,
                "service": service,
                "mood": mood,
                "text": texts[mood],
                "recorded_at": whole_seconds(response.resolved_at + timedelta(hours=float(chance.uniform(2, 40)))),
                "origin": "human",
                "author_token": _person(seed, chance),
                "confidence": round(float(chance.uniform(0.5, 0.95)), 2),
            }
        )
        if mood == "prescriptive":
            rows[-1] |= _prescribed(service, int(chance.integers(3)))
    return _within(rows, "recorded_at", start, end)


def _prescribed(service: str, number: int) -> Row:
    """What some of the rules people write prescribe, so that a machine can weigh them; the others are for people only.

    Who looks after the gateway sees the latency of all, others that of their own service.
    """
    whose = {} if service == "gateway" else {"subject": service}
    threshold = {"threshold": {"signal": "latency_p95_ms", "sensitivity": 0.8, **whose}}
    rule = {"rule": {"kinds": ["config"], "of": [service], "hurts": [service], "says": "known"}}
    return [
        {},
        {"text": f"Configuration of {service} has hurt it before: look there first", "prescription": json.dumps(rule)},
        {"text": "A little more latency than usual has never reached a customer: ring later", "prescription": json.dumps(threshold)},
    ][number]
