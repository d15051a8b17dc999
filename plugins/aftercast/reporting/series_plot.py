"""Draw one series as people read it: measured over expected with its 95 % band, episodes shaded, incidents as bars above, gaps left open.

Takes a `History` and nothing else. Colours are the fixed names of `charts`, which a page maps to light, dark and print. A span longer
than the picture is wide is drawn as the range of neighbouring points, so that no spike is averaged away.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import altair as alt
import polars as pl
from markupsafe import Markup

from aftercast.reporting import wording
from aftercast.reporting.charts import ALARM, BAND, GRID, INK, LINE, MUTED, OTHER, axis, data, svg
from aftercast.reporting.history import History, Peak, Unit, caption, checked, finding, peak, strongest

LEFT, RIGHT = 58, 64
LANE, LANES = 18, 3
CHARACTER = 6.1  # mean width in pixels of a character at 11 px
DOTS = 90  # up to so many measured points are dots, also outside episodes
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn series: its finding in a sentence, how to read it, and the SVG; None where there is nothing to draw."""

    series_id: str
    finding: str
    caption: str
    drawing: Markup | None


def picture(history: History, *, width: int, height: int = 190) -> Picture:
    """Draw a series.

    Args:
        history: what is known of it; need not be sorted or complete.
        width: of the drawing, in pixels; labels and ticks follow it.
        height: of its plot.

    Raises:
        AftercastError: a frame lacks a column or a time has no zone.
    """
    known = checked(history)
    title = finding(known)
    if known.points["actual"].null_count() == known.points.height:
        return Picture(history.series_id, title, caption(known), None)
    plot = width - LEFT - RIGHT
    rows, step = thinned(known.points, max(60, 2 * plot))
    told = caption(known, thinned=step)
    lanes = _lanes(known, plot)
    top = 16 + LANE * (max((lane for _, lane in lanes), default=-1) + 1)
    chart = alt.layer(*_layers(known, rows, step, plot, height, lanes)).properties(width=plot, height=height)
    return Picture(history.series_id, title, told, svg(chart, LEFT, RIGHT, top, 26, title, told))


