"""Land what a source yields: conform, spool, assemble by day, gate, commit, count."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from aftercast.declarations import SourceRow
from aftercast.entities import ENTITIES, Entity
from aftercast.errors import LandingError, QualityError
from aftercast.landing import coverage, storage
from aftercast.landing.context import Context, Gate, Landed, alone, context_of, scratch_folder, stamp
from aftercast.landing.quarantine import Rejects
from aftercast.landing.slices import entity_folder, piece_label, slice_label, slice_path, superseded, window_of
from aftercast.landing.spool import PIECE, Spool
from aftercast.landing.unknown import Aside
from aftercast.privacy import redact_series
from aftercast.settings import Settings
from aftercast.window import Window

log = logging.getLogger(__name__)

TOO_OLD = "older than keep_days, not kept"


class Found(Protocol):
    """What landing reads of a source's batch (see `sources.Batch`)."""

    @property
    def entity(self) -> str: ...
    @property
    def frame(self) -> pl.DataFrame: ...
    @property
    def origin(self) -> str: ...
    @property
    def expected(self) -> int | None: ...
    @property
    def first_row(self) -> int: ...
    @property
    def rejected(self) -> pl.DataFrame | None: ...
    @property
    def piece(self) -> str | None: ...
    @property
    def notes(self) -> Mapping[str, int]: ...


@dataclass(slots=True)
class _Tally:
    """What one entity's batches amounted to so far."""

    received: int = 0
    accepted: int = 0
    expected: int | None = None
    unexpected: bool = False
    windowed: bool = False
    pieces: set[str] = field(default_factory=set)
    notes: Counter[str] = field(default_factory=Counter)
    kept_from: datetime | None = None

    def told_of(self, window: Window) -> Window | None:
        """Return the part of a window that coverage tells of; None when all of it is older than rows are kept."""
        start = max(window.start, self.kept_from or window.start)
        return Window(start, window.end) if start < window.end else None

    def expect(self, rows: int | None) -> None:
        """A source knows how many rows to expect only if every one of its batches does."""
        self.unexpected = self.unexpected or rows is None
        self.expected = None if self.unexpected else (self.expected or 0) + (rows or 0)


def entity_of(name: str, origin: str) -> Entity:
    if name not in ENTITIES:
        raise LandingError(f"{origin}: no landing entity {name!r}; choose from {', '.join(sorted(ENTITIES))}")
    return ENTITIES[name]


def unreadable(batch: Found) -> pl.DataFrame:
    """Rows the source could not read, as quarantine keeps them."""
    if batch.rejected is None or batch.rejected.is_empty():
        return pl.DataFrame()
    raw = redact_series(batch.rejected["raw"].cast(pl.String).fill_null(""))
    return batch.rejected.select(
        pl.col("reason").cast(pl.String),
        pl.lit(batch.origin).alias("origin"),
        (pl.col("row") if "row" in batch.rejected.columns else pl.lit(None)).cast(pl.Int64).alias("row"),
        pl.Series("raw", [json.dumps(text, ensure_ascii=False) for text in raw]),
    )


def land(
    settings: Settings,
    source: SourceRow,
    window: Window,
    batches: Iterable[Found],
    *,
    ingested_at: datetime,
    gate: Gate | None = None,
) -> list[Landed]:
    """Land every row of an extract, or say in quarantine and coverage why not.

    Args:
        settings: where to land.
        source: the source the rows come from; its declared entities get a row of coverage even when nothing came.
        window: what was extracted. It replaces what extracts of windows inside it found between its ends; rows dated outside (an incident
            of last month that was edited, a change planned for next week) stay until a window that holds them is extracted.
        batches: rows as found; read once, one batch in memory at a time.
        ingested_at: when; not part of what makes two extracts equal.
        gate: called once per entity with the rows about to be committed; raises QualityError to hold the entity back.

    Raises:
        QualityError: a gate failed; other entities landed, the failed ones kept their old files.
        LandingError: a batch is meant for an entity that does not exist; nothing landed.
    """
    with alone(settings, source.name, window), scratch_folder(settings) as scratch:
        context = context_of(settings, source.name, window, stamp(settings, source.name, ingested_at), gate)
        spool, rejects, aside = Spool(scratch), Rejects(scratch), Aside(scratch)
        tallies = {name: _Tally(kept_from=source.kept_from(name, context.ingested_at)) for name in source.entities}
        for batch in batches:
            entity = entity_of(batch.entity, batch.origin)
            tally = tallies.setdefault(entity.name, _Tally(kept_from=source.kept_from(entity.name, context.ingested_at)))
            label = piece_label(batch.piece) if batch.piece else window.label()
            conformed = context.conform(entity, batch.frame, origin=batch.origin, first_row=batch.first_row, windowed=batch.piece is None)
            bad = unreadable(batch)
            accepted, too_old = _kept(entity, conformed.accepted, tally.kept_from)
            spool.add(entity, accepted, label if batch.piece else "")
            rejects.add(entity.name, label, bad)
            rejects.add(entity.name, label, conformed.rejected)
            aside.add(entity.name, label, conformed.unknown)
            tally.received += batch.frame.height + bad.height - too_old
            tally.accepted += accepted.height
            tally.expect(None if batch.expected is None else max(batch.expected - too_old, 0))
            tally.notes.update({TOO_OLD: too_old} if too_old else {})
            tally.notes.update(coverage.kept_notes({**conformed.notes, **batch.notes}))
            if batch.piece:
                tally.pieces.add(label)
            else:
                tally.windowed = True
        results, failures = [], []
        for name, tally in tallies.items():
            try:
                results.append(_commit(context, ENTITIES[name], tally, spool, rejects, aside))
            except QualityError as error:
                coverage.hold_back(settings, source.name, name, window)
                failures.append(str(error))
    if failures:
        raise QualityError("\n".join(failures))
    return results


