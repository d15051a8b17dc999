"""Whether the page can be trusted: what each source delivered, what is missing or late, and what the banner at the top must say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import polars as pl

from aftercast.reporting import wording
from aftercast.reporting.figures import SourceLine
from aftercast.reporting.rows import Rows
from aftercast.window import Window

# A weekly page is expected within a day of the week's end; data older than a week and a day is stale.
FRESH = timedelta(days=8)


def sources(rows: Rows, until: datetime) -> tuple[SourceLine, ...]:
    """Return what each source delivered of each entity over every window kept; it is late when it is not covered until the time given."""
    return tuple(
        SourceLine(
            source=row["source"],
            entity=row["entity"] or "",
            received=row["received"],
            rejected=row["rejected"],
            duplicate=row["duplicate"],
            late=row["late"],
            reasons=row["reasons"] or "",
            covered_until=row["window_end"],
            latest=row["watermark"],
            standing="missing" if row["window_end"] is None else "late" if row["window_end"] < until else "complete",
        )
        for row in rows["mart_source_coverage"].sort("source", "entity").iter_rows(named=True)
    )


def series(rows: Rows) -> tuple[tuple[str, int], ...]:
    """Return how many watched series were scored, and how many were not and why, most frequent first."""
    watched = rows["mart_signal_quality"].filter(pl.col("source_kind").fill_null("series") == "series")
    statuses = Counter(watched["status"].drop_nulls().to_list())
    return tuple(sorted(statuses.items(), key=lambda item: (-item[1], item[0])))


def banners(
    lines: Sequence[SourceLine],
    declared: Iterable[str],
    rows: Rows,
    week: Window,
    covered: Window,
    now: datetime | None,
    noun: str,
) -> tuple[str, ...]:
    """Return what a reader must know before reading on: staleness, missing sources, missing marts."""
    said, as_of = [], covered.end
    if covered.start > week.start:
        said.append(f"The data begins {wording.day_and_time(covered.start)} UTC: nothing of this {noun} is known before.")
    if as_of < week.end:
        said.append(f"This {noun} is not over: data reaches to {wording.day_and_time(as_of)} UTC, so every figure is partial.")
    if now is not None and now - as_of > FRESH:
        said.append(f"Stale data: the newest is from {wording.day_and_time(as_of)} UTC, {(now - as_of).days} days ago.")
    silent = sorted({*declared, *(line.source for line in lines)} - {line.source for line in lines if line.standing != "missing"})
    if silent and not rows.withheld.get("mart_source_coverage"):  # else what is missing may have been left out
        verb = "has" if len(silent) == 1 else "have"
        said.append(f"Missing: {wording.listing(silent)} {verb} delivered nothing yet; figures that rest on it are incomplete.")
    late: dict[str, datetime] = {}
    for line in lines:
        if line.standing == "late" and line.covered_until is not None:
            late[line.source] = min(late.get(line.source, line.covered_until), line.covered_until)
    for source, until in sorted(late.items()):
        said.append(f"Late: {source} is complete only to {wording.day_and_time(until)} UTC; figures that rest on it are incomplete.")
    if n_left_out := sum(rows.withheld.values()):
        incidents = wording.count(rows.withheld.get("mart_incidents", 0), "incident")
        said.append(
            f"Left out, because readers of this edition may not see them: {incidents} of all time and {n_left_out:,} rows in all. "
            "No figure counts them, and sums over many things are left out whole."
        )
    if "mart_incidents" in rows.absent:
        said.append("The mart of incidents is not published: nothing below can speak about incidents.")
    return tuple(said)


def notes(rows: Rows, lines: Sequence[SourceLine], n_excluded: int, noun: str) -> tuple[str, ...]:
    """Return the plain sentences of the data health section."""
    said = []
    rejected, late, duplicate = (sum(getattr(line, name) or 0 for line in lines) for name in ("rejected", "late", "duplicate"))
    if lines:
        said.append(
            f"{wording.count(rejected, 'row').capitalize()} rejected and kept in quarantine with a reason, {late:,} late, "
            f"{wording.count(duplicate, 'duplicate')} dropped."
        )
    else:
        said.append("No source coverage is published, so nobody can say what is missing.")
    never = [f"{line.source} {line.entity.replace('_', ' ')}" for line in lines if line.standing == "missing"]
    if never:
        said.append(f"Declared but never delivered: {wording.listing(never, 8)}.")
    if n_excluded:
        said.append(f"{wording.count(n_excluded, 'incident')} of this {noun} left out: tests, drills or excluded by a person.")
    unmapped = rows["mart_unmapped_names"].sort("kind", "name")
    if unmapped.height:
        named = [f"{kind} {wording.shorten(name, 60)}" for kind, name in unmapped.select("kind", "name").rows()]
        what = wording.count(unmapped.height, "name")
        said.append(f"{what.capitalize()} that nobody declared, so not told apart from others: {wording.listing(named, 5)}.")
    marts = [name for name in rows.absent if "." not in name and name not in ("mart_incidents", "mart_source_coverage")]
    if marts:
        said.append(f"Not published, so not shown: {wording.listing(marts, 12)}.")
    return tuple(said)
