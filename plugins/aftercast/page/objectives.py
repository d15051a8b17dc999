"""Journeys and other objectives: what of their error budgets is left, and how fast it goes beside even spending."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import polars as pl

from aftercast.page.reading import Mart
from aftercast.reporting.journeys import budget

DAY = timedelta(days=1)
TOP = 2.5  # the course of a budget that is long gone is cut here, and says so


def journeys(mart: Mart) -> list[dict[str, Any]]:
    """Return each journey on its last known day, the one that used most of its budget first, with the course of its budget."""
    latest = mart.rows("select * from mart_journey_health where is_latest order by journey")
    found = []
    for row in latest:
        days = int(row["slo_window_days"] or 28)
        since = row["day"] - (days - 1) * DAY
        known = mart.rows(
            "select day, total, good from mart_journey_health "
            "where journey = ? and day >= ? and day <= ? and total is not null order by day",
            [row["journey"], since, row["day"]],
        )
        frame = pl.DataFrame(known, schema={"day": pl.Date, "total": pl.Int64, "good": pl.Int64})
        start = datetime.combine(since, time(), UTC)
        used, course = budget(frame, row["slo_target"], start)
        if not row["enough_traffic"]:
            used, course = None, ()
        found.append(
            row
            | {
                "days": days,
                "days_known": len(known),
                "success_7d": _share(row["good_7d"], row["total_7d"]),
                "success": _share(row["slo_good"], row["slo_total"]),
                "used": used,
                "start": start,
                "end": start + days * DAY,
                "course": _course(course, start, days),
                "top": _top(used),
            }
        )
    return sorted(found, key=lambda row: (row["used"] is None, -(row["used"] or 0.0), row["journey"]))


def objectives(mart: Mart) -> list[dict[str, Any]]:
    """Return every declared objective on its last known day, least budget left first."""
    return mart.rows("select * from mart_slo_health where is_latest order by budget_left_ratio nulls last, slo")


def burning(mart: Mart) -> list[dict[str, Any]]:
    """Return the burn-rate rules that fire now, gravest first."""
    return mart.rows("select * from mart_slo_burn where status = 'firing' order by severity, burn_long desc nulls last, slo, rule")


def _share(good: int | None, total: int | None) -> float | None:
    return good / total if good is not None and total else None


def _top(used: float | None) -> float:
    return min(TOP, max(1.12, (used or 0.0) * 1.04))


def _course(course: tuple[tuple[datetime, float], ...], start: datetime, days: int) -> str:
    """Return the points of a line on a drawing of 100 by 100: time to the right, budget used upwards."""
    if not course:
        return ""
    top = _top(course[-1][1])
    return " ".join(f"{100 * ((at - start) / DAY) / days:.2f},{100 - 100 * min(used, top) / top:.2f}" for at, used in course)
