"""Alerts as episodes: what a Prometheus server fired, read from the series it writes about its own alerts.

`ALERTS_FOR_STATE` holds when an alert became active, for as long as it is: an episode is one such moment of one set of labels, whatever
window it is seen from. It ended at the first step at which the server watched and the alert was not firing. A step at which nothing was
scraped is a gap, not an end; an alert last seen firing before such a gap, or before the end of the window, is still open. Seconds are
those of the steps, so an alert shorter than a step can be missed.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import polars as pl
from pydantic import Field

from aftercast.declarations import Row
from aftercast.entities import ENTITIES
from aftercast.sources import Batch
from aftercast.sources.labels import Labels
from aftercast.sources.prometheus.queries import Only
from aftercast.sources.prometheus.ranges import EPOCH, SECOND, ask, numbers, steps
from aftercast.sources.quoting import narrowed
from aftercast.sources.web import Web
from aftercast.window import Window

log = logging.getLogger(__name__)

LOOK_BACK = timedelta(hours=6)  # how long a server may have been down across the start of a window
LONGEST_SILENCE = 180  # seconds; less than the five minutes for which the last value of a dead server is repeated
WATCHING = "max(timestamp(up))"
SCHEMA = dict(ENTITIES["alerts"].columns)


class AlertOptions(Row):
    """Which alerts, e.g. `selector: 'alertname!="Watchdog"'` or `only: {service: cart}`, and how finely.

    Steps as short as the rules' interval miss none.
    """

    selector: str = ""
    only: Only = Field(default_factory=dict)
    step_seconds: int = Field(default=60, ge=1)
    labels: Labels | None = None

    @property
    def promql(self) -> str:
        inside = self.selector.strip().removeprefix("{").removesuffix("}").strip(", ")
        firing = ",".join(filter(None, ('alertstate="firing"', inside)))
        active, fired = (narrowed(selector, self.only) for selector in (f"ALERTS_FOR_STATE{{{inside}}}", f"ALERTS{{{firing}}}"))
        return f"{active} and ignoring(alertstate) {fired}"


@dataclass(slots=True)
class Seen:
    """An alert as seen so far: its labels and the last step at which it fired."""

    labels: Mapping[str, str]
    last: int


def fingerprint(labels: Mapping[str, str]) -> str:
    """Return the fingerprint Alertmanager gives to a set of labels: FNV-1a over names and values in order, each closed by byte 255."""
    hashed = 0xCBF29CE484222325
    for name in sorted(labels):
        for byte in (*name.encode(), 255, *labels[name].encode(), 255):
            hashed = ((hashed ^ byte) * 0x100000001B3) % 2**64
    return f"{hashed:016x}"


def episodes(web: Web, source: str, options: AlertOptions, labels: Labels, window: Window) -> Iterator[Batch]:
    """Yield the alerts that fired or ended in a window; their rows bear the time they became active, which can lie before it."""
    asked = steps(Window(window.start - LOOK_BACK, window.end), options.step_seconds, closing=False)
    seen: dict[tuple[str, int], Seen] = {}
    notes, origin = Counter[str](), "alerts"
    for answer in ask(web, source, "alerts", options.promql, asked):
        origin = answer.origin
        notes.update(answer.warnings)
        for one in answer.series:
            named = {str(name): str(value) for name, value in one["metric"].items() if name not in ("__name__", "alertstate")}
            print_ = fingerprint(named)
            for time, since in numbers(one, source, answer.origin):
                if since > time:
                    notes["alert fires before it became active: a clock runs ahead"] += 1
                seen.setdefault((print_, int(since)), Seen(named, int(time))).last = int(time)
    watched = _watched(web, source, options.step_seconds, asked)
    start = (window.start - EPOCH) / SECOND
    rows = []
    for print_, since in sorted(seen):
        alert = seen[print_, since]
        place = bisect_right(watched, alert.last)
        ended = watched[place] if place < len(watched) else None
        if ended is None or ended >= start:
            mapped = (options.labels or labels).read(alert.labels, "service", "environment", "region", "severity")
            rows.append(
                {
                    "fingerprint": print_,
                    "started_at": EPOCH + since * SECOND,
                    "name": alert.labels.get("alertname"),
                    "ended_at": None if ended is None else EPOCH + ended * SECOND,
                    **mapped,
                }
            )
    log.info("source %s: %d alerts, %d of them open at the end", source, len(rows), sum(row["ended_at"] is None for row in rows))
    yield Batch("alerts", pl.DataFrame(rows, schema=SCHEMA), origin=origin, notes=notes)


def _watched(web: Web, source: str, step: int, asked: range) -> list[int]:
    """Return the steps at which the server had scraped something lately; all of them where no server says so (a ruler without targets)."""
    silence = min(3 * step, LONGEST_SILENCE)
    found = [
        int(time)
        for answer in ask(web, source, "when the server watched", WATCHING, asked)
        for one in answer.series
        for time, value in numbers(one, source, answer.origin)
        if time - value <= silence
    ]
    return sorted(found) or list(asked)
