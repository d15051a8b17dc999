"""Rank the causes of incidents whose cause is known: `python -m benchmarks.root_cause --suite petshop|sockshop|demo [--data D] [--json]`.

Runs the same `correlate` as the pipeline; labels are read by the scorer only. Beside it run: random and static-prior (graph degree)
rankings, DevLake's rule (last successful deploy before the incident), N-sigma and BARO-style scores. Ranks are among the candidates that
may be the answer: services when no change feed exists, else everything that was ranked. A cause that is not listed counts as a miss.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from aftercast import warehouse
from aftercast.correlation import correlate
from aftercast.correlation.semantics import meaning
from aftercast.version import code_version
from aftercast.window import Window
from benchmarks.cases import Label, Suite

SEED = 7
DEPTHS = (1, 3, 5)
MISS = 10**6
LAYOUTS = {
    "nezha": "<day>_metric.parquet, <day>_faults.json, and <day>_trace.parquet, <day>_log.parquet where there are some",
    "petshop": "<scenario>/graph.csv and <scenario>/issue_*/",
    "sockshop": "<service>-<fault>/<repetition>/{normal,anomalous}.parquet",
}
Key = tuple[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    result = run(options)
    if options.json:
        print(json.dumps(result, sort_keys=True))
    else:
        _print(result)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.root_cause", description=__doc__)
    parser.add_argument("--suite", required=True, choices=("petshop", "demo", "nezha", "sockshop"))
    parser.add_argument("--data", type=Path, help="folder of the data set in its original layout")
    parser.add_argument("--reference", type=Path, help="folder with petshop's noissue when the data lacks it")
    parser.add_argument("--with-changes", action="store_true", help="petshop: add the change of each issue among same-minute decoys")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--from", dest="start", help="demo: start of the window")
    parser.add_argument("--to", dest="end", help="demo: end of the window")
    parser.add_argument("--mart", type=Path, help="demo: score the candidates of a published mart instead of ranking here")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.suite in LAYOUTS and (options.data is None or not options.data.is_dir()):
        parser.error(f"{options.suite} needs --data DIR with {LAYOUTS[options.suite]}")
    if (options.start is None) != (options.end is None):
        parser.error("give both --from and --to, or neither")
    return options


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Rank and score one suite; keys as in the benchmark contract."""
    suite = _suite(options)
    began = time.perf_counter()
    if options.mart is not None:
        ranked, deterministic = _candidates_of_mart(options.mart), None
    else:
        ranked = correlate(suite.inputs, suite.as_of).candidates
        deterministic = True
    seconds = time.perf_counter() - began
    if deterministic is not None:
        again = correlate(_shuffled(suite), suite.as_of).candidates
        deterministic = ranked.drop("evidence").equals(again.drop("evidence"))
    only_services = options.suite != "demo" and not options.with_changes
    order = _orders(ranked, only_services=only_services)
    known = {incident: label for incident, label in suite.labels.items() if incident in order}
    ranks = {incident: _rank(order[incident], (label.kind, label.candidate_id)) for incident, label in known.items()}
    result = {
        "suite": options.suite,
        "with_changes": bool(options.with_changes) or options.suite == "demo",
        "n": len(ranks),
        **accuracy(list(ranks.values())),
        "by_fault_type": _by_fault(ranks, known),
        **({"by_system": _by_system(ranks, suite, only_services=only_services)} if suite.systems else {}),
        "deterministic": deterministic,
        "baselines": baselines(suite, known, only_services=only_services),
        "seconds": round(seconds, 3),
        "seconds_per_incident": round(seconds / max(ranked["incident_id"].n_unique(), 1), 4) if deterministic is not None else None,
        "version": code_version(),
        **({"notes": dict(suite.notes)} if suite.notes else {}),
    }
    if options.suite == "demo":
        result |= calibration(ranked, known)
    if options.suite == "demo" and options.mart is None:
        from benchmarks.learned_weights import learned_against_prior

        result["learned"] = learned_against_prior(suite, known)
    return result


def _suite(options: argparse.Namespace) -> Suite:
    if options.suite == "petshop":
        from benchmarks import petshop_cases

        return petshop_cases.read(options.data, options.reference, with_changes=options.with_changes, seed=options.seed)
    if options.suite == "nezha":
        from benchmarks import nezha_cases

        return nezha_cases.read(options.data)
    if options.suite == "sockshop":
        from benchmarks import sockshop_cases

        return sockshop_cases.read(options.data)
    from benchmarks import demo_cases

    window = Window.parse(options.start, options.end) if options.start else None
    if options.mart is not None and window is None:
        built = warehouse.query(options.mart, "select window_start, as_of from marts.mart_run").row(0)
        window = Window(*(moment.astimezone(UTC) for moment in built))
    return demo_cases.read(options.seed, window)


