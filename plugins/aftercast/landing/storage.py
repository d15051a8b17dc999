"""Parquet files written whole, and only when their rows changed.

Every file carries a hash of its rows in its metadata. A file whose rows are already on disk is left alone, byte for byte; any other is
written beside its target under a hidden name and renamed over it, so a reader or a crash meets the old file or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import polars as pl

HASH_KEY = "aftercast_rows"
OLDEST = pl.CompatLevel.oldest()


def _column_bytes(column: pl.Series) -> list[bytes]:
    """The values of a column as bytes that do not depend on how Polars happens to hold them."""
    if isinstance(column.dtype, pl.List):
        lengths = column.list.len().cast(pl.Int64).fill_null(-1)
        return [lengths.to_numpy().tobytes(), *_column_bytes(column.filter(column.list.len().fill_null(0) > 0).explode())]
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
    """Return the hash a file carries; None when there is no file. A file of another origin is hashed by its bytes."""
    if not path.exists():
        return None
    return pl.read_parquet_metadata(path).get(HASH_KEY) or hashlib.sha256(path.read_bytes()).hexdigest()


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


def stage(target: Path, frame: pl.DataFrame, *, ignore: Collection[str] = ()) -> Staged:
    """Write rows beside their target, unless the target already holds them (columns in `ignore` do not count as a difference)."""
    fingerprint = row_hash(frame, ignore=ignore)
    if stored_hash(target) == fingerprint:
        return Staged(target, None)
    temporary = _hidden(target)
    with temporary.open("wb") as file:
        frame.write_parquet(file, compression="zstd", compression_level=1, metadata={HASH_KEY: fingerprint})
        file.flush()
        os.fsync(file.fileno())
    return Staged(target, temporary)


def write(target: Path, frame: pl.DataFrame, *, ignore: Collection[str] = ()) -> bool:
    """Make `target` hold exactly these rows; return whether it changed."""
    return stage(target, frame, ignore=ignore).commit()


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
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(target)
    return True
