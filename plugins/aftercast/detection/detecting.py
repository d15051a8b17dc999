"""Points of watched series to anomalies, the health of every series, and the models that judged them.

Detection is causal: nothing at or after a point decides about it, and the model behind an anomaly was trained before it began. Known
incident and maintenance windows are masked from training, never from scoring. One bad series never fails the batch: it is reported as
`not_enough_data` or `flat` with the reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from aftercast.analyses import DERIVED
from aftercast.detection.episodes import ENTER, Episode, find_episodes, severity_score
from aftercast.detection.prophet_batch import MODEL_VERSION
from aftercast.detection.scoring import LEAST_DAYS, WARM_UP_DAYS, Cut, Scored, score
from aftercast.detection.series import Panel, masked, panels
from aftercast.settings import SignalRow
from aftercast.window import Window

DETECTOR_VERSION = "prophet-episodes-1"
MASK_BEFORE = timedelta(minutes=15)
MASK_AFTER = timedelta(minutes=30)
INTERVAL = 1.96  # published intervals hold 95 % of quiet points
SERIES_AT_ONCE = 128

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Detection:
    """Frames in the schemas of `analyses.DERIVED`: anomalies, series_health, and the models either of them names."""

    anomalies: pl.DataFrame
    series_health: pl.DataFrame
    models: pl.DataFrame


@dataclass(frozen=True, slots=True)
class _Rows:
    anomalies: list[Row] = field(default_factory=list)
    health: list[Row] = field(default_factory=list)
    models: list[Row] = field(default_factory=list)


def detect(points: pl.DataFrame, signals: Sequence[SignalRow], masks: pl.DataFrame, window: Window) -> Detection:
    """Find the episodes of every series of `signals` in the window.

    Args:
        points: columns of `series.POINTS` (what `signal_query` returns), any order.
        signals: what to watch; points of other signals are ignored.
        masks: environment, started_at, ended_at (null: still open) of incidents and maintenance; environment '' or null means all.
        window: the span judged; its first seven days only train.

    Raises:
        AftercastError: a column of `points` is missing or of another type.
    """
    rows = _Rows()
    with threadpool_limits(limits=1):  # thousands of small solves: BLAS threads only wait for each other
        for panel in panels(points, signals, window):
            for begin in range(0, panel.identity.height, SERIES_AT_ONCE):
                members = np.arange(begin, min(begin + SERIES_AT_ONCE, panel.identity.height))
                _judge(panel.take(members), masks, window, rows)
    order = {
        "anomalies": ["series_id", "started_at", "direction"],
        "series_health": ["series_id"],
        "models": ["series_id", "trained_until"],
    }
    frames = {"anomalies": rows.anomalies, "series_health": rows.health, "models": rows.models}
    return Detection(**{name: pl.DataFrame(frames[name], schema=dict(DERIVED[name]), orient="row").sort(order[name]) for name in frames})


def _judge(panel: Panel, masks: pl.DataFrame, window: Window, rows: _Rows) -> None:
    identity = panel.identity.to_dicts()
    mask, spans = masked(masks, panel.identity["environment"].to_list(), panel, MASK_BEFORE, MASK_AFTER)
    scored = score(panel, mask)
    named: dict[tuple[int, int], None] = {}
    episodes = find_episodes(scored, panel.grain_minutes, panel.signal.sensitivity)
    for episode in _without_twins(episodes):
        if _effect(panel, scored, episode) < panel.signal.minimum_effect:
            continue
        cut = _cut_at(scored, episode.start)
        named[episode.series, cut] = None
        rows.anomalies.append(_anomaly(panel, scored, episode, scored.cuts[cut], identity[episode.series], spans[episode.series]))
    for series, who in enumerate(identity):
        last = _last_cut(scored, series)
        if last is not None:
            named[series, last] = None
        rows.health.append(_health(panel, scored, series, None if last is None else scored.cuts[last], who, window))
    for series, number in sorted(named):
        rows.models.append(_model(panel, scored, series, scored.cuts[number], identity[series], spans[series]))


def _without_twins(episodes: Sequence[Episode]) -> Iterator[Episode]:
    """An episode up and one down of a series cannot begin at once; the stronger stays."""
    strongest: dict[tuple[int, int], Episode] = {}
    for episode in episodes:
        other = strongest.get((episode.series, episode.start))
        if other is None or episode.severity > other.severity:
            strongest[episode.series, episode.start] = episode
    yield from strongest.values()


def _effect(panel: Panel, scored: Scored, episode: Episode) -> float:
    """Size of an episode: the mean difference to what was expected, in the units of the signal."""
    span = slice(episode.start, episode.end)
    actual, expected = panel.value[episode.series, span], scored.expected[episode.series, span]
    known = np.isfinite(actual) & np.isfinite(expected)
    return abs(float((actual - expected)[known].mean()))


def _cut_at(scored: Scored, bucket: int) -> int:
    return next(number for number, cut in enumerate(scored.cuts) if cut.until <= bucket < cut.next)


def _last_cut(scored: Scored, series: int) -> int | None:
    fitted = [number for number, cut in enumerate(scored.cuts) if cut.model.ok[series]]
    return fitted[-1] if fitted else None


def _overlapping(panel: Panel, cut: Cut, spans: Sequence[tuple[datetime, datetime]]) -> int:
    return sum(1 for begin, end in spans if begin < panel.at(cut.until) and end > panel.at(cut.first))


def _trained_from(panel: Panel, cut: Cut, series: int) -> datetime:
    return max(panel.at(cut.first), datetime.fromtimestamp(cut.model.start(series) // 60 * 60, tz=UTC))


def _anomaly(panel: Panel, scored: Scored, episode: Episode, cut: Cut, who: Row, spans: Sequence[tuple[datetime, datetime]]) -> Row:
    series, peak = episode.series, episode.peak
    started_at = panel.at(episode.start)
    direction = "up" if episode.sign > 0 else "down"
    expected = float(scored.expected[series, peak])
    if scored.non_negative[series]:
        expected = max(expected, 0.0)
    reach = INTERVAL * float(scored.scale[series, peak])
    low = max(expected - reach, 0.0) if scored.non_negative[series] else expected - reach
    high = min(expected + reach, 1.0) if scored.share[series] else expected + reach
    name = f"{who['series_id']}|{started_at.isoformat()}|{DETECTOR_VERSION}"
    return {
        "anomaly_id": "anomaly-" + hashlib.sha256(name.encode()).hexdigest()[:16],
        **who,
        "started_at": started_at,
        "ended_at": panel.at(episode.end),
        "peak_at": panel.at(peak),
        "direction": direction,
        "hurts": panel.signal.hurts in (direction, "both"),
        "expected": expected,
        "actual": float(panel.value[series, peak]),
        "low": low,
        "high": high,
        "score": severity_score(episode.severity),
        "evidence": episode.severity / ENTER,
        "n_points": int(np.isfinite(scored.surprise[series, episode.start : episode.end]).sum()),
        "explained_by": None,
        "mode": "live",
        "detector_version": DETECTOR_VERSION,
        "trained_from": _trained_from(panel, cut, series),
        "trained_until": panel.at(cut.until),
        "masked_windows": _overlapping(panel, cut, spans),
        "model_version": MODEL_VERSION,
    }


def _health(panel: Panel, scored: Scored, series: int, cut: Cut | None, who: Row, window: Window) -> Row:
    present = np.flatnonzero(np.isfinite(panel.value[series]))
    surprise = scored.surprise[series]
    n_scored = int(np.isfinite(surprise).sum())
    buckets = -(-int((window.end - panel.start).total_seconds() // 60) // panel.grain_minutes)
    status, reason = "scored", ""
    day = 1440 // panel.grain_minutes
    n_days = len(np.unique(present // day))
    if len(present) and np.ptp(panel.value[series, present]) == 0 and n_days >= LEAST_DAYS:
        status, reason = "flat", f"every one of {len(present)} points is {panel.value[series, present[0]]:g}"
    elif not n_scored:
        status = "not_enough_data"
        reason = (
            f"{len(present)} points on {n_days} days; a model needs half of the points of {LEAST_DAYS} days "
            f"outside incidents, and scoring starts after {WARM_UP_DAYS} days"
        )
    return {
        **who,
        "status": status,
        "reason": reason,
        "n_points": len(present),
        "expected_points": buckets - int(present[0]) if len(present) else buckets,
        "n_scored": n_scored,
        "n_outside_interval": int((np.abs(panel.value[series] - scored.expected[series]) > INTERVAL * scored.scale[series]).sum()),
        "first_seen_at": panel.at(int(present[0])) if len(present) else None,
        "last_seen_at": panel.at(int(present[-1])) if len(present) else None,
        "trained_until": None if cut is None else panel.at(cut.until),
        "detector_version": DETECTOR_VERSION,
        "model_version": MODEL_VERSION,
    }


def _model(panel: Panel, scored: Scored, series: int, cut: Cut, who: Row, spans: Sequence[tuple[datetime, datetime]]) -> Row:
    per_block = scored.block
    training = np.ascontiguousarray(scored.blocks[series, cut.first // per_block : cut.until // per_block])
    return {
        "series_id": who["series_id"],
        "trained_from": _trained_from(panel, cut, series),
        "trained_until": panel.at(cut.until),
        "n_points": int(cut.model.n_points[series]),
        "masked_windows": _overlapping(panel, cut, spans),
        "parameters": json.dumps(cut.model.parameters(series), sort_keys=True, allow_nan=False),
        "data_fingerprint": hashlib.sha256(training.tobytes()).hexdigest()[:16],
        "model_version": MODEL_VERSION,
    }
