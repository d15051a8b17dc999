"""KPI points as matrices: one `Flow` per journey, what its earning step did per bucket and segment.

A bucket without a row is missing, not zero. The exception is a sparse feed: a segment with rows in fewer than 90 % of the buckets in
which its journey has any sells now and then, and its absent rows there are zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from aftercast.measurement.inputs import Inputs

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

DENSE = 0.9
PARTS = ("region", "tier", "plan", "country")


@dataclass(frozen=True, slots=True)
class Flow:
    """A journey's earning step (its last step when none earns) on a regular grid.

    Attributes:
        grain: seconds per bucket. start: seconds since 1970 of the first bucket.
        segments: one row per segment: segment, region, tier, plan, country.
        currencies: distinct currencies per segment.
        attempts, successes, revenue: [bucket, segment]; revenue in major units, NaN where missing.
        refunds: [bucket, segment], what was paid back, positive: amounts below zero are no sales and are kept apart from revenue.
        arrivals: attempts of the journey's first step; those of the earning step when the journey has one step.
        steps_apart: arrivals are counted apart from the earning step's attempts.
    """

    journey: str
    grain: int
    start: int
    segments: tuple[dict[str, str], ...]
    currencies: tuple[tuple[str, ...], ...]
    earns: bool
    attempts: Array
    successes: Array
    revenue: Array
    refunds: Array
    arrivals: Array
    steps_apart: bool

    @property
    def n_buckets(self) -> int:
        return len(self.attempts)

    @property
    def end(self) -> int:
        return self.start + self.grain * self.n_buckets

    def place(self, second: float) -> int:
        """Bucket that holds a time; may lie outside the grid."""
        return int((second - self.start) // self.grain)

    def place_end(self, second: float) -> int:
        """First bucket that starts at or after a time."""
        return int(-((self.start - second) // self.grain))

    def moment(self, bucket: int) -> datetime:
        return datetime.fromtimestamp(self.start + bucket * self.grain, UTC)


def seconds(moment: datetime) -> float:
    return moment.timestamp()


def read_flows(inputs: Inputs, as_of: datetime) -> dict[str, Flow]:
    """Return the flow of every journey that has points before `as_of`, by name."""
    points = inputs.kpi_points.filter(pl.col("bucket_at") < as_of)
    grains = dict(inputs.journeys.select("journey", "grain_minutes").iter_rows())
    flows = {}
    for (journey,), rows in points.partition_by("journey", as_dict=True, maintain_order=False).items():
        steps = inputs.journey_services.filter(pl.col("journey") == journey)
        earning = steps.filter(pl.col("earns").fill_null(False))["step"].unique().to_list()
        earns = bool(earning)
        if not steps.height:
            earning = rows.filter(pl.col("revenue_minor").is_not_null())["step"].unique().to_list()
            earns = bool(earning)
        if not earning:
            last = steps.sort("position", "step").tail(1)["step"].to_list()
            earning = last or [max(rows["step"].unique().to_list())]
        own = rows.filter(pl.col("step").is_in(earning))
        first = steps.sort("position", "step").head(1)["step"].to_list()
        arriving = rows.filter(pl.col("step").is_in(first)) if first and first[0] not in earning else rows.head(0)
        if own.height:
            flows[str(journey)] = _flow(str(journey), own, arriving, int(grains.get(journey) or 5) * 60, earns=earns)
    return dict(sorted(flows.items()))


def _flow(journey: str, rows: pl.DataFrame, arriving: pl.DataFrame, grain: int, *, earns: bool) -> Flow:
    labels = rows.select("segment", *PARTS).unique("segment").sort("segment")
    places = {name: number for number, name in enumerate(labels["segment"])}
    came = arriving.group_by("segment", "bucket_at").agg(arrivals=pl.col("attempts").sum())
    apart = rows.with_columns(
        refunds=(-pl.col("revenue_minor")).clip(lower_bound=0), revenue_minor=pl.col("revenue_minor").clip(lower_bound=0)
    )
    summed = apart.group_by("segment", "bucket_at").agg(pl.col("attempts", "successes", "revenue_minor", "refunds").sum())
    summed = summed.join(came, on=["segment", "bucket_at"], how="left")
    stamps = summed["bucket_at"].dt.epoch("s").to_numpy()
    start = int(stamps[stamps.argmin()] // grain * grain)
    bucket = (stamps - start) // grain
    column = summed["segment"].replace_strict(places, return_dtype=pl.Int64).to_numpy()
    shape = (int(np.max(bucket)) + 1, len(places))

    def spread(name: str) -> Array:
        matrix = np.full(shape, np.nan)
        matrix[bucket, column] = summed[name].cast(pl.Float64).to_numpy()
        return matrix

    matrices = {name: spread(name) for name in ("attempts", "successes", "revenue_minor", "refunds", "arrivals")}
    present = np.isfinite(matrices["attempts"])
    steps_apart = bool(arriving.height) and float(np.isfinite(matrices["arrivals"]).sum()) >= DENSE * float(present.sum())
    if not steps_apart:
        matrices["arrivals"] = matrices["attempts"].copy()
    known: Flags = np.asarray(present.any(axis=1))
    sparse: Flags = np.asarray(present.sum(axis=0) < DENSE * known.sum())
    fill = known[:, None] & sparse[None, :] & ~present
    for matrix in matrices.values():
        matrix[fill] = 0.0
    currencies = rows.filter(pl.col("currency").is_not_null()).group_by("segment").agg(pl.col("currency").unique().sort())
    found = dict(currencies.iter_rows())
    return Flow(
        journey=journey,
        grain=grain,
        start=start,
        segments=tuple(labels.to_dicts()),
        currencies=tuple(tuple(found.get(name, ())) for name in labels["segment"]),
        earns=earns,
        attempts=matrices["attempts"],
        successes=matrices["successes"],
        revenue=matrices["revenue_minor"] / 100.0,
        refunds=matrices["refunds"] / 100.0,
        arrivals=matrices["arrivals"],
        steps_apart=steps_apart,
    )
