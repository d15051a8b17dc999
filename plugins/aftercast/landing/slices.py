"""Which file holds which rows: names of slices, and which older files a new extract makes superfluous."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from aftercast.landing import storage
from aftercast.settings import Settings
from aftercast.window import DAY, Window

NOBODY = "_none"  # the source of the empty files that give every table its columns
REPLAYED = "-replayed"
_WINDOW = re.compile(r"^(\d{8}T\d{4})_(\d{8}T\d{4})$")


def piece_label(piece: str) -> str:
    """Return a file name for a dropped file: readable, and different for different files."""
    readable = re.sub(r"[^A-Za-z0-9]+", "_", piece).strip("_")[:60]
    return f"{readable}-{hashlib.sha256(piece.encode()).hexdigest()[:8]}"


def window_of(label: str) -> Window | None:
    """Return the window a label names; None for the label of a piece or of replayed rows."""
    match = _WINDOW.match(label)
    if match is None:
        return None
    start, end = (datetime.strptime(part, "%Y%m%dT%H%M").replace(tzinfo=UTC) for part in match.groups())
    return Window(start, end) if start < end else None


def slice_label(window: Window, day: date) -> str:
    """Return the label of the part of a window on a day; of the whole window when the day lies outside (a late row, for example)."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    start, end = max(window.start, midnight), min(window.end, midnight + DAY)
    return Window(start, end).label() if start < end else window.label()


def entity_folder(settings: Settings, entity: str, source: str) -> Path:
    """Return where a source's rows of an entity lie."""
    return settings.landing / entity / f"source={source}"


def slice_path(settings: Settings, entity: str, source: str, day: date, label: str) -> Path:
    """Return the file of a slice on a day."""
    return entity_folder(settings, entity, source) / f"date={day.isoformat()}" / f"{label}.parquet"


def superseded(files: Iterator[Path], *, window: Window | None, pieces: Collection[str]) -> list[Path]:
    """Return the files that an extract of a window (None: of pieces only) and of pieces replaces, whether it found rows for them or not."""
    old = []
    for path in sorted(files):
        label = path.name.split(".", 1)[0].rsplit("__", 1)[-1]
        slice_ = window_of(label)
        if label in pieces or (window is not None and slice_ is not None and window.start <= slice_.start and slice_.end <= window.end):
            old.append(path)
    return old


def landing_fingerprint(settings: Settings, hashed: Callable[[Path], str | None] = storage.stored_hash) -> str:
    """Return a hash of what has landed: names of files and hashes of their rows, whenever and however often they were written.

    `hashed` reads the hash of a file; who asks for several fingerprints at once may remember it.
    """
    digest = hashlib.sha256()
    for path in sorted(settings.landing.glob("**/*.parquet")):
        if f"source={NOBODY}" not in path.parts:
            digest.update(f"{path.relative_to(settings.landing).as_posix()} {hashed(path)}\n".encode())
    return digest.hexdigest()[:16]


def landed_days(
    settings: Settings, entity: str, until: datetime, also: str, hashed: Callable[[Path], str | None] = storage.stored_hash
) -> pl.DataFrame:
    """Return one row per day an entity has rows of: entity, day, n_rows, and a fingerprint of what the warehouse makes of the day.

    Args:
        settings: where the files lie.
        entity: landing entity.
        until: rows from here on do not count yet, which changes what is made of the days it cuts.
        also: fingerprint of everything but the files that the rows of any day depend on.
        hashed: reads the hash of a file.
    """
    files: dict[date, list[Path]] = {}
    for path in sorted((settings.landing / entity).glob("source=*/date=*/*.parquet")):
        if f"source={NOBODY}" not in path.parts:
            files.setdefault(date.fromisoformat(path.parent.name.removeprefix("date=")), []).append(path)
    rows = []
    for day, paths in sorted(files.items()):
        end = datetime(day.year, day.month, day.day, tzinfo=UTC) + DAY
        digest = hashlib.sha256(f"{also} {until.isoformat() if until < end else 'whole'}\n".encode())
        for path in paths:
            digest.update(f"{path.relative_to(settings.landing).as_posix()} {hashed(path)}\n".encode())
        n_rows = pl.scan_parquet(paths, hive_partitioning=False, glob=False).select(pl.len()).collect().item()
        rows.append((entity, day.isoformat(), n_rows, digest.hexdigest()[:16]))
    return pl.DataFrame(rows, schema={"entity": pl.String, "day": pl.String, "n_rows": pl.Int64, "fingerprint": pl.String}, orient="row")
