"""What rules that insights prescribe would do to the rankings of the incidents since they were prescribed. Pure.

Time-ordered: a rule is compared on incidents that began after it was recorded; one that runs in shadow, on those since it was declared.
The live version ranks every one of them with and without it; where people know the cause, the errors of both are told side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import fmean, stdev
from typing import Any

from scipy import stats

from aftercast.correlation.judging import Hearing, Judgement
from aftercast.correlation.ranking import Ranked, order
from aftercast.correlation.rules import seen_by, touches
from aftercast.correlation.surroundings import micros
from aftercast.correlation.weights import Weights
from aftercast.declarations import RankerRow
from aftercast.prescriptions import Advice, ranker_with, runs_in, version_name
from aftercast.promoting import Compared, verdict_of

MODEL_VERSION = "insight-effects-1"

Row = dict[str, Any]


def effect_rows(
    advice: Sequence[Advice],
    hearings: Sequence[Hearing],
    judged: Sequence[Judgement],
    weights: Mapping[str, Weights],
    rankers: Sequence[RankerRow],
    as_of: datetime,
) -> list[Row]:
    """Return the rows of `insight_effects` of the rules among `advice`, one each.

    Args:
        hearings: the incidents that were ranked, their candidates as no version in particular sees them.
        judged: what people had said of them by `as_of`.
        weights: those with which the live version ranked each.
        rankers: the declared versions; one is live.
    """
    causes = {one.incident_id: one.cause for one in judged if one.cause is not None}
    own = [one for one in advice if one.prescription is not None and one.prescription.kind == "rule"]
    return [_effect(one, hearings, causes, weights, rankers, as_of) for one in own]


def _effect(
    advice: Advice,
    hearings: Sequence[Hearing],
    causes: Mapping[str, tuple[str, str]],
    weights: Mapping[str, Weights],
    rankers: Sequence[RankerRow],
    as_of: datetime,
) -> Row:
    live = next(row for row in rankers if row.state == "live")
    runs = next((one for state in ("live", "shadow") for one in rankers if one.state == state and runs_in(advice, one)), None)
    shadow = runs if runs is not None and runs.state == "shadow" else None
    without = live.model_copy(update={"rules": tuple(one for one in live.rules if one.insight != advice.feature)})
    own = [one for one in runs.rules if one.insight == advice.feature] if runs else []
    follows = ranker_with(advice, without, version=version_name(advice, live.version), since=advice.recorded_at)
    rule = own[0] if own else follows.rules[-1]  # as it was declared
    follows = without.model_copy(update={"rules": (*without.rules, rule)})
    since = max(advice.recorded_at, shadow.since) if shadow and shadow.since else advice.recorded_at
    later = [hearing for hearing in hearings if hearing.incident.started >= micros(since)]
    touched = {one.incident.incident_id for one in later if any(touches(rule, one.incident, candidate) for candidate, _ in one.examined)}
    known = [one for one in later if one.incident.incident_id in causes]
    told = []
    for hearing in known:
        name = hearing.incident.incident_id
        ranked = [order(seen_by(version, hearing.incident, hearing.examined), weights[name]) for version in (without, follows)]
        told.append((causes[name], ranked[0], ranked[1]))
    errors = [(_brier(now, cause), _brier(then, cause)) for cause, now, then in told]
    top1_now, top1_then = (sum(_is_first(ranked, told[number][0]) for number, ranked in enumerate(column)) for column in _columns(told))
    compared = _compared(errors, top1_now, top1_then, len(touched))
    verdict, reason = verdict_of(compared, since, shadow.version if shadow else "", as_of)
    if runs is live:
        verdict, reason = "adopted", f"live as {live.version}; since {since:%Y-%m-%d} with it: {compared.seen}"
    difference, low, high = _difference(errors)
    return {
        **advice.told(runs.state if runs else "proposed"),
        "model_kind": "ranker",
        "live_version": live.version,
        "shadow_version": shadow.version if shadow else None,
        "compared_from": since,
        "rankings_n": len(later),
        "rankings_touched_n": len(touched),
        "causes_known_n": len(known),
        "top1_now": top1_now,
        "top1_then": top1_then,
        "brier_now": round(fmean(now for now, _ in errors), 6) if errors else None,
        "brier_then": round(fmean(then for _, then in errors), 6) if errors else None,
        "brier_difference": difference,
        "brier_difference_low": low,
        "brier_difference_high": high,
        "verdict": verdict,
        "reason": reason,
        "model_version": MODEL_VERSION,
    }


def _columns(told: Sequence[tuple[tuple[str, str], list[Ranked], list[Ranked]]]) -> tuple[list[list[Ranked]], list[list[Ranked]]]:
    return [now for _, now, _ in told], [then for _, _, then in told]


def _is_first(ranked: Sequence[Ranked], cause: tuple[str, str]) -> bool:
    return (ranked[0].candidate.kind, ranked[0].candidate.candidate_id) == cause


def _brier(ranked: Sequence[Ranked], cause: tuple[str, str]) -> float:
    """Squared error summed over the candidates, as the scorecard of rankers counts it."""
    true = sum(one.probability for one in ranked if (one.candidate.kind, one.candidate.candidate_id) == cause)
    return round(sum(one.probability**2 for one in ranked) - 2 * true + 1, 6)


def _difference(errors: Sequence[tuple[float, float]]) -> tuple[float | None, float | None, float | None]:
    """The mean difference of errors (then - now) with its 95 % interval by Student's t; of one case no interval."""
    apart = [then - now for now, then in errors]
    if not apart:
        return None, None, None
    mean = fmean(apart)
    if len(apart) < 2:
        return round(mean, 6), None, None
    reach = float(stats.t.ppf(0.975, len(apart) - 1)) * stdev(apart) / len(apart) ** 0.5
    return round(mean, 6), round(mean - reach, 6), round(mean + reach, 6)


def _compared(errors: Sequence[tuple[float, float]], top1_now: int, top1_then: int, touched: int) -> Compared:
    changed = [then - now for now, then in errors if then != now]
    better, worse = sum(one < 0 for one in changed), sum(one > 0 for one in changed)
    n = len(errors)
    if n:
        mean = fmean(then - now for now, then in errors)
        seen = (
            f"it touches {touched} incidents, {len(changed)} of {n} of known cause: {better} ranked better, {worse} worse, "
            f"{top1_then} instead of {top1_now} first"
        )
    else:
        mean, seen = 0.0, f"it touches {touched} incidents; of none since is the cause known"
    return Compared(len(changed), better, worse, mean < 0 and top1_then >= top1_now, "", seen, "incidents of known cause that it touches")
