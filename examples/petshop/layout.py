"""Read the PetShop root-cause set in its original layout; a file that is not as expected is named, with what to do about it.

The label (`root_cause` in target.json) is never read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from aftercast.errors import SourceRejected

LAYOUT = "expected <scenario>/graph.csv, <scenario>/noissue/metrics.csv and <scenario>/issue_*/{metrics.csv,target.json}"
HEADINGS = ["microservice", "metric", "statistic", "unix_timestamp"]


def read_metrics(path: Path) -> pl.DataFrame:
    """Return the filled cells of a metrics.csv: service, metric, statistic, at (epoch seconds, start of the bucket), value.

    An empty cell is a row that is not there: missing is not zero.
    """
    try:
        table = pl.read_csv(path, has_header=False, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SourceRejected(f"{path}: not a readable CSV file ({error}); {LAYOUT}") from error
    first = table.columns[0]
    if table[first].to_list()[:4] != HEADINGS or table.height == len(HEADINGS):
        raise SourceRejected(
            f"{path}: expected heading rows {', '.join(HEADINGS)} and then one row per 5 minutes; fetch it again from the set"
        )
    heads = table.head(3).transpose(include_header=True, header_name="column", column_names=["service", "metric", "statistic"])
    cells = table.slice(4).rename({first: "at"}).unpivot(index="at", variable_name="column").drop_nulls("value")
    numbers = cells.with_columns(pl.col("at", "value").cast(pl.Float64, strict=False))
    damaged = numbers.filter(pl.any_horizontal(pl.col("at", "value").is_null())).height
    if damaged:
        raise SourceRejected(f"{path}: {damaged} of {cells.height} cells are not numbers; fetch it again from the set")
    return numbers.filter(pl.col("value").is_not_nan()).join(heads, on="column", maintain_order="left").drop("column")


def read_issue(path: Path) -> dict[str, Any]:
    """Return the alarm of a target.json (node, metric, agg, at) and the command that was run, None when there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        target = content["target"]
        command = content.get("metadata", {}).get("reproducibility", {}).get("command")
        return {
            "node": target["node"],
            "metric": target["metric"],
            "agg": target["agg"],
            "at": float(target["timestamp"]),
            "command": command,
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"{path}: needs `target` with node, metric, agg and timestamp, in JSON ({error!r}); fetch it again from the set"
        raise SourceRejected(message) from error


def read_edges(path: Path) -> list[tuple[str, str]]:
    """Return (caller, callee) for every non-zero cell of graph.csv: the row's node calls the column's node."""
    try:
        matrix = pl.read_csv(path, infer_schema=False)
        cells = matrix.rename({matrix.columns[0]: "caller"}).unpivot(index="caller", variable_name="callee")
        return cells.filter(pl.col("value").cast(pl.Float64) != 0).select("caller", "callee").sort("caller", "callee").rows()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SourceRejected(f"{path}: not a matrix of numbers with node names as first row and column ({error}); {LAYOUT}") from error
