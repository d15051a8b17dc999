"""What action items need from the world outside: a ticket, a comment, a reminder. Decided here, done elsewhere, each thing under one key.

Assumptions: the tracker is the truth about a ticket as soon as the ticket is read back as an item; before, and for items kept elsewhere
(a postmortem), a change of the item updates its ticket. An item is ready for a ticket when it has an owner team, a due date, a type and a
success criterion, and is not done. A recurrence is an incident of the same family that began after the item shipped: that is no proof that
the item failed, and a reason to look again. What was sent is known by its key, so that deciding twice decides the same.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import polars as pl

from aftercast import tickets
from aftercast.declarations import ActionsFile, ChannelRow, TrackerRow

Kind = Literal["create", "update", "comment", "reopen", "nudge", "escalate"]
Item = Mapping[str, Any]

ORDER: tuple[Kind, ...] = ("create", "update", "reopen", "comment", "escalate", "nudge")
NEEDED = {"owner_team": "owner team", "due_at": "due date", "type": "type", "success_criterion": "success criterion"}
UNOWNED = "unowned"
FINISHED = ("done", "verified")
LONGEST_TITLE = 200
SENT = {
    "key": pl.String,
    "channel": pl.String,
    "state": pl.String,
    "reference": pl.String,
    "payload": pl.String,
    "first_at": pl.Datetime("us", "UTC"),
}


@dataclass(frozen=True, slots=True)
class Effect:
    """Something that should happen outside.

    Attributes:
        kind: what; `nudge` and `escalate` are messages, the others concern a ticket.
        key: its stable id in the outbox.
        via: name of the tracker or channel (actions.yml).
        action_item_id: the item it is about.
        payload: what is sent.
        why: one sentence for the person who looks at the list.
        is_live: whether the row of the tracker or channel says so; otherwise it is a dry run.
    """

    kind: Kind
    key: str
    via: str
    action_item_id: str
    payload: Mapping[str, object]
    why: str
    is_live: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What should happen, most important kind first; what items lack (`action_item_id`, `owner_team`, `missing`); what had to wait."""

    effects: tuple[Effect, ...]
    incomplete: pl.DataFrame
    waiting: int


class _Known:
    """What the outbox knows, by key."""

    def __init__(self, sent: pl.DataFrame) -> None:
        self.rows = {row["key"]: row for row in sent.iter_rows(named=True)} if sent.height else {}

    def is_over(self, key: str) -> bool:
        return key in self.rows and self.rows[key]["state"] in ("sent", "unsure")

    def was_refused(self, key: str) -> bool:
        return key in self.rows and self.rows[key]["state"] == "failed"

    def payload(self, key: str, wanted: Mapping[str, object]) -> Mapping[str, object]:
        """What is to be sent: an attempt whose end is not known goes on with what it was begun with."""
        row = self.rows.get(key)
        found: dict[str, object] = json.loads(row["payload"]) if row and row["state"] == "sending" else dict(wanted)
        return found

    def below(self, prefix: str) -> list[dict[str, Any]]:
        """Rows sent whose key begins so, oldest first."""
        found = [row for key, row in self.rows.items() if key.startswith(prefix) and row["state"] == "sent"]
        return sorted(found, key=lambda row: (row["first_at"], len(row["key"]), row["key"]))


