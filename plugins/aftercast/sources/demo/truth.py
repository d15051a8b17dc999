"""What really happened at the demo company: causes, losses and which fixes work. Only benchmarks and tests may import this.

Loss is the difference of two worlds with the same random numbers, one without the fault. Where faults overlap they are taken in order
of onset, each against the world with only its predecessors, so the losses of all incidents add up to the whole difference.
Customers who came back afterwards, until the end of the window, are subtracted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl

from aftercast.entities import COUNT, FLAG, NUMBER, TEXT, TIME, ColumnType
from aftercast.sources.demo.business import day_flows
from aftercast.sources.demo.company import JOURNEYS
from aftercast.sources.demo.draws import BUCKETS, Array, midnight, week_of
from aftercast.sources.demo.faults import LONGEST_ECHO, Fault, cycle_of, faults_felt, fixes_of_cycle
from aftercast.sources.demo.lessons import action_item_rows, fix_item_id
from aftercast.sources.demo.physics import add_fault, no_effects
from aftercast.sources.demo.response import responses_near
from aftercast.window import DAY, Window

INCIDENTS: dict[str, ColumnType] = {
    "incident_id": TEXT,
    "cause_kind": TEXT,
    "cause_id": TEXT,
    "cause_service": TEXT,
    "family": TEXT,
    "started_at": TIME,
    "ended_at": TIME,
    "has_loss": FLAG,
}
LOSSES: dict[str, ColumnType] = {
    "incident_id": TEXT,
    "journey": TEXT,
    "segment": TEXT,
    "lost_revenue": NUMBER,
    "lost_attempts": COUNT,
    "lost_successes": COUNT,
}
FIXES: dict[str, ColumnType] = {"action_item_id": TEXT, "works": FLAG, "family": TEXT}


@dataclass(frozen=True, slots=True)
class Truth:
    """The truth about a window.

    Attributes:
        incidents: one row per incident whose reported start lies in the window; `started_at`, `ended_at` are the true span of impact.
        losses: one row per incident, journey and segment with any difference; revenue in euros, net of customers who came back;
            attempts of the first step and successes of the last.
        fixes: one row per action item done in the window.
    """

    incidents: pl.DataFrame
    losses: pl.DataFrame
    fixes: pl.DataFrame


def truth(window: Window, seed: int) -> Truth:
    """Return causes, losses and fixes of a window."""
    faults = [
        response.fault
        for response in responses_near(seed, window.start, window.end)
        if window.contains(response.started_at) and response.declared_at < window.end
    ]
    losses = _losses(seed, faults, window)
    hit = set(losses.group_by("incident_id").agg(pl.col("lost_revenue").sum()).filter(pl.col("lost_revenue") > 0)["incident_id"])
    rows = [
        {
            "incident_id": fault.incident_id,
            "cause_kind": fault.family.kind,
            "cause_id": fault.cause_id,
            "cause_service": None if fault.family.kind == "none" else fault.service,
            "family": fault.family.name,
            "started_at": fault.started_at,
            "ended_at": fault.ended_at,
            "has_loss": fault.incident_id in hit,
        }
        for fault in faults
    ]
    return Truth(pl.DataFrame(rows, schema=INCIDENTS).sort("incident_id"), losses, _fixes(seed, window))


def _losses(seed: int, faults: list[Fault], window: Window) -> pl.DataFrame:
    """Losses up to the end of the window, per incident, journey and segment."""
    wanted = {fault.incident_id for fault in faults}
    days = sorted(
        {day.start.date() for fault in faults for day in Window(fault.started_at, min(fault.ended_at + LONGEST_ECHO, window.end)).days()}
    )
    totals: dict[tuple[str, str], Array] = {}
    for day in days:
        effects = no_effects()
        seen = slice(0, min(BUCKETS, -((midnight(day) - window.end) // (DAY / BUCKETS))))
        before = day_flows(seed, day, effects)
        for fault in faults_felt(seed, midnight(day), midnight(day) + DAY):
            effects = add_fault(effects, day, fault)
            after = day_flows(seed, day, effects)
            for journey in JOURNEYS:
                first, last = before[journey.name], after[journey.name]
                lost = np.stack(
                    [
                        (first.revenue - last.revenue)[:, seen].sum(axis=1) / 100,
                        (first.attempts[0] - last.attempts[0])[:, seen].sum(axis=1),
                        (first.successes[-1] - last.successes[-1])[:, seen].sum(axis=1),
                    ]
                )
                if fault.incident_id in wanted and lost.any():
                    key = (fault.incident_id, journey.name)
                    totals[key] = totals.get(key, np.zeros_like(lost)) + lost
            before = after
    rows = [
        (incident_id, journey.name, segment.text, round(float(lost[0, place]), 2), int(lost[1, place]), int(lost[2, place]))
        for (incident_id, name), lost in totals.items()
        for journey in JOURNEYS
        if journey.name == name
        for place, segment in enumerate(journey.segments)
        if lost[:, place].any()
    ]
    return pl.DataFrame(rows, schema=LOSSES, orient="row").sort("incident_id", "journey", "segment")


def _fixes(seed: int, window: Window) -> pl.DataFrame:
    """Every item done in the window: the story's fixes, and smaller things that change no rate."""
    story = {
        fix_item_id(fix): (fix.works, fix.family.name)
        for cycle in range(cycle_of(week_of(window.start)) - 1, cycle_of(week_of(window.end)) + 1)
        for fix in fixes_of_cycle(seed, cycle)
    }
    families = {
        response.fault.incident_id: response.fault.family.name
        for response in responses_near(seed, window.start - timedelta(days=70), window.end)
    }
    rows = [
        (row["action_item_id"], *story.get(row["action_item_id"], (False, families[row["incident_id"]])))
        for row in action_item_rows(seed, window.start, window.end)
        if row["status"] == "done"
    ]
    return pl.DataFrame(rows, schema=FIXES, orient="row").sort("action_item_id")
