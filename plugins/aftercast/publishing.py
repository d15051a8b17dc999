"""Publish the marts: copy them out of the warehouse into one immutable, versioned file and point readers at it.

Readers never meet the writer: they open `published/aftercast.duckdb`, a link to a read-only file in storage format v1.0.0 (any DuckDB
from 1.0 on), and find the same tables as Parquet under `published/parquet/current/`. A publish is whole or it is nothing: the new file is
built beside the others, closed, opened again and compared with the warehouse row for row before the link moves, so a failure at any
point leaves readers what they had. Only one publish may run at a time (Airflow's writer pool of one slot sees to it).

A column is published when `disclosure` knows its class, and what looks like an address, a secret or a token of a person is masked in any
text, whatever let it in. Audiences of `publishing.yml` get files of their own below `published/audiences/`, with fewer columns filled.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aftercast import disclosure, linking, narrowing, privacy, searching, warehouse
from aftercast.declarations import AudienceRow
from aftercast.errors import ConfigError, WarehouseError
from aftercast.settings import Settings

log = logging.getLogger(__name__)

STORAGE = "v1.0.0"
# Every pattern of `privacy.NEVER_PUBLISHED` needs one of these; a cheap test that spares clean rows the patterns.
SIGNS = r"@[\w.-]+\.[A-Za-z]|\btok_|[Bb]earer|BEARER|gh[pousr]_|github_pat|glpat-|xox|\bsk[_-]|A[KS]IA|AIza|eyJ"
CATALOGUE = "/*catalogue*/"  # stands for the database a table is read from

# Types a distributed engine or a spreadsheet cannot read, and what they are published as.
PORTABLE = {
    "UHUGEINT": "BIGINT",
    "HUGEINT": "BIGINT",
    "UUID": "VARCHAR",
    "INTERVAL": "VARCHAR",
    "TIMESTAMP_NS": "TIMESTAMP",
    "TIME WITH TIME ZONE": "VARCHAR",
    "TIME": "VARCHAR",
}
_NOT_PORTABLE = re.compile(rf"(?<![A-Z_ ])({'|'.join(PORTABLE)})(?![A-Z_ ])")


@dataclass(frozen=True, slots=True)
class Published:
    """What readers see now.

    Attributes:
        path: the versioned file the link points at.
        tables: number of mart tables.
        rows: rows over all tables.
        bytes: size of the DuckDB file.
        unchanged: the same version with the same rows was already published, so nothing was written.
    """

    path: Path
    tables: int
    rows: int
    bytes: int
    unchanged: bool = False

    def __str__(self) -> str:
        what = "already published, nothing to do" if self.unchanged else "published"
        return f"{self.path.name} {what}: {self.tables} tables, {self.rows:,} rows, {self.bytes / 1e6:.1f} MB"


@dataclass(frozen=True, slots=True)
class _Table:
    """A mart table: how to select it with portable types, and what its documentation says."""

    name: str
    select: str
    comments: tuple[str, ...]
    columns: tuple[tuple[str, str, str], ...] = ()  # name, class, type as published


def publish(settings: Settings, *, version: str, source: Path | None = None) -> Published:
    """Publish every `marts.mart_*` table of the warehouse under a version, and keep the last three versions.

    Args:
        settings: where the warehouse and the published folder are.
        version: name of this build, the same for the same build; letters, digits, `.`, `_`, `+` and `-`.
        source: the file with the marts; default the warehouse.

    Raises:
        WarehouseError: there is nothing to publish, or the copy differs from the warehouse; readers keep the last good mart.
        ConfigError: the classes of columns cannot be read, or this machine has no such group.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", version):
        raise WarehouseError(f"version {version!r} cannot be a file name; use letters, digits, '.', '_', '+' and '-'")
    source = source or settings.warehouse
    versions, parquet = settings.published / "versions", settings.published / "parquet"
    narrower = {row: settings.audiences / row.name for row in settings.publishing.audiences}
    withheld = {row: narrowing.names_of(settings, row) for row in narrower}
    for place in (versions, parquet, *narrower.values()):
        place.mkdir(parents=True, exist_ok=True)
    linking.sweep(versions, parquet, *narrower.values())

    with warehouse.connect(None) as connection:
        warehouse.attach(connection, source, "warehouse")
        tables = _tables(connection, disclosure.read())
        wanted = _fingerprints(connection, "warehouse", tables)
    for name in _names(version):
        file, folder = versions / f"aftercast-{name}.duckdb", parquet / name
        links = {parquet / "current": folder, **{place.with_suffix(".duckdb"): place / file.name for place in narrower.values()}}
        links[settings.mart] = file  # the last to move
        seen = [linking.points_at(link, target) for link, target in links.items()]
        if all(target.exists() for target in links.values()) and _contents(file, tables) == wanted:
            if all(seen):
                _forget_audiences(settings.audiences, versions, withheld)
                return _summary(file, wanted, unchanged=True)
            linking.swap(links)  # a publish was killed when all but this was done
            break
        if not any(seen):  # what readers have open stays where it is
            _make(settings, source, name, tables, wanted, links, withheld)
            break
    linking.forget_old(versions, parquet, keep=file)
    _forget_audiences(settings.audiences, versions, withheld)
    result = _summary(file, wanted, unchanged=False)
    log.info("%s", result)
    return result


