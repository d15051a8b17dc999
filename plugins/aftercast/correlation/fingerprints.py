"""What the evidence on an incident is a function of, as a fingerprint: equal fingerprints mean equal evidence.

Everything with a time is entered by its hour, in ledgers; a fingerprint covers the hours the checks may read. Most of them lie at a fixed
distance from the reported start, and are taken generously; how far normals reached is only known when they were taken (`Reach`), and is
kept beside the evidence. What has no time (calls, names of series, numbers of services) is in every fingerprint of its environment.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from aftercast.correlation.calls import LOG
from aftercast.correlation.reach import Reach
from aftercast.correlation.situation import Incident
from aftercast.correlation.surroundings import RATE_HISTORY, Surroundings
from aftercast.correlation.telemetry import DAY, ENOUGH_POINTS, HOUR, SEASONAL_REACH, Panel

PANEL_BEFORE = SEASONAL_REACH + DAY
"""The moves of up to 14 days before and their hours before are read, and normals up to four hours before the reported start."""
CHANGES_BEFORE = RATE_HISTORY + 2 * DAY
TOLD_BEFORE = 8 * DAY
AFTER = 5 * HOUR
"""The onset lies up to half an hour after the report, and the first three buckets, of an hour at most, after that."""
NEAR = 3 * HOUR
BUCKETS_BEFORE, BUCKETS_AFTER = 14, 6
SIZE = 16

Reaches = tuple[int, int, int, int]
"""First and last moment read of the metrics, then of traces and logs."""


def digest_of(*parts: object) -> bytes:
    """A digest of the texts of some values."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=SIZE).digest()


