"""Ways in which a payload goes wrong. Pure but for the chance that is given: the same seed spoils the same place in the same way.

A *slip* spoils one value inside a document that stays whole otherwise: every record is still there, so every record must be accounted for.
A *wreck* spoils the whole answer or file: what was in it cannot be counted any more, so what must come of it is rows or a clear error.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable
from typing import Any

Path = tuple[Any, ...]

TIME = re.compile(r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}")
LARGE = 100_000  # characters of a large text; one in HUGE_EVERY is a hundred times as large
HUGE_EVERY = 60
DEEP = 200
TOO_DEEP = 200_000
PAGE = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>nginx</h1></body></html>"


def nodes(value: Any, path: Path = ()) -> list[Path]:
    """Every place in a document but its root."""
    found: list[Path] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        found.append((*path, key))
        found += nodes(below, (*path, key))
    return found


def value_at(value: Any, path: Path) -> Any:
    """What lies at a place of a document."""
    for key in path:
        value = value[key]
    return value


def _large(chance: random.Random) -> str:
    return "x" * (LARGE * (100 if chance.randrange(HUGE_EVERY) == 0 else 1))


def _another_type(old: Any, chance: random.Random) -> Any:
    choices: list[Any] = ["text", 7, 2.5, True, [], ["text"], {}, {"text": 1}, [[7]], [None]]
    return chance.choice([one for one in choices if type(one) is not type(old)])


def _nested(depth: int) -> Any:
    value: Any = "deep"
    for step in range(depth):
        value = {"deeper": value} if step % 2 else [value]
    return value


def _another_zone(old: Any, chance: random.Random) -> Any:
    text = str(old)
    if not TIME.match(text):
        return chance.choice(["2026-09-01", "2026-09-01T10:05:00", "yesterday", "1756720000", -1, 10**13])
    bare = re.sub(r"(Z|[+-]\d{2}:?\d{2})$", "", text)
    return bare + chance.choice(["", "+99:00", "+05:45", " Europe/Berlin", "-25:61", "z", "+0"])


SLIPS: dict[str, Callable[[Any, random.Random], Any]] = {
    "null": lambda old, chance: None,
    "wrong type": _another_type,
    "huge number": lambda old, chance: chance.choice([10**30, -(10**30), 1e308, -1e308, 2**63, -(2**63) - 1, 1e-320, 10**400]),
    "empty": lambda old, chance: chance.choice(["", " ", [], {}, 0]),
    "nested": lambda old, chance: _nested(DEEP),
    "wrong time zone": _another_zone,
    "lone surrogate": lambda old, chance: chance.choice(["\ud800", "a\udfffb", "\x00", "a\x00b", "\u202e", "\ufeff"]),
    "large text": lambda old, chance: _large(chance),
    "unknown enum": lambda old, chance: chance.choice(
        ["zzz-unknown", "ZZZ", "-1", "null", "NaN", "__proto__", "../../etc/passwd", "{{x}}"]
    ),
    "impossible time": lambda old, chance: chance.choice(
        [
            "0000-00-00T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "0001-01-01T00:00:00Z",
            "2026-02-30T10:00:00Z",
            "2026-09-01T25:61:61Z",
            9e18,
            -9e18,
        ]
    ),
}
REARRANGED = ("drop key", "duplicated", "out of order", "emptied", "unknown key", "infinite")
WRECKS = (
    "truncated",
    "html page",
    "empty body",
    "not UTF-8",
    "wrong content type",
    "wrong encoding",
    "another document",
    "too deep",
    "not a number",
    "null bytes",
    "byte order mark",
)
FOREVER = ("same cursor", "ever new cursors")


def slip(document: Any, name: str, chance: random.Random, touched: list[Path] | None = None) -> Any:
    """A copy of a document with one value spoilt; `touched` is told which."""
    document = copy.deepcopy(document)
    places = nodes(document)
    if not places:
        return SLIPS[name](document, chance)
    path = chance.choice(places)
    if touched is not None:
        touched.append(path)
    holder = value_at(document, path[:-1])
    holder[path[-1]] = SLIPS[name](holder[path[-1]], chance)
    return document


def rearranged(document: Any, name: str, chance: random.Random) -> Any:
    """A copy of a document with something gone, twice, or elsewhere."""
    document = copy.deepcopy(document)
    places = [(), *nodes(document)]
    lists = [path for path in places if isinstance(value_at(document, path), list) and value_at(document, path)]
    mappings = [path for path in places if isinstance(value_at(document, path), dict) and value_at(document, path)]
    if name in ("drop key", "unknown key") and mappings:
        holder = value_at(document, chance.choice(mappings))
        if name == "drop key":
            del holder[chance.choice(sorted(holder))]
        else:
            holder["something new " + str(chance.randrange(10))] = _another_type(None, chance)
    elif name in ("duplicated", "out of order", "emptied") and lists:
        found = value_at(document, chance.choice(lists))
        if name == "duplicated":
            found.insert(chance.randrange(len(found) + 1), copy.deepcopy(chance.choice(found)))
        elif name == "emptied":
            found.clear()
        else:
            chance.shuffle(found)
    elif name == "infinite" and len(places) > 1:
        path = chance.choice(places[1:])
        value_at(document, path[:-1])[path[-1]] = chance.choice([float("nan"), float("inf"), -float("inf")])
    return document


def wreck(content: bytes, name: str, chance: random.Random) -> tuple[bytes, dict[str, str]]:
    """The bytes of a document spoilt as a whole, and the headers that go with them."""
    if name == "truncated":
        return content[: chance.randrange(len(content) + 1)], {}
    if name == "html page":
        return PAGE, {"content-type": "text/html"}
    if name == "empty body":
        return chance.choice([b"", b" ", b"\n"]), {}
    if name == "not UTF-8":
        place = chance.randrange(len(content) + 1)
        return content[:place] + chance.choice([b"\xff\xfe", b"\xc3\x28", b"\x80"]) + content[place:], {}
    if name == "wrong content type":
        return content, {"content-type": chance.choice(["text/html", "application/octet-stream", "", "text/plain; charset=utf-16", "x"])}
    if name == "wrong encoding":
        return content, {"content-encoding": chance.choice(["gzip", "deflate", "br", "identity"])}
    if name == "another document":
        return chance.choice([b"null", b"[]", b"{}", b'"text"', b"7", b"true", b"[[]]", b"[null]", b'{"error": "x"}', b"[1, 2]"]), {}
    if name == "too deep":
        return chance.choice([b"[", b'{"a":']) * TOO_DEEP, {}
    if name == "not a number":
        return re.sub(rb"\d+", lambda found: chance.choice([b"NaN", b"Infinity", b"-Infinity", b"1e999"]), content, count=1), {}
    if name == "null bytes":
        place = chance.randrange(len(content) + 1)
        return content[:place] + b"\x00" * 3 + content[place:], {}
    return b"\xef\xbb\xbf" + content, {}


def cursors(document: Any, number: int) -> Any:
    """A copy of an answer whose every word about a next page names one, another for another number, with records that bear it too."""
    document = copy.deepcopy(document)
    for path in nodes(document):
        key, holder = path[-1], value_at(document, path[:-1])
        word = str(key).lower()
        if word in ("more", "has_more"):
            holder[key] = True
        elif word in ("islast", "is_last"):
            holder[key] = False
        elif word in ("after", "next", "next_cursor", "nextpagetoken", "cursor"):
            holder[key] = f"https://elsewhere.test/next?cursor={number}&offset={number}" if word == "next" else f"again{number}"
        elif word in ("id", "_id") and number:
            holder[key] = f"{holder[key]}-{number}" if isinstance(holder[key], str) else holder[key]
    return document


def as_bytes(document: Any) -> bytes:
    """A document as a service sends it; numbers that are none stay what they are, as some encoders write them."""
    return json.dumps(document).encode()
