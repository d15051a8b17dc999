"""What a reviewer is asked about a postmortem, and what becomes of the answer: a state, its date, and nothing else in the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from aftercast.errors import ReviewConflict
from aftercast.reviewing import folder, states

APPROVE, REJECT, ASSIGN, LATER = "Approve", "Reject", "Assign", "Later"
OPTIONS = (APPROVE, REJECT, ASSIGN, LATER)
_SECTION = re.compile(r"^## (Summary|Action items)\s*$")
_CAUSE = re.compile(r"^(change|service|provider):\S+$|^none$")
MOST_LINES = 25


@dataclass(frozen=True, slots=True)
class Standing:
    """A postmortem, the state it is in, and whether it is late."""

    document: folder.Document
    waiting: states.Waiting
    rejected: bool


@dataclass(frozen=True, slots=True)
class Request:
    """What a reviewer sees: subject, body in Markdown, the team it is assigned to (`''`: nobody), and the digest of the file shown."""

    subject: str
    body: str
    team: str
    seen: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reviewer chose; `cause` (kind:id or none) and `team` only when given."""

    option: str
    cause: str = ""
    team: str = ""


def standings(place: Path, due_days: Mapping[str, float], now: datetime) -> tuple[list[Standing], list[str]]:
    """Return where each postmortem of a folder stands, the latest first, and what is wrong with files that cannot be read."""
    found, broken = folder.documents(place)
    there = [
        Standing(one, states.waiting(one.state, one.front.text("severity"), one.ended, due_days, now), _rejected(place, one))
        for one in found
    ]
    nothing = timedelta(0)
    return sorted(
        there, key=lambda one: (states.STATES.index(one.document.state), -(one.waiting.overdue or nothing), one.document.name)
    ), broken


def to_ask(place: Path, due_days: Mapping[str, float], now: datetime, finished: frozenset[str]) -> tuple[list[str], list[str]]:
    """Return the names of the files to ask about, the latest first, and what is wrong with those that cannot be read.

    Asked are drafts and what is in review, unless it was rejected and has not been edited since; and, whether to close them, reviewed ones
    of `finished` incidents, whose action items are all done.
    """
    there, broken = standings(place, due_days, now)
    asked = [
        one.document.name
        for one in there
        if (one.document.state in states.WAITS and not one.rejected)
        or (one.document.state == states.REVIEWED and one.document.incident_id in finished)
    ]
    return asked, broken


def _rejected(place: Path, document: folder.Document) -> bool:
    """Whether somebody rejected it as it is now."""
    kept = folder.versions(place, document.name)
    return not document.edited and bool(kept) and next((one.kind for one in reversed(kept) if one.kind != "beside"), "") == "rejected"


def request(place: Path, name: str, due_days: Mapping[str, float], now: datetime) -> Request:
    """Return what to ask about a postmortem.

    Raises:
        ReviewConflict: it is gone or cannot be read.
    """
    document = folder.read(place, name)
    late = states.waiting(document.state, document.front.text("severity"), document.ended, due_days, now)
    overdue = f"overdue by {_days(late.overdue)}: " if late.overdue else ""
    what = "Close" if document.state == states.REVIEWED else "Review"
    title = document.front.text("title") or name
    facts = [f"**{document.incident_id}**, {document.front.text('severity') or 'severity unknown'}, {document.state}"]
    if document.since:
        facts.append(f"since {document.since:%Y-%m-%d}")
    if late.due and document.state in states.WAITS:
        facts.append(f"due {late.due:%Y-%m-%d}{f', **overdue by {_days(late.overdue)}**' if late.overdue else ''}")
    next_ = states.AFTER.get(document.state, states.CLOSED)
    lines = [
        "; ".join(facts) + ".",
        "",
        f"The file is `{document.path}`. To change it, edit it there and answer {LATER}: what you approve is what you see here.",
        f"{APPROVE} makes it {next_!r}. {REJECT} leaves it a draft until somebody edits it. {ASSIGN} hands it to the `team` named.",
        "",
        *_shown(document.text),
    ]
    if document.has_newer:
        lines += ["", f"A newer draft from newer data lies beside it (`{folder.NEWER}.md`); yours was left alone."]
    return Request(f"{what} postmortem {overdue}{title}", "\n".join(lines), document.front.text("assigned"), document.digest)


def answer(place: Path, name: str, seen: str, given: Answer, now: datetime, *, known: bool) -> str:
    """Write what a reviewer decided into the front matter; return what became of the file, in a sentence.

    Args:
        place: the folder.
        name: path inside it.
        seen: digest of what the reviewer saw.
        given: the answer.
        now: when it was given.
        known: whether the published mart still knows the incident.

    Raises:
        ReviewConflict: the file moved on, cannot be read, or the answer does not fit it; nothing was written.
    """
    document = folder.read(place, name)
    if given.option == LATER:
        return f"{name}: nobody decided, it stays {document.state!r}"
    if not known:
        raise ReviewConflict(
            f"{document.path}: the published mart knows no incident {document.incident_id!r} (any more), so a verdict on it would be about "
            f"nothing; correct incident_id, or delete the file. Nothing was written"
        )
    if given.option == ASSIGN:
        if not given.team:
            raise ReviewConflict(f"{document.path}: {ASSIGN} needs a `team`; nothing was written")
        values = {"status": states.IN_REVIEW, **_dated(document, states.IN_REVIEW, now), "assigned": given.team, "updated": _at(now)}
        return _told(folder.change(place, name, seen, values), f"assigned to {given.team}")
    if given.option == REJECT:
        values = {"status": states.DRAFT, "rejected_at": _at(now), "updated": _at(now)}
        return _told(
            folder.change(place, name, seen, values, kind="rejected"), "rejected; it is asked about again once somebody has edited it"
        )
    if given.option != APPROVE:
        raise ReviewConflict(f"{document.path}: {given.option!r} is none of {', '.join(OPTIONS)}; nothing was written")
    if document.state not in states.AFTER:
        raise ReviewConflict(f"{document.path} is {document.state!r} already; nothing was written")
    cause = {"cause": given.cause} if given.cause else {}
    if given.cause and not _CAUSE.match(given.cause):
        raise ReviewConflict(
            f"{document.path}: cause {given.cause!r} is not kind:id (change, service, provider) or none; nothing was written"
        )
    state = states.AFTER[document.state]
    values = {"status": state, states.DATED[state]: _at(now), **cause, "updated": _at(now)}
    return _told(folder.change(place, name, seen, values), f"approved, now {state}")


def _dated(document: folder.Document, state: str, now: datetime) -> dict[str, str]:
    """The date of a state, kept when it is in it already."""
    return {} if document.state == state and document.since else {states.DATED[state]: _at(now)}


def _told(document: folder.Document, what: str) -> str:
    return f"{document.name}: {what}"


def _shown(text: str) -> Iterator[str]:
    """The summary and the action items of a document, for who decides without opening it."""
    lines = 0
    shown = False
    for line in text.splitlines():
        if line.startswith("## "):
            shown = bool(_SECTION.match(line))
        if shown and not line.startswith("<!--") and lines < MOST_LINES:
            lines += bool(line.strip())
            yield line
    if lines >= MOST_LINES:
        yield "…"


def _days(late: timedelta | None) -> str:
    hours = 0.0 if late is None else late.total_seconds() / 3600
    return f"{hours / 24:.0f} d" if hours >= 48 else f"{hours:.0f} h"


def _at(now: datetime) -> str:
    return f"{now:%Y-%m-%dT%H:%M:%SZ}"
