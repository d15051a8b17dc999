"""JSON documents in an inbox folder: files that anyone drops, and files that the receiver writes, line by line as requests come in.

A dropped file (`.json` with one document or a list, `.jsonl`, either with `.gz`) is read whole whatever the window, and is a piece. A
received file holds a day; its lines say when they came in, so that a window takes those that came in during it.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import polars as pl

from aftercast.errors import SourceUnavailable
from aftercast.sources.formats import UNREADABLE_SCHEMA
from aftercast.sources.lifecycle import Record, moment, text_at
from aftercast.window import Window

LINES = 5_000  # of a block
RECEIVED = re.compile(r"^received-(\d{4}-\d{2}-\d{2})\.jsonl$")
ENVELOPE = frozenset({"id", "received_at", "body"})  # what a received line has at least


@dataclass(frozen=True, slots=True)
class InboxFile:
    """A file of an inbox: its name inside it, and for received ones the day they were received on."""

    name: str
    path: Path
    day: date | None

    @property
    def piece(self) -> str | None:
        return self.name if self.day is None else None


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON value, with its line (or place in a list), and what the receiver wrote around it."""

    body: Any
    row: int
    envelope: Record


@dataclass(frozen=True, slots=True)
class Block:
    """Some documents of a file, and the lines that are none: reason, raw, row."""

    documents: list[Document]
    unreadable: pl.DataFrame


def received_name(day: date) -> str:
    """Return the name of the file that holds what is received on a day."""
    return f"received-{day.isoformat()}.jsonl"


def files(source: str, folder: Path, window: Window) -> list[InboxFile]:
    """Return the dropped files of an inbox and the received ones that lie in the window, by name; hidden ones are somebody's work.

    Raises:
        SourceUnavailable: the folder does not exist.
    """
    if not folder.is_dir():
        raise SourceUnavailable(f"source {source!r}: inbox folder {folder} does not exist; create it, or correct `inbox` in sources.yml")
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or any(part.startswith(".") for part in name.split("/")):
            continue
        received = RECEIVED.match(path.name)
        day = date.fromisoformat(received[1]) if received else None
        if day is None or window.start.date() <= day <= window.end.date():
            found.append(InboxFile(name, path, day))
    return found


def is_document(name: str) -> bool:
    """Whether a file is one that is read here."""
    return name.removesuffix(".gz").endswith((".json", ".jsonl", ".ndjson"))


def read(file: InboxFile, window: Window) -> Iterator[Block]:
    """Yield the documents of a file in blocks; of a received one, those received in the window. A file that cannot be read says why."""
    try:
        with _open(file.path) as lines:
            if file.path.name.removesuffix(".gz").endswith(".json"):
                yield _whole(lines.read())
                return
            first = 1
            while block := list(islice(lines, LINES)):
                yield _lines(block, first, window if file.day else None)
                first += len(block)
    except (OSError, EOFError) as error:
        yield Block([], _unreadable([(f"not a readable file: {error}", "", None)]))


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace")
    return path.open(encoding="utf-8-sig", errors="replace")


def _unreadable(rows: list[tuple[str, str, int | None]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=UNREADABLE_SCHEMA, orient="row")


def _whole(content: str) -> Block:
    if not content.strip():
        return Block([], _unreadable([]))
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        return Block([], _unreadable([(f"not JSON: {error}", content[:1000], 1)]))
    documents = found if isinstance(found, list) else [found]
    return Block([_document(one, row) for row, one in enumerate(documents, start=1)], _unreadable([]))


def _lines(lines: list[str], first: int, window: Window | None) -> Block:
    documents: list[Document] = []
    bad: list[tuple[str, str, int | None]] = []
    for row, line in enumerate(lines, start=first):
        if not line.strip():
            continue
        try:
            document = _document(json.loads(line), row)
        except (ValueError, RecursionError) as error:
            bad.append((f"not JSON: {error}", line.rstrip("\n"), row))
            continue
        if window is None:
            documents.append(document)
            continue
        instant = moment(text_at(document.envelope, "received_at"))
        if instant is None:
            bad.append(("says not when it was received", line.rstrip("\n"), row))
        elif window.contains(instant):
            documents.append(document)
    return Block(documents, _unreadable(bad))


def _document(found: Any, row: int) -> Document:
    if isinstance(found, dict) and found.keys() >= ENVELOPE:
        return Document(found["body"], row, {name: value for name, value in found.items() if name != "body"})
    return Document(found, row, {})
