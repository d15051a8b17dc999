"""A small company in rows of the published mart: five releases that went wrong and were rolled back, the last of them a minute ago."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from aftercast.declarations import AutomationFile, IncidentClassRow, ServiceRow, TeamRow
from aftercast.runbooks import Runbook, parse

AS_OF = datetime(2026, 9, 21, 12, tzinfo=UTC)
NOW = AS_OF + timedelta(minutes=5)
TEXTS = {
    "mart_incident_evidence": {"incident_id": pl.String, "candidate_id": pl.String, "evidence_id": pl.String, "strength": pl.Float64},
}

RUNBOOK = """---
id: roll-back
title: Roll back
version: 3
owner_team: platform
causes: [deploy]
---
# Roll back

## Steps

1. Look first.
2. Roll it back.

   ```yaml
   do: {action: rollback, arguments: {service: "{service}", change: "{candidate}"}}
   precondition:
     - {mart: mart_incidents, column: is_open, equals: true}
     - {mart: mart_incident_candidates, column: probability, at_least: 0.6}
   verify:
     - {mart: mart_incidents, column: is_open, equals: false}
   rollback: Release it again.
   ```
"""
SERVICES = (
    ServiceRow(service="tool", team="platform", criticality="low"),
    ServiceRow(service="shop", team="orders", criticality="critical"),
)
TEAMS = (TeamRow(team="platform", channel="#platform", on_call="https://rota.example/platform"), TeamRow(team="orders"))


def runbook(text: str = RUNBOOK) -> Runbook:
    return parse(text, "roll-back.md")


def automation(level: int = 2, **more: Any) -> AutomationFile:
    acting: dict[str, Any] = {"actions": ("rollback",), "causes": ("deploy",)} if level >= 2 else {}
    given: dict[str, Any] = {"dry_run": False, "executor": "robot", "classes": (IncidentClassRow(name="all", level=level, **acting),)}
    return AutomationFile(**{**given, **more})


def incident(number: int, *, service: str = "tool", is_open: bool = False, start: datetime | None = None, **more: Any) -> dict[str, Any]:
    begun = start or AS_OF - timedelta(days=20 - number)
    end = None if is_open else begun + timedelta(minutes=50)
    row = {
        "incident_id": f"INC-{number}",
        "title": f"{service} fails",
        "severity": "sev3",
        "environment": "production",
        "service_origin": service,
        "services_impacted": [service],
        "team_owner": {"tool": "platform", "shop": "orders"}.get(service),
        "family_id": f"family-{service}",
        "family_title": f"{service}: failures after a deploy",
        "is_open": is_open,
        "exclude_from_metrics": False,
        "started_at": begun,
        "mitigated_at": end,
        "resolved_at": end,
        "impact_end_at": end,
    }
    return {**row, **more}


def world(
    *, service: str = "tool", probability: float = 0.95, cause: str = "deploy", past: int = 4, is_open: bool = True
) -> dict[str, Any]:
    """Frames by mart: `past` incidents that rollbacks ended, and INC-9, which began ten minutes before the mart's end."""
    rows = [incident(number, service=service) for number in range(1, past + 1)]
    rows.append(incident(9, service=service, is_open=is_open, start=AS_OF - timedelta(minutes=10)))
    candidates, changes, evidence = [], [], []
    for row in rows:
        name = row["incident_id"]
        blamed = f"chg-{name}"
        candidates.append(
            {
                "incident_id": name,
                "rank": 1,
                "kind": "change",
                "candidate_id": blamed,
                "service": service,
                "title": "Release v2",
                "change_kind": cause,
                "evidence": [f"ev-{name}-1", f"ev-{name}-2"],
                "probability": probability,
            }
        )
        evidence += [{"incident_id": name, "candidate_id": blamed, "evidence_id": f"ev-{name}-{n}", "strength": 1.0} for n in (1, 2)]
        changes.append(_change(blamed, cause, service, row["started_at"] - timedelta(minutes=5)))
        if row["impact_end_at"]:
            changes.append(_change(f"back-{name}", "rollback", service, row["impact_end_at"] - timedelta(minutes=10), is_rollback=True))
    return {
        "mart_incidents": pl.DataFrame(rows, infer_schema_length=None),
        "mart_incident_candidates": pl.DataFrame(candidates),
        "mart_incident_evidence": pl.DataFrame(evidence, schema=TEXTS["mart_incident_evidence"]),
        "mart_changes": pl.DataFrame(changes),
        "mart_similar_incidents": pl.DataFrame(
            [
                {
                    "incident_id": "INC-9",
                    "similar_incident_id": "INC-1",
                    "rank": 1,
                    "fixed_by": None,
                    "fix": f"rollback on {service}",
                    "similarity": 0.8,
                }
            ],
            schema_overrides={"fixed_by": pl.String},
        ),
        "mart_families": pl.DataFrame(
            [
                {
                    "family_id": f"family-{service}",
                    "usual_fix": f"rollback on {service}",
                    "usual_fix_worked_n": past,
                    "usual_fix_tried_n": past,
                }
            ]
        ),
        "mart_blast_radius": pl.DataFrame(
            [{"environment": "production", "service": service, "traffic_share": 0.1, "n_dependents": 1, "in_cycle": False}]
        ),
    }


def _change(name: str, kind: str, service: str, at: datetime, *, is_rollback: bool = False) -> dict[str, Any]:
    return {"change_id": name, "kind": kind, "service": service, "is_rollback": is_rollback, "result": "success", "started_at": at}


def publish(home: Path, frames: dict[str, pl.DataFrame], as_of: datetime = AS_OF) -> None:
    """Write the frames as the published mart of a home."""
    path = home / "published" / "aftercast.duckdb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute("create schema marts")
        for name, frame in {**frames, "mart_run": pl.DataFrame({"as_of": [as_of]})}.items():
            connection.register("given", frame)
            connection.execute(f"create table marts.{name} as select * from given")
            connection.unregister("given")
