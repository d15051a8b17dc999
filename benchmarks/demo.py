"""The published mart of the demo company against its planted truth: `python -m benchmarks.demo [--home DIR] [--json]`.

Needs a finished `make run`. Reads the mart as any reader would and, for the placebo windows, the star in the warehouse beside it; only this
scorer reads the truth.

- `top1_pct`, `top3_pct`: incidents whose true cause (kind and id) is ranked first, or among the first three. A cause that is not
  listed counts as missed.
- `loss_coverage_pct`: incidents whose true net loss lies inside the stated 95 % interval. An incident of unknown loss counts as not covered
  and is listed under `unknown`.
- `false_loss_claims_per_quiet_week`: how many incidents a week would be said to have lost money in weeks in which none did. Placebo
  incidents of an hour are put into quiet time (six hours away from any true or reported impact), with the services and region of real
  incidents, and measured by the same function; the share called quantified is multiplied by the incidents of a week. When the real
  incidents that lost nothing were claimed more often a week than that, their number is taken instead.
- `noticed_pct`: incidents with a true loss that are called quantified.
- `proposals_matched`: declared incidents with a proposal, of all, with how long before people declared them; `proposals_per_quiet_week`:
  proposals that match no true incident, per week of the time outside true and reported impacts; `noise_reduction_pct`: 1 - proposals /
  (alerts + hurting episodes). `per_half`: the same in the first and the second half of the window, because the rules were looked at on one.
- `families`: families of incidents against the true ones: adjusted Rand index, precision and recall of pairs. `leading`: leading
  indicators by status; `python -m benchmarks.leading` judges them on more weeks.
- `fixes`: verdicts on fixes that work and on those that do not (also those that only seem to).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as columns_by
from scipy import stats

from aftercast import warehouse
from aftercast.errors import AftercastError, WarehouseError
from aftercast.measurement import Inputs, measure
from aftercast.settings import Settings
from aftercast.sources.demo import DEFAULT_SEED
from aftercast.sources.demo.truth import Truth, truth
from aftercast.version import code_version
from aftercast.window import Window

REQUIRED = {"top3_pct": 80.0, "loss_coverage_pct": 85.0, "false_loss_claims_per_quiet_week": 1.0}
PLACEBO = timedelta(hours=1)
AWAY = timedelta(hours=6)
WARM_UP = timedelta(days=3)
BATCHES, PER_BATCH = 5, 10
SEED = 7


def share(hits: int, n: int) -> dict[str, Any]:
    """A proportion in percent with its 95 % Wilson interval."""
    if not n:
        return {"pct": None, "low": None, "high": None, "k": 0, "n": 0}
    ends = stats.binomtest(hits, n).proportion_ci(confidence_level=0.95, method="wilson")
    return {"pct": round(100 * hits / n, 1), "low": round(100 * ends.low, 1), "high": round(100 * ends.high, 1), "k": hits, "n": n}


def read(settings: Settings, table: str) -> pl.DataFrame:
    """One published table; money as floating numbers."""
    return warehouse.query(settings.mart, f"select * from marts.{table}").with_columns(columns_by.decimal().cast(pl.Float64))


def causes(candidates: pl.DataFrame, planted: Truth) -> dict[str, Any]:
    """Hits of the true cause, beside random order and a static prior: the services most often suspected anywhere."""
    listed: dict[str, list[dict[str, Any]]] = {}
    for row in candidates.sort("incident_id", "rank").iter_rows(named=True):
        listed.setdefault(row["incident_id"], []).append(row)
    usual = Counter(row["service"] for rows in listed.values() for row in rows)
    ranks, static, random = [], [], []
    for row in planted.incidents.iter_rows(named=True):
        rows = listed.get(row["incident_id"])
        if rows is None:
            continue
        true = (row["cause_kind"], "none" if row["cause_kind"] == "none" else row["cause_id"])
        order = [(found["kind"], "none" if found["kind"] == "none" else found["candidate_id"]) for found in rows]
        ranks.append(order.index(true) if true in order else len(order) + 99)
        popular = sorted(rows, key=lambda found: (-usual[found["service"]], found["kind"], str(found["candidate_id"])))
        by_prior = [(found["kind"], "none" if found["kind"] == "none" else found["candidate_id"]) for found in popular]
        static.append(by_prior.index(true) if true in by_prior else len(order) + 99)
        random.append(min(3 / len(order), 1.0) if true in order else 0.0)
    n = len(ranks)
    return {
        "top1": share(sum(rank == 0 for rank in ranks), n),
        "top3": share(sum(rank < 3 for rank in ranks), n),
        "random_top3_pct": round(100 * float(np.mean(random)), 1) if random else None,
        "static_prior_top3_pct": share(sum(rank < 3 for rank in static), n)["pct"],
    }


def losses(incidents: pl.DataFrame, impact: pl.DataFrame, planted: Truth) -> dict[str, Any]:
    """Coverage, notice and error of stated losses; of incidents, and of their rows."""
    true = dict(planted.losses.group_by("incident_id").agg(pl.col("lost_revenue").sum()).iter_rows())
    known = set(planted.incidents["incident_id"])
    rows = [row for row in incidents.iter_rows(named=True) if row["incident_id"] in known]
    covered, noticed, zero_claims, errors, unknown, stated = 0, 0, 0, [], [], []
    for row in rows:
        loss = true.get(row["incident_id"], 0.0)
        quantified = row["impact_status"] == "quantified"
        noticed += quantified and loss > 0
        zero_claims += quantified and loss <= 0
        if row["lost_revenue_low"] is None or row["lost_revenue_high"] is None:
            unknown.append(row["incident_id"])
            continue
        covered += row["lost_revenue_low"] <= loss <= row["lost_revenue_high"]
        stated.append((loss, row["lost_revenue"]))
        if loss > 0:
            errors.append(abs(row["lost_revenue"] - loss) / loss)
    lossy = sum(true.get(row["incident_id"], 0.0) > 0 for row in rows)
    cells = planted.losses.rename({"lost_revenue": "true"}).select("incident_id", "journey", "segment", "true")
    joined = impact.join(cells, on=["incident_id", "journey", "segment"], how="left").with_columns(pl.col("true").fill_null(0.0))
    ranged = joined.filter(pl.col("lost_revenue_low").is_not_null())
    inside = ranged.filter((pl.col("lost_revenue_low") <= pl.col("true")) & (pl.col("true") <= pl.col("lost_revenue_high"))).height
    usual = float(np.median([guess for _, guess in stated])) if stated else 0.0
    return {
        "coverage": share(covered, len(rows)),
        "row_coverage": share(inside, ranged.height),
        "noticed": share(noticed, lossy),
        "zero_loss_claims": share(zero_claims, len(rows) - lossy),
        "unknown": unknown,
        "median_error_of_loss_pct": round(100 * float(np.median(errors)), 1) if errors else None,
        "stated_over_true": round(sum(guess for _, guess in stated) / max(sum(loss for loss, _ in stated), 1.0), 3) if stated else None,
        "static_prior_median_error_pct": round(100 * float(np.median([abs(usual - loss) / loss for loss, _ in stated if loss > 0])), 1)
        if errors
        else None,
    }


def grouping(found: Sequence[str], true: Sequence[str]) -> dict[str, Any]:
    """Adjusted Rand index, and precision and recall of pairs."""

    def pairs(labels: Sequence[Any]) -> int:
        return sum(comb(n, 2) for n in Counter(labels).values())

    both, ours, theirs, every = pairs(list(zip(found, true, strict=True))), pairs(found), pairs(true), comb(len(found), 2)
    if not every:
        return {"adjusted_rand": None, "n": len(found)}
    chance = ours * theirs / every
    spread = (ours + theirs) / 2 - chance
    return {
        "adjusted_rand": round((both - chance) / spread, 3) if spread else 1.0,
        "pair_precision": share(both, ours),
        "pair_recall": share(both, theirs),
        "families": len(set(found)),
        "true_families": len(set(true)),
        "n": len(found),
    }


def families(incidents: pl.DataFrame, planted: Truth) -> dict[str, Any]:
    """Published families against the true ones; families are per place, so the origin is told apart in one of the two."""
    true = {row["incident_id"]: row for row in planted.incidents.iter_rows(named=True)}
    rows = [(family, true[one]) for one, family in incidents.select("incident_id", "family_id").iter_rows() if one in true and family]
    found = [family for family, _ in rows]
    return {
        "by_family": grouping(found, [row["family"] for _, row in rows]),
        "by_family_and_origin": grouping(found, [f"{row['family']}/{row['cause_service'] or ''}" for _, row in rows]),
    }


def quiet_windows(window: Window, incidents: pl.DataFrame, planted: Truth) -> list[datetime]:
    """Starts of hours that are away from every true and every reported impact, in the order of a seeded shuffle."""
    spans = [(begin, end) for begin, end in incidents.select("started_at", "impact_end_at").iter_rows()]
    spans += [(begin, end) for begin, end in planted.incidents.select("started_at", "ended_at").iter_rows()]
    hours = int((window.length - WARM_UP - AWAY) / PLACEBO)
    starts = [window.start + WARM_UP + PLACEBO * number for number in range(hours)]
    calm = [start for start in starts if not any(start < end + AWAY and begin < start + PLACEBO + AWAY for begin, end in spans)]
    return [calm[place] for place in np.random.default_rng(SEED).permutation(len(calm))]


def placebos(settings: Settings, window: Window, planted: Truth) -> dict[str, Any]:
    """Measure incidents that never were."""
    with warehouse.connect(settings.warehouse) as connection:
        tables = {
            "incident_services": "bridge_incident_service",
            "kpi_points": "fct_kpi_point",
            "journeys": "dim_journey",
            "journey_services": "bridge_journey_service",
            "dependencies": "dim_service_dependency",
        }
        frames = {name: warehouse.frame(connection, f"select * from star.{table}") for name, table in tables.items()}
        incidents = warehouse.frame(connection, "select * from star.fct_incident where not exclude_from_metrics order by incident_id")
    columns = ["incident_id", "region", "started_at", "impact_end_at"]
    incidents, services = incidents.select(columns), frames.pop("incident_services").select("incident_id", "service")
    inputs = Inputs(incidents=incidents, incident_services=services, **frames)
    starts, models = quiet_windows(window, incidents, planted), incidents["incident_id"].to_list()
    if not models:
        return share(0, 0)
    chance = np.random.default_rng(SEED)
    flagged = n = 0
    for batch in range(BATCHES):
        chosen: list[datetime] = []
        for start in starts[batch::BATCHES]:
            if len(chosen) < PER_BATCH and all(abs(start - other) > timedelta(days=2) for other in chosen):
                chosen.append(start)
        like = [str(chance.choice(models)) for _ in chosen]
        region = dict(incidents.select("incident_id", "region").iter_rows())
        fake = pl.DataFrame(
            [
                {"incident_id": f"placebo-{batch}-{number}", "region": region[model], "started_at": start, "impact_end_at": start + PLACEBO}
                for number, (start, model) in enumerate(zip(chosen, like, strict=True))
            ],
            schema=incidents.schema,
        )
        named = [
            {"incident_id": f"placebo-{batch}-{number}", "service": service}
            for number, model in enumerate(like)
            for service in services.filter(pl.col("incident_id") == model)["service"]
        ]
        both = replace(
            inputs,
            incidents=pl.concat([incidents, fake]),
            incident_services=pl.concat([services, pl.DataFrame(named, schema=services.schema)]),
        )
        found = measure(both, window.end).incident_loss.filter(pl.col("incident_id").str.starts_with("placebo-"))
        flagged += found.filter(pl.col("status") == "quantified").height
        n += found.height
    return share(flagged, n)


def fixes(judged: pl.DataFrame, planted: Truth) -> dict[str, Any]:
    """Verdicts beside the truth. A fix without a verdict was not judged: it does not promise fewer recurrences."""
    recurrence = judged.filter(pl.col("outcome") == "recurrence")
    verdicts = dict(recurrence.select("action_item_id", "verdict").iter_rows())
    told = [
        (bool(works), verdicts[item]) for item, works in planted.fixes.select("action_item_id", "works").iter_rows() if item in verdicts
    ]
    good, bad = [said for works, said in told if works], [said for works, said in told if not works]
    return {
        "working_called_effective": share(good.count("effective"), len(good)),
        "not_working_called_effective": share(bad.count("effective"), len(bad)),
        "working_called_not_effective": share(good.count("not_effective"), len(good)),
        "not_working_called_not_effective": share(bad.count("not_effective"), len(bad)),
        "too_early": sum(said == "too_early" for _, said in told),
        "wrong": sum((works and said == "not_effective") or (not works and said == "effective") for works, said in told),
        "n": len(told),
        "random_wrong_pct": 33.3,
    }


def proposed(settings: Settings, window: Window, incidents: pl.DataFrame, planted: Truth) -> dict[str, Any]:
    """How proposals did: incidents covered and how early, proposals in quiet time, and how much less there is to look at."""
    proposals, members = read(settings, "mart_incident_proposals"), read(settings, "mart_proposal_members")
    middle = window.start + window.length / 2
    spans = [*incidents.select("started_at", "impact_end_at").iter_rows(), *planted.incidents.select("started_at", "ended_at").iter_rows()]

    def between(start: datetime, end: datetime) -> dict[str, Any]:
        inside = pl.col("alarmed_at").is_between(start, end, closed="left")
        made = proposals.filter(inside)
        heard = members.filter(pl.col("known_at").is_between(start, end, closed="left")).height
        real = incidents.filter(pl.col("started_at").is_between(start, end, closed="left"))
        early = real["proposal_to_declared_minutes"].drop_nulls()
        about = real.filter(pl.col("proposal_id").is_not_null()).height
        unmatched = made.filter(pl.col("incident_id").is_null())
        quiet = [row for row in unmatched.iter_rows(named=True) if not _touches(row, spans)]
        weeks = _quiet_weeks(start, end, spans)
        return {
            "incidents": share(about, real.height),
            "before_declared": share(int((early > 0).sum()), early.len()),
            "lead_minutes_median": round(float(np.median(early)), 1) if early.len() else None,
            "declared": share(made.height - unmatched.height, made.height),
            "in_quiet_time": len(quiet),
            "quiet_weeks": round(weeks, 2),
            "per_quiet_week": round(len(quiet) / weeks, 2) if weeks else None,
            "signals": heard,
            "proposals": made.height,
            "noise_reduction_pct": round(100 * (1 - made.height / heard), 1) if heard else None,
        }

    halves = {"first": between(window.start, middle), "second": between(middle, window.end)}
    return {**between(window.start, window.end), "per_half": halves}


def _touches(row: Mapping[str, Any], spans: Sequence[tuple[datetime, datetime]]) -> bool:
    end = row["ended_at"] or row["as_of"]
    return any(begin <= end and row["started_at"] <= over for begin, over in spans)


def _quiet_weeks(start: datetime, end: datetime, spans: Sequence[tuple[datetime, datetime]]) -> float:
    """Weeks between two times that no span covers."""
    quiet, until = timedelta(0), start
    for begin, over in sorted(spans):
        quiet += max(min(begin, end) - until, timedelta(0))
        until = max(until, min(over, end))
    return (quiet + max(end - until, timedelta(0))) / timedelta(weeks=1)


def run(settings: Settings) -> dict[str, Any]:
    """Return the benchmark's JSON object."""
    began = time.perf_counter()
    built = warehouse.query(settings.mart, "select window_start, as_of from marts.mart_run").row(0, named=True)
    window = Window.parse(built["window_start"].isoformat(), built["as_of"].isoformat())
    source = next((row for row in settings.deployment.sources if row.kind == "demo"), None)
    if source is None:
        raise WarehouseError(f"{settings.config} declares no source of kind demo; this benchmark knows the truth of no other company")
    planted = truth(window, int(source.options.get("seed", DEFAULT_SEED)))
    incidents = read(settings, "mart_incidents").filter(~pl.col("exclude_from_metrics"))
    listed = causes(read(settings, "mart_incident_candidates"), planted)
    stated = losses(incidents, read(settings, "mart_incident_impact"), planted)
    verdicts = fixes(read(settings, "mart_fix_impact"), planted)
    candidates = proposed(settings, window, incidents, planted)
    placebo = placebos(settings, window, planted)
    weeks = window.length / timedelta(weeks=1)
    per_week = incidents.height / weeks
    claims = max((placebo["pct"] or 0.0) / 100 * per_week, stated["zero_loss_claims"]["k"] / weeks)
    result = {
        "top1_pct": listed["top1"]["pct"],
        "top3_pct": listed["top3"]["pct"],
        "loss_coverage_pct": stated["coverage"]["pct"],
        "false_loss_claims_per_quiet_week": round(claims, 2),
        "noticed_pct": stated["noticed"]["pct"],
        "proposals_matched": candidates["incidents"],
        "proposals_per_quiet_week": candidates["per_quiet_week"],
        "noise_reduction_pct": candidates["noise_reduction_pct"],
        "n": listed["top3"]["n"],
        "weeks": round(weeks, 1),
        "incidents_per_week": round(per_week, 1),
        "causes": listed,
        "losses": stated,
        "placebo": placebo,
        "proposals": candidates,
        "fixes": verdicts,
        "families": families(incidents, planted),
        "leading": dict(read(settings, "mart_leading_indicators").group_by("status").len().sort("status").iter_rows()),
        "baselines": {
            "random": {"top3_pct": listed["random_top3_pct"]},
            "static_prior": {
                "top3_pct": listed["static_prior_top3_pct"],
                "median_error_of_loss_pct": stated["static_prior_median_error_pct"],
            },
        },
    }
    return {**result, "meets": _meets(result), "seconds": round(time.perf_counter() - began, 1), "version": code_version()}


