"""Mart rows to the figures of the weekly page; pure, and it refuses a page whose figures do not add up.

A week is an ISO week in UTC; an incident belongs to the week it started in. "Normal" is the 10th to 90th percentile of up to twelve earlier
weeks that are covered whole, and is not claimed from fewer than four.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import polars as pl

from aftercast.errors import ConfigError, WarehouseError
from aftercast.reporting import fixes, headlines, health, intervals, journeys, leading, losses, noticing, pictures, weeks, wording
from aftercast.reporting.figures import JourneyLine, Tile, WeekLoss, Weekly
from aftercast.reporting.intervals import Share
from aftercast.reporting.rows import Rows
from aftercast.window import Window

WEEKS = 13
SUSPECTS = 10
ADVICE = 5
PICTURES = 3
MAJOR = ("sev1", "sev2")


def figures(rows: Rows, week: Window | None = None, *, declared: Iterable[str] = (), now: datetime | None = None) -> Weekly:
    """Compute the page of a week (None: the last complete one before the as-of time).

    Args:
        rows: mart rows.
        week: an ISO week.
        declared: names of the sources a deployment declares; one that never delivered is named in a banner.
        now: when the page is made; data much older than that is called stale. None: age is not judged.

    Raises:
        WarehouseError: `mart_run` does not say what the mart is a function of.
        ConfigError: the week is outside the data.
        QualityError: the figures do not add up.
    """
    run = rows["mart_run"]
    if run.height != 1:
        raise WarehouseError(f"marts.mart_run must have one row, it has {run.height}; without its as-of time no week can be reported")
    covered = Window(run["window_start"].item() or run["as_of"].item() - weeks.WEEK, run["as_of"].item())
    week = week or _default_week(covered)
    if week.end <= covered.start or week.start >= covered.end:
        raise ConfigError(f"week {weeks.label(week)} is outside the data, which covers {covered}")

    incidents = losses.counted(rows)
    currency = losses.main_currency(incidents, rows["mart_incident_impact"])
    spans = weeks.up_to(week, covered, WEEKS)
    this_week = losses.within(incidents, week)
    table = losses.lines(rows, this_week)
    known = "mart_incidents" not in rows.absent
    by_week = losses.by_week(incidents, spans, currency, known=known)
    by_journey = [losses.by_journey(rows, losses.within(incidents, span), currency) for span in spans]
    lost = losses.lost(this_week, currency) if known else by_week[-1].lost
    losses.check(rows, this_week, currency, lost, table, by_journey[-1])
    normal = intervals.normal_range(past.lost.value for past in by_week[:-1])
    statuses = this_week["impact_status"].to_list()
    codes = sorted({*this_week["currency"].drop_nulls().to_list()} - {currency})
    others = tuple((code, losses.lost(this_week.filter(pl.col("currency") == code), code)) for code in codes)
    money = headlines.Money(lost, currency, normal, statuses.count("unknown"), statuses.count("below_noise"), others)

    journey_lines = journeys.lines(rows, spans, by_journey, table)
    drawn = pictures.of_week(rows, table, covered.end, PICTURES)
    families = fixes.families(rows, incidents, spans[-12:], currency)
    fix_lines = fixes.lines(rows, this_week, week)
    teams = fixes.teams(rows)
    advice = fixes.recommendations(rows, ADVICE)
    warned = leading.lines(rows, covered.end)
    detection = noticing.lines(incidents, spans)
    sources = health.sources(rows, week)
    banners = health.banners(sources, declared, rows, week, covered.end, now)
    n_excluded = losses.within(rows["mart_incidents"], week).height - this_week.height
    finding, sentence = headlines.headline(table, money, known=known)
    decision, why = headlines.decision(advice, journey_lines)
    return Weekly(
        company=run["company"].item() or "",
        week=week,
        label=weeks.label(week),
        as_of=covered.end,
        code_version=run["code_version"].item() or "not stated",
        model_versions=tuple(text.strip() for text in (run["model_versions"].item() or "").split(",") if text.strip()),
        currency=currency,
        headline=finding,
        sentences=(sentence, headlines.journey_sentence(journey_lines)),
        decision=decision,
        decision_why=why,
        banners=banners,
        tiles=_tiles(by_week, normal, incidents, spans, journey_lines, money),
        lost=lost,
        other_money=others,
        n_quantified=statuses.count(losses.QUANTIFIED),
        n_below_noise=money.n_below_noise,
        n_unknown=money.n_unknown,
        n_excluded=n_excluded,
        weeks=by_week,
        weeks_normal=normal,
        journeys=journey_lines,
        incidents=table,
        pictures=drawn,
        pictures_text=pictures.none_text(rows, table, drawn),
        families=families,
        fixes=fix_lines,
        teams=teams,
        leading=warned,
        detection=detection,
        alerts_text=noticing.alerts_per_incident(this_week),
        recommendations=advice,
        sources=sources,
        series_status=health.series(rows),
        health_notes=health.notes(rows, sources, n_excluded),
        suspects=losses.suspects(rows, table, SUSPECTS),
        titles={
            "money": headlines.money_title(money, len(by_week) - 1),
            "journeys": headlines.journeys_title(journey_lines),
            "budget": headlines.budget_title(journey_lines),
            "slo": headlines.slo_title(journey_lines),
            "incidents": headlines.incidents_title(table, currency) if known else headlines.NOT_PUBLISHED,
            "families": headlines.families_title(families) if known else headlines.NOT_PUBLISHED,
            "fixes": headlines.fixes_title(fix_lines),
            "actions": headlines.actions_title(teams),
            "leading": leading.title(warned),
            "detection": headlines.detection_title(detection, len(table)) if known else headlines.NOT_PUBLISHED,
            "advice": headlines.advice_title(advice),
            "health": headlines.health_title(sources, len(banners)),
        },
    )


def _default_week(covered: Window) -> Window:
    """Return the last complete week, or the one under way when the data covers no part of it."""
    complete = weeks.last_complete(covered.end)
    return complete if complete.end > covered.start else weeks.week_of(covered.start)


def _tiles(
    by_week: Sequence[WeekLoss],
    normal: tuple[float, float] | None,
    incidents: pl.DataFrame,
    spans: Sequence[Window],
    journey_lines: Sequence[JourneyLine],
    money: headlines.Money,
) -> tuple[Tile, ...]:
    each = [losses.within(incidents, span) for span in spans]
    lost, now = money.lost, each[-1]
    interval = f"95% interval {wording.span(lost.low, lost.high)}" if lost.low is not None and lost.value else "nothing lost to incidents"
    told = interval if lost.value is not None else "no incident could be quantified"
    majors = now.filter(pl.col("severity").is_in(MAJOR)).height
    found = [noticing.found_by_us(week) for week in each]
    soon = [noticing.mitigated_soon(week) for week in each]
    tiles = [
        _tile(
            "lost",
            f"Lost revenue{f', {money.currency}' if money.currency else ''}",
            wording.amount,
            told,
            [week.lost.value for week in by_week],
            1,
            normal,
        ),
        _tile(
            "incidents",
            "Incidents",
            lambda value: f"{value:.0f}",
            f"{majors} major (sev 1 or 2)" if by_week[-1].n_incidents is not None else "not published",
            [None if week.n_incidents is None else float(week.n_incidents) for week in by_week],
            1,
        ),
        _share_tile("found", "Found by us first", found),
        _share_tile("mitigated", "Mitigated in 30 min", soon),
    ]
    line = journeys.worst(journey_lines)
    if line is not None:
        note = f"target {wording.percent(line.target, 2)}"
        tiles.append(_tile("journey", f"{line.title} success", lambda value: wording.percent(value, 2), note, line.success_by_week, -1))
    return tuple(tiles)


def _tile(
    name: str,
    label: str,
    write: wording.Writer,
    note: str,
    values: Sequence[float | None],
    bad: int,
    normal: tuple[float, float] | None = None,
) -> Tile:
    normal = normal or intervals.normal_range(values[:-1])
    value = values[-1]
    standing = "unknown" if normal is None or value is None else "usual"
    if normal is not None and value is not None and not normal[0] <= value <= normal[1]:
        standing = "worse" if (value > normal[1]) == (bad > 0) else "better"
    normal_text = wording.between(write(normal[0]), write(normal[1])) if normal else "not enough weeks"
    return Tile(
        name, label, value, write(value) if value is not None else wording.NOT_KNOWN, note, standing, normal, normal_text, tuple(values)
    )


def _share_tile(name: str, label: str, shares: Sequence[Share]) -> Tile:
    """A share stands outside the normal range only when its whole interval does: 0 of 1 is not news."""
    share = shares[-1]
    note = f"{share.k} of {wording.count(share.n, 'incident')}" if share.n else "no incident to count"
    tile = _tile(name, label, wording.percent, note, [week.value for week in shares], -1)
    outside = tile.normal is not None and share.low is not None and share.high is not None
    if outside and tile.normal and not (share.high < tile.normal[0] or share.low > tile.normal[1]):  # type: ignore[operator]
        return Tile(tile.name, tile.label, tile.value, tile.text, tile.note, "usual", tile.normal, tile.normal_text, tile.values)
    return tile
