"""What may be forgotten: raw pages older than their source keeps them, and folders that killed extracts left."""

from __future__ import annotations

import logging
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aftercast.declarations import SourceRow
from aftercast.landing.tables import ABANDONED_AFTER
from aftercast.settings import Settings

log = logging.getLogger(__name__)


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
