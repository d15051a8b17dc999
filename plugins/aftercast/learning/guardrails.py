"""How far automation goes with one incident: the level of its class, and every guardrail with its answer. Nothing is done here.

A guardrail that does not hold, or whose answer is not known, stops the act and leaves the recommendation. Two of them only take away the
right to act without being asked: a critical service, and an action whose record is not good enough, are acted on after approval at most.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import polars as pl

from aftercast.declarations import AutomationFile, IncidentClassRow, LimitsRow
from aftercast.learning.responses import Advice, Facts
from aftercast.runbooks import Check, Do

Outcome = Literal["observe", "recommend", "ask", "act"]
OBSERVE, RECOMMEND, ASK, ACT = 0, 1, 2, 3
ONLY_ASK = ("no_critical_service", "record")
"""Guardrails that do not stop an act but demand an approval."""
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Guardrail:
    """One condition and whether it held; `why` says with which figures."""

    name: str
    passed: bool
    why: str


@dataclass(frozen=True, slots=True)
class Act:
    """An action that was begun earlier, as the audit log tells. `is_over` once its incident is, or a person settled it."""

    at: datetime
    key: str
    incident_id: str
    service: str
    action: str
    is_over: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done about an incident, and why not more.

    Attributes:
        key: stable id of the act: the same incident, candidate, runbook and step give the same key, so nothing is done twice.
        class_name: the class the incident fits; empty when it fits none.
        level: the level of the class; `outcome` is what is left of it after the guardrails.
        action, arguments, rollback: what would be done, and how it is undone. Empty without a runbook that acts.
        guardrails: empty below level 2 of an incident nothing can be done about.
    """

    key: str
    advice: Advice
    class_name: str
    level: int
    outcome: Outcome
    action: str
    arguments: Mapping[str, str | int | float | bool]
    rollback: str
    guardrails: tuple[Guardrail, ...]

    @property
    def held_by(self) -> tuple[Guardrail, ...]:
        """The guardrails that did not hold."""
        return tuple(one for one in self.guardrails if not one.passed)

    @property
    def incident_id(self) -> str:
        return self.advice.facts.incident_id


def class_of(facts: Facts, criticality: str | None, classes: Sequence[IncidentClassRow]) -> IncidentClassRow | None:
    """Return the first class an incident fits; what is not known fits only where nothing is asked."""
    title = facts.family_title.lower()
    for row in classes:
        family = any(one == facts.family_id or (title and re.search(rf"\b{re.escape(one.lower())}\b", title)) for one in row.families)
        fits = (
            (not row.criticality or criticality in row.criticality)
            and (not row.severity or str(facts.row.get("severity")).lower() in {one.lower() for one in row.severity})
            and (not row.families or family)
            and (not row.causes or facts.cause in row.causes)
            and facts.probability >= row.least_probability
        )
        if fits:
            return row
    return None


def answer(check: Check, frames: Mapping[str, pl.DataFrame], facts: Facts) -> Guardrail:
    """Return whether a check holds for an incident. A missing row, column or value does not pass."""
    row = _row(check.mart, frames, facts)
    name = f"{check.mart}.{check.column}"
    if row is None:
        return Guardrail("precondition", False, f"{check}: not known, {check.mart} has no row for it")
    if check.column not in row:
        return Guardrail("precondition", False, f"{check}: {check.mart} has no column {check.column!r}")
    value = row[check.column]
    if value is None:
        return Guardrail("precondition", False, f"{check}: not known, {name} is empty")
    if check.equals is not None:
        passed = bool(value == check.equals)
    elif check.one_of:
        passed = value in check.one_of
    elif isinstance(value, str):
        return Guardrail("precondition", False, f"{check}: {value!r} is no number")
    else:
        low = check.at_least if check.at_least is not None else float("-inf")
        high = check.at_most if check.at_most is not None else float("inf")
        passed = low <= float(value) <= high
    shown = f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
    return Guardrail("precondition", passed, f"{check}: it is {shown}")


def _row(mart: str, frames: Mapping[str, pl.DataFrame], facts: Facts) -> Mapping[str, Any] | None:
    if mart == "mart_incidents":
        return facts.row
    if mart == "mart_incident_candidates":
        return facts.candidate
    if mart == "mart_changes":
        if facts.candidate is None or facts.candidate["kind"] != "change":
            return None
        found = frames[mart].filter(pl.col("change_id") == facts.candidate["candidate_id"])
    else:
        environment = facts.row.get("environment")
        own = frames[mart].filter(pl.col("service") == facts.service)
        found = own.filter(pl.col("environment") == environment) if environment else own if own.height == 1 else own.head(0)
    return next(iter(found.iter_rows(named=True)), None)


def plan(
    advice: Advice,
    automation: AutomationFile,
    frames: Mapping[str, pl.DataFrame],
    acts: Sequence[Act],
    *,
    criticality: str | None,
    as_of: datetime,
    now: datetime,
) -> Plan:
    """Return what is to be done about an incident.

    Args:
        acts: actions begun earlier, and those planned before this one in the same round.
        criticality: of the service acted on; None when the catalogue does not know it.
        as_of: up to when the mart knows things. now: when the question is asked.
    """
    facts, step, best = advice.facts, advice.step, advice.best
    row = class_of(facts, criticality, automation.classes)
    level = row.level if row is not None else OBSERVE
    candidate = str(facts.candidate["candidate_id"]) if facts.candidate is not None else ""
    base = Plan("", advice, row.name if row else "", level, "observe" if level == OBSERVE else "recommend", "", {}, "", ())
    if step is None or step.do is None or best is None:
        return base
    places = {"incident": facts.incident_id, "service": facts.service, "candidate": candidate}
    rails = _guardrails(advice, row, automation.limits, frames, acts, criticality=criticality, as_of=as_of, now=now)
    filled = replace(
        base,
        key=f"act:{facts.incident_id}:{best.runbook.id}:{step.number}:{candidate}",
        action=step.do.action,
        arguments=step.do.filled(places),
        rollback=_way_back(step.rollback, places),
        guardrails=tuple(rails),
    )
    if level < ASK or any(not one.passed and one.name not in ONLY_ASK for one in rails):
        return filled
    lowered = any(not one.passed for one in rails)
    return replace(filled, outcome="act" if level == ACT and not lowered else "ask")


