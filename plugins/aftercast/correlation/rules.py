"""What a version of the ranker knows or leaves out: its rules as evidence on candidates, and the checks it ranks without. Pure.

A rule adds one finding to every change it fits; it never takes a candidate away, so that what people hold for harmless stays visible and
can still be outweighed. It counts only in incidents that began after it was known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from aftercast.correlation.findings import STRENGTHS, Candidate, Finding, point
from aftercast.correlation.judging import Hearing
from aftercast.correlation.ranking import Examined
from aftercast.correlation.remembering import Lazily
from aftercast.correlation.situation import Incident
from aftercast.correlation.surroundings import micros
from aftercast.declarations import RankerRow, RuleRow
from aftercast.features import RULES


def heard_by(ranker: RankerRow, hearings: Iterable[Hearing]) -> list[Hearing]:
    """Return the hearings as a version sees them."""
    if not ranker.rules and not ranker.without:
        return list(hearings)
    return [replace(one, examined=Lazily(partial(seen_by, ranker, one.incident, one.examined))) for one in hearings]


def seen_by(ranker: RankerRow, incident: Incident, examined: Sequence[Examined]) -> tuple[Examined, ...]:
    """Return the candidates of an incident with the findings a version goes by."""
    if not ranker.rules and not ranker.without:
        return tuple(examined)
    return tuple(
        (candidate, (*(one for one in findings if one.check not in ranker.without), *_findings(ranker.rules, incident, candidate)))
        for candidate, findings in examined
    )


def touches(rule: RuleRow, incident: Incident, candidate: Candidate) -> bool:
    """Whether a rule has something to say about a candidate of an incident."""
    change = candidate.change
    return (
        change is not None
        and (rule.since is None or incident.started >= micros(rule.since))
        and change.kind in rule.kinds
        and (not rule.of or change.service in rule.of)
        and (not rule.hurts or bool(set(rule.hurts) & set(incident.services)))
    )


def _findings(rules: Sequence[RuleRow], incident: Incident, candidate: Candidate) -> list[Finding]:
    """One finding of all the rules that fit, as strong as their sum, within the strongest of them in either direction."""
    fitting = [rule for rule in rules if touches(rule, incident, candidate)]
    if not fitting:
        return []
    parts = [STRENGTHS[f"rule_{rule.says}"] * rule.confidence for rule in fitting]
    strength = min(max(math.fsum(parts), min([*parts, 0.0])), max([*parts, 0.0]))
    names = sorted(rule.insight or rule.name for rule in fitting)
    why = "; ".join(dict.fromkeys(_why(rule) for rule in fitting))
    return [Finding(RULES, strength, why, point("fct_insight", insights=names), version=", ".join(names))]


def _why(rule: RuleRow) -> str:
    on = f" on {', '.join(rule.of)}" if rule.of else ""
    hurt = "are known to hurt" if rule.says == "known" else "are held harmless for"
    return f"changes of kind {', '.join(rule.kinds)}{on} {hurt} {', '.join(rule.hurts) or 'what is hit'}, people noted"
