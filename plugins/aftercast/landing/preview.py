"""What an extract would land, without landing it: rows conformed, counted and sampled, nothing written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from aftercast.declarations import SourceRow
from aftercast.landing import coverage
from aftercast.landing.context import context_of
from aftercast.landing.extracts import Found, entity_of, unreadable
from aftercast.settings import Settings
from aftercast.window import Window


@dataclass(slots=True)
class Preview:
    """What became of one entity's rows: counts, reasons of rejection, what was noticed, a few rows as they would lie on disk."""

    entity: str
    received: int = 0
    accepted: int = 0
    expected: int | None = 0
    earliest: datetime | None = None
    latest: datetime | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    sample: pl.DataFrame = field(default_factory=pl.DataFrame)
    rejected: pl.DataFrame = field(default_factory=pl.DataFrame)


def preview(
    settings: Settings, source: SourceRow, window: Window, batches: Iterable[Found], *, now: datetime, most_rows: int, shown: int
) -> tuple[list[Preview], bool]:
    """Conform what a source yields until there are enough rows.

    Args:
        settings: whose key and currencies apply.
        source: the source.
        window: what was asked.
        batches: rows as found.
        now: for rows that say when a record was written.
        most_rows: after the batch with which so many rows are reached no other is asked for.
        shown: rows of each entity to keep as a sample, and rejected ones.

    Returns:
        One preview per entity, and whether the source had nothing more to say.
    """
    context = context_of(settings, source.name, window, now, None)
    found = {name: Preview(name) for name in source.entities}
    received = 0
    for batch in batches:
        entity = entity_of(batch.entity, batch.origin)
        one = found.setdefault(entity.name, Preview(entity.name))
        conformed = context.conform(entity, batch.frame, origin=batch.origin, first_row=batch.first_row, windowed=batch.piece is None)
        bad = pl.concat([part for part in (unreadable(batch), conformed.rejected) if part.height] or [conformed.rejected])
        one.received += batch.frame.height + bad.height - conformed.rejected.height
        one.accepted += conformed.accepted.height
        one.expected = None if one.expected is None or batch.expected is None else one.expected + batch.expected
        one.reasons.update(dict(bad["reason"].value_counts().iter_rows()))
        one.notes.update(coverage.kept_notes({**conformed.notes, **batch.notes}))
        if conformed.accepted.height:
            first, last = conformed.accepted.select(first=pl.col(entity.time).min(), last=pl.col(entity.time).max()).row(0)
            one.earliest = min(one.earliest or first, first)
            one.latest = max(one.latest or last, last)
        one.sample = pl.concat([part for part in (one.sample, conformed.accepted) if part.height] or [one.sample]).head(shown)
        one.rejected = pl.concat([part for part in (one.rejected, bad) if part.height] or [one.rejected]).head(shown)
        received += batch.frame.height
        if received >= most_rows:
            return list(found.values()), False
    return list(found.values()), True
