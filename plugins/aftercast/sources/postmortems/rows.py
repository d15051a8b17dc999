"""What a postmortem says as rows: itself, what happened when, what is to be done, what was learnt. People are left out of every text."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import model_validator

from aftercast.declarations import Row
from aftercast.errors import ConfigError
from aftercast.prescriptions import parse
from aftercast.sources.lifecycle import text, text_at
from aftercast.sources.postmortems import timelines
from aftercast.sources.postmortems.documents import PEOPLE_LINE, TASK, Broken, Document, Line, items, tables

STATUSES = {"in review": "in_review", "review": "in_review", **dict.fromkeys(("final", "complete", "completed", "published"), "reviewed")}
DONE = {
    **dict.fromkeys(("todo", "to do", "not started", "new", "backlog"), "open"),
    **dict.fromkeys(("in progress", "doing", "started"), "in_progress"),
    **dict.fromkeys(("complete", "completed", "closed", "fixed", "resolved", "shipped"), "done"),
    **dict.fromkeys(("canceled", "wontfix", "won't fix", "won't do", "dropped"), "cancelled"),
}
STANDINGS = Literal["draft", "in_review", "reviewed", "closed"]
CAUSE = re.compile(r"^(change|service|provider):(\S.*)$|^none$")
OURS = re.compile(r"\s*\[E\d+\]")  # a piece of evidence of a draft of ours
TYPES = {"investigate", "mitigate", "repair", "detect", "prevent"}
COLUMNS = {  # of tables and of the words in brackets behind a task, to ours
    **dict.fromkeys(("action item", "action", "item", "task", "title", "description", "what"), "title"),
    **dict.fromkeys(("id", "bug", "ticket", "issue", "jira", "tracking"), "id"),
    **dict.fromkeys(("due", "due date", "deadline", "by"), "due_at"),
    **dict.fromkeys(("done", "done at", "completed", "closed"), "done_at"),
    **dict.fromkeys(("criterion", "success criterion", "success criteria", "done when"), "success_criterion"),
    **dict.fromkeys(("change", "shipped in", "change id"), "shipped_change_id"),
    **{name: name for name in ("owner", "type", "service", "status", "url", "created")},
    "team": "team",
    "owner team": "team",
}
BRACKETS = re.compile(r"\s*\(([^()]*:[^()]*)\)\s*$")
HANDLE = re.compile(r"(?<![\w/.@])@[A-Za-z][\w-]*(?:\.[\w-]+)*(?![\w/])")
FELT = {"well": "What went well", "badly": "What went wrong", "lucky": "Where we got lucky"}
NOBODY = {"@here", "@channel", "@everyone"}
ABOUT = frozenset({"id", "because", "confidence", "service"})  # what stands beside a prescription
NOTHING = {"", "-", "n/a", "none", "tbd", "?"}


class Options(Row):
    """Options of a `postmortems` source.

    `timezone` is that of times that name none, in documents that name none. A text that begins with one of `rules` says what to do; nothing
    else does. With `statuses` only documents in these states land. `owners_are_teams` says that no owner is a person; else only owners that
    teams.csv declares land.
    """

    inbox: str
    match: str = "*.md"
    timezone: str = "UTC"
    rules: tuple[str, ...] = ("RULE:",)
    owners_are_teams: bool = False
    statuses: tuple[STANDINGS, ...] = ()

    @model_validator(mode="after")
    def _zone_exists(self) -> Self:
        if self.timezone not in available_timezones():
            raise ValueError(f"unknown timezone {self.timezone!r}; use a name such as UTC or Europe/London")
        return self


@dataclass(slots=True)
class Found:
    """Rows by entity, each with its `line`; lines that are none (reason, raw, line) by entity; what was left out."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    bad: dict[str, list[tuple[str, str, int]]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)


def _listed(value: Any) -> list[str]:
    """A front-matter value that may be a list, or one written with commas."""
    found = value if isinstance(value, list) else re.split(r"[,;]", value) if isinstance(value, str) else []
    return [one.strip() for one in found if isinstance(one, str) and one.strip()]


