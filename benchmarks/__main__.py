"""Run every benchmark beside its peers and write `docs/benchmarks.md`: `python -m benchmarks [--real DIR] [--only WORD]`.

Each benchmark runs in a process of its own and prints one JSON object; this module only tabulates them. A benchmark whose data is
absent is named with the reason, not skipped silently. The page is written after each, and keeps the sections that were not run; its first
table sets the figures that matter beside their targets and baselines.
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
FOLD, UNFOLD = "<details><summary>all figures</summary>\n\n", "\n\n</details>"


@dataclass(frozen=True, slots=True)
class Headline:
    """A figure of a benchmark that the first table shows. `key`, `beside`: dotted names in its JSON object; `target`: what was asked."""

    says: str
    key: str
    target: str = ""
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One command of `make bench`."""

    title: str
    module: str
    arguments: list[str] = field(default_factory=list)
    needs: str | None = None
    headlines: tuple[Headline, ...] = ()

    def command(self, real: Path) -> list[str]:
        data = ["--data", str(real / self.needs)] if self.needs else []
        return [sys.executable, "-m", f"benchmarks.{self.module}", *self.arguments, *data, "--json"]

    def shown(self) -> str:
        data = f" --data ../shared/real/{self.needs}" if self.needs else ""
        return " ".join(["python -m", f"benchmarks.{self.module}", *self.arguments]) + data


RANKERS = ("random", "static_prior", "recency", "nsigma", "baro_style")


def _ranking(target: str, key: str) -> tuple[Headline, ...]:
    """The headline of a suite of `benchmarks.root_cause`."""
    peers = tuple(f"baselines.{name}.{key}" for name in RANKERS)
    return (Headline({"top1": "true cause first", "avg5": "Avg@5"}[key], key, target, peers),)


