"""Leading indicators and families on a long stretch of the demo company: `python -m benchmarks.leading [--weeks N] [--seed S] [--json]`.

The default window of `make run` holds two leaks, too few to judge anything; this runs what the refresh runs (the detector on the signals
named in `SIGNALS`, ranking, families, mining) over more weeks. Only this scorer reads the truth: of all families only `pool_leak` shows
hours before it hurts.

- `trusted_n`, `trusted_wrong_n`: indicators called trusted, and those of them most of whose incidents were neither leaks nor caused by the
  very change that warned of them.
- `judged_true`: of the later warnings of trusted indicators, those that came true; `lead_minutes_median` to the incident.
- `leaks_warned`: of the leaks after the first indicator was mined, those any trusted indicator warned of. The status is the final one.
- `shuffled`: the same with the times of all occurrences drawn anew within their day of the week and hour: nothing should be trusted.
- `families`: groups against the true family and origin: adjusted Rand index, pairwise precision and recall.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from aftercast import detection
from aftercast.correlation import Inputs
from aftercast.correlation.families import family_tables
from aftercast.correlation.leading import mine
from aftercast.correlation.leading_rows import leading_tables, troubles_of
from aftercast.correlation.portraits import Portrait, portrait
from aftercast.correlation.precursors import Occurrence, Occurrences, occurrences
from aftercast.correlation.ranking import rank
from aftercast.correlation.situation import Incident, look
from aftercast.correlation.surroundings import incidents_of, micros, surroundings_of
from aftercast.correlation.telemetry import DAY
from aftercast.detection.series import MASKS
from aftercast.settings import PROJECT, load_deployment
from aftercast.sources.demo import DEFAULT_SEED
from aftercast.sources.demo.truth import truth
from aftercast.window import Window
from benchmarks import demo_cases
from benchmarks.demo import grouping, share

SIGNALS = ("saturation_ratio",)
WEEKS = 24
LEAK = "pool_leak"


def anomalies(inputs: Inputs, incidents: Sequence[Incident], window: Window) -> pl.DataFrame:
    """Episodes of the watched signals; declared incidents are masked as in the refresh."""
    found = []
    masks = pl.DataFrame(
        [
            {
                "kind": "incident",
                "name": one["incident_id"],
                "environment": one["environment"],
                "service": "",
                "region": one["region"] or "",
            }
            | {"started_at": one["started_at"], "ended_at": one["impact_end_at"]}
            for one in inputs.incidents.iter_rows(named=True)
        ],
        schema=dict(MASKS),
    )
    for signal in load_deployment(PROJECT / "config").signals:
        if signal.name not in SIGNALS or signal.value is None:
            continue
        bucket = pl.col("bucket_at").dt.truncate(f"{signal.grain_minutes}m")
        rows = inputs.metric_points.filter(pl.col("metric") == signal.value).group_by("service", "environment", "region", bucket)
        points = rows.agg(pl.col("value").mean()).select(
            pl.concat_str(pl.lit(signal.name), "service", "environment", "region", separator="/").alias("series_id"),
            pl.lit(signal.name).alias("signal"),
            pl.lit("service").alias("subject_kind"),
            pl.col("service").alias("subject"),
            "environment",
            "region",
            pl.lit("all").alias("segment"),
            "bucket_at",
            pl.lit(None, dtype=pl.Float64).alias("numerator"),
            pl.lit(None, dtype=pl.Float64).alias("denominator"),
            "value",
        )
        found.append(detection.detect(points.sort("series_id", "bucket_at"), [signal], masks, window).anomalies)
    return pl.concat(found).filter(pl.col("mode") == "live")


def portraits_of(inputs: Inputs, incidents: Sequence[Incident], window: Window) -> list[Portrait]:
    found = []
    for environment in sorted({one.environment for one in incidents}):
        around = surroundings_of(environment, inputs, list(incidents), window.end)
        for one in incidents:
            if one.environment == environment:
                situation = look(one, around.panel, around.graph, around.as_of)
                found.append(portrait(situation, rank(situation, around), around, inputs.action_items))
    return sorted(found, key=lambda one: (one.started, one.incident_id))


def shuffled(found: Occurrences, begin: int, as_of: int, seed: int) -> Occurrences:
    """Every occurrence moved by a whole number of weeks, round the end: its rhythm stays, its meaning goes."""
    chance = np.random.default_rng(seed)
    weeks = max((as_of - begin) // (7 * DAY), 1)

    def moved(one: Occurrence) -> Occurrence:
        by = int(chance.integers(weeks)) * 7 * DAY
        at = begin + (one.at - begin + by) % (weeks * 7 * DAY)
        return Occurrence(at, None if one.until is None else at + one.until - one.at, one.source_id)

    return {pattern: sorted(moved(one) for one in rows) for pattern, rows in found.items()}


def run(weeks: int, seed: int) -> dict[str, Any]:
    """Return the benchmark's JSON object."""
    began = time.perf_counter()
    start = load_deployment(PROJECT / "config").history.start
    window = Window(start, start + timedelta(weeks=weeks))
    inputs = demo_cases.read(seed, window).inputs.conformed()
    incidents = incidents_of(inputs, window.end)
    inputs = Inputs.of({name: getattr(inputs, name) for name in Inputs.__slots__} | {"anomalies": anomalies(inputs, incidents, window)})
    inputs, as_of = inputs.conformed(), micros(window.end)
    portraits = portraits_of(inputs, incidents, window)
    grouped = family_tables(portraits, as_of)
    told = leading_tables(inputs, incidents, portraits, grouped["families"], as_of)
    true = truth_of(window, seed)
    result = {
        "weeks": weeks,
        "seed": seed,
        "incidents": len(incidents),
        "leaks": sum(one.family == LEAK for one in true.values()),
        **_judge(told, inputs.incidents, true),
        "shuffled": _shuffled(inputs, incidents, portraits, as_of, seed),
        "families": _families(grouped["families"], true),
    }
    return {**result, "seconds": round(time.perf_counter() - began, 1)}


