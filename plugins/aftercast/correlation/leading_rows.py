"""Leading indicators and their matches as rows: what a pattern is worth, what it says now, and what became of what it said before."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

import polars as pl

from aftercast.correlation.inputs import MODEL_VERSION, Inputs, table
from aftercast.correlation.leading import (
    HORIZON,
    NOT_ENOUGH,
    ON_TRIAL,
    REJECTED,
    Indicator,
    Rate,
    Subject,
    Trouble,
    Warned,
    is_closed,
    mine,
)
from aftercast.correlation.portraits import Attempt, Portrait
from aftercast.correlation.precursors import ALERT, CHANGE, FILLING, LOG, Occurrence, Occurrences, Pattern, occurrences
from aftercast.correlation.situation import Incident
from aftercast.correlation.surroundings import clock, micros
from aftercast.correlation.telemetry import HOUR, MINUTE

LEADING_TABLES = ("leading_indicators", "leading_matches")
TRUE, FALSE, PREVENTED, PENDING = "came_true", "false", "prevented", "pending"
ANSWERS = frozenset({"rollback", "infra"})
"""Changes that answer a warning without a length of its own; while a warned-of episode goes on, any change of its service does."""
NOT_BY_US = frozenset({"maintenance", "provider"})
SHOWN = 3

Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of incidents, what ended those of each family (since when known), and what was done to services: (moment, kind, id)."""

    attempts: Mapping[str, Sequence[tuple[int, Attempt]]]
    family_of: Mapping[str, str]
    titles: Mapping[str, str]
    services_of: Mapping[str, frozenset[str]]
    deeds: Mapping[str, Sequence[tuple[int, str, str]]]


def leading_tables(
    inputs: Inputs, incidents: Sequence[Incident], portraits: Sequence[Portrait], families: pl.DataFrame, as_of: int
) -> dict[str, pl.DataFrame]:
    """The derived tables `LEADING_TABLES`; `inputs` conformed."""
    found = occurrences(inputs, as_of)
    past = _past(inputs, incidents, portraits, families)
    indicators = mine(found, troubles_of(incidents, portraits, inputs.journeys), as_of)
    matches = {one.pattern: [_match_row(one, warned, past, as_of) for warned in since_mined(one)] for one in indicators}
    everywhere = _everywhere(found)
    rows = [_indicator_row(one, matches[one.pattern], everywhere[one.pattern], past, as_of) for one in indicators]
    return {
        "leading_indicators": table("leading_indicators", rows),
        "leading_matches": table("leading_matches", [row for held in matches.values() for row in held]),
    }


def troubles_of(incidents: Sequence[Incident], portraits: Sequence[Portrait], journeys: pl.DataFrame) -> dict[Subject, list[Trouble]]:
    """Incidents of each service (that they name, or whose likeliest cause it is) and of each journey (of its services)."""
    carried: dict[str, set[str]] = defaultdict(set)
    for journey, service in journeys.select("journey", "service").drop_nulls().iter_rows():
        carried[service].add(journey)
    causes = {one.incident_id: one.place for one in portraits if one.kind != "none" and one.place}
    found: dict[Subject, list[Trouble]] = defaultdict(list)
    for incident in incidents:
        trouble = Trouble(incident.started, incident.ended, incident.incident_id)
        services = {*incident.services, causes.get(incident.incident_id, "")} - {""}
        for service in sorted(services):
            found["service", service, incident.environment].append(trouble)
        for journey in sorted({journey for service in services for journey in carried[service]}):
            found["journey", journey, ""].append(trouble)
    return found


def since_mined(one: Indicator) -> list[Warned]:
    return [warned for warned in one.warnings if one.mined_at is not None and warned.at >= one.mined_at]


