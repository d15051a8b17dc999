"""What a fault does: from its origin through the callers to the steps of journeys, bucket by bucket of one day.

Failures start at the origin and reach callers a few minutes a call later, weakened by how much they need it. Effects are kept by the
customer's region, because a global component serves both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from aftercast.sources.demo.company import COMPONENTS, INDEX, JOURNEYS, REACH, REGIONS, TIER_WEIGHT, Journey, Segment
from aftercast.sources.demo.draws import BUCKETS, Array, midnight
from aftercast.sources.demo.faults import LONGEST_ECHO, Fault

MINUTES_PER_CALL = 4.5
RETRIED = 0.12
"""Part of failing attempts that succeed in the end because the customer tries again at once."""
ABANDON = 0.1
REBOUND_MINUTES = 70.0


@dataclass(frozen=True, slots=True)
class Effects:
    """Effects of any number of faults on one day.

    Attributes:
        error: share of requests failing beyond the ordinary, [component, region, bucket].
        latency: times slower beyond the ordinary, same shape.
        saturation: pool filling beyond the ordinary, same shape.
        success: factor on the success share of a step, journey -> [step, segment, bucket].
        demand: factor on attempts at the first step, journey -> [segment, bucket].
        reached: factor on requests that arrive from a region, [region, bucket].
    """

    error: Array
    latency: Array
    saturation: Array
    success: dict[str, Array]
    demand: dict[str, Array]
    reached: Array


def no_effects() -> Effects:
    shape = (len(COMPONENTS), len(REGIONS), BUCKETS)
    return Effects(
        error=np.zeros(shape),
        latency=np.zeros(shape),
        saturation=np.zeros(shape),
        success={journey.name: np.ones((len(journey.steps), len(journey.segments), BUCKETS)) for journey in JOURNEYS},
        demand={journey.name: np.ones((len(journey.segments), BUCKETS)) for journey in JOURNEYS},
        reached=np.ones((len(REGIONS), BUCKETS)),
    )


def _minutes(day: date, fault: Fault) -> tuple[Array, float, float]:
    """Minutes of the day, and the fault's start and end on that scale."""
    zero = midnight(day)
    span = [(moment - zero).total_seconds() / 60 for moment in (fault.started_at, fault.ended_at)]
    return np.arange(1440, dtype=np.float64) + 0.5, span[0], span[1]


def _buckets(by_minute: Array) -> Array:
    return np.asarray(by_minute.reshape(BUCKETS, 5).mean(axis=1))


def profile(day: date, fault: Fault, delay: float = 0.0) -> Array:
    """Return how present a fault is in each bucket, 0 to 1, seen `delay` minutes after its origin."""
    minute, start, end = _minutes(day, fault)
    since = minute - start - delay
    rising = np.clip(since / fault.ramp, 0.0, 1.0)
    falling = np.clip((end - minute) / fault.recover, 0.0, 1.0)
    return _buckets(rising * falling * _wavering(fault, since))


def _wavering(fault: Fault, since: Array) -> Array:
    """Trouble comes and goes: each fault wavers by up to a quarter in its own rhythm of minutes since its onset."""
    turn = (fault.week * 31 + fault.number * 7) * 0.6180339887
    slow, fast = 29 + 40 * (turn % 1), 9 + 8 * (turn * 3 % 1)
    wave = 0.6 * np.sin(2 * np.pi * (since / slow + turn)) + 0.4 * np.sin(2 * np.pi * (since / fast + 2 * turn))
    return np.asarray(0.87 + 0.13 * wave)


def filling(day: date, fault: Fault) -> Array:
    """Return how full the fault has made the origin's pool, 0 to 1; a leak fills it long before anything fails."""
    minute, start, end = _minutes(day, fault)
    lead = fault.lead / timedelta(minutes=1)
    rising = np.clip((minute - start + lead) / lead, 0.0, 1.0) if lead else np.clip((minute - start + 15) / (15 + fault.ramp), 0.0, 1.0)
    return _buckets(rising * np.clip((end - minute) / fault.recover, 0.0, 1.0))


