"""Exports of a Slack workspace: a folder or zip file with `channels.json`, `users.json` and a folder per channel with a file per day.

An export is read whole, whatever the window, and its files stay where they are. A day of a channel lands as a piece of its own: a later
export (by name) that holds it replaces it, so that what was edited or deleted in between is told as the later one tells it.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from aftercast.errors import SourceUnavailable
from aftercast.privacy import token
from aftercast.sources import Batch
from aftercast.sources.formats import UNREADABLE_SCHEMA
from aftercast.sources.lifecycle import Record, batch, items_at, text_at
from aftercast.sources.slack_channels.rows import Channel, Options, Speech, rows_of
from aftercast.window import Window

ENTITIES = ("incident_events", "insights")
LISTS = ("channels.json", "groups.json")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}\.json")
LARGEST = 200_000_000  # bytes of one unpacked file
SHORTEST_NAME = 3  # letters; shorter ones are words


@dataclass(frozen=True, slots=True)
class Archive:
    """One export: the files inside it by their path, below the folder that holds `channels.json`."""

    name: str
    path: Path
    files: Mapping[str, str]

    def read(self, name: str) -> bytes:
        if self.path.is_dir():
            return (self.path / self.files[name]).read_bytes()
        with zipfile.ZipFile(self.path) as file:
            size = file.getinfo(self.files[name]).file_size  # no more than it says is unpacked
            if size > LARGEST:
                raise ValueError(f"{self.files[name]} would unpack to {size:,} bytes, more than {LARGEST:,}; this is no day of a channel")
            return file.read(self.files[name])

    def listed(self, name: str) -> list[Record]:
        """The objects of a list of the export; none when it is not there or cannot be read."""
        try:
            return items_at({"found": json.loads(self.read(name))}, "found")
        except (KeyError, ValueError, RecursionError):
            return []


def _below_the_lists(names: list[str]) -> dict[str, str]:
    roots = sorted((str(PurePosixPath(name).parent) for name in names if PurePosixPath(name).name == LISTS[0]), key=len)
    root = roots[0] if roots else "."
    return {str(PurePosixPath(name).relative_to(root)): name for name in sorted(names) if PurePosixPath(name).is_relative_to(root)}


def opened(path: Path) -> Archive:
    """Return an export.

    Raises:
        zipfile.BadZipFile: a file is no whole zip.
    """
    if path.is_dir():
        return Archive(path.name, path, _below_the_lists([one.relative_to(path).as_posix() for one in path.rglob("*.json")]))
    with zipfile.ZipFile(path) as file:
        return Archive(path.name, path, _below_the_lists([name for name in file.namelist() if name.endswith(".json")]))


def people_of(users: list[Record]) -> dict[str, str]:
    """Return names that identify somebody, to ids: full names, and handles where they follow an @."""
    found: dict[str, str] = {}
    for user in users:
        id_, names = text_at(user, "id"), (text_at(user, "real_name"), text_at(user, "profile", "real_name"))
        handles = (text_at(user, "name"), text_at(user, "profile", "display_name"))
        known = [name for name in names if name and " " in name.strip()] + [f"@{name}" for name in handles if name]
        found.update({name: id_ for name in known if id_ and len(name) >= SHORTEST_NAME})
    return found


@dataclass(frozen=True, slots=True)
class Export:
    """Exports of one workspace: a zip file, a folder, or a folder of them."""

    name: str
    path: Path
    key: bytes
    options: Options

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield every day of every channel that is about an incident.

        Raises:
            SourceUnavailable: there is no export.
        """
        del window  # an export is read whole; its messages bear their own times
        archives, broken = self._archives()
        rejected = pl.DataFrame(broken, schema=UNREADABLE_SCHEMA, orient="row")
        for entity in ENTITIES:
            yield Batch(entity, pl.DataFrame(), origin=str(self.path), expected=0, piece=f"{self.name} export", rejected=rejected)
            rejected = rejected.clear()
        latest: dict[str, tuple[Archive, Channel, str]] = {}
        speeches: dict[str, Speech] = {}
        for archive in archives:
            channels = {}
            for one in (one for name in LISTS for one in archive.listed(name)):
                id_, name = text_at(one, "id"), text_at(one, "name")
                incident = self.options.incident_of(id_, name)
                if id_ and name and incident:
                    channels[name] = Channel(id_, name, incident)
            users = archive.listed("users.json") + archive.listed("org_users.json")
            names = {channel.id_: channel.name for channel in channels.values()}
            speeches[archive.name] = Speech(self.options, lambda id_: token(id_, self.key), names, people_of(users))
            for file in archive.files:
                folder, _, day = file.rpartition("/")
                if folder in channels and DAY.fullmatch(day):
                    latest[f"{channels[folder].id_}/{day}"] = (archive, channels[folder], file)
        for piece, (archive, channel, file) in sorted(latest.items()):
            yield from self._day(archive, channel, file, piece, speeches[archive.name])

    def _archives(self) -> tuple[list[Archive], list[tuple[str, str, None]]]:
        """Exports in order of their names, and why others are none."""
        if not self.path.exists():
            raise SourceUnavailable(f"source {self.name!r}: there is no export at {self.path}; put it there, or correct `export`")
        is_one = self.path.is_file() or (self.path / LISTS[0]).exists()
        inside = [self.path] if is_one else sorted(one for one in self.path.iterdir() if not one.name.startswith("."))
        archives, broken = [], []
        for path in inside:
            try:
                archive = opened(path) if path.is_dir() or path.suffix == ".zip" else None
            except (zipfile.BadZipFile, OSError) as error:
                broken.append((f"{path.name} is no whole zip file: {error}", "", None))
                continue
            if archive is None or not any(name in archive.files for name in LISTS):
                broken.append((f"{path.name} is no export: it has no {LISTS[0]}", "", None))
            else:
                archives.append(archive)
        return archives, broken

    def _day(self, archive: Archive, channel: Channel, file: str, piece: str, speech: Speech) -> Iterator[Batch]:
        origin = f"{archive.name}/{file}"
        bad: list[tuple[str, str, int | None]] = []
        try:
            found: Any = json.loads(archive.read(file))
            if not isinstance(found, list):
                raise ValueError(f"expected a list of messages, found {type(found).__name__}")
        except (ValueError, RecursionError, zipfile.BadZipFile) as error:
            found, bad = [], [(f"not a day of messages: {error}", "", None)]
        bad += [("not a message", json.dumps(one), number) for number, one in enumerate(found, 1) if not isinstance(one, dict)]
        heard = rows_of((one for one in found if isinstance(one, dict)), channel, speech)
        rejected = pl.DataFrame(bad, schema=UNREADABLE_SCHEMA, orient="row")
        yield replace(batch("incident_events", heard.events, origin, notes=heard.notes), piece=piece, rejected=rejected)
        yield replace(batch("insights", heard.insights, origin), piece=piece)
