"""What a picture of one series shows, as frames, and the sentences that state what it found.

A series names itself (`error_ratio|environment=production|service=wallet|region=eu`), so words need nothing but its id. What is not known
is said: a series without a model has a reason, a missing bucket stays missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from aftercast.entities import FLAG, NUMBER, TEXT, TIME, ColumnType
from aftercast.errors import AftercastError
from aftercast.reporting import wording
from aftercast.window import Window

POINTS: dict[str, ColumnType] = {
    "bucket_at": TIME,
    "actual": NUMBER,
    "expected": NUMBER,
    "low": NUMBER,
    "high": NUMBER,
    "is_masked": FLAG,
}
EPISODES: dict[str, ColumnType] = {
    "started_at": TIME,
    "ended_at": TIME,
    "direction": TEXT,
    "hurts": FLAG,
    "score": NUMBER,
    "explained_by": TEXT,
    "trained_until": TIME,
}
INCIDENTS: dict[str, ColumnType] = {"incident_id": TEXT, "title": TEXT, "concerns": FLAG, "started_at": TIME, "impact_end_at": TIME}

UNITS = {"ms": "ms", "s": "s", "seconds": "s", "minutes": "min", "bytes": "B"}
SUBJECTS = ("service", "journey")
LEAST_DAYS = 7  # scoring starts after them; said where no reason is given


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """One series over a span; equal when every value is.

    Attributes:
        window: the span shown. as_of: where the data ends.
        points: `POINTS`; a bucket that is absent is missing, expected is null where nothing was judged.
        episodes: `EPISODES`; ended_at null: still open; explained_by null: by nothing known.
        incidents: `INCIDENTS`; `concerns` false: of something else at the same time; impact_end_at null: still open.
        reason: why the series is not judged, when it is not; as `series_health` says it.
        grain: length of a bucket; None: the usual distance of the points.
        about: start of the episode the picture is about; None: the severest one.
    """

    series_id: str
    window: Window
    as_of: datetime
    points: pl.DataFrame
    episodes: pl.DataFrame
    incidents: pl.DataFrame
    reason: str = ""
    grain: timedelta | None = None
    about: datetime | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        pairs = [(getattr(self, one.name), getattr(other, one.name)) for one in fields(self)]
        return all(mine.equals(its) if isinstance(mine, pl.DataFrame) else mine == its for mine, its in pairs)

    __hash__ = None  # type: ignore[assignment]  # frames have none


def checked(history: History) -> History:
    """Return a history with sorted frames of the right columns, only what overlaps its window, and a bucket for every grain.

    Buckets given twice are averaged, infinite values are missing; optional columns are filled with nulls, `hurts` and `concerns` with true.

    Raises:
        AftercastError: a column is missing, or a time has no zone; names the series.
    """
    points = _typed(history, "points", history.points, POINTS, optional=("is_masked",)).with_columns(
        pl.col("is_masked").fill_null(value=False), pl.col(pl.Float64).replace({math.inf: None, -math.inf: None}).fill_nan(None)
    )
    inside = points.filter(pl.col("bucket_at").is_between(history.window.start, history.window.end, closed="left"))
    merged = inside.group_by("bucket_at").agg(pl.col(pl.Float64).mean(), pl.col("is_masked").any()).sort("bucket_at").select(list(POINTS))
    grain = history.grain or _grain(merged)
    if grain and merged.height > 1:
        every = pl.datetime_range(merged["bucket_at"][0], merged["bucket_at"][-1], grain, time_unit="us", time_zone="UTC", eager=True)
        on_grid = pl.DataFrame({"bucket_at": every})
        merged = on_grid.join(merged, on="bucket_at", how="full", coalesce=True).sort("bucket_at")
        merged = merged.with_columns(pl.col("is_masked").fill_null(strategy="forward"))
    episodes = _typed(
        history, "episodes", history.episodes, EPISODES, optional=("hurts", "ended_at", "score", "explained_by", "trained_until")
    )
    episodes = _overlapping(episodes.with_columns(pl.col("hurts").fill_null(value=True)), "ended_at", history)
    incidents = _typed(history, "incidents", history.incidents, INCIDENTS, optional=("title", "concerns", "impact_end_at"))
    incidents = incidents.with_columns(pl.col("concerns").fill_null(value=True))
    incidents = _overlapping(incidents.unique("incident_id", keep="first", maintain_order=True), "impact_end_at", history)
    return replace(history, points=merged, episodes=episodes, incidents=incidents, grain=grain)


def _typed(history: History, what: str, frame: pl.DataFrame, schema: dict[str, ColumnType], *, optional: tuple[str, ...]) -> pl.DataFrame:
    missing = [name for name in schema if name not in frame.columns and name not in optional]
    if missing:
        raise AftercastError(f"{what} of series {history.series_id!r} lack {', '.join(missing)}; a picture needs {', '.join(schema)}")
    for name, kind in schema.items():
        found = frame.schema.get(name)
        if kind == TIME and isinstance(found, pl.Datetime) and found.time_zone is None:
            raise AftercastError(f"{what} of series {history.series_id!r}: {name!r} has no time zone; it is not guessed")
    return frame.select((pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name) for name, kind in schema.items())


def _overlapping(spans: pl.DataFrame, end: str, history: History) -> pl.DataFrame:
    until = pl.col(end).fill_null(max(history.as_of, history.window.end))
    return spans.filter((pl.col("started_at") < history.window.end) & (until > history.window.start)).sort("started_at")


def _grain(points: pl.DataFrame) -> timedelta | None:
    """Return the usual distance of points: the lower quartile, so that gaps do not count."""
    steps = points["bucket_at"].diff().drop_nulls().sort()
    found: timedelta | None = steps[len(steps) // 4] if len(steps) else None
    return found


def parts(series_id: str) -> tuple[str, dict[str, str]]:
    """Return the signal a series id starts with, and the places it names."""
    signal, *named = series_id.split("|")
    return signal, dict(part.split("=", 1) for part in named if "=" in part)


def series_words(series_id: str) -> str:
    """Name a series for people, e.g. `wallet error ratio in eu`."""
    signal, places = parts(series_id)
    subject = next((places.pop(kind) for kind in SUBJECTS if kind in places), "")
    tokens = signal.split("_")
    tokens = tokens[:-1] if tokens[-1] in UNITS and len(tokens) > 1 else tokens
    step, environment = places.pop("step", ""), places.pop("environment", "")
    words = " ".join(word for word in (subject.replace("_", " "), step.replace("_", " "), " ".join(tokens)) if word)
    others = [*places.values(), *([environment] if environment not in ("", "production") else [])]
    return f"{words} in {', '.join(others)}" if others else words


@dataclass(frozen=True, slots=True)
class Unit:
    """How values of a series are written."""

    name: str
    is_share: bool

    @classmethod
    def of(cls, series_id: str, points: pl.DataFrame) -> Unit:
        """A unit stands last in the name of a signal; values that all lie between 0 and 1 and are not whole are shares."""
        last = parts(series_id)[0].rsplit("_", 1)[-1]
        values = points.select(pl.concat_list("actual", "expected").explode().drop_nulls()).to_series()
        bounded = len(values) > 0 and bool(values.is_between(0, 1).all()) and not bool((values == values.round()).all())
        return cls(UNITS.get(last, ""), last not in UNITS and (bounded or last == "ratio"))

    def write(self, value: float) -> str:
        """Return e.g. `12%`, `0.42%`, `340 ms`, `3,040 ms`, `12.3k`."""
        if self.is_share:
            away = min(abs(value), abs(1 - value)) if abs(value) <= 1 else 1.0
            return wording.percent(value, 0 if away >= 0.095 or away == 0 else min(4, 1 - math.floor(math.log10(away * 100))))
        number = f"{value:.3g}" if abs(value) < 999.5 else f"{float(f'{value:.3g}'):,.0f}" if abs(value) < 9995 else wording.amount(value)
        return f"{number.replace('-', '−')} {self.name}".rstrip()

    def write_range(self, low: float, high: float) -> str:
        """Return e.g. `0.42–1.1%`, `324–411 ms`."""
        return wording.between(self.write(low).removesuffix(f" {self.name}") if self.name else self.write(low), self.write(high))


@dataclass(frozen=True, slots=True)
class Peak:
    """The point of an episode furthest from what was expected."""

    at: datetime
    actual: float
    expected: float
    low: float
    high: float


def peak(points: pl.DataFrame, episode: dict[str, Any]) -> Peak | None:
    """Return the point of an episode that lies furthest from what was expected, in the episode's direction; None without points."""
    until = episode["ended_at"] or datetime.max.replace(tzinfo=UTC)
    inside = points.filter((pl.col("bucket_at") >= episode["started_at"]) & (pl.col("bucket_at") < until)).drop_nulls(
        ["actual", "expected", "low", "high"]
    )
    if inside.is_empty():
        return None
    away = inside["actual"] - inside["expected"]
    row = inside.row(int((away if episode["direction"] == "up" else -away).arg_max() or 0), named=True)
    return Peak(row["bucket_at"], row["actual"], row["expected"], row["low"], row["high"])