def _way_back(rollback: Do | str | None, places: Mapping[str, str]) -> str:
    if isinstance(rollback, Do):
        return f"{rollback.action} {rollback.filled(places)}"
    return rollback or ""


def _guardrails(
    advice: Advice,
    row: IncidentClassRow | None,
    limits: LimitsRow,
    frames: Mapping[str, pl.DataFrame],
    acts: Sequence[Act],
    *,
    criticality: str | None,
    as_of: datetime,
    now: datetime,
) -> list[Guardrail]:
    facts, step, best = advice.facts, advice.step, advice.best
    assert step is not None and step.do is not None and best is not None
    action, service = step.do.action, facts.service
    level = row.level if row is not None else OBSERVE
    allowed = row.actions if row is not None else ()
    named = f"class {row.name} is at level {level}" if row is not None else "it fits no class, so it is observed"
    found = [
        Guardrail("level", level >= ASK, named),
        Guardrail("action_named", action in allowed, f"{action} is {'' if action in allowed else 'not '}among the actions of its class"),
        Guardrail("incident_open", bool(facts.row.get("is_open")), "it is open" if facts.row.get("is_open") else "it is over"),
        *(answer(check, frames, facts) for check in step.precondition),
        Guardrail("rollback_plan", bool(step.rollback), "the step says how it is undone" if step.rollback else "no way back is written"),
        _reach(frames, facts, limits),
        _fresh(as_of, now, limits),
        _probable(facts, row, limits),
        _evidenced(frames, facts, limits),
    ]
    waits = timedelta(minutes=limits.cool_down_minutes)
    last = max((act.at for act in acts if act.service == service and act.action == action and now - act.at < waits), default=None)
    cool = f"last begun at {last:%Y-%m-%d %H:%M} UTC, wait {limits.cool_down_minutes} min" if last else "not done lately"
    found.append(Guardrail("cool_down", last is None, f"{action} on {service}: {cool}"))
    today = sum(now - act.at < DAY for act in acts)
    found.append(Guardrail("most_per_day", today < limits.most_per_day, f"{today} of {limits.most_per_day} acts in the last 24 hours"))
    going = sorted({act.incident_id for act in acts if act.service == service and not act.is_over})
    alone = f"an act on {service} is not over ({', '.join(going)})" if going else f"nothing else is done to {service}"
    found.append(Guardrail("one_at_a_time", not going, alone))
    critical = criticality is None or criticality == "critical"
    words = f"{service} is {criticality or 'not in the catalogue'}"
    found.append(Guardrail("no_critical_service", not critical, f"{words}: a person approves" if critical else words))
    interval = best.record.interval
    good = best.record.enough and interval is not None and interval[0] >= limits.least_record
    found.append(Guardrail("record", good, f"{action} ended {best.record}; the lower end has to reach {limits.least_record:.0%}"))
    return found


def _reach(frames: Mapping[str, pl.DataFrame], facts: Facts, limits: LimitsRow) -> Guardrail:
    row = _row("mart_blast_radius", frames, facts)
    share = row["traffic_share"] if row is not None else None
    if row is None or share is None:
        return Guardrail("blast_radius", False, f"what {facts.service or 'the service'} can reach is not known")
    words = f"{facts.service} can reach {share:.0%} of attempts and {row['n_dependents']} services; at most {limits.most_traffic_share:.0%}"
    return Guardrail("blast_radius", bool(share <= limits.most_traffic_share), words)


def _fresh(as_of: datetime, now: datetime, limits: LimitsRow) -> Guardrail:
    minutes = (now - as_of).total_seconds() / 60
    words = f"the mart knows things up to {as_of:%Y-%m-%d %H:%M} UTC, {minutes:.0f} min ago; at most {limits.most_data_age_minutes} min"
    return Guardrail("data_fresh", minutes <= limits.most_data_age_minutes, words)


def _probable(facts: Facts, row: IncidentClassRow | None, limits: LimitsRow) -> Guardrail:
    least = max(limits.least_probability, row.least_probability if row is not None else 0.0)
    words = f"the likeliest candidate has {facts.probability:.0%}; at least {least:.0%}"
    return Guardrail("probability", facts.probability >= least, words)


def _evidenced(frames: Mapping[str, pl.DataFrame], facts: Facts, limits: LimitsRow) -> Guardrail:
    candidate = facts.candidate["candidate_id"] if facts.candidate is not None else None
    own = (pl.col("incident_id") == facts.incident_id) & (pl.col("candidate_id") == candidate)
    n = frames["mart_incident_evidence"].filter(own).height if candidate is not None else 0
    return Guardrail("evidence", n >= limits.least_evidence, f"{n} pieces of evidence speak for it; at least {limits.least_evidence}")
