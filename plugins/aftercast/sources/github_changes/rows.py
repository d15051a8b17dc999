"""What GitHub's records are as rows: deployments by the history of their status, releases, runs of a workflow, merged pull requests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from aftercast.sources.lifecycle import Record, at, text_at
from aftercast.sources.places import Place, attributes

RESULTS = {"success": "success", "failure": "failure", "error": "failure"}
CONCLUSIONS = {"success": "success", "failure": "failure", "timed_out": "failure", "startup_failure": "failure", "cancelled": "aborted"}
NO_RUN = ("skipped", "neutral")  # conclusions of a run that did nothing


class Options(Place):
    """Options of a `github` source.

    `from` says what a change is. A deployment is known by `version`: its commit (`sha`) or what was asked for (`ref`). Runs need the file
    name of their `workflow`; runs and pull requests can be narrowed to a `branch`. Issues with a `label` are no changes but action items;
    with `shipped_by` it is looked up which change shipped them.
    """

    repositories: tuple[str, ...] = Field(min_length=1)
    from_: Literal["deployments", "releases", "workflow_runs", "pull_requests", "issues"] = Field(default="deployments", alias="from")
    version: Literal["sha", "ref"] = "sha"
    workflow: str | None = None
    branch: str | None = None
    label: str = "aftercast"
    shipped_by: Literal["pull_requests", "deployments"] | None = None
    transient: bool = False
    prereleases: bool = False
    reread_days: int = Field(default=7, ge=0, le=3_660)
    lookback_days: int = Field(default=30, ge=0, le=3_660)

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        for repository in self.repositories:
            if len([part for part in repository.split("/") if part]) != 2:
                raise ValueError(f"repository {repository!r} is not written owner/name")
        if (self.from_ == "workflow_runs") != (self.workflow is not None):
            raise ValueError("give `workflow` (the name of its file, such as deploy.yml) with `from: workflow_runs`, and only there")
        return self


def _row(options: Options, repository: str, record: Record, environment: str | None = None, **found: Any) -> dict[str, Any] | None:
    place = options.of({**record, "repository": repository}, service=repository.split("/")[1], environment=environment)
    if place is None:
        return None
    return {"kind": "deploy", "source_id": found["change_id"], "planned": False, **found, **place}


def _with_payload(record: Record) -> Record:
    """A deployment whose payload, which may be JSON as text, can be looked into."""
    payload = record.get("payload")
    if isinstance(payload, str) and payload.lstrip().startswith("{"):
        try:
            return {**record, "payload": json.loads(payload)}
        except ValueError:
            return record
    return record


def deployment_row(repository: str, record: Record, options: Options) -> dict[str, Any] | None:
    """Return a deployment without what its statuses tell; None when it is left out."""
    if record.get("transient_environment") is True and not options.transient:
        return None
    environment = text_at(record, "environment") or text_at(record, "original_environment")
    ref, sha = text_at(record, "ref"), text_at(record, "sha")
    return _row(
        options,
        repository,
        _with_payload(record),
        environment,
        change_id=f"{repository}/deployments/{text_at(record, 'id')}",
        title=text_at(record, "description") or f"{text_at(record, 'task') or 'deploy'} {ref or sha} to {environment}",
        started_at=text_at(record, "created_at"),
        result="unknown",
        version=(ref if options.version == "ref" else sha) or sha or ref,
        actor_token=text_at(record, "creator", "login"),
        attributes=attributes(ref=ref, sha=sha),
    )


def outcome(statuses: Sequence[Record]) -> dict[str, Any]:
    """Return how a deployment went by its statuses, in any order.

    The last status that ends it counts, from when it was first said: a deployment that another one replaced becomes `inactive`, which says
    nothing of how it went, unless nothing else was said.
    """
    said = sorted(statuses, key=lambda one: (text_at(one, "created_at") or "", at(one, "id") or 0))
    begun = [text_at(one, "created_at") for one in said if text_at(one, "state") == "in_progress"]
    ended = [one for one in said if text_at(one, "state") in RESULTS]
    found: dict[str, Any] = {"started_at": begun[0]} if begun else {}
    if ended:
        result = RESULTS[text_at(ended[-1], "state") or ""]
        first = list(takewhile(lambda one: RESULTS[text_at(one, "state") or ""] == result, reversed(ended)))[-1]
        link = text_at(ended[-1], "log_url") or text_at(ended[-1], "target_url") or text_at(ended[-1], "environment_url")
        return {**found, "result": result, "finished_at": text_at(first, "created_at"), "url": link}
    given_up = [text_at(one, "created_at") for one in said if text_at(one, "state") == "inactive"]
    return {**found, "result": "aborted", "finished_at": given_up[0]} if given_up else found


def release_row(repository: str, record: Record, options: Options) -> dict[str, Any] | None:
    """Return a release as a deployment of its tag; None for drafts."""
    if record.get("draft") or (record.get("prerelease") and not options.prereleases):
        return None
    tag, published = text_at(record, "tag_name"), text_at(record, "published_at")
    return _row(
        options,
        repository,
        record,
        change_id=f"{repository}/releases/{text_at(record, 'id')}",
        title=text_at(record, "name") or tag,
        started_at=published,
        finished_at=published,
        result="success",
        version=tag,
        actor_token=text_at(record, "author", "login"),
        url=text_at(record, "html_url"),
    )


def run_row(repository: str, record: Record, options: Options) -> dict[str, Any] | None:
    """Return a run of a workflow, its latest attempt; None when it did nothing."""
    conclusion, is_over = text_at(record, "conclusion"), text_at(record, "status") == "completed"
    if conclusion in NO_RUN:
        return None
    return _row(
        options,
        repository,
        record,
        change_id=f"{repository}/runs/{text_at(record, 'id')}",
        title=text_at(record, "display_title") or text_at(record, "name"),
        started_at=text_at(record, "run_started_at") or text_at(record, "created_at"),
        finished_at=text_at(record, "updated_at") if is_over else None,
        result=CONCLUSIONS.get(conclusion or "", "unknown"),
        version=text_at(record, "head_sha"),
        committed_at=text_at(record, "head_commit", "timestamp"),
        actor_token=text_at(record, "triggering_actor", "login") or text_at(record, "actor", "login"),
        url=text_at(record, "html_url"),
        attributes=attributes(attempt=text_at(record, "run_attempt"), ref=text_at(record, "head_branch")),
    )


def pull_row(repository: str, record: Record, options: Options) -> dict[str, Any] | None:
    """Return a pull request as a deployment of what it merged; None when it was not merged."""
    merged = text_at(record, "merged_at")
    if merged is None:
        return None
    title = text_at(record, "title")
    return _row(
        options,
        repository,
        record,
        change_id=f"{repository}/pulls/{text_at(record, 'number')}",
        kind="rollback" if (title or "").startswith('Revert "') else "deploy",
        title=title,
        started_at=merged,
        finished_at=merged,
        result="success",
        version=text_at(record, "merge_commit_sha"),
        actor_token=text_at(record, "user", "login"),
        url=text_at(record, "html_url"),
        attributes=attributes(ref=text_at(record, "base", "ref")),
    )


def is_same_place(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two changes concern one service in one environment."""
    return all(row[name] == other[name] for name in ("service", "environment", "region"))
