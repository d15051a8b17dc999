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
from typing import Any

import altair as alt
import polars as pl
from markupsafe import Markup

from aftercast.reporting import wording
from aftercast.reporting.charts import ALARM, BAND, INK, LINE, MUTED, OTHER, data, svg
from aftercast.reporting.history import History, Unit, caption, checked, finding, peak, strongest
from aftercast.reporting.plane import Plane

LEFT, RIGHT = 58, 64
LANE, LANES = 18, 3
CHARACTER = 6.1  # mean width in pixels of a character at 11 px
DOTS = 90  # up to so many measured points are dots, also outside episodes
HOUR = timedelta(hours=1)

Row = dict[str, Any]


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
    grain = known.grain or HOUR
    plane = Plane.of(rows, known.points["bucket_at"][0], known.points["bucket_at"][-1] + grain, plot, height)
    bars = _bars(known, plane)
    top = 16 + LANE * (max((bar["lane"] for bar in bars), default=-1) + 1)
    chart = alt.layer(*_layers(known, rows, step, plane, bars)).properties(width=plot, height=height)
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


def _layers(known: History, rows: pl.DataFrame, step: int, plane: Plane, bars: Sequence[Row]) -> Iterator[alt.Chart]:
    grain = (known.grain or timedelta(0)) * step
    x, y = plane.x("at:T", labelled=True), plane.y("value:Q", Unit.of(known.series_id, known.points))
    measured: list[Row] = []
    expected: list[Row] = []
    run = model = episode = 0
    for row, hurts in zip(rows.iter_rows(named=True), _in_episode(known, rows, grain), strict=True):
        at = (row["bucket_at"] + grain / 2).isoformat()
        run += row["actual"] is None
        model += row["expected"] is None
        episode += not hurts
        if row["actual"] is not None:
            drawn = {"at": at, "value": row["actual"], "low": row["actual_low"], "high": row["actual_high"]}
            measured.append(drawn | {"run": run, "episode": f"{run} {episode}", "hurts": hurts})
        if row["expected"] is not None:
            low, high = (row["expected"] if row[end] is None else row[end] for end in ("low", "high"))
            expected.append({"at": at, "value": row["expected"], "low": max(low, plane.low), "high": min(high, plane.high), "run": model})
    yield from _washes(known, rows, grain, plane)
    line = alt.Chart(data(expected))
    yield line.mark_area(color=LINE, opacity=0.17, line=False).encode(x=x, y=plane.y("low:Q"), y2="high:Q", detail="run:N")
    yield line.mark_line(color=LINE, strokeWidth=1.7).encode(x=x, y=y, detail="run:N")
    yield from _measured(measured, step, plane)
    if bars:
        incidents, colour = alt.Chart(data(list(bars))), alt.Color("colour:N", scale=None, legend=None)
        yield incidents.mark_rect(clip=False).encode(x=plane.x("start:T"), x2="end:T", y=plane.y("bottom:Q"), y2="top:Q", color=colour)
        names = incidents.mark_text(align="left", baseline="bottom", dy=-1, fontSize=11, clip=False)
        yield names.encode(x=plane.x("label:T"), y=plane.y("top:Q"), text="text:N", color=alt.Color("ink:N", scale=None, legend=None))
    yield from _names(measured, expected, plane)
    yield from _peak(known, plane)


def _washes(known: History, rows: pl.DataFrame, grain: timedelta, plane: Plane) -> Iterator[alt.Chart]:
    """Grey where nothing was learned; red where an episode hurts, the redder the severer; a dashed frame where one is explained."""
    x, x2 = plane.x("start:T"), alt.X2("end:T")
    masked = [{"start": begin.isoformat(), "end": end.isoformat()} for begin, end in _spans(rows, grain)]
    if masked:
        yield alt.Chart(data(masked)).mark_rect(color=BAND).encode(x=x, x2=x2)
    hurting: list[Row] = []
    explained: list[Row] = []
    for row in known.episodes.filter(pl.col("hurts") | pl.col("explained_by").is_not_null()).iter_rows(named=True):
        end = row["ended_at"] or known.as_of
        span = {"start": row["started_at"].isoformat(), "end": max(end, row["started_at"] + grain).isoformat(), "name": row["explained_by"]}
        (hurting if row["explained_by"] is None else explained).append(span | {"opacity": round(0.1 + 0.16 * (row["score"] or 0.0), 3)})
    if hurting:
        marks = alt.Chart(data(hurting)).mark_rect(color=ALARM)
        yield marks.encode(x=x, x2=x2, opacity=alt.Opacity("opacity:Q", scale=None, legend=None))
    if masked:  # a strip that an episode over it does not hide
        strip = alt.Chart(data(masked)).mark_rect(color=OTHER)
        yield strip.encode(x=x, x2=x2, y=alt.value(plane.height - 4), y2=alt.value(plane.height))
    if explained:
        yield alt.Chart(data(explained)).mark_rect(color=OTHER, fillOpacity=0.12, stroke=OTHER, strokeDash=[3, 3]).encode(x=x, x2=x2)
        named = alt.Chart(data(explained)).mark_text(align="left", baseline="bottom", dx=4, dy=-4, fontSize=11, color=MUTED)
        yield named.encode(x=x, y=alt.value(plane.height), text="name:N")


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


