"""What an insight prescribes, machine-readable: a threshold of the detector, a mask of a known time, or a rule about causes. Pure.

A prescription is a proposal. Its words are those of the rows it may become (declarations.py), so that adopting it is copying it. One that
cannot be read is refused with what to write instead.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import ValidationError

from aftercast import yaml_texts
from aftercast.declarations import DetectorRow, MaskRow, RankerRow, Row, RuleRow, TuningRow, nearest
from aftercast.errors import ConfigError
from aftercast.features import digest

Kind = Literal["threshold", "mask", "rule"]
EXAMPLES: dict[str, str] = {
    "threshold": "threshold: {signal: latency_p95_ms, subject: payments, sensitivity: 0.8}",
    "mask": "mask: {services: [payments], signals: [latency_p95_ms], expects: up, "
    "weekly: {days: [mon], starts: '02:00', ends: '04:00'}, zone: Europe/Berlin}",
    "rule": "rule: {kinds: [migration], of: [ledger-db], hurts: [payments], says: known}",
}
OURS = ("since", "insight")  # filled in when it is adopted


class Prescription(Row):
    """One of three: what a detector should be, what it should expect, or what a ranker should know."""

    threshold: TuningRow | None = None
    mask: MaskRow | None = None
    rule: RuleRow | None = None

    @property
    def kind(self) -> Kind:
        return "threshold" if self.threshold else "mask" if self.mask else "rule"

    @property
    def row(self) -> TuningRow | MaskRow | RuleRow:
        row = self.threshold or self.mask or self.rule
        assert row is not None  # `parse` gives exactly one
        return row

    @property
    def written(self) -> str:
        """JSON of what was said, without what was left to its default; the same words have the same text."""
        return json.dumps({self.kind: self.row.model_dump(mode="json", exclude_unset=True)}, sort_keys=True)

    @property
    def version(self) -> str:
        """The version of the feature an insight becomes: reworded is another version, prescribed the same is not."""
        return digest({self.kind: self.row.model_dump(mode="json", exclude_unset=True)})

    def sentence(self) -> str:
        """What it would do, in words."""
        match self.row:
            case TuningRow() as one:
                return (
                    f"sensitivity of {one.signal}{f' of {one.subject}' if one.subject else ''} {one.sensitivity:g} times the declared one"
                )
            case MaskRow() as one:
                whose = ", ".join([*one.services, *one.journeys])
                moved = {"both": "up or down"}.get(one.expects, one.expects)
                return f"expect {', '.join(one.signals)} of {whose} to go {moved} {_when(one)}"
            case RuleRow() as one:
                on = f" on {', '.join(one.of)}" if one.of else ""
                known = "are known to hurt" if one.says == "known" else "do not hurt"
                return f"changes of kind {', '.join(one.kinds)}{on} {known} {', '.join(one.hurts) or 'services'}"


def _when(row: MaskRow) -> str:
    if row.weekly is not None:
        return f"on {', '.join(row.weekly.days)} from {row.weekly.starts} to {row.weekly.ends} ({row.zone})"
    if row.country is not None:
        return f"on public holidays of {row.subdivision or ''}{' in ' if row.subdivision else ''}{row.country}"
    return f"in {len(row.windows)} window{'s' * (len(row.windows) != 1)} from {row.windows[0].start:%Y-%m-%d %H:%M} UTC on"


@dataclass(frozen=True, slots=True)
class Advice:
    """An insight that prescribes something: what, since when it is known, and how sure its author was; `problem` when it cannot be used."""

    insight_id: str
    recorded_at: datetime
    prescription: Prescription | None
    confidence: float | None = None
    problem: str = ""

    @property
    def feature(self) -> str:
        """`<insight_id>@<version>`: what rows of the configuration name as their insight."""
        return f"{self.insight_id}@{self.prescription.version if self.prescription else ''}"

    @property
    def slug(self) -> str:
        """A name made of the feature that fits any row, unique to it."""
        return f"insight_{hashlib.sha256(self.feature.encode()).hexdigest()[:8]}"

    def row(self) -> TuningRow | MaskRow | RuleRow:
        """The row it would become: named, with its insight, and with the time from which it may count."""
        assert self.prescription is not None  # advice with a problem has no row
        row = self.prescription.row
        if isinstance(row, TuningRow):
            return row.model_copy(update={"insight": self.feature})
        sure = (
            {}
            if isinstance(row, MaskRow) or "confidence" in row.model_fields_set or not self.confidence
            else {"confidence": self.confidence}
        )
        return row.model_copy(update={"insight": self.feature, "since": self.recorded_at, "name": row.name or self.slug, **sure})

    def told(self, state: str) -> dict[str, object]:
        """What every row of `insight_effects` says of its insight."""
        assert self.prescription is not None
        return {
            "insight_id": self.insight_id,
            "kind": self.prescription.kind,
            "prescription": self.prescription.written,
            "prescribes": self.prescription.sentence(),
            "feature_version": self.prescription.version,
            "state": state,
        }


def parse(given: object) -> Prescription:
    """Return what a mapping, or a text of YAML or JSON, prescribes.

    Raises:
        ConfigError: it cannot be read; says what is wrong and what to write.
    """
    content = _content(given)
    kinds = [name for name in content if name in EXAMPLES]
    if len(content) != 1 or not kinds:
        unknown = next((name for name in content if name not in EXAMPLES), "")
        hint = nearest(unknown, EXAMPLES) if unknown else ""
        raise ConfigError(f"a prescription has exactly one of {', '.join(EXAMPLES)}, found {_listed(content)}{hint}; {_write(*kinds)}")
    kind, inner = kinds[0], content[kinds[0]]
    if not isinstance(inner, dict):
        raise ConfigError(f"{kind}: expected names and values, found {inner!r}; {_write(kind)}")
    ours = [name for name in OURS if name in inner]
    if ours:
        raise ConfigError(f"{kind}: {', '.join(ours)} is filled in when it is adopted, leave it out; {_write(kind)}")
    try:
        return Prescription.model_validate({kind: inner})
    except ValidationError as error:
        raise ConfigError(f"{_explained(kind, error)}; {_write(kind)}") from error


def _content(given: object) -> dict[str, Any]:
    if isinstance(given, str):
        try:
            # A loader of texts, lists and mappings only, as that of a front matter: no time loses its zone, no 14:30 becomes a number.
            given = json.loads(given) if given.lstrip().startswith("{") and '"' in given else yaml_texts.plain(given)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"neither YAML nor JSON ({' '.join(str(error).split())}); {_write()}") from error
    if not isinstance(given, Mapping):
        raise ConfigError(f"expected names and values, found {given!r}; {_write()}")
    return {str(name): _without_nulls(value) for name, value in given.items() if value is not None}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


def _explained(kind: str, error: ValidationError) -> str:
    problem = error.errors()[0]
    place = [str(part) for part in problem["loc"] if not isinstance(part, int)]
    if problem["type"] == "extra_forbidden":
        model = Prescription.model_fields[kind].annotation
        known = next(one for one in getattr(model, "__args__", ()) if isinstance(one, type) and issubclass(one, Row)).model_fields
        return f"{'.'.join(place)}: unknown key{nearest(place[-1], [name for name in known if name not in OURS])}"
    return f"{'.'.join(place)}: {str(problem['msg']).removeprefix('Value error, ')}"


def _listed(content: Mapping[str, Any]) -> str:
    return ", ".join(content) or "nothing"


def _write(*kinds: str) -> str:
    return "write e.g. " + " or ".join(EXAMPLES[kind] for kind in (kinds or EXAMPLES))


def names_unknown(prescription: Prescription, signals: Iterable[str], services: Iterable[str], journeys: Iterable[str]) -> str:
    """Return what it names that is not declared, with the nearest that is; '' when all is. Without services declared, any is taken."""
    row = prescription.row
    catalogued = frozenset(services)
    named: list[tuple[str, Iterable[str], Iterable[str]]] = []
    if isinstance(row, TuningRow):
        named = [("signal", [row.signal], signals)]
        if row.subject and catalogued:
            named.append(("service or journey", [row.subject], catalogued | frozenset(journeys)))
    elif isinstance(row, MaskRow):
        named = [
            ("signal", row.signals, signals),
            ("journey", row.journeys, journeys),
            *([("service", row.services, catalogued)] * bool(catalogued)),
        ]
    elif catalogued:
        named = [("service", [*row.of, *row.hurts], catalogued)]
    for what, names, known in named:
        among = frozenset(known)
        for name in names:
            if name not in among:
                return f"{what} {name!r} is not declared{nearest(name, among)}"
    return ""


def detector_with(advice: Advice, live: DetectorRow, *, version: str, since: datetime) -> DetectorRow:
    """Return the version that is the live detector and this advice, as a shadow."""
    row = advice.row()
    if isinstance(row, TuningRow):
        tuning = (*(one for one in live.tuning if (one.signal, one.subject) != (row.signal, row.subject)), row)
        return live.model_copy(update={"version": version, "state": "shadow", "since": since, "note": "", "tuning": tuning})
    assert isinstance(row, MaskRow)
    return live.model_copy(update={"version": version, "state": "shadow", "since": since, "note": "", "masks": (*live.masks, row)})


def ranker_with(advice: Advice, live: RankerRow, *, version: str, since: datetime) -> RankerRow:
    """Return the version that is the live ranker and this advice, as a shadow."""
    return live.model_copy(update={"version": version, "state": "shadow", "since": since, "note": "", "rules": (*live.rules, advice.row())})


def runs_in(advice: Advice, model: DetectorRow | RankerRow) -> bool:
    """Whether a version already follows this advice, worded as it is now."""
    follows = [one.insight for one in model.rules] if isinstance(model, RankerRow) else [one.insight for one in model.tuning]
    if isinstance(model, DetectorRow):
        follows += [one.insight for one in model.masks]
    return advice.feature in follows


def version_name(advice: Advice, live: str) -> str:
    """The name of the version that is the live one and this advice; upon another live version it is another."""
    name = hashlib.sha256(f"{live}|{advice.feature}".encode()).hexdigest()[:8]
    return re.sub(r"-insight-[0-9a-f]{8}$", "", live) + f"-insight-{name}"


def is_on(advice: Advice, shadow: DetectorRow | RankerRow, live: DetectorRow | RankerRow) -> bool:
    """Whether a shadow that follows an advice is what is live now and the advice, nothing else; its own row stays as it was declared."""
    if isinstance(live, DetectorRow) and isinstance(shadow, DetectorRow):
        own = {(row.signal, row.subject) for row in shadow.tuning if row.insight == advice.feature}
        tunings = ([one for one in model.tuning if (one.signal, one.subject) not in own] for model in (shadow, live))
        masks = ([one for one in model.masks if one.insight != advice.feature] for model in (shadow, live))
        return next(tunings) == next(tunings) and next(masks) == next(masks)
    assert isinstance(live, RankerRow)
    assert isinstance(shadow, RankerRow)
    rules = [one for one in shadow.rules if one.insight != advice.feature]
    return (rules, shadow.weights, shadow.without) == (list(live.rules), live.weights, live.without)
