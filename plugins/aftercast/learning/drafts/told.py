"""What happened: the sections summary, impact, timeline and detection of a draft, each a list of lines. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date

from aftercast.learning.drafts.evidence import Evidence
from aftercast.learning.drafts.facts import Facts, Row
from aftercast.learning.drafts.words import at, cell, clean, clock, quoted, share, wording

MOST_SEGMENTS, MOST_ANOMALIES, MOST_OBJECTIVES = 8, 12, 4
LEAST_SUSPECTED = 0.01  # of a change in the timeline
KINDS = {"event": "note"}
LEAST_COMPARED = 3
HOW = {"monitor": "a monitor", "customer": "a customer", "employee": "an employee", "other": "other means"}


def name_of(row: Row) -> str:
    """Return a candidate as people call it. It stays a candidate: nothing here says that it was the cause."""
    if row["kind"] == "none":
        return "none of those named here"
    title = f" {quoted(row['title'])}" if row["title"] and row["title"] != row["candidate_id"] else ""
    kind = row["change_kind"] or row["kind"]
    on = f" on {clean(row['service'])}" if row["kind"] == "change" and row["service"] else ""
    return f"{clean(kind)}{title}{on} ({clean(row['candidate_id'])})" if title else f"{clean(kind)} {clean(row['candidate_id'])}{on}"


def brief(row: Row) -> str:
    """Return a candidate in a few words, without brackets."""
    title = re.sub(r"[()]+", "", quoted(row["title"])) if row["kind"] == "change" and row["title"] else clean(row["candidate_id"])
    on = f" on {clean(row['service'])}" if row["kind"] == "change" and row["service"] else ""
    return f"{clean(row['change_kind'] or row['kind'])} {title}{on}"


def cited(evidence: Evidence, facts: Facts) -> str:
    return evidence.cite("mart_incidents", incident_id=facts.incident_id)


def candidate(evidence: Evidence, row: Row) -> str:
    return evidence.cite("mart_incident_candidates", incident_id=row["incident_id"], kind=row["kind"], candidate_id=row["candidate_id"])


def summary(facts: Facts, evidence: Evidence) -> list[str]:
    """Return what happened, what it cost, what probably lay behind it, and whether it happened before, in a few sentences."""
    one, me = facts.incident, cited(evidence, facts)
    where = " ".join(filter(None, (clean(one["environment"]), clean(one["region"]))))
    hit = f" hit {clean(one['service_origin'])}" if one["service_origin"] else " happened"
    lasted = f"; customers were hit for {wording.minutes(one['impact_minutes'])}" if one["impact_minutes"] is not None else ""
    least = " at least" if one["is_censored"] and lasted else ""
    place = f"in {where or 'an unknown environment'} from {at(one['started_at'])}"
    lines = [f"{quoted(one['title'])} ({one['severity']}){hit} {place}{lasted}{least} {me}."]
    lines.append(_money(one, me))
    first, none = facts.first, next((row for row in facts.candidates if row["kind"] == "none"), None)
    if one["confirmed_candidate_id"]:
        it = next((row for row in facts.candidates if row["candidate_id"] == one["confirmed_candidate_id"]), None)
        named = f"{name_of(it)} {candidate(evidence, it)}" if it else f"{clean(one['confirmed_candidate_id'])} {me}"
        lines.append(f"People confirmed what the cause was: {named}.")
    elif first and none:
        lines += [
            f"The likeliest candidate is {name_of(first)}, {share(first['probability'])} {candidate(evidence, first)}; "
            f"that it is none of the candidates has {share(none['probability'])} {candidate(evidence, none)}.",
            "Nobody has confirmed a cause yet.",
        ]
    else:
        lines.append("No candidate cause is known.")
    if facts.family is not None and one["recurrence_n"]:
        nth = "the first" if one["recurrence_n"] == 1 else f"number {one['recurrence_n']}"
        back = ", and came after a fix for them had shipped" if one["recurred_after_fix"] else ""
        lines.append(f"It is {nth} of {one['family_size']} incidents of the family {quoted(one['family_title'])}{back} {me}.")
    return lines


def _money(one: Row, me: str) -> str:
    if one["impact_status"] == "quantified" and one["lost_revenue"] is not None:
        low, high = (None if one[end] is None else float(one[end]) for end in ("lost_revenue_low", "lost_revenue_high"))
        ends = wording.span(low, high)
        return f"It cost {wording.money(float(one['lost_revenue']), one['currency'])}{f' (95% interval {ends})' if ends else ''} {me}."
    if one["impact_status"] == "below_noise":
        high = one["lost_revenue_high"]
        most = f", and was at most {wording.money(float(high), one['currency'])}" if high is not None and high > 0 else ""
        return f"What it cost cannot be told from noise{most} {me}."
    return f"What it cost is {wording.NOT_KNOWN}: {clean(one['impact_reason']) or 'no reason was given'} {me}."


def impact(facts: Facts, evidence: Evidence) -> list[str]:
    """Return losses per journey and segment with their intervals, and the error budgets that went."""
    told = [row for row in facts.impact if row["status"] == "quantified"]
    lines: list[str] = []
    if told:
        lines += [
            "| journey | customers | successes expected | seen | lost revenue | 95% interval | evidence |",
            "|---|---|--:|--:|--:|--:|---|",
        ]
    for row in told[:MOST_SEGMENTS]:
        me = evidence.cite("mart_incident_impact", incident_id=row["incident_id"], journey=row["journey"], segment=row["segment"])
        ends = [None if row[end] is None else float(row[end]) for end in ("lost_revenue_low", "lost_revenue_high")]
        lost = None if row["lost_revenue"] is None else float(row["lost_revenue"])
        counts = [wording.amount(row[name]) for name in ("expected_successes", "actual_successes")]
        cells = (
            clean(row["journey"]),
            clean(row["segment"]),
            *counts,
            wording.money(lost, row["currency"]),
            wording.span(*ends) or "–",
            me,
        )
        lines.append(f"| {' | '.join(cell(one) for one in cells)} |")
    if told:
        lines.append("")
    me = cited(evidence, facts)
    rest, noise = len(told[MOST_SEGMENTS:]), sum(row["status"] == "below_noise" for row in facts.impact)
    if rest:
        every = evidence.cite("mart_incident_impact", incident_id=facts.incident_id, status="quantified")
        lines.append(f"- {wording.count(rest, 'further segment')} lost less {every}.")
    if noise:
        every = evidence.cite("mart_incident_impact", incident_id=facts.incident_id, status="below_noise")
        lines.append(f"- In {wording.count(noise, 'segment')} a loss cannot be told from noise {every}.")
    if not facts.impact:
        lines.append(f"- No journey was measured: {clean(facts.incident['impact_reason']) or wording.NOT_KNOWN} {me}.")
    for row in [row for row in facts.slos if row["status"] == "measured"][:MOST_OBJECTIVES]:
        slo = evidence.cite("mart_incident_slo", incident_id=row["incident_id"], slo=row["slo"])
        beyond = row["budget_share_beyond_usual"]
        usual = f", {share(beyond, 1)} beyond what such a time eats anyway" if beyond is not None else ""
        shared = "; another incident overlapped it" if row["is_shared"] else ""
        lines.append(f"- {share(row['budget_share'], 1)} of the error budget of {quoted(row['title'])} went{usual}{shared} {slo}.")
    also = [name for name in facts.incident["services_impacted"] or [] if name != facts.incident["service_origin"]]
    if also:
        lines.append(f"- Services hit besides {clean(facts.incident['service_origin'])}: {clean(', '.join(also))} {me}.")
    return lines


def timeline(facts: Facts, evidence: Evidence) -> list[str]:
    """Return what happened when, with a heading for each day; an anomaly of several series is one line, a hardly suspected change none."""
    lines: list[str] = []
    day: date | None = None
    same: dict[str, list[Row]] = {}
    for row in facts.timeline:
        if row["kind"] == "anomaly":
            same.setdefault(row["text"] or "", []).append(row)
    shown = set(list(same)[:MOST_ANOMALIES])
    hardly = {row["candidate_id"] for row in facts.candidates if (row["probability"] or 0.0) < LEAST_SUSPECTED}
    for row in facts.timeline:
        if row["kind"] == "change" and row["subject_id"] in hardly:
            continue
        text = clean(row["text"])
        if row["kind"] == "anomaly":
            rows = same[row["text"]]
            if row is not rows[0] or row["text"] not in shown:
                continue
            # A text that breaks lines is no key: of such, the first entry stands for all.
            named = {"kind": "anomaly", "text": row["text"]} if row["text"].isprintable() else {"entry_id": row["entry_id"]}
            me = evidence.cite("mart_incident_timeline", incident_id=row["incident_id"], **named)
            last = f", the last at {clock(rows[-1]['occurred_at'])}" if clock(rows[-1]["occurred_at"]) != clock(row["occurred_at"]) else ""
            text += f" ({len(rows)} series{last})" if len(rows) > 1 else ""
        else:
            me = evidence.cite("mart_incident_timeline", incident_id=row["incident_id"], entry_id=row["entry_id"])
        today = row["occurred_at"].astimezone(UTC).date()
        if today != day:
            lines += ["", f"### {today.isoformat()}", ""]
            day = today
        lines.append(f"- {clock(row['occurred_at'])} {KINDS.get(row['kind'], row['kind'])}: {text} {me}")
    left = len(same) - len(shown)
    if left > 0:
        every = evidence.cite("mart_incident_timeline", incident_id=facts.incident_id, kind="anomaly")
        lines += ["", f"{wording.count(left, 'further kind')} of anomaly {'is' if left == 1 else 'are'} in the mart {every}."]
    return lines[1:] if lines else ["Nothing is known of what happened when."]


def detection(facts: Facts, evidence: Evidence) -> list[str]:
    """Return how it was noticed and how soon, what had signalled it, and how soon such incidents were noticed the week before."""
    one, me = facts.incident, cited(evidence, facts)
    how, after = HOW.get(one["detection_method"], "nobody knows whom"), one["t_detect_minutes"]
    lines = [f"- It was noticed by {how}{'' if after is None else f', {wording.minutes(after)} after it began'} {me}."]
    lines += _response(facts, evidence, me)
    lead = one["anomaly_to_detected_minutes"]
    if lead is not None and lead > 0:
        first = next((row for row in facts.anomalies if row["hurts"]), None)
        told = f": {clean(first['signal'])} of {clean(first['subject'])}" if first else ""
        also = evidence.cite("mart_anomalies", anomaly_id=first["anomaly_id"]) if first else ""
        lines.append(f"- The first anomaly that hurts began {wording.minutes(lead)} before anybody noticed{told} {me}{also}.")
    counts = [
        wording.count(one[name], noun, nouns)
        for name, noun, nouns in (("alerts_n", "alert", None), ("anomalies_n", "anomaly", "anomalies"))
        if one[name] is not None
    ]
    if counts:
        lines.append(f"- Its services saw {' and '.join(counts)} from an hour before it until its end {me}.")
    for row in facts.leading[:2]:
        match = evidence.cite("mart_leading_matches", match_id=row["match_id"])
        sure = wording.between(share(row["past_precision_low"]), share(row["past_precision_high"]))
        past = (
            f"{row['past_true_n']} of {row['past_n']} such warnings had come true (95% interval {sure})"
            if row["past_n"]
            else "none had been judged"
        )
        before, sign = wording.minutes(row["lead_minutes"]), f"{clean(row['signal'])} at {clean(row['matched_subject'])}"
        lines.append(f"- A leading indicator matched {before} before: {sign}; until then {past} {match}.")
    return lines


def _response(facts: Facts, evidence: Evidence, me: str) -> Iterable[str]:
    one, week = facts.incident, facts.response
    steps = [
        (f"{wording.minutes(one[name])} {words}")
        for name, words in (
            ("t_acknowledge_minutes", "until somebody took it"),
            ("t_mitigate_minutes", "until customers were no longer hit"),
            ("t_resolve_minutes", "until it was resolved"),
        )
        if one[name] is not None
    ]
    if steps:
        yield f"- It took {', '.join(steps)} {me}."
    if week is not None and (week["detect_n"] or 0) >= LEAST_COMPARED and week["detect_minutes_median"] is not None:
        cite = evidence.cite("mart_response", week_start=week["week_start"], severity=week["severity"])
        half = wording.minutes(week["detect_minutes_median"])
        yield f"- The week before, half of the {week['detect_n']} incidents of that severity were noticed within {half} {cite}."
