"""The `jsm_ops` kind: alerts of Jira Service Management operations, and of Opsgenie until it ends on 5 April 2027.

Both tell when an alert was acknowledged and closed as milliseconds after its creation, in the alert itself. Alerts of the priorities in
`incidents` are incidents as well, with their log as events; other incidents of Jira Service Management are issues (kind `jira`), those of
Opsgenie have an API of their own. Logs name people, so only notes are taken as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field

from aftercast.connections import Endpoint, resolve
from aftercast.errors import ConfigError, SourceRejected
from aftercast.settings import Settings, SourceRow, check_options, raw_folder
from aftercast.sources import Batch
from aftercast.sources.lifecycle import LATEST, Record, Tracker, at, batch, hosted, is_due, milliseconds, moment, nothing, text_at
from aftercast.sources.web import Page, Request, Web, records, signed_in
from aftercast.window import Window

PAGE = 100
MOST = 20_000  # offset and size of a list may not add up to more
SEVERITIES = {"p1": "sev1", "p2": "sev2", "p3": "sev3", "p4": "sev4", "p5": "sev4"}
KINDS = {"acknowledged": r"^(?!.*un-?ack).*acknowledged", "closed": r"\bclosed\b", "created": r"\bcreated\b", "escalated": r"\bescalated\b"}


@dataclass(frozen=True, slots=True)
class Api:
    """Where one of the two services keeps things."""

    url: str
    alerts: str
    rows: str
    next: tuple[str, str]
    size: str


APIS = {
    "jsm": Api("https://api.atlassian.com", "/jsm/ops/api/{cloud_id}/v1/alerts", "values", ("links", "next"), "size"),
    "opsgenie": Api("https://api.opsgenie.com", "/v2/alerts", "data", ("paging", "next"), "limit"),
}


class Options(Tracker):
    """Options of a `jsm_ops` source. Tags such as `service:cart` say what an alert is about."""

    service: Literal["jsm", "opsgenie"] = "jsm"
    cloud_id: str = ""
    tags: dict[Literal["service", "environment", "region"], str] = Field(default_factory=dict)
    incidents: tuple[str, ...] = ()
    query: str = ""


@dataclass(frozen=True, slots=True)
class Alerts:
    """An account, and what of it lands."""

    row: SourceRow
    settings: Settings
    endpoint: Endpoint
    options: Options

    @property
    def api(self) -> Api:
        return APIS[self.options.service]

    @property
    def path(self) -> str:
        return self.api.alerts.format(cloud_id=self.options.cloud_id)

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield the alerts of a page, and of those that are incidents the incidents and their events."""
        with self._web(window) as web:
            entities = ("alerts", "incidents", "incident_events") if self.options.incidents else ("alerts",)
            yield from nothing(f"GET {self.endpoint.base_url}{self.path}", *entities)
            for page in self._listed(web, window):
                found = records(page, self.api.rows, source=self.row.name)
                due = [one for one in found if is_due(window, created=text_at(one, "createdAt"), updated=[text_at(one, "updatedAt")])]
                alerts = [self._reported(web, one) for one in due]
                yield batch("alerts", [alert_row(one, self.options) for one in alerts], page.origin)
                incidents = [one for one in alerts if text_at(one, "priority") in self.options.incidents]
                if incidents:
                    yield batch("incidents", [incident_row(one, self.options) for one in incidents], page.origin)
                    logs = [event_row(one, said) for one in incidents for said in self._log(web, text_at(one, "id") or "")]
                    yield batch("incident_events", logs, page.origin)

    def _web(self, window: Window) -> Web:
        keep = raw_folder(self.settings, self.row, window)
        if self.options.service == "jsm":
            return signed_in(self.row.name, self.endpoint, keep=keep)
        return Web(self.row.name, self.endpoint, headers={"Authorization": f"GenieKey {self.endpoint.secret()}"}, keep=keep)

    def _listed(self, web: Web, window: Window) -> Iterator[Page]:
        """Alerts updated since the window began, oldest first; where the list may not go on, it begins anew at the last alert seen."""
        asked = f"updatedAt >= {milliseconds(window.start)} AND createdAt < {milliseconds(window.end)}"
        asked += f" AND ({self.options.query})" if self.options.query else ""
        reached = None
        while True:
            query = asked if reached is None else f"{asked} AND createdAt >= {milliseconds(reached)}"
            first = Request(self.path, {"query": query, "sort": "createdAt", "order": "asc", "offset": 0, self.api.size: PAGE})
            page = None
            for page in web.walk(first, self._following):
                yield page
            if page is None or not at(page.data, *self.api.next):
                return
            ended = moment(text_at(records(page, self.api.rows, source=self.row.name)[-1], "createdAt"))
            if ended is None or ended == reached:
                raise SourceRejected(
                    f"source {self.row.name!r}: {page.origin}: more than {MOST:,} alerts at one moment; narrow it by `query`"
                )
            reached = ended

    def _following(self, page: Page) -> Request | None:
        """The next page, as the link says; its host is not followed. None also where the service lists no further."""
        link = text_at(page.data, *self.api.next)
        if link is None:
            return None
        following = replace(page.request, params={**page.request.params, **dict(parse_qsl(urlsplit(link).query))})
        offset = str(following.params.get("offset", ""))
        return None if offset.isdigit() and int(offset) + PAGE > MOST else following

    def _reported(self, web: Web, alert: Record) -> Record:
        """The alert with its report, which lists may leave out, when it was acknowledged or closed."""
        if at(alert, "report") is not None or not (at(alert, "acknowledged") or text_at(alert, "status") == "closed"):
            return alert
        whole = web.ask(Request(f"{self.path}/{text_at(alert, 'id')}", accepted=(404,)))
        report = at(whole.data, "report") or at(whole.data, "data", "report")
        return {**alert, "report": report}

    def _log(self, web: Web, id_: str) -> Iterator[Record]:
        for page in web.walk(Request(f"{self.path}/{id_}/logs", {self.api.size: PAGE}), self._following):
            yield from records(page, self.api.rows, source=self.row.name)


