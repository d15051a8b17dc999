"""What the kinds that read changes share: where a change was made, in our words, and how lists of such services are paged.

A change belongs to a service and an environment. What names them lies anywhere in a record; patterns map the words found to ours, or leave
the change out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, field_validator

from aftercast.declarations import Row
from aftercast.sources.lifecycle import Record, text_at
from aftercast.sources.web import Page, Request

_NEXT = re.compile(r"<([^>]*)>\s*;[^,]*\brel=\"?next\"?")


class Pick(Row):
    """The text at a path of keys of a record (`payload.service`); with a pattern, its first group, or what it matches."""

    at: str
    pattern: str | None = None

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"pattern {pattern!r} is no regular expression: {error}") from error
        return pattern

    def read(self, record: Record) -> str | None:
        """Return the text; None where there is none or it does not match."""
        found = text_at(record, *self.at.split("."))
        if found is None or self.pattern is None:
            return found
        match = re.search(self.pattern, found)
        return None if match is None else match.group(1 if match.re.groups else 0)


class Place(Row):
    """Options of every kind that reads changes.

    `service` and `environment` are the same for every change, or say what names them; without, the kind knows. `services` and
    `environments` map what was found to ours: the first pattern (`*`, `?`, `[…]`, in any case) that fits decides, null leaves the change
    out, and what none fits stays as it is.
    """

    service: str | Pick | None = None
    services: dict[str, str | None] = Field(default_factory=dict)
    environment: str | Pick | None = None
    environments: dict[str, str | None] = Field(default_factory=dict)
    region: str | None = None

    def of(self, record: Record, *, service: str | None = None, environment: str | None = None) -> dict[str, str | None] | None:
        """Return service, environment and region of a change; None when it is left out. The arguments stand where no option says."""
        found: dict[str, str | None] = {"region": self.region}
        for name, given, known in (("service", self.service, service), ("environment", self.environment, environment)):
            word = given.read(record) if isinstance(given, Pick) else given or known
            words: Mapping[str, str | None] = self.services if name == "service" else self.environments
            fits = next((ours for pattern, ours in words.items() if fnmatchcase((word or "").casefold(), pattern.casefold())), word)
            if fits is None and word is not None:
                return None
            found[name] = fits
        return found


def attributes(**given: str | None) -> str:
    """Return what else is known of a change as text: `name=value,name=value` in the order of names."""
    return ",".join(f"{name}={value}" for name, value in sorted(given.items()) if value)


def linked(page: Page) -> Request | None:
    """Return the request for the page that the header `Link` names as next; None without one.

    Only its parameters are taken: a host that a page names is not sent our credentials.
    """
    found = _NEXT.search(page.headers.get("link", ""))
    if found is None:
        return None
    return page.request.with_params(**dict(parse_qsl(urlsplit(found[1]).query, keep_blank_values=True)))
