"""Buckets of time. A sum over part of a bucket would take the place of the whole one, so windows are cut where buckets begin. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aftercast.window import Window

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def bucket_of(moment: datetime, minutes: int) -> datetime:
    """Return the start of the bucket a moment falls into; buckets are counted from midnight UTC where they divide a day."""
    return moment - (moment - EPOCH) % timedelta(minutes=minutes)


def whole_buckets(window: Window, minutes: int) -> Window | None:
    """Return the window with both ends moved back to the start of a bucket; None when nothing is left. Windows that tile time still do."""
    start, end = bucket_of(window.start, minutes), bucket_of(window.end, minutes)
    return Window(start, end) if start < end else None
