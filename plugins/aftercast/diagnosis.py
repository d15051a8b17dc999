"""What may be wrong with a deployment: configuration, disk, memory, key, store, files, warehouse, mart, audit log, sources, connections.
Nothing is changed.

Every finding says what was looked at, and when it is not good what to do. Other systems are not asked; `aftercast source check` does that.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from aftercast import connections, landing, warehouse, watching
from aftercast.acting import audit
from aftercast.declarations import FreshnessRow
from aftercast.errors import AftercastError
from aftercast.settings import Deployment, Settings
from aftercast.version import code_version
from aftercast.watching.freshness import in_words

Verdict = Literal["good", "warning", "bad"]

LEAST_FREE = 5 * 10**9  # bytes; a refresh of a year of the demo company needs about half of that
LEAST_MEMORY = 4 * 10**9  # bytes; `make run` takes 2.1 GiB


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
    yield from _store(settings)
    damaged = landing.damaged(settings)
    yield from _files(damaged)
    yield from _warehouse(settings)
    yield from _mart(settings, deployment.pipeline.freshness if deployment else FreshnessRow(), now)
    yield from _audit(settings)
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


def _store(settings: Settings) -> Iterator[Finding]:
    if not settings.store:
        return
    if not os.environ.get("AFTERCAST_TOKEN_KEY"):
        yield Finding("store", "bad", f"{settings.store}, without AFTERCAST_TOKEN_KEY", "set the same AFTERCAST_TOKEN_KEY on all machines")
    else:
        yield Finding("store", "good", f"{settings.store}; `aftercast store status` asks it")


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


def _mart(settings: Settings, promise: FreshnessRow, now: datetime) -> Iterator[Finding]:
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
    elif behind > promise.within:
        yield Finding(
            "mart",
            "warning",
            f"{said}, {in_words(behind)} ago; promised are {promise.within_hours:g} hours",
            "look which extract or refresh is red (docs/runbook.md)",
        )
    else:
        yield Finding("mart", "good", said)
    yield from _freshness(settings, promise, now)


def _freshness(settings: Settings, promise: FreshnessRow, now: datetime) -> Iterator[Finding]:
    """How much of the time the mart was as young as promised, once a day is known about."""
    stands = watching.standing(watching.history(settings), promise, now)
    if stands is None or stands.ratio is None or stands.known.days < 1:
        return
    known = min(stands.known.days, promise.window_days)
    said = f"younger than {promise.within_hours:g} hours {stands.ratio:.1%} of the last {known} days; promised are {promise.objective:.1%}"
    if stands.kept:
        yield Finding("freshness", "good", said)
    else:
        yield Finding("freshness", "warning", said, "see which DAG was red or slow, or promise what can be kept (config/pipeline.yml)")


def _audit(settings: Settings) -> Iterator[Finding]:
    if not (settings.audit / "log.jsonl").exists():
        return
    wrong = audit.problems(settings.audit)
    if wrong:
        yield Finding(
            "audit log", "bad", wrong[0], "compare it with the copy you keep elsewhere; what it says cannot be trusted from there on"
        )
    else:
        yield Finding("audit log", "good", f"{len(audit.rows(settings.audit)):,} events, each bound to the one before")


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
            if str(found.extra.get("verify", True)).lower() == "false":
                advice = "give the path of the CA file as `verify` in its extra (docs/security.md)"
                yield Finding(f"connection {connection}", "warning", "the certificate of the other side is not checked", advice)
            else:
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
