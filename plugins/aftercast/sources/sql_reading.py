"""A database read with manners: read-only, one statement at a time, a bounded part of its result in memory, and failures named."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine, Executable
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError, StatementError

from aftercast.entities import TIME
from aftercast.errors import AftercastError, SourceRejected, SourceUnavailable
from aftercast.privacy import redact

WRITES = ("25006",)
TOO_LONG = ("57014",)
# Servers report who may not come in only in words.
NOT_LET_IN = re.compile(r"(?i)password|authentication|access denied|pg_hba|(role|database) .* does not exist|unknown database")
NOT_UNDERSTOOD = re.compile(r"(?i)no such (table|column|function)|syntax error")
ONLY_READ = re.compile(r"(?i)read-?\s?only|data-modifying")
# In any line of what a driver says: where a name has several addresses, it tells of each.
NO_TLS = re.compile(r"(?i)certificate|does not support SSL|SSL was required|private key file|(?:tls|ssl)v\d+ alert")


@dataclass(frozen=True, slots=True)
class Database:
    """A database of a source, for reading only.

    Attributes:
        source, connection: their names, for messages.
        engine: how to connect.
        most_seconds: what one statement may take.
        rows: how many rows are held at a time.
    """

    source: str
    connection: str
    engine: Engine
    most_seconds: int
    rows: int

    @contextmanager
    def session(self, query: str, zone: str) -> Iterator[Connection]:
        """Connect for one query: read-only, with `zone` as the zone of its days and of times without one.

        Raises:
            SourceUnavailable, SourceRejected: naming the query.
        """
        try:
            with self.engine.connect() as connection:
                for statement in _preparations(self.engine.dialect.name, zone, self.most_seconds):
                    connection.exec_driver_sql(statement)
                connection.commit()
                yield connection
        except SQLAlchemyError as error:
            raise self._named(error, query) from error
        except self.engine.dialect.loaded_dbapi.Error as error:  # what a driver finds while it reads a value
            raise self._named(DBAPIError(None, None, error), query) from error

    def stream(self, connection: Connection, statement: Executable) -> Iterator[tuple[list[str], list[Sequence[Any]]]]:
        """Yield the names of a result's columns and some of its rows at a time; names and no row once when it is empty.

        Raises:
            SourceRejected: two columns have one name.
        """
        with connection.execution_options(yield_per=self.rows).execute(statement) as result:
            names = [str(name) for name in result.keys()]  # noqa: SIM118
            twice = sorted(name for name, times in Counter(names).items() if times > 1)
            if twice:
                raise SourceRejected(
                    f"source {self.source!r}: two columns of the result are called {', '.join(map(repr, twice))}; name them"
                )
            found = False
            for rows in result.partitions(self.rows):
                found = True
                yield names, list(rows)
            if not found:
                yield names, []

    def _named(self, error: SQLAlchemyError, query: str) -> AftercastError:
        """Which of our errors a failure of the database is, said without what the query was bound to."""
        cause = error.orig if isinstance(error, StatementError) and error.orig is not None else error
        state = str(getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or "")
        hint = getattr(getattr(cause, "diag", None), "message_hint", None)
        said = redact(" ".join((str(cause).strip() or type(cause).__name__).splitlines()[0].split()) + (f" ({hint})" if hint else ""))
        where = f"source {self.source!r}: query {query!r}"
        if state in WRITES or ONLY_READ.search(said):
            return SourceRejected(f"{where} wants to write ({said}); a source only reads: make it a select without side effects")
        if (tls := next(filter(NO_TLS.search, str(cause).splitlines()), None)) is not None:
            return SourceRejected(
                f"{where}: no connection that can be trusted ({redact(' '.join(tls.split()))}); in the extra of connection "
                f"{self.connection!r} check `sslrootcert` (a PEM file with the CA of the server), `sslmode`, `sslcert` and `sslkey`, and "
                "that its host is a name the server's certificate is for"
            )
        if state in TOO_LONG:
            return SourceUnavailable(
                f"{where} took longer than {self.most_seconds} s and was cancelled ({said}); index what it filters by, set "
                f"`max_window_days` to ask for less at a time, or raise statement_timeout_seconds"
            )
        if state[:2] == "28" or state == "3D000" or (not state and NOT_LET_IN.search(said)):
            return SourceRejected(
                f"{where}: the database does not let us in ({said}); check login, password and schema of connection {self.connection!r}"
            )
        if state[:2] in ("08", "53", "57", "40") or (
            isinstance(error, (OperationalError, InterfaceError)) and not state and not NOT_UNDERSTOOD.search(said)
        ):
            return SourceUnavailable(f"{where}: the connection was refused or lost ({said}); the next run asks again")
        return SourceRejected(f"{where} was not accepted ({said}); correct its sql in sources.yml or the rights of its login")


def _preparations(dialect: str, zone: str, seconds: int) -> Iterator[str]:
    """What makes a session read-only and bounded, where we know how to say it."""
    if dialect == "postgresql":
        yield "set default_transaction_read_only = on"
        yield f"set time zone '{zone}'"
        yield f"set statement_timeout = {seconds * 1000}"
    elif dialect in ("mysql", "mariadb"):
        yield "set session transaction read only"
        yield f"set time_zone = '{'+00:00' if zone == 'UTC' else zone}'"
        yield f"set session max_execution_time = {seconds * 1000}" if dialect == "mysql" else f"set session max_statement_time = {seconds}"
    elif dialect == "sqlite":
        yield "pragma query_only = on"


def _plain(value: Any) -> str:
    """A value of a type landing has no word for, as text."""
    if isinstance(value, Decimal):
        return format(value, "f")  # never 1E+3
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, default=_plain, ensure_ascii=False)
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    return value.isoformat() if isinstance(value, date) else str(value)


def _series(name: str, values: Sequence[Any]) -> pl.Series:
    kinds = {type(value) for value in values if value is not None}
    kind = next(iter(kinds)) if len(kinds) == 1 else None
    if kind in (str, float, bool, date) or not kinds:
        return pl.Series(name, values, strict=True)
    if kind is int and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pl.Series(name, values, dtype=pl.Int64)
    if kind is datetime:
        zoned = {value.tzinfo is not None for value in values if value is not None}
        if len(zoned) == 1:
            return pl.Series(name, values, dtype=TIME if zoned.pop() else pl.Datetime("us"))
    return pl.Series(name, [None if value is None else _plain(value) for value in values], dtype=pl.String)


def frame_of(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """Return rows of a database as a frame: whole numbers, floats, flags, days and times as such, everything else as text."""
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    return pl.DataFrame([_series(name, values) for name, values in zip(names, columns, strict=True)])