def plan(
    items: pl.DataFrame,
    fixes: pl.DataFrame,
    incidents: pl.DataFrame,
    sent: pl.DataFrame,
    rules: ActionsFile,
    team_channels: Mapping[str, str],
    as_of: datetime,
) -> Plan:
    """Return what should happen outside now.

    Args:
        items: mart_action_items.
        fixes: mart_fix_impact.
        incidents: mart_incidents (incident_id, title, url, family_id, started_at).
        sent: the rows of the outbox (`Outbox.rows`).
        rules: actions.yml.
        team_channels: the chat channel of each team that has one.
        as_of: the moment up to which things are known.
    """
    known = _Known(sent)
    told = {row["incident_id"]: row for row in incidents.iter_rows(named=True)}
    verdicts = {row["action_item_id"]: row for row in fixes.filter(pl.col("is_promised")).iter_rows(named=True)} if fixes.height else {}
    found: list[Effect] = []
    lacking = []
    for item in items.sort("action_item_id").iter_rows(named=True):
        missing = missing_of(item)
        if missing and item["is_open"]:
            lacking.append({"action_item_id": item["action_item_id"], "owner_team": item["owner_team"], "missing": ", ".join(missing)})
        ticket = _ticket(item, known, rules.trackers)
        if ticket is None:
            found += _creation(item, missing, told, known, rules)
        else:
            found += _ticket_effects(item, ticket, told, verdicts, known, rules, as_of)
        found += _messages(item, told, known, rules, team_channels, as_of)
    # What was refused before comes last, so that it cannot keep the others waiting.
    found.sort(key=lambda one: (known.was_refused(one.key), ORDER.index(one.kind)))
    live = [one.key for one in found if one.is_live]
    waiting = set(live[rules.most_per_run :])
    schema = {"action_item_id": pl.String, "owner_team": pl.String, "missing": pl.String}
    return Plan(tuple(one for one in found if one.key not in waiting), pl.DataFrame(lacking, schema=schema), len(waiting))


def missing_of(item: Item) -> list[str]:
    """Return what an item lacks before it is concrete enough to ship."""
    return [words for column, words in NEEDED.items() if not item[column] or (column == "owner_team" and item[column] == UNOWNED)]


@dataclass(frozen=True, slots=True)
class _Ticket:
    tracker: TrackerRow
    reference: str
    is_ours: bool  # made by us from an item that is kept elsewhere


def reference_in(url: str | None, tracker: TrackerRow) -> str | None:
    """Return the tracker's reference of the ticket a link leads to: `OPS-12`, `acme/shop#12`; None for any other link."""
    if tracker.kind == "jira":
        match = re.search(rf"/browse/({re.escape(tracker.project or '')}-\d+)/?$", url or "")
        return match[1] if match else None
    match = re.search(rf"/{re.escape(tracker.repository or '')}/issues/(\d+)/?$", url or "")
    return f"{tracker.repository}#{match[1]}" if match else None


def _ticket(item: Item, known: _Known, trackers: Sequence[TrackerRow]) -> _Ticket | None:
    row = known.rows.get(_key(item, "create"))
    if row is not None and row["state"] == "sent" and row["reference"]:
        own = next((one for one in trackers if one.name == row["channel"]), None)
        return _Ticket(own, row["reference"], reference_in(item["url"], own) is None) if own else None
    for tracker in trackers:
        if reference := reference_in(item["url"], tracker):
            return _Ticket(tracker, reference, False)
    return None


def _key(item: Item, *parts: object) -> str:
    return "/".join(["action", str(item["action_item_id"]), *map(str, parts)])


def _for_team(rows: Iterable[TrackerRow], team: str) -> TrackerRow | None:
    """The row that names the team, else the first that names none."""
    choice = list(rows)
    return next((row for row in choice if team in row.teams), next((row for row in choice if not row.teams), None))


def _day(moment: datetime | None) -> str | None:
    return f"{moment:%Y-%m-%d}" if moment else None


def _fields(item: Item, told: Mapping[str, Item]) -> dict[str, object]:
    incident = told.get(item["incident_id"] or "", {})
    fields = {
        "title": (item["title"] or f"Action item {item['action_item_id']}")[:LONGEST_TITLE],
        "item": item["action_item_id"],
        "incident": item["incident_id"],
        "incident_title": incident.get("title"),
        "incident_url": incident.get("url"),
        "type": item["type"],
        "service": item["service"],
        "team": item["owner_team"],
        "due": _day(item["due_at"]),
        "criterion": item["success_criterion"],
        "outcome": item.get("criterion_outcome"),
        "target": tickets.target(item.get("criterion_change")),
    }
    return {name: value for name, value in fields.items() if value}


