"""Rows that did not fit: one JSON line each, with the reason, where they came from, and their values without personal data.

`quarantine/<entity>/source=<name>/<slice>.jsonl` is replaced by each extract of the slice. A person may correct `raw` and replay the file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from aftercast.entities import ENTITIES
from aftercast.errors import LandingError
from aftercast.landing import storage
from aftercast.landing.slices import superseded
from aftercast.settings import Settings
from aftercast.window import Window


def folder(settings: Settings, entity: str, source: str) -> Path:
    """Return where a source's rejected rows of an entity lie."""
    return settings.quarantine / entity / f"source={source}"


class Rejects:
    """Rejected rows of one running extract, written beside nothing until the extract is complete."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._files: dict[tuple[str, str], Path] = {}
        self.reasons: dict[str, Counter[str]] = {}

    def add(self, entity: str, label: str, rejected: pl.DataFrame) -> None:
        """Keep rejected rows: reason, origin, row and raw (a JSON value as text) of each."""
        if rejected.is_empty():
            return
        counts = rejected["reason"].value_counts()
        self.reasons.setdefault(entity, Counter()).update(dict(counts.iter_rows()))
        head = rejected.select(pl.struct("reason", "origin", "row").struct.json_encode().str.strip_suffix("}"))
        lines = head.to_series() + ',"raw":' + rejected["raw"] + "}\n"
        path = self._files.setdefault((entity, label), self._scratch / f"{len(self._files):05d}.rejects")
        with path.open("a", encoding="utf-8") as file:
            file.writelines(lines)

    def commit(self, settings: Settings, source: str, entity: str, *, window: Window | None, pieces: Collection[str]) -> None:
        """Make the quarantine of this extract's slices hold these rows and no others."""
        target_folder = folder(settings, entity, source)
        written = set()
        for (name, label), path in self._files.items():
            if name == entity:
                target = target_folder / f"{label}.jsonl"
                target.parent.mkdir(parents=True, exist_ok=True)
                written.add(target)
                if not target.exists() or target.read_bytes() != path.read_bytes():
                    path.replace(target)
        for old in superseded(target_folder.glob("*.jsonl"), window=window, pieces=pieces):
            if old not in written:
                old.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Held:
    """One quarantine file: where it lies and its rows (reason, origin, row, raw)."""

    path: Path
    source: str
    entity: str
    rows: tuple[dict[str, Any], ...]

    def rewrite(self, rows: list[dict[str, Any]]) -> None:
        """Make the file hold these rows; no rows, no file."""
        storage.write_lines(self.path, rows)


def sources_held(settings: Settings, source: str | None = None) -> list[str]:
    """Return the sources that have rows in quarantine (of this one source only), in order."""
    paths = settings.quarantine.glob(f"*/source={source or '*'}/*.jsonl")
    return sorted({path.parent.name.removeprefix("source=") for path in paths})


def quarantined(settings: Settings, source: str) -> int:
    """Return how many rows of a source wait in quarantine."""
    return sum(path.read_bytes().count(b"\n") for path in settings.quarantine.glob(f"*/source={source}/*.jsonl"))


def held(settings: Settings, source: str | None = None) -> Iterator[Held]:
    """Yield the quarantine files of a source (None: of all), in order.

    Raises:
        LandingError: a line, edited by hand perhaps, is not a JSON object with the four keys.
    """
    for path in sorted(settings.quarantine.glob(f"*/source={source or '*'}/*.jsonl")):
        entity = path.parent.parent.name
        if entity not in ENTITIES:
            continue
        rows = []
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise LandingError(f"{path} line {number} is not JSON: {error}; correct or delete the line") from error
            if not isinstance(row, dict) or not {"reason", "origin", "row", "raw"} <= row.keys():
                raise LandingError(f"{path} line {number} needs the keys reason, origin, row and raw; correct or delete the line")
            rows.append(row)
        yield Held(path, path.parent.name.removeprefix("source="), entity, tuple(rows))
