"""What to do about an incident: who likely owns it, which runbooks fit and how they did, and what ended incidents like it. From rows alone.

Candidates are suspicions with a probability, so an owner is likely and an action recommended, never certain. Records count incidents that
were over before this one began. Runbooks that a recurring pattern lacks, or whose action keeps failing, are named for review.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from aftercast.declarations import ServiceRow, TeamRow
from aftercast.learning.endings import Ending, Record, endings
from aftercast.runbooks import ACTIONS, Runbook, Step

MODEL_VERSION = "responses-1"
READ: dict[str, str] = {
    "mart_incidents": "select * from marts.mart_incidents",
    "mart_incident_candidates": "select * from marts.mart_incident_candidates where rank <= 3",
    "mart_incident_evidence": "select incident_id, candidate_id, evidence_id from marts.mart_incident_evidence where strength > 0",
    "mart_changes": "select * from marts.mart_changes",
    "mart_similar_incidents": "select * from marts.mart_similar_incidents",
    "mart_families": "select * from marts.mart_families",
    "mart_blast_radius": "select * from marts.mart_blast_radius",
}
"""What advice reads of the published mart."""
SURE = 0.5
"""From this probability on the likeliest candidate says who owns an incident."""
LEAST_FAMILY = 3
LEAST_JUDGED = 5
MOSTLY_FAILS = 0.5

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """What of an incident runbooks and classes are matched by.

    Attributes:
        cause: kind of the likeliest candidate; of a change, which kind of change. Empty: no candidate was computed.
        service: the service acted on: that of the likeliest candidate, else where it seemed to begin.
        row, candidate: rows of mart_incidents and of its likeliest candidate.
    """

    incident_id: str
    cause: str
    service: str
    family_id: str | None
    family_title: str
    probability: float
    row: Row
    candidate: Row | None


@dataclass(frozen=True, slots=True)
class Match:
    """A runbook that fits, why, and how often what it does ended the earlier incidents it fits."""

    runbook: Runbook
    reasons: tuple[str, ...]
    record: Record


@dataclass(frozen=True, slots=True)
class Owner:
    """The team that likely has to act; None when nothing says. `on_call` is its rota, not a person."""

    team: str | None
    channel: str | None
    on_call: str | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Advice:
    """All that is said about one incident; `evidence` holds ids that resolve to rows of the marts."""

    facts: Facts
    owner: Owner
    matches: tuple[Match, ...]
    step: Step | None
    recommended: str
    why: tuple[str, ...]
    evidence: tuple[str, ...]

    @property
    def best(self) -> Match | None:
        return self.matches[0] if self.matches else None


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A runbook to write or to change: `runbook_id` is None for one that is missing."""

    runbook_id: str | None
    subject: str
    text: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Past:
    """The published rows, arranged once for any number of incidents."""

    facts: Mapping[str, Facts]
    ended: Mapping[str, Ending | None]
    over_at: Mapping[str, datetime]
    frames: Mapping[str, pl.DataFrame]

    @classmethod
    def of(cls, frames: Mapping[str, pl.DataFrame]) -> Past:
        """Arrange the rows that `READ` names; incidents excluded from metrics (tests, drills) count for nothing."""
        real = frames["mart_incidents"].filter(~pl.col("exclude_from_metrics").fill_null(False))
        first = {row["incident_id"]: row for row in frames["mart_incident_candidates"].filter(pl.col("rank") == 1).iter_rows(named=True)}
        facts = {row["incident_id"]: _facts(row, first.get(row["incident_id"])) for row in real.iter_rows(named=True)}
        over = {
            row["incident_id"]: row.get("impact_end_at") or row.get("mitigated_at") or row.get("resolved_at")
            for row in real.filter(~pl.col("is_open")).iter_rows(named=True)
        }
        ended = endings({**frames, "mart_incidents": real})
        return cls(facts, ended, {name: end for name, end in over.items() if end is not None}, frames)


