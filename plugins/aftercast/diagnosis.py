"""What may be wrong with a deployment: configuration, disk, memory, key, files, warehouse, mart, sources, connections. Nothing is changed.

Every finding says what was looked at, and when it is not good what to do. Other systems are not asked; `aftercast source check` does that.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from aftercast import connections, landing, warehouse
from aftercast.errors import AftercastError
from aftercast.settings import Deployment, Settings
from aftercast.version import code_version

Verdict = Literal["good", "warning", "bad"]

LEAST_FREE = 5 * 10**9  # bytes; a refresh of a year of the demo company needs about half of that
LEAST_MEMORY = 4 * 10**9  # bytes; `make run` takes 2.1 GiB
STALE = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and what to do when it is not good."""

    subject: str
    verdict: Verdict
    said: str
    advice: str = ""


def diagnose(settings: Settings, now: datetime) -> Iterator[Finding]:
    """Yield findings in the order in which things depend on each other.

    Args:
        settings: the deployment.
        now: the time staleness is measured from.
    """
    yield _python()
    deployment: Deployment | None = None
    try:
        deployment = settings.deployment
        counts = f"{len(deployment.sources)} sources, {len(deployment.signals)} signals, {len(deployment.journeys)} journeys"
        yield Finding("configuration", "good", f"{settings.config}: {counts}")
    except AftercastError as error:
        yield Finding("configuration", "bad", str(error), "mend the file and run this again")
    yield from _home(settings)
    yield _memory()
    yield _key(settings)
    damaged = landing.damaged(settings)
    yield from _files(damaged)
    yield from _warehouse(settings)
    yield from _mart(settings, now)
    if deployment is not None and not damaged:
        yield from _sources(settings, deployment)
        yield from _connections(deployment)
    yield _pdf()


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] == (3, 11):
        return Finding("python", "good", found)
    return Finding(
        "python", "bad", f"{found}, and 3.11 is what everything is locked and tested for", "make PYTHON=/path/to/python3.11 setup"
    )


def _home(settings: Settings) -> Iterator[Finding]:
    place = next(path for path in (settings.home, *settings.home.parents) if path.exists())
    if not os.access(place, os.W_OK):
        yield Finding("state", "bad", f"{place} cannot be written", "give it to this user, or set AFTERCAST_HOME")
        return
    free = shutil.disk_usage(place).free
    said = f"{settings.home}, {free / 1e9:.0f} GB free"
    if free < LEAST_FREE:
        yield Finding("state", "warning", said, "free some: a publish builds a whole new mart beside the old one")
    else:
        yield Finding("state", "good", said)


def _memory() -> Finding:
    bytes_there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    said = f"{bytes_there / 2**30:.0f} GiB of memory, {os.cpu_count()} cores"
    return Finding("machine", "good", said) if bytes_there >= LEAST_MEMORY else Finding("machine", "warning", said, "give it 4 GiB")


def _key(settings: Settings) -> Finding:
    path = settings.home / "secrets" / "token.key"
    if os.environ.get("AFTERCAST_TOKEN_KEY"):
        return Finding("token key", "good", "from AFTERCAST_TOKEN_KEY")
    if not path.exists():
        return Finding("token key", "good", "made by the first extract")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return Finding("token key", "bad", f"{path} can be read by others", f"chmod 600 {path}")
    return Finding("token key", "good", f"{path}; keep a copy: without it people get new tokens")


def _files(damaged: list[Path]) -> Iterator[Finding]:
    """Landed, declared and derived files: whether each holds the rows that were written."""
    if not damaged:
        yield Finding("files", "good", "every landed, declared and derived file holds the rows that were written")
    for path in damaged:
        yield Finding("files", "bad", f"{path} is damaged", landing.what_to_do(path))


def _warehouse(settings: Settings) -> Iterator[Finding]:
    if not settings.warehouse.exists():
        yield Finding("warehouse", "warning", "not built yet", "aftercast run")
        return
    try:
        tables = warehouse.query(settings.warehouse, "select count(*) from duckdb_tables()").item()
        yield Finding("warehouse", "good", f"{tables} tables, {settings.warehouse.stat().st_size / 1e6:.0f} MB")
    except AftercastError as error:
        busy = "lock" in str(error).lower()
        advice = "a refresh is writing; wait for it" if busy else f"delete {settings.warehouse} and refresh: it can be built again whole"
        yield Finding("warehouse", "warning" if busy else "bad", str(error).splitlines()[0], advice)


def _mart(settings: Settings, now: datetime) -> Iterator[Finding]:
    if not settings.mart.exists():
        dangling = settings.mart.is_symlink()
        said = f"{settings.mart} leads nowhere" if dangling else "nothing is published yet"
        yield Finding("mart", "bad" if dangling else "warning", said, "aftercast run")
        return
    try:
        run = warehouse.query(settings.mart, "select as_of, code_version from marts.mart_run").row(0, named=True)
    except AftercastError as error:
        yield Finding("mart", "bad", str(error).splitlines()[0], "aftercast run publishes it anew")
        return
    behind = now - run["as_of"]
    said = f"as of {run['as_of']:%Y-%m-%d %H:%M} UTC, by {run['code_version']}"
    if run["code_version"] != code_version():
        yield Finding("mart", "warning", f"{said}; the code is {code_version()} now", "the next refresh rebuilds it")
    elif behind > STALE:
        yield Finding("mart", "warning", f"{said}, {behind.days} days ago", "look which extract or refresh is red (docs/runbook.md)")
    else:
        yield Finding("mart", "good", said)


def _sources(settings: Settings, deployment: Deployment) -> Iterator[Finding]:
    for source in deployment.sources:
        subject = f"source {source.name}"
        until, gaps = landing.covered_until(settings, source.name), landing.gaps(settings, source.name)
        refused = landing.quarantined(settings, source.name)
        if until is None:
            yield Finding(subject, "warning", "never extracted", f"aftercast source check {source.name}")
        elif gaps:
            more = f" and {len(gaps) - 1} more" if len(gaps) > 1 else ""
            yield Finding(subject, "warning", f"nothing covers {gaps[0]}{more}", f"backfill extract__{source.name}")
        elif refused:
            yield Finding(
                subject, "warning", f"{refused:,} rows in quarantine", f"look why below {settings.quarantine}, mend, aftercast replay"
            )
        else:
            yield Finding(subject, "good", f"covered until {until:%Y-%m-%d %H:%M} UTC")


def _connections(deployment: Deployment) -> Iterator[Finding]:
    wanted = {source.connection: source.name for source in deployment.sources if source.connection}
    for connection, whose in sorted(wanted.items()):
        try:
            found = connections.resolve(whose, connection)
            yield Finding(f"connection {connection}", "good", found.base_url or found.kind)
        except AftercastError as error:
            yield Finding(f"connection {connection}", "bad", str(error), "add it, then run this again")


def _pdf() -> Finding:
    from aftercast.reporting import printing

    try:
        import weasyprint  # noqa: F401
    except (ImportError, OSError):
        return Finding("PDF", "warning", "Pango is missing, so reports are made without PDF", printing.INSTALL)
    return Finding("PDF", "good", "reports can be printed")
