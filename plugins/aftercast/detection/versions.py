"""How sensitive a declared version of the detector is to one series: the signal's own sensitivity times the version's tuning. Pure.

All versions read the same stored scores and differ only here, so an episode of evidence e (in units of the threshold at the signal's own
sensitivity) is one a version tuned by m would raise where e * m >= 1.
"""

from __future__ import annotations

from aftercast.settings import DetectorRow, SignalRow


def multiplier_of(detector: DetectorRow, signal: str, subject: str) -> float:
    """Return what the version multiplies a signal's sensitivity with; a row for the subject replaces the one for every subject."""
    tuned = {row.subject: row.sensitivity for row in detector.tuning if row.signal == signal}
    return tuned.get(subject, tuned.get("", 1.0))


def sensitivity_of(detector: DetectorRow, signal: SignalRow, subject: str) -> float:
    """Return the sensitivity with which a version judges the series of a signal and subject (a service or a journey)."""
    return signal.sensitivity * multiplier_of(detector, signal.name, subject)
