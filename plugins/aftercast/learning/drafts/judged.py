"""What went well, what went badly and where luck helped, from measured facts by stated rules; the rule stands in each sentence. Pure.

The bounds are conventions that say when a figure is worth talking about, not measurements; what no rule covers is for people to add.
"""

from __future__ import annotations

from collections.abc import Iterator

from aftercast.learning.drafts.evidence import Evidence
from aftercast.learning.drafts.facts import Facts
from aftercast.learning.drafts.told import cited
from aftercast.learning.drafts.words import quoted, share, wording

FAST_MINUTES, SLOW_MINUTES = 5.0, 15.0  # to notice, and to take it
SHORT_MINUTES, LONG_MINUTES = 30.0, 60.0  # of impact
SILENT_MINUTES = 5.0  # an anomaly went on before anybody noticed
MANY_ALERTS = 20
LEAST_COVERAGE = 90.0  # percent of the usual telemetry
MOST_OVERDUE = 3


def well(facts: Facts, evidence: Evidence) -> list[str]:
    """Return what went well: noticed early and by us, taken at once, over soon."""
    return list(_well(facts, cited(evidence, facts)))


def _well(facts: Facts, me: str) -> Iterator[str]:
    one = facts.incident
    noticed, taken, hit = one["t_detect_minutes"], one["t_acknowledge_minutes"], one["impact_minutes"]
    if one["is_found_by_us"] and noticed is not None and noticed <= FAST_MINUTES:
        early = f"up to {FAST_MINUTES:.0f} min counts as early"
        yield f"- We noticed it before customers told us, after {wording.minutes(noticed)}; {early} {me}."
    if taken is not None and taken <= FAST_MINUTES:
        yield f"- Somebody took it {wording.minutes(taken)} after it was noticed; up to {FAST_MINUTES:.0f} min counts as at once {me}."
    if hit is not None and hit <= SHORT_MINUTES and not one["is_censored"]:
        yield f"- Customers were hit for {wording.minutes(hit)} only; up to {SHORT_MINUTES:.0f} min counts as short {me}."
    if one["top_candidate_confirmed"]:
        yield f"- The candidate that was ranked first was confirmed by people {me}."


def badly(facts: Facts, evidence: Evidence) -> list[str]:
    """Return what went badly: noticed late or by customers, impact long, back after a fix, promises overdue, signals nobody heard."""
    return list(_badly(facts, evidence, cited(evidence, facts)))


def _badly(facts: Facts, evidence: Evidence, me: str) -> Iterator[str]:
    one = facts.incident
    noticed, taken, hit = one["t_detect_minutes"], one["t_acknowledge_minutes"], one["impact_minutes"]
    lead = one["anomaly_to_detected_minutes"]
    if one["is_found_by_us"] is False:
        yield f"- A customer told us before we noticed {me}."
    if noticed is not None and noticed > SLOW_MINUTES:
        yield f"- It went unnoticed for {wording.minutes(noticed)}; more than {SLOW_MINUTES:.0f} min counts as late {me}."
    if lead is not None and lead > SILENT_MINUTES:
        unheard = f"more than {SILENT_MINUTES:.0f} min counts as unheard"
        yield f"- An anomaly that hurts had gone on for {wording.minutes(lead)} when it was noticed; {unheard} {me}."
    if taken is not None and taken > SLOW_MINUTES:
        yield f"- Nobody took it for {wording.minutes(taken)}; more than {SLOW_MINUTES:.0f} min counts as late {me}."
    if hit is not None and hit > LONG_MINUTES:
        yield f"- Customers were hit for {wording.minutes(hit)}; more than {LONG_MINUTES:.0f} min counts as long {me}."
    if one["recurred_after_fix"] and facts.family is not None:
        family = evidence.cite("mart_families", family_id=facts.family["family_id"])
        fix = f": {quoted(facts.family['last_fix'])} is the last" if facts.family["last_fix"] else ""
        yield f"- It began after a fix for its family had shipped{fix} {me}{family}."
    yield from _overdue(facts, evidence)
    if facts.leading:
        match = evidence.cite("mart_leading_matches", match_id=facts.leading[0]["match_id"])
        before = wording.minutes(facts.leading[0]["lead_minutes"])
        yield f"- A leading indicator had matched {before} before, and it began all the same {match}."
    if (one["alerts_n"] or 0) >= MANY_ALERTS:
        yield f"- {wording.count(one['alerts_n'], 'alert')} fired; {MANY_ALERTS} or more count as noise to those on call {me}."
    if one["data_coverage_pct"] is not None and one["data_coverage_pct"] < LEAST_COVERAGE:
        blind = f"below {LEAST_COVERAGE:.0f}% we count as partly blind"
        yield f"- Only {one['data_coverage_pct']:.0f}% of the usual telemetry arrived; {blind} {me}."


def _overdue(facts: Facts, evidence: Evidence) -> Iterator[str]:
    began = facts.incident["started_at"]
    late = [
        row
        for row in facts.actions
        if row["incident_id"] != facts.incident_id
        and row["due_at"] is not None
        and row["due_at"] < began
        and (row["done_at"] is None or row["done_at"] > began)
        and row["status"] != "cancelled"
    ]
    for row in late[:MOST_OVERDUE]:
        item = evidence.cite("mart_action_items", action_item_id=row["action_item_id"])
        yield f"- {quoted(row['title'])} of an earlier incident of its family was overdue when it began {item}."
    if late[MOST_OVERDUE:]:
        every = evidence.cite("mart_action_items", family_id=facts.incident["family_id"])
        yield f"- So were {wording.count(len(late) - MOST_OVERDUE, 'further action item')} {every}."


def lucky(facts: Facts, evidence: Evidence) -> list[str]:
    """Return where luck helped: grave by name without a loss, revenue made up for later, regions spared."""
    return list(_lucky(facts, evidence, cited(evidence, facts)))


def _lucky(facts: Facts, evidence: Evidence, me: str) -> Iterator[str]:
    one = facts.incident
    if one["is_major"] and one["impact_status"] == "below_noise":
        yield f"- It was {one['severity']}, yet no loss can be told from noise {me}."
    told = [row for row in facts.impact if row["status"] == "quantified"]
    currencies = {row["currency"] for row in told}
    back = sum(float(row["recovered_later"] or 0) for row in told)
    lost = sum(float(row["lost_revenue"] or 0) for row in told)
    if back > 0 and lost > 0 and len(currencies) == 1:
        every = evidence.cite("mart_incident_impact", incident_id=facts.incident_id, status="quantified")
        money = wording.money(back, next(iter(currencies)))
        yield f"- Customers came back: {money} were made up for later, {share(back / (back + lost))} of what was missing {every}."
    regions = {row["region"] for row in facts.impact if row["region"]}
    hit = {row["region"] for row in told if row["region"]}
    if hit and regions - hit:
        every = evidence.cite("mart_incident_impact", incident_id=facts.incident_id)
        yield f"- Only {' and '.join(sorted(hit))} lost more than noise; {' and '.join(sorted(regions - hit))} did not {every}."
