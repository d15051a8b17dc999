"""Pictures of series as files of their own: HTML to read, SVG for a page or a wiki, PNG for a chat. None of them loads anything."""

from __future__ import annotations

from collections.abc import Sequence

import vl_convert
from markupsafe import Markup, escape

from aftercast.reporting.charts import FONT, INK, MUTED
from aftercast.reporting.history import History
from aftercast.reporting.page import template
from aftercast.reporting.series_plot import Picture, picture

WIDE, NARROW, HEIGHT = 1000, 350, 240
MARGIN = 20
TITLE, TEXT = 17, 12  # sizes in pixels
WIDTH_OF = 0.56  # mean width of a character, in parts of its size


def html(title: str, histories: Sequence[History]) -> str:
    """Return one page with a picture per series, each drawn for a wide and a narrow screen; it follows light and dark."""
    pictures = [(picture(one, width=WIDE, height=HEIGHT), picture(one, width=NARROW, height=HEIGHT)) for one in histories]
    return template("plot.html.j2").render(title=title, pictures=pictures)


def svg(histories: Sequence[History], *, width: int = WIDE) -> str:
    """Return one drawing, a picture below the other, each with its finding above and how to read it beneath."""
    return stacked([picture(one, width=width, height=HEIGHT) for one in histories], width)


def stacked(pictures: Sequence[Picture], width: int) -> str:
    """Return one drawing of pictures drawn for the same width."""
    parts: list[Markup] = []
    y = float(MARGIN)
    for drawn in pictures:
        y, heading = _text(drawn.finding, y, TITLE, INK, width, weight=600)
        parts.append(heading)
        if drawn.drawing:
            y += 4
            parts.append(Markup(str(drawn.drawing).replace('<svg class="chart"', f'<svg x="{MARGIN}" y="{y:g}"', 1)))
            y += _height(drawn)
        y, below = _text(drawn.caption, y + 2, TEXT, MUTED, width)
        parts.append(below)
        y += 22
    whole = f"{width + 2 * MARGIN}", f"{y + MARGIN - 22:g}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole[0]}" height="{whole[1]}" viewBox="0 0 {whole[0]} {whole[1]}"'
    return f'{head} font-family="{escape(FONT)}"><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'


def png(histories: Sequence[History], *, width: int = WIDE) -> bytes:
    """Return the drawing of `svg` as an image at twice its size."""
    image: bytes = vl_convert.svg_to_png(svg(histories, width=width), scale=2)
    return image


def _height(drawn: Picture) -> float:
    return float(str(drawn.drawing).split('height="', 1)[1].split('"', 1)[0])


def _text(text: str, y: float, size: int, colour: str, width: int, *, weight: int = 400) -> tuple[float, Markup]:
    """Return where a text wrapped to a width ends, and its lines as SVG."""
    lines: list[str] = []
    room = int(width / (size * WIDTH_OF))
    for word in text.split():
        if lines and len(lines[-1]) + len(word) < room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    step = size * 1.35
    drawn = Markup("").join(
        Markup('<text x="{}" y="{}" font-size="{}" font-weight="{}" fill="{}">{}</text>').format(
            MARGIN, f"{y + size + number * step:g}", size, weight, colour, line
        )
        for number, line in enumerate(lines)
    )
    return y + len(lines) * step + 4, drawn
