"""The text of a ticket that carries an action item, and how the item is read back from it. Pure text; no tracker's syntax.

A ticket says why it exists in words for people, and holds a block of `name: value` lines that begins with `aftercast item`. The block is
what comes back: people may edit a line (a due date, a criterion), and the item follows. What a person writes around it is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

BEGIN = "aftercast item"
FIELDS = ("item", "incident", "type", "service", "team", "due", "criterion")
# Names of the block and the columns of `action_items` they fill.
COLUMNS = {
    "item": "action_item_id",
    "incident": "incident_id",
    "type": "type",
    "service": "service",
    "team": "owner_team",
    "due": "due_at",
    "criterion": "success_criterion",
}
TYPES = ("investigate", "mitigate", "repair", "detect", "prevent")
_LINE = re.compile(r"^[ \t>|*]*(" + "|".join((*FIELDS, "mark")) + r")[ \t]*:[ \t]*(.*?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_BLOCK = re.compile(rf"{BEGIN}\s*\n(?:[ \t]*[a-z]+[ \t]*:.*\n?)+", re.IGNORECASE)


def block(payload: Mapping[str, object], mark: str) -> str:
    """Return the block of an item: one line for each thing known, and the mark."""
    known = [f"{name}: {_one_line(payload[name])}" for name in FIELDS if payload.get(name)]
    return "\n".join([BEGIN, *known, f"mark: {mark}"])


def story(payload: Mapping[str, object]) -> list[str]:
    """Return why the ticket exists, in paragraphs. They name teams and systems, no person."""
    told = []
    if payload.get("incident"):
        told.append(f"This came out of incident {payload['incident']}" + _named(payload.get("incident_title")) + _linked(payload))
    criterion = payload.get("criterion")
    told.append(f"It has worked when: {criterion}. Done is not verified: that is looked at after it has shipped." if criterion else "")
    told.append("The lines below are read back by Aftercast. Edit their values if they are wrong; keep their names.")
    return [one for one in told if one]


def read_block(text: str | None) -> dict[str, str]:
    """Return the values of the block in a text by column of `action_items`; empty where there is none or it names no item."""
    found = _BLOCK.search((text or "").replace("\r\n", "\n") + "\n")
    if found is None:
        return {}
    values = {name.lower(): value for name, value in _LINE.findall(found[0]) if value}
    if "item" not in values:
        return {}
    if values.get("type", "").lower() not in TYPES:
        values.pop("type", None)
    return {COLUMNS[name]: value for name, value in values.items() if name in COLUMNS}


def with_block(text: str | None, new: str) -> str:
    """Return a text with its block replaced, or added at its end; the rest stays as people wrote it. The mark of the first block stays."""
    old = (text or "").replace("\r\n", "\n")
    found = _BLOCK.search(old + "\n")
    if found is None:
        return f"{old}\n\n{new}".strip()
    mark = {name.lower(): value for name, value in _LINE.findall(found[0])}.get("mark")
    kept = re.sub(r"(?m)^mark: .*$", f"mark: {mark}", new) if mark else new
    ends = "\n" if found[0].endswith("\n") and found.end() <= len(old) else ""
    return old[: found.start()] + kept + ends + old[found.end() :]


def _one_line(value: object) -> str:
    return " ".join(str(value).split())


def _named(title: object) -> str:
    return f" ({_one_line(title)})" if title else ""


def _linked(payload: Mapping[str, object]) -> str:
    return f": {payload['incident_url']}" if payload.get("incident_url") else "."