def _first(front: Mapping[str, Any], *names: str) -> str | None:
    return next((found for name in names if (found := (text_at(front, name) or "").strip())), None)


def _instant(value: str | None, zone: str) -> datetime | None:
    """The instant a text names, in a zone if it names none; None when it names none."""
    try:
        found = datetime.fromisoformat((value or "").strip())
        return (found if found.tzinfo else found.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _time(value: str | None, zone: str) -> str | None:
    """A time as landing reads it; what is none stays as it is, for landing to judge."""
    found = _instant(value, zone)
    return found.isoformat() if found else value


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(" ".join(part.casefold().split()) for part in parts).encode()).hexdigest()[:12]


def _sentence(prescription: str) -> str:
    """What it prescribes in words; as written when it cannot be read."""
    try:
        return parse(prescription).sentence()
    except ConfigError:
        return prescription


def _standing(front: Mapping[str, Any]) -> str | None:
    """The state a document says it is in, in our words where we know its own."""
    status = (_first(front, "status") or "").casefold()
    return STATUSES.get(status.replace("_", " ").replace("-", " "), status) or None


def rows_of(document: Document, name: str, options: Options, teams: frozenset[str], token: Callable[[str], str]) -> Found:
    """Return what a document says.

    Raises:
        Broken: its front matter names no incident, or a zone that does not exist.
    """
    front = document.front
    incident, zone = _first(front, "incident_id", "incident"), _first(front, "timezone", "zone") or options.timezone
    if incident is None:
        raise Broken("front matter: missing incident_id", 1, "---")
    if zone not in available_timezones():
        raise Broken(f"front matter: unknown timezone {zone!r}", 1, "---")
    if options.statuses and _standing(front) not in options.statuses:
        return Found()
    return _Reader(document, name, options, teams, token, incident, zone).read()


