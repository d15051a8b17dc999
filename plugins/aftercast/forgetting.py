"""Forget a person: find every place below AFTERCAST_HOME that holds a name, an address or a token, and take it out of there.

A value that stands in clear becomes `<forgotten>`, its token `tok_forgotten`, which all the forgotten share: what somebody did is still
counted, and nothing tells who. The list of the forgotten keeps the token from coming back with the next extract. Files are rewritten
whole; what can be computed again (the warehouse, older published versions, pictures) is deleted. What people write themselves (postmortems)
and what we cannot change safely is named, and left to a person. Nothing changes without `write`. The warehouse is searched through what it
was made of, and what was made of it.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import json
import os
import re
import shutil
import sqlite3
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import polars as pl

from aftercast import privacy, publishing
from aftercast.acting import audit, outbox
from aftercast.errors import ConfigError
from aftercast.landing import storage
from aftercast.settings import Settings

SHORTEST = 3
CLEAR = "<forgotten>"
BY_HAND = "found; change it by hand"
OURS = ("secrets", "locks")
DRAWN = (".pdf", ".png")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a person was found, below AFTERCAST_HOME, and what is done there (`by hand`: nothing, a person has to)."""

    path: str
    what: str


@dataclass(frozen=True, slots=True)
class Person:
    """What to look for: each value in clear, and each token."""

    values: tuple[str, ...]
    tokens: tuple[str, ...]

    def pattern(self) -> str:
        """Return an expression, case to be ignored, that finds any of it as whole words, also where HTML, JSON or an address wrote it."""
        found: dict[str, None] = {}
        for value in (*self.values, *self.tokens):
            for one in (value, html.escape(value), json.dumps(value)[1:-1], quote(value), quote(value, safe="")):
                before, after = (r"\b" if re.match(r"\w", end) else "" for end in (one[0], one[-1]))
                found[before + re.escape(one).replace("'", "(?:'|&#x27;|&#39;)") + after] = None
        return "|".join(sorted(found, key=len, reverse=True))

    def without(self, text: str) -> str:
        """Return a text without the person."""
        return re.sub(
            self.pattern(),
            lambda found: privacy.FORGOTTEN if found.group().startswith(privacy.TOKEN_PREFIX) else CLEAR,
            text,
            flags=re.IGNORECASE,
        )


def person(home: Path, given: Sequence[str]) -> Person:
    """Return what to look for when somebody names a person by values in clear (name, address, account) or by tokens.

    Raises:
        ConfigError: a value is too short to be told from other words.
    """
    values = tuple(dict.fromkeys(value.strip() for value in given))
    for value in values:
        if len(value) < SHORTEST:
            raise ConfigError(f"{value!r} is too short to forget: it would be found in other words. Give a whole name, address or token")
        if value == privacy.FORGOTTEN:
            raise ConfigError(f"{value!r} is nobody: it is what the forgotten have become")
    clear = tuple(value for value in values if not re.fullmatch(r"tok_[0-9a-f]{16}", value))
    plain = bytes(privacy.token_key(home))  # without the list: the token as it was made
    return Person(clear, tuple(dict.fromkeys(privacy.token(value, plain) for value in values)))


def forget(settings: Settings, whom: Person, *, now: datetime, write: bool) -> list[Place]:
    """Find a person everywhere below AFTERCAST_HOME, and with `write` take the person out. Returns the places, in order.

    Raises:
        ConfigError: machines share an object store, which would bring the person back.
        AuditError, OutboxError: a log that cannot be read is not changed; nothing else after it is.
    """
    if write and settings.store:
        raise ConfigError(
            f"{settings.store} holds what has landed too, and the next refresh would bring the person back from there; "
            "docs/security.md says how to forget where machines share a store"
        )
    if write:
        privacy.forget(settings.home, whom.tokens)
    places = list(_in_published(settings, whom, write))
    places += _in_files(settings, whom, write)
    event = {
        "event_id": audit.event_id("forgotten", sorted(privacy.mark_of(one, privacy.token_key(settings.home)) for one in whom.tokens), now),
        "at": now.isoformat(),
        "who": audit.OURSELVES,
        "what": "forgotten",
        "places_n": len(places),
    }
    if lines := audit.redact(settings.audit, whom.without, event, write=write):
        places.append(Place("audit/log.jsonl", f"{lines} lines redacted, and one appended that says so"))
    elif write and any(not place.what.startswith(BY_HAND) for place in places):
        audit.append(settings.audit, [event])
    if records := outbox.redact_records(settings.outbox, whom.without, write=write):
        places.append(Place("outbox", f"{records} records redacted"))
    if places and settings.warehouse.exists():
        places.append(Place(settings.warehouse.name, "deleted: the next refresh builds it again"))
        if write:
            for one in settings.home.glob(f"{settings.warehouse.name}*"):
                one.unlink()
    return sorted(places, key=lambda place: place.path)