def _indicator_row(one: Indicator, matches: Sequence[Row], seen: Sequence[Occurrence], past: Past, as_of: int) -> Row:
    closed = list(one.closed(as_of))
    hits = [warned for warned in closed if warned.trouble is not None]
    later = [warned for warned in since_mined(one) if warned.trouble is not None]
    low, high = one.judged.ends
    outcomes = Counter(str(row["outcome"]) for row in matches)
    family, times = _usual_family(hits, past)
    return {
        **_key(one.pattern),
        "status": one.status,
        "reason": _reason(one),
        "horizon_minutes": HORIZON // MINUTE,
        "episodes_n": len(closed),
        "preceding_n": len(hits),
        "incidents_preceded_n": len({warned.trouble.incident_id for warned in hits if warned.trouble}),
        "lead_minutes_median": _lead(hits),
        "last_episode_at": _moment(seen[-1].at),
        "is_matching_now": any(row.is_open or row.at >= as_of - HOUR for row in seen),
        "mined_at": None if one.mined_at is None else _moment(one.mined_at),
        "judged_n": one.judged.n,
        "judged_true_n": one.judged.k,
        "judged_precision": one.judged.share,
        "judged_precision_low": low,
        "judged_precision_high": high,
        "judged_lead_minutes_median": _lead(later),
        "incidents_due_n": one.recalled.n if one.recalled else None,
        "incidents_warned_n": one.recalled.k if one.recalled else None,
        "base_rate": one.chance,
        "lift": one.lift,
        "lift_low": low / one.chance if low is not None and one.chance > 0 else None,
        "lift_high": high / one.chance if high is not None and one.chance > 0 else None,
        "p_value": one.p_value,
        "q_value": one.q_value,
        "came_true_n": outcomes[TRUE],
        "false_n": outcomes[FALSE],
        "prevented_n": outcomes[PREVENTED],
        "pending_n": outcomes[PENDING],
        "family_id": family,
        "family_incidents_n": times,
        "incidents": sorted({warned.trouble.incident_id for warned in hits if warned.trouble}),
        "model_version": MODEL_VERSION,
    }


def _match_row(one: Indicator, warned: Warned, past: Past, as_of: int) -> Row:
    """A match with what was known when it was raised, and its outcome when it is."""
    before = [other for other in one.warnings if other.closes <= warned.at]
    judged = [other for other in before if one.mined_at is not None and other.at >= one.mined_at]
    rate = Rate(len(judged), sum(other.trouble is not None for other in judged))
    low, high = rate.ends
    hits = [other for other in before if other.trouble is not None]
    family, _ = _usual_family(hits, past)
    alike = list(dict.fromkeys(other.trouble.incident_id for other in reversed(hits) if other.trouble))[:SHOWN]
    outcome, deed = _outcome(one.pattern, warned, past, as_of)
    text = "|".join([*(str(value) for value in _key(one.pattern).values()), warned.subject, str(warned.at)])
    return {
        "match_id": "match-" + hashlib.sha256(text.encode()).hexdigest()[:12],
        **_key(one.pattern),
        "matched_subject": warned.subject,
        "source_id": warned.occurrence.source_id,
        "status": one.status,
        "matched_at": _moment(warned.at),
        "horizon_end_at": _moment(warned.closes),
        "past_n": rate.n,
        "past_true_n": rate.k,
        "past_precision": rate.share,
        "past_precision_low": low,
        "past_precision_high": high,
        "base_rate": one.chance,
        "family_id": family,
        "similar_incidents": alike,
        "look": _look(one.pattern, warned, alike, family, past),
        "outcome": outcome,
        "incident_id": warned.trouble.incident_id if warned.trouble else None,
        "lead_minutes": (warned.trouble.started - warned.at) / MINUTE if warned.trouble else None,
        "decided_at": _decided(outcome, warned),
        "prevented_by": deed,
        "model_version": MODEL_VERSION,
    }


def _decided(outcome: str, warned: Warned) -> datetime | None:
    if outcome == PENDING:
        return None
    return _moment(warned.trouble.started if warned.trouble else warned.closes)


def _outcome(pattern: Pattern, warned: Warned, past: Past, as_of: int) -> tuple[str, str | None]:
    """What became of a warning, and the deed that may have prevented the incident. Nobody can know that it did."""
    if warned.trouble is not None:
        return TRUE, None
    if not is_closed(warned, as_of):
        return PENDING, None
    until = warned.occurrence.until
    has_length = until is not None and until > warned.at
    end = min(warned.closes, until) if has_length and until is not None else warned.closes
    for service in sorted(past.services_of.get(warned.subject, frozenset({warned.subject}))):
        deeds = past.deeds.get(service, ())
        for moment, kind, deed_id in deeds[bisect_right(deeds, (warned.at, "\uffff", "")) :]:
            if moment > end:
                break
            if kind in ANSWERS or kind == "action" or (has_length and pattern.kind != CHANGE and kind not in NOT_BY_US):
                return PREVENTED, f"{kind} {deed_id}"
    return FALSE, None