def _candidates_of_mart(mart: Path) -> pl.DataFrame:
    return warehouse.query(mart, "select incident_id, rank, kind, candidate_id, probability from marts.mart_incident_candidates")


def _shuffled(suite: Suite) -> Any:
    """The same inputs with the rows of every frame in another order."""
    frames = {name: getattr(suite.inputs, name) for name in suite.inputs.__slots__}
    return replace(
        suite.inputs, **{name: frame.sample(fraction=1.0, shuffle=True, seed=1) for name, frame in frames.items() if frame.height}
    )


def _orders(candidates: pl.DataFrame, *, only_services: bool) -> dict[str, list[Key]]:
    order: dict[str, list[Key]] = defaultdict(list)
    for incident, kind, candidate in candidates.sort("incident_id", "rank").select("incident_id", "kind", "candidate_id").iter_rows():
        if not only_services or kind == "service":
            order[incident].append((kind, candidate))
    return dict(order)


def _rank(order: Sequence[Key], truth: Key) -> int:
    return order.index(truth) + 1 if truth in order else MISS


def accuracy(ranks: Sequence[int]) -> dict[str, float]:
    """Share of cases whose cause is among the first 1, 3 and 5, and the mean of that share over 1 to 5."""
    if not ranks:
        return {"top1": 0.0, "top3": 0.0, "top5": 0.0, "avg5": 0.0}
    hits = {depth: sum(rank <= depth for rank in ranks) / len(ranks) for depth in range(1, 6)}
    return {**{f"top{depth}": round(hits[depth], 4) for depth in DEPTHS}, "avg5": round(sum(hits.values()) / 5, 4)}


def _by_fault(ranks: Mapping[str, int], labels: Mapping[str, Label]) -> dict[str, dict[str, float]]:
    grouped: dict[str, list[int]] = defaultdict(list)
    for incident, rank in ranks.items():
        grouped[labels[incident].fault_type].append(rank)
    return {fault: {**accuracy(rows), "n": len(rows)} for fault, rows in sorted(grouped.items())}


def _by_system(ranks: Mapping[str, int], suite: Suite, *, only_services: bool) -> dict[str, Any]:
    """The same for each system, with its own baselines."""
    found: dict[str, Any] = {}
    for system in sorted(set(suite.systems.values())):
        own = {incident: rank for incident, rank in ranks.items() if suite.systems[incident] == system}
        labels = {incident: suite.labels[incident] for incident in own}
        found[system] = {
            **accuracy(list(own.values())),
            "n": len(own),
            "baselines": baselines(suite, labels, only_services=only_services),
        }
    return found


# --- baselines ---------------------------------------------------------------------------------------------------------------------------


def baselines(suite: Suite, labels: Mapping[str, Label], *, only_services: bool) -> dict[str, dict[str, float]]:
    """Accuracy of rankings anyone could do. Those that name services are judged by the true service; DevLake's rule by the true change."""
    incidents = {row["incident_id"]: row for row in suite.inputs.incidents.iter_rows(named=True)}
    placed = {incident: label for incident, label in labels.items() if label.service}
    chances = [_random(suite, incidents[incident], label, only_services=only_services) for incident, label in labels.items()]
    degree = _degree(suite)
    rankers: dict[str, Callable[[str], list[str]]] = {
        "static_prior": lambda incident: degree[incidents[incident]["environment"]],
        "nsigma": _telemetry_ranker(suite, incidents, _nsigma),
        "baro_style": _telemetry_ranker(suite, incidents, _baro),
    }
    result = {"random": {key: round(float(np.mean([row[key] for row in chances])), 4) for key in ("top1", "top3", "top5", "avg5")}}
    for name, ranker in rankers.items():
        found = [ranker(incident) for incident in placed]
        ranks = [
            order.index(label.service) + 1 if label.service in order else MISS for order, label in zip(found, placed.values(), strict=True)
        ]
        result[name] = {**accuracy(ranks), "n": len(ranks)}
    recency = [_rank(_recency(suite, incidents[incident]), (label.kind, label.candidate_id)) for incident, label in labels.items()]
    result["recency"] = {**accuracy(recency), "n": len(recency)}
    return result


