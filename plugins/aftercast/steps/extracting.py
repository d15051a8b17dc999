"""What extracts and keeps the landing zone: windows, extracts, reconciliation, retention."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from aftercast import extraction, landing, store
from aftercast.errors import ConfigError
from aftercast.settings import Settings
from aftercast.window import Window, parse_utc

log = logging.getLogger(__name__)


def choose_window(source: str, given_from: str | None, given_to: str | None, interval_start: Any, interval_end: Any) -> Window:
    """Return the window an extract run is for.

    A window given by hand wins. Otherwise it is the data interval, begun earlier when the source's last window ended earlier, so that
    missed and failed runs leave no gap, and by the overlap its row asks for.

    Raises:
        ConfigError: only one end was given, or neither a window nor a data interval is known.
    """
    if given_from and given_to:
        return Window.parse(given_from, given_to)
    if given_from or given_to:
        raise ConfigError(f"source {source!r}: give both `from` and `to`, or neither")
    if interval_start is None or interval_end is None:
        raise ConfigError(f'source {source!r}: a run triggered by hand needs its window, e.g. {{"from": "2026-09-21", "to": "2026-09-28"}}')
    settings = Settings.from_environment()
    start, end = parse_utc(interval_start.isoformat()), parse_utc(interval_end.isoformat())
    return extraction.scheduled_window(settings, settings.deployment.source(source), start, end)


def extract(source: str, window: Window, *, ingested_at: datetime) -> dict[str, int]:
    """Extract a window of a source, gate it, and land it. Returns row counts."""
    settings = Settings.from_environment()
    return _counts(extraction.extract(settings, settings.deployment.source(source), window, ingested_at=ingested_at))


def reconcile(source: str, *, ingested_at: datetime) -> dict[str, int]:
    """Extract the last covered days of a source again, as one window: what was deleted upstream is gone afterwards. Returns row counts."""
    settings = Settings.from_environment()
    row = settings.deployment.source(source)
    window = extraction.reconciled_window(settings, row)
    if window is None:
        log.info("source %s has not been extracted yet: there is nothing to reconcile", source)
        return _counts([])
    return _counts(extraction.extract(settings, row, window, ingested_at=ingested_at, whole=True))


def _counts(landed: list[landing.Landed]) -> dict[str, int]:
    return {name: sum(getattr(entity, name) for entity in landed) for name in ("received", "landed", "rejected", "changed_files")}


def prune(now: datetime) -> dict[str, int]:
    """Forget rows and raw pages whose time is over, and what killed tasks left behind. Returns how many files and folders of each."""
    settings = Settings.from_environment()
    landing.prepare(settings)
    return {**landing.prune(settings, now), "outdated_files": _keep_young(now) if _anything_goes(settings) else 0}


def _anything_goes(settings: Settings) -> bool:
    return any(source.keep_days for source in settings.deployment.sources)


@store.keeping
def _keep_young(now: datetime) -> int:
    """Delete rows older than their source keeps them. The audit log says so before it happens, once however often it is tried."""
    from aftercast.acting import audit

    settings = Settings.from_environment()
    landing.fetch_all(settings)
    found = landing.outdated(settings, now)
    events = [
        {
            "event_id": audit.event_id("outdated", one.source, one.entity, one.kept_from),
            "at": now.isoformat(),
            "who": audit.OURSELVES,
            "what": "outdated",
            "source": one.source,
            "entity": one.entity,
            "kept_from": one.kept_from.isoformat(),
            "rows_n": one.rows,
            "files_n": len(one.files),
        }
        for one in found
    ]
    if events:
        audit.append(settings.audit, events)
    return landing.keep_young(settings, found)
