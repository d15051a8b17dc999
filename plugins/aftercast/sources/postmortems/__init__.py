"""The `postmortems` kind: Markdown files with front matter in a folder: what happened when, what is to be done, what was learnt.

A file is read whole whatever the window and lands as a piece of its own: changed, it replaces what it landed before. Its words keep their
place: what a section we do not know says stays in the text of the postmortem.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from aftercast.declarations import SourceRow
from aftercast.entities import ORIGIN_ROW
from aftercast.errors import SourceUnavailable
from aftercast.privacy import token, token_key
from aftercast.settings import Settings, check_options
from aftercast.sources import Batch
from aftercast.sources.formats import UNREADABLE_SCHEMA
from aftercast.sources.lifecycle import batch
from aftercast.sources.postmortems.documents import Broken, parse
from aftercast.sources.postmortems.rows import Found, Options, rows_of
from aftercast.window import Window

ENTITIES = ("postmortems", "incident_events", "action_items", "insights", "verdicts")


@dataclass(frozen=True, slots=True)
class Postmortems:
    """A folder of postmortems; ours need not be there before the first draft."""

    name: str
    inbox: Path
    options: Options
    teams: frozenset[str]
    key: bytes
    entities: tuple[str, ...] = ENTITIES
    is_ours: bool = False

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield what each document says, in order of file names.

        Raises:
            SourceUnavailable: the folder does not exist.
        """
        del window  # a document is read whole; what it tells of bears its own times
        if not self.inbox.is_dir() and not self.is_ours:
            raise SourceUnavailable(
                f"source {self.name!r}: inbox folder {self.inbox} does not exist; create it, or correct `inbox` in sources.yml"
            )
        for entity in self.entities:
            yield Batch(entity, pl.DataFrame(), origin=str(self.inbox), expected=0, piece=f"{self.name} inbox")
        for path in sorted(self.inbox.rglob("*")) if self.inbox.is_dir() else ():
            name = path.relative_to(self.inbox).as_posix()
            if path.is_file() and fnmatch.fnmatchcase(name, self.options.match) and not any(part[0] == "." for part in name.split("/")):
                yield from self._batches(path, name)

    def _batches(self, path: Path, name: str) -> Iterator[Batch]:
        content = path.read_bytes()
        try:
            found = rows_of(parse(_text(content)), name, self.options, self.teams, lambda who: token(who, self.key))
        except Broken as error:
            found = Found(bad={"postmortems": [(error.reason, error.raw, error.line)]})
        source_id = f"{name}@{hashlib.sha256(content).hexdigest()[:12]}"
        for entity in self.entities:
            rows, bad = found.rows.get(entity, []), found.bad.get(entity, [])
            made = batch(entity, [{**row, "source_id": source_id} for row in rows], name)
            frame = made.frame.with_columns(pl.Series(ORIGIN_ROW, [row["line"] for row in rows], pl.Int64)) if rows else made.frame
            yield replace(
                made,
                frame=frame,
                piece=name,
                expected=len(rows) + len(bad),
                rejected=pl.DataFrame(bad, schema=UNREADABLE_SCHEMA, orient="row"),
                notes=found.notes if entity == ENTITIES[0] else {},
            )


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Broken("not UTF-8 text", content[: error.start].count(b"\n") + 1) from error


def open(row: SourceRow, settings: Settings) -> Postmortems:
    """Return the folder a row of sources.yml declares.

    Raises:
        ConfigError: an option does not fit.
    """
    options = check_options(row, Options)
    teams = frozenset(one.team for one in settings.deployment.teams)
    entities = tuple(one for one in ENTITIES if one != "verdicts" or one in row.entities)
    inbox = settings.home / Path(options.inbox).expanduser()
    return Postmortems(row.name, inbox, options, teams, token_key(settings.home), entities, is_ours=inbox == settings.postmortems)
