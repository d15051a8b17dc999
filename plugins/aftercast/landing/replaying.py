"""Land quarantined rows that fit now: after a journey's currency was declared, or a person corrected the line."""

from __future__ import annotations

import json
import logging
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from aftercast.entities import ENTITIES, Entity
from aftercast.errors import QualityError
from aftercast.landing import coverage, storage
from aftercast.landing.context import Context, Gate, Landed, alone, context_of, scratch_folder, stamp
from aftercast.landing.quarantine import Held, held, sources_held
from aftercast.landing.slices import REPLAYED, slice_path, window_of
from aftercast.landing.spool import Spool
from aftercast.settings import Settings

log = logging.getLogger(__name__)


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
    for name in sources_held(settings, source):
        with alone(settings, name):
            context = context_of(settings, name, window, stamp(settings, name, when), gate)
            for file in held(settings, name):
                try:
                    results.append(_replay(context, file))
                except QualityError as error:
                    failures.append(str(error))
    if failures:
        raise QualityError("\n".join(failures))
    return results


def _replay(context: Context, file: Held) -> Landed:
    """Land the rows of one quarantine file that fit now."""
    entity = ENTITIES[file.entity]
    candidates = [row for row in file.rows if isinstance(row["raw"], dict) and row["raw"]]
    kept = [row for row in file.rows if not (isinstance(row["raw"], dict) and row["raw"])]
    texts = [{name: _as_text(value) for name, value in row["raw"].items()} for row in candidates]
    frame = pl.DataFrame(texts, infer_schema_length=None) if texts else pl.DataFrame()
    conformed = context.conform(entity, frame, origin=file.path.name, first_row=0, windowed=window_of(file.path.stem) is not None)
    still = dict(conformed.rejected.select("row", "reason").iter_rows())
    kept += [{**row, "reason": still[number]} for number, row in enumerate(candidates) if number in still]
    label = file.path.stem + REPLAYED
    landed = changed = unchanged = 0
    watermark: datetime | None = None
    with scratch_folder(context.settings) as scratch:
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
    earlier = storage.read(target)
    series = [name for name in entity.key if name != entity.time]
    both = pl.concat([earlier, fresh], how="diagonal").select(fresh.columns)  # what landed before a column was added lacks it
    return both.unique(list(entity.key), keep="last", maintain_order=True).sort([*series, entity.time])
