"""What may be forgotten: rows and raw pages older than their source keeps them, and folders that killed extracts left.

Rows go by whole days (`date=` folders), quarantine and unknown columns by whole windows, once every row of them is too old. What coverage
says is cut first: it then tells of the days that are left, and a window of which nothing is left is not told of at all, so that nothing
that is gone looks like nothing that was. A run that is killed amid it ends the same when it is done again.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from aftercast.declarations import SourceRow
from aftercast.entities import ENTITIES
from aftercast.landing import coverage, storage
from aftercast.landing.context import alone
from aftercast.landing.slices import entity_folder, window_of
from aftercast.landing.tables import ABANDONED_AFTER
from aftercast.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outdated:
    """What of an entity of a source is older than it is kept."""

    source: str
    entity: str
    kept_from: datetime
    files: tuple[Path, ...]
    rows: int

    def __str__(self) -> str:
        where = f"{self.source}/{self.entity}"
        return f"{where}: {self.rows:,} rows in {len(self.files)} files from before {self.kept_from:%Y-%m-%d}"


def outdated(settings: Settings, now: datetime) -> list[Outdated]:
    """Return what every declared source holds that is older than its `keep_days`; nothing is changed."""
    found = []
    for source in settings.deployment.sources:
        for entity in ENTITIES:
            kept_from = source.kept_from(entity, now)
            if kept_from is not None and (files := _older(settings, source.name, entity, kept_from)):
                rows = sum(storage.rows(path) for path in files if path.suffix == ".parquet")
                found.append(Outdated(source.name, entity, kept_from, tuple(files), rows))
    return found


def keep_young(settings: Settings, found: list[Outdated]) -> int:
    """Delete what is too old to keep, here and where machines share a store; return how many files went."""
    gone = 0
    for source in sorted({one.source for one in found}):
        with alone(settings, source):
            for one in found:
                if one.source == source:
                    coverage.cut(settings, source, one.entity, one.kept_from, going=set(one.files))
                    for path in _older(settings, source, one.entity, one.kept_from):
                        path.unlink(missing_ok=True)
                        gone += 1
                    log.info("%s deleted", one)
    return gone


def _older(settings: Settings, source: str, entity: str, kept_from: datetime) -> list[Path]:
    days = sorted(entity_folder(settings, entity, source).glob("date=*/*.parquet"))
    old = [path for path in days if date.fromisoformat(path.parent.name.removeprefix("date=")) < kept_from.date()]
    for place in ("quarantine", "unknown_columns"):
        for path in sorted((settings.home / place / entity / f"source={source}").glob("*")):
            window = window_of(path.name.split(".", 1)[0])
            if window is not None and window.end <= kept_from:
                old.append(path)
    return old


def prune(settings: Settings, now: datetime) -> dict[str, int]:
    """Delete what is too old to keep. A source that is no longer declared keeps its pages as long as one that says nothing about it.

    Args:
        settings: where pages and leftovers lie.
        now: the time ages are counted from.

    Returns:
        How many windows of raw pages and how many abandoned folders were deleted.
    """
    days = {row.name: row.keep_raw_days for row in settings.deployment.sources}
    usual: int = SourceRow.model_fields["keep_raw_days"].default
    pages = [
        folder
        for folder in settings.raw.glob("*/*")
        if folder.is_dir() and _age(folder, now) > timedelta(days=days.get(folder.parent.name, usual))
    ]
    abandoned = [
        folder
        for folder in (settings.home / "staging").glob("*")
        if folder.is_dir() and _age(folder, now) > timedelta(seconds=ABANDONED_AFTER)
    ]
    for folder in (*pages, *abandoned):
        shutil.rmtree(folder, ignore_errors=True)
    log.info("%d windows of raw pages and %d abandoned folders deleted", len(pages), len(abandoned))
    return {"raw_windows": len(pages), "abandoned": len(abandoned)}


def _age(folder: Path, now: datetime) -> timedelta:
    newest = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    return now - datetime.fromtimestamp(newest, tz=UTC)
