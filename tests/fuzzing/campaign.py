"""Feed a kind of source with spoilt payloads and say what became of each: landed, quarantined, refused, crashed or lost.

Every payload goes the way of a task: the kind reads it, landing casts, quarantines and counts it. What may come of it is rows, or one of
our own errors that names the source and is no longer than a person reads. Not: another exception, an endless walk, rows that nobody counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import random
import re
import shutil
import signal
import sqlite3
import ssl
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import httpx
import polars as pl

from aftercast import extraction, landing
from aftercast.declarations import SourceRow
from aftercast.errors import AftercastError
from aftercast.settings import Settings
from aftercast.sources import open_source, web
from aftercast.sources.lifecycle import moment
from tests.answering import Answer, Asked, Rule
from tests.fuzzing import mutations
from tests.fuzzing.seeds import SEEDS, Seed
from tests.unit import landing_fixture

NAME = "fuzzed"
MOST_REQUESTS = 400
MOST_PAGES = 60
MOST_DRAWS = 3  # for each payload asked for: many a wreck is soon the same as one before
SECONDS = 20
LONGEST_MESSAGE = 4_000
URL = "http://service.test"
SOFT = (*mutations.SLIPS, *mutations.REARRANGED)


class Endless(BaseException):
    """A payload that asks for ever or takes too long; no wide `except` of the product may swallow it."""


class Again(BaseException):
    """A payload that was tried before, byte for byte; no wide `except` of the product may swallow it."""


@dataclass(frozen=True)
class Outcome:
    """What became of one payload."""

    number: int
    mutation: str
    became: str  # landed, quarantined, refused, crashed or lost
    said: str = ""
    stumbled: bool = False  # refused by the net below every kind, not by the kind itself

    def __str__(self) -> str:
        return f"payload {self.number} ({self.mutation}): {self.became}: {self.said}"


@dataclass
class Report:
    """What became of all payloads of a seed."""

    seed: str
    outcomes: list[Outcome] = field(default_factory=list)
    again: int = 0
    seconds: float = 0.0

    def count(self, became: str) -> int:
        return sum(one.became == became for one in self.outcomes)

    @property
    def bad(self) -> list[Outcome]:
        return [one for one in self.outcomes if one.became in ("crashed", "lost")]


class Service:
    """A fake service whose n-th answer is spoilt, also when the same is asked again."""

    def __init__(self, rule: Rule, spoilt: int, mutation: str, chance: random.Random, fresh: Callable[..., None]) -> None:
        self.rule, self.spoilt, self.mutation, self.chance, self.fresh = rule, spoilt, mutation, chance, fresh
        self.asked = 0
        self.held: Answer | None = None
        self.kept: dict[tuple[str, str, bytes], tuple[bytes, dict[str, str]]] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.asked >= MOST_REQUESTS:
            raise Endless(f"more than {MOST_REQUESTS} requests, the last one for {request.url.path}")
        text, number = request.content, self.asked
        self.asked += 1
        body = json.loads(text) if text and "json" in request.headers.get("content-type", "") else text.decode() or None
        params: dict[str, list[str]] = {}
        for name, value in request.url.params.multi_items():
            params.setdefault(name, []).append(value)
        asked = Asked(
            request.method,
            request.url.path if "%" not in str(request.url) else request.url.raw_path.decode().split("?")[0],
            params,
            dict(request.headers.items()),
            body,
        )
        answer, question = self.held or self.rule(asked), (request.method, str(request.url), text)
        content, headers = mutations.as_bytes(answer.data) if answer.raw is None else answer.raw, dict(answer.headers)
        if self.mutation in mutations.FOREVER and number >= self.spoilt:
            if self.held is None:
                self.fresh(number, self.mutation)
                self.held = answer
            document = mutations.cursors(answer.data, number if self.mutation == "ever new cursors" else 0)
            content = mutations.as_bytes(document)
            headers["link"] = f'<{URL}/?page={number + 2}&cursor={number}>; rel="next"'
        elif (number == self.spoilt or question in self.kept) and answer.raw is None:
            if question not in self.kept:
                self.kept[question] = spoil(answer.data, self.mutation, self.chance)
                self.fresh(number, *self.kept[question])
            content, more = self.kept[question]
            headers |= more
        return httpx.Response(answer.status, headers={"content-type": "application/json", **headers}, stream=httpx.ByteStream(content))


TOUCHED: list[mutations.Path] = []
"""Which value the slip of this payload spoilt."""
PUT: list[Any] = []
"""What it put there."""
GONE: set[Any] = set()
"""The keys below the value that was there: with a message goes what it said of its thread."""


def spoil(document: Any, mutation: str, chance: random.Random) -> tuple[bytes, dict[str, str]]:
    """The bytes and headers of a spoilt document."""
    if mutation in mutations.SLIPS:
        spoilt = mutations.slip(document, mutation, chance, TOUCHED)
        for path in TOUCHED[-1:]:
            PUT.append(mutations.value_at(spoilt, path))
            GONE.update(key for below in mutations.nodes(mutations.value_at(document, path)) for key in below)
        return mutations.as_bytes(spoilt), {}
    if mutation in mutations.REARRANGED:
        return mutations.as_bytes(mutations.rearranged(document, mutation, chance)), {}
    if mutation in mutations.WRECKS:
        return mutations.wreck(mutations.as_bytes(document), mutation, chance)
    return mutations.as_bytes(document), {}


def _spoilt_text(text: str, mutation: str, chance: random.Random) -> bytes:
    """Text with a line, or a cell of one, spoilt."""
    if mutation in mutations.WRECKS:
        return mutations.wreck(text.encode(), mutation, chance)[0]
    lines = text.split("\n")
    if mutation in mutations.SLIPS:
        number = chance.randrange(len(lines))
        cells = re.split(r"([,|:])", lines[number])
        place = chance.randrange(0, len(cells), 2)
        value = mutations.SLIPS[mutation](cells[place], chance)
        cells[place] = value if isinstance(value, str) else json.dumps(value)
        lines[number] = "".join(cells)
    else:
        lines = mutations.rearranged(lines, mutation, chance)
    return "\n".join(line if isinstance(line, str) else str(line) for line in lines).encode("utf-8", "surrogatepass")


def write_files(folder: Path, files: dict[str, Any], mutation: str, chance: random.Random) -> None:
    """Write an inbox with one spoilt document."""
    chosen = chance.choice(sorted(files)) if mutation else ""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_bytes(_spoilt_text(content, mutation, chance) if name == chosen else content.encode())
        elif name.endswith("l"):
            lines = [mutations.as_bytes(one) for one in content]
            if (name == chosen and mutation in mutations.WRECKS) or name == chosen:
                place = chance.randrange(len(lines))
                lines[place] = spoil(content[place], mutation, chance)[0]
            path.write_bytes(b"\n".join(lines) + b"\n")
        else:
            path.write_bytes(spoil(content, mutation, chance)[0] if name == chosen else mutations.as_bytes(content))


def write_rows(path: Path, rows: list[dict[str, Any]], mutation: str, chance: random.Random) -> None:
    """Write a database whose table has one spoilt row; databases without types take anything."""
    path.unlink(missing_ok=True)
    found = json.loads(spoil(rows, mutation, chance)[0]) if mutation in SOFT else rows
    found = found if isinstance(found, list) else [found]
    columns = sorted({str(key) for row in found if isinstance(row, dict) for key in row} | set(rows[0]))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"create table points ({', '.join(json.dumps(one) for one in columns)})")
        for row in found:
            values = [_storable(row.get(one)) if isinstance(row, dict) else None for one in columns]
            connection.execute(f"insert into points values ({', '.join('?' * len(columns))})", values)
    if mutation in mutations.WRECKS:
        path.write_bytes(mutations.wreck(path.read_bytes(), mutation, chance)[0])


def _storable(value: Any) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    if isinstance(value, str):
        return value if value.isascii() or not re.search("[\ud800-\udfff]", value) else value.encode("utf-8", "surrogatepass")
    return json.dumps(value) if isinstance(value, (list, dict)) else value


class Field:
    """Where the payloads of one seed are tried: a deployment, emptied before each."""

    def __init__(self, root: Path, seed: Seed) -> None:
        self.root, self.seed = root, seed
        self.place: Settings = landing_fixture.deployment(root)
        options = dict(seed.options)
        self.row = SourceRow(name=NAME, kind=seed.kind, connection="fuzzed", entities=seed.entities, options=options)
        self.requests = 0
        self.whole: Counter[str] = Counter()
        self.tried: set[bytes] = set()

    def fresh(self, *payload: object) -> None:
        """Note a payload.

        Raises:
            Again: it was tried before.
        """
        mark = hashlib.sha256(repr(payload).encode("utf-8", "surrogatepass")).digest()
        if mark in self.tried:
            raise Again
        self.tried.add(mark)

    def connection(self) -> str:
        if self.seed.rows is not None:
            return json.dumps({"conn_type": "sqlite", "host": str(self.root / "points.db")})
        return json.dumps({"conn_type": "http", "host": URL, **self.seed.connection})

    def run(self, mutation: str, chance: random.Random) -> tuple[dict[str, landing.Landed], int]:
        """Land one payload; what landed, and how many requests it took."""
        for name in ("landing", "quarantine", "inbox", "raw", "staging"):
            shutil.rmtree(self.place.home / name, ignore_errors=True)
        rule: Rule = self.seed.service() if self.seed.service else lambda _: Answer({}, status=404)
        service = Service(rule, chance.randrange(max(self.requests, 1)) if mutation else -1, mutation, chance, self.fresh)
        if self.seed.files is not None:
            write_files(self.place.home / "inbox", self.seed.files(), mutation, chance)
            self._fresh_files(self.place.home / "inbox")
        if self.seed.rows is not None:
            write_rows(self.root / "points.db", self.seed.rows(), mutation, chance)
            self._fresh_files(self.root, "points.db")
        with _served(service), mock.patch.dict(os.environ, {"AIRFLOW_CONN_FUZZED": self.connection(), "AFTERCAST_TOKEN_KEY": "k" * 32}):
            found = extraction.told(self.row, open_source(self.row, self.place).extract(self.seed.window))
            at = self.seed.window.end + timedelta(minutes=1)
            results = landing.land(self.place, self.row, self.seed.window, found, ingested_at=at)
        return {one.entity: one for one in results}, service.asked

    def _fresh_files(self, folder: Path, pattern: str = "*") -> None:
        files = sorted(path for path in folder.rglob(pattern) if path.is_file())
        self.fresh(*((str(path), path.read_bytes()) for path in files))

    def rehearse(self) -> None:
        """Land the healthy payload, to know what there is to lose."""
        landed, self.requests = self.run("", random.Random(0))
        self.whole = Counter({name: one.received for name, one in landed.items()})
        assert sum(one.landed for one in landed.values()) > 0, "a seed from which nothing lands proves nothing"
        assert not self.seed.counted or self.whole[self.seed.counted] > 0


class _Httpx:
    """The module `httpx` as sources see it, with another client; Airflow has its own."""

    def __init__(self, client: type[httpx.Client]) -> None:
        self.Client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(httpx, name)


@contextlib.contextmanager
def _served(service: Service) -> Iterator[None]:
    """Let every client of the product talk to a service without a network and without waiting."""

    class Client(httpx.Client):
        def __init__(self, *, base_url: Any = "", headers: Any = None, auth: Any = None, **_: Any) -> None:
            super().__init__(base_url=base_url, headers=headers, auth=auth, transport=httpx.MockTransport(service))

    known = dict(web.Web.__init__.__kwdefaults__ or {})
    walking = dict(web.Web.walk.__kwdefaults__ or {})
    # A hook that makes a client of its own to learn an address reads all certificates of the machine for it.
    without = mock.patch.multiple(ssl.SSLContext, load_verify_locations=mock.DEFAULT, load_default_certs=mock.DEFAULT)
    with mock.patch.object(web, "httpx", _Httpx(Client)), without:
        web.Web.__init__.__kwdefaults__ = known | {"sleep": lambda _: None}  # type: ignore[attr-defined]
        web.Web.walk.__kwdefaults__ = walking | {"most": MOST_PAGES}  # type: ignore[attr-defined]
        try:
            yield
        finally:
            web.Web.__init__.__kwdefaults__ = known  # type: ignore[attr-defined]
            web.Web.walk.__kwdefaults__ = walking  # type: ignore[attr-defined]


@contextlib.contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raise Endless after so many seconds of processor time: a busy machine makes nothing endless."""

    def late(_: int, __: FrameType | None) -> None:
        raise Endless(f"took more than {seconds} s of processor time")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def judged(field_: Field, number: int, mutation: str, chance: random.Random) -> Outcome:
    """Try one payload and say what became of it.

    Raises:
        Again: it was tried before.
    """
    TOUCHED.clear()
    PUT.clear()
    GONE.clear()
    try:
        with within(SECONDS):
            landed, _ = field_.run(mutation, chance)
    except AftercastError as error:
        said = str(extraction.placed(error, field_.row, str(field_.seed.window)))
        stumbled = "has not the shape" in said
        if NAME not in said or len(said) > LONGEST_MESSAGE:
            return Outcome(number, mutation, "crashed", f"an error of {len(said)} characters that nobody can act on: {said[:300]}")
        return Outcome(number, mutation, "refused", said, stumbled)
    except Endless as error:
        return Outcome(number, mutation, "crashed", f"endless: {error}")
    except BaseException as error:  # a panic below Python is no Exception
        if isinstance(error, (KeyboardInterrupt, Again)):
            raise
        where = traceback.extract_tb(error.__traceback__)
        ours = [one for one in where if "aftercast" in one.filename] or where
        return Outcome(number, mutation, "crashed", f"{type(error).__name__}: {str(error)[:300]} at {ours[-1].filename}:{ours[-1].lineno}")
    for one in landed.values():
        on_disk = _landed_on_disk(field_.place, one.entity)
        held = sum(path.read_bytes().count(b"\n") for path in field_.place.quarantine.glob(f"{one.entity}/**/*.jsonl"))
        if one.received != one.landed + one.rejected + one.duplicate or on_disk != one.landed or held != one.rejected:
            return Outcome(number, mutation, "lost", f"{one}; {on_disk} rows on disk, {held} in quarantine")
    said_where = any(key in field_.seed.uncounted for path in (*TOUCHED, GONE) for key in path)
    # A time that is whole in another zone may be that of another window: what happened then is asked for by its own.
    said_where |= any((instant := moment(str(one))) is not None and not field_.seed.window.contains(instant) for one in PUT)
    # A file whose header says no columns, or that cannot be read, lies in quarantine as one, with the reason, and stays in the inbox.
    said_where |= any(reason.startswith(("the header ", "not a readable ")) for one in landed.values() for reason in one.reasons)
    if mutation in mutations.SLIPS and field_.seed.counted and not said_where:
        gone = field_.whole[field_.seed.counted] - landed[field_.seed.counted].received
        told = sum(count for one in landed.values() for count in one.reasons.values())
        if gone > told:
            return Outcome(
                number,
                mutation,
                "lost",
                f"{gone} record(s) of {field_.seed.counted} are neither landed, quarantined nor noted; spoilt: {TOUCHED}",
            )
    return Outcome(number, mutation, "quarantined" if any(one.rejected for one in landed.values()) else "landed")


