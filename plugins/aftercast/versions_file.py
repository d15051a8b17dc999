"""detectors.yml and rankers.yml as people keep them: a version added at the end, or moved to another state, all else as it was. Pure.

What a change makes of the file is read back and compared with what was meant; a file written in a way we cannot change safely is refused
with the row to paste.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from aftercast.declarations import DEFAULT_DETECTOR, DEFAULT_RANKER, DetectorRow, DetectorsFile, RankerRow, RankersFile
from aftercast.errors import ConfigError

FILES = {"detector": "detectors.yml", "ranker": "rankers.yml"}


def written(model: DetectorRow | RankerRow) -> str:
    """Return a version as lines of its file: only what differs from the defaults, inner rows on a line each."""
    values = _values(model)
    lines: list[str] = []
    for name, value in values.items():
        lead = "  - " if not lines else "    "
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lines += [f"{lead}{name}:", *(f"      - {_flow(one)}" for one in value)]
        else:
            lines.append(f"{lead}{name}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def with_version(text: str, model: DetectorRow | RankerRow, states: Mapping[str, str] | None = None) -> str:
    """Return the file with one more version, and others in new states.

    Raises:
        ConfigError: the file cannot be changed safely; holds the row to paste.
    """
    moved = _moved(text or _usual(model), states or {}, model)
    own = written(model)
    if _indent(moved.split("\n"), model) == 0:
        own = "\n".join(line.removeprefix("  ") for line in own.split("\n"))
    changed = moved.rstrip("\n") + "\n" + own
    return _checked(changed, [*_expected(text or _usual(model), states or {}, model), _values(model)], model, written(model))


def with_states(text: str, states: Mapping[str, str], model: DetectorRow | RankerRow) -> str:
    """Return the file with versions in new states.

    Raises:
        ConfigError: the file cannot be changed safely; says which states to write.
    """
    wanted = ", ".join(f"{version}: {state}" for version, state in states.items())
    return _checked(_moved(text, states, model), _expected(text, states, model), model, f"the states to write are {wanted}\n")


def _top(model: DetectorRow | RankerRow) -> str:
    return "detectors" if isinstance(model, DetectorRow) else "rankers"


def _usual(model: DetectorRow | RankerRow) -> str:
    """What holds without a file, as a file."""
    return f"{_top(model)}:\n" + written(DEFAULT_DETECTOR if isinstance(model, DetectorRow) else DEFAULT_RANKER)


def _values(model: DetectorRow | RankerRow) -> dict[str, Any]:
    kept = model.model_dump(mode="json", exclude_defaults=True)
    for name in ("tuning", "masks", "rules"):
        if name in kept:
            kept[name] = [one.model_dump(mode="json", exclude_defaults=True) for one in getattr(model, name)]
    return kept


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True).removesuffix("...\n").strip()


def _rows(text: str, model: DetectorRow | RankerRow) -> list[dict[str, Any]]:
    content = yaml.safe_load(text) or {}
    rows = content.get(_top(model)) if isinstance(content, dict) else None
    return rows if isinstance(rows, list) else []


def _expected(text: str, states: Mapping[str, str], model: DetectorRow | RankerRow) -> list[dict[str, Any]]:
    return [{**row, "state": states.get(str(row.get("version")), row.get("state"))} for row in _rows(text, model)]


def _moved(text: str, states: Mapping[str, str], model: DetectorRow | RankerRow) -> str:
    """The text with the `state:` lines of versions changed."""
    lines, inside = text.split("\n"), ""
    for number, line in enumerate(lines):
        bare = line.strip()
        if bare.startswith("- "):
            bare = bare[2:].strip()
            if line.index("-") <= _indent(lines, model):
                inside = ""
        name, colon, value = bare.partition(":")
        if colon and name == "version":
            inside = value.split(" #")[0].strip().strip("'\"")
        if colon and name == "state" and inside in states:
            old = value.split(" #")[0].strip()
            lines[number] = line.replace(f"state:{value}", f"state:{value.replace(old, states[inside], 1)}", 1)
    return "\n".join(lines)


def _indent(lines: list[str], model: DetectorRow | RankerRow) -> int:
    """How far the rows of the file are indented."""
    begun = False
    for line in lines:
        if begun and line.lstrip().startswith("- "):
            return line.index("-")
        begun = begun or line.startswith(f"{_top(model)}:")
    return 0


def _checked(text: str, expected: list[dict[str, Any]], model: DetectorRow | RankerRow, paste: str) -> str:
    """The text, when it says what was meant and is a file we can read."""
    file = FILES["detector" if isinstance(model, DetectorRow) else "ranker"]
    whole = DetectorsFile if isinstance(model, DetectorRow) else RankersFile
    try:
        meant = whole.model_validate({_top(model): expected})
        found = whole.model_validate(yaml.safe_load(text) or {})
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} cannot be changed for you ({' '.join(str(error).split())}); do it by hand:\n{paste}") from error
    if found != meant:
        raise ConfigError(f"{file} is written in a way that cannot be changed safely; do it by hand:\n{paste}")
    return text