def _look(pattern: Pattern, warned: Warned, alike: Sequence[str], family: str | None, past: Past) -> str:
    """Where to look first, and what helped before."""
    what = {
        ALERT: f"alert {pattern.signal} of {warned.subject}",
        CHANGE: f"the {pattern.signal} of {warned.subject} at {clock(warned.at)}",
        LOG: f"what {warned.subject} logs since {clock(warned.at)}: “{(warned.occurrence.source_id or pattern.signal)[:80]}”",
        FILLING: f"{pattern.signal} of {warned.subject}: rising since before {clock(warned.at)}, full within hours if it goes on",
    }.get(pattern.kind, f"{pattern.signal} of {warned.subject}: {pattern.direction} at {clock(warned.at)}")
    text = f"Look at {what}. It came before {', '.join(alike)}"
    if family is not None:
        text += f" ({past.titles[family]})"
    tried = Counter[tuple[str, str]]()
    worked = Counter[tuple[str, str]]()
    for started, attempt in past.attempts.get(family or "", ()):
        if started < warned.at and attempt.worked is not None:
            tried[attempt.kind, attempt.service] += 1
            worked[attempt.kind, attempt.service] += attempt.worked
    if worked.total():
        kind, service = min(worked, key=lambda key: (-worked[key], tried[key], key))
        text += f"; {kind} on {service} ended {worked[kind, service]} of {tried[kind, service]} such incidents"
    return text + "."


def _reason(one: Indicator) -> str:
    if one.status == NOT_ENOUGH or one.mined_at is None:
        return "it has not yet come before two incidents more often than chance"
    share = f"{one.judged.k} of {one.judged.n} later warnings came true, {100 * one.chance:.1f} % expected by chance"
    if one.judged.n == 0:
        return f"mined at {_moment(one.mined_at):%Y-%m-%d %H:%M}; no later warning is over yet"
    if one.status == ON_TRIAL:
        return f"{share}: too few to decide"
    return f"{share}: no better than twice chance" if one.status == REJECTED else share


def _usual_family(hits: Iterable[Warned], past: Past) -> tuple[str | None, int]:
    """The family most of the incidents belong to, and how many of them."""
    ids = {warned.trouble.incident_id for warned in hits if warned.trouble is not None}
    families = Counter(past.family_of[incident_id] for incident_id in sorted(ids) if incident_id in past.family_of)
    if not families:
        return None, 0
    family = min(families, key=lambda name: (-families[name], name))
    return family, families[family]


def _lead(warnings: Sequence[Warned]) -> float | None:
    leads = [(warned.trouble.started - warned.at) / MINUTE for warned in warnings if warned.trouble is not None]
    return median(leads) if leads else None


def _past(inputs: Inputs, incidents: Sequence[Incident], portraits: Sequence[Portrait], families: pl.DataFrame) -> Past:
    services_of: dict[str, set[str]] = defaultdict(set)
    for journey, service in inputs.journeys.select("journey", "service").drop_nulls().iter_rows():
        services_of[journey].add(service)
    deeds: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for row in inputs.changes.filter(pl.col("started_at").is_not_null() & pl.col("service").is_not_null()).iter_rows(named=True):
        kind = "rollback" if row["is_rollback"] else row["kind"]
        deeds[row["service"]].append((micros(row["started_at"]), kind, row["change_id"] or ""))
    hit = {incident.incident_id: incident.services for incident in incidents}
    for row in inputs.action_items.iter_rows(named=True):
        moment = row["shipped_at"] or row["done_at"]
        for service in hit.get(row["incident_id"], ()) if moment else ():
            deeds[service].append((micros(moment), "action", row["action_item_id"] or ""))
    family_of = dict(families.select("incident_id", "family_id").iter_rows())
    attempts: dict[str, list[tuple[int, Attempt]]] = defaultdict(list)
    for one in portraits:
        attempts[family_of[one.incident_id]].extend((one.started, attempt) for attempt in one.attempts)
    return Past(
        attempts,
        family_of,
        dict(families.select("family_id", "family_title").iter_rows()),
        {journey: frozenset(services) for journey, services in services_of.items()},
        {service: sorted(rows) for service, rows in deeds.items()},
    )


def _everywhere(found: Occurrences) -> dict[Pattern, list[Occurrence]]:
    """Occurrences of each pattern, and of all subjects together."""
    held: dict[Pattern, list[Occurrence]] = {**found}
    together: dict[Pattern, list[Occurrence]] = defaultdict(list)
    for pattern, rows in found.items():
        together[pattern.anywhere].extend(rows)
    return held | {pattern: sorted(rows, key=lambda row: (row.at, row.source_id)) for pattern, rows in together.items()}


def _key(pattern: Pattern) -> Row:
    return {
        "kind": pattern.kind,
        "signal": pattern.signal,
        "subject_kind": pattern.subject_kind,
        "subject": pattern.subject,
        "environment": pattern.environment,
        "direction": pattern.direction,
    }


def _moment(at: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)
