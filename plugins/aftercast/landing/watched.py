"""The points of watched series as `watch` laid them out: one file per chunk and UTC day, of all signals, sorted by series and time.

A file carries what the points of each signal in it were made of, so whether it still holds is told by the file alone: what is missing, cut
off, of another making or left behind by a killed task is laid out again, and nothing else. All of it can be deleted.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from aftercast.errors import LandingError
from aftercast.landing import storage
from aftercast.landing.working import Chunk, deal, part_of
from aftercast.settings import Settings

log = logging.getLogger(__name__)

LAY_OUT_AGAIN = "clear refresh_warehouse.watch and what follows: the day is laid out again"
NAMES = pl.col(pl.String, pl.Categorical).cast(pl.Categorical)  # a day of points has few names


def kept(settings: Settings, of: int, days: Iterable[date]) -> dict[date, dict[str, str]]:
    """Return, of those days, the signals whose points lie in the files of all `of` chunks, and what they were made of."""
    found = {}
    for day in days:
        known = [_made_of(_path(settings, Chunk(number, of), day)) for number in range(of)]
        found[day] = {name: made_of for name, made_of in known[0].items() if all(one.get(name) == made_of for one in known)}
        if any(one != known[0] for one in known):
            found[day] |= {"": "chunks differ"}  # no signal's name: the day is not as anybody wants it
    return found


def lay_out(settings: Settings, of: int, points: pl.DataFrame, made_of: Mapping[date, Mapping[str, str]], again: Collection[str]) -> None:
    """Write days of points (columns of `detection.series.POINTS`, any order), each series to its chunk.

    Args:
        settings: where files lie.
        of: number of chunks.
        points: of the signals in `again`, on the days of `made_of`.
        made_of: of each day, the signals it shall hold and what they are made of; those not in `again` keep the rows they have.
        again: names of the signals laid out again.

    Raises:
        LandingError: rows that stay cannot be read (their file is forgotten), or a file cannot be written.
    """
    points = points.with_columns(NAMES)
    names = points["series_id"].unique().cast(pl.String).sort()
    numbers = dict(zip(names, deal(names, of), strict=True))
    chunk = _looked_up(points["series_id"], numbers)
    rank = _looked_up(points["series_id"], {name: place for place, name in enumerate(names)})
    day = points["bucket_at"].dt.epoch("d").cast(pl.Int64).to_numpy()
    order = np.lexsort((points["bucket_at"].to_physical().to_numpy(), rank, chunk, day))
    points, place = points[order], (day * of + chunk)[order]
    for one, signals in made_of.items():
        for number in range(of):
            at = (one - date(1970, 1, 1)).days * of + number
            first, until = np.searchsorted(place, [at, at + 1])
            path = _path(settings, Chunk(number, of), one)
            rows = points[int(first) : int(until)]
            staying = set(signals) - set(again)
            if staying:
                old = _read([path], pl.col("signal").cast(pl.String).is_in(list(staying)))
                rows = pl.concat([old, rows]).sort(pl.col("series_id").cast(pl.String), "bucket_at")
            storage.write(path, rows, made_of=json.dumps(dict(sorted(signals.items()))))


def keep_only(settings: Settings, of: int, days: Collection[date]) -> int:
    """Say that points are laid out for those days, and delete the files of all others; return how many went."""
    storage.write(_days(settings), pl.DataFrame({"day": sorted(map(str, days))}, schema={"day": pl.String}))
    wanted, gone = {f"{day}.parquet" for day in days}, 0
    for number in range(of):
        for path in part_of(settings, "watched", Chunk(number, of)).glob("*.parquet"):
            if path.name not in wanted:
                path.unlink(missing_ok=True)
                gone += 1
    return gone


def read(settings: Settings, signal: str, chunk: Chunk) -> pl.DataFrame | None:
    """Return the points of a signal in a chunk, day by day, each day sorted by series and time, names as categories; None: of no day.

    Raises:
        LandingError: a file is damaged, and is forgotten, or is gone: without its day the history would have a hole that nobody sees.
    """
    paths = [_path(settings, chunk, day) for day in map(date.fromisoformat, storage.read(_days(settings))["day"])]
    gone = [path for path in paths if not path.exists()]
    if gone:
        raise LandingError(f"{', '.join(map(str, gone))} is gone; {LAY_OUT_AGAIN}")
    return _read(paths, pl.col("signal") == signal) if paths else None


def forget_damaged(settings: Settings, of: int, days: Iterable[date]) -> set[date]:
    """Delete the files of those days whose rows cannot be read; return the days of these."""
    paths = [(day, _path(settings, Chunk(number, of), day)) for day in days for number in range(of)]
    found = {day for day, path in paths if path.exists() and storage.is_damaged(path)}
    for day, path in paths:
        if day in found:
            log.warning("%s is damaged; its day is laid out again", path)
            path.unlink(missing_ok=True)
    return found


def _read(paths: list[Path], wanted: pl.Expr) -> pl.DataFrame:
    try:
        return pl.scan_parquet(paths, hive_partitioning=False, glob=False).filter(wanted).collect()
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        damaged = [path for path in paths if storage.is_damaged(path)]
        for path in damaged:
            path.unlink(missing_ok=True)
        told = ", ".join(map(str, damaged)) or str(paths[0].parent)
        raise LandingError(f"{told} is damaged and was deleted; {LAY_OUT_AGAIN}") from error


def _looked_up(names: pl.Series, found: Mapping[str, int]) -> npt.NDArray[np.int64]:
    """The number of each name, by way of its category."""
    codes = names.to_physical().to_numpy()
    table = np.zeros(int(codes.max()) + 1 if len(codes) else 1, dtype=np.int64)
    once = names.unique()
    table[once.to_physical().to_numpy()] = [found[name] for name in once.cast(pl.String)]
    return np.asarray(table[codes])


def _days(settings: Settings) -> Path:
    return settings.derived / "watched" / "days.parquet"


def _path(settings: Settings, chunk: Chunk, day: date) -> Path:
    return part_of(settings, "watched", chunk) / f"{day}.parquet"


def _made_of(path: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(storage.origin(path) or "{}")
    return found
