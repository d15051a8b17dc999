"""A person out of one file, whatever kind of file it is: text, packed text, Parquet. A file is rewritten whole, or it is as it was."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from aftercast import privacy
from aftercast.forgetting.person import BY_HAND, CLEAR, Person
from aftercast.landing import storage


def in_file(path: Path, whom: Person, found: re.Pattern[str], write: bool) -> str | None:
    """Return what is done to a file that holds the person; None when it does not."""
    if path.suffix == ".parquet":
        return _in_parquet(path, whom, write)
    content = path.read_bytes()
    packed = path.suffix == ".gz"
    try:
        text = (gzip.decompress(content) if packed else content).decode()
    except (UnicodeDecodeError, OSError, EOFError):
        return _in_binary(path, content, found)
    after = whom.without(text)
    if after == text:
        return None
    if write:
        _replace(path, gzip.compress(after.encode(), mtime=0) if packed else after.encode())
    return f"{len(found.findall(text))} times replaced"


def _in_binary(path: Path, content: bytes, found: re.Pattern[str]) -> str | None:
    if content.startswith(b"SQLite format 3"):
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            text = "\n".join(database.iterdump())
        return BY_HAND if found.search(text) else None
    return BY_HAND if found.search(content.decode("latin-1")) else None


def _in_parquet(path: Path, whom: Person, write: bool) -> str | None:
    frame = pl.read_parquet(path)
    texts = [name for name, kind in frame.schema.items() if kind in (pl.String, pl.List(pl.String))]
    pattern = f"(?i){whom.pattern()}"
    after = frame.with_columns(_replaced(pl.col(name), frame.schema[name], pattern, whom) for name in texts)
    changed = sum(int((~frame[name].eq_missing(after[name])).sum()) for name in texts)
    if not changed:
        return None
    if write:
        mode = path.stat().st_mode
        if pl.read_parquet_metadata(path).get(storage.HASH_KEY):
            storage.write(path, after, ignore={"ingested_at"} if "ingested_at" in after.columns else ())
        else:
            beside = path.with_name(f".{path.name}.new")
            after.write_parquet(beside, compression="zstd")
            beside.replace(path)
        path.chmod(mode)
    return f"{changed} values replaced"


def _replaced(column: pl.Expr, kind: pl.DataType, pattern: str, whom: Person) -> pl.Expr:
    def text(one: pl.Expr) -> pl.Expr:
        return one.str.replace_all(any_of(whom.tokens), privacy.FORGOTTEN).str.replace_all(pattern, CLEAR)

    return column.list.eval(text(pl.element())) if isinstance(kind, pl.List) else text(column)


def _replace(path: Path, content: bytes) -> None:
    """Put a content in the place of a file, with the same rights."""
    beside, mode = path.with_name(f".{path.name}.{hashlib.sha256(content).hexdigest()[:8]}"), path.stat().st_mode
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    beside.chmod(mode)
    beside.replace(path)


def any_of(tokens: Sequence[str]) -> str:
    """Return an expression that finds any of the tokens."""
    return "|".join(tokens)


def leftover_holds(path: Path, found: re.Pattern[str]) -> bool:
    """Whether a file that a killed task left, of whatever kind, holds the person; one that was torn may."""
    content = path.read_bytes()
    for sign in (b"PAR1", b"ARROW1"):
        if content.startswith(sign):
            try:
                rows = (pl.read_parquet if sign == b"PAR1" else pl.read_ipc)(io.BytesIO(content)).rows()
                return found.search(repr(rows)) is not None
            except (pl.exceptions.PolarsError, OSError, ValueError):
                return True
    if content[8:12] == b"DUCK":
        return True
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError):
            return True
    return any(found.search(content.decode(coding, errors="replace")) for coding in ("utf-8", "latin-1"))
