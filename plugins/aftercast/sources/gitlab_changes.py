"""The `gitlab` kind: deployments, releases or merge requests of projects, and incidents when asked for.

Lists are narrowed by when a record was updated and come newest first, without an upper end: a record written meanwhile can come twice, and
none is passed over. GitLab refuses a filter by a time that it is not sorted by. One pipeline can make several deployments, each of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from aftercast.connections import Endpoint, resolve
from aftercast.declarations import SourceRow
from aftercast.settings import Settings, check_options, raw_folder
from aftercast.sources import Batch
from aftercast.sources.lifecycle import Record, Severity, at, batch, hosted, is_due, iso, moment, nothing, text_at
from aftercast.sources.places import Place, attributes, linked
from aftercast.sources.quoting import segment
from aftercast.sources.web import Page, Request, Web, records
from aftercast.window import Window

URL = "https://gitlab.com"
PAGE = 100
RESULTS = {"success": "success", "failed": "failure", "canceled": "aborted"}
NOT_RUN = ("skipped", "created", "blocked")  # nothing was changed, or not yet
SEVERITIES: dict[str, Severity] = {"critical": "sev1", "high": "sev2", "medium": "sev3", "low": "sev4", "unknown": "unknown"}


class Options(Place):
    """Options of a `gitlab` source.

    `projects` are paths or ids. With `only_finished`, deployments are found by when they ended well; others are not seen. The version
    before is looked for among the last `lookback` deployments that ended well before.
    """

    projects: tuple[str, ...] = Field(min_length=1)
    from_: Literal["deployments", "releases", "merge_requests"] = Field(default="deployments", alias="from")
    version: Literal["sha", "ref"] = "sha"
    only_finished: bool = False
    branch: str | None = None
    incidents: bool = False
    severities: dict[str, Severity] = Field(default_factory=dict)
    lookback: int = Field(default=20, ge=0, le=PAGE)

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.branch and self.from_ != "merge_requests":
            raise ValueError("`branch` narrows merge requests only")
        return self


@dataclass(frozen=True, slots=True)
class GitLab:
    """Projects, and what of them lands."""

    row: SourceRow
    settings: Settings
    endpoint: Endpoint
    options: Options

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield the changes of a page, then its incidents, project by project."""
        yield from nothing(f"GET {self.endpoint.base_url}/api/v4/projects", "changes", *(["incidents"] if self.options.incidents else []))
        keep = raw_folder(self.settings, self.row, window)
        with Web(self.row.name, self.endpoint, headers={"PRIVATE-TOKEN": self.endpoint.secret()}, keep=keep) as web:
            for project in self.options.projects:
                for page in self._changed(web, project, window):
                    found = [
                        row for one in records(page, source=self.row.name) if (row := self._row(web, project, one, window)) is not None
                    ]
                    yield batch("changes", found, page.origin)
                for page in (
                    self._listed(web, f"{_api(project)}/issues", window, issue_type="incident", scope="all")
                    if self.options.incidents
                    else ()
                ):
                    due = [one for one in records(page, source=self.row.name) if _is_due(one, window, "created_at")]
                    yield batch("incidents", (row for one in due if (row := self._incident(project, one)) is not None), page.origin)

    def _changed(self, web: Web, project: str, window: Window) -> Iterator[Page]:
        since = iso(window.start)
        if self.options.from_ == "releases":

            def following(page: Page) -> Request | None:
                times = [moment(text_at(one, "released_at")) for one in records(page, source=self.row.name)]
                known = [instant for instant in times if instant]
                return None if known and max(known) < window.start else linked(page)

            params: dict[str, str | int] = {"order_by": "released_at", "sort": "desc", "per_page": PAGE}
            return web.walk(Request(f"{_api(project)}/releases", params), following)
        if self.options.from_ == "merge_requests":
            branch = {"target_branch": self.options.branch} if self.options.branch else {}
            return self._listed(web, f"{_api(project)}/merge_requests", window, state="merged", **branch)
        if self.options.only_finished:
            ended: dict[str, str | int] = {
                "finished_after": since,
                "order_by": "finished_at",
                "status": "success",
                "sort": "desc",
                "per_page": PAGE,
            }
            return web.walk(Request(f"{_api(project)}/deployments", ended), linked)
        return self._listed(web, f"{_api(project)}/deployments", window)

    def _listed(self, web: Web, path: str, window: Window, **params: str) -> Iterator[Page]:
        order: dict[str, str | int] = {"updated_after": iso(window.start), "order_by": "updated_at", "sort": "desc", "per_page": PAGE}
        return web.walk(Request(path, {**order, **params}), linked)

    def _row(self, web: Web, project: str, record: Record, window: Window) -> dict[str, Any] | None:
        if self.options.from_ == "releases":
            found = release_row(project, record) if _is_due(record, window, "released_at") else None
        elif self.options.from_ == "merge_requests":
            found = merge_row(project, record) if _is_due(record, window, "merged_at") else None
        else:
            found = deployment_row(project, record, self.options) if _is_due(record, window, "created_at") else None
        environment = text_at(record, "environment", "name")
        place = self.options.of({**record, "project": project}, service=project.rsplit("/", 1)[-1], environment=environment)
        if found is None or place is None:
            return None
        if self.options.from_ == "deployments" and environment:
            found |= self._replaced(web, project, record, found)
        return {**found, **place}

    def _replaced(self, web: Web, project: str, record: Record, row: dict[str, Any]) -> dict[str, Any]:
        """The version that ran in the environment before, and whether the row puts an earlier one back."""
        created = moment(text_at(record, "created_at"))
        if created is None or not self.options.lookback:
            return {}
        before: dict[str, str | int] = {"finished_before": iso(created), "order_by": "finished_at", "status": "success", "sort": "desc"}
        params = {**before, "environment": text_at(record, "environment", "name") or "", "per_page": self.options.lookback}
        page = web.ask(Request(f"{_api(project)}/deployments", params))
        earlier = [text_at(one, self.options.version) for one in records(page, source=self.row.name) if one.get("id") != record.get("id")]
        if not earlier:
            return {}
        is_rollback = row["version"] != earlier[0] and row["version"] in earlier
        return {"previous_version": earlier[0], "kind": "rollback" if is_rollback else "deploy"}

    def _incident(self, project: str, record: Record) -> dict[str, Any] | None:
        place = self.options.of({**record, "project": project}, service=project.rsplit("/", 1)[-1])
        if place is None:
            return None
        created, closed = text_at(record, "created_at"), text_at(record, "closed_at")
        word, over = (text_at(record, "severity") or "unknown").casefold(), text_at(record, "state") == "closed"
        severities = {**SEVERITIES, **{theirs.casefold(): ours for theirs, ours in self.options.severities.items()}}
        return {
            "incident_id": f"{project}/issues/{text_at(record, 'iid')}",
            "title": text_at(record, "title"),
            "summary": text_at(record, "description"),
            "severity": severities.get(word, word),
            "status": "closed" if over else "open",
            "mode": "real",
            "services": [place["service"]] if place["service"] else [],
            "started_at": created,
            "declared_at": created,
            "resolved_at": closed if over else None,
            "detection_method": "unknown",
            "url": text_at(record, "web_url"),
            "updated_at": text_at(record, "updated_at"),
            "environment": place["environment"],
            "region": place["region"],
        }


