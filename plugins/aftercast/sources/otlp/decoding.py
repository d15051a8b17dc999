"""OTLP as JSON spells it: tagged values, 64-bit integers as text, nanoseconds, ids in hex, and whose telemetry a resource is.

Fields nobody here knows are passed over. What cannot be told raises `Unreadable`, which becomes the reason in quarantine.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from aftercast.privacy import SUSPECT, redact
from aftercast.sources.otlp.options import Options
from aftercast.window import Window, parse_utc

SECOND = 1_000_000_000  # nanoseconds
EPOCH = parse_utc("1970-01-01")
FIRST, LAST = ((parse_utc(day) - EPOCH).days * 86_400 * SECOND for day in ("2000-01-01", "2100-01-01"))
_HEX = re.compile(r"^[0-9a-fA-F]{16}(?:[0-9a-fA-F]{16})?$")
_SUSPECT = re.compile(SUSPECT)
# Attributes that say who or from where; they land only when an allow-list names them.
PERSONAL = ("user.*", "enduser.*", "client.*", "source.*", "session.*", "network.peer.*", "net.peer.*", "net.sock.*", "*mail*")


class Unreadable(ValueError):
    """Why a record cannot be used."""


@dataclass(frozen=True, slots=True)
class Place:
    """Whose telemetry it is; a service that is not named is None, for landing to judge."""

    service: str | None
    environment: str | None
    region: str | None


@dataclass(frozen=True, slots=True)
class Buckets:
    """[first, last) in nanoseconds: the buckets that start in a window."""

    first: int
    last: int
    width: int

    @classmethod
    def of(cls, window: Window, seconds: int) -> Buckets:
        width = seconds * SECOND
        first, last = (-(-nanoseconds(edge) // width) * width for edge in (window.start, window.end))
        return cls(first, last, width)

    def __contains__(self, moment: int) -> bool:
        return self.first <= moment < self.last

    def widened(self, more: int) -> Buckets:
        return Buckets(self.first - more, self.last + more, self.width)

    def bucket(self, moment: int) -> int:
        return moment // self.width * self.width


def nanoseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def value(given: Any) -> Any:
    """Return a tagged value as Python has it; bytes as base64 text."""
    if not isinstance(given, Mapping):
        return given
    for tag, found in given.items():
        if tag == "intValue":
            return int(found)
        if tag == "doubleValue":
            return float(found)
        if tag == "arrayValue":
            return [value(one) for one in (found or {}).get("values") or ()]
        if tag == "kvlistValue":
            return attributes((found or {}).get("values"))
        if tag in ("stringValue", "boolValue", "bytesValue"):
            return found
    return None


def attributes(given: Any) -> dict[str, Any]:
    """Return a list of keys and tagged values as a mapping."""
    return {str(one["key"]): value(one.get("value")) for one in given or () if isinstance(one, Mapping) and "key" in one}


def text(given: Any) -> str:
    """Return a value as text; a number, list or mapping as JSON."""
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False, sort_keys=True, default=str)


def moment(given: Any, what: str) -> int:
    """Return nanoseconds since 1970.

    Raises:
        Unreadable: absent, not a number, or not of this century (seconds or milliseconds, for example).
    """
    found = whole(given)
    if not found:
        raise Unreadable(f"no {what}")
    if not FIRST <= found < LAST:
        raise Unreadable(f"{what}: not in nanoseconds since 1970")
    return found


def whole(given: Any) -> int:
    """Return an integer that may be text; 0 when absent."""
    try:
        return int(given or 0)
    except (TypeError, ValueError) as error:
        raise Unreadable(f"not a whole number: {text(given)[:40]}") from error


def number(given: Any) -> float | None:
    """Return a number that may be text; None when absent or not finite."""
    try:
        found = float(given) if given is not None else math.nan
    except (TypeError, ValueError) as error:
        raise Unreadable(f"not a number: {text(given)[:40]}") from error
    return found if math.isfinite(found) else None


def id_of(given: Any) -> str:
    """Return an id in lower-case hex; '' when absent. The base64 that plain protobuf JSON writes is understood, too."""
    if not given:
        return ""
    found = str(given)
    if not _HEX.match(found):
        try:
            found = base64.b64decode(found, validate=True).hex()
        except binascii.Error:
            found = ""
        if not _HEX.match(found):
            raise Unreadable("an id that is neither 8 nor 16 bytes of hex")
    return found.lower() if found.strip("0") else ""


def enum(given: Any, names: Mapping[str, int]) -> int:
    """Return the number of an enumeration that may be written as its name."""
    if isinstance(given, str) and not given.isdigit():
        return names.get(given, 0)
    return whole(given)


def place_of(resource: Mapping[str, Any], options: Options) -> Place:
    """Return whose telemetry a resource sends. What an SDK calls itself when nobody named it is no name."""
    service = _first(resource, options.service)
    if service and service.startswith("unknown_service"):
        service = None
    if service and options.with_namespace and resource.get("service.namespace"):
        service = f"{resource['service.namespace']}/{service}"
    return Place(service, _first(resource, options.environment) or options.default_environment, _first(resource, options.region) or "")


def kept_attributes(own: Mapping[str, Any], resource: Mapping[str, Any], options: Options) -> str:
    """Return the attributes that tell series apart, as sorted JSON without personal data; '' without any."""
    kept = {name: found for name, found in own.items() if _is_kept(name, options.attributes)}
    kept |= {name: resource[name] for name in options.resource_attributes if name in resource}
    if not kept:
        return ""
    return clean(json.dumps(kept, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str))


@lru_cache(maxsize=4096)
def _is_kept(name: str, allowed: tuple[str, ...] | None) -> bool:
    if allowed is None:
        return not any(fnmatch.fnmatchcase(name, pattern) for pattern in PERSONAL)
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in allowed)


@lru_cache(maxsize=65_536)
def clean(given: str) -> str:
    """Return a text that becomes part of a key without personal data: landing would redact it, too, but after rows were counted."""
    return redact(given) if _SUSPECT.search(given) else given


def _first(resource: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((text(resource[name]) for name in names if resource.get(name) not in (None, "")), None)
