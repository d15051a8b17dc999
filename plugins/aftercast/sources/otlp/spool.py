"""Rows set aside on disk while an extract reads, and taken back in parts that fit into memory: what belongs together is in one part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

PART = "part"  # rows of one number are never separated
ROWS_PER_FILE = 25_000
ROOM = 300_000  # rows of one part


class Spool:
    """Rows of one shape; the first value of each is the number (not negative) that keeps it with others."""

    def __init__(self, folder: Path, schema: dict[str, pl.DataType | type[pl.DataType]], *, room: int = ROOM) -> None:
        self._folder, self._schema, self._room = folder, {PART: pl.Int64, **schema}, room
        self._rows: list[tuple[Any, ...]] = []
        self._files: list[Path] = []
        self.height = 0

    def add(self, row: tuple[Any, ...]) -> None:
        self._rows.append(row)
        self.height += 1
        if len(self._rows) >= ROWS_PER_FILE:
            self._flush()

    @property
    def count(self) -> int:
        """Number of parts that fit into memory."""
        return -(-self.height // self._room)

    def parts(self) -> Iterator[pl.DataFrame]:
        """Yield all rows, part by part, in no order."""
        for number in range(self.count):
            yield self.part(number, self.count)

    def part(self, number: int, count: int) -> pl.DataFrame:
        """Return one of `count` parts, so that what another spool holds of the same traces can be read beside it."""
        self._flush()
        if not self._files:
            return pl.DataFrame(schema={name: kind for name, kind in self._schema.items() if name != PART})
        return pl.scan_parquet(self._files, glob=False).filter(pl.col(PART) % count == number).drop(PART).collect()

    def _flush(self) -> None:
        if self._rows:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{len(self._files):06d}.parquet"
            pl.DataFrame(self._rows, schema=self._schema, orient="row").write_parquet(path, compression="lz4")
            self._files.append(path)
            self._rows = []
