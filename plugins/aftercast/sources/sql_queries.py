"""The `sql` kind: queries against any database Airflow has a connection to.

Three ways to ask, one a query: `window` streams what happened in the window; `keyset` pages through what was written since, in order of
(time, key), so that edited rows come again and ties are never skipped; `partition` reads whole days again, each replacing what it was,
because late orders and refunds restate history.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo

import polars as pl
import sqlalchemy as sa
from pydantic import Field, model_validator

from aftercast import connections
from aftercast.declarations import Row, SourceRow
from aftercast.entities import ORIGIN_ROW
from aftercast.errors import SourceRejected
from aftercast.settings import Settings, check_options
from aftercast.sources import Batch
from aftercast.sources.buckets import whole_buckets
from aftercast.sources.mapping import Mapped, absent_columns, map_columns
from aftercast.sources.sql_reading import Database, frame_of
from aftercast.window import DAY, Window

ASIDE = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$", re.DOTALL)
BOUNDS = {"start", "end"}


class Query(Mapped):
    """What to ask, and what the rows are.

    `time` and `key` are the columns of a keyset. The window begins `lookback_minutes` early; in mode `partition` that is which days are
    read again. With `bucket_minutes` both ends are moved back to the start of a bucket, so that no bucket is counted in part. `timezone`
    is the zone of days, and of times that name none.
    """

    name: str = ""
    sql: str
    mode: Literal["window", "keyset", "partition"] = "window"
    time: str | None = None
    key: tuple[str, ...] = ()
    lookback_minutes: int = Field(default=0, ge=0, le=366 * 1440)
    bucket_minutes: int = Field(default=0, ge=0, le=1440)

    @model_validator(mode="after")
    def _only_asks(self) -> Self:
        bare = ASIDE.sub(" ", self.sql).strip().rstrip(";").strip()
        if not re.match(r"(?i)[(\s]*(select|with|values|table|from)\b", bare):
            raise ValueError("sql must be one query: it begins with select or with")
        if ";" in bare:
            raise ValueError("sql must be one query, without ; inside")
        return self

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        bound = set(sa.text(self.sql).compile().params)
        if stray := sorted(bound - BOUNDS):
            raise ValueError(f":{stray[0]} is no parameter, only :start and :end are; write a colon that is none as \\:")
        if self.mode == "keyset":
            if not (self.time and self.key):
                raise ValueError(
                    "a keyset needs `time`, the column that says when a row was last written, and `key`, which tells rows apart"
                )
        elif missing := sorted(BOUNDS - bound, reverse=True):
            raise ValueError(
                f"sql does not use {' and '.join(f':{one}' for one in missing)}; without them it reads the whole table every time"
            )
        elif self.time or self.key:
            raise ValueError("`time` and `key` belong to mode keyset")
        if self.bucket_minutes and self.mode != "window":
            raise ValueError("`bucket_minutes` belongs to mode window")
        return self

    @property
    def question(self) -> str:
        return self.sql.strip().rstrip(";")


class Options(Row):
    """Options of an `sql` source."""

    queries: tuple[Query, ...] = Field(min_length=1)
    statement_timeout_seconds: int = Field(default=600, ge=1, le=86_400)
    rows_per_batch: int = Field(default=20_000, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = _names(self.queries)
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two queries are called {twice[0]!r}; give each a `name`")
        return self


def _names(queries: Sequence[Query]) -> list[str]:
    return [query.name or query.entity for query in queries]


@dataclass(frozen=True, slots=True)
class SqlSource:
    """A database and what to ask it."""

    name: str
    connection: str | None
    options: Options

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield what the queries find, in the order they are declared.

        Raises:
            SourceUnavailable: the database is away, was lost in the middle, or took too long.
            SourceRejected: it does not let us in, does not accept a query, or a query writes.
        """
        engine = connections.sql(self.name, self.connection)
        options = self.options
        database = Database(self.name, str(self.connection), engine, options.statement_timeout_seconds, options.rows_per_batch)
        try:
            for name, query in zip(_names(options.queries), options.queries, strict=True):
                asked = Window(window.start - timedelta(minutes=query.lookback_minutes), window.end)
                with database.session(name, query.timezone or "UTC") as session:
                    if query.mode == "partition":
                        for day in ended_days(asked, query.timezone or "UTC"):
                            local = day.start.astimezone(ZoneInfo(query.timezone or "UTC"))
                            yield from _streamed(database, session, query, name, day, piece=f"{name} {local:%Y-%m-%d}")
                    elif query.mode == "keyset":
                        yield from _paged(database, session, query, name, asked)
                    elif whole := whole_buckets(asked, query.bucket_minutes) if query.bucket_minutes else asked:
                        yield from _streamed(database, session, query, name, whole)
                    else:
                        yield Batch(query.entity, pl.DataFrame(), origin=name)
        finally:
            engine.dispose()


def ended_days(window: Window, zone: str) -> Iterator[Window]:
    """Yield the days of a zone that end inside the window (its own end included); they have 23 to 25 hours."""
    where = ZoneInfo(zone)
    utc = window.start.tzinfo
    day = window.start.astimezone(where).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    while True:
        following = (day.replace(tzinfo=None) + DAY).replace(tzinfo=where)
        if following.astimezone(utc) > window.end:
            return
        if following.astimezone(utc) > window.start:
            yield Window(day.astimezone(utc), following.astimezone(utc))
        day = following


