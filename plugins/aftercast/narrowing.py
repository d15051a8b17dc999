"""Which rows of the marts an audience does not get: those that name what it may not see, whatever names it, and what hangs on them.

A restriction is a set of names: services and journeys, with their aliases, titles and objectives. A row is withheld when any column of it,
an id, a list or the middle of a text, has one of the names as a whole word, in whatever case. What a withheld row is known by
(`expectations/withheld_rows.yml`) is a name then too, so that nothing points at it: a change, the incident it is a candidate of, the
family of that incident, and so on until nothing more is found. Sums over many things are withheld whole. Better too much than a trace.

The rows are chosen before an audience's file is written: what is withheld was never in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from aftercast import warehouse
from aftercast.declarations import AudienceRow, nearest
from aftercast.errors import ConfigError
from aftercast.settings import PROJECT, Deployment, Settings

WITHHELD = "mart_withheld"
FIGURES = ("BIGINT", "INTEGER", "SMALLINT", "TINYINT", "UBIGINT", "UINTEGER", "HUGEINT", "DOUBLE", "FLOAT", "DECIMAL")
OTHER_FIGURES = ("BOOLEAN", "DATE", "TIME", "TIMESTAMP", "INTERVAL")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a withheld row takes with it, by mart; see `expectations/withheld_rows.yml`."""

    rows: Mapping[str, tuple[str, ...]]
    named_by: Mapping[str, str]
    sums: frozenset[str]
    build: frozenset[str]
    words: frozenset[str]

    def known(self) -> set[str]:
        """Return every mart the rules say something about."""
        return {*self.rows, *self.named_by, *self.sums, *self.build, *self.words}


