"""What only a month or a quarter can show: where incidents pile up, what kinds of fixes brought, and how indicators fared. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from aftercast.reporting.figures import IndicatorLine, PatternLine, PortfolioLine
from aftercast.reporting.intervals import Range, Share
from aftercast.reporting.periods import Cadence
from aftercast.reporting.rows import Rows
from aftercast.reporting.wording import count, number_word, shorten
from aftercast.window import Window

PATTERNS = 8
PORTFOLIO = 12
INDICATORS = 8
BEYOND_CHANCE = ("above_expected", "below_expected")
DIMENSIONS = {
    "change_type": "kind of change",
    "cause_kind": "kind of cause",
    "service": "service hit",
    "hour": "hour of the day, UTC",
    "weekday": "weekday, UTC",
}
BASES = {"uniform": "all hours alike", "exposure": "its share of all changes", "own_past": "its own rate before"}
STATUSES = ("trusted", "on_trial", "rejected")


@dataclass(frozen=True, slots=True)
class Longer:
    """The lines of the sections that only a longer report has, and their titles."""

    patterns: tuple[PatternLine, ...] = ()
    portfolio: tuple[PortfolioLine, ...] = ()
    indicators: tuple[IndicatorLine, ...] = ()
    titles: dict[str, str] = field(default_factory=dict)


NOTHING = Longer()


def lines(rows: Rows, cadence: Cadence, period: Window) -> Longer:
    """Return what a longer report shows besides."""
    piled, brought = patterns(rows, cadence, period), portfolio(rows)
    titles = {"patterns": patterns_title(piled), "portfolio": portfolio_title(brought), "indicators": indicators_title(rows)}
    return Longer(piled, brought, indicators(rows), titles)


def patterns(rows: Rows, cadence: Cadence, period: Window) -> tuple[PatternLine, ...]:
    """Return the values that stand out in a period, those beyond chance first, then by their q-value."""
    found = rows["mart_incident_patterns"].filter(
        (pl.col("period") == cadence.noun) & (pl.col("period_start_at") == period.start) & (pl.col("status") != "not_enough_data")
    )
    beyond = pl.col("status").is_in(BEYOND_CHANCE)
    # Of the twenty-four hours only those that stand out: the others would fill the table.
    shown = found.filter(beyond | (pl.col("dimension") != "hour"))
    ordered = shown.sort(~beyond, pl.col("status") != "above_expected", "q_value", "dimension", "value", nulls_last=True)
    return tuple(
        PatternLine(
            dimension=DIMENSIONS.get(row["dimension"], row["dimension"]),
            title=row["title"] or row["value"],
            n_incidents=row["n_incidents"],
            n_known=row["n_known"],
            expected=row["expected"],
            basis=BASES.get(row["basis"], row["basis"] or ""),
            ratio=Range(row["rate_ratio"], row["ratio_low"], row["ratio_high"]),
            q_value=row["q_value"],
            lost=row["lost_revenue"],
            currency=row["currency"] or "",
            status=row["status"],
        )
        for row in ordered.head(PATTERNS).iter_rows(named=True)
    )


def patterns_title(found: Sequence[PatternLine]) -> str:
    """Say whether incidents pile up anywhere beyond chance."""
    if not found:
        return "Too few incidents to say where they pile up"
    beyond = [line for line in found if line.status in BEYOND_CHANCE]
    if not beyond:
        return "Nowhere do incidents pile up beyond chance"
    first = beyond[0]
    than = "more" if first.status == "above_expected" else "fewer"
    rest = f"; {number_word(len(beyond) - 1).lower()} more beyond chance" if len(beyond) > 1 else ""
    return f"{than.capitalize()} incidents than expected: {first.dimension} {shorten(first.title, 50)}{rest}"


def portfolio(rows: Rows) -> tuple[PortfolioLine, ...]:
    """Return what fixes brought by their kind, then by the family they were for; those that promise nothing countable are left out."""
    known = rows["mart_fix_portfolio"].filter(
        pl.col("cut").is_in(["type", "family"]) & (pl.col("outcome") != "none") & (pl.col("n_planned") + pl.col("n_shipped") > 0)
    )
    shown = known.filter((pl.col("cut") == "type") | (pl.col("n_shipped") > 0))
    most = [-pl.col(name) for name in ("n_judged", "n_shipped", "n_planned")]
    ordered = shown.sort(pl.col("cut") != "type", *most, "intervention_type", "outcome", "subject", nulls_last=True)
    return tuple(
        PortfolioLine(
            kind=(row["intervention_type"] or "any kind").replace("_", " "),
            subject="" if row["cut"] == "type" else row["subject_title"] or row["subject"] or "",
            outcome=(row["outcome"] or "").replace("_", " "),
            n_planned=row["n_planned"],
            n_shipped=row["n_shipped"],
            n_too_early=row["n_too_early"],
            effective=Share(
                row["n_effective"] or 0,
                row["n_judged"] or 0,
                row["effective_share"],
                row["effective_share_low"],
                row["effective_share_high"],
            ),
            promised=row["promised_reduction"],
            reduction=Range(row["reduction"], row["reduction_low"], row["reduction_high"]),
            avoided=Range(row["revenue_avoided"], row["revenue_avoided_low"], row["revenue_avoided_high"]),
            currency=row["currency"] or "",
            reason=row["reason"] or "",
        )
        for row in ordered.head(PORTFOLIO).iter_rows(named=True)
    )


def portfolio_title(found: Sequence[PortfolioLine]) -> str:
    """Say what shipped fixes have brought so far."""
    kinds = [line for line in found if not line.subject]
    shipped, judged = sum(line.n_shipped for line in kinds), sum(line.effective.n for line in kinds)
    if not shipped:
        return "No fix that promises something countable has shipped"
    if not judged:
        return f"{count(shipped, 'shipped fix', 'shipped fixes').capitalize()}, none judged yet"
    effective = sum(line.effective.k for line in kinds)
    return f"{effective} of {count(judged, 'judged fix', 'judged fixes')} effective, of {shipped} shipped"


def indicators(rows: Rows) -> tuple[IndicatorLine, ...]:
    """Return the leading indicators with a record worth reading: trusted, on trial, then rejected; the most judged first."""
    known = rows["mart_leading_indicators"].filter(pl.col("status").is_in(STATUSES) & (pl.col("judged_n").fill_null(0) > 0))
    order = pl.col("status").replace_strict(list(STATUSES), [*range(len(STATUSES))])
    keys = ("kind", "signal", "subject", "indicator_id")
    ordered = known.with_columns(order=order, fewest=-pl.col("judged_n")).sort("order", "fewest", *keys, nulls_last=True)
    return tuple(
        IndicatorLine(
            title=f"{row['kind']} {row['signal']}" + (f" of {row['subject']}" if row["subject"] else ""),
            family=row["family_title"] or "",
            status=row["status"].replace("_", " "),
            came_true=Share(
                row["judged_true_n"] or 0,
                row["judged_n"],
                row["judged_precision"],
                row["judged_precision_low"],
                row["judged_precision_high"],
            ),
            base_rate=row["base_rate"],
            warned=row["incidents_warned_n"],
            due=row["incidents_due_n"],
            lead_minutes=row["judged_lead_minutes_median"],
        )
        for row in ordered.head(INDICATORS).iter_rows(named=True)
    )


def indicators_title(rows: Rows) -> str:
    """Say how the indicators stand, by their status."""
    statuses = rows["mart_leading_indicators"]["status"].drop_nulls().to_list()
    if not statuses:
        return "No leading indicator is known"
    trusted, trial, rejected = (statuses.count(name) for name in STATUSES)
    words = [f"{number_word(trusted)} leading {'indicator is' if trusted == 1 else 'indicators are'} trusted", f"{trial} on trial"]
    return ", ".join([*words, f"{rejected} rejected"])


def _share(row: dict[str, Any], k: str, n: str, share: str) -> Share:
    return Share(row[k] or 0, row[n] or 0, row[share], row[f"{share}_low"], row[f"{share}_high"])
