"""The `cdevents` kind: CDEvents from files or from the receiver, as changes and incidents.

Events of any version of the specification are read, alone, in a list, or wrapped as CloudEvents; types that tell of nothing we keep are
counted. An event tells one moment only, so an incident is put together from all its events: those in the window, those received in the
days before it, and those in dropped files.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import polars as pl
from pydantic import Field

from aftercast.declarations import SourceRow
from aftercast.settings import Settings, check_options
from aftercast.sources import Batch, inbox
from aftercast.sources.lifecycle import Record, Severity, at, batch, earliest, latest, moment, nothing, text, text_at
from aftercast.sources.places import Place, attributes
from aftercast.window import Window

PREFIX = "dev.cdevents."
Kind = Literal["deploy", "rollback", "config", "flag", "migration", "infra", "provider", "maintenance"]
KINDS: dict[str, Kind] = {
    "service.deployed": "deploy",
    "service.upgraded": "deploy",
    "service.rolledback": "rollback",
    "service.removed": "infra",
    "service.published": "config",  # it became reachable; that it was deployed is told by an event of its own
    "environment.modified": "infra",
}
ENTITIES = ("changes", "incidents", "incident_events")
Stories = dict[str, dict[str, Record]]  # the events of an incident by their ids, by its id


class Options(Place):
    """Options of a `cdevents` source.

    `kinds` changes what an event of a service lands as; null leaves it out. A modified environment concerns `environment_service`, and is
    left out without. Events name no severity: it is `severity` for all.
    """

    inbox: str
    kinds: dict[str, Kind | None] = Field(default_factory=dict)
    environment_service: str | None = None
    severity: Severity = "unknown"
    reread_days: int = Field(default=30, ge=0, le=3_660)


@dataclass(slots=True)
class Found:
    """What some events tell: rows of changes, incidents that were mentioned, documents that are no events, what was left out."""

    changes: list[dict[str, Any]] = field(default_factory=list)
    incidents: dict[str, None] = field(default_factory=dict)
    refused: list[tuple[str, str, int]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class CDEvents:
    """An inbox of events."""

    row: SourceRow
    folder: Path
    options: Options

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield the changes of a file, then the incidents that each file mentions, with all that is known of them.

        Raises:
            SourceUnavailable: the inbox folder does not exist.
        """
        yield from nothing(str(self.folder), *ENTITIES)
        stories = Stories()
        mentioned: dict[inbox.InboxFile, dict[str, None]] = {}
        for file in inbox.files(self.row.name, self.folder, window):
            if not inbox.is_document(file.name):
                yield Batch("changes", pl.DataFrame(), origin=file.name, notes={f"file {file.name} is no JSON": 1})
                continue
            for entity in ENTITIES if file.piece else ():
                yield Batch(entity, pl.DataFrame(), origin=file.name, piece=file.piece)
            for block in inbox.read(file, window):
                found = self._read(block, stories)
                mentioned.setdefault(file, {}).update(found.incidents)
                refused = pl.concat([block.unreadable, pl.DataFrame(found.refused, schema=block.unreadable.schema, orient="row")])
                yield replace(batch("changes", found.changes, file.name, notes=found.left_out), rejected=refused, piece=file.piece)
        self._add_earlier(window, stories)
        for file, incidents in mentioned.items():
            yield from self._told(file, [list(stories[id_].values()) for id_ in incidents])

    def _add_earlier(self, window: Window, stories: Stories) -> None:
        """Add what was received before the window, in the days to read again and since the first event that is told.

        A dropped file is read for ever, and must not tell less of an incident than was told before.
        """
        told = [instant for story in stories.values() for one in story.values() if (instant := moment(one["occurred_at"]))]
        since = min([window.start - timedelta(days=self.options.reread_days), *told]) if told else window.start
        if since < window.start:
            earlier = Window(since, window.start)
            for file in inbox.files(self.row.name, self.folder, earlier):
                if file.day and inbox.is_document(file.name):
                    for block in inbox.read(file, earlier):
                        self._read(block, stories)

    def _read(self, block: inbox.Block, stories: Stories) -> Found:
        """Sort the events of a block; those of incidents go to their stories."""
        found = Found()
        for document in block.documents:
            for event in unwrapped(document.body):
                type_ = kind_of(event)
                id_ = text_at(event, "context", "id")
                if type_ is None or id_ is None:
                    found.refused.append(("no CDEvent: no context with type and id", (text(event) or "")[:1000], document.row))
                    continue
                if type_.startswith("incident."):
                    incident = text_at(event, "subject", "id") or id_
                    stories.setdefault(incident, {})[id_] = event_row(event, type_, text_at(document.envelope, "received_at"))
                    found.incidents[incident] = None
                    continue
                row = self._change(event, type_)
                if row is None:
                    found.left_out[f"events {type_} left out"] += 1
                else:
                    found.changes.append(row)
        return found

    def _change(self, event: Record, type_: str) -> dict[str, Any] | None:
        kind = {**KINDS, **self.options.kinds}.get(type_)
        is_service = type_.startswith("service.")
        subject, when = text_at(event, "subject", "id"), text_at(event, "context", "timestamp")
        service = subject if is_service else self.options.environment_service
        place = self.options.of(event, service=service, environment=environment_of(event) if is_service else subject)
        if kind is None or place is None or (place["service"] is None and not is_service):
            return None
        artifact = artifact_of(event)
        return {
            "change_id": text_at(event, "context", "id"),
            "kind": kind,
            "title": f"{subject} {type_.split('.')[1]}",
            "started_at": when,
            "finished_at": when,
            "result": "success",
            "version": version_of(artifact),
            "attributes": attributes(artifact=artifact, chain=text_at(event, "context", "chainId")),
            **place,
        }

    def _told(self, file: inbox.InboxFile, stories: list[list[Record]]) -> Iterator[Batch]:
        rows = [row for story in stories if (row := self._incident(story)) is not None]
        untold = {"incidents whose beginning nothing tells": len(stories) - len(rows)} if len(stories) > len(rows) else {}
        yield replace(batch("incidents", rows, file.name, notes=untold), piece=file.piece)
        yield replace(batch("incident_events", (event for story in stories for event in story), file.name), piece=file.piece)

    def _incident(self, story: list[Record]) -> dict[str, Any] | None:
        """An incident by its events; None when none tells that it began."""
        told = sorted(story, key=lambda one: str(one["occurred_at"]))
        began = earliest(told, "detected", "reported")
        if began is None:
            return None
        _, last = max(((instant, one) for one in told if (instant := moment(one["occurred_at"]))), key=lambda timed: timed[0])
        over = last["kind"] == "resolved"
        first = next(one for one in told if one["kind"] in ("detected", "reported"))
        known = {name: next((one[name] for one in told if one[name]), None) for name in ("service", "environment", "ticket")}
        place = self.options.of(first["event"], service=known["service"], environment=known["environment"])
        if place is None:
            return None
        return {
            "incident_id": first["incident_id"],
            "title": first["text"] or f"Incident {first['incident_id']}",
            "severity": self.options.severity,
            "status": "resolved" if over else "open",
            "mode": "real",
            "services": [place["service"]] if place["service"] else [],
            "started_at": began,
            "detected_at": earliest(told, "detected"),
            "declared_at": earliest(told, "reported") or began,
            "resolved_at": latest(told, "resolved") if over else None,
            "detection_method": "unknown",
            "url": known["ticket"],
            "updated_at": last["occurred_at"],
            "environment": place["environment"],
            "region": place["region"],
        }


