"""Land what a source yields, and replay what was rejected: conform, spool, assemble by day, gate, commit, count."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from aftercast.conform import Conformed, conform
from aftercast.entities import ENTITIES, LINEAGE, Entity
from aftercast.errors import LandingError, QualityError
from aftercast.landing import coverage, storage
from aftercast.landing.quarantine import Held, Rejects, held
from aftercast.landing.slices import REPLAYED, entity_folder, piece_label, slice_label, slice_path, superseded
from aftercast.landing.spool import PIECE, Spool
from aftercast.privacy import redact_series, token_key
from aftercast.settings import Settings, SourceRow
from aftercast.window import Window

log = logging.getLogger(__name__)

Gate = Callable[[str, pl.LazyFrame], None]


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


@dataclass(frozen=True, slots=True)
class Landed:
    """What became of one entity's rows: received = landed + rejected + duplicate."""

    source: str
    entity: str
    received: int
    landed: int
    rejected: int
    duplicate: int
    late: int
    unchanged_files: int
    changed_files: int
    watermark: datetime | None
    reasons: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        counts = f"{self.received:,} received, {self.landed:,} landed, {self.rejected:,} rejected, {self.duplicate:,} duplicate"
        files = f"{self.changed_files} files changed, {self.unchanged_files} unchanged"
        reasons = "; ".join(f"{count:,} x {reason}" for reason, count in sorted(self.reasons.items()))
        return f"{self.source}/{self.entity}: {counts}, {self.late:,} late; {files}{f' ({reasons})' if reasons else ''}"


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

    def expect(self, rows: int | None) -> None:
        """A source knows how many rows to expect only if every one of its batches does."""
        self.unexpected = self.unexpected or rows is None
        self.expected = None if self.unexpected else (self.expected or 0) + (rows or 0)


@contextmanager
def _scratch(settings: Settings) -> Iterator[Path]:
    """A folder for one extract, gone afterwards."""
    staging = settings.home / "staging"
    staging.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=staging))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _entity(name: str, origin: str) -> Entity:
    if name not in ENTITIES:
        raise LandingError(f"{origin}: no landing entity {name!r}; choose from {', '.join(sorted(ENTITIES))}")
    return ENTITIES[name]


def _unreadable(batch: Found) -> pl.DataFrame:
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


@dataclass(frozen=True, slots=True)
class _Context:
    """What every step of one landing needs."""

    settings: Settings
    source: str
    window: Window
    ingested_at: datetime
    gate: Gate | None
    key: bytes
    currencies: Mapping[str, str]

    def conform(self, entity: Entity, frame: pl.DataFrame, *, origin: str, first_row: int = 1) -> Conformed:
        """Conform rows under this deployment's key and currencies."""
        return conform(entity, frame, origin=origin, first_row=first_row, key=self.key, currencies=self.currencies)

    def with_lineage(self, rows: pl.DataFrame, entity: Entity) -> pl.DataFrame:
        """Rows as they lie on disk."""
        lineage = {"source": pl.lit(self.source, pl.String), "ingested_at": pl.lit(self.ingested_at, LINEAGE["ingested_at"])}
        return rows.with_columns(**lineage).select(list(entity.schema))


