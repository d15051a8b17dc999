"""Systemic fixes ranked by the money they are expected to save in the next 90 days.

Expected risk of a family = its rate, shrunk towards that of all families (gamma-Poisson), times what its incidents cost (bootstrap over its
members, each drawn within its own interval). Expected reduction = risk times effectiveness: a Beta(2, 2) prior (half, between 14 % and
86 %), updated by the verdicts on fixes against the same kind of cause. Families whose fix is verified effective are left out. A family
whose losses are unknown has no figure and comes last.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from aftercast.analyses import DERIVED

MODEL_VERSION = "recommendations-1"
HORIZON_DAYS = 90.0
LEAST_INCIDENTS = 2
DRAWS = 4_000
PRIOR_SUCCESSES, PRIOR_FAILURES = 2.0, 2.0
MOST_SHAPE = 50.0
NORMAL_95 = 1.6449
OPEN = ("open", "in_progress", "reopened")

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Remedy:
    """What is done against one kind of cause: the action, its price, and its usual working days (a convention, not a measurement)."""

    action: str
    trade_offs: str
    days: float


REMEDIES: dict[str, Remedy] = {
    "deploy": Remedy(
        "Release {service} through a canary gate that rolls back by itself", "a canary gate slows every release by its watching time", 10
    ),
    "config": Remedy(
        "Validate settings of {service} before they are applied, region by region", "settings take longer to reach everybody", 5
    ),
    "flag": Remedy("Open flags of {service} in steps with an automatic stop", "experiments take longer to reach everybody", 4),
    "migration": Remedy(
        "Rehearse migrations of {service} and run them under a lock timeout", "migrations may have to be retried at night", 8
    ),
    "infra": Remedy("Change the infrastructure of {service} one zone at a time", "changes take longer and both versions must coexist", 10),
    "provider": Remedy(
        "Give journeys a fallback for {service}: time-out, circuit breaker, second provider", "a second provider costs fees and upkeep", 20
    ),
    "service": Remedy(
        "Give {service} headroom and an early alarm: limits, autoscaling, alert on saturation",
        "headroom costs machines that mostly idle",
        10,
    ),
    "none": Remedy(
        "Find the cause of this family first: instrument {service} and its callers", "time spent measuring fixes nothing yet", 5
    ),
}
AS_KIND = {"rollback": "deploy", "maintenance": "infra"}


def recommend(frames: Mapping[str, pl.DataFrame], incident_loss: pl.DataFrame, fix_impact: pl.DataFrame, as_of: datetime) -> pl.DataFrame:
    """Return the derived table `recommendations`, the most worthwhile first.

    Args:
        frames: star tables incidents, incident_services, services, changes, action_items and kpi_points, derived families and
            candidates; any may be absent or empty.
        incident_loss, fix_impact: derived tables.
    """
    families = _families(frames, as_of)
    begin = _data_start(frames)
    if begin is None or not families:
        return pl.DataFrame(schema=DERIVED["recommendations"])
    days = max((as_of - begin).total_seconds() / 86_400, 1.0)
    shape, rate = _gamma([len(members) for members in families.values()], days)
    causes = _causes(frames, families)
    fix_impact = fix_impact.filter(pl.col("outcome") == "recurrence") if "outcome" in fix_impact.columns else fix_impact
    verdicts = _verdicts(fix_impact, causes)
    finished = _fixed(fix_impact)
    rows = [
        _row(frames, incident_loss, family, members, causes[family], verdicts, (shape + len(members), rate + days), days)
        for family, members in sorted(families.items())
        if len(members) >= LEAST_INCIDENTS and family not in finished
    ]
    rows.sort(
        key=lambda row: (row["expected_risk_reduction"] is None, -float(str(row["expected_risk_reduction"] or 0)), str(row["family_id"]))
    )
    ranked = [{**row, "rank": rank, "model_version": MODEL_VERSION} for rank, row in enumerate(rows, start=1)]
    return pl.DataFrame(ranked, schema=DERIVED["recommendations"])


def _rows(frames: Mapping[str, pl.DataFrame], table: str, *columns: str) -> list[tuple[object, ...]]:
    frame = frames.get(table)
    return list(frame.select(columns).iter_rows()) if frame is not None and frame.height else []


def _data_start(frames: Mapping[str, pl.DataFrame]) -> datetime | None:
    firsts = []
    for table, column in (("kpi_points", "bucket_at"), ("changes", "started_at"), ("incidents", "started_at")):
        frame = frames.get(table)
        if frame is not None and frame.height and isinstance(first := frame[column].min(), datetime):
            firsts.append(first)
    return min(firsts, default=None)


def _families(frames: Mapping[str, pl.DataFrame], as_of: datetime) -> dict[str, list[str]]:
    """Incidents of each family in order of onset."""
    family_of = {str(incident): str(family) for incident, family in _rows(frames, "families", "incident_id", "family_id")}
    begun = [(started, str(incident)) for incident, started in _rows(frames, "incidents", "incident_id", "started_at")]
    found: dict[str, list[str]] = {}
    for started, incident in sorted((started, incident) for started, incident in begun if isinstance(started, datetime)):
        if incident in family_of and started < as_of:
            found.setdefault(family_of[incident], []).append(incident)
    return found


def _gamma(counts: list[int], days: float) -> tuple[float, float]:
    """Shape and rate of the families' incident rates per day, by moments; equal rates when they vary no more than chance."""
    mean = float(np.mean(counts))
    excess = float(np.var(counts, ddof=1)) - mean if len(counts) > 1 else 0.0
    shape = min(mean**2 / excess, MOST_SHAPE) if excess > 0 else MOST_SHAPE if len(counts) > 2 else 0.5
    return shape, shape * days / mean


