"""What was said in a Slack channel as rows: events of the incident the channel is about, and insights somebody marked.

A message is what the API and an export both hold. People are left out of texts: a mention becomes the token its author has elsewhere.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from aftercast.declarations import Row
from aftercast.sources.lifecycle import Record, at, items_at, text_at

Mark = Literal["timeline", "decision", "descriptive", "prescriptive"]
MARKS: dict[str, Mark] = {
    ":pushpin:": "timeline",
    "TIMELINE:": "timeline",
    "DECISION:": "decision",
    "LESSON:": "descriptive",
    "RULE:": "prescriptive",
}
EVERY = "*"
# Subtypes of somebody's words; every other is a notice of Slack.
SAID = {"bot_message", "file_share", "me_message", "thread_broadcast", "file_comment", "reply_broadcast"}
DELETED = {"tombstone", "message_deleted"}
_REFERENCE = re.compile(r"<([^<>]*)>")
_EPOCH = re.compile(r"[0-9]{1,11}(?:\.[0-9]+)?")
_UNESCAPED = (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))


class Options(Row):
    """Options of a `slack` source.

    A channel is about the incident that `channels` says (by id or name), else the one that `pattern` finds in its name; `incident` writes
    the id as the tracker does. `marks` says what a reaction (`:name:`) or the beginning of a message makes of it. `bots` are ids of bots
    whose words count, `*` all. With `export` a folder or zip file is read instead of the API.
    """

    channels: dict[str, str] = Field(default_factory=dict)
    pattern: str | None = None
    incident: str = "{incident_id}"
    skip: tuple[str, ...] = ()
    skip_unreadable: bool = False
    private: bool = True
    marks: dict[str, Mark] = Field(default_factory=lambda: dict(MARKS))
    bots: tuple[str, ...] = ()
    reread_days: int = Field(default=7, ge=0, le=366)
    channel_days: int = Field(default=90, ge=0, le=3_660)
    seconds_between_requests: float = Field(default=0.0, ge=0)
    export: str | None = None

    @field_validator("pattern")
    @classmethod
    def _pattern_names_the_incident(cls, pattern: str | None) -> str | None:
        try:
            groups = re.compile(pattern or "(?P<incident_id>)").groupindex
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        if "incident_id" not in groups:
            raise ValueError(f"{pattern!r} does not say where the incident is; write e.g. inc-(?P<incident_id>[0-9]+).*")
        return pattern

    @model_validator(mode="after")
    def _channels_are_named(self) -> Self:
        if not self.channels and self.pattern is None:
            raise ValueError("say which channels are about which incident: by `pattern`, or by `channels` (id or name: incident)")
        if "{incident_id}" not in self.incident:
            raise ValueError(f"incident {self.incident!r} has no place for the id; write e.g. INC-{{incident_id}}")
        return self

    def incident_of(self, id_: str | None, name: str | None) -> str | None:
        """Return the incident a channel is about; None when it is about none."""
        if {id_, name} & set(self.skip):
            return None
        pinned = self.channels.get(id_ or "") or self.channels.get(name or "")
        found = re.fullmatch(self.pattern, name or "") if self.pattern else None
        return pinned or (self.incident.format(**found.groupdict()) if found and found["incident_id"] else None)


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel and the incident it is about."""

    id_: str
    name: str
    incident: str


@dataclass(frozen=True, slots=True)
class Speech:
    """How what was said is read: whose token is what, which channels and people are known by which name."""

    options: Options
    token: Callable[[str], str]
    channels: Mapping[str, str] = field(default_factory=dict)
    people: Mapping[str, str] = field(default_factory=dict)  # names as they occur in texts, to ids

    def plain(self, said: str) -> str:
        """Return a text as people read it, and without people: mentions and known names are tokens."""
        text = _REFERENCE.sub(lambda found: self._reference(found[1]), said)
        for escaped, sign in _UNESCAPED:
            text = text.replace(escaped, sign)
        if self.people:
            known = sorted(self.people, key=len, reverse=True)
            names = "|".join(map(re.escape, known))
            text = re.sub(rf"(?<!\w)@?(?:{names})(?!\w)", lambda found: self._person(found[0]), text)
        return text.strip()

    def _person(self, name: str) -> str:
        id_ = self.people.get(name) or self.people[name.removeprefix("@")]
        return f"@{self.token(id_)}"

    def _reference(self, found: str) -> str:
        target, _, label = found.partition("|")
        if target.startswith("@"):
            return f"@{self.token(target[1:])}"
        if target.startswith("#"):
            return f"#{label or self.channels.get(target[1:], target[1:])}"
        if target.startswith("!subteam"):
            return label or "@group"
        if target.startswith("!"):
            return label or f"@{target[1:].partition('^')[0]}"
        address = target.removeprefix("mailto:").removeprefix("tel:")
        return f"{label} ({address})" if label and label not in address else address