def thinned(points: pl.DataFrame, most: int) -> tuple[pl.DataFrame, int]:
    """Return at most `most` rows with actual_low and actual_high beside the means, and how many points each stands for.

    A row is drawn as measured, expected or masked when any of its points is.
    """
    step = max(1, math.ceil(points.height / most))
    grouped = points.with_row_index("number").group_by(pl.col("number") // step, maintain_order=True)
    return grouped.agg(
        pl.col("bucket_at").first(),
        pl.col("actual").mean(),
        actual_low=pl.col("actual").min(),
        actual_high=pl.col("actual").max(),
        expected=pl.col("expected").mean(),
        low=pl.col("low").mean(),
        high=pl.col("high").mean(),
        is_masked=pl.col("is_masked").any(),
    ).drop("number"), step


def _layers(known: History, rows: pl.DataFrame, step: int, plot: int, height: int, lanes: Sequence[tuple[dict[str, Any], int]]) -> Any:
    window, grain = known.window, (known.grain or timedelta(0)) * step
    shown = [known.points["bucket_at"][0], known.points["bucket_at"][-1] + (known.grain or timedelta(0))]
    start, end = max(window.start, shown[0]), min(window.end, shown[1]) if shown[1] > shown[0] else window.end
    unit = Unit.of(known.series_id, known.points)
    lowest, highest = _range(rows)
    ticks = _ticks(lowest, highest)
    x_scale = alt.Scale(domain=[start.isoformat(), end.isoformat()], type="utc", clamp=True)
    domain = (min(lowest, ticks[0]), max(highest, ticks[-1]))
    y_scale = alt.Scale(domain=list(domain), nice=False, zero=False)
    x = alt.X("at:T", scale=x_scale, axis=_times(start, end, plot))
    y = alt.Y("value:Q", scale=y_scale, axis=axis(ticks, _tick_labels(ticks, unit), grid=True))
    span_x, span_x2 = alt.X("start:T", scale=x_scale), alt.X2("end:T")
    worst = strongest(known)
    top = peak(known.points, worst) if worst else None

    yield from _washes(known, rows, grain, height, span_x, span_x2)
    measured, band, line = [], [], []
    inside = _in_episode(known, rows, grain)
    run = episode = 0
    for row, hurting in zip(rows.iter_rows(named=True), inside, strict=True):
        at = (row["bucket_at"] + grain / 2).isoformat()
        run += row["actual"] is None or row["expected"] is None
        episode += not hurting
        if row["actual"] is not None:
            drawn = {"at": at, "value": row["actual"], "low": row["actual_low"], "high": row["actual_high"]}
            measured.append(drawn | {"run": run, "episode": f"{run} {episode}", "hurts": hurting})
        if row["expected"] is not None:
            line.append({"at": at, "value": row["expected"], "run": run})
            if row["low"] is not None and row["high"] is not None:
                band.append({"at": at, "value": max(row["low"], lowest), "high": min(row["high"], highest), "run": run})
    yield alt.Chart(data(band)).mark_area(color=LINE, opacity=0.17, line=False).encode(x=x, y=y, y2="high:Q", detail="run:N")
    yield alt.Chart(data(line)).mark_line(color=LINE, strokeWidth=1.7).encode(x=x, y=y, detail="run:N")
    yield from _measured(measured, step, x, y, y_scale)
    yield from _bars(lanes)
    yield from _words(measured, line, top, unit, domain, (x_scale, y_scale), plot, height)


def _washes(known: History, rows: pl.DataFrame, grain: timedelta, height: int, x: alt.X, x2: alt.X2) -> Iterator[alt.Chart]:
    """Grey where nothing was learned; red where an episode hurts, the redder the severer; a dashed frame where one is explained."""
    masked = [{"start": begin.isoformat(), "end": end.isoformat()} for begin, end in _spans(rows, grain)]
    if masked:
        yield alt.Chart(data(masked)).mark_rect(color=BAND).encode(x=x, x2=x2)
    hurting: list[dict[str, Any]] = []
    explained: list[dict[str, Any]] = []
    for row in known.episodes.filter(pl.col("hurts")).iter_rows(named=True):
        end = row["ended_at"] or known.as_of
        span = {"start": row["started_at"].isoformat(), "end": max(end, row["started_at"] + grain).isoformat(), "name": row["explained_by"]}
        (hurting if row["explained_by"] is None else explained).append(span | {"opacity": 0.1 + 0.16 * (row["score"] or 0.0)})
    if hurting:
        marks = alt.Chart(data(hurting)).mark_rect(color=ALARM)
        yield marks.encode(x=x, x2=x2, opacity=alt.Opacity("opacity:Q", scale=None, legend=None))
    if explained:
        yield alt.Chart(data(explained)).mark_rect(color=OTHER, fillOpacity=0.12, stroke=OTHER, strokeDash=[3, 3]).encode(x=x, x2=x2)
        named = alt.Chart(data(explained)).mark_text(align="left", baseline="bottom", dx=4, dy=-4, fontSize=11, color=MUTED)
        yield named.encode(x=x, y=alt.value(height), text="name:N")


def _spans(rows: pl.DataFrame, grain: timedelta) -> list[tuple[datetime, datetime]]:
    """Return the spans of neighbouring masked rows."""
    found: list[tuple[datetime, datetime]] = []
    for at in rows.filter("is_masked")["bucket_at"]:
        if found and at <= found[-1][1]:
            found[-1] = (found[-1][0], at + grain)
        else:
            found.append((at, at + grain))
    return found


def _in_episode(known: History, rows: pl.DataFrame, grain: timedelta) -> list[bool]:
    spans = [
        (start, end or known.as_of)
        for start, end in known.episodes.filter(pl.col("hurts") & pl.col("explained_by").is_null()).select("started_at", "ended_at").rows()
    ]
    return [any(at < end and at + max(grain, timedelta(microseconds=1)) > start for start, end in spans) for at in rows["bucket_at"]]


def _measured(rows: list[dict[str, Any]], step: int, x: alt.X, y: alt.Y, y_scale: alt.Scale) -> Iterator[alt.Chart]:
    """The measured values: a thin line, an envelope where points are merged, dots where there is room or a point stands alone."""
    red = [row for row in rows if row["hurts"]]
    for some, colour, run, width in ((rows, MUTED, "run:N", 1.1), (red, ALARM, "episode:N", 1.5)):
        if not some:
            continue
        chart = alt.Chart(data(some))
        if step > 1:
            envelope = chart.mark_area(color=colour, opacity=0.45, stroke=colour, strokeWidth=0.8, line=False)
            yield envelope.encode(x=x, y=alt.Y("low:Q", scale=y_scale), y2="high:Q", detail=run)
        else:
            yield chart.mark_line(color=colour, strokeWidth=width).encode(x=x, y=y, detail=run)
    alone = {run for run, n in Counter(row["run"] for row in rows).items() if n == 1}
    dots = [row for row in rows if len(rows) <= DOTS or row["run"] in alone or (row["hurts"] and len(red) <= DOTS)]
    if dots and step == 1:
        colours = alt.condition("datum.hurts", alt.value(ALARM), alt.value(MUTED))
        yield alt.Chart(data(dots)).mark_point(filled=True, size=13, opacity=1).encode(x=x, y=y, color=colours)


def _lanes(known: History, plot: int) -> list[tuple[dict[str, Any], int]]:
    """Give each incident a lane in which it meets no other; its label becomes the id, then nothing, where room is short."""
    points = known.points
    start, end = points["bucket_at"][0], points["bucket_at"][-1] + (known.grain or HOUR)
    per_pixel = (end - start) / plot
    lanes: list[list[tuple[float, float]]] = [[] for _ in range(LANES)]
    placed: list[tuple[dict[str, Any], int]] = []
    most = max(12, int(min(plot * 0.75, 300) / CHARACTER))
    for row in known.incidents.sort("concerns", "started_at", descending=[True, False]).iter_rows(named=True):
        until = row["impact_end_at"] or known.as_of
        first, last = max(0.0, (row["started_at"] - start) / per_pixel), min(float(plot), (until - start) / per_pixel)
        if first > plot or last < 0:
            continue
        last = max(last, first + 3)
        for text in (wording.shorten(f"{row['incident_id']} {row['title'] or ''}", most), wording.shorten(row["incident_id"], most)):
            length = len(text) * CHARACTER
            label = first if first + length <= plot + RIGHT - 6 else max(0.0, plot + RIGHT - 6 - length)
            left, right = min(first, label), max(last, label + length)
            lane = next((lane for lane, taken in enumerate(lanes) if all(right + 8 < a or left - 8 > b for a, b in taken)), None)
            if lane is not None:
                lanes[lane].append((left, right))
                placed.append(({"first": first, "last": last, "label": label, "text": text, "concerns": row["concerns"]}, lane))
                break
        else:  # no lane has room for its name, but it did happen
            placed.append(({"first": first, "last": last, "label": first, "text": "", "concerns": row["concerns"]}, 0))
    return placed


def _bars(lanes: Sequence[tuple[dict[str, Any], int]]) -> Iterator[alt.Chart]:
    for bar, lane in lanes:
        y = -7 - lane * LANE
        one, colour = alt.Chart(data([bar])), INK if bar["concerns"] else OTHER
        yield one.mark_rect(color=colour, clip=False).encode(
            x=alt.value(bar["first"]), x2=alt.value(bar["last"]), y=alt.value(y), y2=alt.value(y + 4)
        )
        named = one.mark_text(align="left", baseline="bottom", fontSize=11, color=INK if bar["concerns"] else MUTED, clip=False)
        yield named.encode(x=alt.value(bar["label"]), y=alt.value(y - 1), text="text:N")


def _words(
    measured: list[dict[str, Any]],
    line: list[dict[str, Any]],
    top: Peak | None,
    unit: Unit,
    domain: tuple[float, float],
    scales: tuple[alt.Scale, alt.Scale],
    plot: int,
    height: int,
) -> Iterator[alt.Chart]:
    """Name the two lines at their right ends, apart from each other, and write the value of the peak beside it."""
    low, high = domain
    ends = [("measured", measured[-1], MUTED)] + ([("expected", line[-1], LINE)] if line else [])
    spots = [height * (1 - (row["value"] - low) / (high - low)) for _, row, _ in ends]
    if len(ends) == 2 and abs(spots[0] - spots[1]) < 14:
        middle = min(max(sum(spots) / 2, 8), height - 8)
        up = 1 if spots[0] <= spots[1] else -1
        spots = [middle - 7 * up, middle + 7 * up]
    for (text, _, colour), spot in zip(ends, spots, strict=True):
        mark = alt.Chart(data([{"text": text}])).mark_text(align="left", fontSize=11, color=colour, clip=False)
        yield mark.encode(x=alt.value(plot + 6), y=alt.value(min(max(spot, 4), height - 4)), text="text:N")
    if top is not None:
        row = {"at": top.at.isoformat(), "value": top.actual, "text": unit.write(top.actual)}
        above = top.actual >= top.expected
        room = above or (top.actual - low) / (high - low) * height > 16
        place: dict[str, Any] = {"dy": -8 if above else 11} if room else {"align": "left", "dx": 7}
        dot = alt.Chart(data([row]))
        x, y = alt.X("at:T", scale=scales[0]), alt.Y("value:Q", scale=scales[1])
        yield dot.mark_text(fontSize=12, fontWeight=600, color=ALARM, clip=False, **place).encode(x=x, y=y, text="text:N")


def _range(rows: pl.DataFrame) -> tuple[float, float]:
    """Return what the vertical axis spans: all that was measured and expected, and as much of the band as does not dwarf it."""
    seen = [float(value) for name in ("actual_low", "actual_high", "expected") for value in rows[name].drop_nulls()]
    lowest, highest = min(seen), max(seen)
    reach = max(highest - lowest, 0.02 * max(abs(lowest), abs(highest)), 1e-12)
    ends = [float(value) for name in ("low", "high") for value in rows[name].drop_nulls()]
    floor, roof = min([*ends, lowest]), max([*ends, highest])
    lowest_shown, highest_shown = max(floor, lowest - 0.6 * reach), min(roof, highest + 0.6 * reach)
    if lowest >= 0 and lowest_shown < 0.35 * highest_shown:
        lowest_shown = 0.0
    else:
        lowest_shown -= 0.12 * reach
    return lowest_shown, highest_shown + 0.14 * reach


def _ticks(lowest: float, highest: float) -> list[float]:
    """Return three to five round values between two ends."""
    rough = (highest - lowest) / 4
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * size for factor in (1, 2, 2.5, 5, 10) if factor * size >= rough)
    first = math.ceil(lowest / step - 1e-9)
    return [float(f"{step * number:.10g}") for number in range(first, math.floor(highest / step + 1e-9) + 1)]