def read(path: Path | None = None) -> Rules:
    """Return the rules that the file gives (default: `expectations/withheld_rows.yml`).

    Raises:
        ConfigError: the file is missing or unreadable, has an unknown part, or says two things of a mart.
    """
    path = path or PROJECT / "expectations" / "withheld_rows.yml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        parts = ("rows", "named_by", "sums", "build", "words")
        for name in content:
            if name not in parts:
                raise ConfigError(f"{path}: unknown part {name!r}{nearest(str(name), parts)}")
        said = [mart for name in parts for mart in content.get(name, ())]
        twice = sorted({mart for mart in said if said.count(mart) > 1})
        if twice:
            raise ConfigError(f"{path}: says two things of {', '.join(twice)}")
        return Rules(
            {str(mart): tuple(map(str, columns)) for mart, columns in content.get("rows", {}).items()},
            {str(mart): str(column) for mart, column in content.get("named_by", {}).items()},
            *(frozenset(map(str, content.get(name, ()))) for name in parts[2:]),
        )
    except (OSError, yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read, so nothing can be withheld and nothing is published ({error})") from error


def names_of(settings: Settings, audience: AudienceRow) -> frozenset[str]:
    """Return every name by which something is known that an audience may not see; none where it may see all.

    Raises:
        ConfigError: a service or journey is restricted that nobody declared, so that it could not be told what to withhold.
    """
    rows = [row for row in settings.publishing.restricted if audience.name in row.withheld_from]
    if not rows:
        return frozenset()
    deployment = settings.deployment
    services = {name for row in rows for name in row.services}
    journeys = {name for row in rows for name in row.journeys}
    _check(settings.config / "publishing.yml", deployment, services, journeys)
    aliases = {row.alias for row in deployment.aliases if row.kind == "service" and row.name in services}
    titles = {row.title for row in deployment.journeys if row.journey in journeys}
    promises = {name for row in deployment.slos if any(part.journey in journeys for part in row.parts) for name in (row.slo, row.title)}
    return frozenset({*services, *journeys, *aliases, *titles, *promises})


def _check(path: Path, deployment: Deployment, services: Iterable[str], journeys: Iterable[str]) -> None:
    known = {"service": {row.service for row in deployment.services}, "journey": {row.journey for row in deployment.journeys}}
    for what, names in (("service", services), ("journey", journeys)):
        for name in sorted(names):
            if name not in known[what]:
                raise ConfigError(f"{path}: restricted {what} {name!r} is not declared{nearest(name, known[what])}; nothing was published")


def withhold(connection: Any, catalogue: str, tables: Mapping[str, Mapping[str, str]], names: Collection[str]) -> dict[str, str]:
    """Return the condition on the rows of each mart that an audience may see.

    Args:
        connection: with the whole mart attached; helping tables are made in its memory.
        catalogue: the name of the whole mart there.
        tables: the marts, with their columns and the types of these.
        names: what the audience may not see.
    """
    rules, numbers = read(), dict[str, int]()
    for mart, columns in tables.items():
        if mart in rules.rows or mart in rules.named_by:
            numbers[mart] = len(numbers)
            _prepare(connection, numbers[mart], f"{catalogue}.marts.{warehouse.identifier(mart)}", columns)
    known, new = set[str](), {_plain_name(name) for name in names}
    while new := {name for name in new if name} - known:
        known |= new
        warehouse.execute(connection, "create or replace temp table names (name varchar, word varchar)")
        # Of a name of several words the longest one is looked for first: of an id that is its number, which few lines have.
        pairs = ", ".join(f"({warehouse.literal(one)}, {warehouse.literal(max(one.split(), key=len))})" for one in sorted(new))
        warehouse.execute(connection, f"insert into names values {pairs}")
        found = set[str]()
        for mart, number in numbers.items():
            _mark(connection, number)
            for column in rules.rows.get(mart, ()):
                if column in tables[mart]:
                    found |= _ids(connection, f"{catalogue}.marts.{warehouse.identifier(mart)}", column, number)
        new = found
    return {mart: _condition(mart, rules, numbers, catalogue, tables) for mart in tables}


def _prepare(connection: Any, number: int, table: str, columns: Mapping[str, str]) -> None:
    """Make tables of the distinct lines of a mart, of the rows that have each, and of the words in each."""
    texts = [f"{warehouse.identifier(name)}::varchar" for name, kind in columns.items() if not kind.startswith((*FIGURES, *OTHER_FIGURES))]
    line = _plain(f"concat_ws(chr(10), {', '.join(texts)})") if texts else "' '"
    for sql in (
        f"create temp table rows_{number} as select rowid as r, {line} as line from {table}",
        f"create temp table words_{number} as select line, unnest(list_distinct(string_split(trim(line), ' '))) as word "
        f"from (select distinct line from rows_{number})",
        f"create temp table withheld_{number} (r bigint)",
    ):
        warehouse.execute(connection, sql)


def _mark(connection: Any, number: int) -> None:
    """Mark rows that have any of the names as whole words."""
    warehouse.execute(
        connection,
        f"insert into withheld_{number} select r from rows_{number} where r not in (select r from withheld_{number}) and line in "
        f"(select line from words_{number} inner join names using (word) where contains(line, ' ' || name || ' '))",
    )


def _ids(connection: Any, table: str, column: str, number: int) -> set[str]:
    quoted = warehouse.identifier(column)
    sql = f"select distinct {quoted}::varchar as id from {table} where rowid in (select r from withheld_{number}) and {quoted} is not null"
    return {_plain_name(str(one)) for one in warehouse.frame(connection, sql)["id"]}


def _condition(mart: str, rules: Rules, numbers: Mapping[str, int], catalogue: str, tables: Mapping[str, Collection[str]]) -> str:
    if mart in rules.build:
        return "true"
    if mart in rules.words and "mart_search_terms" in numbers:
        left = f"rowid not in (select r from withheld_{numbers['mart_search_terms']})"
        return f"stem in (select stem from {catalogue}.marts.mart_search_terms where {left})"
    if mart not in numbers:
        return "false"
    named = rules.named_by.get(mart)
    if named is not None and named not in tables[mart]:
        return "false"
    is_named = f" and coalesce({warehouse.identifier(named)}::varchar, '') <> ''" if named else ""
    return f"rowid not in (select r from withheld_{numbers[mart]}){is_named}"


def _plain(text: str) -> str:
    """SQL that writes a text as small words between single blanks, as `_plain_name` writes a name."""
    return f"' ' || trim(regexp_replace(lower({text}), '[^\\p{{L}}\\p{{N}}]+', ' ', 'g')) || ' '"


def _plain_name(name: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", name.lower()))


def names(text: str, hidden: Iterable[str]) -> bool:
    """Whether a text has one of the hidden names as whole words, in whatever case."""
    words = f" {_plain_name(text)} "
    return any(f" {plain} " in words for plain in map(_plain_name, hidden) if plain)


def is_count(name: str, kind: str) -> bool:
    """Whether a column of what says which build this is counts things, withheld ones among them."""
    return name.endswith("_n") and kind.startswith(FIGURES)
