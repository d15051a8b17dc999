"""Says which code and configuration produced a mart: the version, with a fingerprint of all that can change a number."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from aftercast.settings import PROJECT

VERSION = "0.1.0"

_CODE = ("plugins/aftercast", "dbt_project/models", "dbt_project/macros", "dbt_project/seeds", "dbt_project/tests", "expectations")


def _digest(files: list[tuple[str, Path]]) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(files):
        digest.update(name.encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def folder_fingerprint(folder: Path) -> str:
    """Return a fingerprint of every file below a folder: names and contents, not times."""
    return _digest(
        [(path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    )


@cache
def code_version() -> str:
    """Return e.g. `0.1.0+1f3a9c0d2b4e`; the part after the plus changes with any code that makes numbers."""
    files = [
        (path.relative_to(PROJECT).as_posix(), path)
        for root in _CODE
        for path in (PROJECT / root).rglob("*")
        if path.suffix in {".py", ".sql", ".yml", ".csv", ".json", ".j2"}
    ]
    return f"{VERSION}+{_digest(files)}"
