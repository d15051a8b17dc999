"""Which service metrics move with which customer figures, how much later, and how sure that is. Never: what causes what.

Compared are, per journey and region, the conversion of each step, the attempts of the first step and the revenue, with the metrics of every
service the journey's steps reach by known calls, and with those of a stated number of services it does not reach. Incident windows are
included, because they are when things move; what is left of a correlation outside them is stated beside it. See `lagged` for the method.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from aftercast.analyses import DERIVED
from aftercast.correlation import lagged
from aftercast.correlation.graph import Graph
from aftercast.correlation.inputs import PACKED, Inputs
from aftercast.correlation.lagged import Compared, Scored
from aftercast.correlation.semantics import TRAFFIC
from aftercast.correlation.telemetry import MINUTE, Series, panel_of

Floats = npt.NDArray[np.float64]

MODEL_VERSION = "kpi-correlations-1"
HISTORY = timedelta(days=56)
LAGS_MINUTES = (*range(-30, 61, 5), 75, 90, 120, 150, 180, 240, 300, 360)
"""Tried for every pair; above zero the service metric comes first."""
FALSE_DISCOVERIES = 0.05
MOST_PAIRS = 20_000
OTHERS = 5
"""Services outside a journey's reach that are compared all the same: what calls do not explain may still be found."""
AT_ONCE = 128
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Kpi:
    """A customer figure: `step` is '' where the figure is one of the whole journey."""

    journey: str
    step: str
    region: str
    kpi: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The services whose metrics a journey is compared with, nearest first, and how many series that leaves out."""

    hops: Mapping[str, int | None]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Grid:
    """A regular grid of `buckets` buckets from `start` (microseconds)."""

    start: int
    grain: int  # minutes
    buckets: int

    @property
    def first_minute(self) -> int:
        """Minutes from a Monday midnight; 1970-01-01 was a Thursday."""
        return self.start // MINUTE + 3 * 1440

    def place(self, at: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.asarray((at - self.start) // (self.grain * MINUTE))


def correlate_kpis(inputs: Inputs, as_of: datetime) -> pl.DataFrame:
    """Return the derived table `kpi_correlations`: one row per pair compared, at its best lag, or why it says nothing.

    Points of the last eight weeks before `as_of` are used. Metrics that count demand are a family of tests of their own, because demand
    moves with customers by definition and would lend its certainty to the others.
    """
    inputs = inputs.conformed()
    since = as_of - HISTORY
    inside = pl.col("bucket_at").is_between(since, as_of, closed="left")
    points, kpis = packed(inputs.metric_points), inputs.kpi_points.filter(inside & pl.col("journey").is_not_null())
    if points.is_empty() or kpis.is_empty():
        return pl.DataFrame(schema=dict(DERIVED["kpi_correlations"]))
    since = max(since, kpis.select(pl.col("bucket_at").min()).item())
    environment = environment_of_customers(points)
    points = points.filter(pl.col("environment") == environment)
    choices = _choices(inputs, environment, sorted(set(kpis["journey"])), sorted(set(points["service"].drop_nulls())))
    wanted = sorted({service for choice in choices.values() for service in choice.hops})
    busy = _busy(inputs.incidents, environment, as_of)
    rows: list[dict[str, object]] = []
    room = MOST_PAIRS
    for grain, journeys in _by_grain(kpis):
        grid = grid_of(since, as_of, grain)
        figures, values = _figures(kpis.filter(pl.col("journey").is_in(journeys)), inputs.journeys, grid)
        right = lagged.scored(values, grid.first_minute, grain)
        found, room = _compare(points.filter(pl.col("service").is_in(wanted)), figures, right, choices, grid, busy, room)
        rows.extend(found)
    return _table(rows, environment, since, as_of)


def packed(points: pl.DataFrame) -> pl.DataFrame:
    """One row per series, its points in a list."""
    if PACKED in points.columns:
        return points.filter(pl.col("service").is_not_null())
    told = points.filter(pl.col("service").is_not_null() & pl.col("bucket_at").is_not_null())
    point = pl.struct(pl.col("bucket_at").dt.epoch("us").alias("at"), pl.col("value").cast(pl.Float32)).alias(PACKED)
    return told.group_by("environment", "service", "region", "metric", "attributes").agg(pl.col("kind").min(), pl.col("unit").min(), point)


def environment_of_customers(points: pl.DataFrame) -> str:
    """Journeys carry no environment: customers are in production; where nothing is called that, in the environment with most series."""
    counts = points.group_by("environment").len().sort(pl.col("environment") != "production", -pl.col("len").cast(pl.Int64), "environment")
    return str(counts["environment"][0])


def _choices(inputs: Inputs, environment: str, journeys: Sequence[str], measured: Sequence[str]) -> dict[str, Choice]:
    """Per journey: services its steps reach (hops from the nearest step service), then others in an order that names do not decide."""
    graph = Graph.of_environment(inputs.dependencies, environment)
    chosen = {}
    for journey in journeys:
        own = inputs.journeys.filter(pl.col("journey") == journey)["service"].drop_nulls().unique().sort()
        reached = graph.hops_down(own)
        near = sorted((name for name in measured if name in reached), key=lambda name: (reached[name], name))
        far = sorted((name for name in measured if name not in reached), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        hops: dict[str, int | None] = {name: reached[name] for name in near}
        hops |= dict.fromkeys(far[:OTHERS])
        chosen[journey] = Choice(hops, len(far[OTHERS:]))
    return chosen


def _busy(incidents: pl.DataFrame, environment: str, as_of: datetime) -> list[tuple[int, int]]:
    here = incidents.filter((pl.col("environment") == environment) & pl.col("started_at").is_not_null())
    margin = timedelta(minutes=30)
    return [
        ((start - margin - EPOCH) // timedelta.resolution, ((end or as_of) + margin - EPOCH) // timedelta.resolution)
        for start, end in here.select("started_at", "impact_end_at").sort(pl.all()).iter_rows()
    ]


def _by_grain(kpis: pl.DataFrame) -> list[tuple[int, list[str]]]:
    """Journeys by the usual distance of their buckets in minutes, at least five."""
    found: dict[int, list[str]] = {}
    for journey, rows in sorted(kpis.select("journey", "bucket_at").unique().partition_by("journey", as_dict=True).items()):
        steps = rows["bucket_at"].sort().diff().drop_nulls().dt.total_minutes()
        usual = int(steps.median() or 5)  # type: ignore[arg-type]
        found.setdefault(max(usual, 5), []).append(str(journey[0]))
    return sorted(found.items())


def grid_of(first: datetime, as_of: datetime, grain: int) -> Grid:
    buckets = max((as_of - first) // timedelta(minutes=grain), 1)
    return Grid((as_of - buckets * timedelta(minutes=grain) - EPOCH) // timedelta.resolution, grain, buckets)


def _figures(kpis: pl.DataFrame, bridge: pl.DataFrame, grid: Grid) -> tuple[list[Kpi], Floats]:
    """Series of customer figures on the grid, in the order of their names."""
    sums = (
        kpis.group_by("journey", "step", "region", "bucket_at")
        .agg(
            pl.col("attempts").sum(),
            pl.col("successes").sum(),
            pl.col("revenue_minor").sum(),
            pl.col("revenue_minor").count().alias("paid"),
        )
        .sort("journey", "step", "region", "bucket_at")
    )
    conversion = sums.filter(pl.col("attempts") > 0).select(
        "journey",
        "step",
        "region",
        pl.lit("conversion").alias("kpi"),
        "bucket_at",
        (pl.col("successes") / pl.col("attempts")).alias("value"),
    )
    entry = _first_steps(sums, bridge)
    attempts = sums.join(entry, on=["journey", "step"], how="semi").select(
        "journey",
        pl.lit("").alias("step"),
        "region",
        pl.lit("attempts").alias("kpi"),
        "bucket_at",
        pl.col("attempts").cast(pl.Float64).alias("value"),
    )
    revenue = (
        sums.filter(pl.col("paid") > 0)
        .group_by("journey", "region", "bucket_at")
        .agg(pl.col("revenue_minor").sum().cast(pl.Float64).alias("value"))
        .select("journey", pl.lit("").alias("step"), "region", pl.lit("revenue").alias("kpi"), "bucket_at", "value")
    )
    long = pl.concat([conversion, attempts, revenue])
    keys = ["journey", "step", "region", "kpi"]
    names = long.select(keys).unique().sort(keys).with_row_index("row")
    coded = long.join(names, on=keys)
    values = np.full((names.height, grid.buckets), np.nan)
    place = grid.place(coded["bucket_at"].dt.epoch("us").to_numpy())
    kept = (place >= 0) & (place < grid.buckets)
    values[coded["row"].to_numpy()[kept], place[kept]] = coded["value"].to_numpy()[kept]
    return [Kpi(*row) for row in names.select(keys).iter_rows()], values


def _first_steps(sums: pl.DataFrame, bridge: pl.DataFrame) -> pl.DataFrame:
    """Per journey its first step as declared, else the one most often tried."""
    declared = bridge.group_by("journey", "step").agg(pl.col("position").min())
    tried = sums.group_by("journey", "step").agg(pl.col("attempts").sum())
    order = tried.join(declared, on=["journey", "step"], how="left").sort(
        "journey", pl.col("position").fill_null(10**6), -pl.col("attempts"), "step"
    )
    return order.unique("journey", keep="first", maintain_order=True).select("journey", "step")


def _compare(
    points: pl.DataFrame,
    figures: Sequence[Kpi],
    right: Scored,
    choices: Mapping[str, Choice],
    grid: Grid,
    busy: list[tuple[int, int]],
    room: int,
) -> tuple[list[dict[str, object]], int]:
    """Compare chunks of services with every figure; at most `room` pairs, the rest is counted as left out."""
    rank = {name: place for place, name in enumerate(_nearest_first(choices))}
    services = sorted(set(points["service"]), key=lambda name: rank[name])
    rows: list[dict[str, object]] = []
    lags = np.unique(np.round(np.array(LAGS_MINUTES) / grid.grain).astype(np.int64))
    quiet = _quiet(busy, grid)
    for part in parts_of(points, services):
        series, values = on_grid(part, grid)
        if not series:
            continue
        left = lagged.scored(values, grid.first_minute, grid.grain)
        pairs = [
            (i, j)
            for i, one in enumerate(series)
            for j, figure in enumerate(figures)
            if one.service in choices[figure.journey].hops and (not one.region or not figure.region or one.region == figure.region)
        ]
        pairs.sort(key=lambda pair: (rank[series[pair[0]].service], pair))
        taken, room = pairs[: max(room, 0)], room - len(pairs)
        if not pairs:
            continue
        found = lagged.compared(left, right, lags)
        rows.extend(_row(series[i], figures[j], i, j, found, left, right, choices, grid, quiet) for i, j in taken)
        rows.extend({"family": _family(series[i], figures[j]), "left_out": True} for i, j in pairs[len(taken) :])
    return rows, max(room, 0)


def _nearest_first(choices: Mapping[str, Choice]) -> list[str]:
    best: dict[str, int] = {}
    for choice in choices.values():
        for name, hops in choice.hops.items():
            best[name] = min(best.get(name, 10**6), 10**5 if hops is None else hops)
    return sorted(best, key=lambda name: (best[name], name))


def parts_of(points: pl.DataFrame, services: Sequence[str]) -> list[pl.DataFrame]:
    """Points of whole services, about AT_ONCE series at a time: a share needs the traffic of its own service."""
    counts = dict(points.group_by("service").len().iter_rows())
    parts: list[list[str]] = [[]]
    held = 0
    for name in services:
        if parts[-1] and held + counts[name] > AT_ONCE:
            parts.append([])
            held = 0
        parts[-1].append(name)
        held += counts[name]
    return [points.filter(pl.col("service").is_in(names)) for names in parts if names]


def on_grid(points: pl.DataFrame, grid: Grid) -> tuple[tuple[Series, ...], Floats]:
    """Series of metrics on the grid; buckets finer than the grid are averaged."""
    panel = panel_of(points, [], grid.start + grid.buckets * grid.grain * MINUTE)
    if panel is None:
        return (), np.zeros((0, grid.buckets))
    place = grid.place(panel.times)
    kept = (place >= 0) & (place < grid.buckets)
    slots = place[kept]
    raw = panel.values[:, kept].astype(np.float64)
    if np.unique(slots).size == slots.size:
        values = np.full((len(panel.series), grid.buckets), np.nan)
        values[:, slots] = raw
        return panel.series, values
    known = np.stack([np.bincount(slots, weights=np.isfinite(row), minlength=grid.buckets) for row in raw])
    total = np.stack([np.bincount(slots, weights=np.nan_to_num(row), minlength=grid.buckets) for row in raw])
    with np.errstate(invalid="ignore", divide="ignore"):
        return panel.series, np.where(known > 0, total / known, np.nan)


def _quiet(busy: list[tuple[int, int]], grid: Grid) -> npt.NDArray[np.bool_]:
    quiet = np.ones(grid.buckets, dtype=np.bool_)
    for start, end in busy:
        first, last = grid.place(np.array([start, end]))
        quiet[max(first, 0) : max(last + 1, 0)] = False
    return quiet


def _family(series: Series, figure: Kpi) -> str:
    return f"{figure.kpi}, {'demand' if series.meaning.symptom == TRAFFIC else 'health'}"


def _row(
    series: Series,
    figure: Kpi,
    i: int,
    j: int,
    found: Compared,
    left: Scored,
    right: Scored,
    choices: Mapping[str, Choice],
    grid: Grid,
    quiet: npt.NDArray[np.bool_],
) -> dict[str, object]:
    p = float(found.p[i, j])
    lag = int(found.lag[i, j])
    known = np.isfinite(p)
    calm, n_calm = lagged.at_lag(left, right, (i, j), lag, quiet) if known and p < FALSE_DISCOVERIES else (None, None)
    choice = choices[figure.journey]
    return {
        "family": _family(series, figure),
        "left_out": False,
        "moves": bool(left.moves[i] and right.moves[j]),
        "journey": figure.journey,
        "step": figure.step,
        "region": figure.region,
        "kpi": figure.kpi,
        "service": series.service,
        "service_region": series.region,
        "metric": series.metric,
        "attributes": series.attributes,
        "hops": choice.hops[series.service],
        "lag_minutes": lag * grid.grain if known else None,
        "n": int(found.n[i, j]),
        "n_effective": float(found.n_effective[i, j]) if known else None,
        "correlation": float(found.r[i, j]) if known else None,
        "ci_low": float(found.low[i, j]) if known else None,
        "ci_high": float(found.high[i, j]) if known else None,
        "p_value": p if known else None,
        "quiet_correlation": calm,
        "n_quiet": n_calm,
        "grain_minutes": grid.grain,
        "n_services_left_out": choice.left_out,
    }


def _table(rows: list[dict[str, object]], environment: str, since: object, as_of: datetime) -> pl.DataFrame:
    """Put q-values, a status and a sentence on the rows."""
    schema = DERIVED["kpi_correlations"]
    kept = [row for row in rows if not row["left_out"]]
    left_out: dict[object, int] = {}
    for row in rows:
        left_out[row["family"]] = left_out.get(row["family"], 0) + int(bool(row["left_out"]))
    for family in {row["family"] for row in kept}:
        own = [row for row in kept if row["family"] == family]
        p = np.array([np.nan if row["p_value"] is None else row["p_value"] for row in own], dtype=np.float64)
        for row, q in zip(own, lagged.q_values(p), strict=True):
            row["q_value"] = float(q) if np.isfinite(q) else None
            row["n_pairs"] = int(np.isfinite(p).sum())
            row["n_pairs_left_out"] = left_out[family]
            row["status"] = "not_enough_data" if not np.isfinite(q) else "significant" if q < FALSE_DISCOVERIES else "not_significant"
            row["meaning"] = _sentence(row)
    for row in kept:
        row |= {"environment": environment, "window_start": since, "window_end": as_of, "model_version": MODEL_VERSION}
        named = "|".join(
            str(row[key])
            for key in ("environment", "journey", "step", "region", "kpi", "service", "service_region", "metric", "attributes")
        )
        row["pair_id"] = hashlib.sha256(named.encode()).hexdigest()[:16]
    frame = pl.DataFrame([{name: row.get(name) for name in schema} for row in kept], schema=dict(schema), orient="row")
    return frame.sort("q_value", pl.col("correlation").abs(), "pair_id", descending=[False, True, False], nulls_last=True)


def _sentence(row: Mapping[str, object]) -> str:
    """What a row means, without a word of cause."""
    place = f" in {row['service_region']}" if row["service_region"] else ""
    metric = f"{row['service']} {row['metric']}{place}"
    figure = f"{row['journey']} {row['step']} {row['kpi']}".replace("  ", " ") + (f" in {row['region']}" if row["region"] else "")
    if row["status"] == "not_enough_data":
        why = "one of them hardly moves or has less than a week of points" if not row["moves"] else "too few independent observations"
        return f"Not enough data on {metric} and {figure}: {why}."
    n, worth = int(str(row["n"])), float(str(row["n_effective"]))
    r, lag = float(str(row["correlation"])), int(str(row["lag_minutes"]))
    figures = f"r = {r:+.2f}, 95 % {float(str(row['ci_low'])):+.2f} to {float(str(row['ci_high'])):+.2f}, {n:,} buckets worth {worth:,.0f}"
    if row["status"] == "not_significant":
        return f"No relation between {metric} and {figure} can be told from chance ({figures})."
    when = "at the same time" if lag == 0 else f"{abs(lag)} minutes {'later' if lag > 0 else 'before'}"
    outside = row["quiet_correlation"]
    rest = "" if outside is None else f"; outside incidents {float(str(outside)):+.2f}"
    return (
        f"When {metric} is above its usual level, {figure} tends to be {'above' if r > 0 else 'below'} its own {when} ({figures}{rest}). "
        "They move together; this does not say that one causes the other."
    )