def in_configuration(settings: Settings, whom: Person) -> list[str]:
    """Return the files of the configuration that name the person; people write these, and nothing here changes them."""
    found = re.compile(whom.pattern(), re.IGNORECASE)
    files = (path for path in sorted(settings.config.rglob("*")) if path.is_file() and not path.is_relative_to(settings.home))
    return [str(path) for path in files if found.search(path.read_bytes().decode("latin-1"))]


def _in_published(settings: Settings, whom: Person, write: bool) -> list[Place]:
    """The current file of each audience is rewritten, older ones that hold the person are deleted."""
    places = []
    links = [settings.mart, *(settings.published / "audiences").glob("*.duckdb")]
    current = {link.resolve() for link in links if link.exists()}
    plain = [unicodedata.normalize("NFKD", value.lower()) for value in whom.values]
    words = [word for value in plain for word in re.findall(r"\w{2,}", re.sub(r"[\u0300-\u036f]", "", value))]
    for file in sorted(settings.published.rglob("aftercast-*.duckdb")):
        if file.is_symlink() or not publishing.holds(file, whom.pattern()):
            continue
        rewritten = file.resolve() in current
        what = "rewritten" if rewritten else "deleted: an older version"
        places.append(Place(file.relative_to(settings.home).as_posix(), what))
        if write and rewritten:
            publishing.rewrite(file, [(_any(whom.tokens), privacy.FORGOTTEN), (whom.pattern(), CLEAR)], words)
        elif write:
            file.unlink()
            shutil.rmtree(settings.published / "parquet" / file.stem.removeprefix("aftercast-"), ignore_errors=True)
    return places


def _any(tokens: Sequence[str]) -> str:
    return "|".join(tokens)


def _in_files(settings: Settings, whom: Person, write: bool) -> list[Place]:
    places, found = [], re.compile(whom.pattern(), re.IGNORECASE)
    logs = {settings.audit / "log.jsonl", settings.warehouse}
    for path in sorted(settings.home.rglob("*")):
        relative = path.relative_to(settings.home)
        if path.is_symlink() or not path.is_file() or relative.parts[0] in OURS or path in logs or not path.exists():
            continue
        if path.is_relative_to(settings.outbox) or path.suffix == ".duckdb" or path.name.startswith(f"{settings.warehouse.name}"):
            continue
        if found.search(relative.as_posix()):
            places.append(Place(relative.as_posix(), f"{BY_HAND} (in its name)"))
        is_people = _is_below(path, settings)
        what = _in_file(path, whom, found, write and not is_people)
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


def _in_file(path: Path, whom: Person, found: re.Pattern[str], write: bool) -> str | None:
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
        return one.str.replace_all(_any(whom.tokens), privacy.FORGOTTEN).str.replace_all(pattern, CLEAR)

    return column.list.eval(text(pl.element())) if isinstance(kind, pl.List) else text(column)


def _replace(path: Path, content: bytes) -> None:
    """Put a content in the place of a file, with the same rights."""
    beside, mode = path.with_name(f".{path.name}.{hashlib.sha256(content).hexdigest()[:8]}"), path.stat().st_mode
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    beside.chmod(mode)
    beside.replace(path)