def _random(suite: Suite, incident: Mapping[str, Any], label: Label, *, only_services: bool) -> dict[str, float]:
    """Expected accuracy of a random order of nodes (and, with a change feed, of the changes of the day before and `none`)."""
    number = len(suite.nodes[incident["environment"]])
    if not only_services:
        number += _recent_changes(suite, incident).height + 1
    hits = {depth: min(depth / max(number, 1), 1.0) for depth in range(1, 6)}
    return {"top1": hits[1], "top3": hits[3], "top5": hits[5], "avg5": sum(hits.values()) / 5}


def _degree(suite: Suite) -> dict[str, list[str]]:
    """Nodes by how many calls they take part in, most first: a prior that never looks at the incident."""
    edges = suite.inputs.dependencies
    orders = {}
    for environment, nodes in suite.nodes.items():
        here = edges.filter(pl.col("environment").is_in(["", environment]))
        ends = pl.concat([here["caller"], here["callee"]]).value_counts() if here.height else None
        counts = dict(ends.iter_rows()) if ends is not None else {}
        orders[environment] = sorted(nodes, key=lambda node: (-counts.get(node, 0), node))
    return orders


def _recent_changes(suite: Suite, incident: Mapping[str, Any]) -> pl.DataFrame:
    started = incident["started_at"]
    return suite.inputs.changes.filter(
        (pl.col("environment") == incident["environment"])
        & (pl.col("started_at") <= started)
        & (pl.col("started_at") > started - pl.duration(hours=24))
    )


def _recency(suite: Suite, incident: Mapping[str, Any]) -> list[Key]:
    """DevLake's rule: the last successful deployment before the incident, whatever its service and however old; then the one before it.

    Configuration and flag changes are deployments here, so that the rule is not beaten for not knowing them.
    """
    changes = suite.inputs.changes
    if not changes.height:
        return []
    past = changes.filter(
        (pl.col("environment") == incident["environment"])
        & (pl.col("started_at") <= incident["started_at"])
        & (pl.col("result").fill_null("success") == "success")
    )
    return [("change", change) for change in past.sort(["started_at", "change_id"], descending=[True, False]).head(5)["change_id"]]


Score = Callable[[np.ndarray, np.ndarray, int], float]


def _telemetry_ranker(suite: Suite, incidents: Mapping[str, Mapping[str, Any]], score: Score) -> Callable[[str], list[str]]:
    """Order services by the largest score of any of their series; the hour after the reported start against what no incident touched."""
    keys = ["environment", "service", "region", "metric"]
    points = suite.inputs.metric_points.with_columns(
        *(pl.lit("").alias(column) for column in ("region",) if column not in suite.inputs.metric_points.columns)
    )
    busy = pl.lit(value=False)
    for row in incidents.values():
        busy |= (pl.col("environment") == row["environment"]) & pl.col("bucket_at").is_between(row["started_at"], row["impact_end_at"])
    points = points.with_columns(busy.alias("busy")).sort(*keys, "bucket_at")

    def ranker(incident: str) -> list[str]:
        row = incidents[incident]
        until = min(row["impact_end_at"], row["started_at"] + _HOUR)
        here = points.filter(pl.col("environment") == row["environment"])
        calm = here.filter(~pl.col("busy"))
        before = calm.filter(pl.col("bucket_at") < row["started_at"])
        calm = (before if before.height else calm).group_by(keys).agg(pl.col("value").tail(2016).alias("normal"))
        during = (
            here.filter(pl.col("bucket_at").is_between(row["started_at"] - _BUCKET, until))
            .group_by(keys)
            .agg(pl.col("value").alias("seen"))
        )
        best: dict[str, float] = {}
        for _, service, _, metric, normal, seen in calm.join(during, on=keys).iter_rows():
            value = score(np.asarray(normal, dtype=float), np.asarray(seen, dtype=float), meaning(metric).hurts)
            best[service] = max(best.get(service, -np.inf), value)
        return sorted(best, key=lambda service: (-best[service], service))

    return ranker


def _nsigma(normal: np.ndarray, seen: np.ndarray, hurts: int) -> float:
    """Mean of the incident in standard deviations of the normal, signed by the direction that hurts."""
    spread = float(normal.std())
    z = (float(seen.mean()) - float(normal.mean())) / spread if spread > 0 else 0.0
    return z * hurts if hurts else abs(z)


def _baro(normal: np.ndarray, seen: np.ndarray, hurts: int) -> float:
    """BARO's robust scorer: largest distance from the median in interquartile ranges, either direction."""
    low, median, high = np.percentile(normal, [25, 50, 75])
    spread = float(high - low)
    return float(np.abs(seen - median).max()) / spread if spread > 0 else 0.0