def _meets(result: Mapping[str, Any]) -> dict[str, bool]:
    met = {}
    for key, limit in REQUIRED.items():
        value = result[key]
        met[key] = value is not None and (value >= limit if key.endswith("_pct") else value <= limit)
    return met


def _print(result: Mapping[str, Any]) -> None:
    def line(name: str, found: Mapping[str, Any]) -> None:
        shown = "-" if found["pct"] is None else f"{found['pct']:>5} %  [{found['low']}, {found['high']}]  {found['k']} of {found['n']}"
        print(f"{name:<46}{shown}")

    line("true cause ranked first", result["causes"]["top1"])
    line("true cause among the first three", result["causes"]["top3"])
    random, static = result["causes"]["random_top3_pct"], result["causes"]["static_prior_top3_pct"]
    print(f"{'  random order / static prior, first three':<46}{random} % / {static} %")
    line("true loss inside the stated interval", result["losses"]["coverage"])
    line("  the same per journey and segment", result["losses"]["row_coverage"])
    line("losses called quantified", result["losses"]["noticed"])
    line("incidents without loss called quantified", result["losses"]["zero_loss_claims"])
    line("placebo hours called quantified", result["placebo"])
    print(f"{'false claims of loss per quiet week':<46}{result['false_loss_claims_per_quiet_week']}")
    error, prior = result["losses"]["median_error_of_loss_pct"], result["losses"]["static_prior_median_error_pct"]
    print(f"{'median error of a loss':<46}{error} % (static prior {prior} %)")
    grouped = result["families"]["by_family_and_origin"]
    print(f"{'families: adjusted Rand index':<46}{grouped['adjusted_rand']} ({grouped['n']} incidents)")
    line("fixes that work called effective", result["fixes"]["working_called_effective"])
    line("fixes that do not work called effective", result["fixes"]["not_working_called_effective"])
    line("fixes that do not work called not effective", result["fixes"]["not_working_called_not_effective"])
    candidates = result["proposals"]
    line("declared incidents that were proposed", candidates["incidents"])
    line("  before they were declared", candidates["before_declared"])
    print(f"{'  minutes before, median':<46}{candidates['lead_minutes_median']}")
    print(f"{'proposals in quiet time per week of it':<46}{candidates['per_quiet_week']} ({candidates['in_quiet_time']} in all)")
    fewer = f"{candidates['signals']} alerts and episodes became {candidates['proposals']} proposals"
    print(f"{'noise reduction':<46}{candidates['noise_reduction_pct']} % ({fewer})")
    if result["losses"]["unknown"]:
        print(f"loss unknown, counted as not covered: {', '.join(result['losses']['unknown'])}")
    for key, met in result["meets"].items():
        print(f"{'meets' if met else 'MISSES'} {key} ({'at least' if key.endswith('_pct') else 'at most'} {REQUIRED[key]:g})")
    print(f"{result['seconds']} s, version {result['version']}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="state of a finished run (default: AFTERCAST_HOME, else var/)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    settings = Settings.from_environment()
    if options.home:
        settings = Settings(home=options.home.resolve(), config=settings.config)
    try:
        result = run(settings)
    except AftercastError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if options.json:
        print(json.dumps(result))
    else:
        _print(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