def tagged(alert: Record, options: Options) -> dict[str, str | None]:
    """Return service, environment and region by an alert's tags: `service:cart` or `service=cart`."""
    tags = [tag for tag in at(alert, "tags") or [] if isinstance(tag, str)]
    found: dict[str, str | None] = {}
    for name in ("service", "environment", "region"):
        begin = re.compile(rf"^{re.escape(options.tags.get(name, name))}\s*[:=]\s*(.+)$", re.IGNORECASE)
        found[name] = next((match[1] for tag in tags if (match := begin.match(tag))), options.place.get(name))
    return {**found, "service": found["service"] or text_at(alert, "entity")}


def after(alert: Record, name: str) -> str | None:
    """Return the time that the report of an alert gives in milliseconds after its creation."""
    created, passed = moment(text_at(alert, "createdAt")), at(alert, "report", name)
    if created is None or not isinstance(passed, (int, float)) or not 0 <= passed < LATEST:
        return None
    return (created + timedelta(milliseconds=passed)).isoformat()


def alert_row(alert: Record, options: Options) -> dict[str, Any]:
    """Return an alert; what is closed at a time nobody told ended when it was last written."""
    is_closed = text_at(alert, "status") == "closed"
    return {
        "source_id": text_at(alert, "id"),
        "fingerprint": text_at(alert, "alias") or text_at(alert, "id"),
        "started_at": text_at(alert, "createdAt"),
        "name": text_at(alert, "message"),
        "severity": text_at(alert, "priority"),
        "ended_at": (after(alert, "closeTime") or text_at(alert, "updatedAt")) if is_closed else None,
        **tagged(alert, options),
    }


def incident_row(alert: Record, options: Options) -> dict[str, Any]:
    """Return an alert as the incident it is; nobody acknowledged what was only closed."""
    is_closed, created, place = text_at(alert, "status") == "closed", text_at(alert, "createdAt"), tagged(alert, options)
    return {
        "incident_id": text_at(alert, "id"),
        "title": text_at(alert, "message"),
        "severity": options.severity(text_at(alert, "priority"), SEVERITIES),
        "status": "resolved" if is_closed else "open",
        "mode": "real",
        "services": [name for name in [place.pop("service")] if name],
        "started_at": created,
        "detected_at": created,
        "declared_at": created,
        "acknowledged_at": after(alert, "ackTime"),
        "resolved_at": (after(alert, "closeTime") or text_at(alert, "updatedAt")) if is_closed else None,
        "detection_method": "monitor",
        "updated_at": text_at(alert, "updatedAt"),
        **place,
    }


def event_row(alert: Record, said: Record) -> dict[str, Any]:
    """Return a line of an alert's log; its cursor makes it unique."""
    line, when, owner = text_at(said, "log") or "", text_at(said, "createdAt"), text_at(said, "owner")
    is_note = "note" in (text_at(said, "type") or "").casefold()
    return {
        "event_id": f"{text_at(alert, 'id')}/{text_at(said, 'offset') or when}",
        "incident_id": text_at(alert, "id"),
        "kind": "note" if is_note else next((kind for kind, words in KINDS.items() if re.search(words, line, re.IGNORECASE)), "log"),
        "text": line if is_note else None,
        "author_token": None if owner in (None, "System") else owner,
        "occurred_at": when,
        "recorded_at": when,
    }


def open(row: SourceRow, settings: Settings) -> Alerts:
    """Return the account a row of sources.yml declares.

    Raises:
        ConfigError: an option or the connection does not fit.
    """
    options = check_options(row, Options)
    if options.service == "jsm" and not options.cloud_id:
        raise ConfigError(f"source {row.name!r}: give `cloud_id`; https://<site>.atlassian.net/_edge/tenant_info shows it")
    endpoint = hosted(resolve(row.name, row.connection), APIS[options.service].url)
    endpoint.secret()
    return Alerts(row, settings, endpoint, options)
