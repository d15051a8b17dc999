"""Edges between services that no trace told of: the trouble of one follows the trouble of the other by some minutes.

A hint and no call. Only errors and latency are compared, one series of each per service and region; the direction is the order in time
(the one that comes first is written as the callee, as trouble runs from callee to caller), and where both moved in the same bucket, or
either order fits, there is no edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl

from aftercast.analyses import DERIVED
from aftercast.correlation import lagged
from aftercast.correlation.inputs import Inputs
from aftercast.correlation.kpi_correlations import HISTORY, Grid, grid_of, on_grid, packed, parts_of
from aftercast.correlation.lagged import Scored
from aftercast.correlation.semantics import ERRORS, LATENCY, meaning, tail_order, words

MODEL_VERSION = "inferred-edges-1"
GRAIN = 5
LAGS_MINUTES = tuple(range(-30, 31, GRAIN))
FALSE_DISCOVERIES = 0.01
"""Stricter than for a row people read: edges are walked along."""
MOST_SERVICES = 100


def infer_edges(inputs: Inputs, as_of: datetime) -> pl.DataFrame:
    """Return the derived table `inferred_edges`: one row per environment, caller and callee, with the surest pair of series."""
    points = packed(inputs.conformed().metric_points)
    rows: list[dict[str, object]] = []
    for environment in sorted(set(points["environment"])):
        here = _plainest(points.filter(pl.col("environment") == environment))
        for region in sorted(set(here["region"])):
            rows.extend(_among(here.filter(pl.col("region").is_in(["", region])), environment, region, as_of))
    schema = DERIVED["inferred_edges"]
    frame = pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=dict(schema), orient="row")
    best = frame.sort("q_value", -pl.col("correlation"), "caller", "callee", "region", "caller_metric", "callee_metric")
    return best.unique(["environment", "caller", "callee"], keep="first", maintain_order=True).sort("environment", "caller", "callee")


def beside_calls(inputs: Inputs, edges: pl.DataFrame) -> Inputs:
    """Add inferred edges to the dependencies, labelled as such: `Graph` never takes them for calls."""
    known = inputs.conformed().dependencies
    more = edges.select("environment", "caller", "callee", pl.lit("inferred").alias("provenance")).select(known.columns)
    return replace(inputs, dependencies=pl.concat([known, more]))


def _plainest(points: pl.DataFrame) -> pl.DataFrame:
    """Of each service and region the plainest series of errors and of latency, with the traffic that makes errors a share."""
    rows = list(points.select("service", "region", "metric", "attributes", "unit").with_row_index("row").iter_rows(named=True))
    chosen: dict[tuple[str, str, str], tuple[tuple[bool, int, int, str, str], int]] = {}
    for row in rows:
        symptom = meaning(row["metric"], row["unit"] or "").symptom
        order = (bool(row["attributes"]), -tail_order(row["metric"]), len(words(row["metric"])), row["metric"], row["attributes"])
        place = (row["service"], row["region"], symptom)
        if place not in chosen or order < chosen[place][0]:
            chosen[place] = (order, row["row"])
    return points[sorted(row for _, row in chosen.values())]


def _among(points: pl.DataFrame, environment: str, region: str, as_of: datetime) -> list[dict[str, object]]:
    """Compare the services seen by one region with each other; those of no region belong to every one."""
    services = sorted(set(points["service"]))[:MOST_SERVICES]
    grid = grid_of(as_of - HISTORY, as_of, GRAIN)
    names: list[tuple[str, str]] = []
    held: list[Scored] = []
    for part in parts_of(points.filter(pl.col("service").is_in(services)), services):
        series, values = on_grid(part, grid)
        kept = [row for row, one in enumerate(series) if one.meaning.symptom in (ERRORS, LATENCY)]
        if kept:
            names.extend((series[row].service, series[row].metric) for row in kept)
            held.append(lagged.scored(values[kept], grid.first_minute, GRAIN))
    if not held:
        return []
    return _edges(names, lagged.joined(held), grid, environment, region, as_of)


def _edges(
    names: Sequence[tuple[str, str]], scored: Scored, grid: Grid, environment: str, region: str, as_of: datetime
) -> list[dict[str, object]]:
    found = lagged.compared(scored, scored, np.array(LAGS_MINUTES) // GRAIN)
    first = np.array([service for service, _ in names])
    p = np.where(np.triu(np.ones(found.p.shape, dtype=bool), 1) & (first[:, None] != first[None, :]), found.p, np.nan)
    q = lagged.q_values(p)
    everywhere = np.ones(grid.buckets, dtype=np.bool_)
    rows: list[dict[str, object]] = []
    for i, j in np.argwhere(np.isfinite(q) & (q < FALSE_DISCOVERIES) & (found.r > 0) & (found.lag != 0)).tolist():
        lag = int(found.lag[i, j])
        opposite, _ = lagged.at_lag(scored, scored, (i, j), -lag, everywhere)
        worth = float(found.n_effective[i, j])
        if opposite is not None and found.r[i, j] - opposite < 1.96 * (2 / worth) ** 0.5:
            continue
        (caller, caller_metric), (callee, callee_metric) = (names[j], names[i]) if lag > 0 else (names[i], names[j])
        rows.append(
            {
                "environment": environment,
                "caller": caller,
                "callee": callee,
                "region": region,
                "caller_metric": caller_metric,
                "callee_metric": callee_metric,
                "lag_minutes": abs(lag) * GRAIN,
                "n": int(found.n[i, j]),
                "n_effective": worth,
                "correlation": float(found.r[i, j]),
                "ci_low": float(found.low[i, j]),
                "ci_high": float(found.high[i, j]),
                "p_value": float(found.p[i, j]),
                "q_value": float(q[i, j]),
                "n_pairs": int(np.isfinite(p).sum()),
                "window_start": as_of - HISTORY,
                "window_end": as_of,
                "model_version": MODEL_VERSION,
            }
        )
    return rows
