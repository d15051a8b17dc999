"""What happened to each family and service, as the comparisons of fixes read it: incidents with times, reach and loss; deployments.

A deployment failed when a later change rolled it back or when it is the likeliest cause, above one half, of a counted incident: the same
rule as the published change failure rate, without the verdicts people gave by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from aftercast.measurement.inputs import Inputs
from aftercast.measurement.spans import DAY, Spans

DEPLOYMENT = "deploy"


TIMES = ("time_to_detect", "time_to_recover")
MEASURED = (*TIMES, "blast_radius", "loss_per_incident")

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Incidents:
    """The incidents of one family, by day of onset; values by outcome, NaN where unknown, open ones known to last at least so long."""

    days: Array
    end_days: Array
    names: npt.NDArray[np.str_]
    values: dict[str, Array]
    is_open: dict[str, Flags]
    currencies: npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Side:
    """What lies on one side of a fix."""

    days: Array
    values: Array
    is_open: Flags
    currencies: frozenset[str]


@dataclass(frozen=True, slots=True)
class Occasions:
    """Incidents by family; days and failures of deployments by service; (day, incident, family) of every incident of a family."""

    incidents: dict[str, Incidents]
    changes: dict[str, tuple[Array, Flags]]
    onsets: list[tuple[float, str, str]]

    def either_side(self, family: str | None, span: Spans, outcome: str, *, keep_unknown: bool = False) -> tuple[Side, Side, int]:
        """Return the incidents before, without those that led to the fix, and after, and how many were open while it shipped.

        Time to recover leaves those out: what ended them may have been the fix.
        """
        own = self.incidents[str(family)]
        values = own.values[outcome]
        known = np.ones(len(values), dtype=bool) if keep_unknown else ~np.isnan(values)
        before = known & (own.days >= span.since) & (own.days < span.first) & ~np.isin(own.names, sorted(span.triggers))
        after = known & (own.days >= span.last) & (own.days < span.until)
        straddling = before & (own.end_days > span.first)
        if outcome == "time_to_recover":
            before &= ~straddling
        nobody = np.zeros(len(values), dtype=bool)
        sides = [
            Side(own.days[one], values[one], own.is_open.get(outcome, nobody)[one], frozenset(own.currencies[one].tolist()) - {""})
            for one in (before, after)
        ]
        return sides[0], sides[1], int(straddling.sum())

    def deployments(self, service: str, span: Spans) -> tuple[Flags, Flags]:
        """Return which deployments of a service failed, before and after."""
        days, failed = self.changes.get(service, (np.zeros(0), np.zeros(0, dtype=bool)))
        return failed[(days >= span.since) & (days < span.first)], failed[(days >= span.last) & (days < span.until)]


def currency(before: Side, after: Side) -> str | None:
    """Return the currency of the losses; empty when there are several, None when none is known."""
    known = sorted(before.currencies | after.currencies)
    return known[0] if len(known) == 1 else "" if known else None


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
            "loss_per_incident",
            "currency",
        )
        .sort("day", "incident_id")
    )
    grouped = _changes(inputs, begin, as_of).group_by(["service"], maintain_order=True)
    return Occasions(
        incidents={str(family): _incidents(members) for (family,), members in frame.group_by(["family_id"], maintain_order=True)},
        changes={str(service): (listed["day"].to_numpy(), listed["is_failed"].to_numpy()) for (service,), listed in grouped},
        onsets=list(frame.select("day", "incident_id", "family_id").iter_rows()),
    )


def _incidents(members: pl.DataFrame) -> Incidents:
    return Incidents(
        days=members["day"].to_numpy(),
        end_days=members["end_day"].to_numpy(),
        names=np.array(members["incident_id"].to_list(), dtype=np.str_),
        values={outcome: members[outcome].cast(pl.Float64).fill_null(float("nan")).to_numpy() for outcome in MEASURED},
        is_open={outcome: members[f"{outcome}_censored"].to_numpy() for outcome in TIMES},
        currencies=np.array(members["currency"].fill_null("").to_list(), dtype=np.str_),
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
