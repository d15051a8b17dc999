"""Alerts, anomalies and KPI drops as members an incident proposal may have, and those that can be none, with the reason.

Times are microseconds. A member is *known* when its alert fires or when its episode's evidence suffices, never earlier: proposals are built
in that order, so what comes to be known later cannot change what was decided before.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl

from aftercast.correlation.inputs import Inputs
from aftercast.correlation.surroundings import micros
from aftercast.correlation.telemetry import DAY, HOUR

ALERT, ANOMALY, KPI_DROP = "alert", "anomaly", "kpi_drop"
SERVICE, JOURNEY = "service", "journey"
FLAPS = 6
"""A series that fires for at least the sixth time within a day flaps: it may join a proposal, but is no evidence and keeps none alive."""
BELIEVED = DAY
"""An alert without an end is believed to go on for so long after its start."""
MAINTENANCE_WITHOUT_END = 4 * HOUR

GRAVE, SERIOUS, PLAIN, SLIGHT = 0.9, 0.8, 0.5, 0.2
_WORDS = {
    GRAVE: "critical page emergency fatal disaster blocker urgent highest p0 p1 sev0 sev1 s1 1",
    SERIOUS: "error major high severe p2 sev2 s2 2 average",
    SLIGHT: "info information informational notice low lowest minor none debug ok p4 p5 sev4 sev5 s4 4 5 not_classified",
}
SEVERITIES = {word: number for number, words in _WORDS.items() for word in words.split()}
"""How sure an alert of this severity makes us by itself; every other word, warning among them, is PLAIN."""

Subject = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Member:
    """One alert, anomaly or KPI drop.

    Attributes:
        subject: (service | journey, name); the name of a service is '' when an alert names none.
        environment: '' for journeys; region: '' when not regional.
        weight: in [0, 1]; severity of an alert in numbers, score of an episode.
        ended: end of the episode, None while it goes on.
        why_weak: why it is no evidence that something is wrong (silenced, maintenance, flapping); '' when it is.
    """

    kind: str
    member_id: str
    series: str
    name: str
    subject: Subject
    environment: str
    region: str
    weight: float
    started: int
    known: int
    ended: int | None
    direction: str = ""
    expected: float | None = None
    actual: float | None = None
    why_weak: str = ""

    @property
    def order(self) -> tuple[int, str, str]:
        return self.known, self.kind, self.member_id

    @property
    def until(self) -> int:
        """End as far as it is believed."""
        return self.ended if self.ended is not None else self.started + BELIEVED

    def heard(self, moment: int) -> int:
        """The last time up to `moment` at which it was going on."""
        return max(self.started, min(self.until, moment))


@dataclass(frozen=True, slots=True)
class Apart:
    """An alert or episode that belongs to no proposal, and why."""

    kind: str
    member_id: str
    reason: str


def members_of(inputs: Inputs, as_of: datetime) -> tuple[list[Member], list[Apart]]:
    """Return what may be a member, in the order in which it became known, and the live episodes that never can be.

    What was not known by `as_of` is not seen. Of rows with the same id the first counts.
    """
    until = micros(as_of)
    found = {(member.kind, member.member_id): member for member in sorted(_all(inputs), key=_whole, reverse=True)}
    known = sorted((member for member in found.values() if member.known <= until), key=lambda one: one.order)
    known = [replace(one, ended=None) if one.ended is not None and one.ended > until else one for one in known]
    return list(_flapping(known)), _left_out(inputs, as_of)


def _whole(one: Member) -> tuple[object, ...]:
    """Everything an order can rest on, so that of two rows with one id the same one counts whatever came first."""
    return one.order, one.until, one.weight, one.series, one.name, one.subject, one.environment, one.region, one.direction, one.why_weak


def _all(inputs: Inputs) -> Iterator[Member]:
    maintenance = _maintenance(inputs.changes)
    for row in inputs.alerts.filter(pl.col("started_at").is_not_null() & pl.col("alert_id").is_not_null()).iter_rows(named=True):
        started, service = micros(row["started_at"]), row["service"] or ""
        end = micros(row["ended_at"]) if row["ended_at"] else None
        name = row["name"] or "alert"
        expected_by = [at for at in maintenance[(row["environment"], service)] if at[0] <= started < at[1]]
        yield Member(
            ALERT,
            row["alert_id"],
            row["fingerprint"] or f"{name}|{service}|{row['environment']}|{row['region']}",
            name,
            (SERVICE, service),
            row["environment"],
            row["region"],
            SEVERITIES.get((row["severity"] or "").strip().lower(), PLAIN),
            started,
            started,
            max(end, started) if end is not None else None,
            why_weak="silenced" if row["is_suppressed"] else f"expected during maintenance {expected_by[0][2]}" if expected_by else "",
        )
    for row in inputs.anomalies.filter(_can_be_member()).iter_rows(named=True):
        started = micros(row["started_at"])
        known = max(started, micros(row["alarmed_at"]) if row["alarmed_at"] else started)
        end = micros(row["ended_at"]) if row["ended_at"] else None
        is_journey = row["subject_kind"] == JOURNEY
        yield Member(
            KPI_DROP if is_journey else ANOMALY,
            row["anomaly_id"],
            row["series_id"] or row["anomaly_id"],
            row["signal"] or "series",
            (JOURNEY if is_journey else SERVICE, row["subject"] or ""),
            "" if is_journey else row["environment"],
            row["region"],
            min(max(row["score"] or 0.0, 0.0), 1.0),
            started,
            known,
            max(end, started) if end is not None else None,
            row["direction"] or "",
            row["expected"],
            row["actual"],
        )


def _can_be_member() -> pl.Expr:
    return (
        pl.col("hurts").fill_null(value=False)
        & pl.col("explained_by").is_null()
        & pl.col("started_at").is_not_null()
        & pl.col("anomaly_id").is_not_null()
    )


def _left_out(inputs: Inputs, as_of: datetime) -> list[Apart]:
    known = pl.max_horizontal("started_at", "alarmed_at") <= as_of
    rows = inputs.anomalies.filter(~_can_be_member() & known & pl.col("anomaly_id").is_not_null()).unique("anomaly_id").sort("anomaly_id")
    return [
        Apart(
            KPI_DROP if row["subject_kind"] == JOURNEY else ANOMALY,
            row["anomaly_id"],
            f"expected: {row['explained_by']}" if row["explained_by"] else "moved in a direction that does not hurt",
        )
        for row in rows.iter_rows(named=True)
    ]


def _maintenance(changes: pl.DataFrame) -> dict[tuple[str, str], list[tuple[int, int, str]]]:
    """Spans of maintenance by environment and service; one without an end is believed for four hours."""
    found: dict[tuple[str, str], list[tuple[int, int, str]]] = defaultdict(list)
    rows = changes.filter((pl.col("kind") == "maintenance") & pl.col("started_at").is_not_null())
    for row in rows.sort("started_at", "change_id").iter_rows(named=True):
        start = micros(row["started_at"])
        end = micros(row["finished_at"]) if row["finished_at"] else start + MAINTENANCE_WITHOUT_END
        found[(row["environment"], row["service"] or "")].append((start, end, row["change_id"] or ""))
    return found


def _flapping(known: list[Member]) -> Iterator[Member]:
    """Mark what fires for the sixth time or more within a day; `known` in order."""
    fired: dict[str, deque[int]] = defaultdict(deque)
    for one in known:
        times = fired[f"{one.kind}|{one.series}"]
        times.append(one.known)
        while times[0] <= one.known - DAY:
            times.popleft()
        if len(times) >= FLAPS and not one.why_weak:
            yield replace(one, why_weak=f"flapping: fired {len(times)} times within a day")
        else:
            yield one
