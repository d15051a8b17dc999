"""Run every benchmark beside its peers and write `docs/benchmarks.md`: `python -m benchmarks [--real DIR]`.

Each benchmark runs in a process of its own and prints one JSON object; this module only tabulates them. A benchmark whose data is
absent is named with the reason, not skipped silently.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "benchmarks.md"
INTRODUCTION = """# Benchmarks

Written by `make bench`; every command can be run by itself. Figures depend on the machine: read ratios, and
compare with the baselines printed in the same run. Labels and truth are read by the scorers only.
"""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One command of `make bench`."""

    title: str
    module: str
    arguments: list[str] = field(default_factory=list)
    needs: str | None = None

    def command(self, real: Path) -> list[str]:
        data = ["--data", str(real / self.needs)] if self.needs else []
        return [sys.executable, "-m", f"benchmarks.{self.module}", *self.arguments, *data, "--json"]

    def shown(self) -> str:
        data = f" --data ../shared/real/{self.needs}" if self.needs else ""
        return " ".join(["python -m", f"benchmarks.{self.module}", *self.arguments]) + data


BENCHMARKS = (
    Benchmark("Demo company: planted truth against the published mart", "demo"),
    Benchmark("Ranking causes on the demo company", "root_cause", ["--suite", "demo"]),
    Benchmark("Ranking causes on PetShop, telemetry only", "root_cause", ["--suite", "petshop"], "petshop"),
    Benchmark("Ranking causes on PetShop, with changes", "root_cause", ["--suite", "petshop", "--with-changes"], "petshop"),
    Benchmark("Ranking causes on Sock Shop, telemetry only", "root_cause", ["--suite", "sockshop"], "sockshop"),
    Benchmark("Ranking one incident over 1,600 series", "ranking_speed"),
    Benchmark("Loss of injected drops in real revenue", "revenue", [], "online_retail"),
    Benchmark("Verdicts on fixes in simulated companies", "fixes"),
    Benchmark("Planted anomalies in generated series", "detection"),
    Benchmark("Anomalies in the Numenta benchmark", "nab", [], "nab"),
    Benchmark("Correlations of metrics with customer figures: false discoveries and power", "kpi_correlations", ["--worlds", "25"]),
    Benchmark("Speed of the batched Prophet", "speed"),
    Benchmark("Landing a million metric points", "landing"),
)


def _flat(result: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in result.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, float):
            yield name, f"{value:.4g}"
        elif not isinstance(value, list):
            yield name, str(value)


def run(benchmark: Benchmark, real: Path) -> str:
    """Run one benchmark; return its section of the page."""
    section = f"\n## {benchmark.title}\n\n`{benchmark.shown()}`\n\n"
    if benchmark.needs and not (real / benchmark.needs).is_dir():
        return section + f"Not run: {benchmark.needs} is not in the folder of real data.\n"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(benchmark.command(real), cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr[-2000:])
        return section + f"Failed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no message'}\n"
    rows = _flat(json.loads(done.stdout.strip().splitlines()[-1]))
    return section + "| figure | value |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, default=PROJECT.parent / "shared" / "real", help="folder of the real data sets")
    arguments = parser.parse_args()
    page = INTRODUCTION + f"\nMachine: {os.cpu_count()} cores, Python {platform.python_version()}.\n"
    failed = 0
    for benchmark in BENCHMARKS:
        print(f"• {benchmark.title}", flush=True)
        section = run(benchmark, arguments.real)
        print(section, flush=True)
        failed += "\nFailed:" in section
        page += section
    PAGE.write_text(page, encoding="utf-8")
    print(f"written to {PAGE.relative_to(PROJECT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