def strongest(history: History) -> dict[str, Any] | None:
    """Return the episode the picture is about: the severest that hurts and that no known time explains; the earliest of equals."""
    if history.about is not None:
        chosen = history.episodes.filter(pl.col("started_at") == history.about).sort("score", descending=True, nulls_last=True)
        if chosen.height:
            return chosen.row(0, named=True)
    hurting = history.episodes.filter(pl.col("hurts") & pl.col("explained_by").is_null())
    ranked = hurting.sort("score", "started_at", descending=[True, False], nulls_last=True)
    return ranked.row(0, named=True) if ranked.height else None


def time_span(start: datetime, end: datetime | None) -> str:
    """Return e.g. `Tue 3 Nov 14:05–15:10`, `Tue 3 Nov 22:10 – Wed 4 Nov 01:05`, `since Tue 3 Nov 14:05`."""
    if end is None:
        return f"since {wording.day_and_time(start)}"
    if start.date() == end.date():
        return f"{wording.day_and_time(start)}–{end:%H:%M}"
    return f"{wording.day_and_time(start)} – {wording.day_and_time(end)}"


def finding(history: History) -> str:
    """State in one sentence what the picture shows (of a checked history)."""
    name = _capital(series_words(history.series_id))
    shown = history.points.filter(pl.col("actual").is_not_null())
    judged = shown.filter(pl.col("expected").is_not_null())
    first, last = wording.day(history.window.start), wording.day(history.window.end - timedelta(minutes=1))
    span = first if first == last else f"{first} to {last}"
    if shown.is_empty() and not history.reason:
        return f"{name} has no data, {span}"
    if judged.is_empty():
        n_days = shown["bucket_at"].dt.date().n_unique()
        return f"{name} is not judged: {history.reason or f'not enough data, {n_days} of {LEAST_DAYS} days'}"
    unit = Unit.of(history.series_id, history.points)
    episode = strongest(history)
    top = peak(history.points, episode) if episode else None
    if episode and top:
        did = "reached" if episode["direction"] == "up" else "fell to"
        usual = unit.write_range(top.low, top.high)
        when = time_span(episode["started_at"], episode["ended_at"])
        return f"{name} {did} {unit.write(top.actual)} where {usual} was expected, {when}"
    explained = history.episodes.filter(pl.col("explained_by").is_not_null())
    within = int(judged.select(pl.col("actual").is_between("low", "high")).to_series().sum() or 0)
    if explained.height:
        return f"{name} differed, as {wording.listing(explained['explained_by'].unique().sort().to_list())} explains, {span}"
    return f"{name} stayed as expected, {span}: {wording.percent(within / judged.height)} of points in the interval"


