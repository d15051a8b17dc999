"""Every number of a report as CSV, one a line, from the same figures as the page: what it is, of what, how sure, as of when, and how it is
defined. An empty cell is a number that is not known, which is not zero.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from aftercast.reporting import definitions
from aftercast.reporting.figures import Report
from aftercast.reporting.intervals import Range, Share

HEADER = ("report", "period", "section", "item", "name", "value", "unit", "low", "high", "n", "as_of", "definition")

# One sentence for each name; `{noun}` is the period of the report.
DEFINITIONS = {
    "as_of": "the data reaches to this moment",
    "code_version": "version of the code that made the mart",
    "configuration": "fingerprint of the configuration that the mart was made with",
    "model_version": "version of what decides this",
    "lost_revenue": "revenue expected without the incident, minus earned, minus recovered later; quantified incidents only; 95% interval",
    "incidents": "incidents that began in the span, without those excluded from metrics",
    "incidents_not_quantified": "incidents of the span whose loss is not known",
    "incidents_quantified": "incidents whose loss can be told from noise",
    "incidents_within_noise": "incidents whose loss cannot be told from noise; not added",
    "incidents_excluded": "tests, drills and others that a person left out of metrics",
    "tile_lost": "lost revenue of the {noun}; low and high: the normal range (10th to 90th percentile of earlier {noun}s)",
    "tile_incidents": "incidents of the {noun}; low and high: the normal range of earlier {noun}s",
    "tile_found": "share noticed by us before a customer; low and high: the normal range of earlier {noun}s",
    "tile_mitigated": "share mitigated in under 30 minutes; low and high: the normal range of earlier {noun}s",
    "tile_journey": "share of the journey's attempts that succeeded in the {noun}; low and high: the normal range of earlier {noun}s",
    "slo_target": "share of attempts that the service level objective asks for",
    "objectives_met": "objectives declared in OpenSLO that are met at the end of the {noun}; n: all that are declared",
    "objectives_missed": "objectives declared in OpenSLO that are missed at the end of the {noun}; n: all that are declared",
    "objectives_not_judged": "objectives declared in OpenSLO without enough traffic to judge; n: all that are declared",
    "objective_target": "share of its window that the objective declared in OpenSLO asks to be good",
    "objective_success": "share of the objective's window, up to the end of the {noun}, that was good",
    "objective_budget_used": "bad share of the objective's window over what its target allows; 1 is all of it",
    "objective_status": "whether the objective is met at the end of the {noun}",
    "objective_rules_firing": "burn-rate rules of the objective that fire at the end of the data",
    "ends_at": "when the exception ends; of a trial, from when on it is to be reviewed",
    "success_in_period": "successes over attempts of all steps in the {noun}; n: attempts",
    "success_slo_window": "successes over attempts of all steps in the SLO's window; n: attempts",
    "error_budget_used": "failed attempts over those the SLO allows in its window; 1 is all of it; n: days known",
    "traffic_share": "attempts of the journey over those of all journeys in the {noun}",
    "incidents_of_journey": "incidents of the {noun} with a quantified loss in the journey",
    "usual_lost_revenue": "median loss of the earlier {noun}s",
    "impact_minutes": "how long customers were hit; at least that long while it is open",
    "top_candidate": "the likeliest candidate cause: a suspicion unless a person confirmed it",
    "top_candidate_probability": "probability of the likeliest candidate; those of an incident sum to one, none included",
    "candidate_probability": "probability of a candidate cause; those of an incident sum to one, none included",
    "value_at_peak": "the point of the episode furthest from what was expected; low and high: the expected interval",
    "incidents_of_family": "incidents of the family in the weeks shown",
    "incidents_in_week": "incidents of the family in the week",
    "incidents_since_fix": "incidents of the family since its last fix shipped",
    "incidents_of_pattern": "incidents of the {noun} with this value; n: incidents whose value is known",
    "expected_incidents": "incidents expected of the value if it were as its basis says",
    "rate_ratio_of_pattern": "observed over expected rate, exact 95% interval",
    "q_value": "share of such findings that chance alone would give (Benjamini-Hochberg)",
    "fixes_planned": "fixes of the kind that have not shipped",
    "fixes_shipped": "fixes of the kind that have shipped",
    "fixes_effective": "share of judged fixes with the verdict effective, Wilson interval; n: judged",
    "promised_reduction": "share by which incidents were promised to fall",
    "reduction": "share by which incidents fell, drawn towards what all fixes brought; 95% interval",
    "revenue_avoided": "revenue that incidents avoided would have cost; 95% interval",
    "warnings_came_true": "share of an indicator's warnings on later data that an incident followed; n: warnings judged",
    "base_rate": "the same share at random times",
    "incidents_warned": "incidents of the family that a warning came before; n: incidents due",
    "incidents_before": "incidents of the family before the fix; n: days",
    "incidents_after": "incidents of the family after the fix; n: days",
    "rate_ratio": "rate of incidents after the fix over the rate before, with its interval; n: incidents after",
    "verdict": "whether the fix worked",
    "open": "open action items of the team",
    "overdue": "open action items of the team past their date",
    "oldest_days": "days past its date of the team's oldest overdue item",
    "share": "k of n incidents, Wilson 95% interval; n: incidents that can be counted",
    "share_before": "the same over the earlier {noun}s",
    "expected_reduction_90d": "loss the recommendation is expected to avoid in 90 days; n: incidents it rests on",
    "received": "rows received over every window kept",
    "rejected": "rows kept in quarantine with a reason",
    "duplicate": "rows dropped as duplicates",
    "late": "rows that came after their window",
    "series": "watched series by what came of them",
}


@dataclass(frozen=True, slots=True)
class Number:
    """A line of the file without what is the same on every line."""

    section: str
    item: str
    name: str
    value: object
    unit: str = ""
    low: float | None = None
    high: float | None = None
    n: float | None = None


def to_csv(report: Report) -> str:
    """Return every number of the page as CSV with the columns of `HEADER`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    name, as_of, noun = report.cadence.name, report.as_of.isoformat(), report.cadence.noun
    for one in of(report):
        cells = (one.section, one.item, one.name, one.value, one.unit, one.low, one.high, one.n)
        written = ("" if cell is None else _plain(cell) for cell in cells)
        writer.writerow([name, report.label, *written, as_of, DEFINITIONS[one.name].format(noun=noun)])
    return out.getvalue()