class Ledger:
    """What each hour held, as digests; the order of what was entered does not matter."""

    def __init__(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """Args: entries: (hour, digest) in order of hours."""
        told = list(entries)
        self._hours = [hour for hour, _ in told]
        self._lines = b"".join(hour.to_bytes(8, "big", signed=True) + digest for hour, digest in told)

    @classmethod
    def of(cls, rows: Iterable[tuple[int, object]]) -> Ledger:
        """Enter rows by their moment (microseconds)."""
        held: dict[int, list[bytes]] = defaultdict(list)
        for at, row in rows:
            held[at // HOUR].append(digest_of(row))
        return cls((hour, digest_of(sorted(held[hour]))) for hour in sorted(held))

    def between(self, first: int, last: int) -> bytes:
        """What the hours from one moment to another held."""
        width = 8 + SIZE
        return self._lines[bisect_left(self._hours, first // HOUR) * width : bisect_right(self._hours, last // HOUR) * width]


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """The ledgers of one environment. `heard`: since when each service logs, oldest first."""

    facts: bytes
    around: Surroundings
    panel: Ledger
    journeys: Ledger
    changes: Ledger
    alerts: Ledger
    episodes: Ledger
    told: Ledger
    heard: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, around: Surroundings, told: Sequence[pl.DataFrame], code: str) -> Fingerprints:
        """Enter what is known of an environment.

        Args:
            told: the rows of traces, events in spans and log patterns that the surroundings were arranged from.
            code: a fingerprint of what computes.
        """
        return cls(
            digest_of(code, *_facts(around, told)),
            around,
            Ledger(_of_panel(around.panel)),
            Ledger(_of_panel(around.journeys)),
            Ledger.of((change.started, change) for change in around.changes),
            Ledger.of((at, service) for service, moments in around.alerts.items() for at in moments),
            Ledger.of(
                (hour * HOUR, (service, episode))
                for service, episodes in around.episodes.items()
                for episode in episodes
                for hour in range(episode[0] // HOUR, episode[1] // HOUR + 1)
            ),
            Ledger(_of_frames(told)),
            tuple(sorted((rows[0][2], service) for service, rows in around.patterns.items() if rows)),
        )

    def of_incident(self, incident: Incident, reaches: Reaches) -> str:
        """The fingerprint of the evidence on an incident, given how far its normals reach."""
        around, start = self.around, incident.started
        last = max(start, incident.ended) + AFTER
        grain = around.book.grain if around.book else 0
        found = hashlib.blake2b(self.facts, digest_size=SIZE)
        found.update(
            repr(
                (
                    incident,
                    reaches,
                    min(around.as_of, last),
                    [max(begin, start - 8 * DAY) for begin in self._begins()],
                    max(around.changes[0].started, start - CHANGES_BEFORE) if around.changes else None,
                    [(around.hints.callees.get(name, ()), sorted(around.journeys_of.get(name, ()))) for name in incident.services],
                    self._heard_by(start),
                )
            ).encode()
        )
        begun, over, first_told, last_told = reaches
        for lines in (
            self.panel.between(min(start - PANEL_BEFORE, begun), max(last, over)),
            self.journeys.between(start - PANEL_BEFORE, last),
            self.changes.between(start - CHANGES_BEFORE, last),
            self.alerts.between(start - NEAR, start + NEAR),
            self.episodes.between(start - NEAR, start + NEAR),
            self.told.between(
                min(start - TOLD_BEFORE, start - BUCKETS_BEFORE * grain - NEAR, first_told), max(last + BUCKETS_AFTER * grain, last_told)
            ),
        ):
            found.update(len(lines).to_bytes(8, "big"))
            found.update(lines)
        return found.hexdigest()

    def _begins(self) -> list[int]:
        """When metrics begin outside incidents, at a distance from them, and at all."""
        panel = self.around.panel
        if panel is None or not panel.times.size:
            return []
        return [_first(panel, panel.calm), _first(panel, panel.quiet), int(panel.times[0])]

    def _heard_by(self, start: int) -> tuple[list[str], list[tuple[int, str]]]:
        """The services that had logged for days by then, and those that began to about then."""
        long = bisect_left(self.heard, (start - 2 * DAY, ""))
        lately = bisect_left(self.heard, (start + NEAR, ""))
        return sorted(service for _, service in self.heard[:long]), list(self.heard[long:lately])


def reaches_of(metrics: Reach, told: Reach) -> Reaches:
    """What was read, as numbers."""
    return metrics.first, metrics.last, told.first, told.last


def _first(panel: Panel, flags: npt.NDArray[np.bool_]) -> int:
    return int(panel.times[np.argmax(flags)]) if flags.any() else -1


def _facts(around: Surroundings, told: Sequence[pl.DataFrame]) -> Iterator[object]:
    """What has no time, or is of all times."""
    yield around.environment
    for panel in (around.panel, around.journeys):
        yield None if panel is None else (panel.series, panel.grain, min(int(np.count_nonzero(panel.quiet)), ENOUGH_POINTS))
    yield dict(around.graph.callees)
    yield sorted(around.providers)
    yield len(around.services), len(around.services - around.providers)
    yield around.book.grain if around.book else None
    logging = (
        frame.filter((pl.col("event") == LOG) | pl.col("event").str.starts_with(f"{LOG} ")) for frame in told if "event" in frame.columns
    )
    yield sorted({name for frame in logging for name in frame["service"].drop_nulls()})


def _of_panel(panel: Panel | None) -> Iterator[tuple[int, bytes]]:
    """The values of all series by the hour, and which of its buckets are quiet."""
    if panel is None:
        return
    hours = panel.times // HOUR
    _, starts = np.unique(panel.times // DAY, return_index=True)
    for start, end in zip(starts, [*starts[1:], panel.times.size], strict=True):
        values = np.ascontiguousarray(panel.values[:, start:end].T)
        own, first = np.unique(hours[start:end], return_index=True)
        for hour, low, high in zip(own.tolist(), first, [*first[1:], end - start], strict=True):
            found = hashlib.blake2b(digest_size=SIZE)
            for part in (panel.times, panel.calm, panel.quiet):
                found.update(np.ascontiguousarray(part[start + low : start + high]).data)
            found.update(values[low:high].data)
            yield hour, found.digest()


def _of_frames(frames: Sequence[pl.DataFrame]) -> Iterator[tuple[int, bytes]]:
    """Rows with a `bucket`, by the hour: sums of hashes, so that their order does not matter."""
    sums: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for number, frame in enumerate(frames):
        rows = frame.filter(pl.col("bucket").is_not_null())
        if not rows.height:
            continue
        hour = rows["bucket"].dt.epoch("us").to_numpy() // HOUR
        order = np.argsort(hour, kind="stable")
        own, first = np.unique(hour[order], return_index=True)
        one, two = (np.add.reduceat(rows.hash_rows(seed).to_numpy()[order], first) for seed in (1, 2))
        for at, left, right in zip(own.tolist(), one.tolist(), two.tolist(), strict=True):
            sums[at].append((number, left, right))
    for at in sorted(sums):
        yield at, digest_of(sums[at])