def caption(history: History, *, thinned: int = 1) -> str:
    """Say how to read the picture of a checked history: what the marks are, what is missing, what it was learned from."""
    points = history.points
    if points["actual"].null_count() == points.height:
        return f"Data to {wording.day_and_time(history.as_of)}, UTC"
    minutes = round(history.grain.total_seconds() / 60) if history.grain else 0
    size = wording.minutes(minutes) if minutes else "one point"
    texts = [f"Measured every {size}" + (f", drawn as the range of {thinned} points" if thinned > 1 else "")]
    if points["expected"].is_not_null().any():
        texts[0] += "; blue line expected, blue band its 95% interval"
    episodes = history.episodes.filter(pl.col("hurts") & pl.col("explained_by").is_null())
    if episodes.height:
        severest = episodes["score"].max()
        known = f", severity {severity(float(severest))}" if isinstance(severest, (int, float)) else ""
        one = "Shaded red: the episode" if episodes.height == 1 else f"Shaded red: {episodes.height} episodes, the worst"
        texts.append(f"{one}{known}")
        trained = (strongest(history) or {}).get("trained_until")
        if trained is not None:
            texts.append(f"The model had learned up to {wording.day_and_time(trained)}")
    if points["is_masked"].any():
        texts.append("Grey: not learned from")
    missing = int(points["actual"].null_count())
    if missing:
        texts.append(f"Gaps: {wording.count(missing, 'point')} missing")
    return f"{'. '.join(texts)}. Times UTC, data to {wording.day_and_time(history.as_of)}"


def severity(score: float) -> str:
    """Return a severity, which never reaches 1."""
    return "over 0.99" if score > 0.99 else f"{score:.2f}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
