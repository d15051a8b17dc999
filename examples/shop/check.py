"""Compare the loss that Aftercast published with the loss that was planted: python examples/shop/check.py --home <AFTERCAST_HOME>."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import polars as pl

from aftercast.errors import AftercastError, SourceRejected
from aftercast.warehouse import query

LOSS = "select incident_id, impact_status, lost_revenue, lost_revenue_low, lost_revenue_high from marts.mart_incidents"


def compare(truth: pl.DataFrame, measured: pl.DataFrame) -> pl.DataFrame:
    """Return one row per planted incident: true, measured, low, high, status; in_interval and error_pct are null where nothing was said.

    Raises:
        SourceRejected: an incident of the truth is not in the mart.
    """
    both = truth.join(measured, on="incident_id", how="left", maintain_order="left")
    unknown = both.filter(pl.col("impact_status").is_null())["incident_id"].to_list()
    if unknown:
        raise SourceRejected(f"{len(unknown)} planted incidents are not in the mart, e.g. {unknown[0]}; run `make run EXAMPLE=shop` again")
    money = pl.col("lost_revenue", "lost_revenue_low", "lost_revenue_high").cast(pl.Float64)
    named = both.with_columns(money).rename({"lost_revenue": "measured", "lost_revenue_low": "low", "lost_revenue_high": "high"})
    inside = pl.col("true").is_between("low", "high")
    error = pl.when(pl.col("true") > 0).then((pl.col("measured") - pl.col("true")).abs() / pl.col("true") * 100)
    return named.with_columns(in_interval=inside, error_pct=error.round(1))


def read_truth(home: Path) -> pl.DataFrame:
    """Return incident_id, start, country, share_removed and true (GBP lost) of what convert.py planted."""
    path = home / "truth" / "drops.json"
    if not path.exists():
        raise SourceRejected(f"{path} is missing; examples/shop/convert.py writes it when the example runs")
    rows = json.loads(path.read_text(encoding="utf-8"))
    columns = {"incident_id": pl.String, "start": pl.String, "country": pl.String, "share_removed": pl.Float64, "lost_revenue": pl.Float64}
    return pl.DataFrame([{name: row[name] for name in columns} for row in rows], schema=columns).rename({"lost_revenue": "true"})


def summary(table: pl.DataFrame) -> str:
    """Return the three sentences a reader needs."""
    drops, quiet = table.filter(pl.col("true") > 0), table.filter(pl.col("true") == 0)
    said = drops.filter(pl.col("in_interval").is_not_null())
    sure = drops.filter(pl.col("impact_status") == "quantified")
    claims = quiet.filter(pl.col("impact_status") == "quantified").height
    held, error = said["in_interval"].sum(), sure["error_pct"].median()
    typical = "no error to speak of" if error is None else f"median error {error:.1f} %"
    return (
        f"{drops.height} incidents lost money: an interval was stated for {said.height} and held the true loss for {held}.\n"
        f"{sure.height} of them were quantified ({typical}); the loss of the others is within the noise or unknown.\n"
        f"{quiet.height} incidents lost nothing: a loss was claimed for {claims}."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path("var/shop"), help="AFTERCAST_HOME of the example")
    home = parser.parse_args().home
    try:
        table = compare(read_truth(home), query(home / "published" / "aftercast.duckdb", LOSS))
    except AftercastError as problem:
        sys.exit(f"shop: {problem}")
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=160, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        print(table)
    print(summary(table))
