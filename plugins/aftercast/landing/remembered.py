"""What correlation keeps from run to run: evidence by day of the incidents, and what the derived tables of rankings were a function of.

All of it can be deleted: the next run computes it again. It lies in a folder named after the code; folders of other code are deleted. A
damaged file is deleted with a warning.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from aftercast.errors import LandingError
from aftercast.landing import storage
from aftercast.landing.tables import derived_path
from aftercast.settings import Settings

log = logging.getLogger(__name__)

AREA = "examined"
TABLES = "tables"
"""A column that tells which rows of derived tables a file belongs to."""


class Shelf:
    """The parts kept by one version of the code, a file each."""

    def __init__(self, settings: Settings, code: str) -> None:
        self._area = settings.derived / AREA
        self._folder = self._area / f"code={hashlib.sha256(code.encode()).hexdigest()[:12]}"

    def notes(self, columns: Sequence[str]) -> Mapping[str, pl.DataFrame]:
        """Some columns of every part."""
        found = {path.stem: _read(path, columns) for path in sorted((self._folder / "evidence").glob("*.parquet"))}
        return {part: rows for part, rows in found.items() if rows is not None}

    def read(self, part: str) -> pl.DataFrame | None:
        """Return a part, whole; None when there is none that can be read."""
        return _read(self._path(part))

    def write(self, part: str, rows: pl.DataFrame) -> None:
        """Replace a part."""
        storage.write(self._path(part), rows)

    def forget(self, part: str) -> None:
        """Delete a part."""
        self._path(part).unlink(missing_ok=True)

    def forget_others(self) -> None:
        """Delete what other code kept."""
        for folder in self._area.glob("code=*"):
            if folder != self._folder:
                shutil.rmtree(folder, ignore_errors=True)

    def _path(self, part: str) -> Path:
        return self._folder / "evidence" / f"{part}.parquet"

    def learned(self, columns: Sequence[str]) -> pl.DataFrame | None:
        """Return the weights learned; None when there is no such file."""
        return _read(self._folder / "learned.parquet", columns)

    def keep_learned(self, rows: pl.DataFrame) -> None:
        """Replace the weights learned."""
        storage.write(self._folder / "learned.parquet", rows)

    def ranked(
        self, settings: Settings, tables: Sequence[str], columns: Sequence[str]
    ) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]] | None:
        """Return what the rankings in derived tables were a function of, and these tables; None unless they belong together.

        A run that was killed between writing a table and writing this leaves them apart: everything is ranked again then.
        """
        rows = _read(self._folder / "ranked.parquet", [*columns, TABLES])
        if rows is None or not rows.height:
            return None
        held = {name: _read(derived_path(settings, name)) for name in tables}
        there = {name: frame for name, frame in held.items() if frame is not None}
        if len(there) < len(tables) or rows[TABLES].unique().to_list() != [_hashes(there)]:
            log.warning("rankings of the last run and what they were a function of do not belong together: every incident is ranked again")
            return None
        return rows.drop(TABLES), there

    def keep_ranked(self, settings: Settings, rows: pl.DataFrame, tables: Sequence[str]) -> None:
        """Keep what the rankings in these tables, just written, were a function of."""
        told = {name: storage.stored_hash(derived_path(settings, name)) or "" for name in tables}
        storage.write(self._folder / "ranked.parquet", rows.with_columns(pl.lit(_listed(told)).alias(TABLES)))


def _hashes(tables: Mapping[str, pl.DataFrame]) -> str:
    return _listed({name: storage.row_hash(rows) for name, rows in tables.items()})


def _listed(hashes: Mapping[str, str]) -> str:
    return " ".join(hashes[name] for name in sorted(hashes))


def _read(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame | None:
    """Return the rows of a file; None when it is not there, or damaged: then it is deleted, for what it held is computed again."""
    try:
        with storage.readable(path):
            return pl.read_parquet(path, columns=list(columns) if columns else None, hive_partitioning=False)
    except FileNotFoundError:
        return None
    except LandingError as error:
        log.warning("%s; what it held is computed again", error)
        if AREA in path.parts:
            path.unlink(missing_ok=True)
        return None