def _kept(entity: Entity, rows: pl.DataFrame, kept_from: datetime | None) -> tuple[pl.DataFrame, int]:
    """Return the rows that are not older than they are kept, and how many are; what came too old counts as never received."""
    if kept_from is None or rows.is_empty():
        return rows, 0
    young = rows.filter(pl.col(entity.time) >= kept_from)
    return young, rows.height - young.height


def _stage(context: Context, entity: Entity, spool: Spool) -> Iterator[tuple[storage.Staged, pl.DataFrame]]:
    """Stage each file of an entity; yield it with its times."""
    for day, rows in spool.days(entity):
        for (piece,), part in sorted(rows.partition_by(PIECE, as_dict=True, include_key=False).items()):
            label = str(piece) or slice_label(context.window, day)
            target = slice_path(context.settings, entity.name, context.source, day, label)
            frame = context.with_lineage(part, entity)
            yield storage.stage(target, frame, ignore={"ingested_at"}), frame.select(entity.time)


def _commit(context: Context, entity: Entity, tally: _Tally, spool: Spool, rejects: Rejects, aside: Aside) -> Landed:
    """Gate the assembled files of an entity and put them in place; then drop what they replace, and count.

    Raises:
        QualityError: the gate failed; no file of the entity changed.
    """
    window = context.window if tally.windowed else None
    rejects.commit(context.settings, context.source, entity.name, window=window, pieces=tally.pieces)
    staged: list[storage.Staged] = []
    landed = late = 0
    watermark: datetime | None = None
    try:
        for file, times in _stage(context, entity, spool):
            staged.append(file)
            landed += times.height
            late += int((times.to_series() < context.window.start).sum())
            latest: Any = times.to_series().max()
            watermark = latest if watermark is None else max(watermark, latest)
        if context.gate is not None and staged:
            context.gate(entity.name, pl.scan_parquet([file.path for file in staged], hive_partitioning=False, glob=False))
        changed = sum([file.commit() for file in staged])
    except BaseException:
        for file in staged:
            file.discard()
        raise
    targets = {file.target for file in staged}
    lying = entity_folder(context.settings, entity.name, context.source).glob("date=*/*.parquet")
    for old in superseded(lying, window=window, pieces=tally.pieces):
        if old not in targets:
            changed += _take_out(old, entity, context.window)
    aside.commit(context.settings, context.source, entity.name, window=window, pieces=tally.pieces)
    reasons = rejects.reasons.get(entity.name, Counter())
    result = Landed(
        source=context.source,
        entity=entity.name,
        received=tally.received,
        landed=landed,
        rejected=sum(reasons.values()),
        duplicate=tally.accepted - landed,
        late=late,
        unchanged_files=sum(file.temporary is None for file in staged),
        changed_files=changed,
        watermark=watermark,
        reasons={**reasons, **tally.notes},
    )
    counts = {name: getattr(result, name) for name in ("received", "rejected", "duplicate", "late", "landed")}
    told = tally.told_of(context.window)
    if told is None:
        log.warning("%s/%s: all of %s is older than keep_days says; nothing of it was kept", context.source, entity.name, window)
        return result
    coverage.record(
        context.settings,
        context.source,
        entity.name,
        told,
        in_pieces=bool(tally.pieces),
        counts={"expected": tally.expected, **counts},
        watermark=watermark,
        reasons=result.reasons,
    )
    return result


def _take_out(path: Path, entity: Entity, window: Window) -> bool:
    """Take a window's rows out of a file that an extract inside the window left; return whether anything was.

    What that extract itself was for goes whole, and so does a piece.
    """
    slice_ = window_of(path.stem)
    kept = pl.DataFrame()
    if slice_ is not None and slice_ != window:
        moment = pl.col(entity.time)
        kept = storage.read(path).filter((moment < window.start) | (moment >= window.end))
    if kept.is_empty():
        path.unlink(missing_ok=True)
        return True
    return storage.write(path, kept, ignore={"ingested_at"})
