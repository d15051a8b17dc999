"""Which earlier incidents look like this one, and which family it belongs to.

Incidents are compared by what they look like: likely cause, deviating services and symptoms, services hit, words of the title, trigger;
never by region, so the same trouble in another region is recognised. Everything runs forward in time: an incident is compared with earlier
ones only, word weights come from the past, and it joins the best family or founds one. Later incidents therefore never move earlier ones.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass

import polars as pl

from aftercast.correlation.harm import STRONG
from aftercast.correlation.inputs import CLUSTERING_VERSION, MODEL_VERSION
from aftercast.correlation.ranking import Ranked
from aftercast.correlation.semantics import AVAILABILITY, ERRORS, words
from aftercast.correlation.situation import Situation
from aftercast.correlation.surroundings import Surroundings, clock

WEIGHTS = {"cause": 0.35, "symptoms": 0.25, "services": 0.15, "title": 0.15, "trigger": 0.10}
JOIN = 0.55
"""An incident joins a family when its mean similarity to the members is at least this; else it founds one."""
SHOW = 0.35
MOST_SIMILAR = 5
LOOK_BACK = 500
LOUD_SHARE = 0.25
DONE = ("done", "verified")
_STOP_WORDS = "the a an of in on at to for and or is are was were with by from after since incident issue problem"
_STOP = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True, slots=True)
class Portrait:
    """What an incident looked like, as far as comparison goes."""

    incident_id: str
    started: int
    kind: str
    change_kind: str
    place: str
    certainty: float
    symptoms: frozenset[tuple[str, str]]
    services: frozenset[str]
    title: frozenset[str]
    trigger: str
    fixed_by: str | None


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike two incidents are, in [0, 1], and in which respects."""

    similarity: float
    reasons: tuple[str, ...]


def portrait(situation: Situation, ranked: list[Ranked], around: Surroundings, action_items: pl.DataFrame) -> Portrait:
    """Describe an incident by its likeliest cause and its clearest symptoms."""
    incident, top = situation.incident, ranked[0]
    clear = {
        (view.service, "failures" if symptom in {ERRORS, AVAILABILITY} else symptom): row.weight
        for view in situation.views.values()
        for symptom, row in view.by_symptom.items()
        if row.weight >= STRONG
    }
    loudest = max(clear.values(), default=0.0)
    return Portrait(
        incident.incident_id,
        incident.started,
        top.candidate.kind,
        top.candidate.change.kind if top.candidate.change else "",
        top.candidate.service,
        top.probability,
        frozenset(key for key, weight in clear.items() if weight >= LOUD_SHARE * loudest),
        frozenset(incident.services),
        frozenset(words(incident.title)) - _STOP,
        incident.trigger.lower(),
        _fixed_by(situation, ranked, around, action_items),
    )


def _fixed_by(situation: Situation, ranked: list[Ranked], around: Surroundings, action_items: pl.DataFrame) -> str | None:
    """What ended the incident: the change that undid a candidate, else an action item that was done."""
    for row in ranked[:3]:
        for finding in row.findings:
            if finding.check == "undone_after_onset" and row.candidate.change is not None:
                return f"{row.candidate.change.kind} on {row.candidate.service} undone: {finding.why}"
    done = action_items.filter((pl.col("incident_id") == situation.incident.incident_id) & pl.col("status").is_in(DONE))
    titles = done.sort("action_item_id")["title"].drop_nulls().to_list()
    if titles:
        return f"action done: {titles[0]}" + (f" and {len(titles) - 1} more" if len(titles) > 1 else "")
    for change in around.changes_between(situation.onset + 1, situation.incident.ended):
        if change.is_rollback and change.service in {row.candidate.service for row in ranked[:3]}:
            return f"rollback of {change.service} at {clock(change.started)}"
    return None


def compare(left: Portrait, right: Portrait, rarity: dict[str, float]) -> Likeness:
    """Weighted agreement over the respects both incidents show; a respect neither has anything to say about does not count."""
    parts: dict[str, float] = {"cause": _cause(left, right)}
    reasons: list[str] = []
    if parts["cause"] >= 0.5:
        reasons.append(f"same likely cause: {_cause_name(left)}")
    if left.symptoms or right.symptoms:
        shared = left.symptoms & right.symptoms
        parts["symptoms"] = len(shared) / len(left.symptoms | right.symptoms)
        if shared:
            reasons.append("same symptoms: " + ", ".join(f"{service} {symptom}" for service, symptom in sorted(shared)[:3]))
    if left.services or right.services:
        both = left.services & right.services
        parts["services"] = len(both) / len(left.services | right.services)
        if both:
            reasons.append("same services hit: " + ", ".join(sorted(both)[:3]))
    if left.title or right.title:
        parts["title"] = _cosine(left.title, right.title, rarity)
        common = sorted(left.title & right.title, key=lambda word: (-rarity.get(word, 1.0), word))
        if parts["title"] >= 0.3 and common:
            reasons.append("similar title: " + ", ".join(common[:4]))
    if left.trigger and right.trigger:
        parts["trigger"] = float(left.trigger == right.trigger)
        if left.trigger == right.trigger:
            reasons.append(f"same trigger: {left.trigger}")
    total = math.fsum(WEIGHTS[name] for name in parts)
    similarity = math.fsum(WEIGHTS[name] * value for name, value in parts.items()) / total
    return Likeness(round(min(max(similarity, 0.0), 1.0), 6), tuple(reasons))


