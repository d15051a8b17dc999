"""What ended an incident, as far as changes tell, and how often a kind of action did: counts with their interval.

An incident ended by an action when that was the last remedy tried on one of its three likeliest candidates' services and the impact ended
within an hour of its start. It ended in time, not necessarily because of it. What leaves no change (a restart) is not seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl
from scipy import stats

REMEDIES = ("rollback", "flag", "config", "infra")
WITHIN = timedelta(hours=1)
MOST_SUSPECTS = 3
LEAST_SEEN = 3


@dataclass(frozen=True, slots=True)
class Ending:
    """The remedy after which an incident ended; `change_id` is its evidence."""

    kind: str
    service: str
    change_id: str
    minutes: float


@dataclass(frozen=True, slots=True)
class Record:
    """How often something ended incidents: `hits` of `n` whose ending was seen; `unseen` others ended without a recorded remedy."""

    hits: int
    n: int
    unseen: int = 0

    @property
    def enough(self) -> bool:
        return self.n >= LEAST_SEEN

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval of the rate; None without a case."""
        if not self.n:
            return None
        found = stats.binomtest(self.hits, self.n).proportion_ci(0.95, method="wilson")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        seen = f"{self.hits} of {self.n}" if self.n else "none seen"
        rest = f", {self.unseen} more ended without a recorded remedy" if self.unseen else ""
        if not self.enough or self.interval is None:
            return f"not enough data ({seen}{rest})"
        low, high = self.interval
        return f"{seen} ({low:.0%} to {high:.0%}{rest})"


def endings(frames: Mapping[str, pl.DataFrame]) -> dict[str, Ending | None]:
    """Return what ended each incident that is over; None where no remedy was recorded.

    Args:
        frames: rows of mart_incidents, mart_incident_candidates and mart_changes, by name.
    """
    suspects: dict[str, tuple[set[str], set[str]]] = {}
    ranked = frames["mart_incident_candidates"].filter(pl.col("rank") <= MOST_SUSPECTS)
    for incident, kind, candidate, service in ranked.select("incident_id", "kind", "candidate_id", "service").iter_rows():
        services, blamed = suspects.setdefault(incident, (set(), set()))
        if kind != "none" and service:
            services.add(service)
        blamed.add(candidate)
    undoes = pl.col("is_rollback").fill_null(False)
    remedies = (
        frames["mart_changes"]
        .filter(undoes | pl.col("kind").is_in(REMEDIES))
        .select("change_id", pl.when(undoes).then(pl.lit("rollback")).otherwise("kind").alias("kind"), "service", "started_at")
        .sort("started_at", "change_id")
        .rows()
    )
    found: dict[str, Ending | None] = {}
    for row in frames["mart_incidents"].filter(~pl.col("is_open")).iter_rows(named=True):
        end = row.get("impact_end_at") or row.get("mitigated_at") or row.get("resolved_at")
        services, blamed = suspects.get(row["incident_id"], (set(), set()))
        found[row["incident_id"]] = _last(remedies, services, blamed, row["started_at"], end)
    return found


def _last(
    remedies: Iterable[tuple[str, str, str, datetime]], services: set[str], blamed: set[str], start: datetime, end: datetime | None
) -> Ending | None:
    if end is None:
        return None
    tried = [one for one in remedies if start < one[3] <= end and one[2] in services and one[0] not in blamed]
    if not tried or end - tried[-1][3] > WITHIN:
        return None
    change, kind, service, when = tried[-1]
    return Ending(kind, service, change, (end - when).total_seconds() / 60)
