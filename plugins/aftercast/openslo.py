"""Service level objectives of customer journeys: OpenSLO v1 documents (`config/slos/*.yml`) and the targets of journeys.yml as rows.

An objective counts attempts of journeys, steps and segments. Its indicator is a ratio metric whose sources name them:

    metricSource: {type: aftercast, spec: {journey: shop, step: checkout, region: eu, count: successes}}   # total: count: attempts

An objective with several entries under `objectives`, each with an indicator of its own and a `compositeWeight`, is one promise about all
of them together. What a document says and we cannot keep is an error with its place, never left out in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aftercast import yaml_texts
from aftercast.declarations import JourneyRow, nearest
from aftercast.errors import ConfigError

VERSIONS = ("openslo/v1", "openslo.com/v1")
SEGMENT = ("region", "tier", "plan", "country")
METHODS = {"Occurrences": "occurrences", "Timeslices": "timeslices", "RatioTimeslices": "ratio_timeslices"}
CALENDAR = {"1w": "week", "1M": "month", "1Q": "quarter"}
UNIT_DAYS = {"d": 1, "w": 7}
UNIT_MINUTES = {"m": 1, "h": 60, "d": 1440}
LONGEST_DAYS = 90


@dataclass(frozen=True, slots=True)
class Part:
    """The attempts an objective counts; empty texts mean all, `weight` tells parts of a composite apart."""

    journey: str
    step: str = ""
    region: str = ""
    tier: str = ""
    plan: str = ""
    country: str = ""
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Objective:
    """A promise: the share of attempts, or of slices of time, that are good over a window.

    Attributes:
        window_days: days of a rolling window; of a calendar window the days it has at most.
        window: rolling, week, month or quarter (from midnight UTC of its first day).
        method: occurrences (attempts), timeslices (slices of which `slice_target` succeeded), ratio_timeslices (mean share over slices).
    """

    slo: str
    title: str
    target: float
    window: str
    window_days: int
    method: str
    slice_minutes: int | None
    slice_target: float | None
    parts: tuple[Part, ...]

    def row(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "parts"} | {"is_composite": len(self.parts) > 1}


def objectives(folder: Path, journeys: Sequence[JourneyRow]) -> tuple[Objective, ...]:
    """Return the promises of journeys.yml and of the OpenSLO documents below a folder, which need not exist.

    Raises:
        ConfigError: a document is not readable, names what does not exist, asks for what is not supported, or a name comes twice.
    """
    promised = [
        Objective(row.journey, row.title, row.slo_target, "rolling", row.slo_window_days, "occurrences", None, None, (Part(row.journey),))
        for row in journeys
        if row.slo_target is not None
    ]
    indicators: dict[str, tuple[str, Any]] = {}
    documents = list(_documents(folder))
    for where, document in documents:
        if document.get("kind") == "SLI":
            indicators[str(_at(document, "metadata", "name", where=where))] = (where, document.get("spec"))
    told = [(where, document) for where, document in documents if document.get("kind") == "SLO"]
    found = [_Reader(where, indicators, journeys).objective(document) for where, document in told]
    names: set[str] = set()
    for one, where in [*((one, "journeys.yml") for one in promised), *zip(found, (where for where, _ in told), strict=True)]:
        if one.slo in names:
            raise ConfigError(f"{where}: objective {one.slo!r} is declared twice; a journey's own target bears the journey's name")
        names.add(one.slo)
    return (*promised, *found)


def _documents(folder: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for path in sorted(one for one in folder.rglob("*") if one.suffix in (".yaml", ".yml") and one.is_file()):
        try:
            found = yaml_texts.read_all(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{path} is not readable YAML: {error}") from error
        for number, document in enumerate(found, start=1):
            if document is None:
                continue
            where = f"{path} document {number}"
            if not isinstance(document, Mapping) or document.get("apiVersion") not in VERSIONS:
                raise ConfigError(f"{where}: expected apiVersion {VERSIONS[0]}; other files do not belong in {folder}")
            yield where, document


def _at(document: Any, *path: str, where: str) -> Any:
    for depth, key in enumerate(path, start=1):
        if not isinstance(document, Mapping) or key not in document:
            raise ConfigError(f"{where}: {'.'.join(path[:depth])} is missing")
        document = document[key]
    return document


@dataclass(frozen=True, slots=True)
class _Reader:
    where: str
    indicators: Mapping[str, tuple[str, Any]]
    journeys: Sequence[JourneyRow]

    def objective(self, document: Mapping[str, Any]) -> Objective:
        spec = _mapping(_at(document, "spec", where=self.where), "spec", self.where)
        name = str(_at(document, "metadata", "name", where=self.where))
        goals = _at(spec, "objectives", where=self.where)
        if not isinstance(goals, list) or not goals:
            raise ConfigError(f"{self.where}: spec.objectives must be a list with an objective")
        goals = [_mapping(goal, "an entry of spec.objectives", self.where) for goal in goals]
        method = str(spec.get("budgetingMethod"))
        if method not in METHODS:
            raise ConfigError(f"{self.where}: spec.budgetingMethod {method!r}{nearest(method, METHODS)}")
        first = goals[0]
        own = [goal for goal in goals if "indicator" in goal or "indicatorRef" in goal]
        if own and len(own) < len(goals):
            raise ConfigError(f"{self.where}: either every objective has an indicator, or none and the SLO has it")
        if not own and len(goals) > 1:
            raise ConfigError(f"{self.where}: several targets for one indicator; write an SLO for each target")
        targets = {self._target(goal) for goal in goals}
        if len(targets) > 1:
            raise ConfigError(f"{self.where}: the parts of a composite promise one target together, found {sorted(targets)}")
        parts = tuple(self._part(goal, _number(goal.get("compositeWeight", 1.0), "compositeWeight", self.where)) for goal in own) or (
            self._part(spec, 1.0),
        )
        window, days = self._window(spec)
        minutes, share = self._slices(first, METHODS[method])
        title = document["metadata"].get("displayName") or name
        return Objective(name, str(title), targets.pop(), window, days, METHODS[method], minutes, share, parts)

    def _target(self, goal: Mapping[str, Any]) -> float:
        target = _number(goal["targetPercent"], "targetPercent", self.where) / 100 if "targetPercent" in goal else goal.get("target")
        if not isinstance(target, int | float) or not 0 < target < 1:
            raise ConfigError(f"{self.where}: target must lie between 0 and 1, both left out, found {target!r}")
        return round(float(target), 9)

    def _window(self, spec: Mapping[str, Any]) -> tuple[str, int]:
        windows = spec.get("timeWindow")
        if not isinstance(windows, list) or len(windows) != 1 or not isinstance(windows[0], Mapping):
            raise ConfigError(f"{self.where}: spec.timeWindow must be a list of one window")
        duration = str(windows[0].get("duration"))
        if windows[0].get("isRolling") is False or "calendar" in windows[0]:
            if duration not in CALENDAR:
                raise ConfigError(f"{self.where}: a calendar window lasts {', '.join(CALENDAR)}, found {duration!r}")
            zone = _mapping(windows[0].get("calendar") or {}, "calendar", self.where).get("timeZone", "UTC")
            if zone not in ("UTC", "Etc/UTC"):
                raise ConfigError(f"{self.where}: calendar windows begin at midnight UTC, found timeZone {zone!r}")
            return CALENDAR[duration], {"week": 7, "month": 31, "quarter": 92}[CALENDAR[duration]]
        days = _amount(duration, UNIT_DAYS)
        if days is None or not 1 <= days <= LONGEST_DAYS:
            raise ConfigError(f"{self.where}: a rolling window lasts 1d to {LONGEST_DAYS}d, found {duration!r}")
        return "rolling", days

    def _slices(self, goal: Mapping[str, Any], method: str) -> tuple[int | None, float | None]:
        if method == "occurrences":
            return None, None
        minutes = _amount(str(goal.get("timeSliceWindow")), UNIT_MINUTES)
        if minutes is None or not 1 <= minutes <= 1440 or 1440 % minutes:
            raise ConfigError(f"{self.where}: timeSliceWindow must divide a day, such as 5m or 1h, found {goal.get('timeSliceWindow')!r}")
        if method == "ratio_timeslices":
            return minutes, None
        share = goal.get("timeSliceTarget")
        if not isinstance(share, int | float) or not 0 < share <= 1:
            raise ConfigError(f"{self.where}: timeSliceTarget must lie between 0 and 1, found {share!r}")
        return minutes, float(share)

    def _part(self, holder: Mapping[str, Any], weight: float) -> Part:
        if not weight > 0:
            raise ConfigError(f"{self.where}: compositeWeight must be above 0, found {weight}")
        where, spec = self.where, _mapping(holder.get("indicator") or {}, "indicator", self.where).get("spec")
        if "indicatorRef" in holder:
            name = str(holder["indicatorRef"])
            if name not in self.indicators:
                raise ConfigError(f"{where}: no SLI {name!r} below this folder{nearest(name, self.indicators)}")
            where, spec = self.indicators[name]
        ratio = _at(spec, "ratioMetric", where=f"{where}: an indicator of journeys is a ratio of counts") if spec else None
        if not isinstance(ratio, Mapping) or "good" not in ratio or "total" not in ratio:
            raise ConfigError(f"{where}: the indicator needs ratioMetric with good and total")
        good, total = (self._source(where, ratio[side], side, count) for side, count in (("good", "successes"), ("total", "attempts")))
        if good != total:
            raise ConfigError(f"{where}: good and total must count the same attempts, found {good} and {total}")
        return Part(**good, weight=weight)

    def _source(self, where: str, metric: Any, side: str, count: str) -> dict[str, str]:
        source = _at(metric, "metricSource", where=f"{where}: {side}")
        spec = dict(_mapping(_at(source, "spec", where=f"{where}: {side}.metricSource"), f"{side}.metricSource.spec", where))
        if str(source.get("type", "aftercast")).lower() != "aftercast" or spec.pop("count", None) != count:
            raise ConfigError(f"{where}: {side} must be {{type: aftercast, spec: {{journey: <name>, count: {count}}}}}")
        unknown = sorted(str(name) for name in spec.keys() - {"journey", "step", *SEGMENT})
        if unknown:
            raise ConfigError(f"{where}: {side} knows no {unknown[0]!r}{nearest(unknown[0], ('journey', 'step', *SEGMENT))}")
        known = {row.journey: [step.step for step in row.steps] for row in self.journeys}
        told = {name: str(value) for name, value in spec.items()}
        journey, step = told.get("journey", ""), told.get("step", "")
        if journey not in known:
            raise ConfigError(f"{where}: unknown journey {journey!r}{nearest(journey, known)}")
        if spec.get("step") and step not in known[journey]:
            raise ConfigError(f"{where}: journey {journey!r} has no step {step!r}{nearest(step, known[journey])}")
        return told


def _mapping(found: Any, place: str, where: str) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise ConfigError(f"{where}: {place} must be a mapping, found {type(found).__name__}")
    return found


def _number(found: Any, place: str, where: str) -> float:
    try:
        return float(found)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{where}: {place} must be a number, found {str(found)[:40]!r}") from None


def _amount(text: str, units: Mapping[str, int]) -> int | None:
    match = re.fullmatch(r"(\d+)([a-zA-Z])", text)
    return int(match[1]) * units[match[2]] if match and match[2] in units else None
