"""Declared versions of the detector: how sensitive each is to a series, and the row that runs what verdicts propose as a shadow. Pure.

A version's sensitivity is the signal's own times the version's tuning. All versions read the same stored scores and differ only here, so an
episode of evidence e (in units of the signal's own threshold) is one a version tuned by m would raise where e * m is at least 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from aftercast.declarations import DetectorRow, SignalRow


def multiplier_of(detector: DetectorRow, signal: str, subject: str) -> float:
    """Return what the version multiplies a signal's sensitivity with; a row for the subject replaces the one for every subject."""
    tuned = {row.subject: row.sensitivity for row in detector.tuning if row.signal == signal}
    return tuned.get(subject, tuned.get("", 1.0))


def sensitivity_of(detector: DetectorRow, signal: SignalRow, subject: str) -> float:
    """Return the sensitivity with which a version judges the series of a signal and subject (a service or a journey)."""
    return signal.sensitivity * multiplier_of(detector, signal.name, subject)


def version_to_paste(proposals: pl.DataFrame, detectors: Sequence[DetectorRow], as_of: datetime) -> str:
    """Return the row of detectors.yml that runs every `run_in_shadow` proposal that no shadow runs yet; empty text when there is none."""
    live = next(row for row in detectors if row.state == "live")
    tuning = {(row.signal, row.subject): row.sensitivity for row in live.tuning}
    added = [
        (signal, subject, value)
        for signal, subject, value, verdict in proposals.select("signal", "subject", "proposed_sensitivity", "verdict").iter_rows()
        if verdict == "run_in_shadow"
        and not any(multiplier_of(one, signal, subject) == value for one in detectors if one.state == "shadow")
    ]
    if not added:
        return ""
    tuning |= {(signal, subject): value for signal, subject, value in added}
    lines = [f"  - version: {live.version}-tuned-{as_of:%Y%m%d}", "    state: shadow", f"    since: {as_of:%Y-%m-%dT%H:%MZ}", "    tuning:"]
    for (signal, subject), value in sorted(tuning.items()):
        named = f", subject: {subject}" if subject else ""
        lines.append(f"      - {{signal: {signal}{named}, sensitivity: {value:g}}}")
    return "\n".join(lines) + "\n"
