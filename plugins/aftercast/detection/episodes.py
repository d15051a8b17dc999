"""Surprises to episodes: an anomaly has a beginning, an end and a peak; one odd point is none.

An episode opens where the evidence of the short or the long window (evidence.py), times the signal's sensitivity, reaches `ENTER`, lasts
while it stays above `STAY`, and is trimmed to the points that carry it. Episodes of one direction with less than half an hour (three
points) between them are one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aftercast.detection.evidence import CLIP, reach

Array = npt.NDArray[np.float64]

ENTER = 5.0
STAY = 2.5
DRIFT = 1.25  # surprise a point must exceed to lengthen an episode at its ends
MERGE_MINUTES = 30


@dataclass(frozen=True, slots=True)
class Episode:
    """Buckets [start, end) of a series; `sign` is 1 for up.

    `alarm` is the bucket after which the evidence was known to suffice; `start` is found by looking back from there. `evidence` is
    the strongest evidence before sensitivity: the episode is found with any sensitivity of ENTER / evidence or more. `severity` is the
    evidence after sensitivity and without clipping, ENTER at the threshold.
    """

    series: int
    start: int
    end: int
    peak: int
    alarm: int
    sign: int
    evidence: float
    severity: float


def severity_score(severity: float) -> float:
    """Return severity on [0, 1]: 0.5 at the threshold, 0.8 at twice, 0.9 at three times the evidence."""
    return severity**2 / (severity**2 + ENTER**2)


def find_episodes(surprise: Array, short: Array, long: Array, grain_minutes: int, sensitivity: npt.ArrayLike = 1.0) -> list[Episode]:
    """Return the episodes of series, ordered by series, start and sign.

    Args:
        surprise, short, long: (N, T) as scoring gives them.
        sensitivity: of each series (N,) or of all; above 1 alarms earlier.
    """
    lengths = reach(grain_minutes)
    clipped = np.clip(surprise, -CLIP, CLIP)
    raw = np.clip(surprise, -10 * CLIP, 10 * CLIP)
    factor = np.broadcast_to(np.asarray(sensitivity, dtype=np.float64), len(surprise))
    gap = max(3, MERGE_MINUTES // grain_minutes) if grain_minutes < MERGE_MINUTES else 1
    found = []
    for sign in (1, -1):
        soon, late = (np.nan_to_num(sign * factor[:, None] * evidence) for evidence in (short, long))
        opens = ((soon >= ENTER) | (late >= ENTER)) & np.isfinite(surprise)
        stays = (soon >= STAY) | (late >= ENTER)
        for series in np.flatnonzero(opens.any(axis=1)):
            spans = _runs(stays[series], opens[series])
            trimmed = [_trim(sign * np.nan_to_num(clipped[series]), opens[series], begin, end, lengths) for begin, end in spans]
            for begin, end in _merge(trimmed, gap):
                own = sign * raw[series, begin:end]
                strongest = max(soon[series, begin : end + lengths[0]].max(), late[series, begin : end + lengths[1]].max())
                alarms = np.flatnonzero(opens[series, begin : end + lengths[1]])
                stretch = _stretch(own, lengths[0])
                found.append(
                    Episode(
                        series=int(series),
                        start=int(begin),
                        end=int(end),
                        peak=int(begin + np.nanargmax(own)),
                        alarm=int(begin + alarms[0]),
                        sign=sign,
                        evidence=float(strongest / factor[series]),
                        severity=float(strongest * stretch),
                    )
                )
    return sorted(found, key=lambda one: (one.series, one.start, -one.sign))


def _runs(stays: npt.NDArray[np.bool_], opens: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], stays, [False]]).astype(np.int8)))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2) if opens[begin:end].any()]


def _trim(surprise: Array, opens: npt.NDArray[np.bool_], begin: int, end: int, lengths: tuple[int, int]) -> tuple[int, int]:
    """Return the span [start, end) of points that carry a run: ends chosen where the summed excess over DRIFT is largest."""
    entries = begin + np.flatnonzero(opens[begin:end])
    earliest = max(0, begin - lengths[1] + 1)
    lead = np.cumsum((surprise - DRIFT)[earliest : entries[0] + 1][::-1])
    start = int(entries[0] - lead.argmax())
    final = int(entries[-1])
    tail_from = max(start, final - lengths[1] + 1)
    tail = np.cumsum((surprise - DRIFT)[tail_from:end])
    return start, tail_from + int(tail.argmax()) + 1


def _merge(spans: list[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin - merged[-1][1] <= gap:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged


def _stretch(surprise: Array, length: int) -> float:
    """How much clipping hid: mean of the strongest points of an episode over their clipped mean, at least 1."""
    top = np.sort(surprise[np.isfinite(surprise)])[-length:]
    clipped = np.minimum(top, CLIP).mean() if len(top) else 1.0
    return float(max(1.0, top.mean() / clipped)) if clipped > 0 else 1.0
