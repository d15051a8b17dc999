"""How far the probabilities of causes can be taken at their word, over several demo companies: figures and a picture.

`python -m benchmarks.reliability --seeds 11 12 13 14 15` prints each company and all of them together; with
`--write docs/images/ranking_reliability.svg` it draws the picture of docs/correlation.md.
One company has some fifty incidents, too few to tell a calibrated ranker from another by more than chance allows; five tell more.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from aftercast.correlation import correlate
from aftercast.reporting.charts import INK, LINE, MUTED, axis, data, svg
from aftercast.reporting.intervals import wilson
from aftercast.reporting.plot_file import stacked
from aftercast.reporting.series_plot import Picture
from benchmarks import demo_cases
from benchmarks.cases import Label
from benchmarks.root_cause import calibration

SEEDS = (11, 12, 13, 14, 15)
WIDTH, PLOT, LEFT, RIGHT, TOP, BOTTOM = 560, 260, 56, 200, 16, 36


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--write", type=Path, help="where to draw the picture")
    options = parser.parse_args(arguments)
    result = run(options.seeds)
    if options.write is not None:
        options.write.write_text(stacked([picture(result["together"], options.seeds)], WIDTH), encoding="utf-8")
    print(json.dumps(result, sort_keys=True))
    return 0


def run(seeds: Sequence[int]) -> dict[str, Any]:
    """Return the calibration of each company and of all incidents together."""
    every: list[pl.DataFrame] = []
    labels: dict[str, Label] = {}
    result: dict[str, Any] = {}
    for seed in seeds:
        suite = demo_cases.read(seed, None)
        ranked = correlate(suite.inputs, suite.as_of).candidates
        result[str(seed)] = calibration(ranked, suite.labels)
        every.append(ranked.with_columns((pl.lit(f"{seed}:") + pl.col("incident_id")).alias("incident_id")))
        labels |= {f"{seed}:{incident}": label for incident, label in suite.labels.items()}
    return {**result, "together": {**calibration(pl.concat(every), labels), "n": len(labels)}}


def picture(together: dict[str, Any], seeds: Sequence[int]) -> Picture:
    """Draw how often the first candidate is right against what it was given, with Wilson intervals; on the diagonal both agree."""
    rows = []
    for row in together["reliability"]:
        share = wilson(round(row["came_true"] * row["n"]), round(row["n"]))
        rows.append({"said": row["said"], "true": row["came_true"], "low": share.low, "high": share.high, "n": f"{row['n']:.0f}"})
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    labels = ["0", "25 %", "50 %", "75 %", "100 %"]
    scale = alt.Scale(domain=[0, 1])
    x, y = (
        alt.X("said:Q", scale=scale, axis=axis(ticks, labels, grid=False)),
        alt.Y("true:Q", scale=scale, axis=axis(ticks, labels, grid=True)),
    )
    base = alt.Chart(data(rows))
    chart = alt.layer(
        alt.Chart(data([{"said": end, "true": end} for end in (0, 1)]))
        .mark_line(color=MUTED, strokeDash=[4, 4], strokeWidth=1)
        .encode(x=x, y=y),
        base.mark_rule(color=LINE, strokeWidth=5, opacity=0.22).encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q"),
        base.mark_point(color=LINE, filled=True, size=60, opacity=1).encode(x=x, y=y),
        base.mark_text(color=INK, align="left", dx=8, dy=4, fontSize=11).encode(x=x, y=y, text="n:N"),
    ).properties(width=PLOT, height=PLOT)
    told = "; ".join(f"said {row['said']:.2f}, right {row['true']:.2f} of {row['n']}" for row in rows)
    finding = f"Causes said to be likely by so much are right that often: off by {100 * together['calibration_error']:.1f} points"
    caption = (
        f"Across: probability of the first candidate; up: share of incidents where it is the true cause, with its 95 % interval and their "
        f"number. {together['n']} incidents of demo companies {', '.join(map(str, seeds))}. True probabilities would be off by "
        f"{100 * together['calibration_error_by_chance']:.1f} points by chance."
    )
    return Picture("", finding, caption, svg(chart, LEFT, RIGHT, TOP, BOTTOM, finding, told))


if __name__ == "__main__":
    sys.exit(main())