def _names(version: str) -> Iterator[str]:
    """The names to publish a version under: its own, and others where readers see different rows under that one."""
    yield version
    yield from (f"{version}.{number}" for number in itertools.count(2))


def _make(
    settings: Settings,
    source: Path,
    version: str,
    tables: list[_Table],
    wanted: dict[str, tuple[int, int]],
    links: dict[Path, Path],
    withheld: dict[AudienceRow, frozenset[str]],
) -> None:
    """Build a version beside the others, compare it, put it in place, and let readers see it."""
    versions, parquet = settings.published / "versions", settings.published / "parquet"
    file, folder = links[settings.mart], links[parquet / "current"]
    narrower = {row: settings.audiences / row.name for row in withheld}
    new_file, new_folder = versions / f"{linking.BUILDING}{version}.duckdb", parquet / f"{linking.BUILDING}{version}"
    try:
        _build(source, new_file, new_folder, tables)
        _compare(_contents(new_file, tables), wanted)
        for row, place in narrower.items():
            narrow = place / f"{linking.BUILDING}{version}.duckdb"
            _narrow(new_file, narrow, tables, row, withheld[row])
            _open_to(narrow, row.group)
            narrow.replace(place / file.name)
            _open_to(place, row.group)
        for made in (*new_folder.iterdir(), new_file, new_folder):
            _open_to(made, settings.publishing.group)
        linking.replace_folder(new_folder, folder)
        new_file.replace(file)
        linking.sync(file, versions, parquet)
        linking.swap(links)
    finally:
        linking.sweep(versions, parquet, *narrower.values())


def _tables(connection: Any, classes: disclosure.Disclosure) -> list[_Table]:
    columns = warehouse.frame(
        connection,
        "select table_name, column_name, data_type, comment from duckdb_columns() "
        "where database_name = 'warehouse' and schema_name = 'marts' and starts_with(table_name, 'mart_') "
        "order by table_name, column_index",
    )
    about = warehouse.frame(
        connection,
        "select table_name, comment from duckdb_tables() where database_name = 'warehouse' and schema_name = 'marts' "
        "union all select view_name, comment from duckdb_views() where database_name = 'warehouse' and schema_name = 'marts'",
    )
    texts = dict(about.rows())
    unclassified = classes.unclassified(columns.select("table_name", "column_name", "data_type").rows())
    if unclassified:
        names = ", ".join(unclassified)
        log.warning("not published, because expectations/published_columns.yml does not say what they may hold: %s", names)
    tables = []
    for (name,), group in columns.group_by(["table_name"], maintain_order=True):
        table = f"marts.{warehouse.identifier(str(name))}"
        selected, comments, kept = list[str](), list[str](), list[tuple[str, str, str]]()
        inner = {column for column, kind, _ in group.select("column_name", "data_type", "comment").rows() if "VARCHAR" in kind}
        leaking = _leaking(connection, f"warehouse.{table}", sorted(inner))
        if texts.get(name):
            comments.append(f"comment on table published.{table} is {warehouse.literal(texts[name])}")
        for column, kind, text in group.select("column_name", "data_type", "comment").rows():
            known = classes.of(str(name), column, kind)
            if known not in disclosure.OPEN:
                continue
            quoted = warehouse.identifier(column)
            portable = _NOT_PORTABLE.sub(lambda found: PORTABLE[found.group(1)], kind)
            shown = _masked(quoted, kind) if column in leaking else quoted if portable == kind else f"cast({quoted} as {portable})"
            selected.append(shown if shown == quoted else f"{shown} as {quoted}")
            kept.append((column, known, portable))
            if text:
                comments.append(f"comment on column published.{table}.{quoted} is {warehouse.literal(text)}")
        if selected:
            # No str.format: a masking pattern has braces of its own.
            tables.append(_Table(str(name), f"select {', '.join(selected)} from {CATALOGUE}.{table}", tuple(comments), tuple(kept)))
    if "mart_run" not in {table.name for table in tables}:
        raise WarehouseError(f"nothing to publish: {len(tables)} mart tables and no marts.mart_run; run the marts step first")
    return tables