_HOUR, _BUCKET = timedelta(hours=1), timedelta(minutes=5)


# --- calibration -------------------------------------------------------------------------------------------------------------------------


def calibration(candidates: pl.DataFrame, labels: Mapping[str, Label]) -> dict[str, Any]:
    """How far the probabilities can be taken at their word.

    `brier`: squared error summed over the candidates of an incident, mean over incidents (0 best, 2 worst). `calibration_error`: of the
    first candidate's probability against how often it is right, ten bins; `calibration_error_by_chance`: what that would be on average if
    the probabilities were true, which with a few dozen incidents is not small. `none_accuracy`: share of the incidents that nothing
    listed caused for which `none` ranks first; `none_false` share of the others for which it wrongly does.
    """
    truth = pl.DataFrame(
        [
            {"incident_id": incident, "kind": label.kind, "candidate_id": label.candidate_id, "is_true": 1.0}
            for incident, label in labels.items()
        ]
    )
    rows = candidates.filter(pl.col("incident_id").is_in(list(labels))).join(truth, on=["incident_id", "kind", "candidate_id"], how="left")
    rows = rows.with_columns(pl.col("is_true").fill_null(0.0))
    listed = rows.group_by("incident_id").agg(
        ((pl.col("probability") - pl.col("is_true")) ** 2).sum().alias("error"), pl.col("is_true").sum()
    )
    brier = (listed["error"] + (1 - listed["is_true"])).mean()
    first = rows.filter(pl.col("rank") == 1)
    none = {incident for incident, label in labels.items() if label.kind == "none"}
    said = set(first.filter(pl.col("kind") == "none")["incident_id"])
    return {
        "brier": _rounded(brier),
        "calibration_error": expected_calibration_error(first),
        "calibration_error_by_chance": error_by_chance(first),
        "calibration_error_all": expected_calibration_error(rows),
        "reliability": reliability(first),
        "none_accuracy": round(len(none & said) / len(none), 4) if none else None,
        "none_false": round(len(said - none) / max(len(labels) - len(none), 1), 4),
        "n_none": len(none),
    }


def _bins(rows: pl.DataFrame) -> pl.DataFrame:
    return (
        rows.with_columns((pl.col("probability") * 10).floor().clip(0, 9).cast(pl.Int64).alias("bin"))
        .group_by("bin")
        .agg(pl.len().alias("n"), pl.col("probability").mean().alias("said"), pl.col("is_true").mean().alias("came_true"))
        .sort("bin")
    )


def expected_calibration_error(rows: pl.DataFrame) -> float | None:
    """Mean distance of said and true frequency over ten bins, weighted by their size."""
    bins = _bins(rows)
    error = ((bins["said"] - bins["came_true"]).abs() * bins["n"]).sum() / max(rows.height, 1)
    return _rounded(error)


def error_by_chance(rows: pl.DataFrame) -> float | None:
    """Mean calibration error of true probabilities: a bin of n is off by √(2p(1-p)/πn) on average (normal approximation)."""
    bins = _bins(rows)
    error = (2 * bins["n"] * bins["said"] * (1 - bins["said"]) / np.pi).sqrt().sum() / max(rows.height, 1)
    return _rounded(error)


def reliability(rows: pl.DataFrame) -> list[dict[str, float]]:
    return [{"n": n, "said": round(said, 4), "came_true": round(true, 4)} for _, n, said, true in _bins(rows).iter_rows()]


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), 4)


def _print(result: Mapping[str, Any]) -> None:
    print(f"root cause, suite {result['suite']}{' with changes' if result['with_changes'] else ''}: {result['n']} incidents")
    print(f"{'':<34}{'top1':>8}{'top3':>8}{'top5':>8}{'avg5':>8}{'n':>6}")
    rows = {"aftercast": result, **result["baselines"], **{f"  {key}": value for key, value in result["by_fault_type"].items()}}
    for system, found in result.get("by_system", {}).items():
        rows |= {system: found, **{f"  {system} {key}": value for key, value in found["baselines"].items()}}
    for name, row in rows.items():
        print(f"{name:<34}" + "".join(f"{row[key]:>8.3f}" for key in ("top1", "top3", "top5", "avg5")) + f"{row.get('n', ''):>6}")
    for key in ("brier", "calibration_error", "calibration_error_by_chance", "none_accuracy", "learned", "deterministic", "seconds"):
        if key in result:
            print(f"{key}: {result[key]}")


if __name__ == "__main__":
    sys.exit(main())
