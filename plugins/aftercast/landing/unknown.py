"""What sources say that no entity has a column for, kept beside the landing folder: nothing is lost while somebody decides what it means.

`unknown_columns/<entity>/source=<name>/<slice>.jsonl.gz` holds one JSON line a row: its key, and its unknown columns as texts without
personal data. It is replaced by each extract of the slice, like a quarantine file.
"""

from __future__ import annotations

import gzip
from collections.abc import Collection
from pathlib import Path

import polars as pl

from aftercast.landing.slices import superseded
from aftercast.settings import Settings
from aftercast.window import Window


def folder(settings: Settings, entity: str, source: str) -> Path:
    """Return where a source's unknown columns of an entity lie."""
    return settings.home / "unknown_columns" / entity / f"source={source}"


class Aside:
    """Unknown columns of one running extract, written beside nothing until the extract is complete."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._files: dict[tuple[str, str], Path] = {}

    def add(self, entity: str, label: str, unknown: pl.DataFrame) -> None:
        """Keep rows as `conform` set them aside."""
        if unknown.is_empty():
            return
        times = [pl.col(name).dt.to_string("iso:strict") for name, kind in unknown.schema.items() if isinstance(kind, pl.Datetime)]
        head = unknown.drop("columns").with_columns(times).select(pl.struct(pl.all()).struct.json_encode().str.strip_suffix("}"))
        lines = head.to_series() + ',"columns":' + unknown["columns"] + "}\n"
        path = self._files.setdefault((entity, label), self._scratch / f"{len(self._files):05d}.unknown")
        with path.open("ab") as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=3) as packed:
            packed.writelines(line.encode() for line in lines)

    def commit(self, settings: Settings, source: str, entity: str, *, window: Window | None, pieces: Collection[str]) -> None:
        """Make the files of this extract's slices hold these rows and no others."""
        target_folder = folder(settings, entity, source)
        written = set()
        for (name, label), path in self._files.items():
            if name == entity:
                target = target_folder / f"{label}.jsonl.gz"
                target.parent.mkdir(parents=True, exist_ok=True)
                written.add(target)
                path.replace(target)
        for old in superseded(target_folder.glob("*.jsonl.gz"), window=window, pieces=pieces):
            if old not in written:
                old.unlink(missing_ok=True)
