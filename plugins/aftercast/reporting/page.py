"""Figures to pages: one HTML file that needs nothing else, and the same as Markdown.

Everything from a mart is text: it is escaped by the template, isolated in its own direction, and never becomes markup or a script.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, Template

from aftercast.reporting import charts, series_plot, templating, wording
from aftercast.reporting.figures import Report

TEMPLATES = Path(__file__).parent / "templates"
WIDE, NARROW = 500, 330
SHOWN = 15
LISTED = 300


@cache
def _environment() -> Environment:
    return templating.environment(
        TEMPLATES,
        ratio=wording.ratio,
        shorten=wording.shorten,
        words=lambda text: str(text).replace("_", " "),
        md=markdown_text,
    )


def template(name: str) -> Template:
    """Return a template that escapes whatever is put into it."""
    return _environment().get_template(name)


def markdown_text(text: object) -> str:
    """Return a text that Markdown shows as it is, on one line, also inside a table."""
    flat = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", flat)


def html(report: Report) -> str:
    """Return the page as one self-contained HTML document."""
    alarm = report.tiles[0].standing == "worse"
    drawn = {
        "lost": [
            charts.lost_by_week(report.weeks, report.weeks_normal, report.currency, alarm=alarm, width=2 * WIDE),
            charts.lost_by_week(report.weeks[-6:], report.weeks_normal, report.currency, alarm=alarm, width=NARROW),
        ],
        "pictures": [
            [
                series_plot.picture(one.history, width=width, height=height)
                for width, height in ((size, 160 if size > WIDE else 130), (NARROW, 130))
            ]
            for one, size in zip(report.pictures, (2 * WIDE, WIDE, WIDE), strict=False)
        ],
        "burn": [charts.budget_burn(report.journeys, width=WIDE), charts.budget_burn(report.journeys, width=NARROW)],
    }
    return template("report.html.j2").render(**context(report), charts=drawn)


def markdown(report: Report) -> str:
    """Return the page as Markdown, in the same order, for chat, wikis and diffs."""
    return template("report.md.j2").render(**context(report))


def context(report: Report) -> dict[str, Any]:
    """Return what the templates of a report are filled with."""
    amounts = [line.lost for line in report.incidents if line.lost.value is not None]
    shown = report.incidents[:SHOWN] if len(report.incidents) > SHOWN + 1 else report.incidents
    rest = report.incidents[len(shown) :]
    return {
        "w": report,
        "noun": report.cadence.noun,
        "words": report.cadence.words(report.week),
        "is_weekly": report.cadence.name == "weekly",
        "file": report.cadence.name,
        "shown": shown,
        "rest": rest,
        "rest_lost": sum(line.lost.value or 0.0 for line in rest if line.currency in ("", report.currency)),
        "rest_unknown": sum(line.lost.value is None for line in rest),
        "listed": report.incidents[:LISTED],
        "most_lost": max((max(lost.value or 0.0, lost.high or 0.0) for lost in amounts), default=0.0),
        "most_journey": max([line.lost for line in report.journeys] + [line.usual_loss or 0.0 for line in report.journeys], default=0.0),
        "family_labels": [week.label for week in (report.weeks[-12:] if report.cadence.name == "weekly" else report.weeks)],
        "scored": dict(report.series_status).get("scored", 0),
        "unscored": [(status, number) for status, number in report.series_status if status != "scored"],
    }
