"""Candidates of one incident and their probabilities: prior log-odds plus the weighted strengths of the evidence, normalised over all.

The hypotheses are exclusive: this change did it, this service did it by itself, this provider did it, or none of these. A change inherits
the evidence about the place it touched, so a well-timed change explains its service and a service without one has to explain itself.
Order and probabilities depend on the inputs only, never on the order of their rows; ties fall to kind order, then candidate id.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from aftercast.correlation.evidence import examine
from aftercast.correlation.findings import LOOKBACK, TOLERANCE, Candidate, Finding, timing_density
from aftercast.correlation.harm import CLEAR
from aftercast.correlation.inputs import MODEL_VERSION
from aftercast.correlation.situation import NEAR_HOPS, Situation
from aftercast.correlation.surroundings import Surroundings
from aftercast.correlation.telemetry import HOUR, MINUTE
from aftercast.correlation.weights import PRIOR, PRIOR_KINDS, Weights, softmax
from aftercast.features import CHECKS

KIND_ORDER = {"change": 0, "service": 1, "provider": 2, "none": 3}
NONE = "none"
MOST = {"change": 40, "service": 15, "provider": 15, "none": 1}


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate with its place, probability and findings."""

    rank: int
    candidate: Candidate
    probability: float
    score: float
    findings: tuple[Finding, ...]


Examined = tuple[Candidate, tuple[Finding, ...]]
"""A candidate and what the checks found about it, before anything is weighed."""


def rank(situation: Situation, around: Surroundings, weights: Weights = PRIOR) -> list[Ranked]:
    """Return the candidates of an incident, likeliest first; `none` is always among them and the probabilities sum to one."""
    return order(gather(situation, around), weights)


def gather(situation: Situation, around: Surroundings) -> list[Examined]:
    """Return every candidate with its findings, by kind."""
    return [
        (candidate, tuple(examine(candidate, situation, around)))
        for kind in KIND_ORDER
        for candidate in _candidates(kind, situation, around)
    ]


def order(examined: Sequence[Examined], weights: Weights = PRIOR) -> list[Ranked]:
    """Return the candidates as these weights rank them; the order of `examined` does not matter."""
    scored: list[tuple[float, Candidate, tuple[Finding, ...]]] = []
    for kind, most in MOST.items():
        rows = [(weights.score(candidate, findings), candidate, findings) for candidate, findings in examined if candidate.kind == kind]
        rows.sort(key=lambda row: (-row[0], row[1].candidate_id))
        scored.extend(rows[:most])
        if len(rows) > most:
            scored = _tell_left_out(scored, kind, len(rows), most)
    scored.sort(key=lambda row: (-row[0], KIND_ORDER[row[1].kind], row[1].candidate_id))
    probabilities = softmax([score for score, _, _ in scored])
    return [
        Ranked(place, candidate, probability, score, findings)
        for place, (probability, (score, candidate, findings)) in enumerate(zip(probabilities, scored, strict=True), start=1)
    ]


def _tell_left_out(
    scored: list[tuple[float, Candidate, tuple[Finding, ...]]], kind: str, there: int, kept: int
) -> list[tuple[float, Candidate, tuple[Finding, ...]]]:
    """Note on the last kept candidate of a kind that weaker ones were left out: nothing is omitted in silence."""
    score, candidate, findings = scored[-1]
    note = Finding("candidates_left_out", 0.0, f"{there - kept} weaker {kind} candidates are not listed", "{}")
    return [*scored[:-1], (score, candidate, (*findings, note))]


def _candidates(kind: str, situation: Situation, around: Surroundings) -> list[Candidate]:
    if kind == "change":
        return _changes(situation, around)
    if kind == "none":
        return [Candidate(NONE, NONE, "", math.log(PRIOR_KINDS[NONE]))]
    places = _places(situation, around)
    if kind == "provider":
        providers = [place for place in places if place in around.providers]
        prior = math.log(PRIOR_KINDS[kind] / max(len(providers), 1))
        return [Candidate(kind, place, place, prior, hops=situation.hops.get(place)) for place in providers]
    services = [place for place in places if place not in around.providers]
    prior = math.log(PRIOR_KINDS[kind] / neighbourhood(situation, around))
    return [Candidate(kind, place, place, prior, hops=situation.hops.get(place)) for place in services]


def neighbourhood(situation: Situation, around: Surroundings) -> int:
    """Number of places a cause of this incident may sit in: services within reach of calls, or all that are known."""
    near = [name for name, hops in situation.hops.items() if hops <= NEAR_HOPS and name not in around.providers]
    known = len(near) if situation.graph and near else len(around.services - around.providers)
    return max(known, 1)


def _changes(situation: Situation, around: Surroundings) -> list[Candidate]:
    """Changes of the day before the onset (and a little after); what a provider announces is evidence about the provider instead."""
    prior = math.log(PRIOR_KINDS["change"] / neighbourhood(situation, around))
    found = []
    for change in around.changes_between(situation.onset - LOOKBACK, situation.latest + TOLERANCE):
        if change.service in around.providers or change.kind == "provider":
            continue
        gap = (situation.onset_at(change.service) - change.started) / MINUTE
        if gap < -TOLERANCE / MINUTE:
            continue
        rate = around.changes_per_hour(change, situation.onset)
        lift = timing_density(gap / 60) / rate
        found.append(
            Candidate(
                "change",
                change.change_id,
                change.service,
                prior,
                change,
                situation.hops.get(change.service),
                round(gap, 3),
                round(rate, 6),
                round(lift, 4),
            )
        )
    return found


