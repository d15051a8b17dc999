"""Versions of the mart on disk: links that move together, the last few versions, and what an unfinished publish left."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from aftercast.errors import WarehouseError

KEEP = 3
BUILDING = ".building-"


def swap(links: dict[Path, Path]) -> None:
    """Point every link at its target; when one cannot be moved, those moved before it go back."""
    before: dict[Path, Path | None] = {}
    try:
        for link, target in links.items():
            pointed_at = link.readlink() if link.is_symlink() else None
            _link(link, Path(os.path.relpath(target, link.parent)))
            before[link] = pointed_at
    except OSError as error:
        for moved, pointed_at in before.items():
            if pointed_at:
                _link(moved, pointed_at)
            else:
                moved.unlink()
        raise WarehouseError(f"cannot point {link} at {target.name}: {error}; readers keep the last mart") from error


def _link(link: Path, target: Path) -> None:
    fresh = link.with_name(f"{BUILDING}{link.name}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)


def replace_folder(new: Path, folder: Path) -> None:
    """Rename a folder into place. A folder of the same version can only be a leftover of a publish that did not finish."""
    if folder.exists():
        folder.rename(folder.with_name(f"{BUILDING}old-{folder.name}"))
    new.rename(folder)


def sync(*paths: Path) -> None:
    """Wait until files and folders are on disk."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def points_at(link: Path, target: Path) -> bool:
    """Whether a link leads to a target that is there."""
    return link.is_symlink() and target.exists() and link.resolve() == target.resolve()


def sweep(*places: Path) -> None:
    """Remove whatever an unfinished publish left, this one or one that was killed."""
    for place in places:
        for leftover in place.glob(f"{BUILDING}*"):
            shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()


def forget_old(versions: Path, parquet: Path, *, keep: Path) -> None:
    """Remove all versions but `keep` and the latest others, `KEEP` in all, and the Parquet files of those removed."""
    files = sorted(versions.glob("aftercast-*.duckdb"), key=lambda file: (file != keep, -file.stat().st_mtime_ns, file.name))
    for file in files[KEEP:]:
        file.unlink()
    kept = {file.name.removeprefix("aftercast-").removesuffix(".duckdb") for file in files[:KEEP]}
    for folder in parquet.iterdir() if parquet.is_dir() else ():
        if folder.is_dir() and not folder.is_symlink() and folder.name not in kept:
            shutil.rmtree(folder)