def _never(value: str) -> str:
    """SQL that masks what no reader may see in a text."""
    for pattern, replacement in privacy.NEVER_PUBLISHED:
        value = f"regexp_replace({value}, {warehouse.literal(pattern)}, {warehouse.literal(replacement)}, 'g')"
    return value


def _masked(quoted: str, kind: str) -> str:
    return f"list_transform({quoted}, lambda one: {_never('one')})" if kind == "VARCHAR[]" else _never(f"{quoted}::varchar")


def _leaking(connection: Any, table: str, columns: list[str]) -> set[str]:
    """Return the columns of text that hold what no reader may see, and say so. One cheap test of whole rows comes first: most hold none."""
    if not columns:
        return set()
    texts = [f"{warehouse.identifier(name)}::varchar" for name in columns]
    signs = warehouse.literal(SIGNS)
    suspicious = f"(select * from {table} where regexp_matches(concat_ws(' ', {', '.join(texts)}), {signs}))"
    if not warehouse.frame(connection, f"select count(*) from {suspicious}").item():
        return set()
    pattern = warehouse.literal("|".join(f"(?:{pattern})" for pattern, _ in privacy.NEVER_PUBLISHED))
    counts = ", ".join(f"count(*) filter (where regexp_matches({text}, {pattern}))" for text in texts)
    found = dict(zip(columns, warehouse.frame(connection, f"select {counts} from {suspicious}").row(0), strict=True))
    for name, count in found.items():
        if count:
            log.warning("%s.%s: %d rows held an address, a secret or the token of a person; masked", table, name, count)
    return {name for name, count in found.items() if count}


def _narrow(file: Path, target: Path, tables: list[_Table], audience: AudienceRow, withheld: frozenset[str]) -> None:
    """Write the file of an audience: every table and column, those of hidden classes empty, without the rows that name what is withheld."""
    with warehouse.connect(None) as connection:
        warehouse.attach(connection, file, "whole")
        warehouse.attach(connection, target, "published", new_with_storage=STORAGE)
        warehouse.execute(connection, "create schema published.marts")
        allowed = dict.fromkeys((table.name for table in tables), "true")
        if withheld:
            columns_of = {table.name: {name: kind for name, _, kind in table.columns} for table in tables}
            allowed = narrowing.withhold(connection, "whole", columns_of, withheld)
        is_build = narrowing.read().build if withheld else frozenset()
        for table in tables:
            columns = [
                f"cast(null as {kind}) as {warehouse.identifier(name)}"
                if known in audience.hides or (table.name in is_build and narrowing.is_count(name, kind))
                else warehouse.identifier(name)
                for name, known, kind in table.columns
            ]
            name = f"marts.{warehouse.identifier(table.name)}"
            sql = f"select {', '.join(columns)} from whole.{name} where {allowed[table.name]} order by rowid"
            warehouse.execute(connection, f"create table published.{name} as {sql}")
            for comment in table.comments:
                warehouse.execute(connection, comment)
        if withheld:
            _say_withheld(connection, tables)
        _add_search(connection, tables)
        warehouse.execute(connection, "checkpoint published")
        warehouse.execute(connection, "detach published")


def _say_withheld(connection: Any, tables: list[_Table]) -> None:
    """Say of each mart how many rows this audience does not get."""
    name = f"published.marts.{narrowing.WITHHELD}"
    counted = " union all ".join(
        f"select {warehouse.literal(table.name)}, (select count(*) from whole.marts.{warehouse.identifier(table.name)})"
        f" - (select count(*) from published.marts.{warehouse.identifier(table.name)})"
        for table in tables
    )
    warehouse.execute(connection, f"create table {name} (table_name varchar, rows_withheld bigint)")
    warehouse.execute(connection, f"insert into {name} {counted}")
    about = "How many rows of each mart this audience may not see. A count in a row that is left may count them."
    warehouse.execute(connection, f"comment on table {name} is {warehouse.literal(about)}")


def _open_to(path: Path, group: str | None) -> None:
    """Let a group read, and nobody else; None: whoever is on the machine. Nobody writes files."""
    if group is not None:
        try:
            shutil.chown(path, group=group)
        except (LookupError, PermissionError) as error:
            raise ConfigError(
                f"publishing.yml: group {group!r} cannot be given {path.name} ({error}); make it, and add the user who publishes to it"
            ) from error
    path.chmod((0o755 if path.is_dir() else 0o444) if group is None else (0o750 if path.is_dir() else 0o440))


