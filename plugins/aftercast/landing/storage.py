"""Parquet files written whole, and only when their rows changed.

Every file carries a hash of its rows in its metadata. A file whose rows are already on disk is left alone, byte for byte; any other is
written beside its target under a hidden name and renamed over it, so a reader or a crash meets the old file or the new one. A file that
cannot be read (cut off, damaged on disk) is replaced by whoever writes it, and named to whoever reads it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import polars as pl

from aftercast.errors import LandingError

log = logging.getLogger(__name__)

HASH_KEY = "aftercast_rows"
ORIGIN_KEY = "aftercast_origin"
_WINDOW = re.compile(r"(\d{8}T\d{4})_(\d{8}T\d{4})")
OLDEST = pl.CompatLevel.oldest()


def _column_bytes(column: pl.Series) -> list[bytes]:
    """The values of a column as bytes that do not depend on how Polars happens to hold them."""
    if isinstance(column.dtype, pl.List):
        lengths = column.list.len().cast(pl.Int64).fill_null(-1)
        return [lengths.to_numpy().tobytes(), *_column_bytes(column.filter(column.list.len().fill_null(0) > 0).explode())]
    if column.dtype == pl.Categorical:
        # Codes are a process's own: names in the order they come in, and each row's place among them.
        names = column.unique(maintain_order=True)
        places = np.zeros(int(names.to_physical().max() or 0) + 1, dtype=np.uint32)  # type: ignore[arg-type]
        places[names.drop_nulls().to_physical().to_numpy()] = np.flatnonzero(names.is_not_null().to_numpy())
        codes = places[column.to_physical().fill_null(0).to_numpy()]
        codes[column.is_null().to_numpy()] = len(names)
        return [*_column_bytes(names.cast(pl.String)), codes.tobytes()]
    nulls = [column.is_null().to_numpy().tobytes()] if column.null_count() else []
    if column.dtype == pl.String:
        lengths = column.str.len_bytes().cast(pl.Int64).fill_null(-1)
        _, _, text = column.fill_null("").rechunk().to_arrow(compat_level=OLDEST).buffers()
        return [lengths.to_numpy().tobytes(), bytes(text)[: int(lengths.clip(0).sum())] if text else b""]
    if isinstance(column.dtype, pl.Datetime):
        column = column.to_physical()
    filled = column.fill_null(False) if column.dtype == pl.Boolean else column.fill_null(0)
    return [*nulls, filled.to_numpy().tobytes()]


def row_hash(frame: pl.DataFrame, *, ignore: Collection[str] = ()) -> str:
    """Return a hash of column names, types and values in row order; equal rows hash equally on any machine."""
    digest = hashlib.sha256()
    for column in frame.get_columns():
        if column.name not in ignore:
            digest.update(f"{column.name}:{column.dtype}:{len(column)};".encode())
            for part in _column_bytes(column):
                digest.update(part)
    return digest.hexdigest()


def stored_hash(path: Path) -> str | None:
    """Return the hash a file carries; None when there is no file. A file of another origin is hashed by its bytes.

    Raises:
        LandingError: the file is damaged.
    """
    if not path.exists():
        return None
    with readable(path):
        return pl.read_parquet_metadata(path).get(HASH_KEY) or hashlib.sha256(path.read_bytes()).hexdigest()


def origin(path: Path) -> str | None:
    """Return what a file says its rows were made of; None when there is no file, it says nothing, or it is damaged."""
    try:
        return pl.read_parquet_metadata(path).get(ORIGIN_KEY) if path.exists() else None
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        log.warning("%s is damaged (%s); it is written anew", path, _first_line(error))
        return None


def read(path: Path) -> pl.DataFrame:
    """Return the rows of a file.

    Raises:
        LandingError: the file is damaged.
    """
    with readable(path):
        return pl.read_parquet(path, hive_partitioning=False)


def rows(path: Path) -> int:
    """Return how many rows a file has.

    Raises:
        LandingError: the file is damaged.
    """
    with readable(path):
        return int(pl.scan_parquet(path, hive_partitioning=False, glob=False).select(pl.len()).collect().item())


def is_damaged(path: Path, *, ignore: Collection[str] = ()) -> bool:
    """Whether a file cannot be read, or holds other rows than were written (columns in `ignore` apart)."""
    try:
        carried = pl.read_parquet_metadata(path).get(HASH_KEY)
        rows = pl.read_parquet(path, hive_partitioning=False)
    except (pl.exceptions.PolarsError, OSError, ValueError):
        return True
    return carried is not None and carried not in (row_hash(rows, ignore=ignore), row_hash(rows))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Read a file; one that is damaged is named.

    Raises:
        LandingError: it is.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise LandingError(f"{path} is damaged ({_first_line(error)}); {what_to_do(path)}") from error


def what_to_do(path: Path) -> str:
    """Return what to do about a damaged file, which its place and name tell."""
    source = next((part.removeprefix("source=") for part in path.parts if part.startswith("source=")), None)
    if source is None:
        return "delete it and refresh: it is computed again"
    window = _WINDOW.search(path.stem)
    times = (
        " to ".join(f"{one[:4]}-{one[4:6]}-{one[6:8]}T{one[9:11]}:{one[11:]}Z" for one in window.groups()) if window else "the dropped file"
    )
    return f"delete it and extract source {source!r} again, {times} (docs/runbook.md, Backfill)"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


@dataclass(frozen=True, slots=True)
class Staged:
    """Rows ready to become `target`; `temporary` is None when the target already holds them."""

    target: Path
    temporary: Path | None

    @property
    def path(self) -> Path:
        """Where the rows can be read before the commit."""
        return self.temporary or self.target

    def commit(self) -> bool:
        """Put the rows in place; return whether the target changed."""
        if self.temporary is None:
            return False
        self.temporary.replace(self.target)
        return True

    def discard(self) -> None:
        """Forget the staged rows."""
        if self.temporary is not None:
            self.temporary.unlink(missing_ok=True)


def _hidden(target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".{target.name}.tmp-{uuid4().hex[:12]}")


def stage(target: Path, frame: pl.DataFrame, *, ignore: Collection[str] = (), made_of: str | None = None) -> Staged:
    """Write rows beside their target, unless the target already holds them (columns in `ignore` do not count as a difference).

    `made_of` is kept beside the rows and comes back as `origin`.
    """
    fingerprint = row_hash(frame, ignore=ignore)
    if _hash_if_readable(target) == fingerprint and (made_of is None or origin(target) == made_of):
        return Staged(target, None)
    known = {HASH_KEY: fingerprint} | ({} if made_of is None else {ORIGIN_KEY: made_of})
    temporary = _hidden(target)
    with _whole(target, temporary), temporary.open("wb") as file:
        frame.write_parquet(file, compression="zstd", compression_level=1, metadata=known)
        file.flush()
        os.fsync(file.fileno())
    return Staged(target, temporary)


def _hash_if_readable(target: Path) -> str | None:
    try:
        return stored_hash(target)
    except LandingError as error:
        log.warning("%s; it is written anew", error)
        return None


@contextmanager
def _whole(target: Path, temporary: Path) -> Iterator[None]:
    """Leave nothing half written; say what could not be written, and that it is as it was.

    Raises:
        LandingError: the disk is full, or takes nothing for another reason.
    """
    try:
        yield
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, (OSError, pl.exceptions.PolarsError)):
            raise LandingError(
                f"{target} could not be written and is as it was: {_first_line(error)}; free some space, try again"
            ) from error
        raise


def write(target: Path, frame: pl.DataFrame, *, ignore: Collection[str] = (), made_of: str | None = None) -> bool:
    """Make `target` hold exactly these rows, made of that; return whether it changed."""
    return stage(target, frame, ignore=ignore, made_of=made_of).commit()


def write_lines(target: Path, rows: list[dict[str, object]]) -> bool:
    """Make `target` hold these rows as JSON lines (no rows: no file); return whether it changed."""
    text = "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
    if not text:
        existed = target.exists()
        target.unlink(missing_ok=True)
        return existed
    if target.exists() and target.read_text(encoding="utf-8") == text:
        return False
    temporary = _hidden(target)
    with _whole(target, temporary):
        temporary.write_text(text, encoding="utf-8")
    temporary.replace(target)
    return True
