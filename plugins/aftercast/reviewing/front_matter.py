"""Front matter of a postmortem as lines: what it says, and a few of its values changed while every other byte stays. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aftercast import yaml_texts

_VALUE = re.compile(
    r"""^(?P<name>[A-Za-z_][\w-]*)(?P<colon>\s*:)
    (?:\s+(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s"'\#](?:[^\#]|(?<=\S)\#)*?))?
    (?P<comment>\s+\#.*)?\s*$""",
    re.VERBOSE,
)
_PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _.@/+-]|:(?=\S))*")


class Unreadable(Exception):
    """A front matter that cannot be read or changed: why, and at which line (from 1)."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(f"line {line}: {reason}")
        self.reason, self.line = reason, line


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """The values of a document's front matter, names in lower case, and where it ends (index of the closing line)."""

    values: Mapping[str, Any]
    end: int

    def text(self, name: str) -> str:
        """Return a value as text; empty when it is not there or no single value."""
        value = self.values.get(name)
        return value.strip() if isinstance(value, str) else ""


def read(document: str) -> FrontMatter:
    """Return the front matter of a document.

    Raises:
        Unreadable: there is none, it is not closed, no YAML, or no mapping.
    """
    lines = document.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].rstrip() != "---":
        raise Unreadable("the first line is not ---, so there is no front matter", 1)
    end = next((at for at, line in enumerate(lines[1:], start=1) if line.rstrip() in ("---", "...")), None)
    if end is None:
        raise Unreadable("the front matter is not closed by ---", 1)
    try:
        values = yaml_texts.plain("\n".join(lines[1:end])) or {}
    except yaml_texts.NotYaml as error:
        raise Unreadable(f"the front matter is no YAML: {error}", min((error.line or 0) + 2, end + 1)) from error
    if not isinstance(values, dict):
        raise Unreadable("the front matter is no mapping of names to values", 2)
    return FrontMatter({str(name).strip().casefold(): value for name, value in values.items()}, end)


def changed(document: str, values: Mapping[str, str]) -> str:
    """Return a document whose front matter has these values: lines that were there keep their comment, others come last.

    Raises:
        Unreadable: the front matter cannot be read, or a value stands on several lines or twice.
    """
    front = read(document)
    lines = document.splitlines(keepends=True)
    ending = "\r\n" if lines[0].endswith("\r\n") else "\n"
    more = []
    for name, value in values.items():
        places = [
            at for at in range(1, front.end) if (found := _VALUE.match(lines[at].rstrip("\r\n"))) and found["name"].casefold() == name
        ]
        if not places:
            if name in front.values:
                raise Unreadable(f"{name} is not a value on a line of its own; write `{name}: {_written(value)}`", _near(lines, name))
            more.append(f"{name}: {_written(value)}{ending}")
            continue
        at = places[0]
        if len(places) > 1:
            raise Unreadable(f"{name} is there twice; leave one", places[1] + 1)
        if not isinstance(front.values[name], str):
            raise Unreadable(f"{name} is not a single value; write `{name}: {_written(value)}`", at + 1)
        found = _VALUE.match(lines[at].rstrip("\r\n"))
        assert found is not None
        comment = f" {found['comment'].strip()}" if found["comment"] else ""
        lines[at] = f"{found['name']}{found['colon']} {_written(value)}{comment}{ending}"
    result = "".join([*lines[: front.end], *more, *lines[front.end :]])
    read(result)
    return result


def _near(lines: list[str], name: str) -> int:
    return next((at for at, line in enumerate(lines, start=1) if name in line.casefold()), 2)


def _written(value: str) -> str:
    """A value as YAML: bare where that is plain, else in quotation marks."""
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)