def _add_search(connection: Any, tables: list[_Table]) -> None:
    if {"mart_search_documents", "mart_search_terms", "mart_search_words"} <= {table.name for table in tables}:
        for statement in ("use published", searching.MACRO, "use memory"):
            warehouse.execute(connection, statement)


def _fingerprints(connection: Any, catalogue: str, tables: list[_Table]) -> dict[str, tuple[int, int]]:
    """Return each table's number of rows and a fingerprint of their contents that does not depend on row order."""
    found = {}
    for table in tables:
        select = table.select.replace(CATALOGUE, catalogue, 1)
        row = warehouse.frame(connection, f"select count(*), coalesce(sum(hash(t)::hugeint), 0)::varchar from ({select}) as t").row(0)
        found[table.name] = (int(row[0]), int(row[1]))
    if found["mart_run"][0] != 1:
        raise WarehouseError(f"marts.mart_run must say in one row what this build is; it has {found['mart_run'][0]} rows")
    return found


def _contents(file: Path, tables: list[_Table]) -> dict[str, tuple[int, int]] | None:
    """Return the fingerprints of a closed published file, or None when it holds other tables or columns, or is damaged."""
    with warehouse.connect(None) as connection:
        try:
            warehouse.attach(connection, file, "published")
            names = warehouse.frame(connection, "select table_name from duckdb_tables() where database_name = 'published'")
            if set(names["table_name"]) != {table.name for table in tables}:
                return None
            return _fingerprints(connection, "published", tables)
        except WarehouseError:
            return None


def _compare(copied: dict[str, tuple[int, int]] | None, wanted: dict[str, tuple[int, int]]) -> None:
    if copied == wanted:
        return
    differing = sorted(name for name in wanted if (copied or {}).get(name) != wanted[name])
    names = ", ".join(differing)
    raise WarehouseError(f"the published copy differs from the warehouse in {len(differing)} tables: {names}; the last mart stays")


def _build(source: Path, file: Path, folder: Path, tables: list[_Table]) -> None:
    folder.mkdir(parents=True)
    with warehouse.connect(None) as connection:
        warehouse.attach(connection, source, "warehouse")
        warehouse.attach(connection, file, "published", new_with_storage=STORAGE)
        warehouse.execute(connection, "create schema published.marts")
        for table in tables:
            name = f"published.marts.{warehouse.identifier(table.name)}"
            warehouse.execute(connection, f"create table {name} as {table.select.replace(CATALOGUE, 'warehouse', 1)}")
            for comment in table.comments:
                warehouse.execute(connection, comment)
            target = warehouse.literal(str(folder / f"{table.name}.parquet"))
            warehouse.execute(connection, f"copy {name} to {target} (format parquet, compression zstd)")
        _add_search(connection, tables)
        warehouse.execute(connection, "checkpoint published")
        warehouse.execute(connection, "detach published")


def _forget_audiences(place: Path, versions: Path, audiences: dict[AudienceRow, frozenset[str]]) -> None:
    """Remove files of versions that are not kept, of audiences that are not declared any more, and what was made under other rules."""
    kept = {file.name for file in versions.glob("aftercast-*.duckdb")}
    declared = {row.name for row in audiences}
    for folder in place.iterdir() if place.is_dir() else ():
        if folder.is_dir() and folder.name not in declared:
            shutil.rmtree(folder)
        elif folder.is_symlink() and folder.stem not in declared:
            folder.unlink()
        elif folder.is_dir():
            for file in folder.glob("aftercast-*.duckdb"):
                if file.name not in kept:
                    file.unlink()
    for row, names in audiences.items():
        rules, current = f"{sorted(row.hides)} {sorted(names)}", (place / f"{row.name}.duckdb").resolve()
        noted = place.parent / ".rules" / row.name
        digest = hashlib.sha256(rules.encode()).hexdigest()
        if not noted.exists() or noted.read_text(encoding="ascii") != digest:
            for file in (place / row.name).glob("aftercast-*.duckdb"):
                if file != current:
                    file.unlink()
            noted.parent.mkdir(mode=0o700, exist_ok=True)
            noted.write_text(digest, encoding="ascii")


def _summary(file: Path, contents: dict[str, tuple[int, int]], *, unchanged: bool) -> Published:
    return Published(file, len(contents), sum(rows for rows, _ in contents.values()), file.stat().st_size, unchanged)
