"""Which columns of the marts may be published, and which of them an audience sees. What nobody classified is not published.

`expectations/published_columns.yml` puts the name of every column of text into a class: `keep` (names and ids of things, words we chose),
`title` (a line somebody wrote), `text` (more of it), `person` (tokens of persons) and `drop`. Figures, times and truth values hold no words
and need no row. `person` and `drop` are never published, whoever asks. A name means the same in every mart unless `<mart>.<column>` says
otherwise. A column that is named like a person cannot be opened at all: no row of a mart stands for a person, so none can be ranked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import yaml

from aftercast.declarations import ColumnClass, nearest
from aftercast.errors import ConfigError
from aftercast.settings import PROJECT

CLASSES: tuple[str, ...] = get_args(ColumnClass)
OPEN = frozenset({"keep", "title", "text"})
PERSONS = frozenset(
    [
        "actor",
        "assignee",
        "author",
        "commander",
        "committer",
        "email",
        "employee",
        "engineer",
        "handle",
        "login",
        "mail",
        "oncall",
        "person",
        "reporter",
        "responder",
        "reviewer",
        "token",
        "user",
        "username",
    ]
)
FIGURES = ("BIGINT", "INTEGER", "SMALLINT", "TINYINT", "UBIGINT", "UINTEGER", "USMALLINT", "UTINYINT", "HUGEINT", "UHUGEINT", "DOUBLE")
OTHER_FIGURES = ("FLOAT", "DECIMAL", "BOOLEAN", "DATE", "TIME", "TIMESTAMP", "INTERVAL")


@dataclass(frozen=True, slots=True)
class Disclosure:
    """The class of each column of text."""

    classes: Mapping[str, str]

    def of(self, mart: str, column: str, kind: str) -> str | None:
        """Return the class of a column; None when nobody classified it. `kind` is DuckDB's type: a figure without a row is kept."""
        named = self.classes.get(f"{mart}.{column}") or self.classes.get(column)
        return named or ("keep" if kind.startswith((*FIGURES, *OTHER_FIGURES)) else None)

    def unclassified(self, columns: Iterable[tuple[str, str, str]]) -> list[str]:
        """Return `<mart>.<column>` of what has no class, of (mart, column, type)."""
        return [f"{mart}.{column}" for mart, column, kind in columns if self.of(mart, column, kind) is None]


def read(path: Path | None = None) -> Disclosure:
    """Return the classes that the file gives (default: `expectations/published_columns.yml`).

    Raises:
        ConfigError: the file is missing or unreadable, names an unknown class, or gives a column two.
    """
    path = path or PROJECT / "expectations" / "published_columns.yml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read, so nothing can be published ({error})") from error
    found: dict[str, str] = {}
    for name, columns in content.items() if isinstance(content, dict) else ():
        if name not in CLASSES:
            raise ConfigError(f"{path}: unknown class {name!r}{nearest(str(name), CLASSES)}")
        for column in columns if isinstance(columns, Sequence) and not isinstance(columns, str) else ():
            if found.setdefault(str(column), str(name)) != name:
                raise ConfigError(f"{path}: column {column!r} is both {found[str(column)]!r} and {name!r}; it can be one")
    for column, name in found.items():
        if name in OPEN and names_person(column):
            raise ConfigError(f"{path}: column {column!r} is named like a person, so it cannot be {name!r}: no mart may rank people")
    return Disclosure(found)


def names_person(column: str) -> bool:
    """Whether a column is named like a person: `author`, `assignee_token`, `user_name`. A count of people (`responders_n`) is none."""
    words = re.split(r"[._\s]+", column.rpartition(".")[2].lower())
    return any(word in PERSONS or (word.endswith("s") and word[:-1] in PERSONS) for word in words) and words[-1] != "n"
