"""What was measured, expected and found in one series, read back for a picture: a series, an anomaly or an incident is named by its id.

Points come from the kept scores of detection where they lie beside the mart, otherwise from the published points around episodes;
episodes and incidents come from the published mart. Nothing is scored here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from aftercast import reporting, warehouse
from aftercast.errors import ConfigError
from aftercast.landing import working
from aftercast.reporting.history import EPISODES, INCIDENTS, POINTS, History, parts, series_words
from aftercast.settings import Settings
from aftercast.window import Window, parse_utc

SHOWN = timedelta(days=14)
BEFORE, AFTER = timedelta(hours=12), timedelta(hours=6)
AT_MOST = 3  # pictures of one incident
NEAREST = 8


def plot(settings: Settings, name: str, since: str | None = None, until: str | None = None, output: Path | None = None) -> Path:
    """Write the picture of a series, an anomaly or an incident; return the file.

    Args:
        settings: where the mart and the scores are.
        name: an id. An incident shows its severest series, three at most.
        since, until: ends of the span shown; by default the last 14 days, or what surrounds the episode or the incident.
        output: a .html, .svg or .png file; by default `plots/<id>.html` in AFTERCAST_HOME.

    Raises:
        ConfigError: no such id (the nearest ones are listed), nothing to draw, or another kind of file.
    """
    title, shown = _resolve(settings, name)
    histories = [series_history(settings, series_id, _window(since, until, window), about) for series_id, window, about in shown]
    file = re.sub(r"[^A-Za-z0-9.=-]+", "_", name).strip("_")[:120] or "plot"
    return reporting.write_plot(title, histories, output or settings.home / "plots" / f"{file}.html")


def most_alarming(settings: Settings, limit: int = 20) -> pl.DataFrame:
    """Return the series with the most episodes that hurt: series_id, episodes, severest, last_at."""
    return warehouse.query(
        settings.mart,
        """
        select series_id, count(*) as episodes, round(max(score), 2) as severest, max(started_at) as last_at
        from marts.mart_anomalies
        where hurts
        group by series_id
        order by episodes desc, severest desc nulls last, series_id
        limit ?
        """,
        [limit],
    )


def series_history(settings: Settings, series_id: str, window: Window, about: datetime | None = None) -> History:
    """Return what is known of a series in a window; a span without scores has no points, and says why. `about`: as in `History`."""
    with warehouse.connect(settings.mart) as connection:
        as_of = warehouse.frame(connection, "select as_of from marts.mart_run")["as_of"][0]
        anomalies = warehouse.frame(connection, "select * from marts.mart_anomalies where series_id = ?", [series_id])
        incidents = _incidents(connection, series_id, anomalies)
        reasons = warehouse.frame(
            connection,
            "select reason from marts.mart_signal_quality where source_kind = 'series' and signal_id = ? and status <> 'scored'",
            [series_id],
        )
        kept = working.scores_of(settings, series_id)
        points = None if kept is None else points_of(kept)
        reason = (reasons["reason"][0] if reasons.height else "") or ""
        if points is None:
            points = _published_points(connection, series_id)
            reason = reason or "no scores of it are kept here, `aftercast run` computes them"
    return History(series_id, window, as_of, points, _as(anomalies, EPISODES), _as(incidents, INCIDENTS), reason, about=about)


def _incidents(connection: Any, series_id: str, anomalies: pl.DataFrame) -> pl.DataFrame:
    """Return the incidents that concern a series: of its service or journey, or linked to an episode of it; and those of its environment at
    the time of an episode that hurts.
    """
    places = parts(series_id)[1]
    subject = places.get("service") or places.get("journey") or ""
    linked = sorted({name for name in anomalies["incident_id"] if name is not None})
    sql = """
        select incident_id, title, started_at, coalesce(impact_end_at, as_of) as until, impact_end_at, environment,
               list_contains(?, incident_id) or (
                   (service_origin = ? or list_contains(services_impacted, ?) or list_contains(journeys, ?)) and environment = ?
               ) as concerns
        from marts.mart_incidents order by started_at, incident_id
    """
    environment = places.get("environment", "production")
    found = warehouse.frame(connection, sql, [linked, subject, subject, subject, environment])
    hurting = anomalies.filter("hurts")
    spans = list(zip(hurting["started_at"], hurting["ended_at"].fill_null(datetime.max.replace(tzinfo=UTC)), strict=True))
    beside = [
        where == environment and any(start < until and end > begin for start, end in spans)
        for begin, until, where in found.select("started_at", "until", "environment").rows()
    ]
    return found.with_columns(pl.col("concerns").fill_null(value=False)).filter(pl.col("concerns") | pl.Series(beside, dtype=pl.Boolean))


def points_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Return kept scores (columns of `detection.SCORES`, one row per series and day) as points, intervals within what values can be."""
    from aftercast.detection.detecting import INTERVAL

    long = (
        rows.with_columns(place=pl.int_ranges(pl.col("value").list.len()))
        .explode("place", "value", "is_masked", "expected", "scale")
        .with_columns(pl.col("value", "expected", "scale").fill_nan(None))
    )
    offset = pl.duration(minutes=pl.col("place") * pl.col("grain_minutes"))
    expected = pl.when("non_negative").then(pl.col("expected").clip(lower_bound=0.0)).otherwise("expected")
    low, high = pl.col("expected") - INTERVAL * pl.col("scale"), pl.col("expected") + INTERVAL * pl.col("scale")
    return long.select(
        bucket_at=pl.col("day_at") + offset,
        actual="value",
        expected=expected,
        low=pl.when("non_negative").then(low.clip(lower_bound=0.0)).otherwise(low),
        high=pl.when("share").then(high.clip(upper_bound=1.0)).otherwise(high),
        is_masked="is_masked",
    )


