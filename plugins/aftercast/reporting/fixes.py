"""What keeps coming back and what was done about it: families by week, fixes with their verdicts, overdue actions by team, advice."""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl

from aftercast.reporting.figures import FamilyLine, FixLine, Recommendation, TeamActions
from aftercast.reporting.intervals import Range
from aftercast.reporting.losses import QUANTIFIED, within
from aftercast.reporting.rows import Rows
from aftercast.reporting.wording import count
from aftercast.window import Window

VERDICTS = {"not_effective": "not effective", "too_early": "too early", "effective": "effective"}


def families(rows: Rows, incidents: pl.DataFrame, spans: Sequence[Window], period: Window, currency: str) -> tuple[FamilyLine, ...]:
    """Return the families with at least two incidents in the weeks given, those of the period first, then by incidents and loss."""
    recent = incidents.filter(
        pl.col("family_id").is_not_null() & (pl.col("started_at") >= spans[0].start) & (pl.col("started_at") < spans[-1].end)
    )
    fixes = _shipped(rows).filter(pl.col("shipped_at") < spans[-1].end)
    found = []
    for (family,), members in recent.group_by(["family_id"], maintain_order=True):
        if members.height < 2:
            continue
        known = members.filter((pl.col("impact_status") == QUANTIFIED) & (pl.col("currency").fill_null(currency) == currency))
        last = fixes.filter(pl.col("family_id") == family).sort("shipped_at", "action_item_id").tail(1)
        fix = last.row(0, named=True) if last.height else None
        cells = tuple(within(members, span).height for span in spans)
        found.append(
            FamilyLine(
                family_id=str(family),
                title=str(next(iter(members["family_title"].drop_nulls()), family)),
                services=tuple(sorted(set(members["service_origin"].drop_nulls()))),
                cells=cells,
                n_incidents=members.height,
                lost=float(known["lost_revenue"].sum()) if known.height else None,
                last_fix=fix["title"] or fix["action_item_id"] if fix else None,
                fixed_at=fix["shipped_at"] if fix else None,
                since_fix=members.filter(pl.col("started_at") > fix["shipped_at"]).height if fix else None,
                verdict=fix["verdict"] if fix else None,
                this_week=within(members, period).height,
            )
        )
    return tuple(sorted(found, key=lambda line: (line.this_week == 0, -line.n_incidents, -(line.lost or 0.0), line.family_id)))


def _shipped(rows: Rows) -> pl.DataFrame:
    return rows["mart_fix_impact"].filter(pl.col("outcome").fill_null("recurrence") == "recurrence")


def lines(rows: Rows, week_incidents: pl.DataFrame, week: Window) -> tuple[FixLine, ...]:
    """Return every fix shipped by the end of the week: those that came back this week first, then by verdict and date."""
    order = list(VERDICTS)
    found = []
    for row in _shipped(rows).filter(pl.col("shipped_at").is_null() | (pl.col("shipped_at") < week.end)).iter_rows(named=True):
        again = 0
        if row["family_id"] and row["shipped_at"]:
            again = week_incidents.filter((pl.col("family_id") == row["family_id"]) & (pl.col("started_at") > row["shipped_at"])).height
        verdict = row["verdict"] or "too_early"
        found.append(
            FixLine(
                action_item_id=row["action_item_id"],
                title=row["title"] or row["action_item_id"],
                family=row["family_title"] or row["family_id"],
                owner=row["owner_team"] or "unowned",
                shipped_at=row["shipped_at"],
                n_before=row["n_before"],
                days_before=row["exposure_before"],
                n_after=row["n_after"],
                days_after=row["exposure_after"],
                ratio=Range(row["estimate"], row["ci_low"], row["ci_high"]),
                verdict=verdict,
                verdict_text=_verdict(verdict, row["weeks_needed"], row["status"]),
                reason=row["reason"] or "",
                again=again,
            )
        )
    found.sort(
        key=lambda line: (
            line.again == 0,
            order.index(line.verdict) if line.verdict in order else len(order),
            -(line.shipped_at.timestamp() if line.shipped_at else 0.0),
            line.action_item_id,
        )
    )
    return tuple(found)


def _verdict(verdict: str, weeks: float | None, status: str | None) -> str:
    if status == "unknown":
        return "unknown: nothing can be compared"
    words = VERDICTS.get(verdict, verdict.replace("_", " "))
    if verdict != "too_early":
        return words
    if weeks is None or not math.isfinite(weeks):
        return f"{words}: no number of weeks would tell yet"
    return f"{words}: needs {count(max(1, math.ceil(weeks)), 'more week')}"


def teams(rows: Rows) -> tuple[TeamActions, ...]:
    """Return the teams with open actions, most overdue first. Teams, never people."""
    still_open = rows["mart_action_items"].filter(pl.col("is_open")).with_columns(pl.col("owner_team").fill_null("unowned"))
    found = []
    for (team,), items in still_open.group_by(["owner_team"], maintain_order=True):
        overdue = items.filter(pl.col("is_overdue").fill_null(value=False))
        oldest = overdue["days_overdue"].max()
        found.append(TeamActions(str(team), items.height, overdue.height, float(oldest) if isinstance(oldest, (int, float)) else None))
    return tuple(sorted(found, key=lambda line: (-line.n_overdue, -(line.oldest_days or 0.0), line.team)))


def recommendations(rows: Rows, most: int) -> tuple[Recommendation, ...]:
    """Return the first recommendations in their rank."""
    return tuple(
        Recommendation(
            rank=row["rank"],
            action=row["action"],
            rationale=row["rationale"] or "",
            reduction=Range(row["expected_risk_reduction"], row["risk_reduction_low"], row["risk_reduction_high"]),
            currency=row["currency"] or "",
            confidence=row["confidence"] or "not stated",
            owner=row["owner_team"] or "unowned",
            approvals=tuple(row["approvals"] or ()),
            trade_offs=row["trade_offs"] or "",
            n_incidents=row["n_incidents"],
        )
        for row in rows["mart_recommendations"]
        .filter(pl.col("action").is_not_null())
        .sort("rank", "recommendation_id")
        .head(most)
        .iter_rows(named=True)
    )
