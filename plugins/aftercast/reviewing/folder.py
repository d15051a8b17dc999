"""The folder of postmortems: plain Markdown files that people edit, and beside them, hidden, every version we wrote or met.

Nothing a person wrote is overwritten: a file is ours only while it holds, byte for byte, what we wrote last. Every write is whole (written
aside, then renamed) and kept as a numbered version in `.aftercast/<name>/` first, so a killed write is finished or forgotten by the next.
One writer at a time works in a folder; who comes second is told that the file has moved on. The folder may be a checkout of a repository:
nothing is ever committed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from aftercast.errors import ReviewConflict
from aftercast.reviewing import front_matter, states

HIDDEN = ".aftercast"
NEWER = ".newer-draft"
_VERSION = re.compile(r"^(\d{4,})-(draft|beside|edited|state|rejected)\.md$")

Kind = Literal["draft", "beside", "edited", "state", "rejected"]
WRITTEN: tuple[Kind, ...] = ("draft", "state", "rejected")
Outcome = Literal["written", "unchanged", "beside", "left"]


@dataclass(frozen=True, slots=True)
class Version:
    """A kept version: its number, why it was kept (`edited`: by people, `beside`: what they edited), and its file."""

    number: int
    kind: str
    path: Path


@dataclass(frozen=True, slots=True)
class Document:
    """A postmortem as it lies in the folder.

    Attributes:
        name: path inside the folder.
        digest: of its bytes; what a reviewer has seen.
        edited: whether people changed what we wrote, or wrote it themselves.
        has_newer: whether a newer draft lies beside it.
    """

    name: str
    path: Path
    text: str
    digest: str
    front: front_matter.FrontMatter
    edited: bool
    has_newer: bool

    @property
    def incident_id(self) -> str:
        return self.front.text("incident_id") or self.front.text("incident")

    @property
    def state(self) -> str:
        return states.state_of(self.front.text("status"))

    @property
    def since(self) -> datetime | None:
        """Since when it is in its state."""
        return states.moment(self.front.text(states.DATED[self.state])) or states.moment(self.front.text("created"))

    @property
    def ended(self) -> datetime | None:
        """When its incident ended, else when it began."""
        return states.moment(self.front.text("resolved")) or states.moment(self.front.text("date"))


@dataclass(frozen=True, slots=True)
class Put:
    """What became of a draft, and where it lies or would have."""

    outcome: Outcome
    path: Path


def file_name(incident_id: str) -> str:
    """Return the name of an incident's file: its id, made safe for any file system."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", incident_id).strip(".-") or "incident"
    return f"{plain}.md" if plain == incident_id else f"{plain}-{hashlib.sha256(incident_id.encode()).hexdigest()[:8]}.md"


def documents(folder: Path) -> tuple[list[Document], list[str]]:
    """Return the postmortems of a folder in order of their names, and for each file that cannot be read why, with file and line."""
    found: list[Document] = []
    broken: list[str] = []
    for path in sorted(folder.rglob("*.md")) if folder.is_dir() else []:
        name = path.relative_to(folder).as_posix()
        if any(part.startswith(".") for part in name.split("/")) or path.name.endswith(f"{NEWER}.md"):
            continue
        try:
            found.append(read(folder, name))
        except ReviewConflict as error:
            broken.append(str(error))
    return found, broken


def read(folder: Path, name: str) -> Document:
    """Return a postmortem.

    Raises:
        ReviewConflict: it is gone, or its front matter cannot be read; names file and line.
    """
    path = folder / name
    try:
        content = path.read_bytes()
        text = content.decode("utf-8")
        front = front_matter.read(text)
    except FileNotFoundError as error:
        raise ReviewConflict(f"{path} is gone: it was renamed or deleted; nothing was written") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ReviewConflict(f"{path}, line {line}: not UTF-8 text; mend the file, nothing was written") from error
    except front_matter.Unreadable as error:
        raise ReviewConflict(f"{path}, line {error.line}: {error.reason}; mend the file, nothing was written") from error
    ours = _last_of_ours(folder, name)
    beside = path.with_name(f"{path.name.removesuffix('.md')}{NEWER}.md")
    return Document(name, path, text, digest(content), front, ours is None or ours.path.read_bytes() != content, beside.exists())


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def versions(folder: Path, name: str) -> list[Version]:
    """Return every kept version of a file, oldest first."""
    place = folder / HIDDEN / name.removesuffix(".md")
    found = [(match, path) for path in place.glob("*.md") if (match := _VERSION.match(path.name))]
    return sorted((Version(int(match[1]), match[2], path) for match, path in found), key=lambda version: version.number)


