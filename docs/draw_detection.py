"""Draw the figures of docs/detection.md: seeded generated data through the real detector. `python docs/draw_detection.py` writes them.

Nothing is drawn by hand: every band, episode and sentence is what `detection.detect` and `reporting.series_plot` say of the data.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import altair as alt
import numpy as np
import numpy.typing as npt
import polars as pl

from aftercast.declarations import SignalRow
from aftercast.detection import Detection, detect
from aftercast.detection.episodes import ENTER
from aftercast.detection.series import MASKS, POINTS
from aftercast.histories import points_of
from aftercast.reporting.charts import ALARM, GRID, INK, LINE, MUTED, data, svg
from aftercast.reporting.history import EPISODES, INCIDENTS, History, Unit
from aftercast.reporting.plane import Plane
from aftercast.reporting.plot_file import stacked
from aftercast.reporting.series_plot import LEFT, RIGHT, Picture, picture
from aftercast.window import Window

Array = npt.NDArray[np.float64]

IMAGES = Path(__file__).parent / "images"
WIDTH, HEIGHT = 820, 150
START = datetime(2026, 10, 5, tzinfo=UTC)  # a Monday
DAY = timedelta(days=1)
REQUESTS = SignalRow(name="requests", fact="metric", value="requests", by=("service",), hurts="both")
ERRORS = SignalRow(
    name="error_ratio", fact="metric", numerator="errors", denominator="requests", by=("service",), hurts="up", minimum_effect=0.01
)
LATENCY = SignalRow(
    name="latency_p95_ms", fact="metric", value="latency_p95_ms", aggregate="mean", by=("service",), grain_minutes=15, hurts="up"
)
NO_MASKS = pl.DataFrame(schema=dict(MASKS))


def rhythm(n_days: int, per_day: int) -> Array:
    """A week of customers: quiet nights, busy evenings, slower weekends; 1 on average."""
    days = np.arange(n_days * per_day) / per_day
    weekend = np.where(np.floor(days) % 7 >= 5, 0.75, 1.0)
    return np.asarray(np.exp(0.7 * np.sin(2 * np.pi * (days - 0.4)) + 0.25 * np.sin(4 * np.pi * days)) * weekend / 1.1)


def at(day: int, clock: str, minutes: int = 0) -> datetime:
    """Return a time on day `day` (0: Monday, 5 October)."""
    hour, minute = clock.split(":")
    return START + day * DAY + timedelta(hours=int(hour), minutes=int(minute) + minutes)


def inside(start: datetime, end: datetime, grain: int, total: int) -> npt.NDArray[np.bool_]:
    times = np.arange(total) * grain
    return np.asarray((times >= (start - START).total_seconds() / 60) & (times < (end - START).total_seconds() / 60))


def points(signal: SignalRow, service: str, value: Array, numerator: Array | None = None, denominator: Array | None = None) -> pl.DataFrame:
    """Return what the star would hand to detection for one series."""
    grain = timedelta(minutes=signal.grain_minutes)
    rows = pl.DataFrame(
        {
            "bucket_at": [START + grain * number for number in range(len(value))],
            "value": value,
            "numerator": numerator,
            "denominator": denominator,
        }
    ).with_columns(pl.col("value").fill_nan(None))
    names = {"series_id": f"{signal.name}|environment=production|service={service}", "signal": signal.name, "subject_kind": "service"}
    names |= {"subject": service, "environment": "production", "region": "", "segment": "all"}
    rows = rows.with_columns(pl.lit(text).alias(name) for name, text in names.items())
    return rows.drop_nulls("value").select(pl.col(name).cast(kind) for name, kind in POINTS.items())


def ratio(random: np.random.Generator, service: str, per_bucket: float, share: Array) -> pl.DataFrame:
    load = random.poisson(per_bucket * rhythm(len(share) // 288, 288)).astype(float)
    failed = random.binomial(load.astype(int), share).astype(float)
    return points(ERRORS, service, np.divide(failed, load, out=np.full(len(load), np.nan), where=load > 0), failed, load)


def judged(rows: pl.DataFrame, signal: SignalRow, n_days: int, masks: pl.DataFrame = NO_MASKS) -> Detection:
    return detect(rows, [signal], masks, Window(START, START + n_days * DAY))


def history(found: Detection, window: Window, incidents: pl.DataFrame | None = None, unscored: pl.DataFrame | None = None) -> History:
    """Return the picture of the only series of a detection; `unscored` are points of before its first score."""
    episodes = found.anomalies.select(list(EPISODES))
    known = points_of(found.scores.sort("day_at"))
    if unscored is not None:
        early = unscored.filter(pl.col("bucket_at") < known["bucket_at"].min()).select("bucket_at", actual="value")
        known = pl.concat([early, known], how="diagonal")
    nothing = pl.DataFrame(schema=dict(INCIDENTS))
    return History(found.series_health["series_id"][0], window, window.end, known, episodes, nothing if incidents is None else incidents)


def drawn(histories: Sequence[History], height: int = HEIGHT) -> list[Picture]:
    return [picture(one, width=WIDTH, height=height) for one in histories]


def why() -> tuple[list[Picture], Detection]:
    """A fall that stays above what every night brings: no fixed limit sees it."""
    random = np.random.default_rng(5)
    usual = rhythm(28, 288) * 900
    fault = inside(at(24, "14:05"), at(24, "15:10"), 5, len(usual))
    slow = np.repeat(random.normal(size=len(usual) // 12), 12)
    found = judged(
        points(REQUESTS, "checkout", random.poisson(usual * np.exp(0.02 * slow) * np.where(fault, 0.6, 1.0)).astype(float)), REQUESTS, 28
    )
    return drawn([history(found, Window(at(22, "00:00"), at(26, "00:00")))], 190), found


def evidence(found: Detection) -> list[Picture]:
    """The same fall from points to surprise to evidence to an episode."""
    begin, end = at(24, "11:00"), at(24, "18:00")
    known = history(found, Window(begin, end))
    rows = (
        found.scores.with_columns(number=pl.int_ranges(pl.col("value").list.len()))
        .explode("number", "surprise", "short", "long")
        .select(pl.col("surprise", "short", "long").cast(pl.Float64), at=pl.col("day_at") + pl.duration(minutes=pl.col("number") * 5))
        .filter(pl.col("at").is_between(begin, end, closed="left"))
    )
    spans = found.anomalies.filter(pl.col("started_at").is_between(begin, end)).select("started_at", "ended_at").rows()
    first = picture(known, width=WIDTH, height=HEIGHT)
    surprise = panel(rows, {"surprise": INK}, {}, spans)
    sums = panel(rows, {"short": INK, "long": LINE}, {"threshold": ENTER, "": -ENTER}, spans)
    return [
        Picture("", "1. Points: what came, beside what was expected", first.caption, first.drawing),
        Picture(
            "",
            "2. Surprise: the distance in units of the usual noise at that time of day",
            "Between −2 and 2 is an ordinary point.",
            surprise,
        ),
        Picture(
            "",
            "3. Evidence: surprises summed over 15 minutes (short) and an hour (long), against how large such sums usually get",
            "An episode opens beyond the threshold and is trimmed to the points that carry it (red). One odd point cannot open one.",
            sums,
        ),
    ]


def panel(rows: pl.DataFrame, lines: dict[str, str], limits: dict[str, float], spans: Sequence[tuple[datetime, datetime]]) -> object:
    width = WIDTH - LEFT - RIGHT
    values = rows.select(list(lines)).unpivot()["value"].drop_nulls()
    low, high = min([float(values.min()), *limits.values()]), max([float(values.max()), *limits.values()])  # type: ignore[arg-type]
    frame = pl.DataFrame({"actual_low": [low], "actual_high": [high], "expected": [0.0], "low": [low], "high": [high]})
    plane = Plane.of(frame, rows["at"][0], rows["at"][-1] + timedelta(minutes=5), width, 110)
    layers = [
        alt.Chart(data([{"start": start.isoformat(), "end": end.isoformat()} for start, end in spans]))
        .mark_rect(color=ALARM, opacity=0.16)
        .encode(x=plane.x("start:T"), x2="end:T"),
        alt.Chart(data([{"value": limit} for limit in limits.values()]))
        .mark_rule(color=ALARM, strokeDash=[4, 3])
        .encode(y=plane.y("value:Q")),
        alt.Chart(data([{"value": 0.0}])).mark_rule(color=GRID).encode(y=plane.y("value:Q")),
    ]
    for number, (name, colour) in enumerate(lines.items()):
        known = rows.filter(pl.col(name).is_not_null() & pl.col(name).is_not_nan())
        line = [{"at": (moment + timedelta(minutes=2.5)).isoformat(), "value": value} for moment, value in known.select("at", name).rows()]
        y = plane.y("value:Q", Unit("", is_share=False))
        layers.append(alt.Chart(data(line)).mark_line(color=colour, strokeWidth=1.5).encode(x=plane.x("at:T", labelled=True), y=y))
        ends = {"text": name, "y": 0}
        mark = alt.Chart(data([ends])).mark_text(align="left", fontSize=11, color=colour if colour != INK else MUTED, clip=False)
        layers.append(mark.encode(x=alt.value(width + 6), y=alt.value(plane.pixel_y(0.0) - 7 + 14 * number), text="text:N"))
    named = [{"text": name, "value": limit} for name, limit in limits.items() if name]
    if named:
        mark = alt.Chart(data(named)).mark_text(align="left", fontSize=11, color=ALARM, clip=False)
        layers.append(mark.encode(x=alt.value(width + 6), y=plane.y("value:Q"), text="text:N"))
    return svg(alt.layer(*layers).properties(width=width, height=110), LEFT, RIGHT, 6, 24, "Evidence", "Drawn from generated data")


def masking() -> list[Picture]:
    """The second of two incidents, with the first masked from training and without."""
    n_days, per_day = 21, 96
    random = np.random.default_rng(18)
    slow = np.repeat(random.normal(size=n_days * per_day // 4), 4)
    usual = 180 * (0.9 + 0.15 * rhythm(n_days, per_day)) * np.exp(0.02 * slow + 0.02 * random.normal(size=n_days * per_day))
    spans = [(at(9, "09:00"), at(14, "06:00")), (at(17, "09:00"), at(18, "09:00"))]
    hit = np.zeros(len(usual), dtype=bool)
    for start, end in spans:
        hit |= inside(start, end, 15, len(usual))
    rows = points(LATENCY, "search", usual * np.where(hit, 1.12, 1.0))
    incidents = pl.DataFrame(
        [
            {"incident_id": f"INC-{number}", "title": "Search is slow", "started_at": start, "impact_end_at": end}
            for number, (start, end) in enumerate(spans, start=1)
        ]
    )
    said = {"kind": "incident", "environment": "production"}
    times = incidents.select(name="incident_id", started_at="started_at", ended_at="impact_end_at")
    masks = times.with_columns(pl.lit(said.get(name, "")).alias(name) for name in MASKS if name not in times.columns).select(list(MASKS))
    window = Window(at(12, "00:00"), at(19, "00:00"))
    both = []
    for known, words in ((masks.head(1), "With the first incident masked from training,"), (NO_MASKS, "Without masks")):
        found = judged(rows, LATENCY, n_days, known)
        seen = found.anomalies.filter((pl.col("started_at") < spans[1][1]) & (pl.col("ended_at") > spans[1][0]))
        shown = picture(history(found, window, incidents), width=WIDTH, height=HEIGHT)
        both.append(Picture("", f"{words} the second is {'seen' if seen.height else 'missed'}", shown.caption, shown.drawing))
    return both


def cold_start() -> list[Picture]:
    """The first days of a series: learned from before anything is judged, and judged widely at first."""
    random = np.random.default_rng(2)
    rows = points(LATENCY, "new-service", 95 * (0.8 + 0.3 * rhythm(14, 96)) * np.exp(0.06 * random.normal(size=14 * 96)))
    return drawn([history(judged(rows, LATENCY, 14), Window(START, START + 14 * DAY), unscored=rows)])


def counts() -> list[Picture]:
    """The same 0.5 % of failures at five requests a bucket and at two thousand; then a fault in the second."""
    random = np.random.default_rng(4)
    usual = np.full(21 * 288, 0.005)
    fault = np.where(inside(at(17, "14:05"), at(17, "15:00"), 5, len(usual)), 0.03, usual)
    window = Window(at(16, "12:00"), at(18, "12:00"))
    few, many = ratio(random, "admin", 5, usual), ratio(random, "checkout", 2000, fault)
    return drawn([history(judged(rows, ERRORS, 21), window) for rows in (few, many)], 120)


def main() -> None:
    first, found = why()
    figures = {"why": first, "evidence": evidence(found), "masking": masking(), "cold_start": cold_start(), "counts": counts()}
    for name, pictures in figures.items():
        path = IMAGES / f"detection_{name}.svg"
        path.write_text(stacked(pictures, WIDTH), encoding="utf-8")
        print(f"docs/images/{path.name} written, {path.stat().st_size / 1024:.0f} KB: {pictures[-1].finding}", file=sys.stderr)


if __name__ == "__main__":
    main()
