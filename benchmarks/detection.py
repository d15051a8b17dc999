"""Detection of planted anomalies: `python -m benchmarks.detection [--series N] [--seed S] [--library N] [--json]`.

Generated series (injected.py), 21 or 28 days of history, seven test days; alarms are judged as episode_scoring.py says. `default_f1`,
`precision`, `recall` and `lead_minutes_median` are those of the product at its default threshold; the lead is the delay from onset to the
end of the bucket at which the detector alarmed, with nothing later known. `best_f1` is the best of a sweep of one threshold for all series
(for ours the sensitivity). `baselines` are the peers of detection_peers.py on the same series, each with a customary default and its own
best threshold; `library` holds Prophet itself on a few series, ours and the stand-in on the same. statsforecast's MSTL is left out: numba,
LLVM and statsmodels would add some 240 MB. `reference` is the plain world. `sensitivity` gives precision and recall by sensitivity,
`masking` the recall of the second of two identical incidents (second_incident.py). Cuts: kind, grain, history; shape, height.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from aftercast.detection import detect
from aftercast.detection.series import MASKS
from aftercast.version import code_version
from aftercast.window import Window
from benchmarks import detection_peers as peers
from benchmarks.episode_scoring import Alarm, Tally, as_alarms, tally
from benchmarks.injected import TEST_DAYS, TEST_START, World, points, signals, world
from benchmarks.second_incident import masking

SHOWN = (0.5, 0.75, 1.0, 1.25, 1.5)
SWEPT = (0.5, 0.6, 0.67, 0.75, 0.83, 0.9, 1.0, 1.1, 1.25, 1.5)
THRESHOLDS = (1.5, 2.0, 2.576, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 10.0, 14.0, 20.0)
PENALTIES = (10.0, 20.0, 40.0, 80.0, 160.0)
CHANCES = 5
NO_MASKS = pl.DataFrame(schema=dict(MASKS))


def ours(given: World, sensitivities: Sequence[float] = (1.0,)) -> list[list[Alarm]]:
    """Run the product's detector at each sensitivity, each length of history as a window of its own; the points are scored once."""
    found: list[list[Alarm]] = [[] for _ in sensitivities]
    for history in sorted({line.history for line in given.lines}):
        numbers = [number for number, line in enumerate(given.lines) if line.history == history]
        lines = [given.lines[number] for number in numbers]
        window = Window(lines[0].start, TEST_START + timedelta(days=TEST_DAYS))
        rows, scores = points(lines, numbers), None
        for at, sensitivity in enumerate(sensitivities):
            detected = detect(rows, signals(lines, sensitivity), NO_MASKS, window, kept=scores)
            scores = detected.scores
            found[at] += as_alarms(detected.anomalies, {number: given.lines[number] for number in numbers})
    return found


Sweep = dict[float, Tally]


def swept(judge: Callable[[float], Tally], thresholds: Sequence[float]) -> Sweep:
    return {threshold: judge(threshold) for threshold in thresholds}


def _ours_swept(given: World) -> Sweep:
    return {at: tally(given, alarms) for at, alarms in zip(SWEPT, ours(given, SWEPT), strict=True)}


def row(sweep: Sweep, default: float) -> dict[str, Any]:
    """Return the keys of a method: its default threshold and the best of its sweep."""
    best = max(sweep, key=lambda threshold: sweep[threshold].f1)
    usual = sweep[default].row()
    return {
        "best_f1": round(sweep[best].f1, 4),
        "best_threshold": best,
        "default_f1": usual.pop("f1"),
        "default_threshold": default,
        **usual,
    }


def _peer(given: World, scores: Sequence[Any], default: float, persistence: int = 1, series: Sequence[int] | None = None) -> dict[str, Any]:
    thresholds = sorted({*THRESHOLDS, default})
    return row(swept(lambda at: tally(given, peers.alarms(given, scores, at, persistence), series), thresholds), default)


def _change_points(given: World, scores: Sequence[Any]) -> dict[str, Any] | None:
    """The best penalty counts too; None where the library is not installed."""
    try:
        import ruptures  # noqa: F401
    except ImportError:
        return None
    rows = []
    for penalty in PENALTIES:
        segments = peers.change_points(given, scores, penalty)
        sweep = swept(lambda at, found=segments: tally(given, peers.segment_alarms(found, at)), (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0))  # type: ignore[misc]
        rows.append({**row(sweep, 2.0), "penalty": penalty})
    best = max(rows, key=lambda one: one["best_f1"])
    default = next(one for one in rows if one["penalty"] == 40.0)
    return {**default, **{name: best[name] for name in ("best_f1", "best_threshold")}, "best_penalty": best["penalty"]}


def _chance(given: World, seed: int) -> dict[str, Any]:
    rows = [tally(given, peers.random_alarms(given, seed + number)).row() for number in range(CHANCES)]
    means = {
        name: round(float(np.mean([one[name] for one in rows if one[name] is not None])), 4)
        if any(one[name] is not None for one in rows)
        else None
        for name in ("f1", "precision", "recall", "lead_minutes_median")
    }
    return {"best_f1": means["f1"], "default_f1": means.pop("f1"), **means, "n": rows[0]["n"]}


def _static(given: World) -> dict[str, Any]:
    only = tally(given, peers.static_alarms(given)).row()
    return {"best_f1": only["f1"], "default_f1": only.pop("f1"), **only}