def _published_points(connection: Any, series_id: str) -> pl.DataFrame:
    there = "select 1 from information_schema.tables where table_schema = 'marts' and table_name = 'mart_anomaly_points'"
    if warehouse.frame(connection, there).is_empty():
        return pl.DataFrame(schema=POINTS)
    columns = ", ".join(POINTS)
    rows = warehouse.frame(connection, f"select {columns} from marts.mart_anomaly_points where series_id = ?", [series_id])
    return _as(rows, POINTS).unique("bucket_at", keep="first").sort("bucket_at")


def _resolve(settings: Settings, name: str) -> tuple[str, list[tuple[str, Window, datetime | None]]]:
    """Return a title and the series that an id stands for, each with the span to show and the episode it is about."""
    with warehouse.connect(settings.mart) as connection:
        as_of = warehouse.frame(connection, "select as_of from marts.mart_run")["as_of"][0]
        series = set(
            warehouse.frame(connection, "select signal_id from marts.mart_signal_quality where source_kind = 'series'")["signal_id"]
        )
        anomalies = warehouse.frame(connection, "select * from marts.mart_anomalies")
        incidents = warehouse.frame(connection, "select incident_id, title, started_at, impact_end_at from marts.mart_incidents")
    if name in series or name in set(anomalies["series_id"]):
        return series_words(name), [(name, Window(as_of - SHOWN, as_of), None)]
    own = anomalies.filter(pl.col("anomaly_id") == name)
    if own.height:
        row = own.row(0, named=True)
        return name, [(row["series_id"], _around(row["started_at"], row["ended_at"] or as_of, as_of), row["started_at"])]
    incident = incidents.filter(pl.col("incident_id") == name)
    if incident.is_empty():
        known = [*sorted(series), *incidents["incident_id"], *anomalies["anomaly_id"]]
        raise ConfigError(
            f"no series, anomaly or incident {name!r}{_nearest(name, known)}\n`aftercast plot` lists the most alarming series"
        )
    about = incident.row(0, named=True)
    severest = anomalies.filter((pl.col("incident_id") == name) & pl.col("hurts")).sort(
        "score", "started_at", "series_id", descending=[True, False, False], nulls_last=True
    )
    linked = severest.unique("series_id", keep="first", maintain_order=True).head(AT_MOST)
    if linked.is_empty():
        raise ConfigError(f"no watched series shows an episode that hurts in incident {name}; there is nothing to draw")
    start = min([about["started_at"], *linked["started_at"]])
    end = max([about["impact_end_at"] or as_of, *(ended or as_of for ended in linked["ended_at"])])
    window = _around(start, end, as_of)
    return " ".join(filter(None, (name, about["title"]))), [
        (series_id, window, at) for series_id, at in linked.select("series_id", "started_at").rows()
    ]


def _around(start: datetime, end: datetime, as_of: datetime) -> Window:
    length = end - start
    first, last = start - max(BEFORE, 2 * length), min(end + max(AFTER, length), max(as_of, end))
    return Window(first, last)


def _window(since: str | None, until: str | None, usual: Window) -> Window:
    end = parse_utc(until, what="--to") if until else usual.end
    start = parse_utc(since, what="--from") if since else (usual.start if usual.start < end else end - SHOWN)
    return Window(start, end)


def _as(rows: pl.DataFrame, schema: dict[str, Any]) -> pl.DataFrame:
    return rows.select((pl.col(name) if name in rows.columns else pl.lit(None)).cast(kind).alias(name) for name, kind in schema.items())


def _nearest(name: str, known: Iterable[str]) -> str:
    """Return the ids that contain what was asked, then those spelled most like it."""
    ids = list(dict.fromkeys(known))
    wanted = name.casefold()
    found = [one for one in ids if wanted in one.casefold()][:NEAREST]
    found += [one for one in difflib.get_close_matches(name, ids, n=NEAREST, cutoff=0.5) if one not in found]
    return "; nearest:\n  " + "\n  ".join(found[:NEAREST]) if found else ""
