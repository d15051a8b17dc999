"""What changed in definitions since the report before: read from the stamps and definitions that its file of numbers bears. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

from aftercast.reporting.wording import listing

STAMPS = ("code_version", "configuration", "model_version")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a report's numbers were made by and how they are defined.

    Attributes:
        label: its period.
        code, configuration: their versions; empty where the file does not say.
        models: version by what it decides.
        numbers: definition by name of the numbers that the file holds.
    """

    label: str
    code: str
    configuration: str
    models: Mapping[str, str]
    numbers: Mapping[str, str]


def stamp(label: str, text: str) -> Stamp | None:
    """Read the stamp of a report from its CSV; None where that is not one."""
    lines = list(csv.DictReader(io.StringIO(text)))
    if not lines or not {"section", "item", "name", "value", "definition"} <= set(lines[0]):
        return None
    run = [line for line in lines if line["section"] == "run"]
    said = {line["name"]: line["value"] or "" for line in run}
    models = {line["item"]: line["value"] or "" for line in run if line["name"] == "model_version"}
    numbers = {line["name"]: line["definition"] or "" for line in lines}
    return Stamp(label, said.get("code_version", ""), said.get("configuration", ""), models, numbers)


def models(versions: tuple[str, ...]) -> dict[str, str]:
    """Split `detection prophet-2` into what is decided and by which version."""
    pairs = (text.split(maxsplit=1) for text in versions)
    return {pair[0]: pair[1] if len(pair) > 1 else "" for pair in pairs if pair}


def changed(before: Stamp | None, now: Stamp, cadence: str) -> str:
    """Say in one sentence what is defined otherwise than in the report before.

    What the earlier file does not say is not compared: a number that only one of them holds is not called new or gone.
    """
    if before is None:
        return f"None known: this is the first {cadence} report."
    told = []
    if before.models:
        other = sorted({name for name in (*before.models, *now.models) if before.models.get(name) != now.models.get(name)})
        told += [f"model of {name} {before.models.get(name, 'none')} → {now.models.get(name, 'none')}" for name in other]
    otherwise = sorted(name for name, text in now.numbers.items() if name in before.numbers and before.numbers[name] != text)
    if otherwise:
        told.append(f"{listing(otherwise, 5)} defined otherwise")
    if before.configuration and before.configuration != now.configuration:
        told.append(f"configuration {before.configuration} → {now.configuration}")
    if before.code and before.code != now.code:
        told.append(f"code {before.code} → {now.code}")
    return f"Since {before.label}: {'; '.join(told)}." if told else f"None since {before.label}."
