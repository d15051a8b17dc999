"""The two charts of the page, drawn with Altair and turned into SVG without a browser.

Labels stand at what they name, axes carry few lines, and one colour means alarm. Colours are fixed names that the page's style sheet maps
to light, dark and print; the numbers are in the SVG's title and description.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import altair as alt
import vl_convert
from markupsafe import Markup, escape

from aftercast.reporting.figures import JourneyLine, WeekLoss
from aftercast.reporting.wording import amount, money, percent, shorten, span

INK, MUTED, GRID, BAND = "#1b1f27", "#5f6875", "#e2e6eb", "#eceff3"
LINE, OTHER, ALARM, PAPER = "#1d5b9e", "#98a2b3", "#b3261e", "#ffffff"
FONT = "Inter, 'Segoe UI', system-ui, -apple-system, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"
LINES = 8
TOP = 2.5


def lost_by_week(weeks: Sequence[WeekLoss], normal: tuple[float, float] | None, currency: str, *, alarm: bool, width: int) -> Markup:
    """Draw the loss of each week with its interval, over the normal range; the reported week last."""
    n = len(weeks)
    rows = [
        {
            "x": index,
            "value": week.lost.value,
            "low": week.lost.low,
            "high": week.lost.high,
            "label": amount(week.lost.value),
            "last": index == n - 1,
        }
        for index, week in enumerate(weeks)
        if week.lost.value is not None
    ]
    unknown = [{"x": index, "label": "?"} for index, week in enumerate(weeks) if week.lost.value is None]
    ends = [end for row in rows for end in (row["value"], row["high"]) if end is not None] + list(normal or ())
    most = max((float(end) for end in ends), default=0.0)
    ticks = _ticks(most)
    left, plot = 46, width - 46 - 14
    x = alt.X("x:Q", scale=alt.Scale(domain=[-0.5, n - 0.5]), axis=axis(list(range(n)), [week.short for week in weeks], grid=False))
    y_scale, y_axis = alt.Scale(domain=[0, most * 1.16 or 1.0], clamp=True), axis(ticks, [amount(tick) for tick in ticks], grid=True)
    layers: list[Any] = []
    if normal:
        layers.append(
            alt.Chart(data([{"low": normal[0], "high": normal[1]}]))
            .mark_rect(color=BAND)
            .encode(y=alt.Y("low:Q", scale=y_scale, axis=y_axis), y2="high:Q", x=alt.value(0), x2=alt.value(plot))
        )
    y = alt.Y("value:Q", scale=y_scale, axis=y_axis)
    colour = alt.condition("datum.last", alt.value(ALARM if alarm else LINE), alt.value(LINE))
    base = alt.Chart(data(rows))
    layers += [
        base.transform_filter("datum.low != null")
        .mark_rule(strokeWidth=5, opacity=0.22)
        .encode(x=x, y=alt.Y("low:Q", scale=y_scale), y2="high:Q", color=colour),
        base.mark_line(color=LINE, strokeWidth=1.8).encode(x=x, y=y),
        base.mark_point(filled=True, size=46, opacity=1).encode(x=x, y=y, color=colour),
        *_values(rows, most, x, y_scale, ALARM if alarm else INK),
    ]
    if unknown:
        layers.append(alt.Chart(data(unknown)).mark_text(color=MUTED, fontSize=13).encode(x=x, y=alt.value(176), text="label:N"))
    told = "; ".join(
        f"{week.label} {money(week.lost.value, currency)}" + (f" ({span(week.lost.low, week.lost.high)})" if week.lost.low else "")
        for week in weeks
    )
    return svg(alt.layer(*layers).properties(width=plot, height=190), left, 14, 22, 24, "Lost revenue by week", told)


def _values(rows: list[dict[str, Any]], most: float, x: alt.X, scale: alt.Scale, last: str) -> Iterator[alt.Chart]:
    """Write each amount above its point and interval, out of the way of a line that climbs away or falls in steeply."""
    placed: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for before, row, following in zip([None, *rows], rows, [*rows[1:], None], strict=False):
        falls = before is not None and before["value"] - row["value"] > 0.2 * most
        below = following is not None and following["value"] - row["value"] > 0.2 * most and row["value"] > 0.2 * most
        end = row["value"] if row["high"] is None else max(row["high"], row["value"])
        offset = (0, 12) if below else (14 if falls else 0, -9)
        placed.setdefault(offset, []).append(row | {"spot": (row["low"] or row["value"]) if below else end})
    for (right, down), texts in sorted(placed.items()):
        colour = alt.condition("datum.last", alt.value(last), alt.value(INK))
        if right:  # between two lines that rise: paper around the letters, so that none is struck through
            halo = alt.Chart(data(texts)).mark_text(dx=right, dy=down, fontSize=12, color=PAPER, stroke=PAPER, strokeWidth=5)
            yield halo.encode(x=x, y=alt.Y("spot:Q", scale=scale), text="label:N")
        marks = alt.Chart(data(texts)).mark_text(dx=right, dy=down, fontSize=12)
        yield marks.encode(x=x, y=alt.Y("spot:Q", scale=scale), text="label:N", color=colour)


def budget_burn(journeys: Sequence[JourneyLine], *, width: int) -> Markup:
    """Draw the error budget each journey used over its window, against even spend, and name the incident on the jump."""
    known = sorted((line for line in journeys if line.burn), key=lambda line: (-(line.budget_used or 0.0), line.journey))[:LINES]
    if not known:
        return Markup("")
    worst = known[0]
    top = min(TOP, max(1.12, max((line.budget_used or 0.0) for line in known) * 1.04))
    start, end = min(line.burn[0][0] for line in known), max(line.burn[-1][0] for line in known)
    narrow = width < 400
    left, right = 44, 104 if narrow else 152
    plot, height = width - left - right, 190
    x = alt.X(
        "at:T",
        scale=alt.Scale(domain=[start.isoformat(), end.isoformat()], type="utc"),
        axis=_dates(start.timestamp() * 1000, end.timestamp() * 1000, narrow=narrow),
    )
    scale = alt.Scale(domain=[0, top])
    ticks = [tick / 2 for tick in range(int(top * 2) + 1)]
    y = alt.Y("used:Q", scale=scale, axis=axis(ticks, [f"{tick:.0%}" for tick in ticks], grid=True))
    labels = _apart([(min(line.budget_used or 0.0, top), line) for line in known], 15 * top / height)
    rows, ends = [], []
    for spot, line in labels:
        shown = ALARM if (line.budget_used or 0.0) > 1 else LINE if line is worst else OTHER
        rows += [{"at": at.isoformat(), "used": min(used, top), "who": line.journey, "colour": shown} for at, used in line.burn]
        ends.append(
            {
                "used": spot,
                "colour": shown if shown != OTHER else MUTED,
                "text": f"{shorten(line.title, 10 if narrow else 18)} {percent(line.budget_used)}",
                "bold": shown != OTHER,
            }
        )
    even = [{"at": start.isoformat(), "used": 0.0}, {"at": end.isoformat(), "used": 1.0}]
    layers: list[Any] = [
        alt.Chart(data([{"used": 1.0}])).mark_rule(color=INK, strokeWidth=1).encode(y=y),
        alt.Chart(data(even)).mark_line(color=OTHER, strokeDash=[3, 3], strokeWidth=1).encode(x=x, y=y),
        alt.Chart(data(rows))
        .mark_line(strokeWidth=1.8, interpolate="step-after" if len(worst.burn) < 6 else "linear")
        .encode(x=x, y=y, detail="who:N", color=alt.Color("colour:N", scale=None, legend=None)),
        alt.Chart(data(ends))
        .mark_text(align="left", dx=7, fontSize=12, clip=False)
        .encode(x=alt.value(plot), y=alt.Y("used:Q", scale=scale), text="text:N", color=alt.Color("colour:N", scale=None, legend=None)),
        _note(0, "used:Q", 1.0, "budget gone", scale, align="left", baseline="bottom", dx=4, dy=-4),
    ]
    middle = start + (end - start) * 0.62
    layers.append(
        alt.Chart(data([{"at": middle.isoformat(), "used": 0.62, "text": "even spend"}]))
        .mark_text(align="right", dx=-4, dy=-6, fontSize=11, color=MUTED)
        .encode(x=x, y=alt.Y("used:Q", scale=scale), text="text:N")
    )
    for line in known:
        if line.jump_at and line.jump_incident and (line.budget_used or 0.0) > 0.5:
            after = dict(line.burn)[line.jump_at]
            before = max((used for at, used in line.burn if at < line.jump_at), default=0.0)
            spot = (min(before, top) + min(after, top)) / 2
            # Keep off the line that marks the end of the budget.
            spot = spot if abs(spot - 1) > 0.06 * top else 1 - 0.09 * top
            tag = [{"at": (line.jump_at - timedelta(hours=12)).isoformat(), "used": spot, "text": shorten(line.jump_incident, 18)}]
            colour = ALARM if (line.budget_used or 0.0) > 1 else INK
            mark = alt.Chart(data(tag)).mark_text(align="right", dx=-8, fontSize=12, color=colour)
            layers.append(mark.encode(x=x, y=alt.Y("used:Q", scale=scale), text="text:N"))
            break
    told = "; ".join(f"{line.title} used {percent(line.budget_used)} of its {line.window_days}-day budget" for line in known)
    return svg(alt.layer(*layers).properties(width=plot, height=height), left, right, 12, 24, "Error budget used by journey", told)


def _note(x: float, field: str, value: float, text: str, scale: alt.Scale, **mark: Any) -> alt.Chart:
    encoded = alt.Chart(data([{"used": value}])).mark_text(fontSize=11, color=INK, text=text, **mark)
    return encoded.encode(x=alt.value(x), y=alt.Y(field, scale=scale))


def data(rows: list[dict[str, Any]]) -> alt.Data:
    """Return rows as the data of a chart; as one text, because Altair copies and checks every cell of a list many times."""
    return alt.Data(values=json.dumps(rows), format=alt.JsonDataFormat(type="json"))


def axis(values: Sequence[float], labels: Sequence[str], *, grid: bool) -> alt.Axis:
    texts = json.dumps({f"{value:g}": label for value, label in zip(values, labels, strict=True)})
    return alt.Axis(
        values=list(values),
        labelExpr=f"{texts}[format(datum.value, '~g')] || {texts}['' + datum.value]",
        grid=grid,
        gridColor=GRID,
        domain=not grid,
        domainColor=GRID,
        ticks=False,
        labelColor=MUTED,
        labelFontSize=11,
        labelPadding=6,
        labelOverlap=False,
        title=None,
    )


def _dates(start: float, end: float, *, narrow: bool) -> alt.Axis:
    days = round((end - start) / 86_400_000)
    step = 7 if days > 10 else max(1, days // 4 or 1)
    if narrow and days > 10:
        step = 14
    values = [start + offset * 86_400_000 for offset in range(0, days + 1, step)]
    return alt.Axis(
        values=values,
        labelExpr="utcFormat(datum.value, '%-d %b')",
        grid=False,
        domainColor=GRID,
        ticks=False,
        labelColor=MUTED,
        labelFontSize=11,
        labelPadding=6,
        labelOverlap=False,
        title=None,
    )


def _ticks(most: float) -> list[float]:
    """Return three to five round values from zero up to about `most`."""
    if most <= 0:
        return [0.0]
    size = 10.0 ** math.floor(math.log10(most))
    step = next(factor * size / 10 for factor in (1, 2, 2.5, 5, 10, 20, 25) if most / (factor * size / 10) < 4.5)
    return [step * index for index in range(math.floor(most * 1.1 / step) + 1)]


def _apart(spots: list[tuple[float, JourneyLine]], gap: float) -> list[tuple[float, JourneyLine]]:
    """Move label positions up, lowest first, until they stand at least `gap` apart."""
    placed: list[tuple[float, JourneyLine]] = []
    for spot, line in sorted(spots, key=lambda item: (item[0], item[1].journey)):
        lowest = placed[-1][0] + gap if placed else spot
        placed.append((max(spot, lowest), line))
    return placed


def svg(chart: alt.LayerChart, left: int, right: int, top: int, bottom: int, title: str, told: str) -> Markup:
    """Return a chart as SVG for a page, with margins in pixels around its plot; `title` and `told` are what a screen reader says."""
    chart = chart.properties(
        padding={"left": left, "right": right, "top": top, "bottom": bottom},
        autosize=alt.AutoSizeParams(type="none"),
        background="transparent",
    ).configure(font=FONT, view=alt.ViewConfig(stroke=None))
    text = vl_convert.vegalite_to_svg(chart.to_json(validate=False))
    size = re.search(r'width="(\d+(?:\.\d+)?)" height="(\d+(?:\.\d+)?)"', text)
    inside = text[text.index(">") + 1 : text.rindex("</svg>")].replace(' xmlns="http://www.w3.org/2000/svg"', "")
    inside = re.sub(r"<[^>]+>", _lean, inside)
    width, height = (size[1], size[2]) if size else ("0", "0")
    return Markup(
        f'<svg class="chart" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
        f"<title>{escape(title)}</title><desc>{escape(told)}</desc>{inside}</svg>"
    )


def _lean(tag: re.Match[str]) -> str:
    """Return a tag without what only a page of live charts uses; a tenth of a pixel is precise enough."""
    bare = re.sub(r' (aria-[a-z]+|role|class|pointer-events)="[^"]*"', "", tag[0])
    return re.sub(r' (d|transform)="[^"]*"', lambda found: re.sub(r"-?\d+\.\d{2,}", _tenth, found[0]), bare)


def _tenth(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")
