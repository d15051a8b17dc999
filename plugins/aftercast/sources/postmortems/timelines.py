"""When something happened by the lines of a postmortem's timeline. Pure.

A line begins with a time of the day, or a whole time. A time of the day belongs to the date last named (by a heading, a line of its own, a
whole time, or else the document's) and to the document's zone, unless it names UTC or an offset. Lines go forward: one that lies more than
half a day before the line above it is of the next day.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from aftercast.sources.postmortems.documents import ITEM, RULE_OF_TABLE, Line, Section, plain

HALF_A_DAY = timedelta(hours=12)
OFFSETS = {"UTC": 0, "GMT": 0, "Z": 0, "CET": 1, "CEST": 2, "EST": -5, "EDT": -4, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7, "JST": 9}
AMBIGUOUS = {"BST", "CST", "CDT", "IST", "AST", "SST"}

_DAY = r"(?P<date>\d{4}-\d{2}-\d{2})"
_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.\d+)?)?\s*(?P<half>[ap]m\b)?"
_ZONE = rf"\s*(?P<zone>(?:{'|'.join(sorted({*OFFSETS, *AMBIGUOUS}, key=len, reverse=True))})\b|[+-]\d{{2}}:?\d{{2}}\b)?"
_UNTIL = r"(?:\s*(?:-|–|—|to|until)\s*\d{1,2}:\d{2}(?::\d{2})?\s*(?:[ap]m\b)?(?:\s*(?:UTC|GMT)\b)?)?"
ENTRY = re.compile(rf"^[\[(`~]*(?:{_DAY}[T ,]\s*)?{_CLOCK}{_ZONE}{_UNTIL}[\])`]*\s*(?:[-–—:|>]+\s*)?(?P<text>.*)$", re.IGNORECASE)
DAY_ALONE = re.compile(rf"^\W*(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day,?\s+)?{_DAY}\W*$", re.IGNORECASE)
LOOKS_TIMED = re.compile(r"^[\[(`~]*\d{1,2}[:.]\d{2}\b")


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened, and the line that says so."""

    line: int
    moment: datetime
    text: str


@dataclass(slots=True)
class Timeline:
    """Entries in the order written, lines that cannot be placed in time (reason, raw, line), and what was left out."""

    entries: list[Entry] = field(default_factory=list)
    bad: list[tuple[str, str, int]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)


def read(sections: Iterable[Section], day: date | None, zone: str) -> Timeline:
    """Return the timeline of a document whose times are in a zone and begin on a day, when that is known."""
    timeline = Timeline()
    home = ZoneInfo(zone)
    for section in sections:
        named = DAY_ALONE.match(section.title)
        day = _date(named["date"]) or day if named else day
        for line, text, is_item in _written(section):
            alone = DAY_ALONE.match(text)
            found = ENTRY.match(text)
            if alone:
                day = _date(alone["date"]) or day
            elif found:
                day = _date(found["date"]) or day
                _place(timeline, found, day, home, line)
                day = timeline.entries[-1].moment.astimezone(home).date() if timeline.entries and found["zone"] is None else day
            elif LOOKS_TIMED.match(text):
                timeline.bad.append(("timeline: not a time", text, line.number))
            elif timeline.entries and not is_item:
                last = timeline.entries[-1]
                timeline.entries[-1] = Entry(last.line, last.moment, f"{last.text} {text}".strip())
            else:
                timeline.notes["timeline line without a time left in the text"] += 1
    return timeline


def _written(section: Section) -> Iterable[tuple[Line, str, bool]]:
    """Lines with something on them: their words, and whether they begin an item of the outermost list or a row of a table."""
    top = min((len(match[1]) for line in section.lines if (match := ITEM.match(line.text))), default=0)
    is_header = True
    for line in section.lines:
        text = line.text.strip()
        if text.startswith("|"):
            cells = [plain(cell) for cell in text.strip("|").split("|")]
            if not (RULE_OF_TABLE.match(text) or (is_header and not ENTRY.match(cells[0]))):
                yield line, f"{cells[0]} {' '.join(cell for cell in cells[1:] if cell)}".strip(), True
            is_header = False
            continue
        is_header = True
        item = ITEM.match(line.text)
        if text and not text.startswith("<!--"):
            yield line, plain(item[2] if item else text), bool(item and len(item[1]) <= top)


def _date(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        return None


def _place(timeline: Timeline, found: re.Match[str], day: date | None, home: tzinfo, line: Line) -> None:
    """Add an entry, or say why it has no place in time."""
    named = (found["zone"] or "").upper()
    hour, half = int(found["hour"]), (found["half"] or "").casefold()
    if half and not 1 <= hour <= 12:
        return timeline.bad.append(("timeline: not a time", line.text.strip(), line.number))
    hour = hour % 12 + (12 if half == "pm" else 0) if half else hour
    if found["date"] and _date(found["date"]) is None:
        return timeline.bad.append(("timeline: not a date", line.text.strip(), line.number))
    if day is None:
        return timeline.bad.append(("timeline: a time without a date, in a document without `date`", line.text.strip(), line.number))
    if named in AMBIGUOUS:
        return timeline.bad.append((f"timeline: zone {named} means several; write UTC or an offset", line.text.strip(), line.number))
    try:
        clock = time(hour, int(found["minute"]), int(found["second"] or 0))
        moment = datetime.combine(day, clock, _zone(named, home)).astimezone(UTC)
    except (ValueError, OverflowError):
        return timeline.bad.append(("timeline: not a time", line.text.strip(), line.number))
    before = timeline.entries[-1].moment if timeline.entries else moment
    if found["date"] is None and before - moment > HALF_A_DAY:
        moment += timedelta(days=1)
    timeline.entries.append(Entry(line.number, moment, found["text"].strip()))
    return None


def _zone(named: str, home: tzinfo) -> tzinfo:
    if not named:
        return home
    if named in OFFSETS:
        return timezone(timedelta(hours=OFFSETS[named]))
    sign = -1 if named[0] == "-" else 1
    digits = named[1:].replace(":", "")
    return timezone(sign * timedelta(hours=int(digits[:2]), minutes=int(digits[2:])))
