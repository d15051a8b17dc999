"""How a refresh, and one more hour, grow with a company: `python -m benchmarks.growth [--points 1e7] [--series 160] [--incidents 10000]`.

The company of `benchmarks.refresh` at an eighth, a quarter, half and the whole of its history: CPU seconds of each task, imports included,
and the exponent of a power law through the four (1: in proportion to the history; 0: not at all). `peak_rss_mib` is the largest process.
`--write docs/images/growth.svg` draws docs/reliability.md's picture; `--figures FILE` draws what an earlier run with `--json` printed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

from aftercast.reporting.charts import INK, LINE, OTHER, axis, data, svg
from aftercast.reporting.plot_file import stacked
from aftercast.reporting.series_plot import Picture
from benchmarks.refresh import TASKS, grown

SHARES = (8, 4, 2, 1)
RUNS = {"first": "first refresh", "new_hour": "one more hour"}
DRAWN = 6  # tasks with a line of their own: the dearest
WIDTH, PLOT, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 520, 250, 56, 184, 12, 32
APART = 13  # pixels between two labels


def measure(points: int, series: int, incidents: int, seed: int) -> list[dict[str, Any]]:
    """Return the CPU seconds of each task at each size."""
    sizes = []
    with tempfile.TemporaryDirectory(prefix="aftercast-growth-") as scratch:
        for share in SHARES:
            found = grown(points // share, series, incidents // share, seed, Path(scratch) / str(share), rebuild=False)
            seconds = {run: {task: figures["cpu_seconds"] for task, figures in found[run].items()} for run in RUNS}
            peak = max(figures["peak_rss_mib"] for run in RUNS for figures in found[run].values())
            sizes.append({"points": found["points"], "incidents": incidents // share, "peak_rss_mib": peak, **seconds})
    return sizes


def exponent(sizes: Sequence[dict[str, Any]], seconds: Sequence[float]) -> float:
    """Return the slope of seconds over points, both in decades, by least squares."""
    slope, _ = np.polyfit(np.log10([size["points"] for size in sizes]), np.log10(seconds), 1)
    return round(float(slope), 2)


def table(sizes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per run and task, and one for all tasks: its seconds at each size, and its exponent."""
    rows = []
    for run in RUNS:
        for task in (*TASKS, "all"):
            seconds = [round(sum(size[run].values()) if task == "all" else size[run][task], 2) for size in sizes]
            rows.append({"run": run, "task": task, "seconds": seconds, "exponent": exponent(sizes, seconds)})
    return rows


def pictures(sizes: Sequence[dict[str, Any]]) -> list[Picture]:
    """Draw the dearest tasks of the first refresh and of one more hour, both axes logarithmic."""
    return [_picture(sizes, run, [row for row in table(sizes) if row["run"] == run]) for run in RUNS]


