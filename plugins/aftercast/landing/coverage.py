"""What each extract received, rejected and landed, kept as one small file per source, entity and window."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import polars as pl

from aftercast.entities import COVERAGE_SCHEMA
from aftercast.landing import storage
from aftercast.landing.slices import superseded, window_of
from aftercast.settings import Settings
from aftercast.window import Window, parse_utc

INBOX = "inbox"  # the label of what an inbox holds: read again and again, counted once


def _folder(settings: Settings, source: str) -> Path:
    return settings.landing / "coverage" / f"source={source}"


def _path(settings: Settings, source: str, entity: str, label: str) -> Path:
    return _folder(settings, source) / f"{entity}__{label}.parquet"


def record(
    settings: Settings,
    source: str,
    entity: str,
    window: Window,
    *,
    in_pieces: bool,
    counts: Mapping[str, int | None],
    watermark: datetime | None,
    reasons: Mapping[str, int],
) -> None:
    """Write the row of one extract. It replaces the rows of windows inside its own; an inbox has one row for all its windows."""
    target = _path(settings, source, entity, INBOX if in_pieces else window.label())
    if in_pieces and target.exists():
        earlier = pl.read_parquet(target, hive_partitioning=False).row(0, named=True)
        window = Window(
            min(window.start, parse_utc(earlier["window_start"].isoformat())), max(window.end, parse_utc(earlier["window_end"].isoformat()))
        )
    row = {
        "source": source,
        "entity": entity,
        "window_start": window.start,
        "window_end": window.end,
        **counts,
        "watermark": watermark,
        "reasons": _json(reasons),
    }
    storage.write(target, pl.DataFrame([row], schema=COVERAGE_SCHEMA))
    if not in_pieces:
        for old in superseded(target.parent.glob(f"{entity}__*.parquet"), window=window, pieces=()):
            if old != target:
                old.unlink()


def forget(settings: Settings, source: str) -> None:
    """Drop the coverage of a source that has no windows to be behind with."""
    for path in _folder(settings, source).glob("*.parquet"):
        path.unlink()


def amend(
    settings: Settings,
    source: str,
    entity: str,
    label: str,
    *,
    landed: int,
    duplicate: int,
    before: Counter[str],
    after: Counter[str],
) -> None:
    """Correct the row of the extract that a quarantine file belongs to, once some of its rejected rows have landed.

    Args:
        settings: where coverage lies.
        source: the source.
        entity: the entity.
        label: the slice the quarantine file is named by.
        landed: rows that fit now.
        duplicate: rows that fit now but are versions of another one.
        before: rejected rows by reason before.
        after: rejected rows by reason now.
    """
    path = _path(settings, source, entity, label if window_of(label) else INBOX)
    if not path.exists():
        return
    row = pl.read_parquet(path, hive_partitioning=False).row(0, named=True)
    reasons = Counter(json.loads(row["reasons"]))
    reasons.subtract(before)
    reasons.update(after)
    changed = {
        "landed": row["landed"] + landed,
        "duplicate": row["duplicate"] + duplicate,
        "rejected": row["rejected"] - before.total() + after.total(),
        "reasons": _json({reason: count for reason, count in reasons.items() if count > 0}),
    }
    storage.write(path, pl.DataFrame([{**row, **changed}], schema=COVERAGE_SCHEMA))


def _json(reasons: Mapping[str, int]) -> str:
    return json.dumps(dict(sorted(reasons.items())), ensure_ascii=False)


def _rows(settings: Settings, source: str = "*") -> pl.DataFrame:
    paths = sorted(path for path in settings.landing.glob(f"coverage/source={source}/*.parquet"))
    columns = ["source", "window_start", "window_end"]
    return pl.concat([pl.read_parquet(path, columns=columns, hive_partitioning=False) for path in paths]) if paths else pl.DataFrame()


def covered_until(settings: Settings, source: str) -> datetime | None:
    """Return the end of the last window a source was extracted for; None before its first extract."""
    rows = _rows(settings, source)
    return None if rows.is_empty() else parse_utc(rows["window_end"].max().isoformat())  # type: ignore[union-attr]


def covered_window(settings: Settings) -> Window | None:
    """Return the span from the first to the last covered moment of all sources; None before the first extract."""
    rows = _rows(settings)
    if rows.is_empty():
        return None
    start, end = rows["window_start"].min(), rows["window_end"].max()
    return Window(parse_utc(start.isoformat()), parse_utc(end.isoformat()))  # type: ignore[union-attr]
