"""The published mart between machines: put into the object store where it is made, fetched where it is read.

`published/current.json`, written last, says which version counts and what every kept one holds. A reader keeps nothing else: what was
rewritten or removed where the mart is made, because a person was forgotten, goes with the next fetch.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from aftercast import linking, store
from aftercast.errors import WarehouseError
from aftercast.settings import Settings
from aftercast.store import Store

CURRENT = "published/current.json"
VERSIONS, PARQUET = "published/versions", "published/parquet"


def share(settings: Settings) -> None:
    """Put the current mart into the object store, where readers on other machines fetch it; what it replaces is kept as long as here.

    Nothing happens where there is no store.
    """
    shop = store.of(settings)
    if shop is None:
        return
    file, folder = settings.mart.resolve(), (settings.published / "parquet" / "current").resolve()
    there = {name.split("/")[0] for name in shop.listing(VERSIONS)}
    kept = {one.name: digest(one) for one in file.parent.glob("aftercast-*.duckdb")}
    said = current(shop)
    if file.name not in there or said.get("kept", {}).get(file.name, kept[file.name]) != kept[file.name]:
        shop.put({f"{PARQUET}/{folder.name}/{path.name}": path for path in sorted(folder.iterdir())})
        shop.put({f"{VERSIONS}/{file.name}": file})
    tell(shop, {"version": folder.name, "file": file.name, "bytes": file.stat().st_size, "sha256": kept[file.name], "kept": kept})
    for old in sorted(there - kept.keys()):
        remove(shop, old)


def current(shop: Store) -> dict[str, Any]:
    """Return what `current.json` says; nothing before the first mart."""
    content = shop.read(CURRENT)
    return dict(json.loads(content)) if content else {}


def tell(shop: Store, said: dict[str, Any]) -> None:
    """Say which version counts."""
    shop.write(CURRENT, json.dumps(said, indent=1).encode())


def remove(shop: Store, file: str) -> None:
    """Remove a version from the store, with its Parquet files."""
    for prefix in (f"{PARQUET}/{version_of(file)}", f"{VERSIONS}/{file}"):
        if shop.exists(prefix):
            shop.remove(prefix)


def version_of(file: str) -> str:
    """Return the version a published file is of."""
    return file.removeprefix("aftercast-").removesuffix(".duckdb")


def fetch(settings: Settings) -> Path | None:
    """Bring the current mart of the object store to a machine that only reads, and point its readers at it; return it when it is new.

    Raises:
        WarehouseError: no mart is there yet, or it did not arrive whole; readers keep what they have.
        StoreUnavailable: the store cannot be read.
    """
    shop = store.of(settings)
    content = shop.read(CURRENT) if shop else None
    if shop is None or content is None:
        raise WarehouseError(f"no mart to fetch: {f'{shop.url} holds none yet' if shop else 'AFTERCAST_STORE is not set'}")
    said = json.loads(content)
    versions, seen = settings.published / "versions", settings.home / "store" / "current.json"
    file = versions / str(said["file"])
    pointed = linking.points_at(settings.mart, file)
    if pointed and seen.exists() and seen.read_bytes() == content:
        return None
    versions.mkdir(parents=True, exist_ok=True)
    linking.sweep(versions)
    new = not pointed or digest(file) != said["sha256"]
    if new:
        _bring(shop, settings, file, str(said["sha256"]))
    if "kept" in said:
        for one in versions.glob("aftercast-*.duckdb"):
            if digest(one) != said["kept"].get(one.name):
                one.unlink()
    linking.forget_old(versions, settings.published / "parquet", keep=file)
    seen.parent.mkdir(parents=True, exist_ok=True)
    seen.write_bytes(content)
    return file if new else None


def _bring(shop: Store, settings: Settings, file: Path, expected: str) -> None:
    fresh = file.with_name(f"{linking.BUILDING}{file.name}")
    try:
        shop.get(f"{VERSIONS}/{file.name}", fresh)
        if digest(fresh) != expected:
            raise WarehouseError(f"{file.name} did not arrive whole from {shop.url}; readers keep the last mart")
        fresh.chmod(0o444)
        fresh.replace(file)
        linking.sync(file, file.parent)
        linking.swap({settings.mart: file})
    finally:
        linking.sweep(file.parent)


def digest(file: Path) -> str:
    """Return what `current.json` tells a file by."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
