"""The only module that opens DuckDB.

Readers get frames; dbt alone writes `warehouse.duckdb`; `publishing` writes new published files through `Database`. Times come back
as aware UTC microseconds.
"""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from aftercast.errors import WarehouseError

log = logging.getLogger(__name__)

PATIENCE = 1800.0  # seconds; longer than any step works


@contextmanager
def connect(path: Path | None, *, read_only: bool = True, memory: str | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB file (None: in memory) in UTC, and close it afterwards.

    Args:
        path: the file.
        read_only: whether nothing is written.
        memory: how much DuckDB may use, such as `2GB`, before it works on disk; None: four fifths of the machine's.

    Raises:
        WarehouseError: the file is missing, locked by a writer, or not a DuckDB file.
    """
    if path is not None and read_only and not path.exists():
        raise WarehouseError(f"{path} does not exist yet; `aftercast run` builds it")
    try:
        connection = duckdb.connect(str(path.resolve()) if path else ":memory:", read_only=read_only and path is not None)
    except duckdb.Error as error:
        raise WarehouseError(f"cannot open {path}: {error}") from error
    try:
        connection.execute("set timezone = 'UTC'")
        if memory:
            connection.execute(f"set memory_limit = {literal(memory)}")
        yield connection
    finally:
        connection.close()


@contextmanager
def turn(home: Path, *, patience: float = PATIENCE) -> Iterator[None]:
    """Be the only step that works on the warehouse or publishes it; wait for the one that does. A killed process gives its turn back.

    Airflow's pool of one slot lets one step at a time begin. This holds where Airflow does not see the other one: a task that is tried
    again while its first try still runs, a second Airflow over the same home.

    Raises:
        WarehouseError: the other one does not come to an end.
    """
    path = home / "locks" / "warehouse.turn"
    path.parent.mkdir(parents=True, exist_ok=True)
    until, told = time.monotonic() + patience, False
    with path.open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > until:
                    raise WarehouseError(
                        f"another step has worked on the warehouse of {home} for {patience / 60:.0f} minutes; "
                        "stop that process (`fuser -v` on the warehouse names it), then clear this task"
                    ) from error
                if not told:
                    log.info("waiting until another step that works on the warehouse has ended")
                    told = True
                time.sleep(0.2)
        yield


def frame(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] = ()) -> pl.DataFrame:
    """Run one query and return its rows as a Polars frame.

    Raises:
        WarehouseError: the query does not run; carries DuckDB's message.
    """
    try:
        relation = connection.sql(sql, params=list(parameters) or None)
        result: pl.DataFrame = pl.DataFrame() if relation is None else relation.pl()
    except duckdb.Error as error:
        raise WarehouseError(str(error)) from error
    times = [pl.col(name).cast(pl.Datetime("us", "UTC")) for name, kind in result.schema.items() if isinstance(kind, pl.Datetime)]
    return result.with_columns(times)


def execute(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Run one statement for its effect.

    Raises:
        WarehouseError: the statement does not run; carries DuckDB's message.
    """
    try:
        connection.execute(sql)
    except duckdb.Error as error:
        raise WarehouseError(str(error)) from error


def attach(connection: duckdb.DuckDBPyConnection, path: Path, name: str, *, new_with_storage: str | None = None) -> None:
    """Attach a file as catalogue `name`: read-only, or as a new file in the given storage version (`v1.0.0` is read by every client).

    Raises:
        WarehouseError: the file is missing (or, when new, already there), locked by a writer, or not a DuckDB file.
    """
    if new_with_storage is None and not path.exists():
        raise WarehouseError(f"{path} does not exist yet; `aftercast run` builds it")
    if new_with_storage is not None and path.exists():
        raise WarehouseError(f"{path} is already there; a new file was asked for")
    option = "read_only" if new_with_storage is None else f"storage_version '{new_with_storage}'"
    execute(connection, f"attach {literal(str(path.resolve()))} as {identifier(name)} ({option})")


def identifier(name: str) -> str:
    """Return a name quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text quoted for SQL."""
    return "'" + text.replace("'", "''") + "'"


def query(path: Path, sql: str, parameters: Sequence[Any] = (), *, sealed: bool = False) -> pl.DataFrame:
    """Open a file read-only, run one query, close it, return the rows. `sealed`: for SQL that is not ours, which may touch this file only.

    Raises:
        WarehouseError: the file cannot be opened or the query does not run.
    """
    with connect(path) as connection:
        if sealed:
            for setting in ("enable_external_access = false", "lock_configuration = true"):
                execute(connection, f"set {setting}")
        return frame(connection, sql, parameters)
