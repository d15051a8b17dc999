"""The tables analyses and configuration hand to dbt, and the empty files that give every table its columns from the first day."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from aftercast.analyses import DECLARED, DERIVED, Schema
from aftercast.entities import COVERAGE_SCHEMA, ENTITIES
from aftercast.errors import LandingError
from aftercast.landing import storage
from aftercast.landing.slices import NOBODY
from aftercast.settings import Settings

log = logging.getLogger(__name__)

ABANDONED_AFTER = 86_400  # seconds; no extract runs for a day, so an older temporary file belongs to a killed one


def derived_path(settings: Settings, table: str) -> Path:
    """Return the file of a derived table."""
    return settings.derived / table / f"{table}.parquet"


def declared_path(settings: Settings, table: str) -> Path:
    """Return the file of a declared table."""
    return settings.home / "declared" / table / f"{table}.parquet"


def _fit(table: str, frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """The frame in exactly this schema, in a stable order.

    Raises:
        LandingError: columns are missing or unknown, or values do not cast.
    """
    missing, unknown = sorted(schema.keys() - set(frame.columns)), sorted(set(frame.columns) - schema.keys())
    if missing or unknown:
        raise LandingError(f"table {table}: missing columns {missing or 'none'}, unknown columns {unknown or 'none'}; see analyses.py")
    zoneless = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime) and kind.time_zone is None]
    if zoneless:
        raise LandingError(f"table {table}: times without zone in {', '.join(zoneless)}; attach UTC before writing")
    ordered = frame.select(list(schema))
    no_number = [pl.col(name).fill_nan(None) for name, kind in ordered.schema.items() if kind.is_float()]
    try:
        fitted = ordered.with_columns(no_number).select(pl.col(name).cast(kind) for name, kind in schema.items())
    except pl.exceptions.PolarsError as error:
        raise LandingError(f"table {table}: {error}") from error
    keys = [name for name, kind in fitted.schema.items() if not isinstance(kind, pl.List)]
    return fitted.sort(keys, maintain_order=True) if keys else fitted


def write_derived(settings: Settings, name: str, frame: pl.DataFrame) -> bool:
    """Replace a derived table, whole; return whether it changed. NaN is written as null: unknown.

    Raises:
        LandingError: no such table, or the frame is not in its schema.
    """
    if name not in DERIVED:
        raise LandingError(f"no derived table {name!r}; known: {', '.join(sorted(DERIVED))}")
    return storage.write(derived_path(settings, name), _fit(name, frame, DERIVED[name]))


def write_declared(settings: Settings, tables: Mapping[str, pl.DataFrame]) -> bool:
    """Replace declared tables, each whole; return whether any changed.

    Raises:
        LandingError: no such table, or a frame is not in its schema; nothing is written then.
    """
    unknown = sorted(set(tables) - DECLARED.keys())
    if unknown:
        raise LandingError(f"no declared tables {unknown}; known: {', '.join(sorted(DECLARED))}")
    fitted = {name: _fit(name, frame, DECLARED[name]) for name, frame in tables.items()}
    changed = [storage.write(declared_path(settings, name), frame) for name, frame in fitted.items()]
    return any(changed)


def prepare(settings: Settings) -> None:
    """Make the folders, give every table a file with all its columns, and sweep what killed extracts left behind."""
    for place in (settings.landing, settings.quarantine, settings.derived, settings.home / "staging"):
        place.mkdir(parents=True, exist_ok=True)
    for entity in ENTITIES.values():
        path = settings.landing / entity.name / f"source={NOBODY}" / "date=1970-01-01" / "empty.parquet"
        storage.write(path, pl.DataFrame(schema=entity.schema))
    storage.write(settings.landing / "coverage" / f"source={NOBODY}" / "empty.parquet", pl.DataFrame(schema=COVERAGE_SCHEMA))
    for path, schema in (
        *((derived_path(settings, name), schema) for name, schema in DERIVED.items()),
        *((declared_path(settings, name), schema) for name, schema in DECLARED.items()),
    ):
        empty = pl.DataFrame(schema=schema)
        if not path.exists() or _schema(path) != empty.schema:
            storage.write(path, empty)
    _sweep(settings)


def _schema(path: Path) -> pl.Schema:
    """The columns of a file; none when it is damaged: what was computed is computed again."""
    try:
        return pl.Schema(pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError) as error:
        log.warning("%s is damaged (%s) and is made anew", path, str(error).splitlines()[0])
        return pl.Schema()


def damaged(settings: Settings) -> list[Path]:
    """Return the files of landing, declared and derived tables that cannot be read or hold other rows than were written; reads them all."""
    places = (settings.landing, settings.home / "declared", settings.derived)
    # The time of landing is no part of what makes two extracts equal, so landed files carry the hash of the rest.
    return [
        path
        for place in places
        for path in sorted(place.rglob("*.parquet"))
        if storage.is_damaged(path, ignore={"ingested_at"} if place == settings.landing else ())
    ]


def _sweep(settings: Settings) -> None:
    oldest = time.time() - ABANDONED_AFTER
    for place in (settings.landing, settings.derived, settings.home / "declared", settings.home / "staging"):
        for path in place.glob("**/.*.tmp-*" if place.name != "staging" else "*/*"):
            if path.is_file() and path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)
