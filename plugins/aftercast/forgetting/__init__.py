"""Forget a person: find every place below AFTERCAST_HOME, and in the store that machines share, that holds a name, an address or a token,
and take it out of there.

A value that stands in clear becomes `<forgotten>`, its token `tok_forgotten`, which all the forgotten share: what somebody did is still
counted, and nothing tells who. The list of the forgotten keeps the token from coming back with the next extract. Files are rewritten
whole; what can be computed again (the warehouse, older published versions, pictures) is deleted. What people write themselves (postmortems)
and what we cannot change safely is named, and left to a person. Nothing changes without `write`. The warehouse is searched through what it
was made of, and what was made of it. Whoever is killed amid it and does it again finds what is left: nothing depends on what was done.
"""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from aftercast import landing, linking, privacy, store, warehouse
from aftercast.acting import audit, outbox
from aftercast.forgetting import marts, shared
from aftercast.forgetting.files import any_of, in_file, leftover_holds
from aftercast.forgetting.person import BY_HAND, CLEAR, Person, Place, person
from aftercast.settings import Settings

__all__ = ["BY_HAND", "Person", "Place", "forget", "in_configuration", "person"]

OURS = ("secrets", "locks", "store")
DRAWN = (".pdf", ".png")
LEFTOVER = re.compile(r"^\..*\.(?:tmp-[0-9a-f]+|new|[0-9a-f]{8})$|^\.building-")


def forget(settings: Settings, whom: Person, *, now: datetime, write: bool) -> list[Place]:
    """Find a person everywhere below AFTERCAST_HOME and in the shared store, and with `write` take the person out.

    With `write` nobody on this machine lands or builds meanwhile. Returns the places, in order.

    Raises:
        ConfigError: machines share a store, and another home keeps the record of what was done.
        AuditError, OutboxError: a log that cannot be read is not changed; nothing else after it is.
        StoreConflict: another machine landed something meanwhile; do it again.
        StoreUnavailable: the store cannot be reached; what was done stays done, do it again.
    """
    with ExitStack() as stack:
        landing.shop_of(settings)  # whether there is a common key
        if write:
            store.hold(settings)
            stack.enter_context(warehouse.turn(settings.home))
            stack.enter_context(landing.everybodys_turn(settings))
            began = _begin(settings, whom, now)
            privacy.forget(settings.home, whom.tokens)
            landing.tell_forgotten(settings)
            shared.bring_state(settings)
            return _forget(settings, whom, began, write=True)
        return _forget(settings, whom, (now, False), write=False)


def _forget(settings: Settings, whom: Person, began: tuple[datetime, bool], *, write: bool) -> list[Place]:
    places = list(_in_published(settings, whom, write))
    places += _in_files(settings, whom, write)
    for left in (settings.home / "staging").glob("*") if write else ():  # nobody lands now, so whoever left it was killed
        shutil.rmtree(left)
    found = {place.path: place.what for place in places}
    places += shared.forget(settings, whom, found, shared.COMPUTED, write=write)
    now, again = began
    event = {
        "event_id": audit.event_id("forgotten", _marks(settings, whom), now),
        "at": now.isoformat(),
        "who": audit.OURSELVES,
        "what": "forgotten",
        "places_n": len(places),
    }
    if lines := audit.redact(settings.audit, whom.without, event, write=write):
        places.append(Place("audit/log.jsonl", f"{lines} lines redacted, and one appended that says so"))
    elif write and (again or any(not place.what.startswith(BY_HAND) for place in places)):
        audit.append(settings.audit, [event])
    if records := outbox.redact_records(settings.outbox, whom.without, write=write):
        places.append(Place("outbox", f"{records} records redacted"))
    places += shared.forget(settings, whom, found, ("state",), write=write)
    if places and settings.warehouse.exists():
        places.append(Place(settings.warehouse.name, "deleted: the next refresh builds it again"))
        if write:
            for one in settings.home.glob(f"{settings.warehouse.name}*"):
                one.unlink()
    if write:
        landing.know_forgotten(settings)
        _note(settings, whom).unlink(missing_ok=True)
    return sorted(places, key=lambda place: place.path)