def _picture(sizes: Sequence[dict[str, Any]], run: str, rows: Sequence[dict[str, Any]]) -> Picture:
    dearest = sorted((row for row in rows if row["task"] != "all"), key=lambda row: -row["seconds"][-1])[:DRAWN]
    drawn = [row for row in rows if row["task"] == "all"] + dearest
    points = [size["points"] / 1e6 for size in sizes]
    lowest, highest = min(min(row["seconds"]) for row in drawn), max(max(row["seconds"]) for row in drawn)
    ticks = [float(tick) for tick in (0.1, 1, 10, 100, 1_000, 10_000) if lowest / 10 < tick < highest * 10]
    x_scale = alt.Scale(type="log", domain=[points[0], points[-1]], nice=False)
    bottom, top = max(lowest * 0.8, ticks[0]), highest * 1.25
    y_scale = alt.Scale(type="log", domain=[bottom, top], nice=False)
    labels = [f"{size['points'] / 1e6:.3g} million, {size['incidents']:,}" for size in sizes]
    x = alt.X("points:Q", scale=x_scale, axis=axis(points, labels, grid=False))
    y = alt.Y("seconds:Q", scale=y_scale, axis=axis(ticks, [f"{tick:g} s" for tick in ticks], grid=True))
    apart = APART / HEIGHT * float(np.log10(top / bottom))
    lines = [
        {"points": at, "seconds": seconds, "task": row["task"], "whole": row["task"] == "all"}
        for row in drawn
        for at, seconds in zip(points, row["seconds"], strict=True)
    ]
    colour = alt.condition("datum.whole", alt.value(LINE), alt.value(OTHER))
    base = alt.Chart(data(lines)).encode(x=x, y=y)
    chart = alt.layer(
        base.mark_line(strokeWidth=1.6).encode(detail="task:N", color=colour),
        base.mark_point(filled=True, size=28, opacity=1).encode(color=colour),
        alt.Chart(data(_labels(points[-1], drawn, apart)))
        .mark_text(align="left", dx=10, fontSize=11, color=INK)
        .encode(x=alt.X("points:Q", scale=x_scale), y=alt.Y("seconds:Q", scale=y_scale), text="label:N"),
    ).properties(width=PLOT, height=HEIGHT)
    whole = drawn[0]
    finding = (
        f"{RUNS[run][:1].upper()}{RUNS[run][1:]}: {whole['seconds'][0]:.0f} CPU seconds, {whole['seconds'][-1]:.0f} for a history "
        f"{points[-1] / points[0]:.0f} times as long"
    )
    caption = (
        "Across: metric points and incidents of the history; up: CPU seconds; behind a name: exponent (1: in proportion, 0: not at all)."
    )
    told = "; ".join(f"{row['task']}: {', '.join(f'{one:g}' for one in row['seconds'])} s" for row in drawn)
    return Picture("", finding, caption, svg(chart, LEFT, RIGHT, TOP, BOTTOM, finding, told))


def _labels(at: float, drawn: Sequence[dict[str, Any]], apart: float) -> list[dict[str, Any]]:
    """Place the names at the ends of their lines, no two nearer than `apart` decades."""
    rows, last = [], -np.inf
    for row in sorted(drawn, key=lambda row: float(row["seconds"][-1])):
        last = max(np.log10(row["seconds"][-1]), last + apart)
        rows.append({"points": at, "seconds": float(10**last), "label": f"{row['task']}  {row['exponent']:.2f}"})
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, or one JSON object with --json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--points", type=float, default=1e7)
    parser.add_argument("--series", type=int, default=160)
    parser.add_argument("--incidents", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--figures", type=Path, help="what an earlier run printed with --json")
    parser.add_argument("--write", type=Path, help="where to draw the picture")
    options = parser.parse_args(arguments)
    if options.figures is not None:
        sizes = json.loads(options.figures.read_text(encoding="utf-8"))["sizes"]
    else:
        sizes = measure(int(options.points), options.series, options.incidents, options.seed)
    if options.write is not None:
        options.write.write_text(stacked(pictures(sizes), WIDTH), encoding="utf-8")
    rows = table(sizes)
    if options.json:
        exponents = {row["run"]: row["exponent"] for row in rows if row["task"] == "all"}
        peak = max(size["peak_rss_mib"] for size in sizes)
        sys.stdout.write(json.dumps({"exponents": exponents, "peak_rss_mib": peak, "sizes": sizes, "tasks": rows}) + "\n")
        return
    for run, name in RUNS.items():
        sys.stdout.write(f"{name:14}" + "".join(f"{size['points']:>12,}" for size in sizes) + f"{'exponent':>10}\n")
        for row in (row for row in rows if row["run"] == run):
            sys.stdout.write(f"  {row['task']:12}" + "".join(f"{one:12}" for one in row["seconds"]) + f"{row['exponent']:10}\n")
    sys.stdout.write(f"{'largest, MiB':14}" + "".join(f"{size['peak_rss_mib']:>12,}" for size in sizes) + "\n")


if __name__ == "__main__":
    main()