def unwrapped(found: Any) -> Iterator[Record]:
    """Yield the events in a document: itself, those of a list, or the data of CloudEvents."""
    for one in found if isinstance(found, list) else [found]:
        data = one.get("data") if isinstance(one, Mapping) and "specversion" in one else one
        if isinstance(one, Mapping) and isinstance(one.get("data_base64"), str):
            try:
                data = json.loads(base64.b64decode(one["data_base64"]))
            except ValueError:
                data = one
        yield data if isinstance(data, Mapping) else {"": data}


def kind_of(event: Record) -> str | None:
    """Return subject and predicate of an event, such as `service.deployed`, without the version of its type."""
    type_ = text_at(event, "context", "type") or ""
    parts = type_.removeprefix(PREFIX).split(".")
    return ".".join(parts[:2]) if type_.startswith(PREFIX) and len(parts) >= 2 else None


def environment_of(event: Record) -> str | None:
    found = at(event, "subject", "content", "environment")
    return text_at(found, "id") if isinstance(found, Mapping) else text(found)


def artifact_of(event: Record) -> str | None:
    return text_at(event, "subject", "content", "artifactId") or text_at(event, "subject", "content", "artifactID")


def version_of(artifact: str | None) -> str | None:
    """Return the version a package URL names; what is no package URL is a version itself."""
    if artifact is None or not artifact.startswith("pkg:"):
        return artifact
    name = artifact.split("#", 1)[0].split("?", 1)[0]
    return unquote(name.rsplit("@", 1)[1]) if "@" in name else None


def event_row(event: Record, type_: str, received_at: str | None) -> dict[str, Any]:
    """Return an event of an incident, with what the incident's row needs of it. When it occurred says the sender, when it came we do."""
    content, when = at(event, "subject", "content"), text_at(event, "context", "timestamp")
    return {
        "event_id": text_at(event, "context", "id"),
        "incident_id": text_at(event, "subject", "id") or text_at(event, "context", "id"),
        "kind": type_.split(".")[1],
        "text": text_at(content, "description"),
        "occurred_at": when,
        "recorded_at": received_at or when,
        "service": text_at(content, "service", "id"),
        "environment": environment_of(event),
        "ticket": text_at(content, "ticketURI"),
        "event": event,
    }


def open(row: SourceRow, settings: Settings) -> CDEvents:
    """Return the inbox a row of sources.yml declares.

    Raises:
        ConfigError: an option does not fit.
    """
    options = check_options(row, Options)
    return CDEvents(row, settings.home / Path(options.inbox).expanduser(), options)
