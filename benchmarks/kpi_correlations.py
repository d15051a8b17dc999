"""Do correlations of metrics with customer figures find what is there, and nothing else? `python -m benchmarks.kpi_correlations [--json]`.

Worlds of unrelated series (eight weeks by the hour; memory, drift, shared clock, uneven noise, bursts, rare counts, gaps, steps): the
share of families of 480 pairs in which anything is called at a false discovery rate of 5 %. Beside it what plain Pearson correlation at
the best lag with p < 0.05 / pairs calls in the same worlds. Worlds with planted links (the metric's trouble moves the figure some hours
later): share of links found, found with the right lag, and of what is called, the share that was not planted. Last, seconds for 1,600
series of eight weeks by five minutes against 24 figures. Labels are known to the scorer only.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import signal, stats

from aftercast.correlation import lagged
from benchmarks.demo import share

Floats = npt.NDArray[np.float64]

HOURS = 24 * 56
LAGS = np.arange(-2, 13)
NULL_WORLDS = ("memory", "uneven_noise", "drift", "bursts", "counts", "rare", "gaps", "steps")
SEED = 30_000
"""First seed of the worlds judged; the method was developed on lower ones."""


def unrelated(kind: str, *, seed: int, n_left: int = 60, n_right: int = 8, hours: int = HOURS) -> tuple[Floats, Floats]:
    """Two sets of series that share a clock and nothing else."""
    rng = np.random.default_rng([NULL_WORLDS.index(kind), seed])
    return _set(rng, kind, n_left, hours), _set(rng, kind, n_right, hours)


def _memory(rng: np.random.Generator, n: int, hours: int) -> Floats:
    kept = rng.choice([0.0, 0.5, 0.8, 0.95], n)
    noise = rng.standard_normal((n, hours + 200))
    return np.stack([signal.lfilter([1], [1, -one], row)[200:] * np.sqrt(1 - one**2) for one, row in zip(kept, noise, strict=True)])


def _set(rng: np.random.Generator, kind: str, n: int, hours: int) -> Floats:
    at = np.arange(hours)
    day, week = np.sin(2 * np.pi * at / 24), np.sin(2 * np.pi * at / 168)
    if kind == "counts":
        return rng.poisson(np.exp(-1 + 0.5 * day), (n, hours)).astype(np.float64)
    if kind == "rare":
        return np.where(rng.random((n, hours)) < 0.12, rng.exponential(1.0, (n, hours)), 0.0)
    values = _memory(rng, n, hours)
    if kind == "uneven_noise":
        return np.asarray(values * (1 + 0.8 * day))
    values = values + 3 * day + week
    for row in values:
        if kind == "drift":
            row[:] += 0.1 * np.cumsum(rng.standard_normal(hours))
        elif kind == "bursts":
            for start in rng.integers(0, hours - 8, rng.poisson(15)):
                row[start : start + rng.integers(1, 8)] += 8
        elif kind == "gaps":
            start = rng.integers(hours - 100)
            row[start : start + 100] = np.nan
            row[rng.random(hours) < 0.1] = np.nan
        elif kind == "steps":
            for start in rng.integers(0, hours, 3):
                row[start:] += 3 * rng.standard_normal()
    return np.asarray(values)


def planted(seed: int, strength: float) -> tuple[Floats, Floats, dict[tuple[int, int], int]]:
    """Unrelated series of which six pairs are made to move together: (left, right) -> lag in hours."""
    rng = np.random.default_rng([99, seed])
    left, right = _set(rng, "memory", 60, HOURS), _set(rng, "memory", 8, HOURS)
    links: dict[tuple[int, int], int] = {}
    for j, i in enumerate(rng.choice(60, 6, replace=False).tolist()):
        lag = int(rng.integers(0, 7))
        links[i, j] = lag
        own = left[i] - 3 * np.sin(2 * np.pi * np.arange(HOURS) / 24) - np.sin(2 * np.pi * np.arange(HOURS) / 168)
        right[j] -= strength * np.roll(own, lag)
    return left, right, links


def _found(left: Floats, right: Floats) -> tuple[lagged.Compared, Floats]:
    found = lagged.compared(lagged.scored(left, 0, 60), lagged.scored(right, 0, 60), LAGS)
    return found, lagged.q_values(found.p)


def _pearson_calls(left: Floats, right: Floats) -> bool:
    """What one does first: Pearson at every lag, Bonferroni over pairs and lags, every bucket counted as an observation."""
    n_tests = len(left) * len(right) * LAGS.size
    for lag in LAGS.tolist():
        first = np.nan_to_num(left[:, : HOURS - lag] if lag > 0 else left[:, -lag:])
        second = np.nan_to_num(right[:, lag:] if lag > 0 else right[:, : HOURS + lag])
        r = np.corrcoef(first, second)[: len(left), len(left) :]
        z = np.abs(np.arctanh(np.clip(r, -0.999, 0.999))) * np.sqrt(first.shape[1] - 3)
        if (2 * stats.norm.sf(z) * n_tests < 0.05).any():
            return True
    return False


def run(worlds: int = 40, *, speed: bool = True) -> dict[str, Any]:
    """Return the figures; `worlds` of each kind."""
    called, naive = dict.fromkeys(NULL_WORLDS, 0), 0
    for kind in NULL_WORLDS:
        for world in range(worlds):
            left, right = unrelated(kind, seed=SEED + world)
            called[kind] += bool((_found(left, right)[1] < 0.05).any())
            naive += _pearson_calls(left, right)
    n = worlds * len(NULL_WORLDS)
    power = {f"strength_{strength}": _power(worlds, strength) for strength in (0.15, 0.3, 0.6)}
    return {
        "families_with_a_false_discovery": share(sum(called.values()), n),
        "by_world": {kind: share(count, worlds)["pct"] for kind, count in called.items()},
        "plain_pearson_families_with_a_false_discovery": share(naive, n),
        "planted": power,
        **({"seconds_1600_series_by_24_figures": _seconds()} if speed else {}),
    }


def _power(worlds: int, strength: float) -> dict[str, Any]:
    hits = right_lag = total = false = calls = 0
    for world in range(worlds):
        left, right, links = planted(SEED + world, strength)
        found, q = _found(left, right)
        for i, j in np.argwhere(q < 0.05).tolist():
            calls += 1
            if (i, j) in links:
                hits += 1
                right_lag += abs(int(found.lag[i, j]) - links[i, j]) <= 1
            else:
                false += 1
        total += len(links)
    return {"found": share(hits, total), "right_lag_of_found": share(right_lag, hits), "false_of_called": share(false, calls)}


def _seconds() -> float:
    rng = np.random.default_rng(SEED)
    buckets = 288 * 56
    right = lagged.scored(rng.standard_normal((24, buckets)), 0, 5)
    lags = np.arange(-6, 21)
    begun = time.process_time()
    for _ in range(0, 1600, 128):
        lagged.compared(lagged.scored(rng.standard_normal((128, buckets)), 0, 5), right, lags)
    return round(time.process_time() - begun, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=40, help="worlds of each kind")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    result = run(options.worlds)
    print(json.dumps(result, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
