"""The `alertmanager` kind: the alerts that are active when it is asked, sessionised into episodes.

Alertmanager keeps no history: it lists what is active now. An episode is one fingerprint and one start; however often it is listed, it is
one. It has ended when it is no longer listed, or when its end is past; `endsAt` in the future says that it is still firing. An end is known
as finely as one polls, and what starts and ends between two polls is never seen: where Prometheus can be asked, ask it for the history.
"""

from __future__ import annotations

import email.utils
import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import polars as pl

from aftercast.connections import Endpoint, resolve
from aftercast.declarations import Row, SourceRow
from aftercast.entities import ENTITIES
from aftercast.errors import ConfigError
from aftercast.landing.slices import entity_folder, superseded
from aftercast.settings import Settings, check_options, raw_folder
from aftercast.sources import Batch
from aftercast.sources.labels import Labels
from aftercast.sources.web import Page, Request, records, signed_in
from aftercast.window import Window, parse_utc

log = logging.getLogger(__name__)

PATH = "/api/v2/alerts"
ALERTS = ENTITIES["alerts"]
REJECTED = {"reason": pl.String, "raw": pl.String}
Key = tuple[str, datetime]


class Options(Row):
    """Options of an `alertmanager` source: matchers such as `environment="production"`, and whether suppressed alerts land."""

    filter: tuple[str, ...] = ()
    suppressed: Literal["land", "leave"] = "land"
    labels: Labels = Labels()


@dataclass(frozen=True, slots=True)
class Alertmanager:
    """A server and what it is asked for."""

    row: SourceRow
    settings: Settings
    endpoint: Endpoint
    options: Options

    def extract(self, window: Window) -> Iterator[Batch]:
        """Yield the alerts listed now that started before the window's end, and those that landed open and are no longer listed."""
        asked = Request(
            PATH, {**dict.fromkeys(("active", "silenced", "inhibited", "unprocessed"), "true"), "filter": [*self.options.filter]}
        )
        with signed_in(self.row.name, self.endpoint, keep=raw_folder(self.settings, self.row, window)) as web:
            page = web.ask(asked)
        polled, notes = _polled(page, window), Counter[str]()
        listed: dict[Key, dict[str, Any]] = {}
        left: set[Key] = set()
        rejected: list[tuple[str, str]] = []
        for alert in records(page, source=self.row.name):
            try:
                row = self._row(alert, polled)
            except (ConfigError, KeyError, TypeError, AttributeError) as error:
                rejected.append((f"not an alert: {type(error).__name__}", json.dumps(alert, ensure_ascii=False)))
                continue
            key = (row["fingerprint"], row["started_at"])
            why = _suppression(alert)
            notes.update({f"alert {one}": 1 for one in why})
            if row["started_at"] > polled:
                notes["alert starts after it was listed: a clock runs ahead"] += 1
            if row["started_at"] >= window.end or (why and self.options.suppressed == "leave"):
                left.add(key)
            else:
                listed[key] = row
        landed = self._landed(window)
        for row in landed:
            if _key(row) in listed and row["suppressed"] is False:
                listed[_key(row)]["suppressed"] = False  # it had notified somebody before it was silenced
        gone = [{**row, "ended_at": row["ended_at"] or polled} for row in landed if _key(row) not in listed.keys() | left]
        log.info("source %s: %d alerts listed, %d no longer; %s", self.row.name, len(listed), len(gone), dict(notes))
        yield Batch(
            "alerts",
            pl.DataFrame([*listed.values(), *gone], schema=dict(ALERTS.columns)),
            origin=page.origin,
            rejected=pl.DataFrame(rejected, schema=REJECTED, orient="row") if rejected else None,
            notes=notes,
        )

    def _row(self, alert: dict[str, Any], polled: datetime) -> dict[str, Any]:
        labels = {str(name): str(value) for name, value in alert["labels"].items()}
        ends = parse_utc(alert["endsAt"]) if alert.get("endsAt") else None
        return {
            "fingerprint": str(alert["fingerprint"]),
            "started_at": parse_utc(alert["startsAt"]),
            "name": labels.get("alertname"),
            "ended_at": ends if ends is not None and ends <= polled and ends.year > 1 else None,  # year 1 is Go's "no time"
            "suppressed": bool(_suppression(alert)),
            **self.options.labels.read(labels, "service", "environment", "region", "severity"),
        }

    def _landed(self, window: Window) -> list[dict[str, Any]]:
        """What earlier windows left open, and what this window landed when it was extracted before."""
        files = sorted(entity_folder(self.settings, ALERTS.name, self.row.name).glob("date=*/*.parquet"))
        own = set(superseded(iter(files), window=window, pieces=()))
        latest: dict[Key, dict[str, Any]] = {}
        for mine in (False, True):
            paths = [path for path in files if (path in own) is mine]
            if paths:
                scans = [pl.scan_parquet(path, hive_partitioning=False, glob=False) for path in paths]
                whole = pl.concat([*scans, pl.LazyFrame(schema=ALERTS.schema)], how="diagonal")  # older files lack newer columns
                rows = whole.select(*ALERTS.columns, "ingested_at").collect()
                for row in rows.sort("ingested_at", pl.col("ended_at").is_not_null()).drop("ingested_at").iter_rows(named=True):
                    latest[_key(row)] = {**row, "mine": mine}
        kept = [row for row in latest.values() if row.pop("mine") or row["ended_at"] is None]
        return [row for row in kept if row["started_at"] < window.end]


def _key(row: dict[str, Any]) -> Key:
    return row["fingerprint"], row["started_at"]


def _polled(page: Page, window: Window) -> datetime:
    """When the server answered by its own clock; the end of the window where it does not say."""
    try:
        return email.utils.parsedate_to_datetime(page.headers["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return window.end


def _suppression(alert: dict[str, Any]) -> list[str]:
    """Why an alert notifies nobody."""
    status = alert.get("status") or {}
    return [why for why, by in (("silenced", "silencedBy"), ("inhibited", "inhibitedBy"), ("muted", "mutedBy")) if status.get(by)]


def open(row: SourceRow, settings: Settings) -> Alertmanager:
    """Return the server a row of sources.yml declares.

    Raises:
        ConfigError: an option or the connection does not fit.
    """
    options = check_options(row, Options)
    return Alertmanager(row, settings, resolve(row.name, row.connection), options)
