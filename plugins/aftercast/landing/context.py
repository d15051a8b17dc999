"""What landing an extract and replaying a quarantine share: their circumstances, a scratch folder, one writer a source, their result."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from aftercast.conform import Conformed, conform
from aftercast.entities import LINEAGE, Entity
from aftercast.landing import shared
from aftercast.privacy import token_key
from aftercast.settings import Settings
from aftercast.window import Window

log = logging.getLogger(__name__)

Gate = Callable[[str, pl.LazyFrame], None]


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


@contextmanager
def alone(settings: Settings, source: str, window: Window | None = None) -> Iterator[None]:
    """Be the only writer of a source's files: wait for whoever writes them now (a reconciliation, a replay).

    Where machines share a store, its files are fetched first (of a window: those that an extract of it may touch) and copied there
    afterwards, whether the work went well or not: at every moment they are whole.
    """
    with shared.turn(settings, source):
        found = shared.fetch(settings, source, window)
        try:
            yield
        finally:
            shared.hand_over(settings, source, found)


def stamp(settings: Settings, source: str, now: datetime) -> datetime:
    """Return when rows land that land now: never before those that landed earlier, though the clock may have gone back.

    Of two versions of a row staging takes the one that landed last. Call it while `alone`; the lock's file keeps the latest time.
    """
    path = settings.home / "locks" / f"{source}.lock"
    try:
        latest = datetime.fromisoformat(path.read_text(encoding="ascii").strip())
    except ValueError:  # the first time
        latest = now
    if latest.tzinfo is None:  # cut off by a kill
        latest = now
    moment = now.astimezone(UTC)
    if moment < latest:
        log.warning("source %s: the clock went back; rows landed at %s, so it is not %s", source, latest, moment)
        moment = latest + timedelta(microseconds=1)
    with path.open("r+", encoding="ascii") as lock:
        lock.write(moment.isoformat(timespec="microseconds"))
    return moment


@contextmanager
def scratch_folder(settings: Settings) -> Iterator[Path]:
    """A folder for one extract, gone afterwards."""
    staging = settings.home / "staging"
    staging.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=staging))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Context:
    """What every step of one landing needs."""

    settings: Settings
    source: str
    window: Window
    ingested_at: datetime
    gate: Gate | None
    key: bytes
    currencies: Mapping[str, str]
    tolerance: timedelta

    def conform(self, entity: Entity, frame: pl.DataFrame, *, origin: str, first_row: int = 1, windowed: bool) -> Conformed:
        """Conform rows under this deployment's key and currencies; none may be dated after its window, or after now where it has none."""
        latest = self._latest(entity) if windowed else self.ingested_at + self.tolerance
        return conform(
            entity,
            frame,
            origin=origin,
            first_row=first_row,
            key=self.key,
            currencies=self.currencies,
            latest=latest,
            latest_is="window" if windowed else "extract",
        )

    def _latest(self, entity: Entity) -> datetime:
        return (max(self.window.end, self.ingested_at) if entity.stamped else self.window.end) + self.tolerance

    def with_lineage(self, rows: pl.DataFrame, entity: Entity) -> pl.DataFrame:
        """Rows as they lie on disk."""
        lineage = {"source": pl.lit(self.source, pl.String), "ingested_at": pl.lit(self.ingested_at, LINEAGE["ingested_at"])}
        return rows.with_columns(**lineage).select(list(entity.schema))


def context_of(settings: Settings, source: str, window: Window, ingested_at: datetime, gate: Gate | None) -> Context:
    """Return the circumstances of landing what a source found in a window."""
    currencies = {journey.journey: journey.currency for journey in settings.deployment.journeys}
    return Context(
        settings=settings,
        source=source,
        window=window,
        ingested_at=ingested_at.astimezone(UTC),
        gate=gate,
        key=token_key(settings.home),
        currencies=currencies,
        tolerance=settings.deployment.clock_tolerance,
    )