def _api(project: str) -> str:
    return f"/api/v4/projects/{segment(project)}"


def _is_due(record: Record, window: Window, began: str) -> bool:
    return is_due(window, created=text_at(record, began), updated=[text_at(record, "updated_at") or text_at(record, began)])


def deployment_row(project: str, record: Record, options: Options) -> dict[str, Any] | None:
    """Return a deployment; None when it did not run (yet)."""
    status, job = text_at(record, "status") or "", at(record, "deployable")
    if status in NOT_RUN:
        return None
    ref, sha, environment = text_at(record, "ref"), text_at(record, "sha"), text_at(record, "environment", "name")
    finished = text_at(record, "finished_at") or text_at(job, "finished_at") or text_at(record, "updated_at")
    return {
        "change_id": f"{project}/deployments/{text_at(record, 'id')}",
        "kind": "deploy",
        "title": f"{text_at(job, 'name') or 'deploy'} {ref or sha} to {environment}",
        "started_at": text_at(job, "started_at") or text_at(record, "created_at"),
        "finished_at": finished if status in RESULTS else None,
        "result": RESULTS.get(status, "unknown"),
        "version": (ref if options.version == "ref" else sha) or sha or ref,
        "committed_at": text_at(job, "commit", "created_at"),
        "actor_token": text_at(record, "user", "username"),
        "url": text_at(job, "web_url") or text_at(job, "pipeline", "web_url"),
        "planned": False,
        "attributes": attributes(pipeline=text_at(job, "pipeline", "id"), ref=ref, sha=sha),
    }


def release_row(project: str, record: Record) -> dict[str, Any] | None:
    """Return a release as a deployment of its tag; None when it is announced only."""
    released, tag = text_at(record, "released_at"), text_at(record, "tag_name")
    if record.get("upcoming_release"):
        return None
    return {
        "change_id": f"{project}/releases/{tag}",
        "kind": "deploy",
        "title": text_at(record, "name") or tag,
        "started_at": released,
        "finished_at": released,
        "result": "success",
        "version": tag,
        "actor_token": text_at(record, "author", "username"),
        "url": text_at(record, "_links", "self"),
        "planned": False,
    }


def merge_row(project: str, record: Record) -> dict[str, Any]:
    """Return a merge request as a deployment of what it merged."""
    merged, title = text_at(record, "merged_at"), text_at(record, "title")
    return {
        "change_id": f"{project}/merge_requests/{text_at(record, 'iid')}",
        "kind": "rollback" if (title or "").startswith('Revert "') else "deploy",
        "title": title,
        "started_at": merged,
        "finished_at": merged,
        "result": "success",
        "version": text_at(record, "merge_commit_sha") or text_at(record, "squash_commit_sha") or text_at(record, "sha"),
        "actor_token": text_at(record, "merge_user", "username") or text_at(record, "author", "username"),
        "url": text_at(record, "web_url"),
        "planned": False,
        "attributes": attributes(ref=text_at(record, "target_branch")),
    }


def open(row: SourceRow, settings: Settings) -> GitLab:
    """Return the projects a row of sources.yml declares.

    Raises:
        ConfigError: an option or the connection does not fit.
    """
    options = check_options(row, Options)
    endpoint = hosted(resolve(row.name, row.connection), URL)
    endpoint.secret()
    return GitLab(row, settings, endpoint, options)