def _landed_on_disk(place: Settings, entity: str) -> int:
    files = sorted(place.landing.glob(f"{entity}/**/*.parquet"))
    return sum(pl.scan_parquet(path, hive_partitioning=False).select(pl.len()).collect().item() for path in files)


def mutations_for(seed: Seed) -> list[str]:
    """The ways in which payloads of a seed can go wrong; each is tried as often as the others."""
    return [*mutations.SLIPS, *mutations.REARRANGED, *mutations.WRECKS, *(mutations.FOREVER if seed.service else ())]


def run(name: str, root: Path, *, seed: int, payloads: int) -> Report:
    """Try so many payloads of one seed, no two of them the same; fewer where so many do not exist."""
    logging.disable(logging.CRITICAL)
    begun = time.monotonic()
    tried = Field(root, SEEDS[name])
    tried.rehearse()
    ways = mutations_for(tried.seed)
    report = Report(name)
    for number in range(payloads * MOST_DRAWS):
        if len(report.outcomes) == payloads:
            break
        chance = random.Random(zlib.crc32(f"{seed}/{name}/{number}".encode()))
        try:
            report.outcomes.append(judged(tried, number, ways[number % len(ways)], chance))
        except Again:
            report.again += 1
    logging.disable(logging.NOTSET)
    report.seconds = time.monotonic() - begun
    return report