def _context(settings: Settings, source: str, window: Window, ingested_at: datetime, gate: Gate | None) -> _Context:
    currencies = {journey.journey: journey.currency for journey in settings.deployment.journeys}
    return _Context(settings, source, window, ingested_at.astimezone(UTC), gate, token_key(settings.home), currencies)


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
        window: what was extracted. Files of windows inside it are replaced.
        batches: rows as found; read once, one batch in memory at a time.
        ingested_at: when; not part of what makes two extracts equal.
        gate: called once per entity with the rows about to be committed; raises QualityError to hold the entity back.

    Raises:
        QualityError: a gate failed; other entities landed, the failed ones kept their old files.
        LandingError: a batch is meant for an entity that does not exist; nothing landed.
    """
    context = _context(settings, source.name, window, ingested_at, gate)
    with _scratch(settings) as scratch:
        spool, rejects = Spool(scratch), Rejects(scratch)
        tallies = {name: _Tally() for name in source.entities}
        for batch in batches:
            entity = _entity(batch.entity, batch.origin)
            tally = tallies.setdefault(entity.name, _Tally())
            label = piece_label(batch.piece) if batch.piece else window.label()
            conformed = context.conform(entity, batch.frame, origin=batch.origin, first_row=batch.first_row)
            unreadable = _unreadable(batch)
            spool.add(entity, conformed.accepted, label if batch.piece else "")
            rejects.add(entity.name, label, unreadable)
            rejects.add(entity.name, label, conformed.rejected)
            tally.received += batch.frame.height + unreadable.height
            tally.accepted += conformed.accepted.height
            tally.expect(batch.expected)
            tally.notes.update({**conformed.notes, **batch.notes})
            if batch.piece:
                tally.pieces.add(label)
            else:
                tally.windowed = True
        results, failures = [], []
        for name, tally in tallies.items():
            try:
                results.append(_commit(context, ENTITIES[name], tally, spool, rejects))
            except QualityError as error:
                failures.append(str(error))
    if failures:
        raise QualityError("\n".join(failures))
    return results


def _stage(context: _Context, entity: Entity, spool: Spool) -> Iterator[tuple[storage.Staged, pl.DataFrame]]:
    """Stage each file of an entity; yield it with its times."""
    for day, rows in spool.days(entity):
        for (piece,), part in sorted(rows.partition_by(PIECE, as_dict=True, include_key=False).items()):
            label = str(piece) or slice_label(context.window, day)
            target = slice_path(context.settings, entity.name, context.source, day, label)
            frame = context.with_lineage(part, entity)
            yield storage.stage(target, frame, ignore={"ingested_at"}), frame.select(entity.time)


def _commit(context: _Context, entity: Entity, tally: _Tally, spool: Spool, rejects: Rejects) -> Landed:
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
            old.unlink()
            changed += 1
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
    coverage.record(
        context.settings,
        context.source,
        entity.name,
        context.window,
        in_pieces=bool(tally.pieces),
        counts={"expected": tally.expected, **counts},
        watermark=watermark,
        reasons=result.reasons,
    )
    return result


def replay(settings: Settings, source: str | None = None, *, ingested_at: datetime | None = None, gate: Gate | None = None) -> list[Landed]:
    """Conform quarantined rows again, land those that fit now, and keep the others in quarantine under their present reason.

    Rows land beside the slice they were missing from and stay there when it is extracted again; staging takes the later version of a row.

    Args:
        settings: where to read and land.
        source: only this source's rows; None: all.
        ingested_at: when the rows land (default: now).
        gate: as for `land`.

    Raises:
        QualityError: a gate failed; the rows it saw stay in quarantine.
    """
    when = ingested_at or datetime.now(UTC)
    window = coverage.covered_window(settings) or settings.deployment.history
    results, failures = [], []
    for file in held(settings, source):
        try:
            results.append(_replay(_context(settings, file.source, window, when, gate), file))
        except QualityError as error:
            failures.append(str(error))
    if failures:
        raise QualityError("\n".join(failures))
    return results


def _replay(context: _Context, file: Held) -> Landed:
    """Land the rows of one quarantine file that fit now."""
    entity = ENTITIES[file.entity]
    candidates = [row for row in file.rows if isinstance(row["raw"], dict) and row["raw"]]
    kept = [row for row in file.rows if not (isinstance(row["raw"], dict) and row["raw"])]
    texts = [{name: _as_text(value) for name, value in row["raw"].items()} for row in candidates]
    frame = pl.DataFrame(texts, infer_schema_length=None) if texts else pl.DataFrame()
    conformed = context.conform(entity, frame, origin=file.path.name, first_row=0)
    still = dict(conformed.rejected.select("row", "reason").iter_rows())
    kept += [{**row, "reason": still[number]} for number, row in enumerate(candidates) if number in still]
    label = file.path.stem + REPLAYED
    landed = changed = unchanged = 0
    watermark: datetime | None = None
    with _scratch(context.settings) as scratch:
        spool = Spool(scratch)
        spool.add(entity, conformed.accepted, label)
        staged = []
        for day, rows in spool.days(entity):
            target = slice_path(context.settings, entity.name, context.source, day, label)
            fresh = context.with_lineage(rows, entity)
            landed += fresh.height
            latest: Any = fresh[entity.time].max()
            watermark = latest if watermark is None else max(watermark, latest)
            staged.append(storage.stage(target, _merged(target, fresh, entity), ignore={"ingested_at"}))
        try:
            if context.gate is not None and staged:
                context.gate(entity.name, pl.scan_parquet([one.path for one in staged], hive_partitioning=False, glob=False))
        except BaseException:
            for one in staged:
                one.discard()
            raise
        changed = sum([one.commit() for one in staged])
        unchanged = len(staged) - changed
    file.rewrite(kept)
    reasons = Counter(row["reason"] for row in kept)
    duplicate = conformed.accepted.height - landed
    before = Counter(row["reason"] for row in file.rows)
    where = (context.settings, context.source, entity.name, file.path.stem)
    coverage.amend(*where, landed=landed, duplicate=duplicate, before=before, after=reasons)
    log.info("replayed %s: %d of %d rows landed", file.path, landed, len(file.rows))
    return Landed(
        source=context.source,
        entity=entity.name,
        received=len(file.rows),
        landed=landed,
        rejected=len(kept),
        duplicate=duplicate,
        late=0,
        unchanged_files=unchanged,
        changed_files=changed,
        watermark=watermark,
        reasons=reasons,
    )


def _as_text(value: Any) -> str | None:
    """A JSON value as the text that conform reads."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _merged(target: Path, fresh: pl.DataFrame, entity: Entity) -> pl.DataFrame:
    """Rows replayed earlier and now; the later version of a row wins."""
    if not target.exists():
        return fresh
    earlier = pl.read_parquet(target, hive_partitioning=False).select(fresh.columns)
    series = [name for name in entity.key if name != entity.time]
    return pl.concat([earlier, fresh]).unique(list(entity.key), keep="last", maintain_order=True).sort([*series, entity.time])
