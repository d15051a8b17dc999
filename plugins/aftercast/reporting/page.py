"""Figures to pages: one HTML file that needs nothing else, the same as Markdown, and the numbers as CSV.

Everything from a mart is text: it is escaped by the template, isolated in its own direction, and never becomes markup or a script.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape

from aftercast.reporting import charts, marks, series_plot, wording
from aftercast.reporting.figures import Tile, Weekly

TEMPLATES = Path(__file__).parent / "templates"
WIDE, NARROW = 500, 330
SHOWN = 15
LISTED = 300


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        money=wording.money,
        amount=wording.amount,
        percent=wording.percent,
        minutes=wording.minutes,
        day=wording.day,
        day_and_time=wording.day_and_time,
        shorten=wording.shorten,
        words=lambda text: str(text).replace("_", " "),
        md=markdown_text,
    )
    environment.globals.update(span=wording.span, count=wording.count, listing=wording.listing, marks=marks)
    return environment


def template(name: str) -> Template:
    """Return a template that escapes whatever is put into it."""
    return _environment().get_template(name)


def markdown_text(text: object) -> str:
    """Return a text that Markdown shows as it is, on one line, also inside a table."""
    flat = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", flat)


def html(weekly: Weekly) -> str:
    """Return the page as one self-contained HTML document."""
    alarm = weekly.tiles[0].standing == "worse"
    drawn = {
        "lost": [
            charts.lost_by_week(weekly.weeks, weekly.weeks_normal, weekly.currency, alarm=alarm, width=2 * WIDE),
            charts.lost_by_week(weekly.weeks[-6:], weekly.weeks_normal, weekly.currency, alarm=alarm, width=NARROW),
        ],
        "pictures": [
            [
                series_plot.picture(one.history, width=width, height=height)
                for width, height in ((size, 160 if size > WIDE else 130), (NARROW, 130))
            ]
            for one, size in zip(weekly.pictures, (2 * WIDE, WIDE, WIDE), strict=False)
        ],
        "burn": [charts.budget_burn(weekly.journeys, width=WIDE), charts.budget_burn(weekly.journeys, width=NARROW)],
    }
    return template("weekly.html.j2").render(**_context(weekly), charts=drawn)


def markdown(weekly: Weekly) -> str:
    """Return the page as Markdown, in the same order, for chat, wikis and diffs."""
    return template("weekly.md.j2").render(**_context(weekly))


def _context(weekly: Weekly) -> dict[str, object]:
    amounts = [line.lost for line in weekly.incidents if line.lost.value is not None]
    shown = weekly.incidents[:SHOWN] if len(weekly.incidents) > SHOWN + 1 else weekly.incidents
    rest = weekly.incidents[len(shown) :]
    return {
        "w": weekly,
        "last_day": weekly.week.end - timedelta(days=1),
        "shown": shown,
        "rest": rest,
        "rest_lost": sum(line.lost.value or 0.0 for line in rest if line.currency in ("", weekly.currency)),
        "rest_unknown": sum(line.lost.value is None for line in rest),
        "listed": weekly.incidents[:LISTED],
        "most_lost": max((max(lost.value or 0.0, lost.high or 0.0) for lost in amounts), default=0.0),
        "most_journey": max([line.lost for line in weekly.journeys] + [line.usual_loss or 0.0 for line in weekly.journeys], default=0.0),
        "week_labels": [week.label for week in weekly.weeks],
        "family_labels": [week.label for week in weekly.weeks[-12:]],
        "scored": dict(weekly.series_status).get("scored", 0),
        "unscored": [(status, number) for status, number in weekly.series_status if status != "scored"],
    }


def numbers(weekly: Weekly) -> str:
    """Return every figure of the page as CSV, one a line: section, item, measure, value, low, high, n, unit."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["week", "section", "item", "measure", "value", "low", "high", "n", "unit"])
    for row in _numbers(weekly):
        writer.writerow([weekly.label, *("" if cell is None else _plain(cell) for cell in row)])
    return out.getvalue()


def _plain(cell: object) -> object:
    """Return a cell a spreadsheet will not take for a formula."""
    if isinstance(cell, float):
        return f"{cell:.10g}"
    if isinstance(cell, datetime):
        return cell.isoformat()
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _numbers(weekly: Weekly) -> Iterator[tuple[object, ...]]:
    money = weekly.currency
    lost = weekly.lost
    yield "run", weekly.company, "as_of", weekly.as_of, None, None, None, "UTC"
    yield "run", weekly.company, "code_version", weekly.code_version, None, None, None, ""
    yield "week", "all", "lost_revenue", lost.value, lost.low, lost.high, weekly.n_quantified, money
    for name, number in (("within_noise", weekly.n_below_noise), ("not_quantified", weekly.n_unknown), ("excluded", weekly.n_excluded)):
        yield "week", "all", f"incidents_{name}", number, None, None, None, "incidents"
    for code, other in weekly.other_money:
        yield "week", "all", "lost_revenue", other.value, other.low, other.high, None, code
    for tile in weekly.tiles:
        yield "tile", tile.label, tile.name, tile.value, *(tile.normal or (None, None)), None, _unit(tile, money)
    for week in weekly.weeks:
        yield "week by week", week.label, "lost_revenue", week.lost.value, week.lost.low, week.lost.high, week.n_incidents, money
    for journey in weekly.journeys:
        yield "journey", journey.journey, "success_7d", journey.success_7d, None, None, int(journey.attempts_7d), "share"
        yield "journey", journey.journey, "success_slo_window", journey.success_slo, None, None, int(journey.attempts_slo), "share"
        yield "journey", journey.journey, "error_budget_used", journey.budget_used, None, None, journey.days_known, "share"
        yield "journey", journey.journey, "lost_revenue", journey.lost, None, None, journey.n_incidents, money
    for incident in weekly.incidents:
        ends = incident.lost
        yield "incident", incident.incident_id, "lost_revenue", ends.value, ends.low, ends.high, None, incident.currency
        yield "incident", incident.incident_id, "top_candidate_probability", incident.probability, None, None, None, incident.cause
    for shown in weekly.pictures:
        if shown.peak is not None:
            top, series_id = shown.peak, shown.history.series_id
            yield "episode", shown.incident_id, "value_at_peak", top.actual, top.low, top.high, None, series_id
    for family in weekly.families:
        yield "family", family.family_id, "incidents_in_12_weeks", family.n_incidents, None, None, None, "incidents"
        yield "family", family.family_id, "lost_revenue_in_12_weeks", family.lost, None, None, None, money
    for fix in weekly.fixes:
        yield "fix", fix.action_item_id, "rate_ratio", fix.ratio.value, fix.ratio.low, fix.ratio.high, fix.n_after, fix.verdict
    for team in weekly.teams:
        yield "actions", team.team, "overdue", team.n_overdue, None, None, team.n_open, "actions"
    for line in weekly.detection:
        yield "detection", line.label, "share", line.share.value, line.share.low, line.share.high, line.share.n, "share"
    for advice in weekly.recommendations:
        gain = advice.reduction
        yield (
            "recommendation",
            advice.action,
            "expected_reduction_90d",
            gain.value,
            gain.low,
            gain.high,
            advice.n_incidents,
            advice.currency,
        )
    for source in weekly.sources:
        for name in ("received", "rejected", "duplicate", "late"):
            yield "source", f"{source.source}/{source.entity}", name, getattr(source, name), None, None, None, "rows"


def _unit(tile: Tile, money: str) -> str:
    return {"lost": money, "incidents": "incidents"}.get(tile.name, "share")
