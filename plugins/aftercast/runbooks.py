"""Runbooks: Markdown files with front matter and machine-readable steps, read and checked; nothing is run here.

A runbook is `config/catalog/runbooks/*.md`. Its front matter says what it is for, and `## Steps` is a numbered list whose items may hold a
fenced `yaml` block: `do` (a named action), `precondition` and `verify` (checks on rows of the published mart) and `rollback` (how it is
undone). A step that acts without a precondition or without a way back is refused. Messages name the file and the line.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError, model_validator

from aftercast import yaml_texts
from aftercast.declarations import Row, nearest
from aftercast.errors import ConfigError

AnyRow = TypeVar("AnyRow", bound=Row)

ACTIONS: dict[str, tuple[str, ...]] = {
    "rollback": ("rollback",),
    "flag_off": ("flag",),
    "revert_config": ("config",),
    "scale": ("infra",),
    "restart": (),
    "failover": (),
    "abort_migration": (),
    "webhook": (),
    "notify": (),
}
"""Actions a step may name, and the kinds of change they are seen as afterwards; none: they leave no change that could be counted."""
HARMLESS = ("notify",)
CAUSES = ("deploy", "rollback", "config", "flag", "migration", "infra", "maintenance", "provider", "service", "none")
MARTS: dict[str, str] = {
    "mart_incidents": "the incident",
    "mart_incident_candidates": "its likeliest candidate",
    "mart_changes": "the change that is its likeliest candidate",
    "mart_blast_radius": "the service acted on",
}
"""Marts a check may ask, and whose row it is asked of."""
PLACES = ("incident", "service", "candidate")
"""What `{...}` in an argument may stand for."""
HEADING = "steps"


class Check(Row):
    """A question to one column of one mart row; an empty value never passes."""

    mart: str
    column: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    equals: Any = None
    one_of: tuple[Any, ...] = ()
    at_least: float | None = Field(default=None, allow_inf_nan=False)
    at_most: float | None = Field(default=None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _asks_something(self) -> Check:
        if self.mart not in MARTS:
            raise ValueError(f"no check can ask {self.mart!r}{nearest(self.mart, MARTS)}")
        asked = (self.equals is not None) + bool(self.one_of) + (self.at_least is not None or self.at_most is not None)
        if asked != 1:
            raise ValueError("a check needs one of `equals`, `one_of`, or `at_least`/`at_most`")
        return self

    def __str__(self) -> str:
        if self.equals is not None:
            return f"{self.mart}.{self.column} is {_shown(self.equals)}"
        if self.one_of:
            return f"{self.mart}.{self.column} is one of {', '.join(_shown(one) for one in self.one_of)}"
        ends = [f"{word} {end:g}" for word, end in (("at least", self.at_least), ("at most", self.at_most)) if end is not None]
        return f"{self.mart}.{self.column} is {' and '.join(ends)}"


def _shown(value: Any) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


class Do(Row):
    """A named action; `arguments` are handed to whoever carries it out, with `{incident}`, `{service}` and `{candidate}` filled in."""

    action: str
    arguments: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_known(self) -> Do:
        if self.action not in ACTIONS:
            raise ValueError(f"unknown action {self.action!r}{nearest(self.action, ACTIONS)}")
        for name, value in self.arguments.items():
            for place in re.findall(r"\{(\w*)\}", str(value)):
                if place not in PLACES:
                    raise ValueError(f"argument {name!r} refers to {{{place}}}{nearest(place, PLACES)}")
        return self

    def filled(self, places: Mapping[str, str]) -> dict[str, str | int | float | bool]:
        """Return the arguments with what their `{...}` stand for."""

        def fill(value: str | int | float | bool) -> str | int | float | bool:
            return re.sub(r"\{(\w+)\}", lambda found: places.get(found[1], ""), value) if isinstance(value, str) else value

        return {name: fill(value) for name, value in self.arguments.items()}


class _Block(Row):
    do: Do | None = None
    precondition: tuple[Check, ...] = ()
    verify: tuple[Check, ...] = ()
    rollback: Do | str | None = None


class _Head(Row):
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str = Field(min_length=1)
    version: int = Field(ge=1)
    owner_team: str = Field(min_length=1)
    services: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _causes_are_known(self) -> _Head:
        for cause in self.causes:
            if cause not in CAUSES:
                raise ValueError(f"causes: no kind of candidate is called {cause!r}{nearest(cause, CAUSES)}")
        return self


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered item: its words, what it does (None: a person reads it), and the checks around it."""

    number: int
    text: str
    line: int
    do: Do | None = None
    precondition: tuple[Check, ...] = ()
    verify: tuple[Check, ...] = ()
    rollback: Do | str | None = None

    @property
    def acts(self) -> bool:
        """Whether it changes anything outside."""
        return self.do is not None and self.do.action not in HARMLESS


@dataclass(frozen=True, slots=True)
class Runbook:
    """A checked runbook.

    Attributes:
        services: services it is for; none means every service.
        families: ids of families, or words that the title of a family holds.
        causes: kinds of the likeliest candidate it is for: a kind of change, provider, service or none.
        digest: hash of the whole text, so that what was done can be traced to what was written.
        place: file name, for messages.
    """

    id: str
    title: str
    version: int
    owner_team: str
    services: tuple[str, ...]
    families: tuple[str, ...]
    causes: tuple[str, ...]
    steps: tuple[Step, ...]
    digest: str
    place: str

    @property
    def action(self) -> Step | None:
        """The first step that acts."""
        return next((step for step in self.steps if step.acts), None)


