"""Checks on `none`: is anything we run in trouble at all, did people simply come or stay away, was there any change."""

from __future__ import annotations

from aftercast.correlation.findings import HARMFUL, LOOKBACK, STRENGTHS, TOLERANCE, Candidate, Finding, deviation_strength, point, span
from aftercast.correlation.harm import CLEAR
from aftercast.correlation.semantics import TRAFFIC
from aftercast.correlation.situation import Situation
from aftercast.correlation.surroundings import Surroundings, iso
from aftercast.correlation.telemetry import HOUR, steps_against_other_days


def nothing_deviates(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    harmful = {
        view.service: max((row.weight for symptom, row in view.by_symptom.items() if symptom != TRAFFIC), default=0.0)
        for view in situation.views.values()
    }
    if not harmful:
        why = "there is no telemetry around the onset to tell services apart"
        return Finding("nothing_deviates", 0.0, why, point("fct_metric_point", environment=around.environment, **span(situation)))
    worst = max(harmful, key=lambda name: (harmful[name], name))
    strength = -deviation_strength(harmful[worst]) / 2
    pointer = point("fct_metric_point", service=worst, **span(situation))
    if strength < 0:
        return Finding(
            "nothing_deviates", max(strength, -1.5), f"{worst} deviates clearly ({harmful[worst]:.1f} times its usual spread)", pointer
        )
    why = f"none of {len(harmful)} measured services fails or slows beyond its usual spread (worst: {worst}, {harmful[worst]:.1f})"
    return Finding("nothing_deviates", min(strength, STRENGTHS["nothing_deviates"]), why, pointer)


def demand_moved(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    """People came, or stayed away, while those who came were served as usual."""
    if any(
        row.z > 2 * CLEAR and row.first is not None
        for view in situation.views.values()
        for key, row in view.by_symptom.items()
        if key in HARMFUL
    ):
        return None
    start, end = situation.onset, min(max(situation.incident.ended, situation.onset + HOUR // 4), situation.onset + HOUR)
    wanted = frozenset().union(*(around.journeys_of.get(name, frozenset()) for name in situation.incident.services))
    for panel, table in ((around.journeys, "fct_kpi_point"), (around.panel, "fct_metric_point")):
        if panel is None:
            continue
        names = wanted if table == "fct_kpi_point" else frozenset(situation.hops)
        rows = [i for i, series in enumerate(panel.series) if series.meaning.symptom == TRAFFIC and (not names or series.service in names)]
        steps = [step for step in steps_against_other_days(panel, rows, start, end) if abs(step.z) > CLEAR]
        if not steps:
            continue
        step = max(steps, key=lambda step: (abs(step.z), step.row))
        series = panel.series[step.row]
        where = f"{series.service}{f' in {series.region}' if series.region else ''}"
        way = "fewer" if step.z < 0 else "more"
        strength = min(STRENGTHS["demand_per_z"] * abs(step.z), STRENGTHS["demand_most"]) * (1.0 if step.z < 0 else 0.5)
        why = (
            f"{way} people came than at this time on {step.days} other days: {series.metric} of {where} moved "
            f"{100 * step.size:+.0f} % at the onset ({abs(step.z):.1f} times the usual spread), and those who came were served as usual"
        )
        return Finding("demand_moved", strength, why, point(table, name=series.service, region=series.region, **span(situation)))
    return None


def no_change_near(candidate: Candidate, situation: Situation, around: Surroundings) -> Finding | None:
    found = around.changes_between(situation.onset - LOOKBACK, situation.latest + TOLERANCE)
    hour = [change for change in found if change.started >= situation.onset - HOUR]
    pointer = point("fct_change", environment=around.environment, **{"from": iso(situation.onset - LOOKBACK), "to": iso(situation.onset)})
    if found:
        why = f"{len(found)} changes started in the day before the onset, {len(hour)} of them in the last hour"
        return Finding("changes_near", 0.0, why, pointer)
    return Finding("changes_near", 0.0, "no change is known in the day before the onset", pointer)
