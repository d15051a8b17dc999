"""Action items as the mart tells them, rules as actions.yml declares them, and what the outbox knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from aftercast.declarations import ActionsFile
from aftercast.learning import actions

NOW = datetime(2026, 9, 30, 12, tzinfo=UTC)
MOMENT = pl.Datetime("us", "UTC")

JIRA = {"name": "ops", "kind": "jira", "connection": "ops", "project": "OPS", "live": True}
GITHUB = {"name": "shop", "kind": "github", "connection": "hub", "repository": "acme/shop", "live": True}
SLACK = {"name": "chat", "kind": "slack", "connection": "chat", "live": True}
MAIL = {"name": "post", "kind": "email", "connection": "post", "to": "reliability@acme.example", "live": True}

ITEMS = {
    **dict.fromkeys(
        [
            "action_item_id",
            "incident_id",
            "family_id",
            "title",
            "type",
            "service",
            "owner_team",
            "status",
            "success_criterion",
            "criterion_outcome",
            "shipped_change_id",
            "url",
        ],
        pl.String,
    ),
    "days_overdue": pl.Float64,
    "criterion_change": pl.Float64,
    "is_open": pl.Boolean,
    "is_overdue": pl.Boolean,
    **dict.fromkeys(("shipped_at", "due_at", "done_at"), MOMENT),
}
FIXES = {
    **dict.fromkeys(["action_item_id", "outcome", "verdict", "reason"], pl.String),
    **dict.fromkeys(["n_before", "n_after"], pl.Int64),
    **dict.fromkeys(["estimate", "ci_low", "ci_high"], pl.Float64),
    "is_promised": pl.Boolean,
}
INCIDENTS = {**dict.fromkeys(["incident_id", "title", "url", "family_id"], pl.String), "started_at": MOMENT}


def days(number: float) -> timedelta:
    return timedelta(days=number)


def item(id_: str = "A-3", **given: Any) -> dict[str, Any]:
    """A concrete item that is open and due in ten days."""
    row = {
        "action_item_id": id_,
        "incident_id": "INC-1",
        "family_id": "F-1",
        "title": "Cap retries of payments",
        "type": "prevent",
        "service": "payments",
        "owner_team": "money",
        "status": "open",
        "success_criterion": "no incident of the family in 28 days",
        "due_at": NOW + days(10),
    } | given
    row.setdefault("is_open", row["status"] in ("open", "in_progress", "reopened"))
    row.setdefault("is_overdue", bool(row["is_open"] and row["due_at"] and row["due_at"] < NOW))
    if row["is_overdue"]:
        row.setdefault("days_overdue", (NOW - row["due_at"]).total_seconds() / 86_400)
    return row


def late(number: float, **given: Any) -> dict[str, Any]:
    """An item that was due so many days ago."""
    return item(due_at=NOW - days(number), **given)


def incident(id_: str = "INC-1", ago: float = 40, **given: Any) -> dict[str, Any]:
    row = {"incident_id": id_, "title": "Payments time out", "family_id": "F-1", "started_at": NOW - days(ago)}
    return row | {"url": f"https://incidents.example/{id_}"} | given


def frame(rows: list[dict[str, Any]], schema: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)


def rules(*trackers: dict[str, Any], channels: tuple[dict[str, Any], ...] = (), **more: Any) -> ActionsFile:
    return ActionsFile.model_validate({"trackers": trackers, "channels": channels, **more})


def plan(
    *items: dict[str, Any],
    by: ActionsFile,
    sent: pl.DataFrame | None = None,
    fixes: tuple[dict[str, Any], ...] = (),
    incidents: tuple[dict[str, Any], ...] | None = None,
    now: datetime = NOW,
) -> actions.Plan:
    return actions.plan(
        items=frame(list(items), ITEMS),
        fixes=frame(list(fixes), FIXES),
        incidents=frame(list((incident(),) if incidents is None else incidents), INCIDENTS),
        sent=pl.DataFrame(schema=actions.SENT) if sent is None else sent,
        rules=by,
        team_channels={"money": "#team-money"},
        as_of=now,
    )