class Truth(NamedTuple):
    """What really happened: family, family and origin, id of the cause."""

    family: str
    place: str
    cause: str


def truth_of(window: Window, seed: int) -> dict[str, Truth]:
    """The truth about each incident."""
    rows = truth(window, seed).incidents.iter_rows(named=True)
    return {row["incident_id"]: Truth(row["family"], f"{row['family']}/{row['cause_service'] or ''}", row["cause_id"]) for row in rows}


def _families(families: pl.DataFrame, true: dict[str, Truth]) -> dict[str, Any]:
    rows = [
        (found, true[incident].family, true[incident].place)
        for incident, found in families.select("incident_id", "family_id").iter_rows()
        if incident in true
    ]
    found = [row[0] for row in rows]
    return {"by_family": grouping(found, [row[1] for row in rows]), "by_family_and_origin": grouping(found, [row[2] for row in rows])}


def _judge(told: dict[str, pl.DataFrame], incidents: pl.DataFrame, true: dict[str, Truth]) -> dict[str, Any]:
    indicators, matches = told["leading_indicators"], told["leading_matches"]
    trusted = indicators.filter(pl.col("status") == "trusted").to_dicts()
    came_true = matches.filter(pl.col("outcome") == "came_true")
    wrong = [row for row in trusted if not _is_right(row, came_true, true)]
    kept = matches.filter(pl.col("status") == "trusted")
    leads = kept["lead_minutes"].drop_nulls()
    first = min((row["mined_at"] for row in trusted), default=None)
    return {
        "statuses": dict(indicators.group_by("status").len().sort("status").iter_rows()),
        "trusted_n": len(trusted),
        "trusted_wrong_n": len(wrong),
        "judged_true": share(sum(row["judged_true_n"] for row in trusted), sum(row["judged_n"] for row in trusted)),
        "lead_minutes_median": round(float(leads.median()), 0) if leads.len() else None,  # type: ignore[arg-type]
        "leaks_warned": _leaks_warned(kept, first, incidents, true),
        "trusted": [
            {name: row[name] for name in ("kind", "signal", "subject", "judged_true_n", "judged_n", "base_rate", "lift", "q_value")}
            | {"mined_at": f"{row['mined_at']:%Y-%m-%d}", "reason": row["reason"]}
            for row in trusted
        ],
    }


def _is_right(indicator: dict[str, Any], came_true: pl.DataFrame, true: dict[str, Truth]) -> bool:
    """Whether most incidents that came true were leaks, or caused by the very change that warned of them."""
    keys = ("kind", "signal", "subject_kind", "subject", "environment", "direction")
    rows = came_true.filter(*(pl.col(key) == indicator[key] for key in keys)).select("incident_id", "source_id").rows()
    explained = [one in true and (true[one].family == LEAK or true[one].cause == source) for one, source in rows]
    return explained.count(True) * 2 >= len(rows)


def _leaks_warned(kept: pl.DataFrame, first: Any, incidents: pl.DataFrame, true: dict[str, Truth]) -> dict[str, Any]:
    if first is None:
        return share(0, 0)
    due = {
        one
        for one, at in incidents.select("incident_id", "started_at").iter_rows()
        if at >= first and one in true and true[one].family == LEAK
    }
    return share(len(due & set(kept["incident_id"].drop_nulls())), len(due))


def _shuffled(inputs: Inputs, incidents: Sequence[Incident], portraits: Sequence[Portrait], as_of: int, seed: int) -> dict[str, Any]:
    found = occurrences(inputs, as_of)
    begin = min(rows[0].at for rows in found.values())
    troubles = troubles_of(incidents, portraits, inputs.journeys)
    statuses: Counter[str] = Counter()
    for world in range(5):
        statuses.update(one.status for one in mine(shuffled(found, begin, as_of, seed + world), troubles, as_of))
    decided = sum(n for status, n in statuses.items() if status != "not_enough_data")
    return {"trusted": share(statuses["trusted"], decided), "statuses": dict(sorted(statuses.items()))}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weeks", type=int, default=WEEKS)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    result = run(options.weeks, options.seed)
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
