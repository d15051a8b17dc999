"""What kinds of intervention brought: expected beside observed, per type, team, service and family, ranked with the doubt that is left.

The share of its fault an intervention removes starts from what recommendations assume (half, between 14 % and 86 %) and is updated by
every shipped fix whose promised outcome was measured: incidents against those expected without it (negative binomial), ratios of times
otherwise (log-normal). Fixes judged as one are counted once. Ranks are of draws, so that a lead within the noise shows as one. Kinds of
intervention and teams are compared, never persons.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import stats

from aftercast.analyses import DERIVED
from aftercast.learning.recommendations import OPEN, PRIOR_FAILURES, PRIOR_SUCCESSES, known_losses

MODEL_VERSION = "portfolio-1"
CUTS = ("type", "team", "service", "family")
SHIPPED = ("done", "verified", "reopened")
PROMISED = {"repair": "recurrence", "prevent": "recurrence", "detect": "time_to_detect", "mitigate": "time_to_recover"}
UNTYPED = "repair"
DRAWS = 4_000
LEAST_EXPECTED = 5.0
LEAST_MEASURED = 2
NORMAL_95, NORMAL_98 = 1.6449, 2.3263
REMOVED = (np.arange(400) + 0.5) / 400
"""Shares of the fault that may have been removed."""

Array = npt.NDArray[np.float64]
Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class _Item:
    item: str
    kind: str
    status: str
    places: Mapping[str, str]


def weigh(frames: Mapping[str, pl.DataFrame], incident_loss: pl.DataFrame, fix_impact: pl.DataFrame, as_of: datetime) -> pl.DataFrame:
    """Return the derived table `fix_portfolio`: one row per cut, type of intervention and subject, by these.

    Args:
        frames: star tables action_items and services, derived families; absent ones count as empty.
        incident_loss, fix_impact: derived tables. as_of: items created later do not count.
    """
    items = _items(frames, as_of)
    effects = {str(row["action_item_id"]): row for row in fix_impact.filter(pl.col("is_promised")).iter_rows(named=True)}
    members = _members(frames)
    rows: list[Row] = []
    for cut in CUTS:
        groups: dict[tuple[str, str], list[_Item]] = {}
        for item in items:
            if cut in item.places:
                groups.setdefault((item.kind, item.places[cut]), []).append(item)
        found = [_row(cut, kind, subject, own, effects, incident_loss, members) for (kind, subject), own in sorted(groups.items())]
        for outcome in sorted({str(row["outcome"]) for row in found}):
            _rank([row for row in found if row["outcome"] == outcome])
        rows += found
    listed = [{name: value for name, value in row.items() if not name.startswith("_")} | {"model_version": MODEL_VERSION} for row in rows]
    return pl.DataFrame(listed, schema=DERIVED["fix_portfolio"])


def _items(frames: Mapping[str, pl.DataFrame], as_of: datetime) -> list[_Item]:
    items = frames.get("action_items")
    if items is None or not items.height:
        return []
    services = frames.get("services")
    team_of = dict(services.select("service", "team").iter_rows()) if services is not None and services.height else {}
    family_of = {incident: family for family, listed in _members(frames).items() for incident in listed}
    found = []
    for row in items.sort("action_item_id").iter_rows(named=True):
        if row.get("created_at") is not None and row["created_at"] >= as_of:
            continue
        service, family = row.get("service"), family_of.get(str(row["incident_id"]))
        team = row.get("owner_team") or team_of.get(service) or "unowned"
        places = {"type": "", "team": team} | ({"service": service} if service else {}) | ({"family": family} if family else {})
        found.append(_Item(str(row["action_item_id"]), row["type"] or UNTYPED, str(row["status"]), places))
    return found


def _members(frames: Mapping[str, pl.DataFrame]) -> dict[str, list[str]]:
    families = frames.get("families")
    found: dict[str, list[str]] = {}
    if families is not None and families.height:
        for incident, family in families.select("incident_id", "family_id").sort("incident_id").iter_rows():
            found.setdefault(str(family), []).append(str(incident))
    return found


def _row(
    cut: str,
    kind: str,
    subject: str,
    items: Sequence[_Item],
    effects: Mapping[str, Row],
    incident_loss: pl.DataFrame,
    members: Mapping[str, list[str]],
) -> Row:
    shipped = [item for item in items if item.status in SHIPPED]
    own = [effects[item.item] for item in shipped if item.item in effects]
    verdicts = [str(effect["verdict"]) for effect in own if effect["status"] == "judged"]
    judged = sum(verdict != "too_early" for verdict in verdicts)
    worked = verdicts.count("effective")
    share = stats.binomtest(worked, judged).proportion_ci(0.95, method="wilson") if judged else None
    outcome = PROMISED.get(kind)
    known = "expected_after" if outcome == "recurrence" else "estimate"
    measured = _once([effect for effect in own if effect["outcome"] == outcome and effect[known] is not None])
    name = f"{cut}|{kind}|{subject}"
    row: Row = {
        "portfolio_id": "FP-" + hashlib.blake2s(name.encode(), digest_size=5).hexdigest(),
        "cut": cut,
        "intervention_type": kind,
        "subject": subject,
        "outcome": outcome,
        "n_planned": sum(item.status in OPEN for item in items),
        "n_shipped": len(shipped),
        "n_cancelled": sum(item.status == "cancelled" for item in items),
        "n_measured": len(measured),
        "n_judged": judged,
        "n_effective": worked,
        "n_not_effective": judged - worked,
        "n_too_early": len(shipped) - judged,
        "effective_share": worked / judged if judged else None,
        "effective_share_low": float(share.low) if share else None,
        "effective_share_high": float(share.high) if share else None,
        "status": "not_enough_data",
    }
    if outcome is None:
        return row | {"reason": "promises nothing that is counted", "outcome": "none"}
    if not measured:
        return row | {"reason": "no shipped fix of it could be measured" if shipped else "none has shipped"}
    chance = np.random.default_rng(int.from_bytes(hashlib.blake2s(name.encode(), digest_size=8).digest(), "big"))
    promised = [_promised(effect) for effect in measured]
    if outcome == "recurrence":
        row |= _incidents(measured, promised, incident_loss, members, chance)
        likelihood = _likelihood_of_counts(measured)
        enough = float(str(row["incidents_expected"])) >= LEAST_EXPECTED or len(measured) >= LEAST_MEASURED
    else:
        ratio, error = _pooled(measured)
        row |= {
            "promised_reduction": float(np.mean(promised)),
            "observed_reduction": 1 - float(np.exp(ratio)) if ratio is not None else None,
        }
        likelihood = stats.norm.logpdf(np.log(1 - REMOVED), ratio, error) if ratio is not None else np.zeros(len(REMOVED))
        enough = ratio is not None and len(measured) >= LEAST_MEASURED
    weights = stats.beta.logpdf(REMOVED, PRIOR_SUCCESSES, PRIOR_FAILURES) + likelihood
    weights = np.exp(weights - weights.max())
    weights /= weights.sum()
    low, high = (float(REMOVED[np.searchsorted(weights.cumsum(), tail)]) for tail in (0.05, 0.95))
    row |= {"reduction": float(weights @ REMOVED), "reduction_low": low, "reduction_high": high}
    if not enough:
        return row | {"reason": f"fewer than {LEAST_MEASURED} fixes measured and fewer than {LEAST_EXPECTED:.0f} incidents expected of it"}
    return row | {"status": "ranked", "_draws": chance.choice(REMOVED, DRAWS, p=weights)}


def _once(effects: Sequence[Row]) -> list[Row]:
    """Fixes judged as one, once."""
    seen: dict[frozenset[str], Row] = {}
    for effect in effects:
        together = frozenset([str(effect["action_item_id"]), *(effect["shared_with"] or ())])  # type: ignore[misc]
        seen.setdefault(together, effect)
    return list(seen.values())


def _promised(effect: Row) -> float:
    """Share of the fault a fix was to remove: what its criterion said before shipping, else what recommendations assume."""
    ratio = effect["promised_ratio"]
    return 1 - ratio if isinstance(ratio, float) else PRIOR_SUCCESSES / (PRIOR_SUCCESSES + PRIOR_FAILURES)


def _spread(effect: Row) -> float:
    """Variance of the expected incidents, beyond that of counting them: from the prediction interval."""
    width = _number(effect, "avoided_high") - _number(effect, "avoided_low")
    return max((width / (2 * NORMAL_95)) ** 2 - _number(effect, "expected_after"), 1e-9)


def _number(effect: Row, name: str) -> float:
    value = effect[name]
    return float(value) if isinstance(value, (int, float)) else 0.0


def _likelihood_of_counts(measured: Sequence[Row]) -> Array:
    expected = sum(_number(effect, "expected_after") for effect in measured)
    shape = expected**2 / sum(_spread(effect) for effect in measured)
    mean = np.maximum(expected * (1 - REMOVED), 1e-9)
    seen = sum(int(_number(effect, "n_after")) for effect in measured)
    return np.asarray(stats.nbinom.logpmf(seen, shape, shape / (shape + mean)), dtype=np.float64)


def _pooled(measured: Sequence[Row]) -> tuple[float | None, float]:
    """Weighted mean of log ratios and its standard error; None where no interval is bounded on both sides."""
    ends = [
        (np.log(_number(effect, "estimate")), (np.log(_number(effect, "ci_high")) - np.log(_number(effect, "ci_low"))) / (2 * NORMAL_98))
        for effect in measured
        if effect["ci_high"] is not None and _number(effect, "ci_low") > 0 and _number(effect, "estimate") > 0
    ]
    if not ends:
        return None, 1.0
    weights = np.array([1 / max(float(error), 1e-3) ** 2 for _, error in ends])
    return float(weights @ np.array([ratio for ratio, _ in ends]) / weights.sum()), float(weights.sum() ** -0.5)


def _incidents(
    measured: Sequence[Row],
    promised: Sequence[float],
    incident_loss: pl.DataFrame,
    members: Mapping[str, list[str]],
    chance: np.random.Generator,
) -> Row:
    """Incidents and money, promised and avoided. Money needs losses in one currency; families without a known loss leave it unknown."""
    expected = [_number(effect, "expected_after") for effect in measured]
    seen = sum(int(_number(effect, "n_after")) for effect in measured)
    total = sum(expected)
    due = sum(one * share for one, share in zip(expected, promised, strict=True))
    row: Row = {
        "promised_reduction": due / total if total else None,
        "observed_reduction": 1 - seen / total if total else None,
        "incidents_expected": total,
        "incidents_observed": seen,
        "incidents_promised": due,
        "incidents_avoided": total - seen,
    }
    money, planned, currencies = np.zeros(DRAWS), 0.0, set[str]()
    avoided = np.zeros(DRAWS)
    known_all = True
    for effect, one, share in zip(measured, expected, promised, strict=True):
        shape = max(one**2 / _spread(effect), 1e-3)
        draws = chance.negative_binomial(shape, shape / (shape + max(one, 1e-9)), DRAWS) - _number(effect, "n_after")
        avoided += draws
        known, currency = known_losses(incident_loss, members.get(str(effect["family_id"]), []))
        currencies |= currency
        if not known:
            known_all = False
            continue
        low, middle, high = np.array(known).T
        place = chance.integers(len(known), size=(DRAWS, len(known)))
        normal = chance.standard_normal(place.shape)
        cost = (middle[place] + normal / NORMAL_95 * np.where(normal < 0, (middle - low)[place], (high - middle)[place])).mean(axis=1)
        money += draws * cost
        planned += one * share * float(middle.mean())
    ends = np.quantile(avoided, [0.05, 0.95])
    row |= {"incidents_avoided_low": float(ends[0]), "incidents_avoided_high": float(ends[1])}
    if known_all and len(currencies) == 1:
        ends = np.quantile(money, [0.05, 0.95])
        row |= {
            "revenue_promised": round(planned, 2),
            "revenue_avoided": round(float(money.mean()), 2),
            "revenue_avoided_low": round(float(ends[0]), 2),
            "revenue_avoided_high": round(float(ends[1]), 2),
            "currency": next(iter(currencies)),
        }
    return row


def _rank(rows: Sequence[Row]) -> None:
    """Rank what was measured by the share removed: place, its 90 % interval, and how often it came first; alone it has no rank."""
    ranked = [row for row in rows if row["status"] == "ranked"]
    if len(ranked) < 2:
        for row in ranked:
            row |= {"status": "not_enough_data", "reason": "nothing measured to compare it with"}
        return
    draws = np.array([row["_draws"] for row in ranked], dtype=np.float64)
    draws = draws + np.random.default_rng(len(ranked)).uniform(0, 1e-6, draws.shape)
    places = (-draws).argsort(axis=0).argsort(axis=0) + 1
    order = sorted(range(len(ranked)), key=lambda number: (-float(str(ranked[number]["reduction"])), str(ranked[number]["portfolio_id"])))
    for rank, number in enumerate(order, start=1):
        low, high = np.quantile(places[number], [0.05, 0.95], method="inverted_cdf")
        ranked[number] |= {
            "rank": rank,
            "rank_low": int(low),
            "rank_high": int(high),
            "probability_best": float((places[number] == 1).mean()),
        }
