"""What measurement reads and what it returns.

Frames carry the star's columns (docs/contracts.md) or those of derived tables; a frame may be empty and then needs no columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import polars as pl

from aftercast.analyses import DERIVED
from aftercast.entities import COUNT, FLAG, NUMBER, TEXT, TEXTS, TIME, ColumnType

MODEL_VERSION = "counterfactual-1"

READ: dict[str, dict[str, ColumnType]] = {
    "incidents": {"incident_id": TEXT, "region": TEXT, "started_at": TIME, "impact_end_at": TIME},
    "incident_services": {"incident_id": TEXT, "service": TEXT},
    "kpi_points": {
        "journey": TEXT,
        "step": TEXT,
        "segment": TEXT,
        "region": TEXT,
        "tier": TEXT,
        "plan": TEXT,
        "country": TEXT,
        "bucket_at": TIME,
        "attempts": COUNT,
        "successes": COUNT,
        "revenue_minor": COUNT,
        "currency": TEXT,
    },
    "journeys": {"journey": TEXT, "currency": TEXT, "grain_minutes": COUNT},
    "journey_services": {"journey": TEXT, "step": TEXT, "position": COUNT, "service": TEXT, "earns": FLAG},
    "dependencies": {"caller": TEXT, "callee": TEXT},
    "services": {"service": TEXT},
    "anomalies": {"subject_kind": TEXT, "subject": TEXT, "region": TEXT, "started_at": TIME, "ended_at": TIME, "hurts": FLAG},
    "action_items": {"action_item_id": TEXT, "incident_id": TEXT, "type": TEXT, "status": TEXT, "shipped_at": TIME},
    "families": {"incident_id": TEXT, "family_id": TEXT},
    "candidates": {"incident_id": TEXT},
    "changes": {"started_at": TIME},
    # What a unit of a currency is worth in the one reported in; the row of a currency in itself names that one.
    "exchange_rates": {"currency": TEXT, "report_currency": TEXT, "rate": NUMBER, "since": TIME},
    # Occurrences of promotions and holidays; empty lists mean all.
    "known_times": {"name": TEXT, "starts_at": TIME, "ends_at": TIME, "journeys": TEXTS, "regions": TEXTS, "countries": TEXTS},
}
# Read where it is there; taken as unknown where it is not.
ALSO_READ: dict[str, dict[str, ColumnType]] = {
    "incidents": {"detected_at": TIME, "is_open": FLAG},
    "action_items": {
        "service": TEXT,
        "shipped_change_id": TEXT,
        "success_criterion": TEXT,
        "criterion_outcome": TEXT,
        "criterion_change": NUMBER,
        "criterion_set_at": TIME,
    },
    "candidates": {"rank": COUNT, "kind": TEXT, "candidate_id": TEXT, "probability": NUMBER},
    "changes": {
        "change_id": TEXT,
        "kind": TEXT,
        "service": TEXT,
        "environment": TEXT,
        "result": TEXT,
        "is_rollback": FLAG,
        "rolls_back_change_id": TEXT,
    },
}


@dataclass(frozen=True, slots=True)
class Inputs:
    """Star and derived tables; incidents are those not excluded from metrics."""

    incidents: pl.DataFrame = field(default_factory=pl.DataFrame)
    incident_services: pl.DataFrame = field(default_factory=pl.DataFrame)
    kpi_points: pl.DataFrame = field(default_factory=pl.DataFrame)
    journeys: pl.DataFrame = field(default_factory=pl.DataFrame)
    journey_services: pl.DataFrame = field(default_factory=pl.DataFrame)
    dependencies: pl.DataFrame = field(default_factory=pl.DataFrame)
    services: pl.DataFrame = field(default_factory=pl.DataFrame)
    anomalies: pl.DataFrame = field(default_factory=pl.DataFrame)
    action_items: pl.DataFrame = field(default_factory=pl.DataFrame)
    families: pl.DataFrame = field(default_factory=pl.DataFrame)
    candidates: pl.DataFrame = field(default_factory=pl.DataFrame)
    changes: pl.DataFrame = field(default_factory=pl.DataFrame)
    exchange_rates: pl.DataFrame = field(default_factory=pl.DataFrame)
    known_times: pl.DataFrame = field(default_factory=pl.DataFrame)

    def __post_init__(self) -> None:
        """Give every frame the columns that are read; a frame without columns becomes an empty one of the right types.

        Raises:
            ValueError: a frame with rows lacks a column; names both.
        """
        for item in fields(self):
            frame: pl.DataFrame = getattr(self, item.name)
            missing = [name for name in READ[item.name] if name not in frame.columns]
            if missing and frame.height:
                raise ValueError(f"measurement needs column(s) {', '.join(missing)} of {item.name}")
            if missing:
                frame = pl.DataFrame(schema=READ[item.name])
            unknown = {name: kind for name, kind in ALSO_READ.get(item.name, {}).items() if name not in frame.columns}
            frame = frame.with_columns(pl.lit(None, dtype=kind).alias(name) for name, kind in unknown.items())
            object.__setattr__(self, item.name, frame)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is derived: frames in the schemas of `aftercast.analyses.DERIVED`."""

    impact: pl.DataFrame
    incident_loss: pl.DataFrame
    fix_impact: pl.DataFrame


def as_derived(table: str, rows: list[dict[str, object]]) -> pl.DataFrame:
    """Return rows as a frame of a derived table, stamped with the model's version."""
    return pl.DataFrame([{**row, "model_version": MODEL_VERSION} for row in rows], schema=DERIVED[table])
