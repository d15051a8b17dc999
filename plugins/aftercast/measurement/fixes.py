"""Whether a fix worked: recurrence of its incident family before and after it shipped, by exposure.

Exact: given n incidents in all, those after the fix are binomial with the share of exposure that lies after it, if nothing changed.
The p-value is one-sided (fewer after), the interval for the rate ratio is the two-sided 90 % Clopper-Pearson one, so an upper end below 1
and p < .05 say the same. Against regression to the mean: the incident that led to the fix is not counted before it, because the fix
exists only since it happened; and the count after must also be surprising for the family's rate shrunk towards that of all families.
Where several fixes shipped for one family, each is compared only between its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import polars as pl
from scipy import optimize, stats

from aftercast.measurement.inputs import Inputs

LEVEL = 0.90
ALPHA = (1 - LEVEL) / 2
WORTH_THE_NAME = 0.2
"""A fix that keeps its promise leaves at most a fifth of the recurrences; an interval wholly above that refutes it."""
LEAST_RECURRENCES = 2
LEAST_FAMILIES = 4
MOST_WEEKS = 520
SHIPPED = ("done", "verified", "reopened")
PROMISING = ("repair", "prevent", None)
"""Types that promise fewer recurrences; investigating, detecting and mitigating promise something else and are not judged by it."""
DAY = 86_400.0

Row = dict[str, object]


def rate_ratio(
    n_before: int, exposure_before: float, n_after: int, exposure_after: float
) -> tuple[float | None, float, float | None, float]:
    """Return rate after / rate before, low and high end of its 90 % interval, and the one-sided p-value for "fewer after".

    Infinite or undefined ends are None: no incident before leaves the ratio without an upper end.
    """
    total, share = n_before + n_after, exposure_after / (exposure_before + exposure_after)
    if total == 0:
        return None, 0.0, None, 1.0
    test = stats.binomtest(n_after, total, share, alternative="less")
    ends = stats.binomtest(n_after, total, share).proportion_ci(confidence_level=LEVEL, method="exact")
    scale = exposure_before / exposure_after
    estimate = n_after / n_before * scale if n_before else None
    high = float(ends.high / (1 - ends.high) * scale) if ends.high < 1 else None
    return estimate, float(ends.low / (1 - ends.low) * scale), high, float(test.pvalue)


def gamma_prior(counts: Sequence[int], exposure: float) -> tuple[float, float] | None:
    """Shape and rate (days) of the gamma distribution of family rates, by marginal likelihood; None below four families."""
    if len(counts) < LEAST_FAMILIES or exposure <= 0 or not sum(counts):
        return None
    numbers, mean = np.asarray(counts), float(np.mean(counts))

    def surprise(log_shape: float) -> float:
        shape = float(np.exp(log_shape))
        return -float(stats.nbinom.logpmf(numbers, shape, shape / (shape + mean)).sum())

    found = optimize.minimize_scalar(surprise, bounds=(-3.0, 5.0), method="bounded")
    shape = float(np.exp(found.x))
    return shape, shape * exposure / mean


def surprise_after(n_before: int, exposure_before: float, n_after: int, exposure_after: float, prior: tuple[float, float] | None) -> float:
    """Chance of so few incidents after the fix if the family kept its shrunk rate (negative binomial); 1 for no prior and none before."""
    shape, rate = prior if prior else (0.5, 0.0)
    shape, rate = shape + n_before, rate + exposure_before
    return float(stats.nbinom.cdf(n_after, shape, rate / (rate + exposure_after)))


def proves(n_before: int, exposure_before: float, n_after: int, exposure_after: float, prior: tuple[float, float] | None) -> bool:
    """Whether both checks say the rate fell."""
    high = rate_ratio(n_before, exposure_before, n_after, exposure_after)[2]
    guard = surprise_after(n_before, exposure_before, n_after, exposure_after, prior) <= ALPHA
    return high is not None and high < 1 and guard


def weeks_needed(
    n_before: int, exposure_before: float, n_after: int, exposure_after: float, prior: tuple[float, float] | None
) -> float | None:
    """Further weeks without recurrence until `proves`; None when ten years would not do."""
    low, high = 0, MOST_WEEKS
    if not proves(n_before, exposure_before, n_after, exposure_after + 7 * high, prior):
        return None
    while low < high:
        middle = (low + high) // 2
        if proves(n_before, exposure_before, n_after, exposure_after + 7 * middle, prior):
            high = middle
        else:
            low = middle + 1
    return float(low)


def data_start(inputs: Inputs) -> datetime | None:
    """First moment any of the tables knows about."""
    firsts = [
        inputs.kpi_points["bucket_at"].min(),
        inputs.changes["started_at"].min(),
        inputs.incidents["started_at"].min(),
    ]
    known = [first for first in firsts if isinstance(first, datetime)]
    return min(known, default=None)


def measure_fixes(inputs: Inputs, as_of: datetime) -> list[Row]:
    """Return one row per shipped action item that promises fewer recurrences: `fix_impact`, by action item."""
    begin = data_start(inputs)
    items = inputs.action_items.filter(pl.col("status").is_in(SHIPPED) & pl.col("type").is_in(PROMISING, nulls_equal=True))
    listed = list(items.select("action_item_id", "incident_id", "shipped_at").sort("action_item_id").iter_rows())
    if begin is None or not listed:
        return []
    family_of = {str(incident): str(family) for incident, family in inputs.families.select("incident_id", "family_id").iter_rows()}
    members: dict[str, list[tuple[datetime, str]]] = {}
    for incident, started in inputs.incidents.select("incident_id", "started_at").sort("incident_id").iter_rows():
        if incident in family_of and started < as_of:
            members.setdefault(family_of[incident], []).append((started, incident))
    shipped: dict[str, list[tuple[datetime, str]]] = {}
    for item, incident, moment in listed:
        if moment is not None and incident in family_of:
            shipped.setdefault(family_of[incident], []).append((moment, item))
    rows = []
    for item, incident, moment in listed:
        family = family_of.get(incident or "")
        row: Row = {
            "action_item_id": item,
            "outcome": "recurrence",
            "family_id": family,
            "shipped_at": moment,
            "verdict": "too_early",
            "regression_to_mean": False,
        }
        if moment is None:
            rows.append(row | {"reason": "done without a shipping date: nothing can be compared"})
        elif family is None:
            rows.append(row | {"reason": "belongs to no incident of a family: nothing can be compared"})
        elif moment >= as_of or moment <= begin:
            rows.append(row | {"reason": "shipped outside the data: no time before or no time after"})
        else:
            others = [(when, other) for when, other in sorted(shipped[family]) if other != item and when < as_of]
            rows.append(row | _judge(incident, moment, begin, as_of, members, family, others))
    return rows


def _judge(
    trigger: str,
    shipped: datetime,
    begin: datetime,
    as_of: datetime,
    members: dict[str, list[tuple[datetime, str]]],
    family: str,
    others: list[tuple[datetime, str]],
) -> Row:
    since = max([begin, *(when for when, _ in others if when < shipped)])
    until = min([as_of, *(when for when, _ in others if when > shipped)])
    before_days, after_days = (shipped - since).total_seconds() / DAY, (until - shipped).total_seconds() / DAY
    own = members.get(family, [])
    raw_before = sum(since <= started < shipped for started, _ in own)
    n_before = sum(since <= started < shipped and incident != trigger for started, incident in own)
    n_after = sum(shipped <= started < until for started, _ in own)
    spells = [sum(since <= started < shipped for started, _ in listed) for _, listed in sorted(members.items())]
    prior = gamma_prior(spells, before_days)
    estimate, low, high, p_value = rate_ratio(n_before, before_days, n_after, after_days)
    naive_high = rate_ratio(raw_before, before_days, n_after, after_days)[2]
    fell = proves(n_before, before_days, n_after, after_days, prior)
    tempting = naive_high is not None and naive_high < 1 and not fell
    counts = f"{n_before} in {before_days:.0f} days before, {n_after} in {after_days:.0f} days after"
    weeks = None
    if fell:
        verdict = "effective"
        notes = [f"{counts}: fewer than chance and a bad spell explain"]
    elif n_after >= LEAST_RECURRENCES and low > WORTH_THE_NAME:
        verdict = "not_effective"
        notes = [f"{counts}: a reduction by {1 - WORTH_THE_NAME:.0%} or more is ruled out"]
    else:
        verdict = "too_early"
        weeks = weeks_needed(n_before, before_days, n_after, after_days, prior) if until == as_of else None
        wait = f"{weeks:.0f} more weeks without recurrence would tell" if weeks is not None else "waiting will not tell"
        notes = [f"{counts} do not tell; {wait}"]
    if raw_before > n_before:
        notes.append("the incident that led to the fix is not counted before it")
    if tempting:
        notes.append("a plain comparison looks like success, which a bad spell before the fix explains as well")
    if since > begin or until < as_of:
        notes.append("compared only until the family's neighbouring fixes shipped")
    together = [other for when, other in others if when == shipped]
    if together:
        notes.append(f"cannot be told apart from {', '.join(together)}, shipped at the same time")
    return {
        "n_before": n_before,
        "exposure_before": round(before_days, 4),
        "n_after": n_after,
        "exposure_after": round(after_days, 4),
        "estimate": estimate,
        "ci_low": low,
        "ci_high": high,
        "p_value": p_value,
        "verdict": verdict,
        "weeks_needed": weeks,
        "regression_to_mean": tempting,
        "reason": "; ".join(notes),
    }