def _facts(row: Row, top: Row | None) -> Facts:
    kind = "" if top is None else str(top["kind"])
    cause = str(top["change_kind"] or kind) if top is not None and kind == "change" else kind
    service = (top["service"] if top is not None else None) or row.get("service_origin") or ""
    probability = float(top["probability"] or 0.0) if top is not None else 0.0
    title = str(row.get("family_title") or "")
    return Facts(row["incident_id"], cause, str(service), row.get("family_id"), title, probability, row, top)


def reasons(runbook: Runbook, facts: Facts) -> tuple[str, ...]:
    """Return why a runbook fits an incident; nothing when it does not. Declared services must fit, and a declared cause or family."""
    found = []
    if runbook.services:
        if facts.service not in runbook.services:
            return ()
        found.append(f"it is for {facts.service}")
    said = []
    if facts.cause and facts.cause in runbook.causes:
        said.append(f"it is for the cause {facts.cause} ({facts.probability:.0%} likely)")
    title = facts.family_title.lower()
    for family in runbook.families:
        if family == facts.family_id or (title and re.search(rf"\b{re.escape(family.lower())}\b", title)):
            said.append(f"it is for the family {facts.family_title or facts.family_id}")
            break
    if (runbook.causes or runbook.families) and not said:
        return ()
    return (*said, *found)


def record_of(runbook: Runbook, past: Past, before: datetime | None = None) -> Record:
    """Return how often the incidents a runbook fits ended by the kind of action it names; of those over before a time, if given."""
    kinds = ACTIONS[runbook.action.do.action] if runbook.action and runbook.action.do else ()
    hits = n = unseen = 0
    for name, facts in past.facts.items():
        over = past.over_at.get(name)
        if over is None or (before is not None and over >= before) or not reasons(runbook, facts):
            continue
        ending = past.ended.get(name)
        if ending is None:
            unseen += 1
        else:
            n += 1
            hits += ending.kind in kinds
    return Record(hits, n, unseen) if kinds else Record(0, 0, n + unseen)


def advise(incident_id: str, past: Past, runbooks: Sequence[Runbook], services: Sequence[ServiceRow], teams: Sequence[TeamRow]) -> Advice:
    """Return what to do about an incident.

    Raises:
        KeyError: the mart does not hold it.
    """
    facts = past.facts[incident_id]
    began = facts.row["started_at"]
    matches = [Match(one, why, record_of(one, past, began)) for one in runbooks if (why := reasons(one, facts))]
    matches.sort(key=_order)
    step = matches[0].runbook.action if matches else None
    recommended, reasoned = _recommended(facts, past, matches, step)
    evidence = [incident_id]
    if facts.candidate is not None:
        evidence += [str(facts.candidate["candidate_id"]), *(facts.candidate.get("evidence") or ())]
    return Advice(facts, _owner(facts, past, services, teams), tuple(matches), step, recommended, tuple(reasoned), tuple(evidence))


def _order(match: Match) -> tuple[int, float, str]:
    interval = match.record.interval
    return -len(match.reasons), -(interval[0] if interval else 0.0), match.runbook.id


def _recommended(facts: Facts, past: Past, matches: Sequence[Match], step: Step | None) -> tuple[str, list[str]]:
    why = []
    if facts.candidate is None:
        why.append("no candidate was computed")
    elif facts.cause == "none":
        why.append(f"none of the candidates is the likeliest answer ({facts.probability:.0%})")
    else:
        what = facts.candidate.get("title") or facts.candidate["candidate_id"]
        why.append(f"likeliest candidate: {facts.cause} {what} on {facts.service or 'no known service'} ({facts.probability:.0%})")
    usual = next(iter(past.frames["mart_families"].filter(pl.col("family_id") == facts.family_id).iter_rows(named=True)), None)
    if usual is not None and usual["usual_fix"]:
        record = Record(int(usual["usual_fix_worked_n"]), int(usual["usual_fix_tried_n"]))
        why.append(f"usual fix of its family ({facts.family_title}): {usual['usual_fix']}, worked {record}")
    similar = past.frames["mart_similar_incidents"].filter(pl.col("incident_id") == facts.incident_id).sort("rank")
    for row in similar.head(3).iter_rows(named=True):
        fixed = row["fix"] or row["fixed_by"]
        if fixed:
            why.append(f"similar {row['similar_incident_id']} ({row['similarity']:.2f}): {fixed}")
    if step is not None and step.do is not None:
        best = matches[0]
        target = f" on {facts.service}" if facts.service else ""
        return f"{step.do.action}{target}: step {step.number} of {best.runbook.id}", [*why, f"its record: {best.record}"]
    if matches:
        return f"follow {matches[0].runbook.id}: {matches[0].runbook.title}; it names no action to take", why
    if usual is not None and usual["usual_fix"]:
        return f"no runbook fits; what usually ended this family: {usual['usual_fix']}", why
    return "no runbook fits, and nothing is known that ended incidents like it", why


