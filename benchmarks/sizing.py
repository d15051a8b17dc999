"""What many points need: `python -m benchmarks.sizing --home var [--points 1e12] [--prices gb_month=0.02,…] [--assume days_kept=90,…]`.

Measures a little and multiplies. Of a finished home: bytes per point of landing and scores, and the CPU seconds DuckDB takes to read,
deduplicate and bucket a million points. By `benchmarks.landing` and `benchmarks.speed`, small: CPU seconds to land and to score a million.
Then, for 10^6 to `--points` points: storage, CPU hours of the first load and of a day of refreshes, memory, machines and a monthly cost.
Prices are inputs, not claims: put in your own. What does not follow from the measurement is an assumption with a default that is printed:
days kept, share of points that are watched, how often points are scored and transformed (the models as they are
read every day kept), and `overhead`, the work a distributed engine adds (from 10^9 points).
Costs of a network, of replicas and of people are not in it.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
MILLION = 1_000_000
LANDED, SCORED = 100_000, 20  # points to land, series of 56 days at five minutes to score
HOURS_A_MONTH = 730


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one point, or of a million, on this machine."""

    landing_bytes: float
    score_bytes: float
    landing_seconds: float
    transform_seconds: float
    scoring_seconds: float


@dataclass(frozen=True, slots=True)
class Assumed:
    """What a deployment decides: arguments of the command."""

    days_kept: float = 90
    watched_share: float = 0.1
    scored_again: float = 4
    transforms_a_day: float = 24
    days_transformed: float = 90
    overhead: float = 1.5
    busy_share: float = 0.6
    cores_a_machine: float = 16
    gb_a_machine: float = 128
    working_bytes: float = 200


@dataclass(frozen=True, slots=True)
class Prices:
    """In one currency: of a gigabyte stored for a month, of a core for an hour, of a gigabyte of memory for an hour."""

    gb_month: float = 0.02
    cpu_hour: float = 0.04
    gb_ram_hour: float = 0.005


def simulate(points: float, one: Measured, assumed: Assumed, prices: Prices) -> dict[str, float]:
    """Return what `points` kept for `days_kept` days need, a day of them arriving each day.

    Memory is what the largest transform holds at once, shared by all machines: the points it reads at `working_bytes` each. With less,
    both engines spill to disk.
    """
    a_day = points / assumed.days_kept
    stored = points * (one.landing_bytes + assumed.watched_share * one.score_bytes) / 1e9
    millions = a_day / MILLION
    land = millions * one.landing_seconds
    transform = millions * one.transform_seconds * assumed.transforms_a_day * assumed.days_transformed
    score = millions * assumed.watched_share * one.scoring_seconds * assumed.scored_again
    factor = assumed.overhead if points > 1e9 else 1.0
    cpu_hours_a_day = (land + transform + score) * factor / 3600
    cores = max(1.0, cpu_hours_a_day / 24 / assumed.busy_share)
    memory = max(4.0, a_day * assumed.days_transformed * assumed.working_bytes / 1e9)
    cost = stored * prices.gb_month + HOURS_A_MONTH * (cores * prices.cpu_hour + memory * prices.gb_ram_hour)
    return {
        "points": points,
        "points_a_day": a_day,
        "stored_gb": stored,
        "first_load_cpu_hours": points / MILLION * (one.landing_seconds + one.transform_seconds) * factor / 3600,
        "cpu_hours_a_day": cpu_hours_a_day,
        "land_share": land / (land + transform + score),
        "transform_share": transform / (land + transform + score),
        "score_share": score / (land + transform + score),
        "cores": cores,
        "memory_gb": memory,
        "machines": math.ceil(max(cores / assumed.cores_a_machine, memory / assumed.gb_a_machine)),
        "cost_a_month": cost,
    }


def measure(home: Path) -> Measured:
    """Measure this machine and a finished home; about a minute on a quiet machine."""
    from aftercast import warehouse
    from aftercast.settings import Settings

    settings = Settings(home=home, config=home)
    landed = list((settings.landing / "metric_points").rglob("*.parquet"))
    scores = list((settings.derived / "scores").rglob("*.parquet"))
    with warehouse.connect(None) as connection:
        files = [str(path) for path in landed]
        points = warehouse.frame(connection, "select count(*) from read_parquet($1)", [files]).item()
        scored = warehouse.frame(
            connection, "select sum(len(value)) from read_parquet($1, union_by_name = true)", [[str(p) for p in scores]]
        ).item()
    with warehouse.connect(settings.warehouse) as connection:
        before = time.process_time()
        warehouse.frame(connection, "select count(*), sum(value), max(n_samples) from intermediate.int_metric_points__bucketed")
        transform = time.process_time() - before
    landing = _run("landing", "--points", str(LANDED))
    speed = _run("speed", "--series", "10", "--peers", "1", "--detect", str(SCORED))
    return Measured(
        landing_bytes=_bytes(landed) / points,
        score_bytes=_bytes(scores) / float(scored),
        landing_seconds=landing["cpu_seconds"] / landing["points"] * MILLION,
        transform_seconds=transform / points * MILLION,
        scoring_seconds=speed["detect_seconds"] / (SCORED * 56 * 288) * MILLION,
    )


def _bytes(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def _run(module: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments, "--json"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"benchmarks.{module} failed:\n{done.stderr[-1000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path("var"), help="home of a finished refresh")
    parser.add_argument("--measured", help="figures of an earlier measurement, as its JSON object, instead of measuring")
    parser.add_argument("--points", type=float, default=1e12, help="the largest number of points kept")
    parser.add_argument("--prices", default="", help="name=number, separated by commas: gb_month, cpu_hour, gb_ram_hour")
    parser.add_argument("--assume", default="", help=f"name=number, separated by commas: {', '.join(asdict(Assumed()))}")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    assumed, prices = Assumed(**_numbers(arguments.assume)), Prices(**_numbers(arguments.prices))
    one = Measured(**json.loads(arguments.measured)) if arguments.measured else measure(arguments.home.resolve())
    sizes = [10.0**power for power in range(6, math.ceil(math.log10(arguments.points)))] + [arguments.points]
    rows = [simulate(points, one, assumed, prices) for points in sizes]
    if arguments.json:
        print(json.dumps({"measured": asdict(one), "assumed": asdict(assumed), "prices": asdict(prices), "rows": rows}))
        return
    for title, values in (("measured", one), ("assumed", assumed), ("prices", prices)):
        print(f"{title}: {', '.join(f'{name} {value:.4g}' for name, value in asdict(values).items())}")
    shown = (
        "points",
        "points_a_day",
        "stored_gb",
        "first_load_cpu_hours",
        "cpu_hours_a_day",
        "cores",
        "memory_gb",
        "machines",
        "cost_a_month",
    )
    print("| " + " | ".join(shown) + " |\n|" + "---|" * len(shown))
    for row in rows:
        print("| " + " | ".join(f"{row[name]:.3g}" for name in shown) + " |")


def _numbers(text: str) -> dict[str, float]:
    return {name.strip(): float(value) for name, value in (part.split("=", 1) for part in text.split(",") if part)}


if __name__ == "__main__":
    main()
