"""The incidents of a week and the revenue they cost: lines of the table, weekly sums, and the check that they are the same money."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl

from aftercast.reporting import intervals, wording
from aftercast.reporting.figures import IncidentLine, Suspect, Suspects, WeekLoss
from aftercast.reporting.intervals import Range
from aftercast.reporting.rows import Rows
from aftercast.window import Window

QUANTIFIED = "quantified"
REVIEWED = {"confirm": "confirmed", "reject": "rejected", "other": "another cause"}


def counted(rows: Rows) -> pl.DataFrame:
    """Return the incidents that count: not tests, drills or others that a person excluded from metrics."""
    incidents = rows["mart_incidents"].filter(~pl.col("exclude_from_metrics").fill_null(value=False))
    return incidents.with_columns(pl.col("impact_status").fill_null("unknown"))


def within(incidents: pl.DataFrame, week: Window) -> pl.DataFrame:
    """Return the incidents that started in a week."""
    return incidents.filter((pl.col("started_at") >= week.start) & (pl.col("started_at") < week.end))


def main_currency(incidents: pl.DataFrame, *others: pl.DataFrame) -> str:
    """Return the currency most incidents are counted in (ties: the first in the alphabet); nothing is ever converted."""
    for frame in (incidents, *others):
        named = Counter(frame["currency"].drop_nulls().to_list())
        if named:
            return str(min(named, key=lambda code: (-named[code], code)))
    return ""


def lost(incidents: pl.DataFrame, currency: str) -> Range:
    """Return the loss of the quantified incidents in one currency.

    Zero when nothing happened; None when something happened and none of it could be told from noise in this currency.
    """
    if incidents.is_empty():
        return Range(0.0, None, None)
    known = incidents.filter((pl.col("impact_status") == QUANTIFIED) & (pl.col("currency").fill_null(currency) == currency))
    return intervals.total(known.select("lost_revenue", "lost_revenue_low", "lost_revenue_high").rows())


def by_span(
    incidents: pl.DataFrame, spans: Sequence[Window], names: Sequence[tuple[str, str]], currency: str, *, known: bool
) -> tuple[WeekLoss, ...]:
    """Return each span's incidents and loss, oldest first. A span whose incidents are all within noise lost nothing measurable: zero.

    `names` are the label and the short label of each span.

    With `known` false nobody told us about incidents, and nothing is claimed.
    """
    if not known:
        nothing = Range(None, None, None)
        return tuple(WeekLoss(*name, span.start, None, None, None, nothing) for name, span in zip(names, spans, strict=True))
    found = []
    for name, span in zip(names, spans, strict=True):
        there = within(incidents, span)
        statuses = Counter(there["impact_status"].to_list())
        money = lost(there, currency)
        if money.value is None and there.height and statuses["below_noise"] == there.height:
            money = Range(0.0, None, None)
        found.append(WeekLoss(*name, span.start, there.height, statuses[QUANTIFIED], statuses["unknown"], money))
    return tuple(found)


def lines(rows: Rows, week_incidents: pl.DataFrame) -> tuple[IncidentLine, ...]:
    """Return a line for each incident, costliest first; those without an amount follow, gravest and earliest first."""
    journeys = _journeys_hit(rows["mart_incident_impact"])
    titles = _titles(rows["mart_incident_candidates"])
    found = [_line(row, journeys, titles) for row in week_incidents.iter_rows(named=True)]
    return tuple(
        sorted(
            found,
            key=lambda line: (line.lost.value is None, -(line.lost.value or 0.0), line.severity or "~", line.started_at, line.incident_id),
        )
    )


def _titles(candidates: pl.DataFrame) -> dict[tuple[str, str], str]:
    named = candidates.filter(pl.col("title").is_not_null() & pl.col("candidate_id").is_not_null())
    return {(kind, candidate): title for kind, candidate, title in named.select("kind", "candidate_id", "title").rows()}


def _line(row: dict[str, Any], journeys: dict[str, tuple[str, ...]], titles: dict[tuple[str, str], str]) -> IncidentLine:
    quantified = row["impact_status"] == QUANTIFIED and row["lost_revenue"] is not None
    money = Range(row["lost_revenue"], row["lost_revenue_low"], row["lost_revenue_high"]) if quantified else Range(None, None, None)
    kind, candidate, confirmed = row["top_candidate_kind"], row["top_candidate_id"], row["top_candidate_confirmed"]
    return IncidentLine(
        incident_id=row["incident_id"],
        title=row["title"] or "(no title)",
        severity=row["severity"] or "unknown",
        service=row["service_origin"] or "",
        started_at=row["started_at"],
        journeys=journeys.get(row["incident_id"], ()),
        lost=money,
        currency=row["currency"] or "",
        impact_status=row["impact_status"],
        loss_text="" if quantified else why_no_amount(row),
        minutes=row["impact_minutes"],
        is_over=not row["is_censored"],
        cause=candidate_words(kind, candidate, titles.get((kind, candidate))) if kind else "no candidate",
        probability=row["top_candidate_probability"],
        review="confirmed" if confirmed else "rejected" if confirmed is False else "not reviewed",
        family=row["family_title"] or row["family_id"],
        status=row["status"] or "status unknown",
        recurred=bool(row["recurred_after_fix"]),
        url=row["url"] if str(row["url"] or "").startswith(("https://", "http://")) else None,
    )


def why_no_amount(row: dict[str, Any]) -> str:
    """Return what stands where an incident has no amount of its own."""
    if row["impact_status"] == "below_noise":
        most = row["lost_revenue_high"]
        return f"within noise, at most {wording.amount(most)}" if most is not None and most > 0 else "within noise"
    return f"unknown: {row['impact_reason']}" if row["impact_reason"] else "unknown"


def candidate_words(kind: str, candidate: str | None, title: str | None) -> str:
    """Name a candidate cause for people. It stays a candidate: the words never say that it was the cause."""
    if kind == "none":
        return "none of the known candidates"
    if kind == "change":
        return title or f"change {candidate or '?'}"
    return f"{kind} {candidate or '?'}"


def _journeys_hit(impact: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    hit = (
        impact.filter(pl.col("status") == QUANTIFIED)
        .group_by("incident_id", "journey")
        .agg(pl.col("lost_revenue").sum())
        .sort("incident_id", "lost_revenue", "journey", descending=[False, True, False])
    )
    found: dict[str, tuple[str, ...]] = {}
    for incident, journey, _ in hit.rows():
        found[incident] = (*found.get(incident, ()), journey)
    return found


def by_journey(rows: Rows, incidents: pl.DataFrame, currency: str) -> dict[str, float]:
    """Return what the quantified incidents given cost each journey, in one currency: every segment, also those within noise."""
    known = incidents.filter((pl.col("impact_status") == QUANTIFIED) & (pl.col("currency").fill_null(currency) == currency))
    parts = (
        rows["mart_incident_impact"]
        .join(known.select("incident_id"), on="incident_id", how="semi")
        .filter(
            (pl.col("status") != "unknown") & pl.col("lost_revenue").is_not_null() & (pl.col("currency").fill_null(currency) == currency)
        )
    )
    return dict(parts.group_by("journey").agg(pl.col("lost_revenue").sum()).sort("journey").rows())


def check(
    rows: Rows, incidents: pl.DataFrame, currency: str, shown: Range, table: Sequence[IncidentLine], journeys: dict[str, float]
) -> None:
    """Refuse the page unless the week's loss is the sum of the table's lines and of the journeys.

    Raises:
        QualityError: it is not.
    """
    amounts = [line.lost.value for line in table if line.lost.value is not None and line.currency in ("", currency)]
    intervals.adds_up("lost revenue of the week, by incident", shown.value or 0.0, amounts)
    if rows["mart_incident_impact"].height:
        parts = rows["mart_incident_impact"].join(incidents, on="incident_id", how="semi").height
        intervals.adds_up("lost revenue of the week, by journey", shown.value or 0.0, journeys.values(), cents=parts + len(amounts))


def suspects(rows: Rows, table: Sequence[IncidentLine], most: int) -> tuple[Suspects, ...]:
    """Return the three likeliest candidates of the first incidents of the table."""
    candidates = rows["mart_incident_candidates"].sort("probability", "rank", descending=[True, False], nulls_last=True)
    found = []
    for line in table[:most]:
        mine = candidates.filter(pl.col("incident_id") == line.incident_id)
        if mine.is_empty():
            continue
        first = [
            Suspect(
                label=candidate_words(row["kind"], row["candidate_id"], row["title"]),
                kind=row["kind"],
                probability=row["probability"],
                rationale=row["rationale"] or "",
                verdict=REVIEWED.get(row["human_verdict"], "not reviewed"),
            )
            for row in mine.head(3).iter_rows(named=True)
        ]
        rest = float(mine[3:]["probability"].sum()) if mine.height > 3 else None
        found.append(Suspects(line.incident_id, line.title, tuple(first), rest))
    return tuple(found)
