"""The text of a ticket that carries an action item, and how the item is read back from it. Pure text; no tracker's syntax.

A ticket says why it exists in words for people, and holds a block of `name: value` lines that begins with `aftercast item`. The block is
what comes back: people may edit a line (a due date, a criterion), and the item follows. `outcome` and `target` say exactly what the
criterion promises, such as `time_to_recover` and `-50 %`; what is no outcome or no number is not taken. What a person writes around the
block is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aftercast.entities import ENTITIES

BEGIN = "aftercast item"
FIELDS = ("item", "incident", "type", "service", "team", "due", "criterion", "outcome", "target")
# Names of the block and the columns of `action_items` they fill.
COLUMNS = {
    "item": "action_item_id",
    "incident": "incident_id",
    "type": "type",
    "service": "service",
    "team": "owner_team",
    "due": "due_at",
    "criterion": "success_criterion",
    "outcome": "criterion_outcome",
    "target": "criterion_change",
}
OUTCOMES = ENTITIES["action_items"].choices["criterion_outcome"]
TYPES = ("investigate", "mitigate", "repair", "detect", "prevent")
_LINE = re.compile(r"^[ \t>|*]*(" + "|".join((*FIELDS, "mark")) + r")[ \t]*:[ \t]*(.*?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_SHARE = re.compile(r"^([+-]?\d+(?:\.\d+)?)\s*%$")
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
    if values.get("outcome", "").lower() not in OUTCOMES:
        values.pop("outcome", None)
    if (change := relative(values.pop("target", ""))) is not None:
        values["target"] = str(change)
    return {COLUMNS[name]: value for name, value in values.items() if name in COLUMNS}


def relative(text: str) -> float | None:
    """Return the change a target names, `-50 %` or `-0.5` for half as much; None where it names none from -100 % on."""
    share = _SHARE.match(text)
    try:
        found = float(share[1]) / 100 if share else float(text)
    except ValueError:
        return None
    return round(found, 6) if -1 <= found < 10 else None


def target(change: float | None) -> str | None:
    """Return a change as people write it: -0.5 is `-50 %`."""
    return None if change is None else f"{100 * change:+g} %"


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
