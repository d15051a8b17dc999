"""The `jsm_ops` kind: alerts of Jira Service Management operations, and of Opsgenie until it ends on 5 April 2027.

Both tell when an alert was acknowledged and closed as milliseconds after its creation, in the alert itself. Alerts of the priorities in
`incidents` are incidents as well, with their log as events; other incidents of Jira Service Management are issues (kind `jira`), those of
Opsgenie land with `own_incidents`. Logs name people, so only notes are taken as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

from aftercast.connections import Endpoint, resolve
from aftercast.declarations import SourceRow
from aftercast.errors import ConfigError, SourceRejected
from aftercast.settings import Settings, check_options, raw_folder
from aftercast.sources import Batch
from aftercast.sources.jsm_ops import opsgenie_incidents
from aftercast.sources.jsm_ops.rows import SEVERITIES, Options, alert_row, event_row, incident_row
from aftercast.sources.lifecycle import Record, at, batch, hosted, is_due, milliseconds, moment, nothing, text_at
from aftercast.sources.quoting import segment
from aftercast.sources.web import Page, Request, Web, records, signed_in
from aftercast.window import Window

PAGE = 100
MOST = 20_000  # offset and size of a list may not add up to more


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
        return self.api.alerts.format(cloud_id=segment(self.options.cloud_id or "-"))

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield the alerts of a page, and of those that are incidents the incidents and their events."""
        with self._web(window) as web:
            events = ("incident_events",) if self.options.incidents else ()
            incidents = ("incidents",) if self.options.incidents or self.options.own_incidents else ()
            yield from nothing(f"GET {self.endpoint.base_url}{self.path}", "alerts", *incidents, *events)
            asked = f"updatedAt >= {milliseconds(window.start)} AND createdAt < {milliseconds(window.end)}"
            for page in self._listed(web, self.path, asked + (f" AND ({self.options.query})" if self.options.query else "")):
                found = records(page, self.api.rows, source=self.row.name)
                due = [one for one in found if is_due(window, created=text_at(one, "createdAt"), updated=[text_at(one, "updatedAt")])]
                alerts = [self._reported(web, one) for one in due]
                yield batch("alerts", [alert_row(one, self.options) for one in alerts], page.origin)
                major = [one for one in alerts if text_at(one, "priority") in self.options.incidents]
                if major:
                    yield batch("incidents", [incident_row(one, self.options) for one in major], page.origin)
                    logs = [event_row(one, said) for one in major for said in self._log(web, text_at(one, "id") or "")]
                    yield batch("incident_events", logs, page.origin)
            if self.options.own_incidents:
                yield from self._own(web, window)

    def _own(self, web: Web, window: Window) -> Iterator[Batch]:
        """Opsgenie's own incidents: they are found by creation only, so those of `reread_days` before are looked at again."""
        since = milliseconds(window.start - timedelta(days=self.options.reread_days))
        for page in self._listed(web, opsgenie_incidents.PATH, f"createdAt >= {since} AND createdAt < {milliseconds(window.end)}"):
            found = records(page, self.api.rows, source=self.row.name)
            due = [one for one in found if is_due(window, created=text_at(one, "createdAt"), updated=[text_at(one, "updatedAt")])]
            yield batch("incidents", [opsgenie_incidents.incident_row(one, self.options, SEVERITIES) for one in due], page.origin)

    def _web(self, window: Window) -> Web:
        keep = raw_folder(self.settings, self.row, window)
        if self.options.service == "jsm":
            return signed_in(self.row.name, self.endpoint, keep=keep)
        return Web(self.row.name, self.endpoint, headers={"Authorization": f"GenieKey {self.endpoint.secret()}"}, keep=keep)

    def _listed(self, web: Web, path: str, asked: str) -> Iterator[Page]:
        """What a query finds, oldest first; where the list may not go on, it begins anew at the last one seen."""
        reached = None
        while True:
            query = asked if reached is None else f"{asked} AND createdAt >= {milliseconds(reached)}"
            first = Request(path, {"query": query, "sort": "createdAt", "order": "asc", "offset": 0, self.api.size: PAGE})
            page = None
            for page in web.walk(first, self._following):
                yield page
            if page is None or not at(page.data, *self.api.next):
                return
            ended = moment(text_at(records(page, self.api.rows, source=self.row.name)[-1], "createdAt"))
            if ended is None or ended == reached:
                raise SourceRejected(f"source {self.row.name!r}: {page.origin}: more than {MOST:,} at one moment; narrow it by `query`")
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
        whole = web.ask(Request(f"{self.path}/{segment(text_at(alert, 'id') or '')}", accepted=(404,)))
        report = at(whole.data, "report") or at(whole.data, "data", "report")
        return {**alert, "report": report}

    def _log(self, web: Web, id_: str) -> Iterator[Record]:
        for page in web.walk(Request(f"{self.path}/{segment(id_)}/logs", {self.api.size: PAGE}), self._following):
            yield from records(page, self.api.rows, source=self.row.name)


def open(row: SourceRow, settings: Settings) -> Alerts:
    """Return the account a row of sources.yml declares.

    Raises:
        ConfigError: an option or the connection does not fit.
    """
    options = check_options(row, Options)
    if options.service == "jsm" and not options.cloud_id:
        raise ConfigError(f"source {row.name!r}: give `cloud_id`; https://<site>.atlassian.net/_edge/tenant_info shows it")
    if options.service == "jsm" and options.own_incidents:
        raise ConfigError(
            f"source {row.name!r}: `own_incidents` are Opsgenie's; those of Jira Service Management are issues, see kind `jira`"
        )
    endpoint = hosted(resolve(row.name, row.connection), APIS[options.service].url)
    endpoint.secret()
    return Alerts(row, settings, endpoint, options)
