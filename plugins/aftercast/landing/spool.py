"""Rows of a running extract, kept by entity and day until the extract is complete; beyond a limit they wait on disk.

Batches may come in any number and order; what is handed back for a day is every row of that day, versions of one thing reduced to the last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl

from aftercast.entities import Entity

ORDER, PIECE = "__order", "__piece"


class Spool:
    """Accepted rows of one extract.

    Args:
        folder: an empty folder of this extract alone, on the disk of the landing folder.
        limit: rows held in memory before they are written to `folder`.
    """

    def __init__(self, folder: Path, limit: int = 400_000) -> None:
        self._folder = folder
        self._limit = limit
        self._held: dict[tuple[str, date], list[pl.DataFrame]] = defaultdict(list)
        self._held_rows = 0
        self._parts: dict[tuple[str, date], list[Path]] = defaultdict(list)
        self._seen: dict[str, int] = defaultdict(int)

    def add(self, entity: Entity, frame: pl.DataFrame, piece: str) -> None:
        """Keep the rows of a batch; `piece` is empty for rows that belong to the window."""
        if frame.is_empty():
            return
        start = self._seen[entity.name]
        self._seen[entity.name] += frame.height
        numbered = frame.with_columns(
            pl.int_range(start, start + frame.height, dtype=pl.Int64).alias(ORDER), pl.lit(piece, pl.String).alias(PIECE)
        )
        days = frame[entity.time].dt.date()
        first, last = days.min(), days.max()
        if first == last:
            self._held[entity.name, first].append(numbered)  # type: ignore[index]
        else:
            for (day,), part in numbered.with_columns(days.alias("__day")).partition_by("__day", as_dict=True, include_key=False).items():
                self._held[entity.name, day].append(part)
        self._held_rows += frame.height
        if self._held_rows > self._limit:
            self._spill()

    def _spill(self) -> None:
        for (entity, day), frames in self._held.items():
            parts = self._parts[entity, day]
            path = self._folder / f"{entity}__{day.isoformat()}__{len(parts):05d}.arrow"
            pl.concat(frames).write_ipc(path, compression="lz4")
            parts.append(path)
        self._held.clear()
        self._held_rows = 0

    def _rows(self, entity: Entity, day: date, columns: list[str] | None = None) -> pl.DataFrame:
        parts = [pl.read_ipc(path, columns=columns) for path in self._parts.get((entity.name, day), [])]
        held = [frame.select(columns) if columns else frame for frame in self._held.get((entity.name, day), [])]
        return pl.concat([*parts, *held])

    def _days(self, entity: Entity) -> list[date]:
        return sorted({day for name, day in (*self._parts, *self._held) if name == entity.name})

    def _superseded(self, entity: Entity) -> pl.Series:
        """Order numbers of rows that a later row with the same key replaces, on whichever day that one lies."""
        keys = pl.concat(self._rows(entity, day, [*entity.key, ORDER]) for day in self._days(entity))
        return keys.filter(pl.col(ORDER) != pl.col(ORDER).max().over(*entity.key))[ORDER]

    def days(self, entity: Entity) -> Iterator[tuple[date, pl.DataFrame]]:
        """Yield the rows of each day, one row a key (the last received), sorted by series and then by time, with their `PIECE`."""
        time_in_key = entity.time in entity.key
        series = [name for name in entity.key if name != entity.time]
        gone = None if time_in_key or not self._days(entity) else self._superseded(entity)
        for day in self._days(entity):
            rows = self._rows(entity, day).sort([*series, entity.time, ORDER])
            if gone is None:
                same_as_next = pl.all_horizontal(pl.col(name) == pl.col(name).shift(-1) for name in entity.key).fill_null(False)
                rows = rows.filter(~same_as_next)
            elif len(gone):
                rows = rows.filter(~pl.col(ORDER).is_in(gone.implode()))
            yield day, rows.drop(ORDER)