def _plain(cell: object) -> object:
    """Return a cell a spreadsheet will not take for a formula."""
    if isinstance(cell, float):
        return f"{cell:.10g}"
    if isinstance(cell, datetime):
        return cell.isoformat()
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _of_range(section: str, item: str, name: str, found: Range, unit: str, n: float | None = None) -> Number:
    return Number(section, item, name, found.value, unit, found.low, found.high, n)


def _of_share(section: str, item: str, name: str, found: Share) -> Number:
    return Number(section, item, name, found.value, "share", found.low, found.high, found.n)


def stamp(report: Report) -> definitions.Stamp:
    """Return what the report's numbers are made by and how they are defined, as its own file says."""
    said = {one.name for one in of(report)}
    written = {name: text.format(noun=report.cadence.noun) for name, text in DEFINITIONS.items() if name in said}
    versions = definitions.models(report.model_versions)
    return definitions.Stamp(report.label, report.code_version, report.configuration, versions, written)


def of(report: Report) -> Iterator[Number]:
    """Every number of the page, in its order."""
    yield from _totals(report)
    yield from _journeys(report)
    yield from _objectives(report)
    yield from _incidents(report)
    yield from _families_and_patterns(report)
    yield from _fixes(report)
    yield from _rest(report)


def _totals(report: Report) -> Iterator[Number]:
    money, noun = report.currency, report.cadence.noun
    yield Number("run", report.company, "as_of", report.as_of, "UTC")
    yield Number("run", report.company, "code_version", report.code_version)
    yield Number("run", report.company, "configuration", report.configuration)
    for model, version in definitions.models(report.model_versions).items():
        yield Number("run", model, "model_version", version)
    yield _of_range(noun, "all", "lost_revenue", report.lost, money, report.n_quantified)
    numbers = (report.n_quantified, report.n_below_noise, report.n_unknown, report.n_excluded)
    for name, number in zip(("quantified", "within_noise", "not_quantified", "excluded"), numbers, strict=True):
        yield Number(noun, "all", f"incidents_{name}", number, "incidents")
    for code, other in report.other_money:
        yield _of_range(noun, "all", "lost_revenue", other, code)
    for tile in report.tiles:
        unit = {"lost": money, "incidents": "incidents"}.get(tile.name, "share")
        yield Number("tile", tile.label, f"tile_{tile.name}", tile.value, unit, *(tile.normal or (None, None)))
    for week in report.weeks:
        yield _of_range("week by week", week.label, "lost_revenue", week.lost, money, week.n_incidents)
        yield Number("week by week", week.label, "incidents", week.n_incidents, "incidents")


def _journeys(report: Report) -> Iterator[Number]:
    for line in report.journeys:
        yield Number("journey", line.journey, "slo_target", line.target, "share")
        yield Number("journey", line.journey, "success_in_period", line.success_7d, "share", n=line.attempts_7d)
        yield Number("journey", line.journey, "success_slo_window", line.success_slo, "share", n=line.attempts_slo)
        yield Number("journey", line.journey, "error_budget_used", line.budget_used, "share", n=line.days_known)
        yield Number("journey", line.journey, "traffic_share", line.traffic_share, "share")
        yield Number("journey", line.journey, "incidents_of_journey", line.n_incidents, "incidents")
        not_known = not line.lost and report.n_unknown and not report.n_quantified
        yield Number("journey", line.journey, "lost_revenue", None if not_known else line.lost, report.currency, n=line.n_incidents)
        yield Number("journey", line.journey, "usual_lost_revenue", line.usual_loss, report.currency)


