"""Families of real incidents of a status page, and what they cost: `python -m benchmarks.families --data DIR [--json]`.

Nobody labelled these 399 incidents, and there is no telemetry: only titles and components. So this is a check of sanity, not of quality. An
incident that names a component named within the last seven days counts as a recurrence.

- `recurrences_in_family`: recurrences that lie in one family with the incident they repeat; `strangers_in_family`: pairs within
  seven days without a common component that do. The first should be far above the second.
- `cost`: CPU seconds for the families and similar incidents of 10,000 incidents made by repeating these over three years at 20 companies.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from aftercast.correlation import Inputs
from aftercast.correlation.families import families_of, portrait, similar_rows
from aftercast.correlation.portraits import Portrait
from aftercast.correlation.ranking import rank
from aftercast.correlation.situation import look
from aftercast.correlation.surroundings import incidents_of, surroundings_of
from aftercast.window import parse_utc
from benchmarks.demo import share

WEEK = timedelta(days=7)
MANY, YEARS, COMPANIES = 10_000, 3, 20


def read(path: Path) -> pl.DataFrame:
    """Incidents with their components; maintenance and rows without a start are left out."""
    rows = [json.loads(line) for line in (path / "incidents.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = [row for row in rows if row.get("started_at") and row.get("impact") != "maintenance"]
    return pl.DataFrame(
        [
            {
                "incident_id": row["id"],
                "title": row["title"],
                "environment": "production",
                "started_at": parse_utc(row["started_at"]),
                "impact_end_at": parse_utc(row.get("resolved_at") or row["started_at"]),
                "components": row.get("components") or [],
            }
            for row in kept
        ]
    )


def portraits_of(incidents: pl.DataFrame) -> list[Portrait]:
    """What the product would know of them."""
    named = incidents.select("incident_id", pl.col("components").alias("service")).explode("service").drop_nulls()
    inputs = Inputs.of({"incidents": incidents, "incident_services": named.with_columns(pl.lit("impacted").alias("role"))}).conformed()
    until = incidents.select(pl.col("started_at").max() + WEEK).item()
    found = incidents_of(inputs, until)
    around = surroundings_of("production", inputs, found, until)
    return [
        portrait(situation, rank(situation, around), around, inputs.action_items)
        for situation in (look(one, None, around.graph, around.as_of) for one in found)
    ]


def recurrences(incidents: pl.DataFrame, family_of: dict[str, str]) -> dict[str, Any]:
    rows = incidents.sort("started_at", "incident_id").select("incident_id", "started_at", "components").rows()
    again = together = pairs = strangers = 0
    for place, (incident, started, components) in enumerate(rows):
        recent = [row for row in rows[:place] if started - row[1] <= WEEK and components and row[2]]
        same = [row for row in recent if set(row[2]) & set(components)]
        if same:
            again += 1
            together += any(family_of[row[0]] == family_of[incident] for row in same)
        apart = [row for row in recent if not set(row[2]) & set(components)]
        pairs += len(apart)
        strangers += sum(family_of[row[0]] == family_of[incident] for row in apart)
    return {"recurrences_in_family": share(together, again), "strangers_in_family": share(strangers, pairs)}


def many(portraits: Sequence[Portrait]) -> list[Portrait]:
    """The same incidents at several companies, spread over years."""
    step = YEARS * 365 * 86_400 * 1_000_000 // MANY
    made = []
    for number in range(MANY):
        one, company = portraits[number % len(portraits)], f"-{number * 7 % COMPANIES}"
        made.append(
            replace(
                one,
                incident_id=f"INC-{number}",
                started=portraits[0].started + number * step,
                services=frozenset(service + company for service in one.services),
                place=one.place + company if one.place else "",
            )
        )
    return made


def run(path: Path) -> dict[str, Any]:
    incidents = read(path)
    portraits = portraits_of(incidents)
    families = families_of(portraits)
    rows = families.rows()
    family_of = {str(row["incident_id"]): str(row["family_id"]) for row in rows}
    crowd = many(portraits)
    began = time.process_time()
    families_of(crowd)
    grouped = time.process_time()
    similar_rows(crowd)
    return {
        **recurrences(incidents, family_of),
        "incidents": len(portraits),
        "families": len(set(family_of.values())),
        "merged_or_split": len(families.changes),
        "moved": sum(row["how"] == "moved" for row in families.history),
        "cost": {"incidents": MANY, "families_cpu_s": round(grouped - began, 1), "similar_cpu_s": round(time.process_time() - grouped, 1)},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with incidents.jsonl")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    result = run(options.data)
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
