"""Extract a source: a long window in bounded parts, each landed whole, with progress and counts in the log and failures named.

A part that fails ends the extract: what was landed before stays, nothing of the part itself is landed, and the next scheduled extract
begins where the last good part ended. Only what a quality gate holds back lets the parts after it go on.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

import polars as pl

from aftercast import landing
from aftercast.declarations import SourceRow
from aftercast.errors import AftercastError, LandingError, QualityError, SourceRejected, SourceUnavailable
from aftercast.settings import Settings, raw_folder
from aftercast.sources import Batch, open_source
from aftercast.window import DAY, Window

log = logging.getLogger(__name__)

SHOWN = 300  # characters of what a kind stumbled over that a message repeats
SAY_EVERY = 10.0  # seconds between two lines of progress
# How a kind stumbles over an answer that has not the shape it expects.
MISSHAPEN = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, pl.exceptions.PolarsError)


def parts(window: Window, most_days: int) -> list[Window]:
    """Return a window cut at midnights into parts of at most so many days, in order; 0 leaves it whole."""
    if not most_days:
        return [window]
    cut: list[Window] = []
    for day in window.days():
        if cut and day.end - cut[-1].start.replace(hour=0, minute=0, second=0, microsecond=0) <= most_days * DAY:
            cut[-1] = Window(cut[-1].start, day.end)
        else:
            cut.append(day)
    return cut


def scheduled_window(settings: Settings, source: SourceRow, start: datetime, end: datetime) -> Window:
    """Return the window of a scheduled extract: its interval, begun where the last extract ended if that is earlier, less the overlap."""
    landing.fetch_coverage(settings, source.name)
    covered = landing.covered_until(settings, source.name)
    begin = min(start, covered) if covered else start
    return Window(begin - timedelta(minutes=source.overlap_minutes), end)


def reconciled_window(settings: Settings, source: SourceRow) -> Window | None:
    """Return the last `reconcile_days` that were covered, from a midnight on; None when the source asks for none or has not begun."""
    landing.fetch_coverage(settings, source.name)
    covered = landing.covered_until(settings, source.name)
    if covered is None or not source.reconcile_days:
        return None
    start = (covered - source.reconcile_days * DAY).replace(hour=0, minute=0, second=0, microsecond=0)
    return Window(start, covered)


def extract(settings: Settings, source: SourceRow, window: Window, *, ingested_at: datetime, whole: bool = False) -> list[landing.Landed]:
    """Extract a window of a source, gate it, and land it, part by part.

    Args:
        settings: where to land.
        source: what to extract.
        window: the span to extract.
        ingested_at: when, for the rows' lineage.
        whole: do not cut the window.

    Raises:
        SourceUnavailable, SourceRejected: naming the source and the part that failed.
        QualityError: a gate held entities back; every part was tried.
    """
    from aftercast import quality

    landing.prepare(settings)
    gate = quality.landing_gate(settings)
    windows = [window] if whole else parts(window, source.max_window_days)
    results: list[landing.Landed] = []
    refused: list[str] = []
    begun = time.monotonic()
    for number, part in enumerate(windows, start=1):
        place = f"window {number} of {len(windows)}, {part}" if len(windows) > 1 else f"window {part}"
        log.info("source %s: %s", source.name, place)
        started = time.monotonic()
        try:
            landed = landing.land(settings, source, part, _asked(settings, source, part), ingested_at=ingested_at, gate=gate)
        except QualityError as error:
            refused.append(f"source {source.name!r}, {place}: {error}")
            log.error("source %s: %s: held back by the quality gate; %s", source.name, place, error)
            continue
        except (SourceUnavailable, SourceRejected, LandingError) as error:
            raise placed(error, source, place, number - 1) from error
        results += landed
        for entity in landed:
            log.info("%s", entity)
        rows = sum(entity.landed for entity in landed)
        log.info("source %s: %s: %s rows landed in %.1f s", source.name, place, f"{rows:,}", time.monotonic() - started)
    if refused:
        raise QualityError("\n".join(refused))
    log.info("source %s: %d window(s) in %.1f s", source.name, len(windows), time.monotonic() - begun)
    return results


def placed(error: AftercastError, source: SourceRow, place: str, landed_before: int = 0) -> AftercastError:
    said = str(error).removeprefix(f"source {source.name!r}: ")
    before = f"; the {landed_before} window(s) before it have landed" if landed_before else ""
    return type(error)(f"source {source.name!r}, {place}: {said} (nothing of this window was landed{before})")


def _asked(settings: Settings, source: SourceRow, window: Window) -> Iterator[Batch]:
    """Open the source and yield what it finds, with progress in the log and pages of an earlier extract of the window forgotten."""
    folder = raw_folder(settings, source, window)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    received: Counter[str] = Counter()
    said = time.monotonic()
    for number, batch in enumerate(told(source, open_source(source, settings).extract(window)), start=1):
        received[batch.entity] += batch.frame.height
        if time.monotonic() - said > SAY_EVERY:
            said = time.monotonic()
            counts = ", ".join(f"{count:,} {entity}" for entity, count in sorted(received.items()))
            log.info("source %s: %s so far, in %d batches; now at %s", source.name, counts, number, batch.origin)
        yield batch


def told(source: SourceRow, found: Iterator[Batch]) -> Iterator[Batch]:
    """Yield what a source finds; what its kind stumbles over becomes an error that says whose and where.

    Raises:
        SourceRejected: an answer has not the shape the kind expects.
        SourceUnavailable: the system could not be read.
    """
    origin = "the first page"
    while True:
        try:
            batch = next(found, None)
        except MISSHAPEN as error:
            problem = f"{type(error).__name__}: {error}"
            raise SourceRejected(
                f"source {source.name!r}: what came after {origin} has not the shape kind {source.kind!r} expects ({problem[:SHOWN]}); "
                f"see what it answers with `aftercast source check {source.name}`, then correct its options or the system that answers"
            ) from error
        except OSError as error:
            raise SourceUnavailable(f"source {source.name!r}: reading failed after {origin} ({error})") from error
        if batch is None:
            return
        origin = batch.origin
        yield batch
