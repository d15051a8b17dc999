"""The `github` kind: deployments, or for repositories that use none, releases, runs of a workflow or merged pull requests. Or issues.

Deployments have no filter by time. They are listed newest first until those created `reread_days` before the window, because one may wait
for an approval, run long, or be replaced; what was written since the window began lands, with all that its history of statuses tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from aftercast.connections import Endpoint, github
from aftercast.declarations import SourceRow
from aftercast.errors import SourceRejected
from aftercast.settings import Settings, check_options, raw_folder
from aftercast.sources import Batch
from aftercast.sources.github_changes.deployments import PAGE, Deployments
from aftercast.sources.github_changes.issues import issues
from aftercast.sources.github_changes.rows import Options, pull_row, release_row, run_row
from aftercast.sources.lifecycle import Record, at, batch, is_due, iso, moment, nothing, text_at
from aftercast.sources.places import linked
from aftercast.sources.quoting import folders, segment
from aftercast.sources.web import Page, Request, Web, records
from aftercast.window import Window

MOST = 1_000  # runs that a list narrowed by time shows


@dataclass(frozen=True, slots=True)
class GitHub:
    """Repositories, and what of them lands."""

    row: SourceRow
    settings: Settings
    endpoint: Endpoint
    headers: Mapping[str, str]
    options: Options

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield the changes of a page, repository by repository."""
        keep = raw_folder(self.settings, self.row, window)
        find = {
            "deployments": self._deployments,
            "releases": self._releases,
            "workflow_runs": self._runs,
            "pull_requests": self._pulls,
            "issues": self._issues,
        }
        entity = "action_items" if self.options.from_ == "issues" else "changes"
        with Web(self.row.name, self.endpoint, headers=self.headers, keep=keep) as web:
            yield from nothing(f"GET {self.endpoint.base_url}/repos", entity)
            for repository in self.options.repositories:
                for origin, rows in groupby(find[self.options.from_](web, repository, window), key=lambda found: found[0]):
                    yield batch(entity, [row for _, row in rows if row is not None], origin)

    def _deployments(self, web: Web, repository: str, window: Window) -> Iterator[tuple[str, dict[str, Any] | None]]:
        deployments = Deployments(web, self.row.name, repository, self.options)
        for position, record, origin in deployments.from_position(0):
            created, updated = text_at(record, "created_at"), text_at(record, "updated_at")
            if (born := moment(created)) and born < self._horizon(window):
                return
            if is_due(window, created=created, updated=[updated]):
                yield origin, deployments.row(position)

    def _releases(self, web: Web, repository: str, window: Window) -> Iterator[tuple[str, dict[str, Any] | None]]:
        """Releases are listed by the time of what they release, not by that of their publication."""

        def following(page: Page) -> Request | None:
            times = [moment(text_at(one, name)) for one in records(page, source=self.row.name) for name in ("created_at", "published_at")]
            known = [instant for instant in times if instant]
            return None if known and max(known) < self._horizon(window) else linked(page)

        for page in web.walk(Request(f"/repos/{folders(repository)}/releases", {"per_page": PAGE}), following):
            for one in records(page, source=self.row.name):
                published = text_at(one, "published_at")
                if is_due(window, created=published, updated=[published, text_at(one, "updated_at")]):
                    yield page.origin, release_row(repository, one, self.options)

    def _runs(self, web: Web, repository: str, window: Window) -> Iterator[tuple[str, dict[str, Any] | None]]:
        branch = {"branch": self.options.branch} if self.options.branch else {}
        first = Request(
            f"/repos/{folders(repository)}/actions/workflows/{segment(self.options.workflow)}/runs", {"per_page": PAGE, **branch}
        )
        for page in self._between(web, first, self._horizon(window), window.end):
            for one in records(page, "workflow_runs", source=self.row.name):
                if is_due(window, created=text_at(one, "created_at"), updated=[text_at(one, "updated_at")]):
                    yield page.origin, run_row(repository, one, self.options)

    def _between(self, web: Web, request: Request, start: datetime, end: datetime) -> Iterator[Page]:
        """The pages of runs created between two instants, halved while more were than can be listed."""
        pages = web.walk(request.with_params(created=f"{iso(start)}..{iso(end)}"), linked)
        first = next(pages)
        total = at(first.data, "total_count")
        if isinstance(total, int) and total > MOST:
            if end - start <= timedelta(seconds=2):
                raise SourceRejected(
                    f"source {self.row.name!r}: {first.origin}: more than {MOST:,} runs within two seconds of {iso(start)}"
                )
            middle = (start + (end - start) / 2).replace(microsecond=0)
            yield from self._between(web, request, start, middle)
            yield from self._between(web, request, middle, end)
            return
        yield first
        yield from pages

    def _pulls(self, web: Web, repository: str, window: Window) -> Iterator[tuple[str, dict[str, Any] | None]]:
        def updated(record: Record) -> datetime | None:
            return moment(text_at(record, "updated_at"))

        def following(page: Page) -> Request | None:
            known = [instant for one in records(page, source=self.row.name) if (instant := updated(one))]
            return None if known and min(known) < window.start else linked(page)

        branch = {"base": self.options.branch} if self.options.branch else {}
        params: dict[str, str | int] = {"state": "closed", "sort": "updated", "direction": "desc", "per_page": PAGE, **branch}
        for page in web.walk(Request(f"/repos/{folders(repository)}/pulls", params), following):
            for one in records(page, source=self.row.name):
                if is_due(window, created=text_at(one, "merged_at"), updated=[text_at(one, "updated_at")]):
                    yield page.origin, pull_row(repository, one, self.options)

    def _issues(self, web: Web, repository: str, window: Window) -> Iterator[tuple[str, dict[str, Any] | None]]:
        return issues(web, self.row.name, repository, self.options, window)

    def _horizon(self, window: Window) -> datetime:
        return window.start - timedelta(days=self.options.reread_days)


def open(row: SourceRow, settings: Settings) -> GitHub:
    """Return the repositories a row of sources.yml declares.

    Raises:
        ConfigError: an option or the connection does not fit.
    """
    options = check_options(row, Options)
    endpoint, headers = github(row.name, row.connection)
    return GitHub(row, settings, endpoint, headers, options)
