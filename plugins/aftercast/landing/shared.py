"""What of the landing zone machines share through the object store: all of a source's files, under `sources/<name>/`.

The store is the truth, a home a copy of what it needed. An extract takes what it may touch, and hands over what it changed; the machine
that refreshes takes everything. See docs/deploying.md.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from aftercast import privacy, store
from aftercast.errors import ConfigError, StoreConflict
from aftercast.landing.slices import NOBODY, window_of
from aftercast.settings import Settings
from aftercast.store import Area, Listing, Store
from aftercast.window import Window

PLACES = ("landing", "quarantine", "unknown_columns")
FORGOTTEN = "forgotten.txt"  # keyed marks of whom to forget, for every machine

log = logging.getLogger(__name__)


def area(source: str) -> Area:
    """Return the files of a source. Its coverage goes last: it says that the rows are there."""
    folders = tuple(f"{place}/*/source={source}" for place in PLACES)
    return Area(f"sources/{source}", folders, last=(f"landing/coverage/source={source}/*",))


@contextmanager
def turn(settings: Settings, source: str) -> Iterator[None]:
    """Be the only one on this machine who works on a source's files."""
    path = settings.home / "locks" / f"{source}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:  # its content is the latest time rows landed: `context.stamp`
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            log.info("source %s: waiting until another extract or replay of it has ended", source)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fetch(settings: Settings, source: str, window: Window | None = None, *, coverage_only: bool = False) -> Listing | None:
    """Bring a source's files here, in our turn; return what lies in the store. Nothing happens where there is no store.

    Args:
        settings: which store.
        source: the source.
        window: bring only what an extract of this window may touch: its slices, inboxes, and what says which windows were covered.
        coverage_only: bring only the latter.

    Raises:
        ConfigError: the machines have no common key, so one person would get a different token on each.
    """
    shop = shop_of(settings)
    if shop is None:
        return None
    if _catch_up(settings, shop, source):
        _catch_up_idle(settings, shop, source)

    def touched(name: str) -> bool:
        if name.startswith("landing/coverage/"):
            return True
        label = window_of(name.rsplit("/", 1)[-1].split(".", 1)[0])
        return not coverage_only and (window is None or label is None or (label.start < window.end and window.start < label.end))

    return shop.pull(area(source), wanted=touched)


def hand_over(settings: Settings, source: str, expected: Listing | None) -> None:
    """Copy what changed of a source to the store.

    Raises:
        StoreConflict: another machine landed the source since it was fetched, or somebody was forgotten, whom these rows may tell of.
    """
    shop = shop_of(settings)
    if shop is not None:
        if expected is not None and _digest(shop.read(FORGOTTEN)) != _known(settings, source):
            raise StoreConflict(f"somebody was forgotten while source {source} was extracted, nothing was copied to {shop.url}; try again")
        changed = shop.push(area(source), expected=expected)
        log.info("source %s: %d files changed in %s", source, changed, shop.url)


def fetch_all(settings: Settings) -> None:
    """Bring everything that has landed here, source by source, each while nobody on this machine lands it."""
    shop = shop_of(settings)
    for source in shop.sources() if shop else ():
        with turn(settings, source):
            fetch(settings, source)


def hand_over_all(settings: Settings) -> int:
    """Copy everything that has landed in this home to the store, as the truth, and return how many files changed there.

    For a home of one machine that becomes one of many.
    """
    shop = shop_of(settings)
    if shop is None:
        raise ConfigError("AFTERCAST_STORE is not set: there is nowhere to copy to")
    found = {path.parent.name for place in PLACES for path in settings.home.glob(f"{place}/*/source=*/*")}
    changed = 0
    for source in sorted(name.removeprefix("source=") for name in found if name != f"source={NOBODY}"):
        with turn(settings, source):
            if _digest(shop.read(FORGOTTEN)) != _known(settings, source):
                raise ConfigError(
                    f"somebody was forgotten in {shop.url} whom source {source} of {settings.home} may tell of, and would bring back. "
                    "Delete its landing/, quarantine/, unknown_columns/, raw/ and store/, and fetch what the store holds"
                )
            changed += shop.push(area(source))
    tell_forgotten(settings)
    know_forgotten(settings)
    return changed