def _cause(left: Portrait, right: Portrait) -> float:
    """1 for the same kind of cause in the same place, less when the place or the kind of change differs; doubt pulls towards a half."""
    if left.kind != right.kind or (left.kind == "none" and not left.services & right.services):
        agreement = 0.3 if left.place and left.place == right.place else 0.0
    elif left.place != right.place:
        agreement = 0.2
    else:
        agreement = 1.0 if left.change_kind == right.change_kind else 0.6
    sure = min(left.certainty, right.certainty)
    return agreement * sure + min(agreement, 0.5) * (1 - sure)


def _cosine(left: frozenset[str], right: frozenset[str], rarity: dict[str, float]) -> float:
    def length(ws: frozenset[str]) -> float:
        return math.sqrt(math.fsum(rarity.get(word, 1.0) ** 2 for word in sorted(ws)))

    if not left or not right:
        return 0.0
    return math.fsum(rarity.get(word, 1.0) ** 2 for word in sorted(left & right)) / (length(left) * length(right))


class _Words:
    """Rarity of title words among the incidents seen so far: ln((1 + n) / (1 + df)) + 1."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self._titles = 0

    def add(self, title: frozenset[str]) -> None:
        self._seen.update(title)
        self._titles += 1

    def rarity(self) -> dict[str, float]:
        return {word: math.log((1 + self._titles) / (1 + count)) + 1 for word, count in self._seen.items()}


def similar_rows(portraits: list[Portrait]) -> list[dict[str, object]]:
    """Rows of `similar_incidents`; `portraits` oldest first. Only incidents that began earlier are similar."""
    rows: list[dict[str, object]] = []
    vocabulary = _Words()
    for position, one in enumerate(portraits):
        vocabulary.add(one.title)
        rarity = vocabulary.rarity()
        earlier = [other for other in portraits[max(0, position - LOOK_BACK) : position] if other.started < one.started]
        found = [(likeness, other) for other in earlier if (likeness := compare(one, other, rarity)).similarity >= SHOW]
        found.sort(key=lambda pair: (-pair[0].similarity, -pair[1].started, pair[1].incident_id))
        rows.extend(
            {
                "incident_id": one.incident_id,
                "similar_incident_id": other.incident_id,
                "rank": place,
                "similarity": likeness.similarity,
                "reasons": list(likeness.reasons),
                "fixed_by": other.fixed_by,
                "model_version": MODEL_VERSION,
            }
            for place, (likeness, other) in enumerate(found[:MOST_SIMILAR], start=1)
        )
    return rows


def family_rows(portraits: list[Portrait]) -> list[dict[str, object]]:
    """Rows of `families`; `portraits` oldest first. A family is named after, and identified by, the incident that founded it."""
    families: list[list[Portrait]] = []
    rows: list[dict[str, object]] = []
    vocabulary = _Words()
    for one in portraits:
        vocabulary.add(one.title)
        rarity = vocabulary.rarity()
        best: tuple[float, int, tuple[str, ...]] | None = None
        for number, members in enumerate(families):
            likenesses = [compare(one, member, rarity) for member in members[-20:]]
            mean = math.fsum(likeness.similarity for likeness in likenesses) / len(likenesses)
            if mean >= JOIN and (best is None or mean > best[0]):
                best = (mean, number, max(likenesses, key=lambda likeness: (likeness.similarity, likeness.reasons)).reasons)
        if best is None:
            families.append([one])
            rows.append(_row(one, one, 0.0, ("the first of its family",)))
        else:
            families[best[1]].append(one)
            rows.append(_row(one, families[best[1]][0], round(1 - best[0], 6), best[2]))
    return rows


def _row(one: Portrait, founder: Portrait, distance: float, reasons: tuple[str, ...]) -> dict[str, object]:
    return {
        "incident_id": one.incident_id,
        "family_id": family_id(founder.incident_id),
        "family_title": family_title(founder),
        "distance": distance,
        "reasons": list(reasons),
        "clustering_version": CLUSTERING_VERSION,
        "model_version": MODEL_VERSION,
    }


def family_id(founder: str) -> str:
    return "family-" + hashlib.sha256(founder.encode()).hexdigest()[:10]


def family_title(founder: Portrait) -> str:
    """A short name people recognise: what happened where, and what it seems to follow."""
    place = founder.place or ", ".join(sorted(founder.services)[:2]) or "unknown service"
    here = sorted(symptom for service, symptom in founder.symptoms if service == place)
    symptom = here[0] if here else "trouble"
    return {
        "change": f"{place}: {symptom} after a {founder.change_kind}",
        "service": f"{place}: {symptom} without a known change",
        "provider": f"provider {place}: {symptom}",
        "none": f"{place}: no known cause inside",
    }[founder.kind]


def _cause_name(one: Portrait) -> str:
    if one.kind == "none":
        return "none of what we know"
    return f"{one.change_kind} on {one.place}" if one.kind == "change" else f"{one.kind} {one.place}"
