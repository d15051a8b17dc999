"""The five questions Aftercast exists for, each with the SQL that answers it from the published mart, and the summary after a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from aftercast.reporting import wording


@dataclass(frozen=True, slots=True)
class Question:
    """A question in everyday words and its SQL over schema `marts`."""

    name: str
    title: str
    sql: str


COST = Question(
    "cost",
    "1. What did this incident cost?",
    """
select incident_id, title, impact_status,
       lost_revenue, lost_revenue_low, lost_revenue_high, currency
from marts.mart_incidents
order by lost_revenue desc nulls last
limit 10
""",
)
CAUSE = Question(
    "cause",
    "2. What probably caused it?",
    """
select candidates.incident_id, rank, kind, candidate_id, round(probability, 2) as probability, rationale
from marts.mart_incident_candidates as candidates
where candidates.incident_id = (
    select incident_id from marts.mart_incidents order by lost_revenue desc nulls last, incident_id limit 1
)
order by rank
limit 5
""",
)
BEFORE = Question(
    "before",
    "3. Have we had this before?",
    """
select family_title, n_incidents, first_incident_at, last_incident_at, lost_revenue, currency, last_fix
from marts.mart_families
where n_incidents > 1
order by n_incidents desc, lost_revenue desc nulls last
limit 10
""",
)
FIXED = Question(
    "fixed",
    "4. Did the fix work?",
    """
select actions.title, fixes.outcome, fixes.n_before, round(fixes.exposure_before) as days_before, fixes.n_after,
       round(fixes.exposure_after) as days_after, fixes.estimate as rate_ratio, fixes.ci_low, fixes.ci_high,
       fixes.verdict, fixes.weeks_needed
from marts.mart_fix_impact as fixes
left join marts.mart_action_items as actions using (action_item_id)
order by fixes.verdict, fixes.estimate nulls last
""",
)
NEXT = Question(
    "next",
    "5. What should we fix next?",
    """
select rank, action, expected_risk_reduction, risk_reduction_low, risk_reduction_high, currency,
       confidence, owner_team, approvals, trade_offs
from marts.mart_recommendations
order by rank
limit 5
""",
)


def all_questions() -> tuple[Question, ...]:
    """Return the five questions in order."""
    return (COST, CAUSE, BEFORE, FIXED, NEXT)


def money(amount: float | None, currency: str | None) -> str:
    """Return an amount as the report writes it, in characters every terminal has; a missing one is said to be missing."""
    return "not quantified" if amount is None else wording.money(amount, currency).replace("−", "-")


def summary(query: Callable[..., pl.DataFrame], mart: Path) -> list[str]:
    """Return the lines that end a run: incidents found, money lost, top suspects.

    Args:
        query: reads rows from a DuckDB file, as `warehouse.query`.
        mart: the published file.
    """
    run = query(mart, "select company, window_start, as_of from marts.mart_run").row(0, named=True)
    statuses: dict[str, int] = dict(query(mart, "select impact_status, count(*) from marts.mart_incidents group by 1").rows())
    total = sum(statuses.values())
    lines = [
        "",
        f"{run['company']}, {run['window_start']:%d %b %Y} to {run['as_of']:%d %b %Y}: {total} incidents"
        + (
            f" ({statuses.get('quantified', 0)} with a loss we can tell from noise, {statuses.get('below_noise', 0)} within noise, "
            f"{statuses.get('unknown', 0)} unknown)"
            if total
            else ""
        ),
    ]
    losses = query(
        mart,
        """
        select currency, sum(lost_revenue) as lost from marts.mart_incidents
        where impact_status = 'quantified' group by currency order by lost desc
        """,
    )
    for currency, lost in losses.rows():
        lines.append(f"revenue lost in the quantified ones: {money(None if lost is None else float(lost), currency)}")
    if total:
        first = "costliest" if losses.height else "latest"
        lines += ["", f"{first} incidents and their top candidates (a probability, not a verdict):"]
    top = query(
        mart,
        """
        select incident_id, title, lost_revenue, lost_revenue_low, lost_revenue_high, currency,
               top_candidate_kind, top_candidate_id, top_candidate_probability
        from marts.mart_incidents order by lost_revenue desc nulls last, started_at desc, incident_id limit 3
        """,
    )
    lines += [_suspect(row) for row in top.iter_rows(named=True)]
    return lines


def _suspect(row: dict[str, Any]) -> str:
    lost = money(None if row["lost_revenue"] is None else float(row["lost_revenue"]), row["currency"])
    if row["lost_revenue_low"] is not None:
        lost += f" ({money(float(row['lost_revenue_low']), None)} to {money(float(row['lost_revenue_high']), None)})"
    return f"  {row['incident_id']}  {row['title']}: {lost} · {_candidate(row)}"


def _candidate(row: dict[str, Any]) -> str:
    if row["top_candidate_id"] is None:
        return "no candidate yet"
    kind, name, probability = row["top_candidate_kind"], row["top_candidate_id"], row["top_candidate_probability"]
    what = "none of the changes, services and providers we know" if kind == "none" else f"{kind} {name}"
    return f"{what} ({wording.percent(probability).replace('>', 'over ')})"
