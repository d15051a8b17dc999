"""Micro-charts that stand in tiles and table cells, as inline SVG without scripts or fonts; each says its numbers in its title."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from aftercast.reporting.figures import FixLine, Tile
from aftercast.reporting.intervals import Range, Share
from aftercast.reporting.wording import amount, percent, span

SVG = Markup(
    '<svg class="mark {kind}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
    "<title>{title}</title>{inside}</svg>"
)


def _svg(kind: str, width: int, height: int, title: str, *inside: Markup) -> Markup:
    return SVG.format(kind=kind, width=width, height=height, title=title, inside=Markup("").join(inside))


def sparkline(tile: Tile, labels: Sequence[str]) -> Markup:
    """Draw a tile's weeks with its normal range shaded; weeks that are not known leave a gap."""
    width, height, edge = 150, 34, 5.0
    known = [value for value in tile.values if value is not None]
    if len(known) < 2:
        return Markup("")
    ends = [*known, *(tile.normal or ())]
    low, high = min(ends), max(ends)
    reach = (high - low) or 1.0
    step = (width - 2 * edge) / max(1, len(tile.values) - 1)

    def y(value: float) -> float:
        return float(height - edge - (value - low) / reach * (height - 2 * edge))

    inside = []
    if tile.normal:
        top = y(tile.normal[1])
        inside.append(
            Markup('<rect class="band" x="0" y="{:.1f}" width="{}" height="{:.1f}"/>').format(top, width, max(1.5, y(tile.normal[0]) - top))
        )
    pieces: list[list[str]] = [[]]
    for index, value in enumerate(tile.values):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append(f"{edge + index * step:.1f},{y(value):.1f}")
    inside += [Markup('<polyline class="line" points="{}"/>').format(" ".join(piece)) for piece in pieces if len(piece) > 1]
    inside += [
        Markup('<circle class="point" cx="{}" cy="{}" r="1.5"/>').format(*piece[0].split(",")) for piece in pieces[:-1] if len(piece) == 1
    ]
    if tile.values[-1] is not None:
        inside.append(Markup('<circle class="end" cx="{:.1f}" cy="{:.1f}" r="3.5"/>').format(width - edge, y(tile.values[-1])))
    title = f"{tile.label}, {len(tile.values)} values from {labels[0]} to {labels[-1]}; now {tile.text}; normal {tile.normal_text}"
    return _svg(f"spark {tile.standing}", width, height, title, *inside)


def loss_bar(value: float, usual: float | None, most: float, *, alarm: bool) -> Markup:
    """Draw a journey's loss on the scale of the largest, with a tick at its usual week."""
    width, height = 220, 18
    scale = (width - 4) / most if most > 0 else 0.0
    inside = [Markup('<rect class="bar" x="0" y="3" width="{:.1f}" height="12"/>').format(max(value * scale, 1.0 if value else 0.0))]
    title = f"lost {amount(value)}"
    if usual:
        title += f", median of earlier weeks {amount(usual)}"
        inside.append(Markup('<line class="tick" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="18"/>').format(1 + usual * scale))
    return _svg("bars alarm" if alarm else "bars", width, height, title, *inside)


def loss_interval(lost: Range, most: float) -> Markup:
    """Draw an incident's loss and its interval on the scale of the week's largest."""
    width, height = 96, 14
    if lost.value is None:
        return Markup("")
    scale = (width - 6) / most if most > 0 else 0.0
    inside = [Markup('<rect class="bar" x="0" y="4" width="{:.1f}" height="6"/>').format(max(1.0, lost.value * scale))]
    if lost.low is not None and lost.high is not None:
        left, right = max(0.0, lost.low) * scale, min(width - 1.0, lost.high * scale)
        inside.append(Markup('<line class="whisker" x1="{:.1f}" x2="{:.1f}" y1="7" y2="7"/>').format(left, right))
        inside += [Markup('<line class="whisker" x1="{0:.1f}" x2="{0:.1f}" y1="4" y2="10"/>').format(end) for end in (left, right)]
    return _svg("interval", width, height, f"{amount(lost.value)}, 95% interval {span(lost.low, lost.high) or 'not known'}", *inside)


def share_interval(share: Share, before: Share) -> Markup:
    """Draw k of n on 0 to 100% with its interval, and a tick where the weeks before stood."""
    width, height = 180, 18
    if share.value is None or share.low is None or share.high is None:
        return Markup("")
    room = width - 12

    def x(value: float) -> float:
        return 6 + value * room

    inside = [
        Markup('<line class="track" x1="6" x2="{}" y1="9" y2="9"/>').format(width - 6),
        Markup('<line class="reach" x1="{:.1f}" x2="{:.1f}" y1="9" y2="9"/>').format(x(share.low), x(share.high)),
    ]
    if before.value is not None:
        inside.append(Markup('<line class="tick" x1="{0:.1f}" x2="{0:.1f}" y1="2" y2="16"/>').format(x(before.value)))
    inside.append(Markup('<circle class="dot" cx="{:.1f}" cy="9" r="4"/>').format(x(share.value)))
    title = f"{percent(share.value)}, 95% interval {percent(share.low)} to {percent(share.high)}"
    return _svg("share", width, height, f"{title}; before {percent(before.value)}", *inside)


def ratio_interval(fix: FixLine) -> Markup:
    """Draw the rate of incidents after a fix over the rate before, on a log scale from a tenth to ten, with the line of no change."""
    width, height = 170, 18
    ratio = fix.ratio
    if ratio.low is None or ratio.high is None:
        return Markup("")
    middle, room = width / 2, width / 2 - 6

    def x(value: float) -> float:
        return middle + max(-1.0, min(1.0, math.log10(max(value, 1e-9)))) * room

    inside = [
        Markup('<line class="track" x1="6" x2="{}" y1="9" y2="9"/>').format(width - 6),
        Markup('<line class="none" x1="{0}" x2="{0}" y1="1" y2="17"/>').format(middle),
        Markup('<line class="reach" x1="{:.1f}" x2="{:.1f}" y1="9" y2="9"/>').format(x(ratio.low), x(ratio.high)),
    ]
    if ratio.value is not None:
        inside.append(Markup('<circle class="dot" cx="{:.1f}" cy="9" r="4"/>').format(x(ratio.value)))
    upper = "more than 10" if ratio.high > 10 else f"{ratio.high:.2g}"
    title = (
        f"rate after over before: {'not known' if ratio.value is None else f'{ratio.value:.2g}'}, 95% interval {ratio.low:.2g} to {upper}"
    )
    return _svg(f"ratio {fix.verdict}", width, height, title, *inside)
