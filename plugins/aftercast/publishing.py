"""Publish the marts: copy them out of the warehouse into one immutable, versioned file and point readers at it.

Readers never meet the writer: they open `published/aftercast.duckdb`, a link to a read-only file in storage format v1.0.0 (any DuckDB
from 1.0 on), and find the same tables as Parquet under `published/parquet/current/`. A publish is whole or it is nothing: the new file is
built beside the others, closed, opened again and compared with the warehouse row for row before the link moves, so a failure at any
point leaves readers what they had. Only one publish may run at a time (Airflow's writer pool of one slot sees to it).
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aftercast import searching, warehouse
from aftercast.errors import WarehouseError
from aftercast.settings import Settings

log = logging.getLogger(__name__)

STORAGE = "v1.0.0"
KEEP = 3
BUILDING = ".building-"

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


def publish(settings: Settings, *, version: str, source: Path | None = None) -> Published:
    """Publish every `marts.mart_*` table of the warehouse under a version, and keep the last three versions.

    Args:
        settings: where the warehouse and the published folder are.
        version: name of this build, the same for the same build; letters, digits, `.`, `_`, `+` and `-`.
        source: the file with the marts; default the warehouse.

    Raises:
        WarehouseError: there is nothing to publish, or the copy differs from the warehouse; readers keep the last good mart.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", version):
        raise WarehouseError(f"version {version!r} cannot be a file name; use letters, digits, '.', '_', '+' and '-'")
    source = source or settings.warehouse
    versions, parquet = settings.published / "versions", settings.published / "parquet"
    file, folder = versions / f"aftercast-{version}.duckdb", parquet / version
    for place in (versions, parquet):
        place.mkdir(parents=True, exist_ok=True)
    _sweep(versions, parquet)

    with warehouse.connect(None) as connection:
        warehouse.attach(connection, source, "warehouse")
        tables = _tables(connection)
        wanted = _fingerprints(connection, "warehouse", tables)
    if _points_at(settings.mart, file) and _points_at(parquet / "current", folder) and _contents(file, tables) == wanted:
        return _summary(file, wanted, unchanged=True)

    new_file, new_folder = versions / f"{BUILDING}{version}.duckdb", parquet / f"{BUILDING}{version}"
    try:
        _build(source, new_file, new_folder, tables)
        _compare(_contents(new_file, tables), wanted)
        new_file.chmod(0o444)
        _replace_folder(new_folder, folder)
        new_file.replace(file)
        _sync(file, versions, parquet)
        _swap({parquet / "current": folder, settings.mart: file})
    finally:
        _sweep(versions, parquet)
    _forget_old(versions, parquet, keep=file)
    result = _summary(file, wanted, unchanged=False)
    log.info("%s", result)
    return result


def _tables(connection: Any) -> list[_Table]:
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
    tables = []
    for (name,), group in columns.group_by(["table_name"], maintain_order=True):
        table = f"marts.{warehouse.identifier(str(name))}"
        selected, comments = [], []
        if texts.get(name):
            comments.append(f"comment on table published.{table} is {warehouse.literal(texts[name])}")
        for column, kind, text in group.select("column_name", "data_type", "comment").rows():
            quoted = warehouse.identifier(column)
            portable = _NOT_PORTABLE.sub(lambda found: PORTABLE[found.group(1)], kind)
            selected.append(quoted if portable == kind else f"cast({quoted} as {portable}) as {quoted}")
            if text:
                comments.append(f"comment on column published.{table}.{quoted} is {warehouse.literal(text)}")
        tables.append(_Table(str(name), f"select {', '.join(selected)} from {{catalogue}}.{table}", tuple(comments)))
    if "mart_run" not in {table.name for table in tables}:
        raise WarehouseError(f"nothing to publish: {len(tables)} mart tables and no marts.mart_run; run the marts step first")
    return tables