def _places(situation: Situation, around: Surroundings) -> list[str]:
    """Services and providers something points to: hit, near in the graph, deviating, alerting, or announcing trouble."""
    named = set(situation.incident.services)
    near = {name for name, hops in situation.hops.items() if hops <= NEAR_HOPS}
    hurt = {name for name, view in situation.views.items() if view.worst.weight > CLEAR}
    loud = {
        name
        for name, moments in around.alerts.items()
        if any(situation.onset - TOLERANCE <= at <= situation.onset + HOUR for at in moments)
    }
    announced = {
        change.service
        for change in around.changes_between(situation.onset - LOOKBACK, situation.incident.ended)
        if change.service in around.providers or change.kind == "provider"
    }
    return sorted((named | near | hurt | loud | announced) - {""})


# --- words -------------------------------------------------------------------------------------------------------------------------------


def rationale(row: Ranked, ranked: Sequence[Ranked] = ()) -> str:
    """One sentence from the strongest findings, in everyday words; with the whole ranking, how far the nearest alternative is."""
    candidate, findings = row.candidate, sorted(row.findings, key=lambda finding: (-finding.strength, finding.check))
    opening = (
        f"Probably {_name(candidate)}"
        if row.probability >= 0.5
        else f"A candidate is {_name(candidate)}"
        if row.probability >= 0.1
        else f"A weak candidate is {_name(candidate)}"
    )
    speaking = [finding.why for finding in findings if finding.strength >= 0.2][:3]
    against = [finding.why for finding in reversed(findings) if finding.strength <= -0.5]
    if not speaking and not against:
        return f"{opening}: no check found anything for or against it{_alternative(row, ranked)}"
    text = "; ".join(speaking) if speaking else f"little speaks for it: {against[0]}"
    if speaking and against and row.probability < 0.5:
        text += f"; but {against[0]}"
    return f"{opening}: {text}{_alternative(row, ranked)}"


def _alternative(row: Ranked, ranked: Sequence[Ranked]) -> str:
    """Of the first candidate: the second and how far it is behind, in points of probability. Of the others: how far they are."""
    if len(ranked) < 2:
        return ""
    other = ranked[1] if row.rank == 1 else ranked[0]
    points = round(100 * abs(row.probability - other.probability))
    if row.rank > 1:
        return f"; {_points(points)} behind the first" if points else "; as likely as the first"
    return f"; next, {_points(points)} behind: {_name(other.candidate)}" if points else f"; as likely: {_name(other.candidate)}"


def _points(number: int) -> str:
    return f"{number} point{'s' if number != 1 else ''}"


def _name(candidate: Candidate) -> str:
    if candidate.change is not None:
        change = candidate.change
        title = f" “{change.title}”" if change.title else ""
        return f"the {change.kind}{title} on {change.service or 'an unnamed service'}"
    if candidate.kind == "service":
        return f"{candidate.service} by itself, without a change"
    if candidate.kind == "provider":
        return f"the provider {candidate.service}"
    return "none of the changes, services and providers we know"


def evidence_id(incident_id: str, candidate: Candidate, check: str) -> str:
    text = "|".join((incident_id, candidate.kind, candidate.candidate_id, check))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def evidence_rows(incident_id: str, ranked: Sequence[Ranked]) -> list[dict[str, object]]:
    return [
        {
            "evidence_id": evidence_id(incident_id, row.candidate, finding.check),
            "incident_id": incident_id,
            "kind": row.candidate.kind,
            "candidate_id": row.candidate.candidate_id,
            "check_name": finding.check,
            "is_interesting": finding.is_interesting,
            "strength": round(finding.strength, 4),
            "why": finding.why,
            "pointer": finding.pointer,
            "feature_version": finding.version or str(CHECKS[finding.check]),
            "model_version": MODEL_VERSION,
        }
        for row in ranked
        for finding in row.findings
    ]


def candidate_rows(incident_id: str, ranked: Sequence[Ranked], weights: Weights = PRIOR) -> list[dict[str, object]]:
    return [
        {
            "incident_id": incident_id,
            "rank": row.rank,
            "kind": row.candidate.kind,
            "candidate_id": row.candidate.candidate_id,
            "service": row.candidate.service or None,
            "probability": row.probability,
            "score": round(row.score, 6),
            "lift": row.candidate.lift,
            "base_rate_per_hour": row.candidate.base_rate_per_hour,
            "gap_minutes": row.candidate.gap_minutes,
            "hops": row.candidate.hops,
            "rationale": rationale(row, ranked),
            "evidence": [
                evidence_id(incident_id, row.candidate, finding.check)
                for finding in sorted(row.findings, key=lambda finding: (-abs(finding.strength), finding.check))
            ],
            "weights_version": weights.version,
            "learned_from_n": weights.learned_from_n,
            "model_version": MODEL_VERSION,
        }
        for row in ranked
    ]
