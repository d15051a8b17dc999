"""How many people come: daily and weekly rhythm, growth, promotions and the noise journeys share."""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache

import numpy as np

from aftercast.sources.demo.company import JOURNEYS, REGIONS, Journey
from aftercast.sources.demo.draws import BUCKETS, STORY_EPOCH, Array, Stream, drift, generator, midnight, week_of

GROWTH_PER_DAY = 0.0008
PEAK_HOUR = {"eu": 18.0, "us": 0.5}


def _rhythm(region: str) -> Array:
    hours = np.arange(BUCKETS) / 12
    peak = PEAK_HOUR[region]
    shape = np.exp(0.72 * np.cos(2 * np.pi * (hours - peak) / 24) + 0.18 * np.cos(4 * np.pi * (hours - peak + 6.5) / 24))
    return np.asarray(shape / shape.mean())


RHYTHM = np.stack([_rhythm(region) for region in REGIONS])
"""Demand of each bucket relative to the day's mean, [region, bucket]."""
LOAD = RHYTHM / RHYTHM.max()


def weekday_level(day: date, weekend: float) -> Array:
    """Return the week's rhythm over one day, blending into the next day during its last two hours."""
    levels = [weekend if (day + timedelta(days=ahead)).weekday() >= 5 else 1.0 for ahead in (0, 1)]
    part = np.clip((np.arange(BUCKETS) - 264) / 24, 0.0, 1.0) / 2
    before = weekend if (day - timedelta(days=1)).weekday() >= 5 else 1.0
    early = np.clip((24 - np.arange(BUCKETS)) / 24, 0.0, 1.0) / 2
    return np.asarray(levels[0] + (levels[1] - levels[0]) * part + (before - levels[0]) * early)


@lru_cache(maxsize=64)
def promotion(seed: int, day: date) -> Array:
    """Return the extra demand a promotion brings that day, 0 in every bucket of most days."""
    week = week_of(midnight(day))
    chance = generator(seed, Stream.PROMOTION, week)
    if chance.random() > 0.45 or int(chance.choice([3, 4, 6])) != day.weekday():
        return np.zeros(BUCKETS)
    hours = np.arange(BUCKETS) / 12
    rise, fall = 15.0 + chance.random(), 21.0 + chance.random()
    edges = 1 / (1 + np.exp(-(hours - rise) * 6)) - 1 / (1 + np.exp(-(hours - fall) * 6))
    return np.asarray(edges * chance.uniform(0.2, 0.4))


def growth(day: date) -> float:
    return float(np.exp(GROWTH_PER_DAY * (midnight(day) - STORY_EPOCH).days))


@lru_cache(maxsize=64)
def expected_demand(seed: int, day: date) -> dict[str, Array]:
    """Return attempts of the first step one should expect with this day's weather, journey -> [segment, bucket]; no fault has acted yet."""
    flow = sum(len(REGIONS) for _ in JOURNEYS)
    days = 1 + 0.025 * drift(seed, Stream.DEMAND_DAY, day, flow, 1)
    hours = 1 + 0.035 * drift(seed, Stream.DEMAND_HOUR, day, flow, 24)
    weather = np.maximum(days * hours, 0.2).reshape(len(JOURNEYS), len(REGIONS), BUCKETS)
    return {journey.name: _flow(seed, day, journey) * weather[position][_regions(journey)] for position, journey in enumerate(JOURNEYS)}


def _regions(journey: Journey) -> list[int]:
    return [REGIONS.index(segment.region) for segment in journey.segments]


def _flow(seed: int, day: date, journey: Journey) -> Array:
    common = journey.demand / BUCKETS * growth(day) * weekday_level(day, journey.weekend) * (1 + journey.promoted * promotion(seed, day))
    weight = np.array([segment.weight for segment in journey.segments])[:, None]
    return np.asarray(common[None, :] * weight * RHYTHM[_regions(journey)])
