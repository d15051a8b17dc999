"""What customers do in one day of the demo company: attempts, successes and revenue per journey, step, segment and bucket."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from aftercast.entities import JOURNEY_KPIS
from aftercast.sources.demo.company import CURRENCY, JOURNEYS, Journey
from aftercast.sources.demo.demand import expected_demand
from aftercast.sources.demo.draws import BUCKETS, Array, Stream, bucket_times, counts, generator
from aftercast.sources.demo.physics import Effects

SEGMENT_NOISE = 0.04
SUCCESS_NOISE = 0.006


@dataclass(frozen=True, slots=True)
class Flow:
    """One journey on one day: whole numbers, [step, segment, bucket]; revenue in cents, [segment, bucket], earned by the last step."""

    attempts: Array
    successes: Array
    revenue: Array


def day_flows(seed: int, day: date, effects: Effects) -> dict[str, Flow]:
    """Return the day of every journey under `effects`.

    The random numbers do not depend on the effects, so two calls differ only by what the effects did.
    """
    demand = expected_demand(seed, day)
    return {
        journey.name: _flow(
            journey,
            generator(seed, Stream.KPI, position, day.toordinal()),
            demand[journey.name] * effects.demand[journey.name],
            effects.success[journey.name],
        )
        for position, journey in enumerate(JOURNEYS)
    }


def _flow(journey: Journey, chance: np.random.Generator, demand: Array, factor: Array) -> Flow:
    shape = (len(journey.steps), len(journey.segments), BUCKETS)
    tries, wins, spread = chance.standard_normal(shape), chance.standard_normal(shape), chance.standard_normal(shape)
    baskets = chance.standard_normal(shape[1:])
    attempts, successes = np.zeros(shape), np.zeros(shape)
    mean = demand * np.exp(SEGMENT_NOISE * spread[0] - SEGMENT_NOISE**2 / 2)
    for position, step in enumerate(journey.steps):
        attempts[position] = counts(mean, tries[position])
        share = np.clip(step.success * (1 + SUCCESS_NOISE * spread[position]), 0.0, 0.999) * factor[position]
        expected = attempts[position] * share
        drawn = expected + np.sqrt(expected * (1 - share)) * wins[position]
        successes[position] = np.clip(np.rint(drawn), 0.0, attempts[position])
        if position + 1 < len(journey.steps):
            mean = successes[position] * journey.steps[position + 1].entry
    price = np.array([segment.price for segment in journey.segments])[:, None]
    through = np.prod([step.success * step.entry for step in journey.steps])
    usual = np.array([max(journey.demand * segment.weight * through / BUCKETS, 1.0) for segment in journey.segments])[:, None]
    basket = np.maximum(1 + journey.price_spread / np.sqrt(usual) * baskets, 0.3)
    return Flow(attempts, successes, np.rint(successes[-1] * price * 100 * basket))


def _labels() -> pl.DataFrame:
    rows = [
        (journey.name, step.name, segment.region, segment.tier, segment.plan)
        for journey in JOURNEYS
        for step in journey.steps
        for segment in journey.segments
    ]
    return pl.DataFrame(rows, schema=["journey", "step", "region", "tier", "plan"], orient="row")


LABELS = _labels()


def day_rows(seed: int, day: date, flows: dict[str, Flow], *, undisturbed: bool) -> pl.DataFrame:
    """Return the day's journey_kpis; on undisturbed days a feed sometimes misses a few buckets."""
    attempts = np.concatenate([flows[journey.name].attempts.reshape(-1, BUCKETS) for journey in JOURNEYS])
    successes = np.concatenate([flows[journey.name].successes.reshape(-1, BUCKETS) for journey in JOURNEYS])
    revenue = np.concatenate([_revenue(flows[journey.name]) for journey in JOURNEYS])
    earns = np.concatenate([_earns(journey) for journey in JOURNEYS])
    series = np.repeat(np.arange(LABELS.height), BUCKETS)
    frame = LABELS[series].with_columns(
        pl.lit("").alias("country"),
        pl.Series("ts", np.tile(bucket_times(day), LABELS.height)).dt.replace_time_zone("UTC"),
        pl.Series("attempts", attempts.ravel().astype(np.int64)),
        pl.Series("successes", successes.ravel().astype(np.int64)),
        pl.Series("revenue_minor", revenue.ravel().astype(np.int64)),
        pl.lit(CURRENCY).alias("currency"),
    )
    earning = pl.Series("earning", np.repeat(earns, BUCKETS))
    frame = frame.with_columns(
        pl.when(earning).then("revenue_minor").alias("revenue_minor"),
        pl.when(earning).then("currency").alias("currency"),
    )
    if undisturbed:
        frame = frame.filter(pl.Series(_present(seed, day).ravel()))
    return frame.select(list(JOURNEY_KPIS.columns))


def _revenue(flow: Flow) -> Array:
    whole = np.zeros_like(flow.attempts)
    whole[-1] = flow.revenue
    return whole.reshape(-1, BUCKETS)


def _earns(journey: Journey) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.repeat(np.arange(len(journey.steps)) == len(journey.steps) - 1, len(journey.segments))


def _present(seed: int, day: date) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    chance = generator(seed, Stream.KPI_GAPS, day.toordinal())
    present = np.ones((LABELS.height, BUCKETS), dtype=bool)
    for journey in JOURNEYS:
        missing, start, length = chance.random() < 0.02, int(chance.integers(BUCKETS)), int(chance.integers(3, 10))
        if missing:
            present[(LABELS["journey"] == journey.name).to_numpy(), start : start + length] = False
    return present
