"""The demo company as the frames correlation reads, built straight from its extract in the star's columns; and its truth for the scorer.

The scorer may take candidates from a published mart instead; then only the truth is read from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from aftercast.correlation import Inputs
from aftercast.entities import ENTITIES
from aftercast.settings import PROJECT, Deployment, load_deployment
from aftercast.sources.demo import DemoSource
from aftercast.sources.demo.truth import truth
from aftercast.window import Window
from benchmarks.cases import Label, Suite

ENTITY_OF = {
    "incidents": "incidents",
    "changes": "changes",
    "metric_points": "metric_points",
    "kpi_points": "journey_kpis",
    "alerts": "alerts",
    "dependencies": "service_edges",
    "log_patterns": "log_patterns",
    "action_items": "action_items",
}
VERSION_TIME = {"incidents": "updated_at", "action_items": "updated_at", "changes": "finished_at"}


def read(seed: int, window: Window | None) -> Suite:
    """Extract the window (default: the one `make run` uses) and arrange it as the star would."""
    deployment = load_deployment(PROJECT / "config")
    window = window or deployment.history
    aliases = _aliases(deployment)
    landed = _extract(seed, window)
    frames = {name: _star(landed.get(entity), entity, aliases) for name, entity in ENTITY_OF.items()}
    incidents = frames["incidents"].filter((pl.col("mode").fill_null("real") == "real") & (pl.col("status") != "cancelled"))
    hit = incidents.select("incident_id", pl.col("services").alias("service")).explode("service").drop_nulls()
    edges = frames["dependencies"].select("environment", "caller", "callee")
    declared = pl.DataFrame(
        [{"environment": "", "caller": edge.caller, "callee": edge.callee} for edge in deployment.edges], schema=edges.schema
    )
    frames |= {
        "incidents": incidents.with_columns(
            pl.coalesce("mitigated_at", "resolved_at", pl.lit(window.end, dtype=pl.Datetime("us", "UTC"))).alias("impact_end_at"),
            pl.col("services").list.first().alias("service_origin"),
            pl.lit(value=False).alias("exclude_from_metrics"),
        ),
        "incident_services": hit.with_columns(pl.lit("impacted").alias("role")),
        "changes": _rollbacks(frames["changes"]),
        "metric_points": frames["metric_points"].rename({"ts": "bucket_at"}),
        "kpi_points": frames["kpi_points"].rename({"ts": "bucket_at"}),
        "dependencies": pl.concat([edges, declared]).unique(),
        "services": pl.DataFrame([{"service": row.service, "kind": row.kind} for row in deployment.services]),
        "journeys": pl.DataFrame(
            [
                {"journey": journey.journey, "step": step.step, "service": service}
                for journey in deployment.journeys
                for step in journey.steps
                for service in step.services
            ]
        ),
    }
    nodes = tuple(sorted(row.service for row in deployment.services))
    environments = incidents["environment"].unique().to_list()
    return Suite(
        Inputs.of(frames), window.end, labels(window, seed), dict.fromkeys(environments, nodes), {"seed": seed, "window": str(window)}
    )


def labels(window: Window, seed: int) -> dict[str, Label]:
    """The truth: true cause of each incident of the window."""
    return {
        row["incident_id"]: Label(
            row["cause_kind"], "none" if row["cause_kind"] == "none" else row["cause_id"], row["cause_service"] or "", row["family"]
        )
        for row in truth(window, seed).incidents.iter_rows(named=True)
    }


def _extract(seed: int, window: Window) -> dict[str, pl.DataFrame]:
    held: dict[str, list[pl.DataFrame]] = {}
    for batch in DemoSource(seed=seed, entities=frozenset(ENTITY_OF.values())).extract(window):
        held.setdefault(batch.entity, []).append(batch.frame)
    return {entity: pl.concat(frames, how="diagonal_relaxed") for entity, frames in held.items()}


def _aliases(deployment: Deployment) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for row in deployment.aliases:
        found.setdefault(row.kind, {})[row.alias] = row.name
    return found


def _star(frame: pl.DataFrame | None, entity: str, aliases: Mapping[str, Mapping[str, str]]) -> pl.DataFrame:
    """Latest version of each row, in the entity's types, under declared names."""
    shape = ENTITIES[entity]
    if frame is None:
        return pl.DataFrame(schema=shape.columns)
    casts: list[Any] = []
    for column, kind in shape.columns.items():
        text = pl.col(column) if column in frame.columns else pl.lit(None)
        casts.append(text.cast(kind, strict=False).alias(column))
    rows = frame.select(casts)
    for alias_kind, columns in (("service", ("service", "caller", "callee")), ("environment", ("environment",)), ("region", ("region",))):
        names = dict(aliases.get(alias_kind, {}))
        rows = rows.with_columns(pl.col(column).replace(names) for column in columns if column in rows.columns)
        if alias_kind == "service" and "services" in rows.columns:
            rows = rows.with_columns(pl.col("services").list.eval(pl.element().replace(names)))
    if entity in VERSION_TIME:
        rows = rows.sort(VERSION_TIME[entity], nulls_last=False, maintain_order=True)
    blanks = [pl.col(column).fill_null(fill) for column, fill in (("environment", "production"), ("region", "")) if column in rows.columns]
    key = [shape.key[0]] if entity == "action_items" else list(shape.key)
    rows = rows.with_columns(blanks)
    missing = [column for column in shape.key if column in rows.columns and rows[column].dtype == pl.String]
    return rows.with_columns(pl.col(missing).fill_null("")).unique(key, keep="last", maintain_order=True)


def _rollbacks(changes: pl.DataFrame) -> pl.DataFrame:
    """A rollback undoes the latest change of the same service whose version it replaces."""
    undone = changes.select(
        pl.col("service"),
        pl.col("environment"),
        pl.col("version").alias("previous_version"),
        pl.col("change_id").alias("rolls_back_change_id"),
    ).drop_nulls()
    undone = undone.unique(["service", "environment", "previous_version"], keep="last", maintain_order=True)
    flagged = changes.with_columns((pl.col("kind") == "rollback").alias("is_rollback"))
    joined = flagged.join(undone, on=["service", "environment", "previous_version"], how="left")
    return joined.with_columns(pl.when("is_rollback").then("rolls_back_change_id").alias("rolls_back_change_id"))
