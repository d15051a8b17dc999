"""The `launchdarkly` kind: changes of feature flags, from the audit log.

The log is listed newest first, 20 entries at most, and knows no pages: the next are those before the oldest seen. Entries of one
millisecond can lie on both sides of that cut, so the millisecond itself is asked for again. What members are called is left in the log.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from aftercast.connections import Endpoint, resolve
from aftercast.declarations import SourceRow
from aftercast.settings import Settings, check_options, raw_folder
from aftercast.sources import Batch
from aftercast.sources.lifecycle import Record, at, batch, from_milliseconds, hosted, items_at, milliseconds, nothing, text_at
from aftercast.sources.places import Place, attributes
from aftercast.sources.web import Page, Request, Web, records
from aftercast.window import Window

URL = "https://app.launchdarkly.com"
PAGE = 20  # the most there is
SPEC = "proj/*:env/*:flag/*"
_RESOURCE = re.compile(r"^proj/(?P<project>[^:;/]+)(?:;[^:]*)?:env/(?P<environment>[^:;/]+)(?:;[^:]*)?:flag/(?P<flag>[^:;/]+)")


class Options(Place):
    """Options of a `launchdarkly` source; `spec` says which resources, in LaunchDarkly's way."""

    spec: str = Field(default=SPEC, pattern=r":flag/")


@dataclass(frozen=True, slots=True)
class LaunchDarkly:
    """An account, and which of its flags land."""

    row: SourceRow
    settings: Settings
    endpoint: Endpoint
    options: Options

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield the changes of a page of the log, newest first."""
        yield from nothing(f"GET {self.endpoint.base_url}/api/v2/auditlog", "changes")
        keep = raw_folder(self.settings, self.row, window)
        start, end = milliseconds(window.start), milliseconds(window.end)
        seen: set[str | None] = set()
        with Web(self.row.name, self.endpoint, headers={"Authorization": self.endpoint.secret()}, keep=keep) as web:
            # Whether the ends belong to it is not said: a little more is asked for, and the ends are left out.
            first = Request("/api/v2/auditlog", {"spec": self.options.spec, "limit": PAGE, "after": start - 1, "before": end})
            asked_for = range(start - 1, end + 1)
            for page in web.walk(first, lambda page: self._following(page, asked_for)):
                entries = records(page, "items", source=self.row.name)
                new = [one for one in entries if text_at(one, "_id") not in seen and start <= (_date(one) or start) < end]
                elsewhere = sum((date := _date(one)) is not None and date not in asked_for for one in entries)
                seen.update(text_at(one, "_id") for one in entries)
                crowded = len(entries) == PAGE and len({_date(one) for one in entries}) == 1
                notes = {f"more than {PAGE} entries in one millisecond, some may be missing": 1} if crowded else {}
                if elsewhere:
                    notes["entries dated outside of the window that was asked for"] = elsewhere
                nameless = sum(not _touched(one) for one in new)
                if nameless:
                    notes["entries that name no flag of an environment"] = nameless
                yield batch("changes", (row for one in new for row in self._rows(one)), page.origin, notes=notes)

    def _following(self, page: Page, asked_for: range) -> Request | None:
        entries = records(page, "items", source=self.row.name)
        dates = [date for one in entries if (date := _date(one)) is not None and date in asked_for]
        if len(entries) < PAGE or not dates:
            return None
        oldest = min(dates)
        return page.request.with_params(before=oldest + 1 if max(dates) > oldest else oldest)

    def _rows(self, record: Record) -> Iterator[dict[str, Any]]:
        """One row per flag and environment that an entry tells of; what was done to it is told, by whom is a token."""
        id_, when = text_at(record, "_id"), from_milliseconds(_date(record))
        touched = _touched(record)
        actions = sorted({action for one in items_at(record, "accesses") if (action := text_at(one, "action"))})
        for where in touched:
            place = self.options.of({**record, **where}, service=where["project"], environment=where["environment"])
            if place is None:
                continue
            verb = text_at(record, "titleVerb") or " ".join(actions) or "changed the flag"
            yield {
                "source_id": id_,
                "change_id": id_ if len(touched) == 1 else f"{id_}/{where['environment']}/{where['flag']}",
                "kind": "flag",
                "title": f"{verb} {text_at(record, 'target', 'name') or where['flag']}",
                "started_at": when,
                "finished_at": when,
                "result": "success",
                "actor_token": text_at(record, "member", "email") or text_at(record, "member", "_id") or text_at(record, "token", "_id"),
                "url": self._link(record),
                "attributes": attributes(action=" ".join(actions), flag=where["flag"], project=where["project"]),
                **place,
            }

    def _link(self, record: Record) -> str | None:
        path = text_at(record, "_links", "site", "href")
        return f"{self.endpoint.base_url}{path}" if path and path.startswith("/") else path


def _touched(record: Record) -> list[dict[str, str]]:
    """The flags and environments that an entry names."""
    resources = at(record, "target", "resources")
    texts = [one for one in resources if isinstance(one, str)] if isinstance(resources, list) else []
    return [match.groupdict() for one in texts if (match := _RESOURCE.match(one))]


def _date(record: Record) -> int | None:
    found = text_at(record, "date")
    return int(found) if found and found.isdigit() else None


def open(row: SourceRow, settings: Settings) -> LaunchDarkly:
    """Return the account a row of sources.yml declares.

    Raises:
        ConfigError: an option or the connection does not fit.
    """
    options = check_options(row, Options)
    endpoint = hosted(resolve(row.name, row.connection), URL)
    endpoint.secret()
    return LaunchDarkly(row, settings, endpoint, options)
