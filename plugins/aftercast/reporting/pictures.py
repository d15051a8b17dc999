"""The pictures of a week: for its costliest incidents, the severest episode that hurt. Mart rows to histories; pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from aftercast.reporting.figures import IncidentLine, IncidentPicture
from aftercast.reporting.history import EPISODES, INCIDENTS, POINTS, History, checked, finding, peak, strongest
from aftercast.reporting.rows import Rows, with_schema
from aftercast.window import Window


def of_week(rows: Rows, table: Sequence[IncidentLine], as_of: datetime, most: int) -> tuple[IncidentPicture, ...]:
    """Return the pictures of the first incidents of the table that have an episode with points; of equal episodes the earliest."""
    points = rows["mart_anomaly_points"].filter(pl.col("actual").is_not_null())
    hurting = rows["mart_anomalies"].filter("hurts")
    drawn = hurting.join(points, on="anomaly_id", how="semi").sort(
        "score", "started_at", "anomaly_id", descending=[True, False, False], nulls_last=True
    )
    found: list[IncidentPicture] = []
    for line in table:
        own = drawn.filter((pl.col("incident_id") == line.incident_id) & pl.col("explained_by").is_null())
        if own.height and len(found) < most:
            episode = own.row(0, named=True)
            around = rows["mart_anomaly_points"].filter(pl.col("anomaly_id") == episode["anomaly_id"]).sort("bucket_at")
            history = checked(
                History(
                    series_id=episode["series_id"],
                    window=Window(around["bucket_at"][0], around["bucket_at"][-1] + timedelta(minutes=1)),
                    as_of=as_of,
                    points=with_schema(around, POINTS),
                    episodes=with_schema(hurting.filter(pl.col("series_id") == episode["series_id"]), EPISODES),
                    incidents=_incidents(rows, hurting.filter(pl.col("series_id") == episode["series_id"]), line.incident_id),
                    about=episode["started_at"],
                )
            )
            worst = strongest(history)
            found.append(
                IncidentPicture(line.incident_id, line.title, finding(history), peak(history.points, worst) if worst else None, history)
            )
    return tuple(found)


def none_text(rows: Rows, table: Sequence[IncidentLine], found: Sequence[IncidentPicture]) -> str:
    """Say that no watched series shows the week's incidents, where that is known."""
    if found or not table or {"mart_anomalies", "mart_anomaly_points"} & set(rows.absent):
        return ""
    return "No watched series shows an episode that hurts in these incidents, so there is none to draw."


def _incidents(rows: Rows, episodes: pl.DataFrame, incident_id: str) -> pl.DataFrame:
    """Return the incident and the others that episodes of its series are linked to."""
    linked = rows["mart_incidents"].filter(pl.col("incident_id").is_in([incident_id, *episodes["incident_id"].drop_nulls()]))
    over = pl.col("impact_minutes").is_not_null() & ~pl.col("is_censored").fill_null(value=False)
    end = pl.when(over).then(pl.col("started_at") + pl.duration(seconds=pl.col("impact_minutes") * 60))
    return with_schema(linked.with_columns(impact_end_at=end), INCIDENTS)
