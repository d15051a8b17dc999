"""What issues are as rows: incidents with a lifecycle read from fields and changes of status, or action items."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from aftercast import tickets
from aftercast.entities import ENTITIES
from aftercast.sources.lifecycle import Record, Tracker, at, earliest, from_milliseconds, items_at, latest, moment, text, text_at

SEVERITIES = {
    **dict.fromkeys(("highest", "blocker", "critical", "p1", "sev1"), "sev1"),
    **dict.fromkeys(("high", "major", "p2", "sev2"), "sev2"),
    **dict.fromkeys(("medium", "p3", "sev3"), "sev3"),
    **dict.fromkeys(("low", "lowest", "minor", "trivial", "p4", "p5", "sev4"), "sev4"),
}
STATUSES: dict[str, tuple[str, ...]] = {
    "acknowledged_at": ("Acknowledged", "In Progress", "Investigating", "Work in progress"),
    "mitigated_at": ("Mitigated", "Monitoring"),
    "resolved_at": ("Resolved", "Done", "Closed"),
}
CANCELLED = ("Canceled", "Cancelled", "Cannot Reproduce", "Declined", "Duplicate", "Rejected", "Won't Do", "Won't Fix")
ALWAYS = ("summary", "description", "status", "priority", "created", "updated", "resolutiondate", "resolution", "components", "duedate")
ASKED = (*ALWAYS, "issuelinks", "parent")
ITEM_STATUS = {"new": "open", "indeterminate": "in_progress", "done": "done"}
_MENTION = re.compile(r"\[~[^\]]*\]")


class Options(Tracker):
    """Options of a `jira` source.

    `jql` says which issues, `as` what they are. `fields` maps a column of ours to the id of a field of theirs. `statuses` says which names
    of status begin a stage of an incident; `status_words` maps names of status to the status of an action item. The incident of an action
    item is its parent or the first linked issue of `incident_project`. Links lead to `site`, by default the host of the connection.
    """

    jql: str = Field(min_length=1)
    as_: Literal["incidents", "action_items"] = Field(alias="as")
    edition: Literal["cloud", "datacenter"] = "cloud"
    fields: dict[str, str] = Field(default_factory=dict)
    statuses: dict[Literal["acknowledged_at", "mitigated_at", "resolved_at"], tuple[str, ...]] = Field(default_factory=dict)
    status_words: dict[str, Literal["open", "in_progress", "done", "verified", "reopened", "cancelled"]] = Field(default_factory=dict)
    cancelled: tuple[str, ...] = CANCELLED
    incident_project: str | None = None
    site: str | None = None

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if not self.jql.strip() or re.search(r"\border\s+by\b", self.jql, re.IGNORECASE):
            raise ValueError("jql says which issues, e.g. 'project = INC AND issuetype = Incident': not nothing, and without ORDER BY")
        known = set(ENTITIES[self.as_].columns) - set(ENTITIES[self.as_].key) - {"author_token"}
        if unknown := sorted(set(self.fields) - known):
            raise ValueError(f"fields: {self.as_} have no column {unknown[0]!r}; choose from {', '.join(sorted(known))}")
        return self

    @property
    def asked(self) -> list[str]:
        """The fields to ask for: by default a search returns ids only."""
        return [*dict.fromkeys((*ASKED, *self.fields.values()))]


def prose(value: Any) -> str | None:
    """Return the text of a rich document, or of plain text; mentions of people are left out."""
    if isinstance(value, str):
        return _MENTION.sub("", value).strip() or None
    if not isinstance(value, Mapping):
        return None
    if value.get("type") == "text":
        return text_at(value, "text")
    ends = "\n" if value.get("type") in ("paragraph", "heading", "listItem", "codeBlock") else ""
    said = "".join(prose(one) or "" for one in items_at(value, "content")) + ends
    return said.strip() if value.get("type") == "doc" else said


def values_of(value: Any) -> list[str]:
    """Return what a field holds as texts: plain values, names of options and components; people are left out."""
    if isinstance(value, list):
        return [one for each in value for one in values_of(each)]
    if isinstance(value, Mapping):
        if {"accountId", "displayName", "emailAddress"} & set(value):
            return []
        return values_of(next((value[name] for name in ("value", "name", "key") if value.get(name)), prose(value)))
    found = text(value)
    return [found] if found else []


def mapped(record: Record, options: Options) -> dict[str, Any]:
    """Return the columns that options map to fields, where the fields hold something."""
    found = {ours: values_of(at(record, "fields", theirs)) for ours, theirs in options.fields.items()}
    return {ours: values if ours == "services" else ", ".join(values) for ours, values in found.items() if values}


def event_rows(record: Record, histories: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the changes of status of an issue as events; `kind` is the status it moved to."""
    rows = []
    for history in histories:
        when = from_milliseconds(at(history, "created"))
        for number, item in enumerate(items_at(history, "items")):
            if text_at(item, "field") != "status":
                continue
            rows.append(
                {
                    "event_id": f"{text_at(record, 'id')}/{text_at(history, 'id')}" + (f"/{number}" if number else ""),
                    "incident_id": text_at(record, "key"),
                    "kind": text_at(item, "toString"),
                    "text": f"{text_at(item, 'fromString')} -> {text_at(item, 'toString')}",
                    "author_token": text_at(history, "author", "accountId") or text_at(history, "author", "key"),
                    "occurred_at": when,
                    "recorded_at": when,
                }
            )
    return rows


