"""What may lie behind it: the sections hypotheses and similar incidents of a draft, each a list of lines. Pure."""

from __future__ import annotations

from aftercast.learning.drafts.evidence import Evidence
from aftercast.learning.drafts.facts import Facts
from aftercast.learning.drafts.told import candidate, cited, name_of
from aftercast.learning.drafts.words import at, cell, clean, quoted, share, stated, wording

MOST_CANDIDATES, MOST_EXPLAINED, MOST_CHECKS, MOST_SIMILAR = 5, 2, 5, 5
LEAST_EXPLAINED, LEAST_LOSSES = 0.05, 3
JUDGED = {"confirm": "confirmed", "reject": "rejected", "other": "it was another"}


def hypotheses(facts: Facts, evidence: Evidence) -> list[str]:
    """Return the likeliest candidates with their probabilities, that it is none of them, and what speaks for and against."""
    if not facts.candidates:
        return ["No candidate was found: nothing changed or failed nearby that the sources tell of."]
    named = [row for row in facts.candidates if row["kind"] != "none"]
    shown = named[:MOST_CANDIDATES] + [row for row in facts.candidates if row["kind"] == "none"]
    lines = [
        "A candidate is a suspicion with a probability, no verdict. Write the one it was into `cause` of the front matter, or `none`.",
        "",
    ]
    lines += ["| candidate | probability | for `cause` | people say | evidence |", "|---|--:|---|---|---|"]
    for row in shown:
        key = "none" if row["kind"] == "none" else f"{row['kind']}:{row['candidate_id']}"
        cells = (
            name_of(row),
            share(row["probability"]),
            f"`{clean(key)}`",
            JUDGED.get(row["human_verdict"], "not judged"),
            candidate(evidence, row),
        )
        lines.append(f"| {' | '.join(cell(one) for one in cells)} |")
    rest = named[MOST_CANDIDATES:]
    if rest:
        every = evidence.cite("mart_incident_candidates", incident_id=facts.incident_id)
        total = sum(row["probability"] or 0.0 for row in rest)
        lines += ["", f"{wording.count(len(rest), 'further candidate')} share {share(total)} {every}."]
    for row in named[:MOST_EXPLAINED]:
        if (row["probability"] or 0.0) < LEAST_EXPLAINED and row is not named[0]:
            continue
        checks = [one for one in facts.evidence if (one["kind"], one["candidate_id"]) == (row["kind"], row["candidate_id"]) and one["why"]]
        for heading, sign in (("for", 1), ("against", -1)):
            fitting = [one for one in checks if (one["strength"] or 0.0) * sign > 0][:MOST_CHECKS]
            if fitting:
                lines += ["", f"What speaks {heading} {name_of(row)} {candidate(evidence, row)}:", ""]
                lines += [
                    f"- {stated(one['why'], evidence.cite('mart_incident_evidence', evidence_id=one['evidence_id']))}" for one in fitting
                ]
    return lines


def similar(facts: Facts, evidence: Evidence) -> list[str]:
    """Return earlier incidents that resemble this one, in what, what ended them, and the usual fix of the family with its record."""
    lines: list[str] = []
    if facts.similar:
        lines += ["| incident | began | likeness | alike in | what ended it | evidence |", "|---|---|--:|---|---|---|"]
    for row in facts.similar[:MOST_SIMILAR]:
        me = evidence.cite("mart_similar_incidents", incident_id=row["incident_id"], similar_incident_id=row["similar_incident_id"])
        ended = clean(row["fixed_by"]) or "not known"
        if row["fix"]:
            ended += f"; {clean(row['fix'])} worked in {row['fix_worked_n']} of {row['fix_tried_n']}"
        cells = (
            f"{clean(row['similar_incident_id'])} {quoted(row['similar_title'])}",
            at(row["similar_started_at"]) if row["similar_started_at"] else "not known",
            share(row["similarity"]),
            clean("; ".join(row["reasons"] or [])),
            ended,
            me,
        )
        lines.append(f"| {' | '.join(cell(one) for one in cells)} |")
    if not facts.similar:
        lines.append("No earlier incident resembles it.")
    family = facts.family
    if family is None:
        return lines
    me = evidence.cite("mart_families", family_id=family["family_id"])
    lines.append("")
    if family["usual_fix"]:
        ends = wording.between(share(family["usual_fix_low"]), share(family["usual_fix_high"]))
        worked = f"worked in {family['usual_fix_worked_n']} of {family['usual_fix_tried_n']} (95% interval {ends})"
        lines.append(f"- What usually ends incidents of this family is {clean(family['usual_fix'])}: it {worked} {me}.")
    else:
        lines.append("- No remedy has been seen to end incidents of this family.")
    if family["last_fix"]:
        verdict = {
            "effective": "it was effective",
            "not_effective": "it was not effective",
            "too_early": "it is too early to say whether it worked",
        }
        shipped = f" on {at(family['last_fix_at'])}" if family["last_fix_at"] else ""
        judged = verdict.get(family["last_fix_verdict"], "it was not judged")
        lines.append(f"- The last fix shipped{shipped} was {quoted(family['last_fix'])}; {judged} {me}.")
    if family["usual_loss"] is not None and (family["n_quantified"] or 0) >= LEAST_LOSSES:
        loss = wording.money(float(family["usual_loss"]), family["currency"])
        known = wording.count(family["n_quantified"], "incident")
        lines.append(f"- Half of its {known} with a known loss cost {loss} or more {me}.")
    if facts.incident["days_since_prev_in_family"] is not None:
        lines.append(f"- The one before began {facts.incident['days_since_prev_in_family']:.1f} days earlier {cited(evidence, facts)}.")
    return lines