def _creation(item: Item, missing: list[str], told: Mapping[str, Item], known: _Known, rules: ActionsFile) -> list[Effect]:
    tracker, key = _for_team(rules.trackers, item["owner_team"]), _key(item, "create")
    row = known.rows.get(key)
    begun = row is not None and row["state"] == "sending"
    if begun:  # carried through where it was begun, whatever has become of the item
        tracker = next((one for one in rules.trackers if row and one.name == row["channel"]), None)
    if tracker is None or known.is_over(key) or not (begun or (item["is_open"] and not missing)):
        return []
    return [_effect("create", key, tracker, item, known.payload(key, _fields(item, told)), "it is ready for work and has no ticket")]


def _ticket_effects(
    item: Item, ticket: _Ticket, told: Mapping[str, Item], verdicts: Mapping[str, Item], known: _Known, rules: ActionsFile, as_of: datetime
) -> list[Effect]:
    found = []

    def add(kind: Kind, key: str, payload: Mapping[str, object], why: str) -> None:
        if not known.is_over(key):
            wanted = known.payload(key, {**payload, "ticket": ticket.reference})
            found.append(_effect(kind, key, ticket.tracker, item, wanted, why))

    if ticket.is_ours:
        last = [*known.below(_key(item, "create")), *known.below(_key(item, "update"))]
        now, before = _fields(item, told), json.loads(last[-1]["payload"]) if last else {}
        changed = [
            name
            for name in ("title", "type", "service", "team", "due", "criterion", "outcome", "target")
            if now.get(name) != before.get(name)
        ]
        if changed and last and item["status"] != "cancelled":
            add("update", _key(item, "update", len(last)), now, f"{', '.join(changed)} changed since it was last written")
    if known.rows.get(_key(item, "create"), {}).get("state") == "sent":
        if change := item["shipped_change_id"]:
            text = (
                f"Shipped by change {change}"
                + (f" on {_day(item['shipped_at'])}" if item["shipped_at"] else "")
                + ". Done is not verified yet."
            )
            late = "" if item["success_criterion"] else " No success criterion was fixed before it shipped, so success cannot be judged."
            add("comment", _key(item, "comment", "shipped", change), {"text": text + late}, "it shipped")
        fix = verdicts.get(item["action_item_id"])
        if fix is not None and fix["verdict"] in ("effective", "not_effective"):
            add("comment", _key(item, "comment", "verdict", fix["verdict"]), {"text": _verdict(fix)}, "what it promised has been judged")
    for incident in _recurrences(item, told, rules, as_of):
        since = _day(item["shipped_at"] or item["done_at"])
        text = (
            f"Reopened: incident {incident['incident_id']} ({incident['title']}) began on {incident['started_at']:%Y-%m-%d %H:%M} UTC. "
            f"It is of the same family as {item['incident_id'] or 'the incident this came from'}, and began after this was done ({since}). "
            "That is no proof that this did not work; it is a reason to look again." + (f" {incident['url']}" if incident["url"] else "")
        )
        key = _key(item, "reopen", incident["incident_id"])
        add("reopen", key, {"text": text}, f"incident {incident['incident_id']} of its family began after it was done")
    return found


def _verdict(fix: Item) -> str:
    words = {"effective": "has worked", "not_effective": "has not worked"}[fix["verdict"]]
    numbers = f"{fix['n_before']} before and {fix['n_after']} after"
    interval = ""
    if fix["estimate"] is not None and fix["ci_low"] is not None and fix["ci_high"] is not None:
        interval = f", ratio {fix['estimate']:.2f} (interval {fix['ci_low']:.2f} to {fix['ci_high']:.2f})"
    return f"Measured by {fix['outcome']}, this {words}: n = {numbers}{interval}. {fix['reason'] or ''}".strip()