def _fingerprints(connection: Any, catalogue: str, tables: list[_Table]) -> dict[str, tuple[int, int]]:
    """Return each table's number of rows and a fingerprint of their contents that does not depend on row order."""
    found = {}
    for table in tables:
        select = table.select.format(catalogue=catalogue)
        row = warehouse.frame(connection, f"select count(*), coalesce(sum(hash(t)::hugeint), 0)::varchar from ({select}) as t").row(0)
        found[table.name] = (int(row[0]), int(row[1]))
    if found["mart_run"][0] != 1:
        raise WarehouseError(f"marts.mart_run must say in one row what this build is; it has {found['mart_run'][0]} rows")
    return found


def _contents(file: Path, tables: list[_Table]) -> dict[str, tuple[int, int]] | None:
    """Return the fingerprints of a closed published file, or None when it holds other tables or columns."""
    with warehouse.connect(None) as connection:
        warehouse.attach(connection, file, "published")
        names = warehouse.frame(connection, "select table_name from duckdb_tables() where database_name = 'published'")
        if set(names["table_name"]) != {table.name for table in tables}:
            return None
        try:
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
            warehouse.execute(connection, f"create table {name} as {table.select.format(catalogue='warehouse')}")
            for comment in table.comments:
                warehouse.execute(connection, comment)
            target = warehouse.literal(str(folder / f"{table.name}.parquet"))
            warehouse.execute(connection, f"copy {name} to {target} (format parquet, compression zstd)")
        if {"mart_search_documents", "mart_search_terms", "mart_search_words"} <= {table.name for table in tables}:
            for statement in ("use published", searching.MACRO, "use memory"):
                warehouse.execute(connection, statement)
        warehouse.execute(connection, "checkpoint published")
        warehouse.execute(connection, "detach published")


def _swap(links: dict[Path, Path]) -> None:
    """Point every link at its target; when one cannot be moved, those moved before it go back."""
    before: dict[Path, Path | None] = {}
    try:
        for link, target in links.items():
            pointed_at = link.readlink() if link.is_symlink() else None
            _link(link, Path(os.path.relpath(target, link.parent)))
            before[link] = pointed_at
    except OSError as error:
        for moved, pointed_at in before.items():
            if pointed_at:
                _link(moved, pointed_at)
            else:
                moved.unlink()
        raise WarehouseError(f"cannot point {link} at {target.name}: {error}; readers keep the last mart") from error


def _link(link: Path, target: Path) -> None:
    fresh = link.with_name(f"{BUILDING}{link.name}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)


def _replace_folder(new: Path, folder: Path) -> None:
    """Rename a folder into place. A folder of the same version can only be a leftover of a publish that did not finish."""
    if folder.exists():
        folder.rename(folder.with_name(f"{BUILDING}old-{folder.name}"))
    new.rename(folder)


def _sync(*paths: Path) -> None:
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _points_at(link: Path, target: Path) -> bool:
    return link.is_symlink() and target.exists() and link.resolve() == target.resolve()


def _sweep(*places: Path) -> None:
    """Remove whatever an unfinished publish left, this one or one that was killed."""
    for place in places:
        for leftover in place.glob(f"{BUILDING}*"):
            shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()


def _forget_old(versions: Path, parquet: Path, *, keep: Path) -> None:
    files = sorted(versions.glob("aftercast-*.duckdb"), key=lambda file: (file != keep, -file.stat().st_mtime_ns, file.name))
    for file in files[KEEP:]:
        file.unlink()
    kept = {file.name.removeprefix("aftercast-").removesuffix(".duckdb") for file in files[:KEEP]}
    for folder in parquet.iterdir():
        if folder.is_dir() and not folder.is_symlink() and folder.name not in kept:
            shutil.rmtree(folder)


def _summary(file: Path, contents: dict[str, tuple[int, int]], *, unchanged: bool) -> Published:
    return Published(file, len(contents), sum(rows for rows, _ in contents.values()), file.stat().st_size, unchanged)
