"""Data health: how old the data is, what each source delivered, what is watched, and what nobody can know."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from aftercast.declarations import FreshnessRow
from aftercast.page.reading import Mart
from aftercast.reporting import wording
from aftercast.watching.freshness import in_words

USUAL = FreshnessRow().within
GAPS = 30
NAMES = 50


def banners(run: dict[str, Any], mart: Mart, now: datetime, within: timedelta = USUAL) -> list[str]:
    """Return what a reader must know before reading on. `within` is how old the mart may be."""
    said = []
    as_of = run.get("as_of")
    if as_of is None:
        said.append("This mart does not say until when it knows: it was published without a row in mart_run.")
    elif now - as_of > within:
        said.append(f"Stale data: the newest is from {wording.day_and_time(as_of)} UTC, {in_words(now - as_of)} ago.")
    if not mart.has("mart_incidents"):
        said.append("The mart of incidents is not published: nothing here can speak about incidents.")
    silent = mart.rows("select distinct source from mart_source_coverage where is_declared and window_end is null order by 1")
    if silent:
        verb = "has" if len(silent) == 1 else "have"
        said.append(f"Missing: {wording.listing([row['source'] for row in silent])} {verb} delivered nothing of something declared.")
    return said


def health(mart: Mart) -> dict[str, Any]:
    """Return what the page of data health shows."""
    sources = mart.rows("select * from mart_source_coverage order by status = 'complete', source, entity")
    for row in sources:
        row["standing"] = "missing" if row["window_end"] is None else (row["status"] or "not known").replace("_", " ")
    series = mart.rows("select status, reason from mart_signal_quality where coalesce(source_kind, 'series') = 'series'")
    week = mart.row("select max(week_start) as week from mart_detector_health where mode = 'live' and is_complete_week")
    unscored = Counter((row["status"] or "not known", row["reason"] or "") for row in series if row["status"] != "scored")
    return {
        "sources": sources,
        "sums": {name: sum(row[name] or 0 for row in sources) for name in ("received", "rejected", "duplicate", "late")},
        "incomplete": sum(row["standing"] != "complete" for row in sources),
        "scored": sum(row["status"] == "scored" for row in series),
        "series": len(series),
        "unscored": [(status, reason, number) for (status, reason), number in unscored.most_common(12)],
        "week": week["week"] if week else None,
        "detectors": mart.rows(
            "select * from mart_detector_health where mode = 'live' and week_start = ? order by coalesce(status, '') = 'steady', signal",
            [week["week"]],
        )
        if week and week["week"]
        else [],
        "names": mart.rows(f"select * from mart_unmapped_names order by rows_n desc nulls last, kind, name limit {NAMES}"),
        "gaps": mart.rows(
            "select service, any_value(owner_team) as owner_team, list(signal_kind order by signal_kind) as kinds, "
            "max(incidents_without_signal_n) as incidents_n from mart_instrumentation_gaps "
            "where status in ('missing', 'silent') "
            f"group by service order by incidents_n desc nulls last, service limit {GAPS}"
        ),
    }
