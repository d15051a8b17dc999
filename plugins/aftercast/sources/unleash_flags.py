"""The `unleash` kind: changes of feature toggles, from the events of an Unleash instance.

Events can be narrowed to days only, so the days that touch the window are read and what lies outside is left out. They come newest first
and by offset: an event written meanwhile moves others to the next page, where their ids tell that they were there before. Of what changed,
names are told, and values that are numbers or switches; others may name people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

from pydantic import Field

from aftercast.connections import Endpoint, resolve
from aftercast.declarations import SourceRow
from aftercast.errors import ConfigError
from aftercast.settings import Settings, check_options, raw_folder
from aftercast.sources import Batch
from aftercast.sources.lifecycle import Record, at, batch, moment, nothing, text, text_at
from aftercast.sources.places import Place, attributes
from aftercast.sources.web import Page, Request, Web, records
from aftercast.window import Window

PAGE = 1_000  # the most there is
TYPES = (
    "feature-environment-*",
    "feature-strategy-*",
    "strategy-order-changed",
    "feature-variants-updated",
    "feature-environment-variants-updated",
    "feature-archived",
    "feature-revived",
    "feature-dependency-*",
    "segment-*",
)
SHOWN = 6  # differences a title tells


class Options(Place):
    """Options of an `unleash` source; `types` are patterns of events that change what users get, `project` narrows to one."""

    types: tuple[str, ...] = Field(default=TYPES, min_length=1)
    project: str | None = None


@dataclass(frozen=True, slots=True)
class Unleash:
    """An instance, and which of its events land."""

    row: SourceRow
    settings: Settings
    endpoint: Endpoint
    options: Options

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield the changes of a page of events, newest first."""
        yield from nothing(f"GET {self.endpoint.base_url}/api/admin/search/events", "changes")
        keep = raw_folder(self.settings, self.row, window)
        last = window.end - timedelta(microseconds=1)
        days: dict[str, str | int] = {"from": f"IS:{window.start:%Y-%m-%d}", "to": f"IS:{last:%Y-%m-%d}", "offset": 0, "limit": PAGE}
        project = {"project": f"IS:{self.options.project}"} if self.options.project else {}
        seen: set[str | None] = set()
        with Web(self.row.name, self.endpoint, headers={"Authorization": self.endpoint.secret()}, keep=keep) as web:
            for page in web.walk(Request("/api/admin/search/events", {**days, **project}), self._following):
                events = records(page, "events", source=self.row.name)
                new = [one for one in events if text_at(one, "id") not in seen]
                seen.update(text_at(one, "id") for one in events)
                due = [one for one in new if (at_ := moment(text_at(one, "createdAt"))) is None or window.contains(at_)]
                told = [one for one in due if any(fnmatchcase(text_at(one, "type") or "", pattern) for pattern in self.options.types)]
                others = Counter(f"events {text_at(one, 'type')} left out" for one in due if one not in told)
                rows = [row for one in told if (row := self._row(one)) is not None]
                yield batch("changes", rows, page.origin, notes=others)

    def _following(self, page: Page) -> Request | None:
        found, offset = len(records(page, "events", source=self.row.name)), int(str(page.request.params.get("offset", 0)))
        return page.request.with_params(offset=offset + found) if found == PAGE else None

    def _row(self, record: Record) -> dict[str, Any] | None:
        feature, project = text_at(record, "featureName"), text_at(record, "project")
        place = self.options.of(record, service=project, environment=text_at(record, "environment"))
        if place is None:
            return None
        type_ = text_at(record, "type") or ""
        changed = differences(at(record, "preData"), at(record, "data"))
        told = "; ".join(changed[:SHOWN]) + (f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else "")
        when = text_at(record, "createdAt")
        return {
            "change_id": f"unleash/{text_at(record, 'id')}",
            "kind": "flag",
            "title": f"{feature or text_at(record, 'data', 'name') or project}: {type_}" + (f" ({told})" if told else ""),
            "started_at": when,
            "finished_at": when,
            "result": "success",
            "actor_token": text_at(record, "createdBy"),
            "attributes": attributes(changed=" ".join(one.split(":", 1)[0] for one in changed), flag=feature, project=project, type=type_),
            **place,
        }


def differences(before: Any, after: Any) -> list[str]:
    """Return what an event changed: `path: old → new` where both are numbers, switches or nothing, else the path alone."""
    old, new = flat(before), flat(after)
    told = []
    for path in sorted(path for path in {*old, *new} if old.get(path) != new.get(path)):
        values = [_plain(side.get(path)) for side in (old, new)]
        told.append(f"{path}: {' → '.join(value for value in values if value)}" if all(value is not None for value in values) else path)
    return told


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return the values of a document by their paths."""
    if isinstance(value, Mapping):
        inner = [(f"{path}.{key}" if path else str(key), one) for key, one in value.items()]
    elif isinstance(value, list):
        inner = [(f"{path}.{number}", one) for number, one in enumerate(value)]
    else:
        return {} if value is None else {path: value}
    return {name: one for below, each in inner for name, one in flat(each, below).items()}


def _plain(value: Any) -> str | None:
    """The text of a value that cannot name a person; None of any other."""
    if value is None:
        return "nothing"
    is_number = isinstance(value, int | float) or (isinstance(value, str) and value.isdigit() and len(value) <= 3)
    return text(value) if is_number else None


def open(row: SourceRow, settings: Settings) -> Unleash:
    """Return the instance a row of sources.yml declares.

    Raises:
        ConfigError: an option or the connection does not fit.
    """
    options = check_options(row, Options)
    endpoint = resolve(row.name, row.connection)
    if not endpoint.base_url:
        raise ConfigError(
            f"source {row.name!r}: connection {endpoint.connection!r} names no host; give the address of the Unleash instance"
        )
    endpoint.secret()
    return Unleash(row, settings, endpoint, options)