def fetch_coverage(settings: Settings, source: str) -> None:
    """Bring what says which windows of a source were covered."""
    if settings.store:
        with turn(settings, source):
            fetch(settings, source, coverage_only=True)


def shop_of(settings: Settings) -> Store | None:
    """Return the store of a deployment; None where one machine does everything.

    Raises:
        ConfigError: the machines have no common key.
    """
    shop = store.of(settings)
    if shop is not None and not os.environ.get("AFTERCAST_TOKEN_KEY"):
        raise ConfigError(
            "machines that share AFTERCAST_STORE need one AFTERCAST_TOKEN_KEY, or a person would get another token on each of them. "
            "Set the same secret on all; that of an existing home is in secrets/token.key"
        )
    return shop


@contextmanager
def everybodys_turn(settings: Settings) -> Iterator[None]:
    """Be the only one on this machine who works on any source's files."""
    with ExitStack() as stack:
        for source in sorted({row.name for row in settings.deployment.sources} | _held(settings)):
            stack.enter_context(turn(settings, source))
        yield


def tell_forgotten(settings: Settings) -> None:
    """Make this home's list of the forgotten and that of the store one."""
    shop = shop_of(settings)
    if shop is None:
        return
    content = shop.read(FORGOTTEN) or b""
    privacy.learn(settings.home, content.decode("ascii").split())
    text = "".join(f"{mark}\n" for mark in sorted(privacy.marks_of_forgotten(settings.home))).encode("ascii")
    if text != content:
        shop.write(FORGOTTEN, text)


def know_forgotten(settings: Settings) -> None:
    """Note that this home holds nothing of those on the list: they were just taken out of it."""
    shop = shop_of(settings)
    if shop is not None:
        digest = _digest(shop.read(FORGOTTEN))
        for source in {*shop.sources(), *_held(settings)}:
            _note_known(settings, source, digest)


def _catch_up(settings: Settings, shop: Store, source: str) -> bool:
    """Learn whom another machine forgot; drop the raw pages of a source here, which may tell of them. Returns whether there was news.

    Landed rows need nothing: those that told of somebody are others in the store, and are fetched.
    """
    content = shop.read(FORGOTTEN)
    digest = _digest(content)
    if content is None or digest == _known(settings, source):
        return False
    privacy.learn(settings.home, content.decode("ascii").split())
    shutil.rmtree(settings.raw / source, ignore_errors=True)
    _note_known(settings, source, digest)
    return True


def _catch_up_idle(settings: Settings, shop: Store, busy: str) -> None:
    """Do the same for sources that this home holds files of, and nobody works on now."""
    for name in sorted(_held(settings) - {busy}):
        with _turn_if_free(settings, name) as free:
            if free and _catch_up(settings, shop, name):
                shop.pull(area(name), wanted=lambda _: False)


def _held(settings: Settings) -> set[str]:
    """Return the sources that this home holds files of."""
    found = {path.name.removeprefix("source=") for place in PLACES for path in settings.home.glob(f"{place}/*/source=*")} - {NOBODY}
    return found | {path.name for path in settings.raw.glob("*")}


@contextmanager
def _turn_if_free(settings: Settings, source: str) -> Iterator[bool]:
    path = settings.home / "locks" / f"{source}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def _known(settings: Settings, source: str) -> str:
    """Return which list of the forgotten a source's files here are clean of."""
    path = _known_file(settings, source)
    return path.read_text(encoding="ascii") if path.exists() else ""


def _note_known(settings: Settings, source: str, digest: str) -> None:
    path = _known_file(settings, source)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(digest, encoding="ascii")


def _known_file(settings: Settings, source: str) -> Path:
    return settings.home / "store" / f"forgotten-{source}.txt"


def _digest(content: bytes | None) -> str:
    return hashlib.sha256(content).hexdigest() if content else ""