def put_draft(folder: Path, incident_id: str, text: str, now: datetime, *, again: bool = False) -> Put:
    """Write the draft of an incident, unless it is there already.

    What people edited, took into review or wrote themselves stays; a newer draft then goes beside it, to a file of its own that is not
    overwritten either once it was edited. A draft that people deleted is not written again, unless `again`.

    Raises:
        ReviewConflict: the folder cannot be written.
    """
    with alone(folder):
        name = file_name(incident_id)
        path = folder / name
        others = [one for one in documents(folder)[0] if one.incident_id == incident_id and one.name != name]
        if others and not path.exists():
            return Put("left", others[0].path)  # people renamed it, or wrote one of their own
        drafts = [version for version in versions(folder, name) if version.kind in ("draft", "beside")]
        first = drafts[0].path.read_text(encoding="utf-8") if drafts else None
        created = front_matter.read(first).text("created") if first else ""
        dated = front_matter.changed(text, {"created": created or _written(now)})
        same = bool(drafts) and drafts[-1].path.read_text(encoding="utf-8") == dated
        if not path.exists():
            if drafts and not again:
                return Put("left", path)
            _write(folder, name, dated, "draft")
            return Put("written", path)
        ours = _last_of_ours(folder, name)
        untouched = ours is not None and ours.kind == "draft" and path.read_bytes() == ours.path.read_bytes()
        if same:
            return Put("unchanged", path)
        if untouched:
            _write(folder, name, dated, "draft", expected=digest(path.read_bytes()))
            return Put("written", path)
        beside = path.with_name(f"{path.name.removesuffix('.md')}{NEWER}.md")
        if beside.exists() and (not drafts or beside.read_bytes() != drafts[-1].path.read_bytes()):
            return Put("left", beside)
        _keep(folder, name, dated, "beside").replace(_version_path(folder, name, "beside"))
        _replace(beside, dated)
        return Put("beside", beside)


def change(folder: Path, name: str, seen: str, values: Mapping[str, str], kind: Kind = "state") -> Document:
    """Change lines of a postmortem's front matter, if it still is what a reviewer saw; what people wrote is kept as a version first.

    Args:
        folder: the folder.
        name: path inside it.
        seen: digest of what the reviewer saw.
        values: lines to write, by name.
        kind: why.

    Raises:
        ReviewConflict: the file has moved on or cannot be read; nothing was written.
    """
    with alone(folder):
        document = read(folder, name)
        if document.digest != seen:
            raise ReviewConflict(
                f"{document.path} has moved on since it was shown: it is now {document.state!r}"
                f"{f' since {document.since:%Y-%m-%d %H:%M} UTC' if document.since else ''}; nothing was written, look at it again"
            )
        try:
            text = front_matter.changed(document.text, values)
        except front_matter.Unreadable as error:
            raise ReviewConflict(f"{document.path}, line {error.line}: {error.reason}; nothing was written") from error
        if document.edited:
            _keep(folder, name, document.text, "edited").replace(_version_path(folder, name, "edited"))
        _write(folder, name, text, kind, expected=document.digest)
        return read(folder, name)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock while writing.

    Raises:
        ReviewConflict: the folder cannot be written.
    """
    try:
        (folder / HIDDEN).mkdir(parents=True, exist_ok=True)
        lock = (folder / HIDDEN / "lock").open("w")
    except OSError as error:
        raise ReviewConflict(f"postmortems cannot be written to {folder}: {error}; see `folder` in postmortems.yml") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _last_of_ours(folder: Path, name: str) -> Version | None:
    """The version we wrote to the file last. A write that was killed is finished when the file holds it, else forgotten."""
    place = folder / HIDDEN / name.removesuffix(".md")
    for pending in sorted(place.glob("*.pending")):
        path = folder / name
        kind = next((one for one in WRITTEN if pending.name.startswith(one)), None)
        if kind and path.exists() and path.read_bytes() == pending.read_bytes():
            pending.replace(_version_path(folder, name, kind))
        else:
            pending.unlink()
    mine = [version for version in versions(folder, name) if version.kind not in ("edited", "beside")]
    return mine[-1] if mine else None


def _version_path(folder: Path, name: str, kind: Kind) -> Path:
    known = versions(folder, name)
    return folder / HIDDEN / name.removesuffix(".md") / f"{(known[-1].number if known else 0) + 1:04d}-{kind}.md"


def _keep(folder: Path, name: str, text: str, kind: Kind) -> Path:
    """Write a version under the name of one that is pending."""
    pending = folder / HIDDEN / name.removesuffix(".md") / f"{kind}.pending"
    _replace(pending, text)
    return pending


def _write(folder: Path, name: str, text: str, kind: Kind, expected: str | None = None) -> None:
    """Keep a version, put it in place, and say that it is in place."""
    pending = _keep(folder, name, text, kind)
    path = folder / name
    if expected is not None and digest(path.read_bytes()) != expected:
        pending.unlink()
        raise ReviewConflict(f"{path} was edited this very moment; nothing was written, look at it again")
    _replace(path, text)
    pending.replace(_version_path(folder, name, kind))


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _written(now: datetime) -> str:
    return f"{now:%Y-%m-%dT%H:%M:%SZ}"
