"""Proposals as rows: the sentence that tells one, its severity, the incident it is about, and its probable causes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from aftercast.correlation.graph import Graph
from aftercast.correlation.inputs import Inputs
from aftercast.correlation.kinship import Kinship
from aftercast.correlation.matching import Incidents, Match, best, declared_of, match
from aftercast.correlation.members import ALERT, ANOMALY, JOURNEY, KPI_DROP, SERVICE, Apart, Member, Subject, members_of
from aftercast.correlation.proposal import Proposal
from aftercast.correlation.proposals import REHEARSALS, propose
from aftercast.correlation.situation import Incident
from aftercast.correlation.surroundings import EPOCH, clock, micros
from aftercast.correlation.telemetry import MINUTE

PROPOSAL_VERSION = "proposals-1"
MOST_NAMED = 4
OF_A_SERVICE = 0.5
"""How much of what is missing to severity 1 a service hit takes away at its worst; a journey takes away all."""
Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class Proposed:
    """Every proposal with the incidents it is about, likeliest first, and what belongs to none."""

    proposals: tuple[tuple[Proposal, tuple[Match, ...]], ...]
    apart: tuple[Apart, ...]
    as_of: int

    @property
    def undeclared(self) -> list[Incident]:
        """Proposals that match no declared incident, as incidents whose causes can be ranked."""
        return [_as_incident(one, self.as_of) for one, matches in self.proposals if not matches]


def proposals_of(inputs: Inputs, incidents: list[Incident], as_of: datetime) -> Proposed:
    """Build the proposals of all environments; `inputs` conformed, `incidents` those that had begun by `as_of`."""
    members, apart = members_of(inputs, as_of)
    declared = declared_of(inputs, incidents)
    environments = sorted({""} | {one.environment for one in members})
    kinships = kinships_of(inputs, environments)
    by_environment = {name: Incidents.of(row for row in declared if _is_of(row.incident, name)) for name in environments}
    moment = micros(as_of)
    found, left = propose(members, kinships, by_environment, moment)
    return Proposed(tuple((one, tuple(_matches(one, kinships, by_environment, moment))) for one in found), (*apart, *left), moment)


def _is_of(incident: Incident, environment: str) -> bool:
    """Journeys alone name no environment: any incident that customers may have felt is theirs."""
    return incident.environment == environment if environment else incident.environment.lower() not in REHEARSALS


def kinships_of(inputs: Inputs, environments: list[str]) -> dict[str, Kinship]:
    """What belongs together in each environment."""
    journeys: dict[str, set[str]] = {}
    for journey, service in inputs.journeys.select("journey", "service").drop_nulls().iter_rows():
        journeys.setdefault(service, set()).add(journey)
    shared = frozenset(
        service for service, kind in inputs.services.select("service", "kind").drop_nulls().iter_rows() if kind in ("provider", "store")
    )
    carried = {service: frozenset(names) for service, names in journeys.items()}
    return {name: Kinship(Graph.of_environment(inputs.dependencies, name), carried, shared) for name in environments}


def _matches(one: Proposal, kinships: Mapping[str, Kinship], incidents: Mapping[str, Incidents], as_of: int) -> list[Match]:
    extent = one.extent(as_of)
    around = incidents[one.environment].around(extent.started, extent.heard)
    return best(found for row in around if (found := match(extent, row.incident, kinships[one.environment])) is not None)


def _as_incident(one: Proposal, as_of: int) -> Incident:
    regions = sorted({region for _, region in one.places})
    services = tuple(name for kind, name in one.subjects if kind == SERVICE)
    region = regions[0] if len(regions) == 1 else ""
    return Incident(one.proposal_id, "", one.environment, region, services, (), "", one.started, max(one.heard(as_of), one.started))


# --- rows --------------------------------------------------------------------------------------------------------------------------------


def proposal_rows(proposed: Proposed, candidates: Mapping[str, Row]) -> list[Row]:
    """Rows of `proposals`; `candidates`: the first candidate of each incident, and of each proposal without one, by id."""
    return [_row(one, matches, candidates) for one, matches in proposed.proposals]


def _row(one: Proposal, matches: tuple[Match, ...], candidates: Mapping[str, Row]) -> Row:
    kinds = Counter(each.member.kind for each in one.joined)
    subjects = one.subjects
    is_open = one.closed_because is None
    top = candidates.get(matches[0].incident_id if matches else one.proposal_id, {})
    return {
        "proposal_id": one.proposal_id,
        "environment": one.environment,
        "regions": sorted({region for _, region in one.places} - {""}),
        "services": [name for kind, name in subjects if kind == SERVICE],
        "journeys": [name for kind, name in subjects if kind == JOURNEY],
        "status": ("reopened" if one.reopened else "open") if is_open else "closed",
        "opened_because": one.opened_because,
        "closed_because": one.closed_because,
        "follows_proposal_id": one.follows,
        "incident_id": matches[0].incident_id if matches else None,
        "match_likeness": matches[0].likeness if matches else None,
        "match_gap_minutes": matches[0].gap if matches else None,
        "match_reason": matches[0].words if matches else None,
        "n_incidents": len(matches),
        "n_alerts": kinds[ALERT],
        "n_anomalies": kinds[ANOMALY],
        "n_kpi_drops": kinds[KPI_DROP],
        "n_subjects": len(subjects),
        "n_reopened": one.reopened,
        "severity": severity(one.strong),
        "narrative": narrative(one),
        "top_candidate_kind": top.get("kind"),
        "top_candidate_id": top.get("candidate_id"),
        "top_candidate_service": top.get("service"),
        "top_candidate_probability": top.get("probability"),
        "top_candidate_rationale": top.get("rationale"),
        "started_at": _time(one.started),
        "first_signal_at": _time(one.founder.known),
        "alarmed_at": _time(one.opened or one.founder.known),
        "ended_at": None if one.ended is None else _time(max(one.ended, one.started)),
        "model_version": PROPOSAL_VERSION,
    }


def member_rows(proposed: Proposed) -> list[Row]:
    """Rows of `proposal_members`: every alert and live episode once, with its proposal or without one, and why."""
    rows: list[Row] = [
        {
            "member_kind": each.member.kind,
            "member_id": each.member.member_id,
            "proposal_id": one.proposal_id,
            "role": each.role,
            "reason": each.because,
            "model_version": PROPOSAL_VERSION,
        }
        for one, _ in proposed.proposals
        for each in one.joined
    ]
    rows += [
        {
            "member_kind": one.kind,
            "member_id": one.member_id,
            "proposal_id": None,
            "role": "apart",
            "reason": one.reason,
            "model_version": PROPOSAL_VERSION,
        }
        for one in proposed.apart
    ]
    return sorted(rows, key=lambda row: (str(row["member_kind"]), str(row["member_id"])))


def match_rows(proposed: Proposed) -> list[Row]:
    """Rows of `proposal_incidents`: every declared incident a proposal is about; the first is the one its row names."""
    return [
        {
            "proposal_id": one.proposal_id,
            "incident_id": found.incident_id,
            "rank": place,
            "likeness": found.likeness,
            "gap_minutes": found.gap,
            "reason": found.words,
            "model_version": PROPOSAL_VERSION,
        }
        for one, matches in proposed.proposals
        for place, found in enumerate(matches, start=1)
    ]


def severity(members: list[Member]) -> float:
    """1 - product over subjects of (1 - part of the worst weight there): a journey counts whole, a service half."""
    worst: dict[Subject, float] = {}
    for one in members:
        worst[one.subject] = max(worst.get(one.subject, 0.0), one.weight)
    left = math.prod(1 - weight * (1.0 if subject[0] == JOURNEY else OF_A_SERVICE) for subject, weight in sorted(worst.items()))
    return round(1 - left, 6)


def _time(moment: int) -> datetime:
    return EPOCH + timedelta(microseconds=moment)


# --- the sentence ------------------------------------------------------------------------------------------------------------------------


def narrative(one: Proposal) -> str:
    """What began where and when, how it spread, which journeys it hurts, how many signals, since when; no word about causes."""
    subjects = one.subjects
    began = min(one.strong, key=lambda each: (each.started, each.known, each.kind, each.member_id))
    parts = [f"It began with {_told(began)} at {_stamp(one, began.started)}"]
    later = [subject for subject in subjects if subject != began.subject and subject[0] == SERVICE]
    if later:
        named = [f"{name} ({_later(one.first[(kind, name)][0] - began.started)})" for kind, name in later[:MOST_NAMED]]
        parts.append(f"then reached {_listed(named, len(later) - len(named), 'service')}")
    hurt = [name for kind, name in subjects if kind == JOURNEY]
    if hurt:
        parts.append(f"{'journey' if len(hurt) == 1 else 'journeys'} {_listed(hurt[:MOST_NAMED], len(hurt) - MOST_NAMED, 'journey')} hurt")
    kinds = Counter(each.member.kind for each in one.joined)
    counts = [_count(kinds[kind], word) for kind, word in ((ALERT, "alert"), (ANOMALY, "anomaly"), (KPI_DROP, "KPI drop")) if kinds[kind]]
    regions = sorted({region for _, region in one.places} - {""})
    where = f" in {_listed(regions[:MOST_NAMED], len(regions) - MOST_NAMED, 'region')}" if regions else ""
    state = "still going on" if one.ended is None else f"last heard at {_stamp(one, one.ended)}"
    return f"{'; '.join(parts)}; {_listed(counts, 0, '')}{where}; {state}"


def _told(member: Member) -> str:
    place = f" on {member.subject[1]}" if member.subject[1] else ""
    if member.kind == ALERT:
        return f"the alert {member.name}{place}"
    if member.expected is None or member.actual is None:
        return f"{member.name}{place} going {member.direction or 'astray'}"
    return f"{member.name}{place} at {member.actual:.3g} where {member.expected:.3g} was expected"


def _stamp(one: Proposal, moment: int) -> str:
    """The time; with its day when that is not plain from the first time told."""
    day, first = (_time(at).date() for at in (moment, one.started))
    return clock(moment) if moment != one.started and day == first else f"{clock(moment)} on {day:%-d %B}"


def _later(gap: int) -> str:
    minutes = round(gap / MINUTE)
    return f"{minutes} min later" if minutes > 0 else "at once"


def _count(n: int, word: str) -> str:
    plural = "anomalies" if word == "anomaly" else f"{word}s"
    return f"{n} {word if n == 1 else plural}"


def _listed(names: list[str], more: int, word: str) -> str:
    plural = f"{word}s" if more != 1 else word
    shown = [*names, f"{more} more {plural}"] if more > 0 else names
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
