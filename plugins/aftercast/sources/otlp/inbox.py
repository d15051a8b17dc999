"""Files of an inbox, in a folder or an object store, as numbered lines: one JSON object each.

A file that still grows may end in a torn line: that is no damage, the rest of it comes with the next extract. Files that were last written
before a moment hold nothing that happened after it, so that an extract does not read what is long settled.
"""

from __future__ import annotations

import fnmatch
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import fsspec

from aftercast.errors import ConfigError, SourceUnavailable

SUFFIXES = (".json", ".jsonl", ".ndjson")
TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified")  # what stores call the time of the last write


@dataclass(frozen=True, slots=True)
class File:
    """A file by its name inside the inbox; `written_at` is unknown to some stores."""

    name: str
    path: str
    written_at: datetime | None


@dataclass(frozen=True, slots=True)
class Line:
    """A line as text, or why the file cannot be read on from here. `is_last` ones may be torn."""

    number: int
    text: str
    is_last: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Inbox:
    """Where files lie: a path, or a URL that fsspec knows (`s3://bucket/folder`)."""

    source: str
    url: str
    match: str

    def files(self, since: datetime) -> tuple[list[File], list[str]]:
        """Return the files that may hold what happened since then, by name, and the names of files that are none of ours.

        Raises:
            SourceUnavailable: there is no such folder.
        """
        system, root = self._system()
        root = root.rstrip("/")
        if not system.isdir(root):
            raise SourceUnavailable(
                f"source {self.source!r}: inbox {self.url} does not exist; create it, or correct `inbox` in sources.yml"
            )
        found, others = [], []
        for path, info in sorted(system.find(root, detail=True).items()):
            name = path.removeprefix(root).lstrip("/")
            if any(part.startswith(".") for part in name.split("/")):
                continue
            if not name.removesuffix(".gz").endswith(SUFFIXES) or not fnmatch.fnmatchcase(name, self.match):
                others.append(name)
                continue
            file = File(name, path, _written_at(info))
            if file.written_at is None or file.written_at >= since:
                found.append(file)
        return found, others

    def lines(self, file: File) -> Iterator[Line]:
        """Yield the lines of a file that are not blank."""
        system, _ = self._system()
        number = 0
        with system.open(file.path, "rb") as raw:
            packed = gzip.GzipFile(fileobj=raw) if file.name.endswith(".gz") else raw
            text = io.TextIOWrapper(packed, encoding="utf-8-sig", errors="replace", newline="\n")
            while True:
                try:
                    line = text.readline()
                except EOFError:
                    yield Line(number + 1, "", is_last=True)
                    return
                except (zlib.error, gzip.BadGzipFile) as error:
                    yield Line(number + 1, "", problem=f"not gzip: {error}")
                    return
                if not line:
                    return
                number += 1
                if line.strip():
                    yield Line(number, line, is_last=not line.endswith("\n"))

    def _system(self) -> tuple[Any, str]:
        try:
            system, root = fsspec.url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise ConfigError(f"source {self.source!r}: inbox {self.url!r} cannot be opened: {error}") from error
        system.invalidate_cache()
        return system, str(root)


def _written_at(info: dict[str, Any]) -> datetime | None:
    given = next((info[name] for name in TIMES if info.get(name) is not None), None)
    if isinstance(given, (int, float)):
        return datetime.fromtimestamp(given, UTC)
    if isinstance(given, str):
        given = datetime.fromisoformat(given)
    return given.astimezone(UTC) if isinstance(given, datetime) else None
