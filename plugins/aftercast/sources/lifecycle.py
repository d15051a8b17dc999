"""What the kinds that read trackers of incidents share: records of any shape read safely, severities by name, rows as batches of text.

A tracker tells what was edited since, not what happened in a window. So a kind lists what was updated after the window began, lands each
record whole, with all that is known of its lifecycle by now, and leaves what was created after the end to the window that holds it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

import polars as pl
from pydantic import Field

from aftercast.connections import Endpoint
from aftercast.declarations import Row
from aftercast.entities import ENTITIES, TEXT, TEXTS
from aftercast.sources import Batch
from aftercast.window import Window

Mode = Literal["real", "test", "drill", "maintenance"]
Severity = Literal["sev1", "sev2", "sev3", "sev4", "unknown"]
Record = Mapping[str, Any]

EVERYTHING_ELSE = "*"
MILLISECONDS = 1000
LATEST = 10**13  # milliseconds: later lie epochs in another unit


class Tracker(Row):
    """Options of every kind that reads incidents.

    `severities` maps their words to ours and adds to what the kind knows; `*` stands for every other word. A word that nothing maps is
    handed over as it is, so that landing quarantines the incident and names it.
    """

    severities: dict[str, Severity] = Field(default_factory=dict)
    environment: str | None = None
    region: str | None = None

    def severity(self, word: str | None, known: Mapping[str, str]) -> str:
        """Return our severity for their word; `unknown` without one. `known` has its words in lower case."""
        if word is None:
            return "unknown"
        words = {**known, **{theirs.casefold(): ours for theirs, ours in self.severities.items()}}
        return words.get(word.strip().casefold()) or words.get(EVERYTHING_ELSE) or word

    @property
    def place(self) -> dict[str, str | None]:
        """The columns that are the same for every row."""
        return {"environment": self.environment, "region": self.region}


def at(record: Any, *path: str) -> Any:
    """Return what lies at a path of keys; None where there is nothing or something else on the way."""
    for key in path:
        record = record.get(key) if isinstance(record, Mapping) else None
    return record


def text(value: Any) -> str | None:
    """Return a value as text; None and empty stay unknown."""
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def text_at(record: Any, *path: str) -> str | None:
    return text(at(record, *path))


def items_at(record: Any, *path: str) -> list[Record]:
    """Return the objects of a list at a path; what is no object is left out."""
    found = at(record, *path)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def moment(value: str | None) -> datetime | None:
    """Return the instant a text names; None when it names none with a zone (landing judges the text itself)."""
    try:
        found = datetime.fromisoformat(value or "")
        return found.astimezone(UTC) if found.tzinfo else None
    except (ValueError, OverflowError):
        return None


def iso(instant: datetime) -> str:
    """Return an instant to the second, as APIs like it: 2026-09-21T06:00:00Z."""
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def milliseconds(instant: datetime) -> int:
    return round(instant.timestamp() * MILLISECONDS)


def from_milliseconds(value: Any) -> str | None:
    """Return the instant of an epoch in milliseconds as text; anything else as text for landing to judge."""
    if isinstance(value, (int, float)) and 0 < value < LATEST:
        return datetime.fromtimestamp(value / MILLISECONDS, UTC).isoformat()
    return text(value)


def is_due(window: Window, *, created: str | None, updated: Iterable[str | None] = ()) -> bool:
    """Whether a record was there before the window's end and was written after its start. Times that cannot be read do not hide it."""
    born = moment(created)
    written = [instant for instant in map(moment, updated) if instant is not None]
    return (born is None or born < window.end) and (not written or max(written) >= window.start)


def earliest(events: Iterable[Record], *kinds: str) -> str | None:
    """Return when the first event of some kinds occurred."""
    return _end(min, events, kinds)


def latest(events: Iterable[Record], *kinds: str) -> str | None:
    """Return when the last event of some kinds occurred."""
    return _end(max, events, kinds)


def _end(which: Any, events: Iterable[Record], kinds: tuple[str, ...]) -> str | None:
    times = [(instant, one["occurred_at"]) for one in events if one["kind"] in kinds and (instant := moment(one["occurred_at"]))]
    return str(which(times)[1]) if times else None


def batch(entity: str, rows: Iterable[Mapping[str, Any]], origin: str, *, notes: Mapping[str, int] | None = None) -> Batch:
    """Return rows as a batch: texts and lists of texts, for landing to cast. `source_id` is theirs, or the first column of the key."""
    shape = ENTITIES[entity]
    schema = {"source_id": TEXT, **{name: TEXTS if kind == TEXTS else TEXT for name, kind in shape.columns.items()}}
    found = [
        {name: (row.get(name) or []) if kind == TEXTS else text(row.get(name)) for name, kind in schema.items()}
        | {"source_id": text(row.get("source_id", row.get(shape.key[0])))}
        for row in rows
    ]
    return Batch(entity, pl.DataFrame(found, schema=schema) if found else pl.DataFrame(), origin=origin, notes=dict(notes or {}))


def nothing(origin: str, *entities: str) -> Iterator[Batch]:
    """Say that these were asked for, whatever comes of it."""
    for entity in entities:
        yield Batch(entity, pl.DataFrame(), origin=origin)


def hosted(endpoint: Endpoint, url: str) -> Endpoint:
    """Return the endpoint, at the service's own address when the connection names no host."""
    return replace(endpoint, base_url=endpoint.base_url or url)
