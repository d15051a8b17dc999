"""A report as it is sent: a letter for mail programs and a post for Slack, from the same figures as the page.

Mail programs know tables and inline styles, no style sheets, no drawings and no scripts: so the letter is a table of 640 pixels with its
styles written into it, and its charts are pictures inside the message whose alternative texts state the numbers. Nothing is loaded from
anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape

import css_inline
import vl_convert
from markupsafe import Markup

from aftercast.reporting import charts, page
from aftercast.reporting.figures import Report
from aftercast.reporting.wording import shorten

WIDTH = 576
SCALE = 2  # screens that show two pixels where the letter asks for one
INCIDENTS = 6
OTHER_SECTIONS = (
    "slo",
    "objectives",
    "patterns",
    "families",
    "portfolio",
    "fixes",
    "actions",
    "detection",
    "leading",
    "indicators",
    "health",
)
# A subject line of ASCII is not folded into encoded words, which some programs join with a space too many.
PLAIN = str.maketrans({"’": "'", "“": '"', "”": '"', "–": "-", "−": "-"})
HEADLINE = 150  # what Slack takes as a header
LONGEST_PREHEADER = 140


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG inside a letter: the id it is shown by, its width and height there in pixels, and what it states in words."""

    name: str
    png: bytes
    width: int
    height: int
    alt: str


@dataclass(frozen=True, slots=True)
class Letter:
    """An e-mail without sender and address: the same as text and as HTML, the pictures it shows, and a document to attach."""

    subject: str
    text: str
    html: str
    pictures: tuple[Picture, ...]
    attachment: tuple[str, bytes] | None = None


@dataclass(frozen=True, slots=True)
class Post:
    """A message for Slack: its blocks, and the text that notifications show."""

    text: str
    blocks: tuple[dict[str, object], ...]


def letter(report: Report, *, link: str | None = None, pdf: bytes | None = None) -> Letter:
    """Return the letter of a report.

    Args:
        report: its figures.
        link: where the page is served.
        pdf: the page as PDF, to attach.
    """
    pictures = tuple(_pictures(report))
    context = page.context(report) | {
        "link": link,
        "pictures": {picture.name: picture for picture in pictures},
        "others": [report.titles[name] for name in OTHER_SECTIONS if name in report.titles],
        "most": INCIDENTS,
        "preheader": shorten(f"{report.headline}. {report.sentences[1]}", LONGEST_PREHEADER),
        "attached": f"{report.cadence.name}-{report.label}.pdf" if pdf else None,
    }
    html = css_inline.inline(page.template("letter.html.j2").render(context), load_remote_stylesheets=False)
    text = page.template("letter.txt.j2").render(context)
    attachment = (str(context["attached"]), pdf) if pdf else None
    return Letter(f"{report.label}: {' '.join(report.headline.translate(PLAIN).split())}", text, html, pictures, attachment)


def _pictures(report: Report) -> Iterator[Picture]:
    alarm = report.tiles[0].standing == "worse"
    weeks = report.weeks[-9:] if report.cadence.name == "weekly" else report.weeks
    yield _picture("lost", charts.lost_by_week(weeks, report.weeks_normal, report.currency, alarm=alarm, width=WIDTH))
    burn = charts.budget_burn(report.journeys, width=WIDTH)
    if burn:
        yield _picture("burn", burn)


def _picture(name: str, drawing: Markup) -> Picture:
    """Return a drawing of the page as a picture on white; its title and description become the alternative text."""
    start, inside = str(drawing).split(">", 1)
    width, height = (round(float(start.split(f'{side}="')[1].split('"')[0])) for side in (" width", " height"))
    white = f'<rect width="{width}" height="{height}" fill="#fff"/>'
    svg = start.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" ', 1)
    said = [unescape(inside.split(f"<{tag}>")[1].split(f"</{tag}>")[0]) for tag in ("title", "desc")]
    png = vl_convert.svg_to_png(f"{svg}>{white}{inside}", scale=SCALE)
    return Picture(name, png, width, height, ": ".join(said))


def post(report: Report, *, link: str | None = None) -> Post:
    """Return the post of a report: the headline, four lines, one more when a declared objective is missed, and where the page is."""
    titles = report.titles
    lines = (
        report.sentences[0],
        report.sentences[1],
        f"{titles['fixes']}. {titles['actions']}.",
        f"*Decision asked:* {_mrkdwn(shorten(report.decision, 300))}",
    )
    promised = [titles["objectives"]] if any(line.status == "missed" or line.firing for line in report.objectives) else []
    told = [*lines[:2], *(f"{text}." for text in promised), lines[2]]
    body = "\n".join([*(f"• {_mrkdwn(shorten(line, 400))}" for line in told), f"• {lines[3]}"])
    warned = [_section(f":warning: {_mrkdwn(shorten(text, 400))}") for text in report.banners]
    where = f"<{link}|Read the page>" if link else f"The page: `reports/{report.label}/{report.cadence.name}.html`"
    stamp = f"{report.cadence.words(report.week)} · as of {report.as_of:%Y-%m-%d %H:%M} UTC · code {report.code_version}"
    blocks: tuple[dict[str, object], ...] = (
        {"type": "header", "text": {"type": "plain_text", "text": shorten(report.headline, HEADLINE), "emoji": False}},
        *warned,
        _section(body),
        _section(where),
        {"type": "context", "elements": [{"type": "mrkdwn", "text": _mrkdwn(stamp)}]},
    )
    return Post(f"{report.label}: {_mrkdwn(report.headline)}", blocks)


def _section(text: str) -> dict[str, object]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _mrkdwn(text: str) -> str:
    """Return a text in which Slack reads no mention and no link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