def returning(day: date, fault: Fault) -> Array:
    """Return the density of returning customers per minute lost, integrating to one after the end of the fault."""
    minute, _, end = _minutes(day, fault)
    after = minute - end
    shape = np.where((after > 0) & (after < LONGEST_ECHO / timedelta(minutes=1)), np.exp(-np.maximum(after, 0) / REBOUND_MINUTES), 0.0)
    return _buckets(shape / REBOUND_MINUTES)


def _touched(fault: Fault, segment: Segment) -> float:
    """Part of a segment's customers the fault reaches."""
    if segment.region not in fault.regions:
        return 0.0
    if not fault.tiers:
        return 1.0
    if segment.tier:
        return float(segment.tier in fault.tiers)
    return sum(TIER_WEIGHT[tier] for tier in fault.tiers)


def _failing(fault: Fault, journey: Journey, profiles: dict[int, Array]) -> Array:
    """Share of attempts at each step that fail for a customer the fault reaches, [step, bucket]."""
    failing = np.zeros((len(journey.steps), BUCKETS))
    for position, step in enumerate(journey.steps):
        for service, need in step.needs.items():
            reach = REACH[fault.service].get(service)
            if reach is not None:
                slow = 1 - np.exp(-ABANDON * fault.latency * reach.share)
                level = 1 - (1 - fault.error * reach.share * (1 - RETRIED)) * (1 - slow)
                failing[position] = np.maximum(failing[position], need * level * profiles[reach.hops])
    return failing


def add_fault(effects: Effects, day: date, fault: Fault) -> Effects:
    """Return the effects with one more fault acting."""
    reach = REACH[fault.service]
    profiles = {hops: profile(day, fault, hops * MINUTES_PER_CALL) for hops in {found.hops for found in reach.values()}}
    error, latency, saturation = effects.error.copy(), effects.latency.copy(), effects.saturation.copy()
    success, demand, reached = dict(effects.success), dict(effects.demand), effects.reached.copy()
    traffic = sum(TIER_WEIGHT[tier] for tier in fault.tiers) if fault.tiers else 1.0
    full = filling(day, fault)
    for region in (REGIONS.index(name) for name in fault.regions):
        for component, found in reach.items():
            here = (INDEX[component], region)
            present = profiles[found.hops]
            error[here] = 1 - (1 - error[here]) * (1 - fault.error * found.share * traffic * present)
            latency[here] += fault.latency * found.share * traffic * present
        saturation[INDEX[fault.service], region] += fault.saturation * full
        reached[region] *= 1 - fault.outage * profiles[0]
    for journey in JOURNEYS:
        failing = _failing(fault, journey, profiles)
        away = np.maximum(fault.family.discourage * failing.max(axis=0), fault.outage * profiles[0])
        if not failing.any() and not away.any() and not fault.family.rebound:
            continue
        touched = np.array([_touched(fault, segment) for segment in journey.segments])
        if not touched.any():
            continue
        success[journey.name] = success[journey.name] * (1 - touched[None, :, None] * failing[:, None, :])
        echo = _lost_share(fault, journey) * fault.family.rebound * fault.minutes * returning(day, fault)
        demand[journey.name] = demand[journey.name] * (1 - touched[:, None] * away[None, :]) * (1 + touched[:, None] * echo[None, :])
    return Effects(error, latency, saturation, success, demand, reached)


def _lost_share(fault: Fault, journey: Journey) -> float:
    """Share of a journey's demand that fails while the fault is fully present."""
    whole = {found.hops: np.ones(BUCKETS) for found in REACH[fault.service].values()}
    failing = _failing(fault, journey, whole)
    kept = float(np.prod(1 - failing[:, 0])) * (1 - max(fault.outage, fault.family.discourage * float(failing[:, 0].max())))
    return 1 - kept


def effects_of(day: date, faults: Sequence[Fault]) -> Effects:
    """Return the joint effects of faults on one day."""
    effects = no_effects()
    for fault in faults:
        effects = add_fault(effects, day, fault)
    return effects
