"""Whom to look for, and where somebody was found."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from aftercast import privacy
from aftercast.errors import ConfigError

SHORTEST = 3
CLEAR = "<forgotten>"
BY_HAND = "found; change it by hand"


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

    def words(self) -> list[str]:
        """Return the words of the values in clear, as the index of the search has them."""
        plain = [unicodedata.normalize("NFKD", value.lower()) for value in self.values]
        return [word for value in plain for word in re.findall(r"\w{2,}", re.sub(r"[\u0300-\u036f]", "", value))]

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
