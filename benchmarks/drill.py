"""Kills at random moments, and what is left of them after recovery: `python -m benchmarks.drill [--kills N] [--seed S] [--json]`.

The drill of `tests.drills.random_kills`, counted: steps of the whole pipeline are killed at random effects on files, at requests and at
moments, and run again as Airflow runs them again. `recovered_pct`: kills after which everything equals an undisturbed run
(`recovered_low_pct`: lower end of its 95 % Wilson interval); `lost_rows` and `doubled_rows`: published rows missing or too many at the ends
of all walks; `doubled_effects`: changes outside that happened more often than they should. `by_stage`: survived of tried. No peer;
`baselines.missed` counts kills drawn for a moment at which the step had already ended, which are not among the tried.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aftercast.version import code_version
from benchmarks.printing import show


def measure(kills: int, seed: int) -> dict[str, Any]:
    """Run the drill and return its figures."""
    from tests.drills import random_kills

    logging.disable(logging.WARNING)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="aftercast-drill-") as folder, random_kills.field_of(Path(folder)) as there:
        walks = list(random_kills.drill(there, kills, seed))
    tried, survived = sum(len(walk.kills) for walk in walks), sum(walk.survived for walk in walks)
    counts = sum((walk.counts for walk in walks), Counter[str]())
    stages: dict[str, Counter[str]] = {}
    for walk in walks:
        for kill, faults in walk.kills:
            stages.setdefault(random_kills.stage_of(kill.step), Counter()).update(tried=1, survived=int(not faults and not walk.wrong))
    return {
        "kills": tried,
        "lost_rows": counts["lost_rows"],
        "doubled_rows": counts["doubled_rows"],
        "doubled_effects": counts["doubled_effects"],
        "recovered_pct": round(100 * survived / tried, 1),
        "recovered_low_pct": round(100 * random_kills.wilson(survived, tried)[0], 1),
        "by_stage": {stage: f"{count['survived']} of {count['tried']}" for stage, count in sorted(stages.items())},
        "wrong": [line for walk in walks for line in walk.wrong],
        "n": tried,
        "baselines": {"missed": sum(walk.missed for walk in walks)},
        "seconds": round(time.perf_counter() - started, 1),
        "version": code_version(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, or one JSON object with --json."""
    parser = argparse.ArgumentParser(description="Kills at random moments, and what is left of them after recovery")
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    result = measure(options.kills, options.seed)
    show(result, as_json=options.json, width=28)


if __name__ == "__main__":
    main()
