"""What happened to each family and service, as the comparisons of fixes read it: incidents with times, reach and loss; deployments.

A deployment failed when a later change rolled it back or when it is the likeliest cause, above one half, of a counted incident: the same
rule as the published change failure rate, without the verdicts people gave by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from aftercast.measurement.inputs import Inputs
from aftercast.measurement.spans import DAY, Spans

DEPLOYMENT = "deploy"


@dataclass(frozen=True, slots=True)
class Occasions:
    """Incidents of families, by day; deployments, by service.

    Attributes:
        incidents: incident_id, family_id, day, end_day, one column per outcome, is_censored flags for times, currency.
    """

    incidents: dict[str, pl.DataFrame]
    changes: dict[str, pl.DataFrame]
    onsets: list[tuple[float, str, str]]

    def either_side(
        self, family: str | None, span: Spans, outcome: str, *, keep_unknown: bool = False
    ) -> tuple[pl.DataFrame, pl.DataFrame, int]:
        """Return incidents before and after with `value` and `is_censored`, without those that led to the fix, and how many straddle it."""
        own = self.incidents[str(family)].rename({outcome: "value", f"{outcome}_censored": "is_censored"})
        if not keep_unknown:
            own = own.filter(pl.col("value").is_not_null())
        day = pl.col("day")
        before = own.filter((day >= span.since) & (day < span.first) & ~pl.col("incident_id").is_in(list(span.triggers)))
        straddling = before.filter(pl.col("end_day") > span.first)
        if outcome == "time_to_recover":
            before = before.filter(pl.col("end_day") <= span.first)
        return before, own.filter((day >= span.last) & (day < span.until)), straddling.height

    def currency(self, before: pl.DataFrame, after: pl.DataFrame) -> str | None:
        """Return the currency of the losses; empty when there are several, None when none is known."""
        known = sorted(set(before["currency"].drop_nulls()) | set(after["currency"].drop_nulls()))
        return known[0] if len(known) == 1 else "" if known else None

    def deployments(self, service: str, span: Spans) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the deployments of a service before and after."""
        own = self.changes.get(service, _NO_CHANGES)
        day = pl.col("day")
        return own.filter((day >= span.since) & (day < span.first)), own.filter((day >= span.last) & (day < span.until))


_NO_CHANGES = pl.DataFrame(schema={"service": pl.String, "day": pl.Float64, "is_failed": pl.Boolean})


def _days(column: str, begin: datetime) -> pl.Expr:
    return (pl.col(column) - pl.lit(begin).cast(pl.Datetime("us", "UTC"))).dt.total_microseconds() / (DAY * 1e6)


def read_occasions(inputs: Inputs, begin: datetime, as_of: datetime, incident_loss: pl.DataFrame) -> Occasions:
    """Gather what the comparisons read; nothing after `as_of` is looked at."""
    reach = inputs.incident_services.group_by("incident_id").agg(pl.col("service").n_unique().alias("n_services"))
    losses = incident_loss.select(
        "incident_id",
        pl.col("lost_revenue").alias("loss_per_incident"),
        "currency",
        pl.col("journeys").list.len().cast(pl.Int64).alias("n_journeys"),
    )
    now = pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    minutes = pl.col("started_at")
    ended = pl.col("impact_end_at").is_not_null() & (pl.col("impact_end_at") < now)
    detected = pl.col("detected_at").is_not_null() & (pl.col("detected_at") < now)
    undetected_for = pl.min_horizontal(pl.coalesce("impact_end_at", now), now)
    frame = (
        inputs.incidents.join(inputs.families.select("incident_id", "family_id"), on="incident_id", how="inner")
        .filter(pl.col("started_at") < now)
        .join(reach, on="incident_id", how="left")
        .join(losses, on="incident_id", how="left")
        .select(
            "incident_id",
            "family_id",
            _days("started_at", begin).alias("day"),
            pl.when(ended).then(_days("impact_end_at", begin)).otherwise(float("inf")).alias("end_day"),
            ((pl.when(detected).then("detected_at").otherwise(undetected_for) - minutes).dt.total_seconds() / 60)
            .clip(lower_bound=0.0)
            .alias("time_to_detect"),
            (~detected).alias("time_to_detect_censored"),
            ((pl.when(ended).then("impact_end_at").otherwise(now) - minutes).dt.total_seconds() / 60)
            .clip(lower_bound=0.0)
            .alias("time_to_recover"),
            (~ended).alias("time_to_recover_censored"),
            (pl.col("n_services").fill_null(0) + pl.col("n_journeys").fill_null(0)).cast(pl.Float64).alias("blast_radius"),
            pl.lit(value=False).alias("blast_radius_censored"),
            "loss_per_incident",
            pl.lit(value=False).alias("loss_per_incident_censored"),
            "currency",
        )
        .sort("day", "incident_id")
    )
    return Occasions(
        incidents={str(family): members for (family,), members in frame.group_by(["family_id"], maintain_order=True)},
        changes={str(service): listed for (service,), listed in _changes(inputs, begin, as_of).group_by(["service"], maintain_order=True)},
        onsets=list(frame.select("day", "incident_id", "family_id").iter_rows()),
    )


def _changes(inputs: Inputs, begin: datetime, as_of: datetime) -> pl.DataFrame:
    rolled_back = inputs.changes.filter(pl.col("is_rollback").fill_null(value=False))["rolls_back_change_id"].drop_nulls().unique()
    known = inputs.incidents["incident_id"]
    suspected = inputs.candidates.filter(
        (pl.col("kind") == "change") & (pl.col("rank") == 1) & (pl.col("probability") > 0.5) & pl.col("incident_id").is_in(known.implode())
    )["candidate_id"]
    blamed = pl.concat([rolled_back, suspected.unique()])
    shipped = (
        (pl.col("kind") == DEPLOYMENT)
        & ~pl.col("is_rollback").fill_null(value=False)
        & ~pl.col("result").fill_null("success").is_in(["failure", "aborted"])
        & (pl.col("started_at") < pl.lit(as_of).cast(pl.Datetime("us", "UTC")))
        & pl.col("service").is_not_null()
    )
    return (
        inputs.changes.filter(shipped)
        .select(
            "change_id", "service", _days("started_at", begin).alias("day"), pl.col("change_id").is_in(blamed.implode()).alias("is_failed")
        )
        .sort("day", "change_id")
        .drop("change_id")
    )
