"""What detection hands from task to task and keeps from run to run: masks, what each chunk found, and scores (points: watched.py).

Series are dealt to chunks by a hash of their name, so that a chunk keeps its series while others come and go. All of it can be deleted:
the next run computes it again.
"""

from __future__ import annotations

import logging
import shutil
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from aftercast.errors import LandingError
from aftercast.landing import storage
from aftercast.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One of `of` parts of all series, numbered from 0; written `0/2`."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> Chunk:
        """Read what `str` wrote.

        Raises:
            LandingError: the text is no chunk.
        """
        number, _, of = text.partition("/")
        if not (number.isdigit() and of.isdigit() and int(number) < int(of)):
            raise LandingError(f"{text!r} is no chunk of series; expected a number below the number of chunks, such as 0/2")
        return cls(int(number), int(of))


def chunks_for(n_series: int, series_per_chunk: int) -> list[Chunk]:
    """Return the chunks for so many series: a power of two, at least two, so that a growing company seldom deals anew."""
    of = 2
    while of * series_per_chunk < n_series:
        of *= 2
    return [Chunk(number, of) for number in range(of)]


def deal(series_ids: pl.Series, of: int) -> pl.Series:
    """Return the chunk number of each series."""
    names = series_ids.unique()
    numbers = pl.Series([zlib.crc32(name.encode()) % of for name in names], dtype=pl.Int64)
    return series_ids.replace_strict(names, numbers, return_dtype=pl.Int64)


def write_masks(settings: Settings, masks: pl.DataFrame) -> None:
    """Write the windows nothing may be learned from."""
    storage.write(settings.derived / "watched" / "masks.parquet", masks)


def read_masks(settings: Settings) -> pl.DataFrame:
    """Return the windows nothing may be learned from."""
    return storage.read(settings.derived / "watched" / "masks.parquet")


def write_found(settings: Settings, table: str, chunk: Chunk, frame: pl.DataFrame) -> None:
    """Write what a chunk found of a derived table."""
    storage.write(part_of(settings, "found", chunk) / f"{table}.parquet", frame)


def read_found(settings: Settings, table: str, chunks: Iterable[Chunk]) -> pl.DataFrame:
    """Return what all chunks found of a derived table."""
    return pl.concat([storage.read(part_of(settings, "found", chunk) / f"{table}.parquet") for chunk in chunks])


def keep_scores(settings: Settings, code: str, chunk: Chunk, scores: pl.DataFrame, days: Iterable[datetime]) -> None:
    """Keep the scores of those days, one file a day."""
    changed = scores.filter(pl.col("day_at").is_in(list(days)))
    for (day,), rows in changed.group_by("day_at"):
        storage.write(_scores(settings, code) / _part(chunk) / f"{day:%Y-%m-%d}.parquet", rows.sort("series_id"))


def kept_scores(settings: Settings, code: str, chunk: Chunk) -> pl.DataFrame | None:
    """Return the scores kept by this code for a chunk; None when there are none. A damaged file is forgotten: its day is scored again."""
    kept = []
    for path in sorted((_scores(settings, code) / _part(chunk)).glob("*.parquet")):
        try:
            kept.append(storage.read(path))
        except LandingError as error:
            log.warning("%s; its day is scored again", error)
            path.unlink(missing_ok=True)
    return pl.concat(kept).sort("day_at", "signal", "series_id") if kept else None


def scores_of(settings: Settings, series_id: str) -> pl.DataFrame | None:
    """Return the newest kept scores of one series, by day; None when there are none."""
    found = [pl.scan_parquet(files).filter(pl.col("series_id") == series_id).collect() for files in _score_files(settings)]
    whole = [rows for rows in found if rows.height]
    return whole[-1].unique("day_at", keep="last", maintain_order=True).sort("day_at") if whole else None


def _score_files(settings: Settings) -> Iterator[list[Path]]:
    folders = [path for path in (settings.derived / "scores").glob("code=*/of=*") if path.is_dir()]
    for folder in sorted(folders, key=lambda path: path.stat().st_mtime):
        if files := sorted(folder.glob("chunk=*/*.parquet")):
            yield files


def forget_others(settings: Settings, code: str, of: int) -> None:
    """Delete scores of other code, and whatever was dealt to another number of chunks."""
    for folder in (settings.derived / "scores").glob("code=*"):
        if folder != _scores(settings, code):
            shutil.rmtree(folder, ignore_errors=True)
    for area in (_scores(settings, code), settings.derived / "watched", settings.derived / "found"):
        for folder in area.glob("of=*"):
            if folder.name != f"of={of}":
                shutil.rmtree(folder, ignore_errors=True)


def _part(chunk: Chunk) -> Path:
    return Path(f"of={chunk.of}") / f"chunk={chunk.number}"


def part_of(settings: Settings, area: str, chunk: Chunk) -> Path:
    """Return where files of an area lie that are of a chunk."""
    return settings.derived / area / _part(chunk)


def _scores(settings: Settings, code: str) -> Path:
    return settings.derived / "scores" / f"code={code}"
