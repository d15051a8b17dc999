"""The sentences of the page: its headline is the finding, every section title carries a verdict, and one decision is asked.

Each sentence follows from figures by a stated rule, so that the same mart always gives the same words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aftercast.reporting.figures import (
    Detection,
    FamilyLine,
    FixLine,
    IncidentLine,
    JourneyLine,
    Recommendation,
    SourceLine,
    TeamActions,
)
from aftercast.reporting.intervals import Range
from aftercast.reporting.journeys import worst
from aftercast.reporting.wording import count, listing, money, number_word, part, percent, shorten, span

TITLE = 70
NOT_PUBLISHED = "Not known: incidents are not published"


@dataclass(frozen=True, slots=True)
class Money:
    """What the incidents of a period cost and how sure that is; `noun` is the period."""

    lost: Range
    currency: str
    normal: tuple[float, float] | None
    n_unknown: int
    n_below_noise: int
    others: tuple[tuple[str, Range], ...] = ()
    noun: str = "week"


def _share(amount: float | None, of: float | None) -> float:
    return (amount or 0.0) / of if of else 0.0


def _family_of_the_week(table: Sequence[IncidentLine], currency: str, lost: float | None) -> tuple[str, list[IncidentLine]] | None:
    """Return the family with at least two costly incidents this week that make up at least half of the loss."""
    members: dict[str, list[IncidentLine]] = {}
    for line in table:
        if line.family and line.lost.value is not None and line.currency in ("", currency):
            members.setdefault(line.family, []).append(line)
    for family, lines in sorted(members.items()):
        if len(lines) >= 2 and _share(math.fsum(line.lost.value or 0.0 for line in lines), lost) >= 0.5:
            return family, lines
    return None


def standing(value: float | None, normal: tuple[float, float] | None, noun: str) -> str:
    """Say how the sum of a period compares with a normal one."""
    if value is None or normal is None:
        return f"too few {noun}s to say whether that is normal"
    if value > normal[1]:
        return f"more than in a normal {noun}"
    return f"less than in a normal {noun}" if value < normal[0] else f"about as much as in a normal {noun}"


def headline(table: Sequence[IncidentLine], period: Money, *, known: bool) -> tuple[str, str]:
    """Return the finding of a period and the sentence that puts it in numbers."""
    lost, currency, noun = period.lost.value, period.currency, period.noun
    if not known:
        return (
            f"Incidents cannot be reported this {noun}",
            "The mart of incidents is not published, so neither their number nor their cost is known.",
        )
    if not table:
        return f"A {noun} without incidents", f"No incident began this {noun}, so no revenue is counted as lost to one."
    n = len(table)
    if lost is None:
        if period.n_below_noise == n:
            return (
                f"{number_word(n)} {'incident' if n == 1 else 'incidents'}, no loss beyond noise",
                "What was lost, if anything, is smaller than the usual swing of revenue.",
            )
        return (
            f"{number_word(n)} {'incident' if n == 1 else 'incidents'}, cost not known",
            f"Not one has a loss that could be measured: {period.n_unknown} unknown, {period.n_below_noise} within noise.",
        )
    sums = _sums(n, period)
    of_what = f"the {noun}’s measured loss" if period.n_unknown else f"the {noun}’s loss"
    family = _family_of_the_week(table, currency, lost)
    if family:
        name, members = family
        cost = math.fsum(line.lost.value or 0.0 for line in members)
        first = f"“{shorten(name, TITLE)}” came {_times(len(members))}: {listing([line.incident_id for line in members], 4)}."
        return f"One recurring fault cost {money(cost, currency)}, {part(_share(cost, lost))} {of_what}", f"{first} {sums}"
    top = table[0]
    if n > 1 and top.currency in ("", currency) and _share(top.lost.value, lost) >= 0.5:
        first = f"{top.incident_id}, “{shorten(top.title, TITLE)}”, stands out."
        return (
            f"One incident cost {money(top.lost.value, currency)}, {part(_share(top.lost.value, lost))} {of_what}",
            f"{first} {sums}",
        )
    if n == 1:
        return (
            f"One incident cost {money(lost, currency)}, {standing(lost, period.normal, noun)}",
            f"{top.incident_id}, “{shorten(top.title, TITLE)}”. {sums}",
        )
    return f"{number_word(n)} incidents cost {money(lost, currency)}, {standing(lost, period.normal, noun)}", sums


def _times(number: int) -> str:
    return {2: "twice", 3: "three times"}.get(number, f"{number} times")


def _sums(n: int, period: Money) -> str:
    interval = f" (95% interval {span(period.lost.low, period.lost.high)})" if period.lost.low is not None else ""
    text = f"{number_word(n)} {'incident' if n == 1 else 'incidents'} cost {money(period.lost.value, period.currency)}{interval}"
    left = [f"{period.n_unknown:,} of {n:,} could not be quantified" if period.n_unknown else "", _noise(period.n_below_noise)]
    text += "".join(f", besides {money(other.value, code)}" for code, other in period.others if other.value)
    if any(left):
        return f"{text}; {' and '.join(words for words in left if words)}."
    return f"{text}; every one of them is quantified." if n > 1 else f"{text}."


def _noise(number: int) -> str:
    return f"{number} {'is' if number == 1 else 'are'} within noise and not counted" if number else ""


def journey_sentence(journeys: Sequence[JourneyLine], noun: str) -> str:
    """Say how the journey that used most of its error budget stands against its SLO."""
    line = worst(journeys)
    if line is None or line.target is None:
        return "No journey has an SLO with enough traffic to judge." if journeys else "No journey health is published."
    week = (
        f"{percent(line.success_7d, 2)} of its attempts succeeded in {'7 days' if noun == 'week' else f'the {noun}'}"
        if line.success_7d is not None
        else f"it had no attempts this {noun}"
    )
    return (
        f"{line.title} stands worst: {week} against a target of {percent(line.target, 2)}, "
        f"and it used {percent(line.budget_used)} of its {line.window_days}-day error budget."
    )


def decision(recommendations: Sequence[Recommendation], journeys: Sequence[JourneyLine], noun: str) -> tuple[str, str]:
    """Return the one decision asked and why: the first recommendation, else a spent error budget, else none."""
    if recommendations:
        first = recommendations[0]
        gain = f"Expected to avoid {money(first.reduction.value, first.currency)} in 90 days"
        if first.reduction.low is not None:
            gain += f" (95% interval {span(first.reduction.low, first.reduction.high)})"
        known = f"{gain}, confidence {first.confidence}" if first.reduction.value is not None else f"Confidence {first.confidence}"
        needs = f" Needs: {listing(first.approvals, 4)}." if first.approvals else ""
        return f"Approve for {first.owner}: {shorten(first.action, 160)}", f"{known}.{needs}"
    line = worst(journeys)
    if line is not None and (line.budget_used or 0.0) > 1:
        return (
            f"Hold risky releases to {line.title}, or accept the risk",
            f"Its {line.window_days}-day error budget is spent ({percent(line.budget_used)}).",
        )
    return f"No decision is needed this {noun}", "No systemic fix is recommended and no error budget is spent."


def money_title(period: Money, n_earlier: int) -> str:
    """Title of the chart of losses."""
    if period.lost.value is None:
        return f"This {period.noun}’s loss is not known"
    if period.normal is None and not n_earlier:
        return f"{money(period.lost.value, period.currency)} lost; there is no earlier {period.noun} to compare with"
    if period.normal is None:
        short = "is" if n_earlier == 1 else "are"
        earlier = count(n_earlier, f"earlier {period.noun}")
        return f"{money(period.lost.value, period.currency)} lost; {earlier} {short} too few for a norm"
    return f"{money(period.lost.value, period.currency)} lost, {standing(period.lost.value, period.normal, period.noun)}"


def journeys_title(journeys: Sequence[JourneyLine]) -> str:
    """Title of the loss by journey."""
    hit = [line for line in journeys if line.lost > 0]
    if not journeys:
        return "No journeys are known"
    if not hit:
        return "No journey lost revenue that can be told from noise"
    if len(hit) == 1:
        return f"Only {hit[0].title} lost revenue"
    whole = math.fsum(line.lost for line in journeys)
    return f"{hit[0].title} lost most, {part(_share(hit[0].lost, whole))} the total"


def slo_title(journeys: Sequence[JourneyLine], noun: str) -> str:
    """Title of the journey table."""
    known = [line for line in journeys if line.target is not None and line.success_7d is not None]
    missed = [line for line in known if (line.success_7d or 0.0) < (line.target or 0.0)]
    if not known:
        return "No journey has an SLO and attempts to judge it by"
    if not missed:
        return f"Every journey met its SLO this {noun}" if len(known) > 1 else f"{known[0].title} met its SLO this {noun}"
    if len(known) == 1:
        return f"{known[0].title} missed its SLO this {noun}"
    return f"{number_word(len(missed))} of {count(len(known), 'SLO')} missed this {noun}: {listing([line.title for line in missed], 2)}"


def budget_title(journeys: Sequence[JourneyLine]) -> str:
    """Title of the error budget chart."""
    known = [line for line in journeys if line.budget_used is not None]
    spent = [line for line in known if (line.budget_used or 0.0) > 1]
    if not known:
        return "No error budget can be followed yet"
    if not spent:
        line = worst(known)
        return (
            f"The error budget of every journey holds; {line.title if line else ''} used most, {percent(line.budget_used) if line else ''}"
        )
    if len(spent) == len(known):
        return "The error budget of every journey is gone" if len(spent) > 1 else f"{spent[0].title}’s error budget is gone"
    rest = len(known) - len(spent)
    names = listing([line.title for line in spent], 2)
    verb = "budget is" if len(spent) == 1 else "budgets are"
    return f"{names}: error {verb} gone; {'the other holds' if rest == 1 else 'the rest hold'}"


def incidents_title(table: Sequence[IncidentLine], currency: str, noun: str) -> str:
    """Title of the incident table."""
    if not table:
        return f"No incidents this {noun}"
    amounts = [line.lost.value for line in table if line.lost.value is not None and line.currency in ("", currency)]
    whole, running = math.fsum(amounts), 0.0
    for index, value in enumerate(amounts, start=1):
        running += value
        if running > whole / 2:
            if 3 * index <= len(amounts):
                first = f"{number_word(index)} {'incident' if index == 1 else 'incidents'} cost more"
                return f"{first} than the other {number_word(len(amounts) - index).lower()} together"
            break
    costly = (
        f"{len(amounts)} of {len(table)} with a measured loss"
        if len(table) > 1
        else "with a measured loss"
        if amounts
        else "no measured loss"
    )
    return f"{number_word(len(table))} {'incident' if len(table) == 1 else 'incidents'}, {costly}"


def families_title(families: Sequence[FamilyLine], noun: str) -> str:
    """Title of the families that come back."""
    if not families:
        return "No kind of incident came back"
    if noun != "week":
        fixed = sum(bool(line.since_fix) for line in families)
        kinds = "kind of incident" if len(families) == 1 else "kinds of incident"
        after = f"; {number_word(fixed).lower() if fixed else 'none'} came back after a fix"
        return f"{number_word(len(families))} {kinds} struck more than once this {noun}{after}"
    again = sum(line.this_week > 0 for line in families)
    verb = "kind of incident keeps" if len(families) == 1 else "kinds of incident keep"
    return f"{number_word(len(families))} {verb} coming back; {number_word(again).lower() if again else 'none'} struck this {noun}"


def fixes_title(fixes: Sequence[FixLine], noun: str) -> str:
    """Title of the fixes and their verdicts."""
    if not fixes:
        return "No shipped fix to judge yet"
    sums = {verdict: sum(line.verdict == verdict for line in fixes) for verdict in ("effective", "not_effective", "too_early")}
    words = [
        f"{sums['effective']} of {len(fixes)} fixes effective"
        if len(fixes) > 1
        else "One fix" + (" effective" if sums["effective"] else "")
    ]
    if sums["not_effective"]:
        words.append(f"{sums['not_effective']} not")
    if sums["too_early"]:
        words.append(f"{sums['too_early']} too early to tell" if len(fixes) > 1 else "too early to tell")
    again = sum(line.again > 0 for line in fixes)
    return ", ".join(words) + (f"; {count(again, 'fixed fault')} came back this {noun}" if again else "")


def actions_title(teams: Sequence[TeamActions]) -> str:
    """Title of the overdue actions."""
    overdue = sum(line.n_overdue for line in teams)
    if not teams:
        return "No open actions"
    if not overdue:
        return f"{count(sum(line.n_open for line in teams), 'open action').capitalize()}, none overdue"
    oldest = max(line.oldest_days or 0.0 for line in teams)
    late = count(max(1, math.floor(oldest)), "day")
    return f"{number_word(overdue)} {'action is' if overdue == 1 else 'actions are'} overdue, the oldest by {late}"


def detection_title(detection: Sequence[Detection], n_incidents: int, noun: str) -> str:
    """Title of how incidents were noticed and stopped."""
    if not n_incidents:
        return f"No incidents to notice this {noun}"
    first = detection[0].share if detection else None
    if first is None or not first.n:
        return f"Nobody recorded how this {noun}’s incidents were noticed"
    return f"We noticed {first.k} of {count(first.n, 'incident')} before a customer did"


def advice_title(recommendations: Sequence[Recommendation]) -> str:
    """Title of what to fix next."""
    if not recommendations:
        return "Nothing to recommend: no kind of incident recurs enough"
    first = recommendations[0]
    if first.reduction.value is None:
        return f"Fix next: {shorten(first.action, TITLE)}"
    return f"Fix next: {shorten(first.action, TITLE)} could avoid {money(first.reduction.value, first.currency)}"


def health_title(lines: Sequence[SourceLine], n_banners: int, noun: str) -> str:
    """Title of the data health section."""
    if not lines:
        return "Nothing is known about the sources"
    behind = sorted({line.source for line in lines if line.standing != "complete"})
    if behind:
        return f"Not everything was delivered: {listing(behind)} {'is' if len(behind) == 1 else 'are'} incomplete"
    rejected = sum(line.rejected or 0 for line in lines)
    if rejected:
        return f"Every source delivered; {count(rejected, 'row')} {'was' if rejected == 1 else 'were'} rejected"
    return f"Every source delivered the whole {noun}" + ("; see the notes at the top" if n_banners else "")
