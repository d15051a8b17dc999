"""Issues with a label as action items, as they are by now, with the change that shipped them where GitHub knows it.

An issue that carries an item of ours says so in its body (`aftercast.tickets`) and lands as that item. What shipped it is the last merged
pull request that refers to it before it was closed; `shipped_by` says whether such a pull request or the deployment of its merge is the
change that lands elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aftercast import tickets
from aftercast.sources.github_changes.rows import Options
from aftercast.sources.lifecycle import Record, at, is_due, iso, moment, text_at
from aftercast.sources.places import linked
from aftercast.sources.quoting import folders, segment
from aftercast.sources.web import Request, Web, records
from aftercast.window import Window

PAGE = 100
NOT_DONE = ("not_planned", "duplicate")  # reasons of closing


def issue_row(repository: str, record: Record) -> dict[str, Any]:
    """Return an issue as the action item it is by now; each time it is written makes a version."""
    updated, reason = text_at(record, "updated_at"), text_at(record, "state_reason")
    written, is_closed = moment(updated), text_at(record, "state") == "closed"
    status = ("cancelled" if reason in NOT_DONE else "done") if is_closed else "reopened" if reason == "reopened" else "open"
    return {
        "action_item_id": f"{repository}#{text_at(record, 'number')}",
        "due_at": text_at(record, "milestone", "due_on"),
        **tickets.read_block(text_at(record, "body")),
        "source_id": text_at(record, "id"),
        "version": int(written.timestamp()) if written else None,
        "title": text_at(record, "title"),
        "status": status,
        "created_at": text_at(record, "created_at"),
        "done_at": text_at(record, "closed_at") if status == "done" else None,
        "updated_at": updated,
        "url": text_at(record, "html_url"),
    }


def issues(web: Web, source: str, repository: str, options: Options, window: Window) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yield the page and the row of every issue with the label that was written since the window began."""
    asked = {
        "state": "all",
        "labels": options.label,
        "since": iso(window.start),
        "sort": "created",
        "direction": "asc",
        "per_page": str(PAGE),
    }
    for page in web.walk(Request(f"/repos/{folders(repository)}/issues", asked), linked):
        for one in records(page, source=source):
            if "pull_request" not in one and is_due(window, created=text_at(one, "created_at"), updated=[text_at(one, "updated_at")]):
                row = issue_row(repository, one)
                shipped = _shipped(web, source, repository, one, options) if row["status"] == "done" and options.shipped_by else None
                yield page.origin, row | {"shipped_change_id": shipped}


def _shipped(web: Web, source: str, repository: str, record: Record, options: Options) -> str | None:
    """The change that shipped an issue; None when nothing tells."""
    closed, best = moment(text_at(record, "closed_at")), None
    for page in web.walk(
        Request(f"/repos/{folders(repository)}/issues/{segment(text_at(record, 'number') or '')}/timeline", {"per_page": PAGE}), linked
    ):
        for event in records(page, source=source):
            pull = at(event, "source", "issue")
            merged = moment(text_at(pull, "pull_request", "merged_at"))
            is_own = text_at(pull, "repository", "full_name") in (None, repository)
            if text_at(event, "event") == "cross-referenced" and is_own and merged and closed and merged <= closed:
                best = max(best or (merged, ""), (merged, text_at(pull, "number") or ""))
    if best is None:
        return None
    if options.shipped_by == "pull_requests":
        return f"{repository}/pulls/{best[1]}"
    commit = text_at(web.ask(Request(f"/repos/{folders(repository)}/pulls/{segment(best[1])}")).data, "merge_commit_sha")
    if commit is None:
        return None
    page = web.ask(Request(f"/repos/{folders(repository)}/deployments", {"sha": commit, "per_page": PAGE}))
    known = sorted((text_at(one, "created_at") or "", text_at(one, "id") or "") for one in records(page, source=source))
    return f"{repository}/deployments/{known[0][1]}" if known else None
