"""Plant order drops of known size into real orders, and announce them as a status page would.

Drops take out a share of the orders of all countries or of one, for some hours or some days. Between them lie incidents that cost
nothing (impact none or minor, and maintenance), so that a loss claimed for them is a false claim.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from aftercast.errors import SourceRejected

CLOCK = ZoneInfo("Europe/London")
WARM_UP = 56  # days of history before the first event
APART = 4  # trading days between two events, at least
QUIET = ["none", "none", "none", "minor", "minor", "minor", "maintenance", "maintenance", "maintenance"]
FEED = [  # used when the real feed is not beside the data
    {"title": "Incident with Checkout", "duration_minutes": 62, "status_sequence": ["Investigating", "Update", "Resolved"]},
    {"title": "Disruption with Checkout", "duration_minutes": 114, "status_sequence": ["Investigating", "Update", "Update", "Resolved"]},
]


@dataclass(frozen=True, slots=True)
class Event:
    """An announced incident. `removed` are the orders it took; the times are on the shop's clock."""

    incident_id: str
    title: str
    impact: str
    component: str
    start: datetime
    end: datetime
    statuses: tuple[str, ...]
    country: str | None
    share: float
    removed: pl.DataFrame

    def truth(self) -> dict[str, Any]:
        """What was done, for people who check; lost_revenue is in GBP."""
        by_country = self.removed.group_by("country").agg(pl.len().alias("orders"), pl.col("pence").sum()).sort("country")
        return {
            "incident_id": self.incident_id,
            "start": utc(self.start),
            "end": utc(self.end),
            "country": self.country,
            "share_removed": self.share,
            "lost_orders": self.removed.height,
            "lost_revenue": self.removed["pence"].sum() / 100,
            "by_country": {
                row["country"]: {"orders": row["orders"], "revenue": row["pence"] / 100} for row in by_country.iter_rows(named=True)
            },
        }


def utc(moment: datetime) -> str:
    """Return a time on the shop's clock as ISO 8601 in UTC."""
    return moment.replace(tzinfo=CLOCK).astimezone(ZoneInfo("UTC")).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_feed(path: Path) -> list[dict[str, Any]]:
    """Return the incidents whose style we borrow: titles, lengths, sequence of updates."""
    if not path.exists():
        return FEED
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        return [row for row in rows if " with " in row["title"] and row["duration_minutes"] and row["status_sequence"]] or FEED
    except (ValueError, KeyError, TypeError) as error:
        raise SourceRejected(f"{path}: not JSON lines with title, duration_minutes and status_sequence ({error!r})") from error


def read_given(path: Path) -> list[tuple[datetime, datetime, str | None, float]]:
    """Return the drops somebody prescribed: [{start, end, country or null, share_removed}], times without zone on the shop's clock."""
    try:
        return [
            (local(row["start"]), local(row["end"]), row["country"], float(row["share_removed"])) for row in json.loads(path.read_text())
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise SourceRejected(f"{path}: expected a list of start, end, country, share_removed ({error!r})") from error


def local(text: str) -> datetime:
    """Return an ISO 8601 time on the shop's clock."""
    moment = datetime.fromisoformat(text)
    return moment.astimezone(CLOCK).replace(tzinfo=None) if moment.tzinfo else moment


def choose(
    orders: pl.DataFrame, feed: list[dict[str, Any]], dice: random.Random
) -> list[tuple[str, datetime, datetime, str | None, float]]:
    """Draw (kind, start, end, country, share) for drops and quiet incidents, far enough apart, in order of time."""
    days = orders["at"].dt.truncate("1d").unique().sort().to_list()
    free = [index for index, day in enumerate(days[:-APART]) if day >= days[0] + timedelta(days=WARM_UP)]
    countries = orders.group_by("country").len().sort(["len", "country"], descending=[True, False])["country"].to_list()
    chosen = []
    for number, kind in enumerate(["drop"] * 12 + QUIET):
        if not free:
            break
        index = dice.choice(free)
        free = [other for other in free if abs(other - index) > APART]
        hours, lasts = dice.choice([(9, 3), (10, 4), (11, 5), (9, 6)]), dice.choice([1, 2, 3])
        start, end = days[index] + timedelta(hours=hours[0]), days[index] + timedelta(hours=sum(hours))
        if kind == "drop" and number % 3:
            start, end = days[index] + timedelta(hours=7), days[index + lasts - 1] + timedelta(hours=21)
        if kind != "drop":
            end = start + timedelta(minutes=min(360, max(15, dice.choice(feed)["duration_minutes"])))
        country = dice.choices([None, countries[0], dice.choice(countries)], [5, 3, 2])[0] if kind == "drop" else None
        chosen.append((kind, start, end, country, round(dice.uniform(0.2, 0.7), 2) if kind == "drop" else 0.0))
    return sorted(chosen, key=lambda event: event[1])


def plant(orders: pl.DataFrame, *, given: Path, feed: Path, seed: int) -> list[Event]:
    """Return the announced events with the orders each took. A file of prescribed drops is used instead of drawn ones when it exists."""
    dice, style = random.Random(seed), read_feed(feed)
    chosen = [("drop", *row) for row in read_given(given)] if given.exists() else choose(orders, style, dice)
    events: list[Event] = []
    taken: set[str] = set()
    for number, (kind, start, end, country, share) in enumerate(chosen, start=1):
        during = orders.filter(pl.col("at").is_between(start, end, closed="left"))
        during = during if country is None else during.filter(pl.col("country") == country)
        removed = {invoice for invoice in during["invoice"] if dice.random() < share} - taken
        taken |= removed
        like = dice.choice(style)
        impact = kind if kind != "drop" else "minor" if share < 0.35 else "major" if share < 0.55 else "critical"
        title = "Scheduled maintenance for Checkout" if kind == "maintenance" else f"{like['title'].split(' with ')[0]} with Checkout"
        statuses = ("In progress", "Completed") if kind == "maintenance" else tuple(like["status_sequence"])
        took = during.filter(pl.col("invoice").is_in(sorted(removed)))
        events.append(Event(f"shop-{number:03d}", title, impact, "Checkout", start, end, statuses, country, share, took))
    return events


def announce(events: list[Event], folder: Path) -> None:
    """Write the incident feed in the shape of a status page, and its updates one a line."""
    incidents, updates = [], []
    for event in events:
        step = (event.end - event.start) / max(1, len(event.statuses) - 1)
        said = [
            {"at": utc(event.start + step * n), "status": status, "message": f"{status}: {event.title}"}
            for n, status in enumerate(event.statuses)
        ]
        whole = {"id": event.incident_id, "title": event.title, "started_at": utc(event.start), "resolved_at": utc(event.end)}
        incidents.append({**whole, "updated_at": utc(event.end), "impact": event.impact, "components": [event.component], "updates": said})
        updates += [{"id": f"{event.incident_id}-{n}", "incident": event.incident_id, **update} for n, update in enumerate(said, start=1)]
    for name, rows in (("incidents", incidents), ("incident_updates", updates)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