def _bounds(query: Query, window: Window) -> dict[str, datetime]:
    """The window as the database compares it: with a zone, or in the zone of times that name none."""
    zone = query.timezone
    local = [moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) if zone else moment for moment in (window.start, window.end)]
    return dict(zip(("start", "end"), local, strict=True))


def _bound(value: Any) -> sa.BindParameter[Any]:
    zoned = isinstance(value, datetime) and value.tzinfo is not None
    return sa.bindparam(None, value, type_=sa.DateTime(timezone=True) if zoned else None, unique=True)


def _text(sql: str, bounds: dict[str, datetime]) -> sa.TextClause:
    asked = set(sa.text(sql).compile().params)
    zoned = sa.DateTime(timezone=bounds["start"].tzinfo is not None)
    return sa.text(sql).bindparams(*(sa.bindparam(name, value, type_=zoned) for name, value in bounds.items() if name in asked))


def _streamed(
    database: Database, session: sa.Connection, query: Query, name: str, window: Window, *, piece: str | None = None
) -> Iterator[Batch]:
    """The rows of one statement, as one batch of the stream after the other."""
    origin = f"{database.connection} {piece or name}"
    if piece:
        yield Batch(query.entity, pl.DataFrame(), origin=origin, piece=piece)
    first = 1
    for names, rows in database.stream(session, _text(query.question, _bounds(query, window))):
        yield Batch(query.entity, _mapped(database, query, name, names, rows, first), origin=origin, piece=piece, first_row=first)
        first += len(rows)


def _paged(database: Database, session: sa.Connection, query: Query, name: str, window: Window) -> Iterator[Batch]:
    """The rows of one statement a page, each beginning after the last row of the one before."""
    cursor = [str(query.time), *query.key]
    columns: list[sa.ColumnElement[Any]] = [sa.column(one) for one in cursor]
    bounds = _bounds(query, window)
    inside = columns[0] >= _bound(bounds["start"]), columns[0] < _bound(bounds["end"])
    every = sa.select(sa.text("*")).select_from(_text(f"({query.question}\n) q", bounds)).where(*inside)
    every = every.order_by(*columns).limit(database.rows + 1)  # one more: it says whether there is another page, and where it begins
    after: list[Any] | None = None
    number = 0
    while True:
        number += 1
        found: list[Sequence[Any]] = []
        names: list[str] = []
        for names, some in database.stream(session, every if after is None else every.where(_later(columns, after))):  # noqa: B007
            found += some
        session.commit()  # no page waits inside a transaction while another one lands
        origin = f"{database.connection} {name} page {number}"
        yield Batch(query.entity, _mapped(database, query, name, names, found[: database.rows], 1), origin=origin)
        cursors = [[one[names.index(column)] for column in cursor] for one in found]
        if any(None in one for one in cursors) or any(one == following for one, following in pairwise([after, *cursors])):
            raise SourceRejected(
                f"source {database.source!r}: {origin}: ({', '.join(cursor)}) is empty in a row, or the same in two; "
                f"`key` must tell rows apart"
            )
        if len(found) <= database.rows:
            return
        after = cursors[database.rows - 1]


def _later(columns: Sequence[sa.ColumnElement[Any]], after: Sequence[Any]) -> sa.ColumnElement[bool]:
    """(a, b, …) > (x, y, …), written so that every database has it."""
    ties = [column == _bound(value) for column, value in zip(columns, after, strict=True)]
    return sa.or_(*(sa.and_(*ties[:place], columns[place] > _bound(after[place])) for place in range(len(columns))))


def _mapped(database: Database, query: Query, name: str, names: Sequence[str], rows: Sequence[Sequence[Any]], first: int) -> pl.DataFrame:
    frame = frame_of(names, rows)
    if absent := absent_columns(query, frame):
        raise SourceRejected(f"source {database.source!r}: query {name!r} finds no column {absent[0]}")
    if not rows:
        return pl.DataFrame()
    if query.timezone:  # a day begins at the midnight of the zone
        frame = frame.with_columns(pl.col(pl.Date).cast(pl.Datetime("us")))
    numbered = frame.with_columns(pl.int_range(first, first + frame.height, dtype=pl.Int64).alias(ORIGIN_ROW))
    mapped = map_columns(query, numbered, name)
    if "source_id" in (query.columns if query.columns is not None else names):
        return mapped
    key = pl.concat_str([pl.col(one).cast(pl.String) for one in query.key], separator="/", ignore_nulls=True) if query.key else pl.lit("")
    return mapped.with_columns(frame.select(source_id=key)["source_id"] if query.key else key.alias("source_id"))


def open(row: SourceRow, settings: Settings) -> SqlSource:
    """Return the database a row of sources.yml declares.

    Raises:
        ConfigError: an option is unknown or does not fit, or a query is not bounded.
    """
    del settings
    return SqlSource(row.name, row.connection, check_options(row, Options))