def _ending(record: Record, options: Options) -> tuple[bool, bool]:
    """Whether an issue is done, and whether it ended without having been what it said."""
    words = {text_at(record, "fields", name, "name") for name in ("resolution", "status")}
    is_done = text_at(record, "fields", "status", "statusCategory", "key") == "done"
    return is_done, is_done and bool(words & set(options.cancelled))


def incident_row(record: Record, story: Sequence[Record], options: Options, url: str) -> dict[str, Any]:
    """Return an issue as an incident: fields that are mapped win, then the changes of status, then the issue's own times."""
    fields, given = at(record, "fields"), mapped(record, options)
    names = {**STATUSES, **{str(stage): words for stage, words in options.statuses.items()}}
    is_done, is_cancelled = _ending(record, options)
    mitigated = given.get("mitigated_at") or earliest(story, *names["mitigated_at"])
    resolved = given.get("resolved_at") or text_at(fields, "resolutiondate") or latest(story, *names["resolved_at"])
    ended = "closed" if text_at(fields, "status", "name") == "Closed" else "resolved"
    return {
        "title": text_at(fields, "summary"),
        "summary": prose(at(fields, "description")),
        "mode": "real",
        "services": values_of(at(fields, "components")),
        "started_at": text_at(fields, "created"),
        "declared_at": text_at(fields, "created"),
        "acknowledged_at": earliest(story, *names["acknowledged_at"]),
        **options.place,
        **given,
        "incident_id": text_at(record, "key"),
        "source_id": text_at(record, "id"),
        "severity": options.severity(given.get("severity") or text_at(fields, "priority", "name"), SEVERITIES),
        "status": "cancelled" if is_cancelled else ended if is_done else "mitigated" if mitigated else "open",
        "mitigated_at": mitigated,
        "resolved_at": resolved if is_done else None,
        "url": url,
        "updated_at": text_at(fields, "updated"),
    }


def incident_of(record: Record, options: Options) -> str | None:
    """Return the key of the incident an action item belongs to: its parent, or the first linked issue of the incidents' project."""
    links = [one for link in items_at(record, "fields", "issuelinks") for one in (at(link, "inwardIssue"), at(link, "outwardIssue"))]
    keys = [text_at(one, "key") or "" for one in [at(record, "fields", "parent"), *links]]
    return next((key for key in keys if options.incident_project and key.startswith(f"{options.incident_project}-")), None)


def action_item_row(record: Record, options: Options, url: str) -> dict[str, Any]:
    """Return an issue as the action item it is by now; each time it is written makes a version.

    A ticket that carries an item of ours says so in its description (`aftercast.tickets`) and lands as that item.
    """
    carried = tickets.read_block(prose(at(record, "fields", "description")))
    fields, updated = at(record, "fields"), text_at(record, "fields", "updated")
    is_done, is_cancelled = _ending(record, options)
    written, category = moment(updated), text_at(fields, "status", "statusCategory", "key")
    status = options.status_words.get(text_at(fields, "status", "name") or "")
    return {
        "title": text_at(fields, "summary"),
        "incident_id": incident_of(record, options),
        "service": next(iter(values_of(at(fields, "components"))), None),
        "created_at": text_at(fields, "created"),
        "action_item_id": text_at(record, "key"),
        **carried,
        "due_at": text_at(fields, "duedate") or carried.get("due_at"),
        "done_at": text_at(fields, "resolutiondate") if is_done else None,
        **mapped(record, options),
        "source_id": text_at(record, "id"),
        "version": int(written.timestamp()) if written else None,
        "status": status or ("cancelled" if is_cancelled else ITEM_STATUS.get(category or "", category)),
        "updated_at": updated,
        "url": url,
    }
