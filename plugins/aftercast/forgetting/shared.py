"""A person out of the object store that machines share: object by object, each rewritten whole where it lies.

What is the same there as in this home was searched here. Everything else is brought, searched as what it is, and put back. Homes that
hold an older copy fetch the new one with the next thing they do: a copy whose object changed is no work of theirs.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from aftercast import landing, privacy, sharing, store
from aftercast.errors import StoreConflict
from aftercast.forgetting import marts
from aftercast.forgetting.files import any_of, in_file
from aftercast.forgetting.person import BY_HAND, CLEAR, Person, Place
from aftercast.settings import Settings
from aftercast.store import Area, Store

COMPUTED = ("sources", "published")
AT_ONCE = 64


def forget(settings: Settings, whom: Person, found: Mapping[str, str], which: Sequence[str], *, write: bool) -> list[Place]:
    """Find a person in the store, and with `write` take the person out there.

    Args:
        settings: which store; nothing is done where there is none.
        whom: who.
        found: what was done to the files of this home, by their paths.
        which: `sources`, `published`, `state`.
        write: whether to change anything.
    """
    shop = landing.shop_of(settings)
    if shop is None:
        return []
    places: list[Place] = []
    with tempfile.TemporaryDirectory(dir=_made(settings.home / "staging")) as folder:
        for kind in which:
            if kind == "sources":
                for source in shop.sources():
                    places += _in_area(settings, shop, landing.area_of(source), whom, found, Path(folder), write)
            elif kind == "state":
                if write:
                    shop.push(store.state_area(settings))  # what was renamed or deleted here goes there
                places += _in_area(settings, shop, store.state_area(settings), whom, found, Path(folder), write)
            else:
                places += _in_published(settings, shop, whom, Path(folder), write)
    return [Place(f"{shop.url}/{place.path}", place.what) for place in places]


def bring_state(settings: Settings) -> None:
    """Have everything of outbox, audit and reports here, and noted that it is there too: what goes from here then goes from there."""
    shop = landing.shop_of(settings)
    if shop is not None:
        area = store.state_area(settings)
        shop.push(area)
        if shop.restore(area):
            shop.push(area)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _in_area(
    settings: Settings, shop: Store, area: Area, whom: Person, found: Mapping[str, str], scratch: Path, write: bool
) -> list[Place]:
    """Search the objects of an area. People's own texts are named only."""
    listed, same = shop.listing(area.prefix), shop.same(area)
    places = [Place(f"{area.prefix}/{name}", found[name]) for name in listed if name in same and name in found]
    other, pattern = [name for name in listed if name not in same], re.compile(whom.pattern(), re.IGNORECASE)
    ours = settings.postmortems.relative_to(settings.home).as_posix() if settings.postmortems.is_relative_to(settings.home) else None
    for start in range(0, len(other), AT_ONCE):
        changed: dict[str, Path] = {}
        for number, name in enumerate(other[start : start + AT_ONCE]):
            path = scratch / str(number) / name.rsplit("/", 1)[-1]
            path.parent.mkdir(exist_ok=True)
            shop.get(f"{area.prefix}/{name}", path)
            is_people = ours is not None and name.startswith(f"{ours}/")
            what = in_file(path, whom, pattern, write and not is_people)
            if what:
                places.append(Place(f"{area.prefix}/{name}", BY_HAND if is_people else what))
                if not is_people and not what.startswith(BY_HAND):
                    changed[f"{area.prefix}/{name}"] = path
        if write and changed:
            now = shop.listing(area.prefix)
            moved = [
                name for name in changed if now.get(name.removeprefix(f"{area.prefix}/")) != listed[name.removeprefix(f"{area.prefix}/")]
            ]
            if moved:
                raise StoreConflict(f"{moved[0]} in {shop.url} was changed by another machine meanwhile; pause the DAGs and do it again")
            shop.put(changed)
        for path in scratch.rglob("*"):
            if path.is_file():
                path.unlink()
    return places


def _in_published(settings: Settings, shop: Store, whom: Person, scratch: Path, write: bool) -> list[Place]:
    """The current mart is replaced by what this home made of it (or, where this home has none, rewritten), older ones are deleted."""
    places, said = [], sharing.current(shop)
    pattern = re.compile(whom.pattern(), re.IGNORECASE)
    files = set(shop.listing(sharing.VERSIONS))
    for name in sorted(files | {f"aftercast-{one.split('/')[0]}.duckdb" for one in shop.listing(sharing.PARQUET)}):
        version, path = sharing.version_of(name), scratch / name
        parquet = {one: scratch / one for one in sorted(shop.listing(f"{sharing.PARQUET}/{version}"))}
        if name in files:
            shop.get(f"{sharing.VERSIONS}/{name}", path)
        for one, file in parquet.items():
            shop.get(f"{sharing.PARQUET}/{version}/{one}", file)
        held = name in files and marts.holds(path, whom.pattern())
        held = held or any(in_file(file, whom, pattern, False) for file in parquet.values())
        is_current, here = said.get("file") == name, settings.published / "versions" / name
        unlike = write and is_current and here.exists() and said.get("sha256") != sharing.digest(here)
        if held or unlike:
            places.append(Place(f"{sharing.VERSIONS}/{name}", "rewritten" if is_current else "deleted: an older version"))
            if write and is_current:
                _put_current(settings, shop, whom, path, parquet)
            elif write:
                sharing.remove(shop, name)
        for file in (path, *parquet.values()):
            file.unlink(missing_ok=True)
    said = sharing.current(shop)
    there = shop.listing(sharing.VERSIONS)
    if write and any(name not in there for name in said.get("kept", {})):
        sharing.tell(shop, {**said, "kept": {name: one for name, one in said["kept"].items() if name in there}})
    return places


def _put_current(settings: Settings, shop: Store, whom: Person, path: Path, parquet: Mapping[str, Path]) -> None:
    """Put the current version anew. Readers who come amid it keep what they have: its hash is told last."""
    here, version = settings.published / "versions" / path.name, sharing.version_of(path.name)
    if not here.exists():
        marts.rewrite(path, [(any_of(whom.tokens), privacy.FORGOTTEN), (whom.pattern(), CLEAR)], whom.words())
    pattern, put = re.compile(whom.pattern(), re.IGNORECASE), dict[str, Path]()
    for name, file in parquet.items():
        own = settings.published / "parquet" / version / name
        in_file(file, whom, pattern, True)
        put[f"{sharing.PARQUET}/{version}/{name}"] = own if own.exists() else file
    shop.put(put)
    new = here if here.exists() else path
    shop.put({f"{sharing.VERSIONS}/{path.name}": new})
    mark, said = sharing.digest(new), sharing.current(shop)
    sharing.tell(shop, {**said, "bytes": new.stat().st_size, "sha256": mark, "kept": {**said.get("kept", {}), path.name: mark}})
