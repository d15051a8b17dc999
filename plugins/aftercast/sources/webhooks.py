"""The `webhooks` kind: whatever systems send to the receiver, or drop as JSON files, as rows of any entity by rules.

A rule says which documents it reads and where the values of a row lie in them. What no rule reads is counted by its hook.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from aftercast.declarations import Row, SourceRow
from aftercast.entities import COUNT, ORIGIN_ROW, TEXT
from aftercast.settings import Settings, check_options
from aftercast.sources import Batch, inbox
from aftercast.sources.lifecycle import text
from aftercast.sources.mapping import Mapped, map_columns
from aftercast.window import Window

EITHER = "|"


class Rule(Mapped):
    """Which documents become which rows.

    `hook` is the last part of the address it was sent to, or the folder of a dropped file. `where` maps paths to patterns (`*`, `?`,
    `[…]`) that all must fit. `each` is the path of a list: every item is a row. A path is written with dots (`data.0.name`) and begins at
    the item, else at the body; `$.` begins at the body, `@` at what the receiver wrote: `@id`, `@received_at`, `@sent_at`, `@hook`,
    `@headers.x-github-event`. Of `one | other` the first that is there counts.
    """

    hook: str = "*"
    where: dict[str, str] = Field(default_factory=dict)
    each: str | None = None

    def fits(self, hook: str, document: inbox.Document) -> bool:
        """Whether the rule reads a document."""
        found = ((found_at(path, document.body, document), pattern) for path, pattern in self.where.items())
        return fnmatchcase(hook, self.hook) and all(value is not None and fnmatchcase(value, pattern) for value, pattern in found)

    def items(self, document: inbox.Document) -> list[Any]:
        """Return what becomes rows."""
        if self.each is None:
            return [document.body]
        found = walked(document.body, self.each)
        return found if isinstance(found, list) else []


class Options(Row):
    """Options of a `webhooks` source."""

    inbox: str
    rules: tuple[Rule, ...] = Field(min_length=1)


def walked(value: Any, path: str) -> Any:
    """Return what lies at a path of keys and places in lists; None where there is nothing."""
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def found_at(path: str, item: Any, document: inbox.Document) -> str | None:
    """Return the text at a path of a rule."""
    for one in path.split(EITHER):
        way = one.strip()
        if way.startswith("@"):
            found = text(walked(document.envelope, way[1:]))
        elif way.startswith("$."):
            found = text(walked(document.body, way[2:]))
        else:
            found = text(walked(item, way))
        if found is not None:
            return found
    return None


@dataclass(frozen=True, slots=True)
class Webhooks:
    """An inbox and its rules."""

    row: SourceRow
    folder: Path
    rules: tuple[Rule, ...]

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield the rows that each rule makes of each file.

        Raises:
            SourceUnavailable: the inbox folder does not exist.
        """
        for entity in dict.fromkeys(rule.entity for rule in self.rules):
            yield Batch(entity, pl.DataFrame(), origin=str(self.folder))
        for file in inbox.files(self.row.name, self.folder, window):
            first = self.rules[0].entity
            if not inbox.is_document(file.name):
                yield Batch(first, pl.DataFrame(), origin=file.name, notes={f"file {file.name} is no JSON": 1})
                continue
            if file.piece:
                for entity in dict.fromkeys(rule.entity for rule in self.rules):
                    yield Batch(entity, pl.DataFrame(), origin=file.name, piece=file.piece)
            for block in inbox.read(file, window):
                yield from self._rows(file, block)

    def _rows(self, file: inbox.InboxFile, block: inbox.Block) -> Iterator[Batch]:
        unread: Counter[str] = Counter()
        hooks = [str(one.envelope.get("hook") or "") if one.envelope else file.name.rpartition("/")[0] for one in block.documents]
        for hook, document in zip(hooks, block.documents, strict=True):
            if not any(rule.fits(hook, document) for rule in self.rules):
                unread[f"documents of hook {hook!r} that no rule reads"] += 1
        yield Batch(self.rules[0].entity, pl.DataFrame(), origin=file.name, piece=file.piece, rejected=block.unreadable, notes=dict(unread))
        for rule in self.rules:
            documents = [one for hook, one in zip(hooks, block.documents, strict=True) if rule.fits(hook, one)]
            if frame := made(rule, documents, file.name):
                yield replace(frame, piece=file.piece)


def made(rule: Rule, documents: list[inbox.Document], origin: str) -> Batch | None:
    """Return the rows a rule makes of documents; None when there are none. A row's `source_id` is the delivery's, where it has one."""
    columns = rule.columns or {name: name for name in rule.shape.columns}
    paths = sorted({theirs for theirs in columns.values() if isinstance(theirs, str)})
    rows = [
        {
            **{path: found_at(path, item, document) for path in paths},
            "@id": text(document.envelope.get("id")) or f"{origin}:{document.row}",
            ORIGIN_ROW: document.row,
        }
        for document in documents
        for item in rule.items(document)
    ]
    if not rows:
        return None
    frame = pl.DataFrame(rows, schema={**dict.fromkeys([*paths, "@id"], TEXT), ORIGIN_ROW: COUNT})
    mapped = rule.model_copy(update={"columns": {"source_id": "@id", **columns}})
    return Batch(rule.entity, map_columns(mapped, frame, origin), origin=origin)


def open(row: SourceRow, settings: Settings) -> Webhooks:
    """Return the inbox a row of sources.yml declares.

    Raises:
        ConfigError: an option does not fit, naming the rule and the nearest key.
    """
    options = check_options(row, Options)
    return Webhooks(row, settings.home / Path(options.inbox).expanduser(), options.rules)