def _causes(frames: Mapping[str, pl.DataFrame], families: Mapping[str, list[str]]) -> dict[str, tuple[str, str]]:
    """Kind of cause and service most often ranked first in each family; ties by name. Without candidates the services named."""
    kinds = {change: AS_KIND.get(str(kind), str(kind)) for change, kind in _rows(frames, "changes", "change_id", "kind")}
    family_of = {incident: family for family, members in families.items() for incident in members}
    causes, services, named = ({family: Counter[str]() for family in families} for _ in range(3))
    for incident, rank, kind, candidate, service in _rows(frames, "candidates", "incident_id", "rank", "kind", "candidate_id", "service"):
        if rank == 1 and (family := family_of.get(str(incident))) is not None:
            causes[family][kinds.get(candidate, "deploy") if kind == "change" else str(kind)] += 1
            services[family].update([str(service)] if service else [])
    for incident, service in _rows(frames, "incident_services", "incident_id", "service"):
        if (family := family_of.get(str(incident))) is not None:
            named[family][str(service)] += 1
    found = {}
    for family in families:
        kind = _most(causes[family], "none")
        found[family] = kind if kind in REMEDIES else "none", _most(services[family] or named[family], "")
    return found


def _most(counts: Counter[str], otherwise: str) -> str:
    return min(counts, key=lambda name: (-counts[name], name), default=otherwise)


def _verdicts(fix_impact: pl.DataFrame, causes: dict[str, tuple[str, str]]) -> dict[str, Counter[str]]:
    """Verdicts on fixes by the kind of cause they were against."""
    found: dict[str, Counter[str]] = {}
    for family, verdict in fix_impact.select("family_id", "verdict").iter_rows() if fix_impact.height else ():
        if family in causes:
            found.setdefault(causes[family][0], Counter())[verdict] += 1
    return found


def _fixed(fix_impact: pl.DataFrame) -> set[str]:
    """Families whose latest judged fix is effective."""
    if not fix_impact.height:
        return set()
    judged = fix_impact.filter(pl.col("verdict") != "too_early").sort("shipped_at", "action_item_id").group_by("family_id").last()
    return set(judged.filter(pl.col("verdict") == "effective")["family_id"])


