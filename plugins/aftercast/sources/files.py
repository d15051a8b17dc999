"""The `files` kind: CSV, JSON lines and Parquet files that anyone drops into an inbox folder.

A rule says which files hold which entity and how their columns map to ours; without a mapping a file must be in the entity's own shape. The
whole inbox is read on every extract, whatever the window: a file holds what it holds, and landing leaves alone what did not change. Files
stay where they are; a file that is gone leaves what it landed. An inbox may be a folder of an object store (`s3://bucket/folder`), which
any machine can read.
"""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import fsspec
import polars as pl
from pydantic import Field, model_validator

from aftercast.declarations import Row, SourceRow
from aftercast.errors import ConfigError, SourceUnavailable
from aftercast.settings import Settings, check_options
from aftercast.sources import Batch
from aftercast.sources.formats import read
from aftercast.sources.mapping import Mapped, absent_columns, map_columns
from aftercast.window import Window

SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


class FileRule(Mapped):
    """Which files hold which entity, and how to read them."""

    match: str
    format: Literal["csv", "jsonl", "parquet"] | None = None
    separator: str = Field(default=",", min_length=1, max_length=1)

    @model_validator(mode="after")
    def _format_is_known(self) -> Self:
        if self.format is None and "." in Path(self.match).name and self.form(Path(self.match)) is None and not self.match.endswith("*"):
            raise ValueError(f"match {self.match!r} does not tell the format; add format: csv, jsonl or parquet")
        return self

    def form(self, path: Path) -> str | None:
        """The format of a file: as declared, else by its suffix."""
        name = path.with_suffix("") if path.suffix == ".gz" else path
        return self.format or SUFFIXES.get(name.suffix.lower())


class FilesOptions(Row):
    """Options of a `files` source."""

    inbox: str
    files: tuple[FileRule, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class FilesSource:
    """An inbox and its rules: a folder, or the URL of one that is copied to `scratch` while it is read."""

    name: str
    inbox: Path | str
    rules: tuple[FileRule, ...]
    scratch: Path

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        if isinstance(self.inbox, Path):
            yield self.inbox
            return
        self.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.scratch) as copy:
            system, root = _system(self.name, self.inbox)
            if not system.isdir(root):
                raise SourceUnavailable(
                    f"source {self.name!r}: inbox {self.inbox} does not exist; create it, or correct `inbox` in sources.yml"
                )
            root = root.rstrip("/")
            names = [path.removeprefix(root).lstrip("/") for path in system.find(root)]
            inside = [name for name in names if ".." not in name.split("/")]
            if inside:
                system.get([f"{root}/{name}" for name in inside], [str(Path(copy, name)) for name in inside])
            yield Path(copy)

    def _present(self, inbox: Path) -> list[tuple[str, Path]]:
        """Files of the inbox by their name inside it, sorted; hidden files are somebody's work in progress.

        Raises:
            SourceUnavailable: the inbox folder does not exist.
        """
        if not inbox.is_dir():
            raise SourceUnavailable(
                f"source {self.name!r}: inbox folder {inbox} does not exist; create it, or correct `inbox` in sources.yml"
            )
        found = ((path.relative_to(inbox).as_posix(), path) for path in inbox.rglob("*") if path.is_file())
        return sorted((name, path) for name, path in found if not any(part.startswith(".") for part in name.split("/")))

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield every row of every file that a rule matches, in order of file names.

        Raises:
            SourceUnavailable: the inbox folder does not exist.
        """
        del window  # a dropped file is read whole; its rows bear their own times
        with self._folder() as folder:
            yield from self._read(self._present(folder))

    def _read(self, files: list[tuple[str, Path]]) -> Iterator[Batch]:
        notes = {f"file {name} matches no rule": 1 for name, path in files if not any(self._fits(rule, name, path) for rule in self.rules)}
        for entity in dict.fromkeys(rule.entity for rule in self.rules):
            yield Batch(entity, pl.DataFrame(), origin=str(self.inbox), expected=0, piece=f"{self.name} inbox", notes=notes)
            notes = {}
        for name, path in files:
            used: dict[str, int] = {}
            for rule in self.rules:
                if self._fits(rule, name, path):
                    used[rule.entity] = used.get(rule.entity, 0) + 1
                    yield from _batches(rule, name, path, piece=name if used[rule.entity] == 1 else f"{name} #{used[rule.entity]}")

    @staticmethod
    def _fits(rule: FileRule, name: str, path: Path) -> bool:
        return fnmatch.fnmatchcase(name, rule.match) and rule.form(path) is not None


def _system(source: str, url: str) -> tuple[Any, str]:
    try:
        system, root = fsspec.url_to_fs(url, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"source {source!r}: inbox {url!r} cannot be opened: {error}") from error
    return system, str(root)


def _batches(rule: FileRule, name: str, path: Path, *, piece: str) -> Iterator[Batch]:
    """The rows of one file. The first batch is empty, so that a file that has become empty replaces what it was."""
    yield Batch(rule.entity, pl.DataFrame(), origin=name, expected=0, piece=piece)
    said: set[str] = set()
    for block in read(path, str(rule.form(path)), rule.separator):
        absent = set(absent_columns(rule, block.frame)) - said if block.frame.height else set()
        said |= absent
        yield Batch(
            rule.entity,
            map_columns(rule, block.frame, name) if block.frame.height else pl.DataFrame(),
            origin=name,
            expected=block.frame.height + block.unreadable.height,
            rejected=block.unreadable,
            piece=piece,
            notes={f"{name} has no column {missing}": 1 for missing in absent},
        )


def open(row: SourceRow, settings: Settings) -> FilesSource:
    """Return the inbox a row of sources.yml declares.

    Raises:
        ConfigError: an option is unknown or does not fit, naming the source, the rule and the nearest key.
    """
    options = check_options(row, FilesOptions)
    inbox = options.inbox if "://" in options.inbox else settings.home / Path(options.inbox).expanduser()
    return FilesSource(row.name, inbox, options.files, settings.home / "staging")