def _begin(settings: Settings, whom: Person, now: datetime) -> tuple[datetime, bool]:
    """Write down when forgetting began; return that, and whether it began earlier and was cut: its event is the same event then."""
    path = _note(settings, whom)
    if path.exists() and (text := path.read_text(encoding="ascii")).endswith("\n"):
        return datetime.fromisoformat(text.strip()), True
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_text(now.isoformat() + "\n", encoding="ascii")
    return now, False


def _note(settings: Settings, whom: Person) -> Path:
    return settings.home / "secrets" / f"forgetting-{audit.event_id(_marks(settings, whom))}"


def _marks(settings: Settings, whom: Person) -> list[str]:
    key = privacy.token_key(settings.home)
    return sorted(privacy.mark_of(one, key) for one in whom.tokens)


def in_configuration(settings: Settings, whom: Person) -> list[str]:
    """Return the files of the configuration that name the person; people write these, and nothing here changes them."""
    found = re.compile(whom.pattern(), re.IGNORECASE)
    files = (path for path in sorted(settings.config.rglob("*")) if path.is_file() and not path.is_relative_to(settings.home))
    return [str(path) for path in files if found.search(path.read_bytes().decode("latin-1"))]


def _in_published(settings: Settings, whom: Person, write: bool) -> list[Place]:
    """The current file of each audience is rewritten, older ones that hold the person are deleted."""
    places = []
    for leftover in sorted(settings.published.rglob(f"{linking.BUILDING}*")):
        places.append(Place(leftover.relative_to(settings.home).as_posix(), "deleted: a killed publish left it"))
        if write:
            linking.sweep(leftover.parent)
    links = [settings.mart, *settings.audiences.glob("*.duckdb")]
    current = {link.resolve() for link in links if link.exists()}
    for file in sorted(settings.published.rglob("aftercast-*.duckdb")):
        if file.is_symlink() or not marts.holds(file, whom.pattern()):
            continue
        rewritten = file.resolve() in current
        what = "rewritten" if rewritten else "deleted: an older version"
        places.append(Place(file.relative_to(settings.home).as_posix(), what))
        if write and rewritten:
            marts.rewrite(file, [(any_of(whom.tokens), privacy.FORGOTTEN), (whom.pattern(), CLEAR)], whom.words())
        elif write:
            file.unlink()
            shutil.rmtree(settings.published / "parquet" / file.stem.removeprefix("aftercast-"), ignore_errors=True)
    return places


def _in_files(settings: Settings, whom: Person, write: bool) -> list[Place]:
    places, found = [], re.compile(whom.pattern(), re.IGNORECASE)
    logs = {settings.audit / "log.jsonl", settings.warehouse}
    for path in sorted(settings.home.rglob("*")):
        relative = path.relative_to(settings.home)
        if path.is_symlink() or not path.is_file() or relative.parts[0] in OURS or path in logs or not path.exists():
            continue
        if LEFTOVER.search(path.name) or relative.parts[0] == "staging":
            if leftover_holds(path, found):
                places.append(Place(relative.as_posix(), "deleted: a killed task left it"))
                if write:
                    path.unlink()
            continue
        if path.is_relative_to(settings.outbox) or path.suffix == ".duckdb" or path.name.startswith(f"{settings.warehouse.name}"):
            continue
        if found.search(relative.as_posix()):
            places.append(Place(relative.as_posix(), f"{BY_HAND} (in its name)"))
        is_people = _is_below(path, settings)
        what = in_file(path, whom, found, write and not is_people)
        if what:
            places.append(Place(relative.as_posix(), BY_HAND if is_people else what))
            for drawn in (path.with_suffix(suffix) for suffix in DRAWN if path.suffix in (".html", ".svg")):
                if drawn.exists():
                    places.append(Place(drawn.relative_to(settings.home).as_posix(), "deleted: drawn from what held it"))
                    if write:
                        drawn.unlink()
    return places


def _is_below(path: Path, settings: Settings) -> bool:
    """Whether people edit the file."""
    return path.is_relative_to(settings.postmortems)
