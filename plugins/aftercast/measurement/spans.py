"""Which time before and after a fix is compared: everything known, cut where another fix of the same fault shipped.

Fixes of one fault that ship less than a week apart cannot be told apart by weekly looks: they are judged as one, between the time before
the first and the time after the last, and share what is found. Times are days since the first moment any table knows about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

import numpy as np
import numpy.typing as npt
import polars as pl

from aftercast.measurement.criteria import PROMISED, Criterion, read_criterion
from aftercast.measurement.inputs import Inputs

SHIPPED = ("done", "verified", "reopened")
TOGETHER_DAYS = 7.0
DAY = 86_400.0
MOVERS: dict[str, frozenset[str | None]] = {
    "recurrence": frozenset({"repair", "prevent", None}),
    "time_to_detect": frozenset({"detect"}),
    "time_to_recover": frozenset({"mitigate"}),
    "blast_radius": frozenset({"mitigate", "repair", "prevent", None}),
    "loss_per_incident": frozenset({"detect", "mitigate", "repair", "prevent", None}),
    "loss_per_week": frozenset({"detect", "mitigate", "repair", "prevent", None}),
    "change_failure_rate": frozenset({"repair", "prevent", None}),
}
"""Types whose fixes may move an outcome: the comparison stops where another of them ships."""

Days = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fix:
    """An action item that shipped."""

    item: str
    incident: str | None
    family: str | None
    service: str | None
    kind: str | None
    shipped_at: datetime | None
    day: float | None
    criterion: Criterion


@dataclass(frozen=True, slots=True)
class Spans:
    """The time compared, in days: before is [since, first), after is [last, until).

    Attributes:
        together: other fixes judged as one with it; triggers: incidents they all came from.
        is_cut: whether an earlier or later fix of the same fault shortens it.
    """

    since: float
    first: float
    last: float
    until: float
    together: tuple[str, ...]
    triggers: frozenset[str]
    is_cut: bool

    @property
    def before(self) -> float:
        return self.first - self.since

    @property
    def after(self) -> float:
        return self.until - self.last


def data_start(inputs: Inputs) -> datetime | None:
    """First moment any of the tables knows about."""
    firsts = [
        inputs.kpi_points["bucket_at"].min(),
        inputs.changes["started_at"].min(),
        inputs.incidents["started_at"].min(),
    ]
    return min((first for first in firsts if isinstance(first, datetime)), default=None)


def read_fixes(inputs: Inputs, begin: datetime) -> list[Fix]:
    """Return the shipped action items, by id."""
    family_of = dict(inputs.families.select("incident_id", "family_id").iter_rows())
    kind_of_change = dict(inputs.changes.filter(pl.col("change_id").is_not_null()).select("change_id", "service").iter_rows())
    items = inputs.action_items.filter(pl.col("status").is_in(SHIPPED)).sort("action_item_id")
    found = []
    for row in items.iter_rows(named=True):
        moment = row["shipped_at"]
        found.append(
            Fix(
                item=str(row["action_item_id"]),
                incident=row["incident_id"],
                family=family_of.get(row["incident_id"]),
                service=row["service"] or kind_of_change.get(row["shipped_change_id"]),
                kind=row["type"],
                shipped_at=moment,
                day=(moment - begin).total_seconds() / DAY if moment is not None else None,
                criterion=read_criterion(
                    row["type"],
                    row["success_criterion"],
                    row["criterion_outcome"],
                    row["criterion_change"],
                    row["criterion_set_at"],
                    moment,
                ),
            )
        )
    return found


def why_not(fix: Fix, place: str | None, as_of: float) -> str | None:
    """Return why a fix cannot be compared at all, None when it can."""
    if fix.day is None:
        return "done without a shipping date: nothing can be compared"
    if place is None:
        return "belongs to no incident of a family: nothing can be compared"
    if fix.day >= as_of or fix.day <= 0:
        return "shipped outside the data: no time before or no time after"
    return None


def spans_of(fixes: Iterable[Fix], outcome: str, as_of: float, places: Mapping[str, str | None]) -> dict[str, Spans]:
    """Return the time compared for each fix of one outcome that can be compared.

    Args:
        places: what each item is against, by item: its family, or its service for outcomes of changes.
    """
    comparable = [fix for fix in fixes if why_not(fix, places[fix.item], as_of) is None]
    comparable.sort(key=lambda fix: (str(places[fix.item]), float(fix.day or 0), fix.item))
    found: dict[str, Spans] = {}
    for _, members in groupby(comparable, key=lambda fix: places[fix.item]):
        own = list(members)
        movers = [fix for fix in own if fix.kind in MOVERS[outcome]]
        for fix in own:
            found[fix.item] = _between(fix, [fix, *(other for other in movers if other is not fix)], as_of)
    return found


def _between(fix: Fix, listed: list[Fix], as_of: float) -> Spans:
    dated = sorted((float(other.day or 0), other.item, other) for other in listed)
    place = next(number for number, (_, item, _) in enumerate(dated) if item == fix.item)
    low = high = place
    while low > 0 and dated[low][0] - dated[low - 1][0] < TOGETHER_DAYS:
        low -= 1
    while high + 1 < len(dated) and dated[high + 1][0] - dated[high][0] < TOGETHER_DAYS:
        high += 1
    bundle = dated[low : high + 1]
    return Spans(
        since=dated[low - 1][0] if low else 0.0,
        first=bundle[0][0],
        last=bundle[-1][0],
        until=dated[high + 1][0] if high + 1 < len(dated) else as_of,
        together=tuple(item for _, item, _ in bundle if item != fix.item),
        triggers=frozenset(other.incident for _, _, other in bundle if other.incident),
        is_cut=low > 0 or high + 1 < len(dated),
    )


def promises(fix: Fix, outcome: str) -> bool:
    """Whether an outcome is the one its fix promises."""
    return (fix.criterion.outcome or PROMISED.get(fix.kind or "repair")) == outcome
