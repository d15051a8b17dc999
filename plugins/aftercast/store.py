"""The object store that machines share: folders of a home copied there and back, each file only when it changed.

What is copied together is an `Area`: a prefix of the store, and folders below the home with the same names below it. Beside the home's
files lies a note of what they were when they were last the same in both places. An upload is whole or it is not there; deletions follow
uploads, so a copy that was cut leaves old and new files side by side, as a crash on one machine does. Nothing here locks: a push that
expects what it pulled is refused when somebody else pushed in between.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

import fsspec

from aftercast.errors import ConfigError, StoreConflict, StoreUnavailable
from aftercast.settings import Settings

Listing = Mapping[str, str]
P = ParamSpec("P")
R = TypeVar("R")

CLAIM = "warehouse-host.json"
# What cannot be computed again, besides what sources gave: kept on the warehouse's host, copied to the store after each task that writes.
STATE = ("outbox", "audit", "narratives", "reports")
NOT_COPIED = {"locks"}


@dataclass(frozen=True, slots=True)
class Area:
    """Files copied together.

    Attributes:
        prefix: below the store's address, such as `sources/github`.
        folders: patterns of folders below the home; a file lies below the prefix under its path from the home.
        last: patterns of paths uploaded after all others, because they tell that the others are there.
    """

    prefix: str
    folders: tuple[str, ...]
    last: tuple[str, ...] = ()


def state_area(settings: Settings) -> Area:
    """Return what of a home cannot be computed again. A folder of postmortems outside the home (a checkout, say) is its owner's to keep."""
    written = settings.postmortems
    ours = (written.relative_to(settings.home).as_posix(),) if written.is_relative_to(settings.home) else ()
    return Area("state", (*STATE, *ours))


@dataclass(frozen=True, slots=True)
class _Note:
    """How a file was when it was the same in both places: the store's mark, and size and time of change on disk."""

    mark: str
    size: int
    changed: int


