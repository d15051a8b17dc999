"""The `otlp` kind: OTLP/JSON files as the OpenTelemetry collector's file exporter writes them, one object a line, signals mixed or apart.

Metrics land as points, log records as counted patterns, spans as requests, errors and durations, as edges between services and, if asked
for, as counts of what happens inside them; never a raw line. An extract reads the files that were written after its window began (and the
`lookback_minutes` before it), counts what happened in the window, and holds no more than aggregates in memory. The order of lines and of
files changes nothing.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from aftercast.declarations import SourceRow
from aftercast.settings import Settings, check_options
from aftercast.sources import Batch
from aftercast.sources.otlp.inbox import Inbox, Line
from aftercast.sources.otlp.options import Options
from aftercast.sources.otlp.records import Reading, Refused
from aftercast.window import Window

log = logging.getLogger(__name__)

ENTITIES = {"metrics": ("metric_points",), "logs": ("log_patterns",), "traces": ("spans_red", "service_edges")}
REJECTED = {"reason": pl.String, "raw": pl.String, "row": pl.Int64}
RAW = 2_000  # characters of a refused record that quarantine keeps
REFUSED_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class Otlp:
    """An inbox of telemetry."""

    row: SourceRow
    settings: Settings
    options: Options
    inbox: Inbox

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield what cannot be read, file by file, and then the rows of every entity.

        Raises:
            SourceUnavailable: the inbox does not exist.
            SourceRejected: there are more series than is sane.
        """
        staging = self.settings.home / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        files, others = self.inbox.files(window.start - timedelta(minutes=self.options.lookback_minutes))
        notes = Counter({f"file {name} is no OTLP/JSON by its name": 1 for name in others})
        with tempfile.TemporaryDirectory(dir=staging) as folder:
            reading = Reading(Path(folder), window, self.options, self.row.name)
            for file in files:
                refusals = _Refusals(file.name, window, file.written_at)
                for line in self.inbox.lines(file):
                    refusals.take(line, self._read(line, file.name, reading, notes), reading)
                    if len(refusals.due) >= REFUSED_AT_ONCE:
                        yield from refusals.batches(self.options)
                refusals.end()
                yield from refusals.batches(self.options)
            log.info("source %s: %d files read: %s", self.row.name, len(files), reading)
            yield from self._rows(reading, notes)

    @staticmethod
    def _read(line: Line, name: str, reading: Reading, notes: Counter[str]) -> list[Refused]:
        try:
            return [Refused("", line.problem, "")] if line.problem else reading.take(json.loads(line.text))
        except (json.JSONDecodeError, RecursionError) as error:
            if line.is_last:
                notes[f"file {name} ends in a torn line, read again next time"] += 1
                return []
            return [Refused("", f"not JSON: {error}", line.text)]

    def _rows(self, reading: Reading, notes: Mapping[str, int]) -> Iterator[Batch]:
        said = dict(notes)
        for signal, entities in ENTITIES.items():
            if signal not in self.options.signals:
                continue
            for entity in (*entities, *(("span_events",) if signal == "traces" and self.options.events else ())):
                yield Batch(entity, pl.DataFrame(), origin=self.inbox.url, notes=said)
                said = {}
            for entity, frame in reading.frames(signal):
                yield Batch(entity, frame, origin=f"{self.inbox.url} ({signal})")
            more = reading.notes(signal)
            if more:
                yield Batch(entities[0], pl.DataFrame(), origin=self.inbox.url, notes=more)
        if self.options.deployments:
            yield Batch("changes", reading.deployments(), origin=f"{self.inbox.url} (service.version)")


@dataclass(slots=True)
class _Refusals:
    """Records of a file that cannot be used.

    Files are read by many windows; what is refused is said by one: the window of the time that was last read before it in the file, else
    of the first one after it, else of the file's last write.
    """

    name: str
    window: Window
    written_at: Any
    waiting: list[tuple[Refused, int]] = field(default_factory=list)
    due: list[tuple[Refused, int]] = field(default_factory=list)
    is_ours: bool | None = None

    def take(self, line: Line, refused: list[Refused], reading: Reading) -> None:
        before = self.is_ours
        if reading.latest is not None:
            self.is_ours = reading.latest in reading.exact
        if self.is_ours is None:
            self.waiting += [(one, line.number) for one in refused]
            return
        if before is None and self.is_ours:
            self.due += self.waiting
        self.waiting = []
        if self.is_ours:
            self.due += [(one, line.number) for one in refused]

    def end(self) -> None:
        if self.is_ours is None and (self.written_at is None or self.window.contains(self.written_at)):
            self.due += self.waiting
        self.waiting = []

    def batches(self, options: Options) -> Iterator[Batch]:
        by_entity: dict[str, list[tuple[str, str, int]]] = {}
        for one, number in self.due:
            signal = one.signal if one.signal in options.signals else options.signals[0]
            by_entity.setdefault(ENTITIES[signal][0], []).append((one.reason, one.raw[:RAW], number))
        self.due = []
        for entity, rows in by_entity.items():
            yield Batch(entity, pl.DataFrame(), origin=self.name, rejected=pl.DataFrame(rows, schema=REJECTED, orient="row"))


def open(row: SourceRow, settings: Settings) -> Otlp:
    """Return the inbox a row of sources.yml declares; a path without a scheme lies below AFTERCAST_HOME or is absolute.

    Raises:
        ConfigError: an option is unknown or does not fit.
    """
    options = check_options(row, Options)
    url = options.inbox if "://" in options.inbox else str(settings.home / Path(options.inbox).expanduser())
    return Otlp(row, settings, options, Inbox(row.name, url, options.match))
