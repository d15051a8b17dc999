"""Action items a draft proposes: each from a measured fact, with owner team, type, and a criterion fixed before anything ships. Pure.

The criteria are worded so that `measurement.criteria` reads outcome, size and window from them. People strike out what they do not want.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from aftercast.learning.drafts.evidence import Evidence
from aftercast.learning.drafts.facts import Facts, Row
from aftercast.learning.drafts.judged import LEAST_COVERAGE, LONG_MINUTES, SLOW_MINUTES
from aftercast.learning.drafts.told import brief, candidate, cited
from aftercast.learning.drafts.words import clean, quoted

SURE = 0.5
MOST_OPEN = 3
OPEN = ("open", "in_progress", "reopened")
NO_OWNER = "unowned"


@dataclass(frozen=True, slots=True)
class Proposal:
    """An action item to be."""

    title: str
    team: str
    type: str
    criterion: str
    evidence: str

    def line(self) -> str:
        """Return the item as the `postmortems` source reads it."""
        words = ", ".join(
            f"{name}: {_plain(value)}" for name, value in (("team", self.team), ("type", self.type), ("criterion", self.criterion))
        )
        return f"- [ ] {self.title} ({words}, evidence: {self.evidence})"


def proposals(facts: Facts, evidence: Evidence) -> list[str]:
    """Return what is open already for the family, and the proposed items as lines, most systemic first."""
    lines = [
        f"Open already: {quoted(row['title'])} of {clean(row['owner_team']) or NO_OWNER}, "
        f"from {clean(row['incident_id']) or 'elsewhere'} {evidence.cite('mart_action_items', action_item_id=row['action_item_id'])}."
        for row in _open(facts)[:MOST_OPEN]
    ]
    return [*lines, *([""] if lines else []), *([one.line() for one in _proposals(facts, evidence)] or ["- none"])]


def _open(facts: Facts, *types: str) -> list[Row]:
    """Open items of other incidents of the family, of some types or all: what they would do is not proposed again."""
    theirs = [row for row in facts.actions if row["status"] in OPEN and row["incident_id"] != facts.incident_id]
    return [row for row in theirs if not types or row["type"] in types]


def _proposals(facts: Facts, evidence: Evidence) -> Iterator[Proposal]:
    one, me, first = facts.incident, cited(evidence, facts), facts.first
    service = clean(one["service_origin"]) or "the service"
    team = one["team_owner"] or NO_OWNER
    none = next((row for row in facts.candidates if row["kind"] == "none"), None)
    if facts.recommendation is not None and not _open(facts, "prevent", "repair"):
        advised = facts.recommendation
        yield Proposal(
            clean(advised["action"]),
            advised["owner_team"] or team,
            "prevent",
            "no incident of this family in the 56 days after shipping",
            evidence.cite("mart_recommendations", recommendation_id=advised["recommendation_id"]),
        )
    sure = first is not None and ((first["probability"] or 0.0) >= SURE or bool(one["top_candidate_confirmed"]))
    if first is not None and sure and first["kind"] == "change":
        change = facts.change if facts.change and facts.change["change_id"] == first["candidate_id"] else None
        yield Proposal(
            f"Say why the {brief(first)} reached {clean(one['environment']) or 'customers'} and repair what let it through",
            (change["team_owner"] if change else None) or team,
            "repair",
            "no incident of this kind in the 28 days after shipping",
            candidate(evidence, first),
        )
    elif first is not None and sure:
        yield Proposal(
            f"Write into the runbook of {service} what to do first when {brief(first)} fails",
            team,
            "mitigate",
            "the time to recover falls by at least 30 % in the 56 days after shipping",
            candidate(evidence, first),
        )
    else:
        yield Proposal(
            f"Find out what lay behind it and confirm or reject the candidates of {facts.incident_id}",
            team,
            "investigate",
            "a person has confirmed a candidate or said that it was none",
            candidate(evidence, none) if none else me,
        )
    late = one["is_found_by_us"] is False or (one["t_detect_minutes"] or 0.0) > SLOW_MINUTES
    if late and not _open(facts, "detect"):
        seen = next((row for row in facts.anomalies if row["hurts"]), None)
        what = f"{clean(seen['signal'])} of {clean(seen['subject'])}" if seen else f"a figure that customers of {service} feel"
        also = evidence.cite("mart_anomalies", anomaly_id=seen["anomaly_id"]) if seen else ""
        yield Proposal(
            f"Wake somebody when {what} deviates{', as it did first here' if seen else ''}",
            team,
            "detect",
            "the time to detect falls by at least 50 % in the 56 days after shipping",
            f"{me}{also}",
        )
    usual = facts.family["usual_fix"] if facts.family is not None else None
    if usual and facts.family is not None and not _open(facts, "mitigate") and (one["impact_minutes"] or 0.0) > LONG_MINUTES:
        yield Proposal(
            f"Put {clean(usual)} first in the runbook of {service}: it is what usually ends such incidents",
            team,
            "mitigate",
            "the time to recover falls by at least 30 % in the 56 days after shipping",
            evidence.cite("mart_families", family_id=facts.family["family_id"]),
        )
    if one["data_coverage_pct"] is not None and one["data_coverage_pct"] < LEAST_COVERAGE:
        yield Proposal(
            f"Find out why telemetry of {service} was missing and close the gap",
            team,
            "detect",
            f"in its next incident at least {LEAST_COVERAGE:.0f} % of the usual telemetry arrives",
            me,
        )


def _plain(text: str) -> str:
    """A value that stands in brackets between commas."""
    return re.sub(r"[(),]+", " ", clean(text)).strip()
