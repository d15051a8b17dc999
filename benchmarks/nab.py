"""The Numenta Anomaly Benchmark: `python -m benchmarks.nab --data DIR [--json] [--thresholds F] [--write-thresholds F]`.

DIR holds `data/<group>/<file>.csv`, `windows.json` and `profiles.json`. The detector is the product's
`aftercast.detection.novelty.severity`; it sees one file at a time, never a label, and a row's severity owes nothing to later rows.
The scoring is NAB's (nab_scoring.py). Thresholds, one per profile over all files, are fitted on the data given unless F holds some.
`heldout_standard`: mean of `SPLITS` random halvings of the files, threshold fitted on one half and scored on the other, both ways;
`heldout_groups`: the same, leaving out one group at a time and pooling what was left out. Baselines get their own best threshold, except
the static prior, which has none, and `null`, which never alarms.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aftercast.detection.novelty import severity
from aftercast.errors import AftercastError
from aftercast.version import code_version
from benchmarks.nab_baselines import BASELINES
from benchmarks.nab_scoring import Array, Profile, Rows, judge, read_profiles, read_series, read_windows, sweep
from benchmarks.printing import show

SPLITS = 20
SHORT = {"standard": "standard", "reward_low_FP_rate": "low_fp", "reward_low_FN_rate": "low_fn"}


def measure(folder: Path, given: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Score the product's detector and the baselines; `given` holds thresholds by profile, as `thresholds` of the result does."""
    started = time.perf_counter()
    series, profiles = read_series(folder), read_profiles(folder)
    windows = read_windows(folder, series)
    judged = {one.name: judge(len(one.times), windows[one.name]) for one in series}
    before = time.process_time()
    scores = {one.name: severity(one.times, one.values) for one in series}
    detecting = time.process_time() - before
    result: dict[str, Any] = {}
    thresholds: dict[str, float] = {}
    for profile in profiles:
        name = SHORT.get(profile.name, profile.name)
        swept = sweep(judged, scores, profile)
        if given is not None and name not in given:
            raise AftercastError(
                f"the thresholds given lack {name!r}; they need {', '.join(SHORT.get(one.name, one.name) for one in profiles)}"
            )
        thresholds[name] = swept.best()[1] if given is None else float(given[name])
        result[name] = _rounded(swept.at(thresholds[name]))
    standard = profiles[0]
    baselines: dict[str, Any] = {"null": 0.0}
    for name, detector in BASELINES.items():
        swept = sweep(judged, {one.name: detector(one) for one in series}, standard)
        baselines[name] = _rounded(swept.at(1.0) if name == "static_prior" else swept.best()[0])
    return result | {
        "heldout_standard": _rounded(halves(judged, scores, standard)),
        "heldout_groups": _rounded(groups_left_out(judged, scores, standard)),
        "thresholds": thresholds,
        "n": len(series),
        "n_windows": sum(rows.n_windows for rows in judged.values()),
        "rows": sum(len(one.times) for one in series),
        "by_group": by_group(judged, scores, standard, thresholds[SHORT.get(standard.name, standard.name)]),
        "baselines": baselines,
        "detector_cpu_seconds": round(detecting, 2),
        "seconds": round(time.perf_counter() - started, 2),
        "version": code_version(),
    }


def halves(judged: Mapping[str, Rows], scores: Mapping[str, Array], profile: Profile, seed: int = 1) -> float:
    """Mean score of one half of the files at the threshold fitted on the other, over random halvings both ways."""
    names, draw = sorted(judged), np.random.default_rng(seed)
    found = []
    for _ in range(SPLITS):
        order = [names[place] for place in draw.permutation(len(names))]
        parts = [{name: judged[name] for name in part} for part in (order[::2], order[1::2])]
        for fitted, held in (parts, parts[::-1]):
            found.append(sweep(held, scores, profile).at(sweep(fitted, scores, profile).best()[1]) if fitted and held else math.nan)
    known = [one for one in found if math.isfinite(one)]
    return float(np.mean(known)) if known else math.nan


def groups_left_out(judged: Mapping[str, Rows], scores: Mapping[str, Array], profile: Profile) -> float:
    """Score of all files, each at the threshold fitted on the other groups."""
    raw, windows = 0.0, 0
    for group in sorted({name.split("/")[0] for name in judged}):
        held = {name: rows for name, rows in judged.items() if name.startswith(group + "/")}
        others = {name: rows for name, rows in judged.items() if name not in held}
        if not others:
            return math.nan
        swept = sweep(held, scores, profile)
        raw += swept.raw_at(sweep(others, scores, profile).best()[1])
        windows += swept.n_windows
    return sweep(judged, scores, profile).scaled(raw)


def by_group(judged: Mapping[str, Rows], scores: Mapping[str, Array], profile: Profile, threshold: float) -> dict[str, dict[str, Any]]:
    """Windows found and false alarms of every file's group at a threshold, with the group's own score there."""
    found: dict[str, dict[str, Any]] = {}
    for group in sorted({name.split("/")[0] for name in judged}):
        own = {name: rows for name, rows in judged.items() if name.startswith(group + "/")}
        hit, false = 0, 0
        for name, rows in own.items():
            alarmed = rows.window[scores[name] >= threshold]
            hit, false = hit + len(set(alarmed[alarmed >= 0].tolist())), false + int((alarmed == -1).sum())
        found[group] = {
            "score": _rounded(sweep(own, scores, profile).at(threshold)),
            "files": len(own),
            "windows": sum(rows.n_windows for rows in own.values()),
            "windows_found": hit,
            "false_alarms": false,
        }
    return found


def _rounded(score: float) -> float | None:
    return round(score, 2) if math.isfinite(score) else None


def _read_thresholds(path: Path) -> dict[str, float]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): float(value) for name, value in found.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise AftercastError(f"cannot read thresholds from {path.name}: {error}; give what --write-thresholds wrote") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table, or one JSON object with --json."""
    parser = argparse.ArgumentParser(description="The Numenta Anomaly Benchmark")
    parser.add_argument("--data", type=Path, required=True, help="folder with data/, windows.json and profiles.json")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--thresholds", type=Path, help="take the thresholds from this file instead of fitting them")
    parser.add_argument("--write-thresholds", type=Path, help="write the thresholds used to this file")
    options = parser.parse_args(arguments)
    try:
        result = measure(options.data, _read_thresholds(options.thresholds) if options.thresholds else None)
    except AftercastError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.write_thresholds:
        options.write_thresholds.write_text(json.dumps(result["thresholds"], indent=1) + "\n", encoding="utf-8")
    show(result, as_json=options.json, width=44)
    return 0


if __name__ == "__main__":
    sys.exit(main())