def _measured(rows: list[Row], step: int, plane: Plane) -> Iterator[alt.Chart]:
    """The measured values: a thin line, an envelope where points are merged, dots where there is room or a point stands alone."""
    x, y = plane.x("at:T"), plane.y("value:Q")
    red = [row for row in rows if row["hurts"]]
    for some, colour, run, width in ((rows, MUTED, "run:N", 1.1), (red, ALARM, "episode:N", 1.5)):
        if not some:
            continue
        chart = alt.Chart(data(some))
        if step > 1:
            envelope = chart.mark_area(color=colour, opacity=0.45, stroke=colour, strokeWidth=0.8, line=False)
            yield envelope.encode(x=x, y=plane.y("low:Q"), y2="high:Q", detail=run)
        else:
            yield chart.mark_line(color=colour, strokeWidth=width).encode(x=x, y=y, detail=run)
    alone = {run for run, n in Counter(row["run"] for row in rows).items() if n == 1}
    dots = [row for row in rows if len(rows) <= DOTS or row["run"] in alone or (row["hurts"] and len(red) <= DOTS)]
    if dots and step == 1:
        colours = alt.condition("datum.hurts", alt.value(ALARM), alt.value(MUTED))
        yield alt.Chart(data(dots)).mark_point(filled=True, size=13, opacity=1).encode(x=x, y=y, color=colours)


def _bars(known: History, plane: Plane) -> list[Row]:
    """Give each incident a lane in which it meets no other; its label becomes the id, then nothing, where room is short."""
    lanes: list[list[tuple[float, float]]] = [[] for _ in range(LANES)]
    right_edge = plane.width + RIGHT - 6
    most = max(12, int(min(plane.width * 0.75, 300) / CHARACTER))
    bars: list[Row] = []
    for row in known.incidents.sort("concerns", "started_at", descending=[True, False]).iter_rows(named=True):
        first = max(0.0, plane.pixel_x(row["started_at"]))
        last = max(first + 3, min(float(plane.width), plane.pixel_x(row["impact_end_at"] or known.as_of)))
        if first > plane.width:
            continue
        name = row["incident_id"]
        chosen, lane, label = "", 0, first  # where no lane has room for its name: it did happen
        for text in (wording.shorten(f"{name} {row['title'] or ''}", most), wording.shorten(name, most)):
            length = len(text) * CHARACTER
            begin = first if first + length <= right_edge else max(0.0, right_edge - length)
            left, right = min(first, begin) - 8, max(last, begin + length) + 8
            free = next((number for number, taken in enumerate(lanes) if all(right < a or left > b for a, b in taken)), None)
            if free is not None:
                lanes[free].append((left + 8, right - 8))
                chosen, lane, label = text, free, begin
                break
        top = -7 - LANE * lane
        colours = {"colour": INK, "ink": INK} if row["concerns"] else {"colour": OTHER, "ink": MUTED}
        place = {"start": plane.at(first), "end": plane.at(last), "label": plane.at(label)}
        bars.append(place | {"top": plane.value(top), "bottom": plane.value(top + 4), "text": chosen, "lane": lane} | colours)
    return bars


def _names(measured: list[Row], expected: list[Row], plane: Plane) -> Iterator[alt.Chart]:
    """Name the two lines at their right ends, apart from each other."""
    ends = [("measured", measured[-1], MUTED)] + ([("expected", expected[-1], LINE)] if expected else [])
    spots = [plane.pixel_y(row["value"]) for _, row, _ in ends]
    if len(ends) == 2 and abs(spots[0] - spots[1]) < 14:
        middle = min(max(sum(spots) / 2, 8), plane.height - 8)
        up = 1 if spots[0] <= spots[1] else -1
        spots = [middle - 7 * up, middle + 7 * up]
    for (text, _, colour), spot in zip(ends, spots, strict=True):
        mark = alt.Chart(data([{"text": text}])).mark_text(align="left", fontSize=11, color=colour, clip=False)
        yield mark.encode(x=alt.value(plane.width + 6), y=alt.value(min(max(spot, 4), plane.height - 4)), text="text:N")


def _peak(known: History, plane: Plane) -> Iterator[alt.Chart]:
    """Write the value of the severest episode's peak beside it: above a rise, below a fall, at its side where there is no room."""
    worst = strongest(known)
    top = peak(known.points, worst) if worst else None
    if top is None:
        return
    above = top.actual >= top.expected
    beside = not above and plane.height - plane.pixel_y(top.actual) <= 16
    place: dict[str, Any] = {"align": "left", "dx": 7} if beside else {"dy": -8 if above else 11}
    row = {"at": top.at.isoformat(), "value": top.actual, "text": Unit.of(known.series_id, known.points).write(top.actual)}
    mark = alt.Chart(data([row])).mark_text(fontSize=12, fontWeight=600, color=ALARM, clip=False, **place)
    yield mark.encode(x=plane.x("at:T"), y=plane.y("value:Q"), text="text:N")