CALIBRATION = (
    Headline("expected calibration error", "calibration_error", "≤ .08", ("calibration_error_by_chance",)),
    Headline("no cause among the candidates, and said so", "none_accuracy", "1"),
)
NEZHA = tuple(
    Headline(
        f"true cause first, {system}",
        f"by_system.{system}.top1",
        target,
        tuple(f"by_system.{system}.baselines.{name}.top1" for name in RANKERS),
    )
    for system, target in (("OnlineBoutique", "≥ .75"), ("TrainTicket", "≥ .70"))
)
DEMO_PEERS = ("baselines.random.top3_pct", "baselines.static_prior.top3_pct")
LOSS_PEERS = ("weekday_median", "plain_prophet", "structural", "static_prior", "random")
FIX_PEERS = ("naive", "devlake_style", "random", "static_prior")
BENCHMARKS = (
    Benchmark(
        "Demo company: planted truth against the published mart",
        "demo",
        headlines=(
            Headline("true cause among the first three, %", "top3_pct", "≥ 90", DEMO_PEERS),
            Headline("true loss inside the 95 % interval, %", "loss_coverage_pct", "92 to 97"),
            Headline("false claims of loss per quiet week", "false_loss_claims_per_quiet_week", "≤ 0.25"),
        ),
    ),
    Benchmark("Ranking causes on the demo company", "root_cause", ["--suite", "demo"], headlines=(*_ranking("≥ .8", "top1"), *CALIBRATION)),
    Benchmark("Ranking causes on PetShop, telemetry only", "root_cause", ["--suite", "petshop"], "petshop", _ranking("≥ .80", "top1")),
    Benchmark(
        "Ranking causes on PetShop, with changes",
        "root_cause",
        ["--suite", "petshop", "--with-changes"],
        "petshop",
        _ranking("≥ .80", "top1"),
    ),
    Benchmark("Ranking causes on Nezha", "root_cause", ["--suite", "nezha"], "nezha", NEZHA),
    Benchmark("Ranking causes on Sock Shop, telemetry only", "root_cause", ["--suite", "sockshop"], "sockshop", _ranking("≥ .98", "avg5")),
    Benchmark(
        "Ranking one incident over 1,600 series",
        "ranking_speed",
        headlines=(Headline("seconds", "seconds_per_incident", "≤ 1", ("baselines.nsigma_seconds",)),),
    ),
    Benchmark(
        "Building star and marts over many metric points",
        "warehouse",
        ["--points", "1e7"],
        headlines=(
            Headline("CPU of the build over plain SQL", "build_ratio_to_plain_sql", "≤ 1.5"),
            Headline("one more hour, share of the models of points, %", "incremental_share_pct", "≤ 5"),
            Headline("peak memory, MiB", "peak_rss_mib", "≤ 4096", ("baselines.plain_sql_peak_rss_mib",)),
        ),
    ),
    Benchmark(
        "A refresh of 1,600 series, and of one more hour",
        "refresh",
        headlines=(Headline("seconds for one new hour", "seconds_per_new_hour", "≤ 60", ("baselines.rebuild_seconds",)),),
    ),
    Benchmark(
        "How a refresh grows with 160 series and their incidents",
        "growth",
        headlines=(
            Headline("exponent of the first refresh", "exponents.first", "≤ 1"),
            Headline("exponent of one more hour", "exponents.new_hour", "0"),
        ),
    ),
    Benchmark(
        "A backfill of a year",
        "backfill",
        headlines=(
            Headline("peak memory of any process, MiB", "peak_rss_mib", "≤ 4096", ("baselines.one_window.peak_rss_mib",)),
            Headline("landed rows unlike those of one window", "rows_that_differ"),
            Headline("a late window over an early one, CPU", "extract.last_parts_ratio", "1"),
        ),
    ),
    Benchmark(
        "Kills at random moments",
        "drill",
        headlines=(Headline("recovered as if undisturbed, %", "recovered_pct", "100"),),
    ),
    Benchmark("Families of a public status page's incidents", "families", [], "github_incidents"),
    Benchmark(
        "Early signs, judged on later weeks",
        "leading",
        ["--weeks", "24"],
        headlines=(
            Headline("leaks warned of, %", "leaks_warned.pct"),
            Headline("later warnings of trusted signs that came true, %", "judged_true.pct"),
            Headline("trusted after shuffling weeks, %", "shuffled.trusted.pct", "0"),
        ),
    ),
    Benchmark(
        "Loss of injected drops in real revenue",
        "revenue",
        [],
        "online_retail",
        (
            Headline(
                "median error of the window, %",
                "median_error_pct",
                "≤ 12",
                tuple(f"baselines.{name}.median_error_pct" for name in LOSS_PEERS),
            ),
            Headline(
                "inside the 95 % interval, %",
                "coverage_pct",
                "92 to 97",
                tuple(f"baselines.{name}.coverage_pct" for name in LOSS_PEERS[:3]),
            ),
            Headline(
                "30 % of a day noticed, %",
                "noticed_30pct_pct",
                "≥ 40",
                tuple(f"baselines.{name}.noticed_30pct_pct" for name in LOSS_PEERS[:3]),
            ),
            Headline("placebo windows flagged, %", "placebo_flags_pct", "≤ 5", ("baselines.weekday_median.placebo_flags_pct",)),
        ),
    ),
    Benchmark(
        "Verdicts on fixes in simulated companies",
        "fixes",
        headlines=(
            Headline(
                "called effective though nothing changed, %",
                "false_effective_pct",
                "≤ 5",
                tuple(f"baselines.{name}.false_effective_pct" for name in FIX_PEERS),
            ),
            Headline(
                "the same, regression to the mean, %",
                "false_effective_regression_pct",
                "≤ 5",
                tuple(f"baselines.{name}.false_effective_regression_pct" for name in FIX_PEERS),
            ),
            Headline(
                "working fixes called effective, %",
                "power_pct",
                "within a tenth of the next row",
                tuple(f"baselines.{name}.power_pct" for name in FIX_PEERS),
            ),
            Headline("power of the best exact test, %", "power_of_exact_test_pct"),
            Headline("CPU seconds for 50 fixes among 10,000 incidents", "cost.cpu_seconds", "≤ 60"),
        ),
    ),
    Benchmark(
        "Planted anomalies in generated series",
        "detection",
        headlines=(Headline("F1", "default_f1"), Headline("precision", "precision"), Headline("recall", "recall")),
    ),
    Benchmark(
        "Anomalies in the Numenta benchmark",
        "nab",
        [],
        "nab",
        (Headline("standard profile", "standard", "≥ 60"), Headline("standard profile, threshold from other files", "heldout_standard")),
    ),
    Benchmark("Correlations of metrics with customer figures: false discoveries and power", "kpi_correlations", ["--worlds", "25"]),
    Benchmark("Speed of the batched Prophet", "speed", headlines=(Headline("CPU of the library over ours, refit", "refit_cpu_ratio"),)),
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
    """Run one benchmark; return what its section of the page says."""
    if benchmark.needs and not (real / benchmark.needs).is_dir():
        return f"Not run: {benchmark.needs} is not in the folder of real data.\n"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(benchmark.command(real), cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr[-2000:])
        return f"Failed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no message'}\n"
    rows = _flat(json.loads(done.stdout.strip().splitlines()[-1]))
    return "| figure | value |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows)


def _kept(page: str) -> dict[str, str]:
    """What the sections of a page say, by title."""
    sections = (part.partition("\n") for part in page.split("\n## ")[1:])
    return {title: body.partition("`\n\n")[2].removeprefix(FOLD).replace(UNFOLD, "") for title, _, body in sections}


def _peer(key: str) -> str:
    """The name of a baseline in the key of its figure."""
    parts = key.split(".")
    return parts[-2] if len(parts) > 2 else parts[-1]


def _headlines(said: dict[str, str]) -> str:
    """The first table: the figures that matter, their targets, and the best of what stands beside them."""
    rows = []
    for benchmark in BENCHMARKS:
        lines = said.get(benchmark.title, "").splitlines()
        values = dict(line.strip("| ").split(" | ", 1) for line in lines if line.startswith("| ") and line.count(" | ") == 1)
        for headline in benchmark.headlines:
            if headline.key not in values:
                continue
            beside = ", ".join(
                f"{key.rpartition('.')[0].rpartition('.')[2] or key} {values[key]}" for key in headline.beside if key in values
            )
            rows.append(f"| {benchmark.title}: {headline.says} | {values[headline.key]} | {headline.target} | {beside} |\n")
    return "\n| what | measured | asked | baselines in the same run |\n|---|---|---|---|\n" + "".join(rows)


def _folded(text: str) -> str:
    return FOLD + text + UNFOLD if text.startswith("| ") else text


def page(said: dict[str, str]) -> str:
    """The whole page; benchmarks that were never run are left out."""
    parts = [INTRODUCTION, _headlines(said), f"\nMachine: {os.cpu_count()} cores, Python {platform.python_version()}.\n"]
    parts += [f"\n## {one.title}\n\n`{one.shown()}`\n\n{_folded(said[one.title].strip())}\n" for one in BENCHMARKS if one.title in said]
    return "".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, default=PROJECT.parent / "shared" / "real", help="folder of the real data sets")
    parser.add_argument("--only", metavar="WORD", help="run only benchmarks with this word in their title or command")
    arguments = parser.parse_args()
    said = _kept(PAGE.read_text(encoding="utf-8")) if PAGE.is_file() else {}
    failed = 0
    for benchmark in BENCHMARKS:
        if arguments.only and arguments.only.lower() not in f"{benchmark.title} {benchmark.shown()}".lower():
            continue
        print(f"• {benchmark.title}", flush=True)
        said[benchmark.title] = run(benchmark, arguments.real)
        print(said[benchmark.title], flush=True)
        failed += said[benchmark.title].startswith("Failed:")
        PAGE.write_text(page(said), encoding="utf-8")
    print(f"written to {PAGE.relative_to(PROJECT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