def seconds(ts: Any) -> float | None:
    """Return the epoch a `ts` names; None when it names none."""
    found = str(ts)
    return float(found) if _EPOCH.fullmatch(found) else None


def moment_of(ts: str | None) -> str | None:
    """Return a `ts` as a time, to the microsecond; what is none stays as it is, for landing to judge."""
    if seconds(ts) is None:
        return ts
    whole, _, part = str(ts).partition(".")
    instant = datetime.fromtimestamp(int(whole), UTC)
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{part[:6]:0<6}+00:00"


def dropped(message: Record, options: Options) -> str | None:
    """Return why a message is nobody's words; None when it is somebody's."""
    subtype, bot = text_at(message, "subtype"), text_at(message, "bot_id")
    if subtype in DELETED:
        return "deleted message left out"
    if at(message, "hidden") or (subtype and subtype not in SAID):
        return "join, leave or other notice of Slack left out"
    if (bot or subtype == "bot_message") and not {EVERY, bot} & set(options.bots) and not _reactions(message, options):
        return "message of a bot left out"
    return None


def _reactions(message: Record, options: Options) -> set[Mark]:
    """What reactions make of a message; the colour of a hand does not matter."""
    names = {f":{(text_at(one, 'name') or '').partition('::')[0]}:" for one in items_at(message, "reactions") if at(one, "count") != 0}
    return {mark for name, mark in options.marks.items() if name in names}


def _prefix(said: str, options: Options) -> tuple[set[Mark], str]:
    """What the beginning of a text makes of it, and the rest."""
    bare = said.lstrip("*_~ ")
    for prefix, mark in options.marks.items():
        if not prefix.startswith(":") and bare.casefold().startswith(prefix.casefold()):
            return {mark}, bare[len(prefix) :].lstrip("*_~ ")
    return set(), said


def is_marked(message: Record, options: Options) -> bool:
    return bool(_reactions(message, options))


def said_in(message: Record) -> str:
    """The words of a message; of one that has none, those of what is attached."""
    attached = [text_at(one, "text") or text_at(one, "fallback") or "" for one in items_at(message, "attachments")]
    return text_at(message, "text") or "\n".join(one for one in attached if one)


@dataclass(frozen=True, slots=True)
class Heard:
    """Rows of some messages, and how many were left out, by reason."""

    events: list[dict[str, Any]]
    insights: list[dict[str, Any]]
    notes: Counter[str]


def rows_of(messages: Iterable[Record], channel: Channel, speech: Speech) -> Heard:
    """Return what some messages of a channel say."""
    heard = Heard([], [], Counter())
    for message in messages:
        reason = dropped(message, speech.options)
        if reason:
            heard.notes[reason] += 1
            continue
        event, insight = _rows(message, channel, speech)
        heard.events.append(event)
        if insight:
            heard.insights.append(insight)
    return heard


def _rows(message: Record, channel: Channel, speech: Speech) -> tuple[dict[str, Any], dict[str, Any] | None]:
    ts, edited = text_at(message, "ts"), text_at(message, "edited", "ts")
    prefixed, said = _prefix(said_in(message), speech.options)
    marks = prefixed | _reactions(message, speech.options)
    id_ = f"{channel.id_}:{ts}" if ts else None
    text = speech.plain(said) or None
    author = text_at(message, "user") or text_at(message, "bot_id")
    event = {
        "event_id": id_,
        "incident_id": channel.incident,
        "kind": next((kind for kind in ("decision", "timeline") if kind in marks), "chat"),
        "text": text,
        "author_token": author,
        "occurred_at": moment_of(ts),
        "recorded_at": moment_of(ts),
    }
    moods: Sequence[Mark] = ("prescriptive", "descriptive")
    mood = next((mood for mood in moods if mood in marks), None)
    if mood is None or text is None:
        return event, None
    written = edited if seconds(edited) else ts
    insight = {
        "insight_id": id_,
        "version": int(seconds(written) or 0) or None,
        "incident_id": channel.incident,
        "mood": mood,
        "text": text,
        "recorded_at": moment_of(written),
        "origin": "human",
        "author_token": author,
    }
    return event, insight