def _objectives(report: Report) -> Iterator[Number]:
    statuses = [line.status for line in report.objectives]
    if statuses:
        for name, status in (("met", "kept"), ("missed", "missed"), ("not_judged", "not_judged")):
            yield Number("objectives", "all", f"objectives_{name}", statuses.count(status), "objectives", n=len(statuses))
    for line in report.objectives:
        yield Number("objective", line.slo, "objective_target", line.target, "share")
        yield Number("objective", line.slo, "objective_success", line.success, "share")
        yield Number("objective", line.slo, "objective_budget_used", line.budget_used, "share")
        yield Number("objective", line.slo, "objective_status", {"kept": "met"}.get(line.status, line.status))
        yield Number("objective", line.slo, "objective_rules_firing", len(line.firing), "rules")


def _incidents(report: Report) -> Iterator[Number]:
    for line in report.incidents:
        yield _of_range("incident", line.incident_id, "lost_revenue", line.lost, line.currency)
        yield Number("incident", line.incident_id, "impact_minutes", line.minutes, "minutes")
        yield Number("incident", line.incident_id, "top_candidate", line.cause)
        yield Number("incident", line.incident_id, "top_candidate_probability", line.probability, "share")
    for shown in report.pictures:
        if shown.peak is not None:
            top, item = shown.peak, f"{shown.incident_id}: {shown.history.series_id}"
            yield Number("episode", item, "value_at_peak", top.actual, "as the series", top.low, top.high)
    for suspects in report.suspects:
        for one in suspects.candidates:
            yield Number("candidate", f"{suspects.incident_id}: {one.label}", "candidate_probability", one.probability, "share")
        if suspects.rest is not None:
            yield Number("candidate", f"{suspects.incident_id}: all others", "candidate_probability", suspects.rest, "share")


def _families_and_patterns(report: Report) -> Iterator[Number]:
    weeks = [week.label for week in report.weeks]
    for line in report.families:
        yield Number("family", line.family_id, "incidents_of_family", line.n_incidents, "incidents")
        yield Number("family", line.family_id, "lost_revenue", line.lost, report.currency)
        if line.since_fix is not None:
            yield Number("family", line.family_id, "incidents_since_fix", line.since_fix, "incidents")
        for week, number in zip(weeks[-len(line.cells) :], line.cells, strict=True):
            yield Number("family by week", f"{line.family_id}: {week}", "incidents_in_week", number, "incidents")
    for found in report.patterns:
        item = f"{found.dimension}: {found.title}"
        yield Number("pattern", item, "incidents_of_pattern", found.n_incidents, "incidents", n=found.n_known)
        yield Number("pattern", item, "expected_incidents", found.expected, "incidents")
        yield _of_range("pattern", item, "rate_ratio_of_pattern", found.ratio, "ratio")
        yield Number("pattern", item, "q_value", found.q_value, "share")
        yield Number("pattern", item, "lost_revenue", found.lost, found.currency)


def _fixes(report: Report) -> Iterator[Number]:
    for line in report.fixes:
        yield Number("fix", line.action_item_id, "incidents_before", line.n_before, "incidents", n=line.days_before)
        yield Number("fix", line.action_item_id, "incidents_after", line.n_after, "incidents", n=line.days_after)
        yield _of_range("fix", line.action_item_id, "rate_ratio", line.ratio, "ratio", line.n_after)
        yield Number("fix", line.action_item_id, "verdict", line.verdict)
    for kind in report.portfolio:
        item = ": ".join(text for text in (kind.kind, kind.outcome, kind.subject) if text)
        yield Number("portfolio", item, "fixes_planned", kind.n_planned, "fixes")
        yield Number("portfolio", item, "fixes_shipped", kind.n_shipped, "fixes")
        yield _of_share("portfolio", item, "fixes_effective", kind.effective)
        yield Number("portfolio", item, "promised_reduction", kind.promised, "share")
        yield _of_range("portfolio", item, "reduction", kind.reduction, "share")
        yield _of_range("portfolio", item, "revenue_avoided", kind.avoided, kind.currency)
    for one in report.indicators:
        yield _of_share("indicator", one.title, "warnings_came_true", one.came_true)
        yield Number("indicator", one.title, "base_rate", one.base_rate, "share")
        yield Number("indicator", one.title, "incidents_warned", one.warned, "incidents", n=one.due)


def _rest(report: Report) -> Iterator[Number]:
    for team in report.teams:
        yield Number("actions", team.team, "open", team.n_open, "actions")
        yield Number("actions", team.team, "overdue", team.n_overdue, "actions", n=team.n_open)
        yield Number("actions", team.team, "oldest_days", team.oldest_days, "days")
    for line in report.detection:
        yield _of_share("detection", line.label, "share", line.share)
        yield _of_share("detection", line.label, "share_before", line.before)
    for advice in report.recommendations:
        yield _of_range("recommendation", advice.action, "expected_reduction_90d", advice.reduction, advice.currency, advice.n_incidents)
    for source in report.sources:
        for name in ("received", "rejected", "duplicate", "late"):
            yield Number("source", f"{source.source}/{source.entity}", name, getattr(source, name), "rows")
    for status, number in report.series_status:
        yield Number("series", status, "series", number, "series")
    for kept in report.exceptions:
        yield Number("exception", f"{kept.kind} {kept.title}", "ends_at", kept.until, "UTC")
