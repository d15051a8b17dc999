"""What of the landing zone machines share through the object store: all of a source's files, under `sources/<name>/`.

The store is the truth, a home a copy of what it needed. An extract takes what it may touch, and hands over what it changed; the machine
that refreshes takes everything. See docs/deploying.md.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from aftercast import store
from aftercast.errors import ConfigError
from aftercast.landing.slices import NOBODY, window_of
from aftercast.settings import Settings
from aftercast.store import Area, Listing, Store
from aftercast.window import Window

PLACES = ("landing", "quarantine", "unknown_columns")

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
    shop = _of(settings)
    if shop is None:
        return None

    def touched(name: str) -> bool:
        if name.startswith("landing/coverage/"):
            return True
        label = window_of(name.rsplit("/", 1)[-1].split(".", 1)[0])
        return not coverage_only and (window is None or label is None or (label.start < window.end and window.start < label.end))

    return shop.pull(area(source), wanted=touched)


def hand_over(settings: Settings, source: str, expected: Listing | None) -> None:
    """Copy what changed of a source to the store.

    Raises:
        StoreConflict: another machine landed the source since it was fetched.
    """
    shop = _of(settings)
    if shop is not None:
        changed = shop.push(area(source), expected=expected)
        log.info("source %s: %d files changed in %s", source, changed, shop.url)


def fetch_all(settings: Settings) -> None:
    """Bring everything that has landed here, source by source, each while nobody on this machine lands it."""
    shop = _of(settings)
    for source in shop.sources() if shop else ():
        with turn(settings, source):
            fetch(settings, source)


def hand_over_all(settings: Settings) -> int:
    """Copy everything that has landed in this home to the store, as the truth, and return how many files changed there.

    For a home of one machine that becomes one of many.
    """
    shop = _of(settings)
    if shop is None:
        raise ConfigError("AFTERCAST_STORE is not set: there is nowhere to copy to")
    found = {path.parent.name for place in PLACES for path in settings.home.glob(f"{place}/*/source=*/*")}
    changed = 0
    for source in sorted(name.removeprefix("source=") for name in found if name != f"source={NOBODY}"):
        with turn(settings, source):
            changed += shop.push(area(source))
    return changed


def fetch_coverage(settings: Settings, source: str) -> None:
    """Bring what says which windows of a source were covered."""
    if settings.store:
        with turn(settings, source):
            fetch(settings, source, coverage_only=True)


def _of(settings: Settings) -> Store | None:
    shop = store.of(settings)
    if shop is not None and not os.environ.get("AFTERCAST_TOKEN_KEY"):
        raise ConfigError(
            "machines that share AFTERCAST_STORE need one AFTERCAST_TOKEN_KEY, or a person would get another token on each of them. "
            "Set the same secret on all; that of an existing home is in secrets/token.key"
        )
    return shop
