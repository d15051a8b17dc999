"""Deployments of a repository, listed newest first no further than is asked for, with how they went and what each replaced.

GitHub lists deployments by their creation only and says how they went in a list of its own for each. That list is asked for once, for
deployments that land and for the few before them that tell what was replaced. It keeps statuses for 90 days.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from aftercast.sources.github_changes.rows import Options, deployment_row, is_same_place, outcome
from aftercast.sources.lifecycle import Record, moment, text_at
from aftercast.sources.places import linked
from aftercast.sources.quoting import folders, segment
from aftercast.sources.web import Page, Request, Web, records

PAGE = 100


class Deployments:
    """The deployments of one repository."""

    def __init__(self, web: Web, source: str, repository: str, options: Options) -> None:
        self._web, self._source, self._repository, self._options = web, source, repository, options
        self._pages: Iterator[Page] = web.walk(Request(f"/repos/{folders(repository)}/deployments", {"per_page": PAGE}), linked)
        self._listed: list[tuple[Record, str]] = []
        self._outcomes: dict[str | None, dict[str, Any]] = {}

    def from_position(self, position: int) -> Iterator[tuple[int, Record, str]]:
        """Yield position, deployment and the page it is on, from a position of the list on towards older ones."""
        while True:
            while position < len(self._listed):
                yield (position, *self._listed[position])
                position += 1
            page = next(self._pages, None)
            if page is None:
                return
            self._listed += [(one, page.origin) for one in records(page, source=self._source)]

    def row(self, position: int) -> dict[str, Any] | None:
        """Return the deployment at a position as a row; None when it is left out."""
        record, _ = self._listed[position]
        row = deployment_row(self._repository, record, self._options)
        if row is None:
            return None
        previous, is_rollback = self._replaced(position, row)
        return {**row, **self._outcome(record), "previous_version": previous, "kind": "rollback" if is_rollback else "deploy"}

    def _outcome(self, record: Record) -> dict[str, Any]:
        id_ = text_at(record, "id")
        if id_ not in self._outcomes:
            request = Request(f"/repos/{folders(self._repository)}/deployments/{segment(id_)}/statuses", {"per_page": PAGE})
            said = [one for page in self._web.walk(request, linked) for one in records(page, source=self._source)]
            self._outcomes[id_] = outcome(said)
        return self._outcomes[id_]

    def _replaced(self, position: int, row: dict[str, Any]) -> tuple[str | None, bool]:
        """The version that ran there before, and whether the row puts an earlier one back.

        Looked for among the successful deployments of the days before it: what a row says does not depend on the window that finds it.
        """
        created = moment(row["started_at"])
        previous: str | None = None
        for _, record, _ in self.from_position(position + 1):
            born = moment(text_at(record, "created_at"))
            if created and born and born < created - timedelta(days=self._options.lookback_days):
                break
            earlier = deployment_row(self._repository, record, self._options)
            if earlier is None or not is_same_place(row, earlier) or (previous is not None and earlier["version"] != row["version"]):
                continue
            if self._outcome(record).get("result") != "success":
                continue
            if previous is not None or earlier["version"] == row["version"]:
                return previous or earlier["version"], previous is not None
            previous = earlier["version"]
        return previous, False
