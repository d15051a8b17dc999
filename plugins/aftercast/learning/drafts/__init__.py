"""A draft postmortem in Markdown from rows of the published mart: the same mart gives the same bytes, and every number names its evidence.

No language model, no clock: times are the mart's, and words are chosen by rules that the sentences state. The format is the one the
`postmortems` source reads back. What people must say (what was felt, what was learnt, the cause) is left open for them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from aftercast.learning.drafts import judged, proposed, suspected, told
from aftercast.learning.drafts.evidence import HEADING, Evidence, problems
from aftercast.learning.drafts.facts import READ, Row, gather
from aftercast.learning.drafts.words import clean

__all__ = ["FORMAT", "READ", "Draft", "awaiting", "draft", "problems"]

FORMAT = "1"
"""Of the text; stands in the front matter and tells the `postmortems` source which lines were ours."""

OVER = ("resolved", "closed")


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft of the postmortem of an incident: front matter and text."""

    incident_id: str
    text: str


def awaiting(marts: Mapping[str, pl.DataFrame], severities: tuple[str, ...], within: timedelta) -> list[str]:
    """Return the incidents that are over and have no postmortem, in order of their end: of these severities, and ended within a time
    before the mart's as-of time, so that a history read for the first time is not drafted as a whole."""
    incidents = marts.get("mart_incidents", pl.DataFrame())
    rows: list[tuple[datetime, str]] = []
    for row in incidents.iter_rows(named=True):
        ended, real = row.get("resolved_at"), not row.get("exclude_from_metrics")
        if ended is None or not real or row.get("postmortem_status") or row.get("is_open"):
            continue
        if row.get("status") in OVER and row.get("severity") in severities and ended > row["as_of"] - within:
            rows.append((ended, str(row["incident_id"])))
    return [incident for _, incident in sorted(rows)]


def draft(marts: Mapping[str, pl.DataFrame], incident_id: str) -> Draft | None:
    """Return the draft of an incident; None when the mart does not know it.

    Args:
        marts: rows of the marts in `READ`, by name; a mart or column that is not published is taken for empty.
        incident_id: incident.
    """
    facts = gather(marts, incident_id)
    if facts is None:
        return None
    evidence = Evidence()
    me = told.cited(evidence, facts)
    sections = [
        ("Summary", told.summary(facts, evidence)),
        ("Impact", told.impact(facts, evidence)),
        ("Detection and response", told.detection(facts, evidence)),
        ("Timeline", told.timeline(facts, evidence)),
        ("Hypotheses", suspected.hypotheses(facts, evidence)),
        ("Similar incidents", suspected.similar(facts, evidence)),
        ("What went well", _or_nothing(judged.well(facts, evidence))),
        ("What went badly", _or_nothing(judged.badly(facts, evidence))),
        ("Where we got lucky", _or_nothing(judged.lucky(facts, evidence))),
        ("Contributing factors", ["<!-- yours to write: one item each -->"]),
        ("Lessons learned", ["<!-- yours to write; an item that begins with RULE: says what to do next time -->"]),
        (
            "Action items",
            [
                "<!-- proposed: strike out what you do not want, add due: and a day where you promise one -->",
                "",
                *proposed.proposals(facts, evidence),
            ],
        ),
    ]
    lines = [*_front(facts.incident), "", f"# {clean(facts.incident_id)}: {clean(facts.incident['title']) or 'no title'} {me}"]
    for title, body in sections:
        lines += ["", f"## {title}", "", *body]
    lines += ["", f"## {HEADING}", "", "Each id stands for rows of the published mart; paste a query behind `aftercast sql`.", ""]
    return Draft(incident_id, "\n".join([*lines, *evidence.section()]) + "\n")


def _or_nothing(lines: list[str]) -> list[str]:
    return lines or ["<!-- no rule found anything measured; yours to add -->"]


def _front(one: Row) -> list[str]:
    """The front matter; the folder adds when it was drafted, and the states that follow."""
    services = one["services_impacted"] or [name for name in (one["service_origin"],) if name]
    return [
        "---",
        f"incident_id: {_quoted(one['incident_id'])}",
        f"title: {_quoted(one['title'] or one['incident_id'])}",
        f"date: {_time(one['started_at'])}",
        f"resolved: {_time(one['resolved_at'])}",
        f"severity: {_quoted(one['severity'] or 'unknown')}",
        "status: draft",
        f"services: [{', '.join(_quoted(name) for name in services)}]",
        f"team: {_quoted(one['team_owner'] or 'unowned')}",
        "cause: # the candidate it was, as the table below writes it, or none",
        "timezone: UTC",
        f"draft_format: {FORMAT}",
        "---",
    ]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _time(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if moment else ""