def parse(text: str, place: str) -> Runbook:
    """Return the runbook a Markdown text holds.

    Raises:
        ConfigError: naming place, line and what to do.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    if not lines or lines[0].strip() != "---":
        raise ConfigError(f"{place} line 1: a runbook begins with front matter between two lines of ---")
    end = next((number for number, line in enumerate(lines[1:], start=1) if line.strip() == "---"), None)
    if end is None:
        raise ConfigError(f"{place} line 1: the front matter has no end; close it with a line of ---")
    head = _read(_Head, lines[1:end], place, first=2)
    steps = tuple(_steps(lines, end + 1, place))
    if not steps:
        raise ConfigError(f"{place} line {len(lines)}: no steps; write a numbered list below a heading `## Steps`")
    if not (head.families or head.causes or head.services):
        raise ConfigError(f"{place} line 2: say what it is for: at least one of services, families and causes")
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
    return Runbook(**head.model_dump(), steps=steps, digest=digest, place=place)


def _steps(lines: Sequence[str], first: int, place: str) -> Iterable[Step]:
    """Steps of the section; line numbers in messages count from 1."""
    inside, fence, found = False, None, list[tuple[int, str, int, list[str], int]]()
    for index in range(first, len(lines)):
        line, number = lines[index], index + 1
        if fence is not None:
            if line.strip().startswith("```"):
                fence = None
            elif fence == "step":
                found[-1][3].append(line)
            continue
        if line.strip().startswith("```"):
            fence = line.strip().removeprefix("```").strip() or "text"
            if fence in ("yaml", "yml") and inside:
                fence = "step"
                if not found:
                    raise ConfigError(f"{place} line {number}: this block belongs to no step; put it into an item of the numbered list")
                if found[-1][3]:
                    raise ConfigError(f"{place} line {number}: step {found[-1][0]} has a second yaml block; a step has at most one")
                found[-1] = (*found[-1][:4], number + 1)
            opened = number
            continue
        if heading := re.match(r"#+\s+(.*)", line):
            inside = heading[1].strip().lower() == HEADING
        elif inside and (item := re.match(r" {0,3}(\d+)[.)]\s+(.*)", line)):
            if int(item[1]) != len(found) + 1:
                raise ConfigError(f"{place} line {number}: step {item[1]} comes where step {len(found) + 1} is expected")
            found.append((int(item[1]), item[2].strip(), number, [], 0))
    if fence is not None:
        raise ConfigError(f"{place} line {opened}: this block is never closed; end it with ```")
    for step, words, number, block, begins in found:
        yield _step(step, words, number, block, begins, place)


def _step(number: int, text: str, line: int, block: list[str], begins: int, place: str) -> Step:
    if not block:
        return Step(number, text, line)
    given = _read(_Block, textwrap.dedent("\n".join(block)).split("\n"), place, first=begins)
    step = Step(number, text, line, given.do, given.precondition, given.verify, given.rollback)
    if step.acts:
        assert step.do is not None
        if not step.precondition:
            raise ConfigError(
                f"{place} line {line}: step {number} does {step.do.action} without a precondition; "
                "add `precondition` with at least one check that must hold before anything is changed"
            )
        if not step.rollback:
            raise ConfigError(
                f"{place} line {line}: step {number} does {step.do.action} without a rollback plan; "
                "add `rollback`: an action, or a sentence that says how it is undone"
            )
    return step


def _read(model: type[AnyRow], lines: Sequence[str], place: str, *, first: int) -> AnyRow:
    """Read YAML lines; `first` is the number of the first in its file."""
    try:
        content = yaml_texts.read("\n".join(lines)) or {}
    except yaml_texts.NotYaml as error:
        raise ConfigError(f"{place} line {first + (error.line or 0)}: not readable YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{place} line {first}: expected `key: value` lines, found {type(content).__name__}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        told = []
        for problem in error.errors():
            keys = [str(part) for part in problem["loc"] if isinstance(part, str) and part not in ("Do", "str")]
            where = next((first + number for number, line in enumerate(lines) if keys and re.search(rf"\b{keys[-1]}\b", line)), first)
            unknown = problem["type"] == "extra_forbidden"
            what = f"unknown key{nearest(keys[-1], _keys(model, keys[:-1]))}" if unknown else str(problem["msg"])
            told.append(f"{place} line {where}: {'.'.join(keys)}: {what}")
        raise ConfigError("\n".join(dict.fromkeys(told))) from error


def _keys(model: type[Row], within: Sequence[str]) -> Iterable[str]:
    below: dict[str, type[Row]] = {"do": Do, "rollback": Do, "precondition": Check, "verify": Check}
    return tuple((below.get(within[-1], model) if within else model).model_fields)


def read(folder: Path, *, services: Iterable[str] = (), teams: Iterable[str] = ()) -> tuple[Runbook, ...]:
    """Return the runbooks of a folder, by file name; no folder holds none.

    Raises:
        ConfigError: a file cannot be used, two share an id, or one names a service or team that the catalogue does not have.
    """
    found: list[Runbook] = []
    places: dict[str, str] = {}
    known = {"service": set(services), "team": set(teams)}
    for path in sorted(folder.glob("*.md")):
        try:
            runbook = parse(path.read_text(encoding="utf-8"), str(path))
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: not UTF-8 text ({error})") from error
        if runbook.id in places:
            raise ConfigError(f"{path} line 2: id {runbook.id!r} is also that of {places[runbook.id]}; ids are unique")
        places[runbook.id] = path.name
        for what, names in (("service", runbook.services), ("team", (runbook.owner_team,))):
            for name in names:
                if known[what] and name not in known[what]:
                    raise ConfigError(f"{path} line 2: unknown {what} {name!r}{nearest(name, known[what])}")
        found.append(runbook)
    return tuple(found)
