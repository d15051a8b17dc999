"""Mart rows to the figures of a report; pure, and it refuses a page whose figures do not add up.

A period is an ISO week, a month or a quarter in UTC; an incident belongs to the period it started in. "Normal" is the 10th to 90th
percentile of up to twelve earlier periods (eight quarters) that are covered whole, and is not claimed from fewer than four.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import polars as pl

from aftercast.errors import ConfigError, WarehouseError
from aftercast.reporting import (
    exceptions,
    fixes,
    headlines,
    health,
    intervals,
    journeys,
    leading,
    longer,
    losses,
    noticing,
    objectives,
    pictures,
    wording,
)
from aftercast.reporting.figures import JourneyLine, Report, Tile, WeekLoss
from aftercast.reporting.intervals import Share
from aftercast.reporting.periods import WEEK, WEEKLY, Cadence, part_label, parts
from aftercast.reporting.rows import Rows
from aftercast.window import Window

SUSPECTS = 10
ADVICE = 5
PICTURES = 3
MAJOR = ("sev1", "sev2")


def figures(
    rows: Rows,
    week: Window | None = None,
    *,
    cadence: Cadence = WEEKLY,
    declared: Iterable[str] = (),
    excepted: exceptions.Declared = exceptions.NONE,
    now: datetime | None = None,
) -> Report:
    """Compute the page of a period (None: the last complete one before the as-of time, see `Cadence.usual`).

    Args:
        rows: mart rows; those of `LONGER` too unless the cadence is weekly.
        week: the period, one of the cadence.
        cadence: how often the report is made.
        declared: names of the sources a deployment declares; one that never delivered is named in a banner.
        excepted: rows in which masks, known times and trials stand.
        now: when the page is made; data much older than that is called stale. None: age is not judged.

    Raises:
        WarehouseError: `mart_run` does not say what the mart is a function of.
        ConfigError: the period is outside the data.
        QualityError: the figures do not add up.
    """
    run = rows["mart_run"]
    if run.height != 1:
        raise WarehouseError(f"marts.mart_run must have one row, it has {run.height}; without its as-of time nothing can be reported")
    covered = Window(run["window_start"].item() or run["as_of"].item() - WEEK, run["as_of"].item())
    week, noun, is_weekly = week or cadence.usual(covered), cadence.noun, cadence is WEEKLY
    if week.end <= covered.start or week.start >= covered.end:
        raise ConfigError(f"{noun} {cadence.label(week)} is outside the data, which covers {covered}")

    incidents = losses.counted(rows)
    currency = losses.main_currency(incidents, rows["mart_incident_impact"])
    spans = cadence.up_to(week, covered)
    this_week = losses.within(incidents, week)
    table = losses.lines(rows, this_week)
    known = "mart_incidents" not in rows.absent
    by_week = losses.by_span(incidents, spans, _names(cadence, spans), currency, known=known)
    within = spans if is_weekly else tuple(part for part in parts(week) if part.end > covered.start and part.start < covered.end)
    shown_weeks = by_week
    if not is_weekly:
        names = [(part_label(part), f"{part.start.day} {part.start:%b}") for part in within]
        shown_weeks = losses.by_span(incidents, within, names, currency, known=known)
        pieces = [part.lost.value or 0.0 for part in shown_weeks]
        intervals.adds_up(f"lost revenue of the {noun}, by week", by_week[-1].lost.value or 0.0, pieces)
    by_journey = [losses.by_journey(rows, losses.within(incidents, span), currency) for span in spans]
    lost = losses.lost(this_week, currency) if known else by_week[-1].lost
    losses.check(rows, this_week, currency, lost, table, by_journey[-1])
    normal = intervals.normal_range(past.lost.value for past in by_week[:-1])
    statuses = this_week["impact_status"].to_list()
    codes = sorted({*this_week["currency"].drop_nulls().to_list()} - {currency})
    others = tuple((code, losses.lost(this_week.filter(pl.col("currency") == code), code)) for code in codes)
    money = headlines.Money(lost, currency, normal, statuses.count("unknown"), statuses.count("below_noise"), others, noun)

    journey_lines = journeys.lines(rows, spans, by_journey, table, min(week.end, covered.end))
    promised = objectives.lines(rows, week, covered.end)
    drawn = pictures.of_week(rows, table, covered.end, PICTURES) if is_weekly else ()
    families = fixes.families(rows, incidents, within[-12:] if is_weekly else within, week, currency)
    fix_lines = fixes.lines(rows, this_week, week)
    teams = fixes.teams(rows)
    advice = fixes.recommendations(rows, ADVICE)
    warned = leading.lines(rows, covered.end)
    detection = noticing.lines(incidents, spans)
    sources = health.sources(rows, min(week.end, covered.end))
    banners = health.banners(sources, declared, rows, week, covered, now, noun)
    open_exceptions = exceptions.lines(excepted, covered.end)
    n_excluded = losses.within(rows["mart_incidents"], week).height - this_week.height
    more = longer.NOTHING if is_weekly else longer.lines(rows, cadence, week)
    finding, sentence = headlines.headline(table, money, known=known)
    decision, why = headlines.decision(advice, journey_lines, noun)
    return Report(
        cadence=cadence,
        company=run["company"].item() or "",
        week=week,
        label=cadence.label(week),
        as_of=covered.end,
        code_version=run["code_version"].item() or "not stated",
        configuration=run["configuration_fingerprint"].item() or "",
        model_versions=tuple(text.strip() for text in (run["model_versions"].item() or "").split(",") if text.strip()),
        changed="",
        currency=currency,
        headline=finding,
        sentences=(sentence, headlines.journey_sentence(journey_lines, noun)),
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
        compared=tuple(one.label for one in by_week),
        weeks=shown_weeks,
        weeks_normal=normal if is_weekly else None,
        journeys=journey_lines,
        objectives=promised,
        incidents=table,
        pictures=drawn,
        pictures_text=pictures.none_text(rows, table, drawn) if is_weekly else "",
        families=families,
        fixes=fix_lines,
        teams=teams,
        leading=warned,
        detection=detection,
        alerts_text=noticing.alerts_per_incident(this_week),
        recommendations=advice,
        sources=sources,
        series_status=health.series(rows),
        health_notes=(*health.notes(rows, sources, n_excluded, noun), *exceptions.notes(open_exceptions, covered.end)),
        exceptions=open_exceptions,
        suspects=losses.suspects(rows, table, SUSPECTS),
        patterns=more.patterns,
        portfolio=more.portfolio,
        indicators=more.indicators,
        titles={
            "money": headlines.money_title(money, len(by_week) - 1),
            "journeys": headlines.journeys_title(journey_lines),
            "budget": headlines.budget_title(journey_lines),
            "slo": headlines.slo_title(journey_lines, noun),
            "incidents": headlines.incidents_title(table, currency, noun) if known else headlines.NOT_PUBLISHED,
            "families": headlines.families_title(families, noun) if known else headlines.NOT_PUBLISHED,
            "fixes": headlines.fixes_title(fix_lines, noun),
            "actions": headlines.actions_title(teams),
            "leading": leading.title(warned),
            "detection": headlines.detection_title(detection, len(table), noun) if known else headlines.NOT_PUBLISHED,
            "advice": headlines.advice_title(advice),
            "health": headlines.health_title(sources, len(banners), noun),
        }
        | ({"objectives": objectives.title(promised)} if promised else {})
        | more.titles,
    )


def _names(cadence: Cadence, spans: Sequence[Window]) -> list[tuple[str, str]]:
    labels = [cadence.label(span) for span in spans]
    return [(label, f"Wk {label[-2:]}" if cadence is WEEKLY else label) for label in labels]


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
            money.noun,
        ),
        _tile(
            "incidents",
            "Incidents",
            lambda value: f"{value:.0f}",
            f"{majors} major (sev 1 or 2)" if by_week[-1].n_incidents is not None else "not published",
            [None if week.n_incidents is None else float(week.n_incidents) for week in by_week],
            1,
            noun=money.noun,
        ),
        _share_tile("found", "Found by us first", found, money.noun),
        _share_tile("mitigated", "Mitigated in 30 min", soon, money.noun),
    ]
    line = journeys.worst(journey_lines)
    if line is not None:
        note = f"target {wording.percent(line.target, 2)}"
        tiles.append(
            _tile(
                "journey", f"{line.title} success", lambda value: wording.percent(value, 2), note, line.success_by_week, -1, noun=money.noun
            )
        )
    return tuple(tiles)


def _tile(
    name: str,
    label: str,
    write: wording.Writer,
    note: str,
    values: Sequence[float | None],
    bad: int,
    normal: tuple[float, float] | None = None,
    noun: str = "week",
) -> Tile:
    normal = normal or intervals.normal_range(values[:-1])
    value = values[-1]
    standing = "unknown" if normal is None or value is None else "usual"
    if normal is not None and value is not None and not normal[0] <= value <= normal[1]:
        standing = "worse" if (value > normal[1]) == (bad > 0) else "better"
    normal_text = wording.between(write(normal[0]), write(normal[1])) if normal else f"not enough {noun}s"
    return Tile(
        name, label, value, write(value) if value is not None else wording.NOT_KNOWN, note, standing, normal, normal_text, tuple(values)
    )


def _share_tile(name: str, label: str, shares: Sequence[Share], noun: str) -> Tile:
    """A share stands outside the normal range only when its whole interval does: 0 of 1 is not news."""
    share = shares[-1]
    note = f"{share.k} of {wording.count(share.n, 'incident')}" if share.n else "no incident to count"
    tile = _tile(name, label, wording.percent, note, [week.value for week in shares], -1, noun=noun)
    outside = tile.normal is not None and share.low is not None and share.high is not None
    if outside and tile.normal and not (share.high < tile.normal[0] or share.low > tile.normal[1]):  # type: ignore[operator]
        return Tile(tile.name, tile.label, tile.value, tile.text, tile.note, "usual", tile.normal, tile.normal_text, tile.values)
    return tile
