"""Scores of every series and day, kept as rows and used again while nothing they depend on has changed.

A day's scores are a function of the buckets of the day and of the history before it (values, both sides of a ratio, masks, events). The
fingerprint of a row covers exactly these, so a kept row with the same fingerprint is what scoring would give again: an increment equals
a rebuild, and one more hour costs one more day of scoring. Changed code is not covered; whoever keeps rows keeps them per code version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from aftercast.detection.known_times import Events
from aftercast.detection.scoring import Cut, Grid, ScoredDay, score_day
from aftercast.detection.series import Panel
from aftercast.entities import COUNT, FLAG, TEXT, TIME, ColumnType

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

LARGEST = 1e30  # of a surprise; more says no more
LINES = {
    "expected": pl.List(pl.Float64()),
    "scale": pl.List(pl.Float64()),
    "surprise": pl.List(pl.Float32()),
    "short": pl.List(pl.Float32()),
    "long": pl.List(pl.Float32()),
}
SCORES: dict[str, ColumnType | pl.List] = {
    "series_id": TEXT,
    "signal": TEXT,
    "day_at": TIME,  # first bucket scored; history ends here
    "grain_minutes": COUNT,
    "fingerprint": TEXT,
    "non_negative": FLAG,
    "share": FLAG,
    "trained_from": TIME,  # null without a model
    "n_training": COUNT,
    "parameters": TEXT,  # JSON, null without a model
    "data_fingerprint": TEXT,
    "value": pl.List(pl.Float64()),
    "is_masked": pl.List(pl.Boolean()),
    **LINES,
}
"""One row per series and day; the lists hold one element per bucket from `day_at` on, NaN where missing or not scored."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of a panel.

    Attributes:
        cuts: the refits in order; a day is known by the number of its cut.
        expected, scale, surprise, short, long: (N, T), see `scoring.ScoredDay`.
        rows: columns of SCORES, ordered by day, then by series as in the panel.
        models: [day][series] what `rows` knows beside its lists.
        is_new: (D,) days of which at least one row was not kept.
    """

    cuts: tuple[Cut, ...]
    expected: Array
    scale: Array
    surprise: Array
    short: Array
    long: Array
    rows: pl.DataFrame
    models: list[list[dict[str, Any]]]
    is_new: Flags


def no_scores() -> pl.DataFrame:
    """Return a frame of no kept scores."""
    return pl.DataFrame(schema=dict(SCORES))


def score(panel: Panel, mask: Flags, events: Events, kept: pl.DataFrame) -> Scored:
    """Score every day of a panel after the warm-up, or take it from `kept` (columns of SCORES).

    `mask` (N, T) marks points nothing may be learned from; those in `events` only teach what events usually do.
    """
    cuts = Grid.of(panel).cuts()
    n_series, n_buckets = panel.value.shape
    lines = {name: np.full((n_series, n_buckets), np.nan) for name in LINES}
    series_ids = panel.identity["series_id"].to_list()
    own = kept.filter((pl.col("signal") == panel.signal.name) & pl.col("series_id").is_in(series_ids)) if kept.height else kept
    place = {key: number for number, key in enumerate(own.select("series_id", "day_at", "fingerprint").iter_rows())}
    prints, masked = _fingerprints(panel, mask, events, cuts), mask | events.masked
    days, is_new = [], np.zeros(len(cuts), dtype=bool)
    for number, cut in enumerate(cuts):
        found = [place.get((name, panel.at(cut.until), mark), -1) for name, mark in zip(series_ids, prints[number], strict=True)]
        missing = np.flatnonzero(np.array(found) < 0)
        parts = [_taken(own, np.array([one for one in found if one >= 0], dtype=np.intp))]
        if len(missing):
            is_new[number] = True
            slice_ = panel.take(missing).between(cut.first, cut.next)
            own_events = events.take(missing).between(cut.first, cut.next)
            scored = score_day(slice_, mask[missing, cut.first : cut.next], own_events, cut.until - cut.first)
            parts.append(_rows(slice_, masked[missing, cut.until : cut.next], cut, scored, [prints[number][one] for one in missing]))
        origin = np.concatenate([np.flatnonzero(np.array(found) >= 0), missing])
        rows = _taken(pl.concat(parts), np.argsort(origin))
        days.append(rows)
        for name, line in lines.items():
            line[:, cut.until : cut.next] = rows[name].explode().to_numpy().reshape(n_series, cut.next - cut.until)
    facts = [name for name, kind in SCORES.items() if not isinstance(kind, pl.List)]
    return Scored(
        tuple(cuts),
        **lines,
        rows=pl.concat(days) if days else no_scores(),
        models=[rows.select(facts).rows(named=True) for rows in days],
        is_new=is_new,
    )


def _taken(rows: pl.DataFrame, places: npt.NDArray[np.intp]) -> pl.DataFrame:
    """Return rows by their places; rows that lie side by side are not copied."""
    if len(places) and (np.diff(places) == 1).all():
        return rows.slice(int(places[0]), len(places))
    return rows[places]


def _rows(panel: Panel, masked: Flags, cut: Cut, scored: ScoredDay, prints: Sequence[str]) -> pl.DataFrame:
    past = cut.until - cut.first
    models = [_model(panel, scored, series) for series in range(len(prints))]
    names = ("trained_from", "n_training", "parameters", "data_fingerprint")
    columns: dict[str, Any] = {
        "series_id": panel.identity["series_id"],
        "signal": [panel.signal.name] * len(prints),
        "day_at": [panel.at(past)] * len(prints),
        "grain_minutes": [panel.grain_minutes] * len(prints),
        "fingerprint": prints,
        "non_negative": scored.non_negative,
        "share": scored.share,
        **{name: [model[name] for model in models] for name in names},
        "value": panel.value[:, past:],
        "is_masked": masked,
        "expected": scored.expected,
        "scale": scored.scale,
        **{name: np.clip(getattr(scored, name), -LARGEST, LARGEST).astype(np.float32) for name in ("surprise", "short", "long")},
    }
    return pl.DataFrame([_column(name, columns[name], kind) for name, kind in SCORES.items()])


def _column(name: str, values: Any, kind: ColumnType | pl.List) -> pl.Series:
    if isinstance(kind, pl.List):
        return pl.Series(name, np.ascontiguousarray(values)).cast(kind)
    return pl.Series(name, values, dtype=kind)


def _model(panel: Panel, scored: ScoredDay, series: int) -> dict[str, Any]:
    model = scored.model
    if not model.ok[series]:
        return {"trained_from": None, "n_training": 0, "parameters": None, "data_fingerprint": None}
    started = datetime.fromtimestamp(model.start(series) // 60 * 60, tz=UTC)
    return {
        "trained_from": max(panel.start, started),
        "n_training": int(model.n_points[series]),
        "parameters": json.dumps(model.parameters(series), sort_keys=True, allow_nan=False),
        "data_fingerprint": hashlib.sha256(np.ascontiguousarray(scored.blocks[series]).tobytes()).hexdigest()[:16],
    }


def _fingerprints(panel: Panel, mask: Flags, events: Events, cuts: Sequence[Cut]) -> list[list[str]]:
    """Return the fingerprint of each series for each cut: of its values, masks and events in [first, next)."""
    day = 1440 // panel.grain_minutes
    sides = [side for side in (panel.value, panel.numerator, panel.denominator) if side is not None]
    starts = range(0, panel.value.shape[1], day)
    daily = [[_digest(mask, events, sides, series, start, start + day) for start in starts] for series in range(len(panel.value))]
    head = f"{panel.signal.aggregate}|{len(sides)}|{panel.grain_minutes}|".encode()
    prints = []
    for cut in cuts:
        span = slice(cut.first // day, -(-cut.next // day))
        own = head + f"{panel.at(cut.first).isoformat()}|{cut.until - cut.first}|{cut.next - cut.until}".encode()
        prints.append([hashlib.blake2b(own + b"".join(line[span]), digest_size=12).hexdigest() for line in daily])
    return prints


def _digest(mask: Flags, events: Events, sides: Sequence[Array], series: int, begin: int, end: int) -> bytes:
    digest = hashlib.blake2b(np.packbits(mask[series, begin:end]).tobytes(), digest_size=12)
    digest.update(events.mark(series, begin, end))
    for side in sides:
        digest.update(np.ascontiguousarray(side[series, begin:end]).tobytes())
    return digest.digest()