def _tick_labels(ticks: Sequence[float], unit: Unit) -> list[str]:
    if not unit.is_share:
        return [unit.write(tick) for tick in ticks]
    step = min((b - a for a, b in pairwise(ticks)), default=0.1) * 100
    digits = next((number for number in range(5) if abs(step * 10**number - round(step * 10**number)) < 1e-6), 4)
    return [f"{tick:.{digits}%}" for tick in ticks]


def _times(start: datetime, end: datetime, plot: int) -> alt.Axis:
    """Label hours, days or weeks, whichever leaves each label room."""
    room = max(2, plot // 78)
    choices = [timedelta(minutes=minutes) for minutes in (15, 30, 60, 120, 180, 360, 720)] + [DAY * n for n in (1, 2, 7, 14, 28, 91, 365)]
    step = next((choice for choice in choices if (end - start) / choice <= room), choices[-1])
    origin = datetime(2001, 1, 1, tzinfo=start.tzinfo)  # a Monday
    first = origin + math.ceil((start - origin) / step) * step
    values = [(first + step * number).timestamp() * 1000 for number in range(int((end - first) / step) + 1)] if first <= end else []
    dated = f"utchours(datum.value) + utcminutes(datum.value) == 0 || datum.value == {values[0] if values else 0}"
    hourly = f"{dated} ? utcFormat(datum.value, '%-d %b %H:%M') : utcFormat(datum.value, '%H:%M')"
    return alt.Axis(
        values=values,
        labelExpr=hourly if step < DAY else "utcFormat(datum.value, '%-d %b')" if step < 300 * DAY else "utcFormat(datum.value, '%Y')",
        grid=False,
        domainColor=GRID,
        ticks=True,
        tickColor=GRID,
        tickSize=4,
        labelColor=MUTED,
        labelFontSize=11,
        labelPadding=4,
        labelOverlap=False,
        title=None,
    )
