"""What a version of a model has learnt from, and by which of it the version differs from the live one. Pure.

A learning signal is a feature with its version (`check:saturation@1`, `insight:INC-7:ab12@1f2e3d4c`), what people said (`verdicts`), or a
tuning nobody gave a reason for. Two versions that differ by one signal and are judged on the same incidents tell what that signal is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aftercast.declarations import DetectorRow, MaskRow, RankerRow, SignalRow, TuningRow
from aftercast.features import CHECKS, digest


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a version uses, sorted; `features_version` stands for all of it.

    Attributes:
        extras: what it uses beyond the checks and signals that every version has.
        differs_by: what the live version does not use (+) and what it does not use of the live one (-).
        isolates: the one signal by which it differs; '' when there is none, or more than one.
    """

    signals: tuple[str, ...]
    extras: tuple[str, ...]
    differs_by: tuple[str, ...]

    @property
    def features_version(self) -> str:
        return digest({"signals": self.signals})

    @property
    def isolates(self) -> str:
        return self.differs_by[0][1:] if len(self.differs_by) == 1 else ""


def detector_signals(model: DetectorRow, signals: Sequence[SignalRow]) -> frozenset[str]:
    """Return what a version of the detector uses."""
    watched = {f"signal:{row.name}@{row.feature_version}" for row in signals}
    return frozenset(watched | {_of(row) for row in model.tuning} | {_of(row) for row in model.masks})


def ranker_signals(model: RankerRow) -> frozenset[str]:
    """Return what a version of the ranker uses."""
    checks = {f"check:{name}@{version}" for name, version in CHECKS.items() if name not in model.without}
    rules = {f"insight:{row.insight}" if row.insight else f"rule:{row.name}@{digest(row.model_dump(mode='json'))}" for row in model.rules}
    return frozenset(checks | rules | ({"verdicts"} if model.weights == "learned" else set()))


def learnt(own: frozenset[str], live: frozenset[str]) -> Learnt:
    """Return what a version uses beside the live one."""
    differs = sorted([*(f"+{one}" for one in own - live), *(f"-{one}" for one in live - own)], key=lambda one: (one[1:], one))
    extras = sorted(one for one in own if not one.startswith(("check:", "signal:")))
    return Learnt(tuple(sorted(own)), tuple(extras), tuple(differs))


def of_detectors(detectors: Sequence[DetectorRow], signals: Sequence[SignalRow]) -> dict[str, Learnt]:
    """Return what every version of the detector has learnt from, by version."""
    live = next(row for row in detectors if row.state == "live")
    return {row.version: learnt(detector_signals(row, signals), detector_signals(live, signals)) for row in detectors}


def of_rankers(rankers: Sequence[RankerRow]) -> dict[str, Learnt]:
    """Return what every version of the ranker has learnt from, by version."""
    live = next(row for row in rankers if row.state == "live")
    return {row.version: learnt(ranker_signals(row), ranker_signals(live)) for row in rankers}


def _of(row: TuningRow | MaskRow) -> str:
    if row.insight:
        return f"insight:{row.insight}"
    if isinstance(row, MaskRow):
        return f"mask:{row.name}@{digest(row.model_dump(mode='json'))}"
    return f"tuning:{row.signal}{f'/{row.subject}' if row.subject else ''}@{row.sensitivity:g}"
