"""Journeys against their SLOs: success over 7 days and over the SLO's window, error budget used, and the day it jumped.

Ratios are always made anew from counts of attempts and successes; no average of ratios is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

import polars as pl

from aftercast.reporting import intervals
from aftercast.reporting.figures import IncidentLine, JourneyLine
from aftercast.reporting.rows import Rows
from aftercast.window import Window

DAY = timedelta(days=1)
# A budget of fewer allowed failures than this says more about single customers than about the service.
FEWEST_ALLOWED = 10.0
# A day that used this share of the whole budget, and four times its even share, is a jump worth a name.
JUMP = 0.1


def lines(
    rows: Rows,
    spans: Sequence[Window],
    losses: Sequence[Mapping[str, float]],
    table: Sequence[IncidentLine],
    until: datetime,
) -> tuple[JourneyLine, ...]:
    """Return a line for each journey, costliest this week first, then by budget used, then by name.

    Args:
        rows: mart rows.
        spans: weeks, oldest first, the reported one last.
        losses: loss by journey in each of these weeks.
        table: the incidents of the reported week.
        until: end of the SLOs' windows: that of the reported week, or of the data when it ends before.
    """
    health = rows["mart_journey_health"].filter(pl.col("total").is_not_null())
    names = sorted({*health["journey"].to_list(), *losses[-1]})
    everywhere = _between(health, spans[-1])["total"].sum()
    found = [_line(name, health.filter(pl.col("journey") == name), spans, losses, table, float(everywhere), until) for name in names]
    return tuple(sorted(found, key=lambda line: (-line.lost, -(line.budget_used or 0.0), line.journey)))


def _line(
    name: str,
    health: pl.DataFrame,
    spans: Sequence[Window],
    losses: Sequence[Mapping[str, float]],
    table: Sequence[IncidentLine],
    everywhere: float,
    until: datetime,
) -> JourneyLine:
    week = spans[-1]
    latest = health.sort("day").row(-1, named=True) if health.height else {}
    target, days = latest.get("slo_target"), int(latest.get("slo_window_days") or 28)
    long = _between(health, Window(until - days * DAY, until))
    short = _between(health, week)
    used, burn = budget(long, target, until - days * DAY)
    earlier = [loss.get(name, 0.0) for loss in losses[:-1]]
    hit = [line for line in table if name in line.journeys]
    jump_at, culprit = _jump(burn, days, hit)
    return JourneyLine(
        journey=name,
        title=latest.get("title") or name,
        owner=latest.get("owner_team") or "unowned",
        target=target,
        window_days=days,
        attempts_7d=float(short["total"].sum()),
        success_7d=success(short),
        attempts_slo=float(long["total"].sum()),
        success_slo=success(long),
        days_known=long.height,
        budget_used=used,
        burn=burn,
        jump_at=jump_at,
        jump_incident=culprit,
        traffic_share=float(short["total"].sum()) / everywhere if everywhere else None,
        success_by_week=tuple(success(_between(health, span)) for span in spans),
        n_incidents=len(hit),
        lost=losses[-1].get(name, 0.0),
        usual_loss=intervals.quantile(earlier, 0.5) if len(earlier) >= intervals.FEWEST_WEEKS else None,
    )


def success(days: pl.DataFrame) -> float | None:
    """Return successes over attempts of the days given; None without attempts."""
    attempts = float(days["total"].sum())
    return float(days["good"].sum()) / attempts if attempts else None


def _between(health: pl.DataFrame, span: Window) -> pl.DataFrame:
    return health.filter((pl.col("day") >= span.start.date()) & (pl.col("day") < span.end.date()))


def budget(days: pl.DataFrame, target: float | None, start: datetime) -> tuple[float | None, tuple[tuple[datetime, float], ...]]:
    """Return the share of the error budget used and its course, or nothing when there is no SLO or not enough traffic to tell."""
    allowed = (1 - target) * float(days["total"].sum()) if target is not None else 0.0
    if allowed < FEWEST_ALLOWED:
        return None, ()
    course, used = [(start, 0.0)], 0.0
    for day, attempts, successes in days.sort("day").select("day", "total", "good").rows():
        used += (attempts - successes) / allowed
        course.append((datetime.combine(day, time(), UTC) + DAY, used))
    return used, tuple(course)


def _jump(burn: Sequence[tuple[datetime, float]], days: int, hit: Sequence[IncidentLine]) -> tuple[datetime | None, str | None]:
    """Return the end of the day on which most budget went, and the costliest incident of the week that started on that day."""
    steps = [(after - before, at) for (_, before), (at, after) in pairwise(burn)]
    if not steps:
        return None, None
    size, at = max(steps)
    if size < max(JUMP, 4 / days):
        return None, None
    that_day = [line for line in hit if at - DAY <= line.started_at < at]
    return at, that_day[0].incident_id if that_day else None


def worst(journeys: Sequence[JourneyLine]) -> JourneyLine | None:
    """Return the journey that used most of its error budget, if any has a budget that can be told."""
    known = [line for line in journeys if line.budget_used is not None]
    return max(known, key=lambda line: (line.budget_used or 0.0, line.lost, line.journey)) if known else None