@dataclass(frozen=True, slots=True)
class _Reader:
    """One document on its way to rows."""

    document: Document
    name: str
    options: Options
    teams: frozenset[str]
    token: Callable[[str], str]
    incident: str
    zone: str
    found: Found = field(default_factory=Found)

    def read(self) -> Found:
        front = self.document.front
        told = timelines.read(self.document.of("timeline"), self._day(), self.zone)
        self.found.bad["incident_events"] = [(reason, self._unnamed(raw), line) for reason, raw, line in told.bad]
        self.found.notes.update(told.notes)
        written = _first(front, "updated", "updated_at", "last_updated", "reviewed_at", "created", "created_at")
        begun = _first(front, "created", "created_at") or _first(front, "date")
        updated = _time(written, self.zone)
        if written is None:  # it was not written before what it tells of
            known = [one for one in (_instant(_first(front, "date"), self.zone), *(entry.moment for entry in told.entries)) if one]
            if not known:
                raise Broken("front matter: neither `updated` nor `date` says when it was written", 1, "---")
            updated = max(known).isoformat()
        given = _first(front, "version")
        moment = _instant(updated, self.zone)
        same = {
            "incident_id": self.incident,
            "version": given or (str(int(moment.timestamp())) if moment else None),
            "author_token": next(iter(self._authors()), None),
            "origin": "human",
        }
        self.found.rows["postmortems"] = [{**self._postmortem(), **same, "created_at": _time(begun, self.zone), "updated_at": updated}]
        self.found.rows["incident_events"] = [self._event(entry, moment) for entry in told.entries if not self._is_ours(entry.text)]
        decided = _time(_first(front, "reviewed_at"), self.zone) or updated
        said = [{**one, **same, "recorded_at": updated} for one in self._insights()]
        self.found.rows["insights"] = [*said, *({**one, **same, "recorded_at": decided} for one in self._prescriptions())]
        actions = [{"created_at": _time(begun, self.zone), **one, **same, "updated_at": updated} for one in self._actions()]
        self.found.rows["action_items"] = actions
        self.found.rows["verdicts"] = [{**one, **same, "decided_at": decided} for one in self._verdicts()]
        return self.found

    def _day(self) -> date | None:
        instant = _instant(_first(self.document.front, "incident_date", "date", "started_at"), self.zone)
        return instant.astimezone(ZoneInfo(self.zone)).date() if instant else None

    @property
    def id_(self) -> str:
        return _first(self.document.front, "postmortem_id", "id") or self.name.rsplit(".", 1)[0]

    def _authors(self) -> list[str]:
        return [one.lstrip("@") for name in ("authors", "author", "owner") for one in _listed(self.document.front.get(name))]

    def _unnamed(self, said: str) -> str:
        """A text in which handles, and the authors by their names, are tokens."""
        hidden = HANDLE.sub(lambda one: one[0] if one[0] in NOBODY else f"@{self.token(one[0][1:])}", said)
        for author in sorted(self._authors(), key=len, reverse=True):
            if len(author) > 2:
                hidden = re.sub(rf"(?<![\w@]){re.escape(author)}(?!\w)", f"@{self.token(author)}", hidden)
        return hidden

    def _postmortem(self) -> dict[str, Any]:
        front, kept = self.document.front, list[str]()
        for section in self.document.sections:
            if section.kind == "people":
                self.found.notes["section that names people left out"] += 1
                continue
            lines = [section.heading.text] if section.heading else []
            people = [line for line in section.lines if PEOPLE_LINE.match(line.text)]
            self.found.notes["line that names people left out"] += len(people)
            kept += lines + [line.text for line in section.lines if line not in people]
        factors = _listed(front.get("contributing_factors")) or [one.text for part in self.document.of("factors") for one in items(part)]
        trigger = _first(front, "trigger") or next((one.text for part in self.document.of("trigger") for one in items(part)), None)
        title = _first(front, "title") or next((part.title for part in self.document.sections if part.title), None)
        self.found.notes = +self.found.notes
        return {
            "line": 1,
            "postmortem_id": self.id_,
            "title": self._unnamed(title) if title else None,
            "status": _standing(front),
            "text": self._unnamed("\n".join(kept).strip()) or None,
            "trigger": self._unnamed(trigger) if trigger else None,
            "contributing_factors": [self._unnamed(one) for one in factors],
            "url": _first(front, "url", "link"),
        }

    def _is_ours(self, text: str) -> bool:
        """Whether a line still names the evidence our draft gave it: the mart it came from knows it already."""
        return "draft_format" in self.document.front and bool(OURS.search(text))

    def _verdicts(self) -> Iterable[dict[str, Any]]:
        """The cause people wrote down, as a candidate is written: `kind:id`, or none. Other words are no verdict."""
        for cause in _listed(self.document.front.get("cause")):
            found = CAUSE.match(cause)
            if found is None:
                self.found.notes["cause that names no candidate left out"] += 1
                continue
            kind, subject = found[1] or "none", (found[2] or "none").strip()
            yield {
                "line": 1,
                "verdict_id": f"{self.id_}:{_key(kind, subject)}",
                "subject_kind": kind,
                "subject_id": subject,
                "verdict": "confirm",
            }

    def _event(self, entry: timelines.Entry, written: datetime | None) -> dict[str, Any]:
        occurred = entry.moment.isoformat()
        return {
            "line": entry.line,
            "event_id": f"{self.id_}:{_key(occurred, entry.text)}",
            "incident_id": self.incident,
            "kind": "timeline",
            "text": self._unnamed(entry.text) or None,
            "occurred_at": occurred,
            "recorded_at": max(entry.moment, written or entry.moment).isoformat(),
        }

    def _insights(self) -> Iterable[dict[str, Any]]:
        services = _listed(self.document.front.get("services") or self.document.front.get("service"))
        for section in self.document.of("lessons", *FELT):
            for item in items(section):
                rule = next((one for one in self.options.rules if item.text.casefold().startswith(one.casefold())), None)
                felt = FELT.get(section.kind)
                said = item.text[len(rule or "") :].strip() if rule else f"{felt}: {item.text}" if felt else item.text
                if item.text.casefold().strip(".") in NOTHING or not said or self._is_ours(item.text):
                    continue
                yield {
                    "line": item.number,
                    "insight_id": f"{self.id_}:{_key(section.kind, item.text)}",
                    "service": services[0] if services else None,
                    "mood": "prescriptive" if rule else "descriptive",
                    "text": self._unnamed(said),
                }

    def _prescriptions(self) -> Iterable[dict[str, Any]]:
        """What the front matter prescribes, an insight each; what cannot be read is refused when it lands, with its line."""
        given = self.document.front.get("prescriptions")
        listed = given if isinstance(given, list) else [given] if given else []
        services = _listed(self.document.front.get("services") or self.document.front.get("service"))
        for item, line in zip(listed, self.document.lines.get("prescriptions", ()), strict=False):
            told = item if isinstance(item, dict) else {}
            content = {name: value for name, value in told.items() if name not in ABOUT} if told else item
            written = json.dumps(content, sort_keys=True)
            yield {
                "line": line,
                "insight_id": f"{self.id_}:{_key('prescription', str(told.get('id') or written))}",
                "service": told.get("service") or (services[0] if services else None),
                "mood": "prescriptive",
                "text": self._unnamed(str(told.get("because") or _sentence(written))),
                "confidence": told.get("confidence"),
                "prescription": written,
            }

    def _actions(self) -> Iterable[dict[str, Any]]:
        for section in self.document.of("actions"):
            for line, cells in tables(section):
                said = {COLUMNS[name]: value for name, value in cells.items() if name in COLUMNS and value.casefold() not in NOTHING}
                if "title" in said:
                    yield self._action(line, said)
            for item in items(section):
                task = TASK.match(item.text)
                words, given = _brackets(task[2] if task else item.text)
                done = {"status": "done"} if task and task[1] in "xX" else {}
                if words.casefold() not in NOTHING:
                    yield self._action(item, {**done, **given, "title": words})

    def _action(self, line: Line, said: Mapping[str, str]) -> dict[str, Any]:
        id_, kind = said.get("id", ""), said.get("type", "").casefold()
        ticked = re.search(r"(?i)\bdone\b", id_)  # as Google's template has it: "n/a DONE"
        id_ = re.sub(r"(?i)\W*\bdone\b", "", id_).strip()
        status = said.get("status", "done" if ticked else "open").casefold()
        if kind and kind not in TYPES:
            self.found.notes[f"type {kind!r} of an action item is none of ours"] += 1
        services = _listed(self.document.front.get("services") or self.document.front.get("service"))
        return {
            "line": line.number,
            "action_item_id": id_ if id_.casefold() not in NOTHING else f"{self.id_}:{_key(said['title'])}",
            "title": self._unnamed(said["title"]),
            "type": kind if kind in TYPES else None,
            "service": said.get("service") or (services[0] if services else None),
            "owner_team": self._team(said),
            "status": DONE.get(status, status.replace(" ", "_")),
            "success_criterion": self._unnamed(said["success_criterion"]) if "success_criterion" in said else None,
            "shipped_change_id": said.get("shipped_change_id"),
            "due_at": _time(said.get("due_at"), self.zone),
            "done_at": _time(said.get("done_at"), self.zone),
            "url": text(said.get("url")),
            **({"created_at": _time(said["created"], self.zone)} if "created" in said else {}),
        }

    def _team(self, said: Mapping[str, str]) -> str | None:
        """The team an item belongs to: an owner that is no declared team may be a person and does not land."""
        if "team" in said or "owner" not in said:
            return said.get("team")
        owner = said["owner"].removeprefix("@")
        if owner in self.teams or self.options.owners_are_teams:
            return owner
        self.found.notes["owner of an action item left out: teams.csv declares no such team"] += 1
        return None


def _brackets(said: str) -> tuple[str, dict[str, str]]:
    """The words of a task, and what the brackets behind them say."""
    found = BRACKETS.search(said)
    if found is None:
        return said.strip(), {}
    pairs = [part.partition(":") for part in found[1].split(",")]
    given = {COLUMNS[name.strip().casefold()]: value.strip() for name, _, value in pairs if name.strip().casefold() in COLUMNS}
    return (said[: found.start()].strip(), given) if given else (said.strip(), {})