def _recurrences(item: Item, told: Mapping[str, Item], rules: ActionsFile, as_of: datetime) -> list[Item]:
    """The newest incident of the item's family that began after it was done and lately enough to act on."""
    done = max((moment for moment in (item["shipped_at"], item["done_at"]) if moment), default=None)
    if item["status"] not in FINISHED or item["type"] not in rules.reopen.types or not item["family_id"] or done is None:
        return []
    after = max(done, as_of - timedelta(days=rules.reopen.within_days))
    again = [
        one
        for one in told.values()
        if one["family_id"] == item["family_id"] and one["incident_id"] != item["incident_id"] and after < one["started_at"] <= as_of
    ]
    return sorted(again, key=lambda one: (one["started_at"], one["incident_id"]))[-1:]


def _messages(
    item: Item, told: Mapping[str, Item], known: _Known, rules: ActionsFile, team_channels: Mapping[str, str], as_of: datetime
) -> list[Effect]:
    def message(kind: Kind, channel: str, *parts: object) -> list[Effect]:
        return _message(kind, (kind, _day(item["due_at"]), *parts), channel, item, told, known, rules, team_channels, as_of)

    nudge, left = rules.nudge, item["due_at"] - as_of if item["due_at"] else None
    if nudge and item["is_open"] and left is not None and timedelta(0) < left <= timedelta(days=nudge.before_days):
        return message("nudge", nudge.channel, "soon")
    if not item["is_overdue"] or item["days_overdue"] is None:
        return []
    days, found = item["days_overdue"], []
    if rules.escalate and days >= rules.escalate.after_days:
        found += message("escalate", rules.escalate.channel)
    if nudge and days >= nudge.after_days:
        found += message("nudge", nudge.channel, int((days - nudge.after_days) // nudge.every_days))
    return found


def _message(
    kind: Kind,
    parts: tuple[object, ...],
    name: str,
    item: Item,
    told: Mapping[str, Item],
    known: _Known,
    rules: ActionsFile,
    team_channels: Mapping[str, str],
    as_of: datetime,
) -> list[Effect]:
    channel = next(row for row in rules.channels if row.name == name)
    to = address(channel, item["owner_team"], team_channels)
    key = _key(item, *parts)
    if to is None or known.is_over(key):
        return []
    is_late, incident = item["days_overdue"] is not None, told.get(item["incident_id"] or "", {})
    days = int(item["days_overdue"]) if is_late else math.ceil((item["due_at"] - as_of) / timedelta(days=1))
    length = f"{days} day{'' if days == 1 else 's'}"
    away = f"{length} ago" if is_late else f"in {length}"
    asked = (
        "It needs a decision: do it, move the date with a reason, or drop it."
        if kind == "escalate"
        else f"Please do it{'' if is_late else ' by then'}, move its date with a reason, or drop it."
    )
    text = [
        f"{item['title'] or item['action_item_id']}: due {_day(item['due_at'])}, {away} (team {item['owner_team']}, {item['status']}).",
        f"Why it matters: it came out of incident {item['incident_id']}" + (f", {incident['title']}." if incident.get("title") else ".")
        if item["incident_id"]
        else "",
        f"It has worked when: {item['success_criterion']}." if item["success_criterion"] else "It has no success criterion yet.",
        asked,
        item["url"] or "",
    ]
    standing = "Due soon" if not is_late else "Overdue, please decide" if kind == "escalate" else "Overdue"
    subject = f"{standing}: {item['title'] or item['action_item_id']}"
    payload = {"to": to, "subject": subject[:LONGEST_TITLE], "text": "\n".join(one for one in text if one)}
    return [_effect(kind, key, channel, item, known.payload(key, payload), f"{length} overdue" if is_late else f"due {away}")]


def address(channel: ChannelRow, team: str, team_channels: Mapping[str, str]) -> str | None:
    """Return where a message for a team goes; None when nothing says."""
    own = team_channels.get(team) if channel.kind == "slack" else None
    return channel.by_team.get(team) or channel.to or own or ("webhook" if channel.kind == "slack_webhook" else None)


def _effect(kind: Kind, key: str, row: TrackerRow | ChannelRow, item: Item, payload: Mapping[str, object], why: str) -> Effect:
    return Effect(kind, key, row.name, item["action_item_id"], payload, why, row.live)