def baselines(given: World, seed: int, *, oracle: bool = True) -> dict[str, Any]:
    """Return every peer that needs no library fit."""
    daily = peers.interval(given)
    level = peers.level_and_persistence(given)
    found = {
        "interval": _peer(given, daily, 2.576),
        "interval_weekly": _peer(given, peers.interval(given, daily=False), 2.576),
        "level_and_persistence": _peer(given, level, 4.0, 2),
        "hour_of_week": _peer(given, peers.hour_of_week(given), 3.0),
        "kernel_change_points": _change_points(given, daily),
        "static_prior": _static(given),
        "random": _chance(given, seed),
    }
    if oracle:
        found["oracle"] = _peer(given, peers.oracle(given), 5.0)
    return found


def _library(given: World, count: int, product: Tally, seed: int) -> dict[str, Any]:
    """The library itself on a few series drawn from the seed, ours and the stand-in beside it."""
    busy = sorted({event.series for event in given.events if given.lines[event.series].grain >= 15})
    few = sorted(int(one) for one in np.random.default_rng(seed).permutation(busy)[:count])
    return {
        "library_n": len(few),
        "interval_library": _peer(given, peers.library(given, few), 2.576, series=few),
        "interval_on_these": _peer(given, peers.interval(given), 2.576, series=few),
        "ours_on_these": product.of(few).row(),
    }


def _cuts(given: World, product: Tally) -> Iterator[tuple[str, dict[str, Any]]]:
    lines = given.lines
    for name, key in (
        ("by_kind", [line.kind for line in lines]),
        ("by_grain", [str(line.grain) for line in lines]),
        ("by_history", [f"{line.history} days{', an incident unannounced' if line.is_dirty else ''}" for line in lines]),
    ):
        yield name, {value: product.of(n for n, own in enumerate(key) if own == value).row() for value in dict.fromkeys(key)}
    planted = [event for event, _ in product.found] + list(product.missed)
    hit = {id(event) for event, _ in product.found}
    bounds = [0.0, 5.0, 8.0, np.inf]
    names = ("3 to 5 deviations", "5 to 8", "8 and more")
    groups = {
        "recall_by_shape": [(shape, [e for e in planted if e.shape == shape]) for shape in dict.fromkeys(e.shape for e in planted)],
        "recall_by_height": [
            (name, [e for e in planted if low <= e.height < high]) for name, low, high in zip(names, bounds[:-1], bounds[1:], strict=True)
        ],
    }
    for title, parts in groups.items():
        yield (
            title,
            {name: {"recall": round(sum(id(e) in hit for e in own) / len(own), 4), "n": len(own)} for name, own in parts if own},
        )


def run(n_series: int, seed: int, n_library: int) -> dict[str, Any]:
    """Return the benchmark's JSON object."""
    began = time.perf_counter()
    given = world(n_series, seed)
    sweep = _ours_swept(given)
    own = time.perf_counter() - began
    plain = world(max(n_series // 6, 6), seed, reference=True)
    reference = _ours_swept(plain)
    found = {
        **row(sweep, 1.0),
        "n_series": n_series,
        "n_events": len(given.events),
        "sensitivity": {str(at): {name: sweep[at].row()[name] for name in ("precision", "recall", "f1")} for at in SHOWN},
        **dict(_cuts(given, sweep[1.0])),
        "baselines": baselines(given, seed),
        "library": _library(given, n_library, sweep[1.0], seed) if n_library else None,
        "reference": {**row(reference, 1.0), "baselines": baselines(plain, seed)},
        "masking": masking(seed),
        "own_seconds": round(own, 1),
        "version": code_version(),
    }
    return {**found, "seconds": round(time.perf_counter() - began, 1)}


def _table(result: dict[str, Any]) -> Iterator[str]:
    columns = ("best_f1", "default_f1", "precision", "recall", "lead_minutes_median", "n")
    yield f"{'':<34}" + "".join(f"{name.replace('_minutes_median', ', min'):>12}" for name in columns)

    def line(name: str, found: dict[str, Any] | None) -> str:
        cells = ["-" if found is None or found.get(column) is None else found[column] for column in columns]
        return f"{name:<34}" + "".join(f"{cell:>12.3f}" if isinstance(cell, float) else f"{cell:>12}" for cell in cells)

    yield line("aftercast", result)
    for name, found in result["baselines"].items():
        yield line(f"  {name}", found)
    yield line("plain world: aftercast", result["reference"])
    for name, found in result["reference"]["baselines"].items():
        yield line(f"  {name}", found)
    if result["library"]:
        for name in ("interval_library", "interval_on_these", "ours_on_these"):
            yield line(f"  {result['library']['library_n']} series: {name}", result["library"][name])
    for cut in ("by_kind", "by_grain", "by_history", "sensitivity", "recall_by_shape", "recall_by_height"):
        yield cut.replace("_", " ")
        for name, found in result[cut].items():
            yield line(f"  {name}", {"default_f1": found.get("f1"), **found})
    yield "second of two identical incidents"
    for name, value in result["masking"].items():
        yield f"  {name:<32}{value}"
    yield f"{result['seconds']} s, {result['own_seconds']} s of them ours, version {result['version']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=216)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--library", type=int, default=4, help="series fitted by the library, seven times each")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with threadpool_limits(limits=1):
        result = run(options.series, options.seed, options.library)
    sys.stdout.write((json.dumps(result) if options.json else "\n".join(_table(result))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
