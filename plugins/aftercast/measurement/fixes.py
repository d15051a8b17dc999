"""Whether a fix worked: what its fault did before and after it shipped (docs/decisions/016-fix-impact.md).

Recurrence is compared as rates with exposure (`recurrence`), times, sizes, sums and shares as samples (`samples`), between spans that other
fixes of the same fault do not reach into (`spans`), against what was promised before shipping (`criteria`). A verdict bears being looked at
every week. A promise written down before shipping is one question and is judged on its own; whatever else is looked at, among many fixes
and outcomes, has to stand out among all of them (Benjamini-Hochberg: one in ten may be luck). The incident that led to a fix is never
counted before it. Associations in time, never proofs of a cause.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from scipy import stats

from aftercast.measurement import looking, samples
from aftercast.measurement.criteria import LONGEST_WINDOW, OUTCOMES, SHORTEST_WINDOW, refuted_above, window_of
from aftercast.measurement.inputs import Inputs
from aftercast.measurement.occasions import Occasions, Side, currency, read_occasions
from aftercast.measurement.rates import NO_PRIOR, Prior
from aftercast.measurement.recurrence import Families, Recurrence, compare
from aftercast.measurement.spans import MOVERS, Fix, Spans, data_start, promises, read_fixes, spans_of, why_not

FALSE_DISCOVERIES = 0.10
LEAST_RECURRENCES = 2
LEAST_SAMPLE = 2
LEAST_WEEKS = 4
MOST_WEEKS = 260
POWER = 0.8
DAY = 86_400.0
UNITS = {
    "recurrence": "incidents per day",
    "time_to_detect": "minutes",
    "time_to_recover": "minutes",
    "blast_radius": "services and journeys",
    "loss_per_incident": "",
    "loss_per_week": "",
    "change_failure_rate": "share of deployments",
}

Row = dict[str, object]


def measure_fixes(inputs: Inputs, as_of: datetime, incident_loss: pl.DataFrame, outcomes: Sequence[str] = OUTCOMES) -> list[Row]:
    """Return `fix_impact`: one row per shipped action item and outcome, by both; recurrence only where fewer recurrences are promised.

    Args:
        incident_loss: the derived table; incidents it does not know have an unknown loss. outcomes: those to be compared.
    """
    begin = data_start(inputs)
    if begin is None:
        return []
    fixes = read_fixes(inputs, begin)
    if not fixes:
        return []
    now = (as_of - begin).total_seconds() / DAY
    occasions = read_occasions(inputs, begin, as_of, incident_loss)
    rows: list[Row] = []
    for outcome in outcomes:
        if outcome == "recurrence":
            rows += _recurrence_rows(fixes, Families.of(occasions.onsets), now)
        else:
            rows += _sample_rows(fixes, occasions, outcome, now)
    _guard_weekly_loss(rows)
    _among_many(rows)
    for row in rows:
        _decide(row)
    rows.sort(key=lambda row: (str(row["action_item_id"]), OUTCOMES.index(str(row["outcome"]))))
    return [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows]


def _start(fix: Fix, outcome: str) -> Row:
    criterion = fix.criterion
    return {
        "action_item_id": fix.item,
        "outcome": outcome,
        "family_id": fix.family,
        "shipped_at": fix.shipped_at,
        "verdict": "too_early",
        "status": "unknown",
        "is_promised": promises(fix, outcome),
        "criterion_status": criterion.status,
        "promised_ratio": criterion.ratio if criterion.outcome == outcome else None,
        "unit": UNITS[outcome] or None,
        "regression_to_mean": False,
        "is_shared": False,
        "shared_with": [],
    }


def _place_of(fix: Fix, outcome: str) -> str | None:
    return fix.service if outcome == "change_failure_rate" else fix.family


def _recurrence_rows(fixes: Sequence[Fix], families: Families, now: float) -> list[Row]:
    listed = [fix for fix in fixes if fix.kind in MOVERS["recurrence"] or fix.criterion.outcome == "recurrence"]
    spans = spans_of(listed, "recurrence", now, {fix.item: fix.family for fix in listed})
    movers = [fix for fix in listed if fix.kind in MOVERS["recurrence"]]
    fixed: dict[str, list[float]] = {}
    for fix in movers:
        if fix.family is not None and fix.day is not None:
            fixed.setdefault(fix.family, []).append(fix.day)
    windows = {fix.item: window_of(fix.criterion, spans[fix.item].before) for fix in listed if fix.item in spans}
    found = compare(families, listed, spans, windows, fixed)
    rows = []
    for fix in listed:
        row = _start(fix, "recurrence")
        if fix.item not in found:
            rows.append(row | {"reason": why_not(fix, fix.family, now)})
            continue
        span, one = spans[fix.item], found[fix.item]
        estimate = one.n_after / one.n_before * span.before / span.after if one.n_before else None
        most = refuted_above("recurrence", fix.criterion)
        notes = []
        if one.raw_before > one.n_before:
            notes.append("the incident that led to the fix is not counted before it")
        if one.looks_like_luck:
            notes.append("a plain comparison looks like success, which a bad spell before the fix explains as well")
        if one.control.n_families and one.control.high is not None and one.control.high < 1:
            notes.append(f"unfixed families fell as well, to {one.control.speed[-1]:.0%} of what was expected: that much is not credited")
        rows.append(
            row
            | _shared(span)
            | {
                "status": "judged",
                "n_before": one.n_before,
                "exposure_before": round(span.before, 4),
                "n_after": one.n_after,
                "exposure_after": round(span.after, 4),
                "window_days": windows[fix.item],
                "estimate": estimate,
                "ci_low": one.low,
                "ci_high": one.high,
                "p_value": one.p_value,
                "p_value_sequential": one.sequential,
                "shrunk_estimate": one.shrunk,
                "shrunk_low": one.shrunk_low,
                "shrunk_high": one.shrunk_high,
                "control_ratio": float(one.control.speed[-1]) if one.control.n_families else None,
                "control_low": one.control.low,
                "control_high": one.control.high,
                "n_controls": one.control.n_families,
                "value_before": one.n_before / span.before,
                "value_after": one.n_after / span.after,
                "expected_after": one.expected,
                "avoided": one.expected - one.n_after,
                "avoided_low": one.avoided_low,
                "avoided_high": one.avoided_high,
                "regression_to_mean": one.looks_like_luck,
                "_refuted": one.n_after >= LEAST_RECURRENCES and one.low / max(1.0, one.control.high or 1.0) > most,
                "_refuted_above": most,
                "_counts": f"{one.n_before} in {span.before:.0f} days before, {one.n_after} in {span.after:.0f} days after",
                "_notes": notes,
                "_wait": _Wait(one, span, windows[fix.item], most) if span.until == now else None,
            }
        )
    return rows


def _shared(span: Spans) -> Row:
    return {"is_shared": bool(span.together), "shared_with": sorted(span.together), "_is_cut": span.is_cut}


@dataclass(frozen=True, slots=True)
class _Wait:
    """What is needed to say how many more weeks a verdict takes."""

    found: Recurrence
    span: Spans
    window: float
    refuted_above: float

    def weeks(self, false_discovery_share: float) -> float | None:
        one, known = self.found, self.found.prior or NO_PRIOR
        return weeks_needed(
            one.n_before,
            self.span.before,
            one.n_after,
            self.span.after,
            prior=known,
            raw_before=one.raw_before,
            window=self.window,
            refuted_above=self.refuted_above,
            share=false_discovery_share,
            speed=float(one.control.speed[-1]),
            spread=one.control.spread,
        )


def weeks_needed(
    n_before: int,
    exposure_before: float,
    n_after: int,
    exposure_after: float,
    *,
    prior: Prior = NO_PRIOR,
    raw_before: int | None = None,
    window: float | None = None,
    refuted_above: float = 0.2,
    share: float = 1.0,
    speed: float = 1.0,
    spread: float = 0.0,
) -> float | None:
    """Return the further weeks after which the exact tests decide with 80 % power if the present rate after the fix goes on.

    A present rate of none means: weeks without recurrence. None when five years would not do, or nothing came before.
    """
    if not n_before:
        return None
    weeks = np.arange(1, MOST_WEEKS + 1)
    days = np.asarray(exposure_after + 7.0 * weeks, dtype=np.float64)
    usual = min(max(exposure_before, SHORTEST_WINDOW), LONGEST_WINDOW)
    level = looking.spend(days, np.asarray(window or usual)) * share
    rate = n_after / exposure_after
    raw = prior.shape + (raw_before if raw_before is not None else n_before)
    loose = 1.0 / (1.0 / raw + spread)
    slow = (prior.rate + exposure_before) * loose / raw
    own = stats.nbinom.ppf(level, n_before, exposure_before / (exposure_before + days))
    wary = stats.nbinom.ppf(level, loose, slow / (slow + days * speed))
    most = np.minimum(own, wary)
    exact = np.maximum(
        stats.nbinom.cdf(most, n_before, exposure_before / (exposure_before + days)),
        stats.nbinom.cdf(most, loose, slow / (slow + days * speed)),
    )
    most = np.where(exact <= level, most, most - 1)
    least = stats.nbinom.ppf(1 - level, n_before + 1, exposure_before / (exposure_before + refuted_above * days)) + 1
    least = np.maximum(least, LEAST_RECURRENCES)
    further = rate * 7.0 * weeks
    power = stats.poisson.cdf(most - n_after, further) + stats.poisson.sf(least - n_after - 1, further)
    enough = np.flatnonzero(power >= POWER)
    return float(weeks[enough[0]]) if len(enough) else None


def _sample_rows(fixes: Sequence[Fix], occasions: Occasions, outcome: str, now: float) -> list[Row]:
    places = {fix.item: _place_of(fix, outcome) for fix in fixes}
    spans = spans_of(fixes, outcome, now, places)
    rows = []
    for fix in fixes:
        row = _start(fix, outcome)
        if fix.item not in spans:
            missing = "names no service: nothing can be compared" if fix.service is None and outcome == "change_failure_rate" else None
            reason = why_not(fix, places[fix.item], now)
            rows.append(row | {"reason": missing if missing and fix.day is not None else reason})
            continue
        span = spans[fix.item]
        found = _COMPARISONS[outcome](occasions, fix, span)
        row |= _shared(span) | {
            "exposure_before": round(span.before, 4),
            "exposure_after": round(span.after, 4),
            "n_before": found.n_before,
            "n_after": found.n_after,
            "unit": found.unit or row["unit"],
            "window_days": window_of(fix.criterion, span.before),
        }
        told = f"{found.n_before} {found.things} before, {found.n_after} after"
        if found.contrast is None:
            rows.append(row | {"status": "not_enough_data", "reason": "; ".join([told, *found.notes])})
            continue
        one, most = found.contrast, refuted_above(outcome, fix.criterion)
        rows.append(
            row
            | {
                "status": "judged",
                "estimate": one.estimate,
                "ci_low": one.low if one.estimate is not None else None,
                "ci_high": one.high,
                "p_value": one.p_value,
                "p_value_sequential": one.sequential,
                "value_before": one.value_before,
                "value_after": one.value_after,
                "difference": one.difference,
                "difference_low": one.difference_low,
                "difference_high": one.difference_high,
                "n_censored": one.censored_before + one.censored_after,
                "_refuted": one.estimate is not None and found.n_after >= LEAST_RECURRENCES and one.low > most,
                "_refuted_above": most,
                "_counts": told,
                "_notes": found.notes,
                "_too_few": one.smallest_p > samples.PER_LOOK,
            }
        )
    return rows


@dataclass(frozen=True, slots=True)
class _Sampled:
    n_before: int
    n_after: int
    things: str
    unit: str | None
    contrast: samples.Contrast | None
    notes: list[str]


def _times(outcome: str) -> Callable[[Occasions, Fix, Spans], _Sampled]:
    def sampled(occasions: Occasions, fix: Fix, span: Spans) -> _Sampled:
        before, after, straddling = occasions.either_side(fix.family, span, outcome)
        notes = [f"{straddling} open while it shipped left out"] if straddling and outcome == "time_to_recover" else []
        n, m = len(before.values), len(after.values)
        if min(n, m) < LEAST_SAMPLE or before.is_open.all() or after.is_open.all():
            return _Sampled(n, m, "times known", None, None, [*notes, f"needs {LEAST_SAMPLE} on either side, of which one ended"])
        found = samples.durations(before.values, before.is_open, after.values, after.is_open)
        return _Sampled(n, m, "times known", None, found, notes)

    return sampled


def _sizes(outcome: str, things: str) -> Callable[[Occasions, Fix, Spans], _Sampled]:
    def sampled(occasions: Occasions, fix: Fix, span: Spans) -> _Sampled:
        before, after, _ = occasions.either_side(fix.family, span, outcome)
        n, m = len(before.values), len(after.values)
        unit = currency(before, after) if outcome.startswith("loss") else None
        if unit == "":
            return _Sampled(n, m, things, None, None, ["losses are in several currencies"])
        if min(n, m) < LEAST_SAMPLE:
            return _Sampled(n, m, things, unit, None, [f"needs {LEAST_SAMPLE} on either side"])
        return _Sampled(n, m, things, unit, samples.sizes(before.values, after.values), [])

    return sampled


def _weekly_loss(occasions: Occasions, fix: Fix, span: Spans) -> _Sampled:
    before, after, _ = occasions.either_side(fix.family, span, "loss_per_incident", keep_unknown=True)
    unit = currency(before, after)
    n, m = int(span.before // 7), int(span.after // 7)
    if unit == "":
        return _Sampled(n, m, "weeks", None, None, ["losses are in several currencies"])
    sums = [_weekly(before, span.first - 7 * n, n), _weekly(after, span.last, m)]
    known = [total[np.isfinite(total)] for total in sums]
    left_out = n + m - len(known[0]) - len(known[1])
    notes = [f"{left_out} weeks with a loss that is unknown left out"] if left_out else []
    if min(len(known[0]), len(known[1])) < LEAST_WEEKS:
        return _Sampled(len(known[0]), len(known[1]), "weeks", unit, None, [*notes, f"needs {LEAST_WEEKS} weeks on either side"])
    return _Sampled(len(known[0]), len(known[1]), "weeks", unit, samples.sizes(known[0], known[1]), notes)


def _weekly(side: Side, start: float, weeks: int) -> samples.Array:
    """Loss of each of so many weeks; NaN where a loss is unknown."""
    week = np.floor((side.days - start) / 7).astype(np.int64)
    inside = (week >= 0) & (week < weeks)
    return np.bincount(week[inside], weights=side.values[inside], minlength=weeks).astype(np.float64)[:weeks]


def _failures(occasions: Occasions, fix: Fix, span: Spans) -> _Sampled:
    before, after = occasions.deployments(str(fix.service), span)
    n, m = len(before), len(after)
    if not (n and m):
        return _Sampled(n, m, "deployments", None, None, ["needs deployments on either side"])
    failed = int(before.sum()), int(after.sum())
    found = samples.shares(failed[0], n, failed[1], m)
    return _Sampled(n, m, "deployments", None, found, [f"{failed[0]} and {failed[1]} of them failed"])


_COMPARISONS: Mapping[str, Callable[[Occasions, Fix, Spans], _Sampled]] = {
    "time_to_detect": _times("time_to_detect"),
    "time_to_recover": _times("time_to_recover"),
    "blast_radius": _sizes("blast_radius", "incidents"),
    "loss_per_incident": _sizes("loss_per_incident", "incidents of known loss"),
    "loss_per_week": _weekly_loss,
    "change_failure_rate": _failures,
}


def _guard_weekly_loss(rows: Sequence[Row]) -> None:
    """Weekly loss falls because incidents are rarer or because each costs less: one of the two has to be shown with its own safeguards."""
    shown = {
        str(row["action_item_id"])
        for row in rows
        if row["outcome"] in ("recurrence", "loss_per_incident") and float(str(row.get("p_value_sequential") or 1.0)) <= looking.ALPHA
    }
    for row in rows:
        if row["outcome"] == "loss_per_week" and row["status"] == "judged" and str(row["action_item_id"]) not in shown:
            row["p_value_sequential"] = 1.0


def _among_many(rows: Sequence[Row]) -> None:
    """Add `q_value`: false discoveries to be expected among what looks at least as good (Benjamini-Hochberg), promised outcomes apart."""
    for promised in (True, False):
        judged = [row for row in rows if row["status"] == "judged" and row["is_promised"] is promised]
        if judged:
            chances = [float(str(row["p_value_sequential"])) for row in judged]
            for row, share in zip(judged, stats.false_discovery_control(chances, method="bh"), strict=True):
                row["q_value"] = float(share)


def _decide(row: Row) -> None:
    """Put the verdict, the weeks to wait and the reason on a judged row."""
    if row["status"] != "judged":
        return
    high, chance = row["ci_high"], float(str(row["p_value_sequential"]))
    alone = chance <= looking.ALPHA and isinstance(high, float) and high < 1
    registered = bool(row["is_promised"]) and row["criterion_status"] == "before_shipping"
    lucky_among_many = alone and not registered and float(str(row["q_value"])) > FALSE_DISCOVERIES
    notes: list[str] = list(row["_notes"])  # type: ignore[call-overload]
    counts, least = row["_counts"], 1 - float(str(row["_refuted_above"]))
    if alone and not lucky_among_many:
        row["verdict"] = "effective"
        notes.insert(
            0,
            f"{counts}: fewer than chance and a bad spell explain"
            if row["outcome"] == "recurrence"
            else f"{counts}: less than chance explains",
        )
    elif row["_refuted"]:
        row["verdict"] = "not_effective"
        notes.insert(0, f"{counts}: a reduction by {least:.0%} or more is ruled out" if least > 0 else f"{counts}: no better, but worse")
    else:
        wait = row.get("_wait")
        if lucky_among_many:
            notes.insert(0, f"{counts}: convincing alone, not among so many fixes judged at once")
        elif isinstance(wait, _Wait):
            weeks = wait.weeks(1.0)
            row["weeks_needed"] = weeks
            span = f"{weeks:.0f} more weeks" + (" without recurrence" if not row["n_after"] else " like these") if weeks else ""
            notes.insert(0, f"{counts} do not tell; " + (f"{span} would tell" if span else "waiting will not tell"))
        elif row.get("_too_few"):
            row["status"] = "not_enough_data"
            notes.insert(0, f"{counts}: too few, or too much alike, for any test")
        else:
            notes.insert(0, f"{counts} do not tell" + ("; waiting will not tell" if row["outcome"] == "recurrence" else ""))
    if row["_is_cut"]:
        notes.append("compared only until the family's neighbouring fixes shipped")
    if row["shared_with"]:
        notes.append(f"cannot be told apart from {', '.join(row['shared_with'])}, shipped within a week of it")  # type: ignore[arg-type]
    if row["criterion_status"] == "after_shipping":
        notes.append("its criterion was written down after shipping and is not used")
    row["reason"] = "; ".join(notes)
