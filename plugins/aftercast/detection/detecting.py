"""Points of watched series to anomalies, the health of every series, and the models that judged them.

Detection is causal: nothing at or after a point decides about it, and the model behind an anomaly was trained before it began. Known
incident and maintenance windows and declared events are masked from training, never from scoring. One bad series never fails the batch:
it is reported as `learning`, `stopped`, `not_enough_data` or `flat` with the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from aftercast.analyses import DERIVED
from aftercast.declarations import DEFAULT_DETECTOR, CalendarRow, DetectorRow, SignalRow
from aftercast.detection.episodes import ENTER, Episode, find_episodes, severity_score
from aftercast.detection.known_times import Events, events_of
from aftercast.detection.masks import explained_by
from aftercast.detection.prophet_batch import MODEL_VERSION
from aftercast.detection.scores import Scored, no_scores, score
from aftercast.detection.scoring import LEAST_DAYS, WARM_UP_DAYS
from aftercast.detection.series import Panel, masked, panels
from aftercast.detection.versions import sensitivity_of
from aftercast.window import Window

MASK_BEFORE = timedelta(minutes=15)
MASK_AFTER = timedelta(minutes=30)
INTERVAL = 1.96  # published intervals hold 95 % of quiet points
SERIES_AT_ONCE = 128
SILENT_AFTER = timedelta(days=1)  # or three buckets, whatever is longer
PICTURE_BUCKETS = (24, 96)  # shown before and after an episode: as many as it has, within these
PICTURE_AT_MOST = 600

Array = npt.NDArray[np.float64]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Detection:
    """Frames in the schemas of `analyses.DERIVED`, and the scores behind them.

    `models` are those that an anomaly or the health of a series names. `scores` has the columns of `scores.SCORES`; `scored_days` are the
    days of which at least one row was not kept but computed.
    """

    anomalies: pl.DataFrame
    series_health: pl.DataFrame
    series_days: pl.DataFrame
    anomaly_points: pl.DataFrame
    models: pl.DataFrame
    scores: pl.DataFrame
    scored_days: frozenset[datetime]


TABLES = ("anomalies", "series_health", "series_days", "anomaly_points", "models")


@dataclass(frozen=True, slots=True)
class _Found:
    rows: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in TABLES})
    scores: list[pl.DataFrame] = field(default_factory=list)
    scored_days: set[datetime] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Judged:
    """A panel with its scores, and the masked windows of each of its series (K, 2), in buckets."""

    panel: Panel
    scored: Scored
    mask: npt.NDArray[np.bool_]
    events: Events
    windows: list[Array]
    who: list[Row]


def detect(
    points: pl.DataFrame,
    signals: Sequence[SignalRow],
    masks: pl.DataFrame,
    window: Window,
    *,
    detectors: Sequence[DetectorRow] = (DEFAULT_DETECTOR,),
    calendar: Sequence[CalendarRow] = (),
    kept: pl.DataFrame | None = None,
) -> Detection:
    """Find the episodes of every series of `signals` in the window.

    Args:
        points: columns of `series.POINTS` (what `signal_query` returns), any order.
        signals: what to watch; points of other signals are ignored.
        masks: columns of `series.MASKS`; an `ended_at` of null is still open.
        window: the span judged; its first two days only train (seven for grains of 12 hours and more).
        detectors: versions that judge the same scores; one of them is live.
        calendar: known unusual times; what they expect is explained and does not hurt.
        kept: scores of an earlier call by the same code; used where nothing they depend on has changed.

    Raises:
        AftercastError: a column of `points` is missing or of another type.
    """
    found = _Found()
    earlier = no_scores() if kept is None else kept
    with threadpool_limits(limits=1):  # thousands of small solves: BLAS threads only wait for each other
        for panel in panels(points, signals, window):
            for begin in range(0, panel.identity.height, SERIES_AT_ONCE):
                members = np.arange(begin, min(begin + SERIES_AT_ONCE, panel.identity.height))
                part = panel.take(members)
                events = events_of(part, calendar, window, masks, MASK_BEFORE, MASK_AFTER)
                _judge(part, masks, events, window, detectors, earlier, found)
    return Detection(
        **{name: as_table(name, found.rows[name]) for name in TABLES},
        scores=pl.concat(found.scores) if found.scores else no_scores(),
        scored_days=frozenset(found.scored_days),
    )


def as_table(name: str, rows: Iterable[Row] | pl.DataFrame) -> pl.DataFrame:
    """Return rows of a derived table of detection in its schema and order; NaN becomes null: unknown."""
    frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(list(rows), schema=dict(DERIVED[name]), orient="row")
    frame = frame.with_columns(pl.col(column).fill_nan(None) for column, kind in frame.schema.items() if kind.is_float())
    order = ("series_id", "started_at", "direction", "detector_version", "anomaly_id", "bucket_at", "day_at", "trained_until")
    return frame.sort([column for column in order if column in frame.columns])


def _judge(
    panel: Panel,
    masks: pl.DataFrame,
    events: Events,
    window: Window,
    detectors: Sequence[DetectorRow],
    kept: pl.DataFrame,
    found: _Found,
) -> None:
    mask, windows = masked(masks, panel, MASK_BEFORE, MASK_AFTER)
    scored = score(panel, mask, events, kept)
    found.scores.append(scored.rows)
    found.scored_days.update(panel.at(cut.until) for cut, is_new in zip(scored.cuts, scored.is_new, strict=True) if is_new)
    judged = _Judged(panel, scored, mask | events.masked, events, windows, panel.identity.to_dicts())
    named: set[tuple[int, int]] = set()
    for detector in detectors:
        sensitivity = [sensitivity_of(detector, panel.signal, who["subject"]) for who in judged.who]
        episodes = find_episodes(scored.surprise, scored.short, scored.long, panel.grain_minutes, sensitivity)
        for episode in _without_twins(episodes):
            if _effect(judged, episode) < panel.signal.minimum_effect:
                continue
            day = _day_at(scored, episode.start)
            named.add((episode.series, day))
            anomaly = _anomaly(judged, episode, day, detector)
            found.rows["anomalies"].append(anomaly)
            if detector.state == "live" and anomaly["hurts"]:
                found.rows["anomaly_points"] += _picture(judged, episode, anomaly["anomaly_id"])
    live = next((detector.version for detector in detectors if detector.state == "live"), detectors[0].version)
    for series in range(len(judged.who)):
        last = next((day for day in reversed(range(len(scored.cuts))) if scored.models[day][series]["parameters"] is not None), None)
        if last is not None:
            named.add((series, last))
        found.rows["series_health"].append(_health(judged, series, last, window, live))
        found.rows["series_days"] += _days(judged, series, live)
    found.rows["models"] += [_model(judged, series, day) for series, day in sorted(named)]


def _without_twins(episodes: Sequence[Episode]) -> Iterator[Episode]:
    """An episode up and one down of a series cannot begin at once; the stronger stays."""
    strongest: dict[tuple[int, int], Episode] = {}
    for episode in episodes:
        other = strongest.get((episode.series, episode.start))
        if other is None or episode.severity > other.severity:
            strongest[episode.series, episode.start] = episode
    yield from strongest.values()


def _effect(judged: _Judged, episode: Episode) -> float:
    """Size of an episode: the mean difference to what was expected, in the units of the signal."""
    span = slice(episode.start, episode.end)
    actual, expected = judged.panel.value[episode.series, span], judged.scored.expected[episode.series, span]
    known = np.isfinite(actual) & np.isfinite(expected)
    return abs(float((actual - expected)[known].mean()))


def _day_at(scored: Scored, bucket: int) -> int:
    return next(number for number, cut in enumerate(scored.cuts) if cut.until <= bucket < cut.next)


def _overlapping(judged: _Judged, series: int, day: int) -> int:
    cut = judged.scored.cuts[day]
    begin, end = judged.windows[series].T
    own = judged.events.between(cut.first, cut.until).events
    n_events = sum(len(event.spans) for event in own if event.teaches and event.touches[series])
    return n_events + int(np.count_nonzero((begin < cut.until) & (end > cut.first)))


def _interval(judged: _Judged, series: int, day: int, span: slice) -> tuple[Array, Array, Array]:
    """Return expected, low and high of a span of one day, each within what values of the series can be, so in that order."""
    row = judged.scored.models[day][series]
    expected, reach = judged.scored.expected[series, span], INTERVAL * judged.scored.scale[series, span]
    floor, ceiling = 0.0 if row["non_negative"] else -np.inf, 1.0 if row["share"] else np.inf
    return np.clip(expected, floor, ceiling), np.clip(expected - reach, floor, ceiling), np.clip(expected + reach, floor, ceiling)


def _anomaly(judged: _Judged, episode: Episode, day: int, detector: DetectorRow) -> Row:
    panel, series, peak = judged.panel, episode.series, episode.peak
    who, trained = judged.who[series], judged.scored.models[day][series]
    started_at = panel.at(episode.start)
    direction = "up" if episode.sign > 0 else "down"
    expected, low, high = _interval(judged, series, _day_at(judged.scored, peak), slice(peak, peak + 1))
    told = {**who, "direction": direction, "started_at": started_at, "ended_at": panel.at(episode.end)}
    explained = judged.events.explains(series, episode.start, episode.end, episode.sign) or explained_by(detector.masks, told)
    name = f"{who['series_id']}|{started_at.isoformat()}|{detector.version}"
    return {
        "anomaly_id": "anomaly-" + hashlib.sha256(name.encode()).hexdigest()[:16],
        **who,
        "started_at": started_at,
        "ended_at": panel.at(episode.end),
        "peak_at": panel.at(peak),
        "alarmed_at": panel.at(episode.alarm + 1),
        "direction": direction,
        "hurts": explained is None and panel.signal.hurts in (direction, "both"),
        "expected": float(expected[0]),
        "actual": float(panel.value[series, peak]),
        "low": float(low[0]),
        "high": float(high[0]),
        "score": severity_score(episode.severity),
        "evidence": episode.evidence / ENTER * panel.signal.sensitivity,
        "n_points": int(np.isfinite(judged.scored.surprise[series, episode.start : episode.end]).sum()),
        "explained_by": explained,
        "mode": detector.state,
        "detector_version": detector.version,
        "feature_version": panel.signal.feature_version,
        "trained_from": trained["trained_from"],
        "trained_until": trained["day_at"],
        "masked_windows": _overlapping(judged, series, day),
        "model_version": MODEL_VERSION,
    }


def _picture(judged: _Judged, episode: Episode, anomaly_id: str) -> list[Row]:
    """Return the points of an episode and as many around it, what was expected of them, and what was not learned from."""
    panel, series = judged.panel, episode.series
    around = int(np.clip(episode.end - episode.start, *PICTURE_BUCKETS))
    begin = max(episode.start - around, 0)
    end = min(episode.end + around, begin + PICTURE_AT_MOST, panel.value.shape[1])
    rows = []
    for day, cut in enumerate(judged.scored.cuts):
        span = slice(max(begin, cut.until), min(end, cut.next))
        if span.start >= span.stop:
            continue
        lines = (panel.value[series, span], *_interval(judged, series, day, span))
        for bucket, (actual, expected, low, high) in enumerate(zip(*(line.tolist() for line in lines), strict=True), span.start):
            rows.append(
                {
                    "anomaly_id": anomaly_id,
                    "series_id": judged.who[series]["series_id"],
                    "bucket_at": panel.at(bucket),
                    "actual": actual,
                    "expected": expected,
                    "low": low,
                    "high": high,
                    "is_masked": bool(judged.mask[series, bucket]),
                    "model_version": MODEL_VERSION,
                }
            )
    return rows


def _outside(judged: _Judged, series: int) -> npt.NDArray[np.bool_]:
    scored = judged.scored
    return np.asarray(np.abs(judged.panel.value[series] - scored.expected[series]) > INTERVAL * scored.scale[series])


def _days(judged: _Judged, series: int, version: str) -> Iterator[Row]:
    panel, scored = judged.panel, judged.scored
    present, was_scored, outside = np.isfinite(panel.value[series]), np.isfinite(scored.surprise[series]), _outside(judged, series)
    for cut in scored.cuts:
        span = slice(cut.until, cut.next)
        yield {
            "series_id": judged.who[series]["series_id"],
            "signal": panel.signal.name,
            "day_at": panel.at(cut.until),
            "n_points": int(present[span].sum()),
            "expected_points": cut.next - cut.until,
            "n_scored": int(was_scored[span].sum()),
            "n_outside_interval": int(outside[span].sum()),
            "detector_version": version,
            "model_version": MODEL_VERSION,
        }


def _health(judged: _Judged, series: int, last: int | None, window: Window, version: str) -> Row:
    panel, scored = judged.panel, judged.scored
    present = np.flatnonzero(np.isfinite(panel.value[series]))
    n_scored = int(np.isfinite(scored.surprise[series]).sum())
    buckets = -(-int((window.end - panel.start).total_seconds() // 60) // panel.grain_minutes)
    status, reason = _status(judged, series, present, n_scored, window)
    return {
        **judged.who[series],
        "status": status,
        "reason": reason,
        "n_points": len(present),
        "expected_points": buckets - int(present[0]) if len(present) else buckets,
        "n_scored": n_scored,
        "n_outside_interval": int(_outside(judged, series).sum()),
        "first_seen_at": panel.at(int(present[0])) if len(present) else None,
        "last_seen_at": panel.at(int(present[-1])) if len(present) else None,
        "trained_until": None if last is None else panel.at(scored.cuts[last].until),
        "detector_version": version,
        "model_version": MODEL_VERSION,
    }


def _status(judged: _Judged, series: int, present: npt.NDArray[np.intp], n_scored: int, window: Window) -> tuple[str, str]:
    """Return the status of a series and the sentence that says why it is not `scored`."""
    panel = judged.panel
    n_days = len(np.unique(present // (1440 // panel.grain_minutes)))
    if len(present):
        ended_at = panel.at(int(present[-1]) + 1)
        if n_scored and window.end - ended_at > max(SILENT_AFTER, 3 * timedelta(minutes=panel.grain_minutes)):
            return "stopped", f"no point since {ended_at:%Y-%m-%d %H:%M}, {(window.end - ended_at).days} days before the end"
        if np.ptp(panel.value[series, present]) == 0 and n_days >= LEAST_DAYS:
            return "flat", f"every one of {len(present)} points is {panel.value[series, present[0]]:g}"
    needs = f"a model needs half of the points of {LEAST_DAYS} days outside incidents"
    if len(present) and window.end - panel.at(int(present[0])) < timedelta(days=WARM_UP_DAYS):
        caution = f"until {WARM_UP_DAYS} days are seen, only what is new to the series by far is reported"
        return "learning", f"first seen {panel.at(int(present[0])):%Y-%m-%d %H:%M}; {caution if n_scored else needs}"
    if n_scored:
        return "scored", ""
    return "not_enough_data", f"{len(present)} points on {n_days} days; {needs}"


def _model(judged: _Judged, series: int, day: int) -> Row:
    trained = judged.scored.models[day][series]
    return {
        "series_id": trained["series_id"],
        "trained_from": trained["trained_from"],
        "trained_until": trained["day_at"],
        "n_points": trained["n_training"],
        "masked_windows": _overlapping(judged, series, day),
        "parameters": trained["parameters"],
        "data_fingerprint": trained["data_fingerprint"],
        "model_version": MODEL_VERSION,
    }