class Store:
    """One home and the store it shares."""

    def __init__(self, url: str, home: Path) -> None:
        self.url, self.home = url.rstrip("/"), home
        options = {"auto_mkdir": True} if "://" not in url or url.startswith("file:") else {}
        try:
            self._system, root = fsspec.url_to_fs(self.url, use_listings_cache=False, **options)
        except (ValueError, ImportError) as error:
            raise ConfigError(f"AFTERCAST_STORE={url!r} cannot be opened: {error}; give a URL such as s3://bucket/folder") from error
        self._root = str(root).rstrip("/")

    def pull(self, area: Area, *, wanted: Callable[[str], bool] = lambda name: True) -> Listing:
        """Make the home's files of an area those of the store; return what lies there.

        Args:
            area: what to copy.
            wanted: which files are needed here; of the others only those already here are made what they are there, so that nothing this
                home has not changed, or has lost, looks like work of its own.

        Raises:
            ConfigError: the home has files of a time before the store, which nobody has copied there.
            StoreUnavailable: the store could not be read; what was copied is whole files.
        """
        there, here, notes = self.listing(area.prefix), self._here(area), self._notes(area)
        if notes is None and here:
            raise ConfigError(
                f"{self.home} holds {len(here)} files for {area.prefix} from a time before {self.url} was set. "
                "`aftercast store push` copies them there if they are the truth; delete them if the store is"
            )
        notes = notes or {}
        stale = {name for name, mark in there.items() if not _same(notes.get(name), mark, here.get(name))}
        get = [name for name in there if name in stale and (name in here or wanted(name))]
        self._download(area, get)
        for name in here.keys() - there.keys():
            (self.home / name).unlink(missing_ok=True)
        now = self._here(area)
        known = {name: note for name, note in notes.items() if name in there and name not in stale}
        self._write_notes(area, known | {name: _Note(there[name], *now[name]) for name in get})
        return there

    def push(self, area: Area, *, expected: Listing | None = None, deletes: bool = True) -> int:
        """Copy what changed in the home to the store, then delete there what the home no longer has; return how many files changed there.

        Args:
            area: what to copy.
            expected: what lay there when it was pulled.
            deletes: whether what is gone here goes there too.

        Raises:
            StoreConflict: something else lies there now; nothing was copied.
            StoreUnavailable: the store could not be written; the next push goes on.
        """
        there, here, notes = self.listing(area.prefix), self._here(area), self._notes(area) or {}
        if expected is not None and there != expected:
            raise StoreConflict(f"{area.prefix} in {self.url} was changed by another machine meanwhile, nothing was copied; try again")
        put = [name for name, found in here.items() if not _same(notes.get(name), there.get(name), found)]
        gone = [name for name in notes if name not in here and name in there] if deletes else []
        late = {path.relative_to(self.home).as_posix() for pattern in area.last for path in self.home.glob(pattern)}
        for batch in ([name for name in put if name not in late], [name for name in put if name in late]):
            if batch:
                with self._reaching():
                    self._system.put([str(self.home / name) for name in batch], [self._key(area, name) for name in batch])
        if gone:
            with self._reaching():
                self._system.rm([self._key(area, name) for name in gone])
        if put or gone:
            there = self.listing(area.prefix)
        kept = {name: note for name, note in notes.items() if name in there and name not in put}
        self._write_notes(area, kept | {name: _Note(there[name], *here[name]) for name in put if name in there})
        return len(put) + len(gone)

    def restore(self, area: Area) -> int:
        """Copy what the home lacks of an area from the store, and overwrite nothing; return how many files came."""
        here = self._here(area)
        missing = [name for name in self.listing(area.prefix) if name not in here]
        self._download(area, missing)
        return len(missing)

    def listing(self, prefix: str) -> dict[str, str]:
        """Return the names below a prefix with the store's mark of what each holds."""
        with self._reaching():
            found = self._system.find(f"{self._root}/{prefix}", detail=True)
        start = len(f"{self._root}/{prefix}/")
        return {path[start:]: _mark(info) for path, info in sorted(found.items()) if not path.endswith("/")}

    def same(self, area: Area) -> set[str]:
        """Return the names of an area whose file in this home is, by the note, the same as in the store."""
        here, notes = self._here(area), self._notes(area) or {}
        return {name for name, mark in self.listing(area.prefix).items() if _same(notes.get(name), mark, here.get(name))}

    def sources(self) -> list[str]:
        """Return the sources that have landed anything here."""
        with self._reaching():
            try:
                found = self._system.ls(f"{self._root}/sources", detail=False)
            except FileNotFoundError:
                return []
        return sorted(str(path).rstrip("/").rsplit("/", 1)[-1] for path in found)

    def read(self, name: str) -> bytes | None:
        """Return a small object; None when there is none."""
        with self._reaching():
            try:
                return bytes(self._system.cat_file(f"{self._root}/{name}"))
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Put a small object, whole."""
        with self._reaching():
            self._system.pipe_file(f"{self._root}/{name}", content)

    def exists(self, prefix: str) -> bool:
        """Whether there is an object of this name, or any below it."""
        with self._reaching():
            return bool(self._system.exists(f"{self._root}/{prefix}"))

    def get(self, name: str, target: Path) -> None:
        """Copy one object to a file that nobody reads yet."""
        with self._reaching():
            self._system.get_file(f"{self._root}/{name}", str(target))

    def put(self, files: Mapping[str, Path]) -> None:
        """Copy files to objects of these names."""
        with self._reaching():
            self._system.put([str(path) for path in files.values()], [f"{self._root}/{name}" for name in files])

    def remove(self, prefix: str) -> None:
        """Delete everything below a prefix."""
        with self._reaching():
            self._system.rm(f"{self._root}/{prefix}", recursive=True)

    def _key(self, area: Area, name: str) -> str:
        return f"{self._root}/{area.prefix}/{name}"

    def _here(self, area: Area) -> dict[str, tuple[int, int]]:
        found = {}
        for pattern in area.folders:
            for folder in self.home.glob(pattern):
                for path in folder.rglob("*"):
                    parts = path.relative_to(self.home).parts
                    if path.is_file() and not any(part.startswith(".") or part in NOT_COPIED for part in parts):
                        state = path.stat()
                        found["/".join(parts)] = (state.st_size, state.st_mtime_ns)
        return found

    def _download(self, area: Area, names: Sequence[str]) -> None:
        fresh = {}
        for name in names:
            target = self.home / name
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh[name] = target.with_name(f".{target.name}.tmp-{uuid4().hex[:12]}")
        if not fresh:
            return
        with self._reaching():
            self._system.get([self._key(area, name) for name in fresh], [str(path) for path in fresh.values()])
        for name, path in fresh.items():
            path.replace(self.home / name)

    def _note_file(self, area: Area) -> Path:
        return self.home / "store" / f"{area.prefix.replace('/', '-')}.json"

    def _notes(self, area: Area) -> dict[str, _Note] | None:
        """What was noted of an area; None before its first copy."""
        path = self._note_file(area)
        if not path.exists():
            return None
        written = json.loads(path.read_text(encoding="utf-8"))
        return {name: _Note(*note) for name, note in written["files"].items()} if written["url"] == self.url else None

    def _write_notes(self, area: Area, notes: Mapping[str, _Note]) -> None:
        path = self._note_file(area)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{uuid4().hex[:12]}")
        files = {name: (note.mark, note.size, note.changed) for name, note in sorted(notes.items())}
        fresh.write_text(json.dumps({"url": self.url, "files": files}), encoding="utf-8")
        fresh.replace(path)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise StoreUnavailable(f"{self.url} changed while it was read ({error}); trying again helps") from error
        except OSError as error:
            raise StoreUnavailable(f"{self.url} cannot be reached: {error}; check AFTERCAST_STORE and its credentials") from error
        except Exception as error:
            if type(error).__module__.split(".")[0] in ("botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "azure"):
                raise StoreUnavailable(f"{self.url}: {type(error).__name__}: {error}; check AFTERCAST_STORE and its credentials") from error
            raise


def _mark(info: Mapping[str, Any]) -> str:
    """What tells that an object was written anew: its tag, else when it was written."""
    tag = next((info[name] for name in ("ETag", "etag", "md5Hash", "content_md5") if info.get(name)), None)
    moment = next((info[name] for name in ("mtime", "LastModified", "updated", "created") if info.get(name)), "")
    return f"{tag or moment} {info.get('size')}"


def _same(note: _Note | None, mark: str | None, here: tuple[int, int] | None) -> bool:
    return note is not None and note.mark == mark and (note.size, note.changed) == here


def of(settings: Settings) -> Store | None:
    """Return the store of a deployment; None where one machine does everything."""
    return Store(settings.store, settings.home) if settings.store else None


def home_id(settings: Settings) -> str:
    """Return the name this home has among those that share a store; made once."""
    path = settings.home / "store" / "home.id"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{socket.gethostname()}-{secrets.token_hex(4)}", encoding="ascii")
    return path.read_text(encoding="ascii")


def claimed_by(store: Store) -> str | None:
    """Return the home that keeps warehouse, outbox and audit; None before the first refresh."""
    content = store.read(CLAIM)
    return str(json.loads(content)["home"]) if content else None


def claim(settings: Settings) -> int:
    """Make this home the one that keeps warehouse, outbox and audit, and fetch what it lacks of them; return how many files came."""
    store = Store(settings.store or "", settings.home)
    came = store.restore(state_area(settings))
    store.write(CLAIM, json.dumps({"home": home_id(settings)}).encode())
    return came


def hold(settings: Settings) -> None:
    """Make sure that this home is the one that keeps warehouse, outbox and audit. The first that asks is.

    Raises:
        ConfigError: another one is; two of them would send things twice.
    """
    store = of(settings)
    if store is None:
        return
    holder = claimed_by(store)
    if holder is None:
        claim(settings)
    elif holder != home_id(settings):
        raise ConfigError(
            f"{settings.home} ({home_id(settings)}) does not keep the warehouse and the outbox of {store.url}: {holder} does. "
            "Let one machine alone serve the queue `warehouse`; if the other is gone for good, run `aftercast store claim` on this one"
        )


def keeping(step: Callable[P, R]) -> Callable[P, R]:
    """Let a task that writes what cannot be computed again do so on the one home that keeps it, and copy it to the store afterwards."""

    @wraps(step)
    def kept(*given: P.args, **named: P.kwargs) -> R:
        settings = Settings.from_environment()
        store = of(settings)
        if store is None:
            return step(*given, **named)
        hold(settings)
        try:
            return step(*given, **named)
        finally:
            store.push(state_area(settings))

    return kept


def copier(settings: Settings) -> Callable[[Path, bytes], None] | None:
    """Return what puts one file of the state into the store at once, for what must be known there before it happens."""
    store = of(settings)
    if store is None:
        return None
    return lambda path, content: store.write(f"state/{path.relative_to(settings.home).as_posix()}", content)