def _row(
    frames: Mapping[str, pl.DataFrame],
    incident_loss: pl.DataFrame,
    family: str,
    members: list[str],
    cause: tuple[str, str],
    verdicts: dict[str, Counter[str]],
    posterior: tuple[float, float],
    days: float,
) -> dict[str, object]:
    kind, service = cause
    remedy = REMEDIES[kind]
    action = remedy.action.format(service=service or "the services involved")
    teams = {name: (team, criticality) for name, team, criticality in _rows(frames, "services", "service", "team", "criticality")}
    team, criticality = teams.get(service, (None, None))
    approvals = [f"owner of {service} ({team})"] if criticality in ("critical", "high") else []
    approvals += ["platform owner"] if criticality == "critical" else []
    known, currencies = known_losses(incident_loss, members)
    worked, failed = verdicts.get(kind, Counter())["effective"], verdicts.get(kind, Counter())["not_effective"]
    chance = np.random.default_rng(int.from_bytes(hashlib.blake2s(family.encode(), digest_size=8).digest(), "big"))
    successes, failures = PRIOR_SUCCESSES + worked, PRIOR_FAILURES + failed
    saved = _saved(known, posterior, successes, failures, chance) if known and len(currencies) == 1 else None
    confidence = "high" if len(known) >= 6 and worked + failed else "medium" if len(known) >= 3 else "low"
    expected = posterior[0] / posterior[1] * HORIZON_DAYS
    why = [
        f"{len(members)} incidents in {days:.0f} days, {expected:.1f} expected in the next {HORIZON_DAYS:.0f} if nothing changes",
        f"most likely cause: {kind} {service}".rstrip(),
        f"assumes that such a fix prevents {successes / (successes + failures):.0%} "
        + (
            f"({worked} of {worked + failed} judged fixes of this kind worked)"
            if worked + failed
            else "(no fix of this kind has been judged)"
        ),
    ]
    if not known:
        why.append("no loss of these incidents is known: the reduction cannot be stated")
    elif len(currencies) > 1:
        why.append(f"losses are in {', '.join(sorted(currencies))}: the reduction cannot be stated")
    elif len(known) < len(members):
        why.append(f"the loss of {len(members) - len(known)} of {len(members)} is unknown and taken as like the others")
    planned = sorted(
        str(item)
        for item, incident, status in _rows(frames, "action_items", "action_item_id", "incident_id", "status")
        if incident in members and status in OPEN
    )
    if planned:
        why.append(f"already planned: {', '.join(planned)}")
    low, high = (float(end) for end in np.quantile(saved, [0.05, 0.95])) if saved is not None else (None, None)
    return {
        "recommendation_id": "REC-" + hashlib.blake2s(f"{family}|{kind}|{service}".encode(), digest_size=4).hexdigest(),
        "family_id": family,
        "service": service or None,
        "action": action,
        "rationale": "; ".join(why),
        "expected_risk_reduction": round(float(saved.mean()), 2) if saved is not None else None,
        "risk_reduction_low": round(low, 2) if low is not None else None,
        "risk_reduction_high": round(high, 2) if high is not None else None,
        "currency": next(iter(currencies)) if len(currencies) == 1 else None,
        "confidence": confidence,
        "owner_team": team,
        "approvals": approvals,
        "trade_offs": remedy.trade_offs,
        "expected_days": remedy.days,
        "n_incidents": len(members),
        "evidence": members,
    }


def known_losses(incident_loss: pl.DataFrame, members: list[str]) -> tuple[list[tuple[float, float, float]], set[str]]:
    """Low, middle and high loss of the members whose loss is known, and their currencies."""
    if not incident_loss.height:
        return [], set()
    own = incident_loss.filter(pl.col("incident_id").is_in(members) & pl.col("lost_revenue").is_not_null()).sort("incident_id")
    ends = list(own.select("lost_revenue_low", "lost_revenue", "lost_revenue_high").iter_rows())
    return ends, set(own["currency"].drop_nulls())


def _saved(
    known: list[tuple[float, float, float]], posterior: tuple[float, float], successes: float, failures: float, chance: np.random.Generator
) -> Array:
    """Draws of the money saved: how many incidents, what each costs, how much of it a fix prevents; never below zero."""
    shape, rate = posterior
    counts = chance.poisson(chance.gamma(shape, 1.0 / rate, DRAWS) * HORIZON_DAYS)
    ends = np.asarray(known, dtype=np.float64)
    place = chance.integers(len(ends), size=int(counts.sum()))
    normal = chance.standard_normal(len(place))
    low, middle, high = ends[place].T
    cost = middle + normal / NORMAL_95 * np.where(normal < 0, middle - low, high - middle)
    owner = np.repeat(np.arange(DRAWS), counts)
    risk = np.maximum(np.bincount(owner, weights=cost, minlength=DRAWS), 0.0)
    return np.asarray(risk * chance.beta(successes, failures, DRAWS))
