"""The configuration compiled to tables, so that dbt reads what a deployment declares as it reads anything else. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import polars as pl

from aftercast.ablation import Learnt, of_detectors, of_rankers
from aftercast.analyses import DECLARED
from aftercast.declarations import SignalRow
from aftercast.settings import Deployment


def _formula(signal: SignalRow) -> str:
    if signal.value is None:
        return f"{signal.numerator} / {signal.denominator}"
    return f"{signal.value} per minute" if signal.per == "minute" else signal.value


def _frame(table: str, rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=DECLARED[table], orient="row")


def _learnt(version: Learnt) -> dict[str, Any]:
    return {
        "learning_signals": ", ".join(version.extras),
        "differs_by": ", ".join(version.differs_by),
        "isolates": version.isolates,
        "features_version": version.features_version,
    }


def declared_tables(deployment: Deployment) -> dict[str, pl.DataFrame]:
    """Return every table of `analyses.DECLARED` but `run` and `landed_days`, one row per declared thing, in the order declared.

    The weight of a journey's service is the weight of its step: each service of a step carries the whole step.
    """
    steps = [(journey, position, step) for journey in deployment.journeys for position, step in enumerate(journey.steps, start=1)]
    return {
        "services": _frame("services", ({**row.model_dump(), "title": row.title or row.service} for row in deployment.services)),
        "dependencies": _frame("dependencies", (row.model_dump() for row in deployment.edges)),
        "teams": _frame("teams", ({**row.model_dump(exclude={"on_call"}), "title": row.title or row.team} for row in deployment.teams)),
        "aliases": _frame("aliases", (row.model_dump() for row in deployment.aliases)),
        "journeys": _frame("journeys", (row.model_dump(exclude={"steps"}) for row in deployment.journeys)),
        "slos": _frame("slos", (slo.row() for slo in deployment.slos)),
        "slo_parts": _frame(
            "slo_parts",
            ({"slo": slo.slo, "part": number, **asdict(part)} for slo in deployment.slos for number, part in enumerate(slo.parts, start=1)),
        ),
        "costs": _frame("costs", [deployment.costs.model_dump()]),
        "journey_steps": _frame(
            "journey_steps",
            (
                {"journey": journey.journey, "step": step.step, "position": position, "weight": step.weight, "earns": step.earns}
                for journey, position, step in steps
            ),
        ),
        "journey_services": _frame(
            "journey_services",
            (
                {"journey": journey.journey, "step": step.step, "service": service, "weight": step.weight}
                for journey, _, step in steps
                for service in step.services
            ),
        ),
        "signals": _frame(
            "signals",
            (
                {
                    "signal": row.name,
                    "fact": row.fact,
                    "hurts": row.hurts,
                    "grain_minutes": row.grain_minutes,
                    "sensitivity": row.sensitivity,
                    "minimum_effect": row.minimum_effect,
                    "formula": _formula(row),
                }
                for row in deployment.signals
            ),
        ),
        "detectors": _frame(
            "detectors",
            (
                {
                    **row.model_dump(exclude={"tuning", "masks"}),
                    "tuning": json.dumps([one.model_dump() for one in row.tuning]),
                    "masks": json.dumps([one.model_dump(mode="json", exclude_defaults=True) for one in row.masks]),
                    **_learnt(of_detectors(deployment.detectors, deployment.signals)[row.version]),
                }
                for row in deployment.detectors
            ),
        ),
        "rankers": _frame(
            "rankers",
            (
                {
                    **row.model_dump(exclude={"rules", "without"}),
                    "rules": json.dumps([one.model_dump(mode="json", exclude_defaults=True) for one in row.rules]),
                    **_learnt(of_rankers(deployment.rankers)[row.version]),
                }
                for row in deployment.rankers
            ),
        ),
        "runbooks": _frame(
            "runbooks",
            (
                {
                    "runbook": row.id,
                    "title": row.title,
                    "version": row.version,
                    "owner_team": row.owner_team,
                    "services": list(row.services),
                    "families": list(row.families),
                    "causes": list(row.causes),
                    "text": " ".join(step.text for step in row.steps),
                }
                for row in deployment.runbooks
            ),
        ),
        "sources": _frame(
            "sources",
            (
                {"source": row.name, "kind": row.kind, "owner": row.owner, "schedule": row.schedule, "entities": list(row.entities)}
                for row in deployment.sources
            ),
        ),
    }