def _owner(facts: Facts, past: Past, services: Sequence[ServiceRow], teams: Sequence[TeamRow]) -> Owner:
    team_of = {row.service: row.team for row in services if row.team != "unowned"}
    by_name = {row.team: row for row in teams}
    before = facts.row["started_at"]
    relatives = Counter(
        team_of.get(one.service) or one.row.get("team_owner")
        for one in past.facts.values()
        if facts.family_id is not None and one.family_id == facts.family_id and one.row["started_at"] < before
    )
    relatives.pop(None, None)
    team, why = None, []
    if facts.candidate is not None and facts.cause != "none" and facts.probability >= SURE and facts.service in team_of:
        team = team_of[facts.service]
        why.append(f"owns {facts.service}, the service of the likeliest candidate ({facts.probability:.0%})")
    elif relatives and relatives.total() >= LEAST_FAMILY:
        team = min(relatives, key=lambda name: (-relatives[name], str(name)))
    origin = facts.row.get("service_origin")
    if team is None and (named := facts.row.get("team_owner") or team_of.get(str(origin))):
        team = named
        why.append(f"owns {origin}, where it seemed to begin")
    if team is None:
        return Owner(None, None, None, (f"nobody is named as owner of {facts.service or 'any service involved'} in the catalogue",))
    if relatives.total():
        why.append(f"likely owner of {relatives[team]} of {relatives.total()} earlier incidents of the family")
    known = by_name.get(team)
    return Owner(team, known.channel if known else None, known.on_call if known else None, tuple(why))


def suggestions(past: Past, runbooks: Sequence[Runbook]) -> tuple[Suggestion, ...]:
    """Return the runbooks to write (a family recurs that none fits) and to change (the action named ends few of the incidents it fits)."""
    found = []
    families: dict[str, list[Facts]] = {}
    for facts in past.facts.values():
        if facts.family_id is not None:
            families.setdefault(facts.family_id, []).append(facts)
    for family, members in sorted(families.items()):
        bare = [one for one in members if not any(reasons(runbook, one) for runbook in runbooks)]
        if len(bare) < LEAST_FAMILY or 2 * len(bare) <= len(members):
            continue
        seen = Counter(ending.kind for one in bare if (ending := past.ended.get(one.incident_id)) is not None)
        how = f"{seen.most_common(1)[0][1]} ended after {seen.most_common(1)[0][0]}" if seen else "what ended them was not recorded"
        text = f"no runbook fits {len(bare)} of {len(members)} incidents of {bare[0].family_title or family}; {how}: write one"
        found.append(Suggestion(None, family, text, tuple(sorted(one.incident_id for one in bare))))
    for runbook in runbooks:
        record = record_of(runbook, past)
        if runbook.action is None or record.n < LEAST_JUDGED or record.interval is None or record.interval[1] >= MOSTLY_FAILS:
            continue
        own = [one for one in past.facts.values() if past.ended.get(one.incident_id) is not None and reasons(runbook, one)]
        others = Counter(ending.kind for one in own if (ending := past.ended.get(one.incident_id)) is not None)
        assert runbook.action.do is not None
        text = (
            f"{runbook.action.do.action} ended {record} of the incidents it fits; most often they ended after "
            f"{others.most_common(1)[0][0]} ({others.most_common(1)[0][1]} of {record.n}): look at its step {runbook.action.number}"
        )
        found.append(Suggestion(runbook.id, runbook.id, text, tuple(sorted(one.incident_id for one in own))))
    return tuple(found)
