"""Turn a web shop's invoices into journey KPIs, with order drops of known size planted for measurement to find.

What was planted is written to home/truth, apart from the inbox; the pipeline never reads it. The same input and seed always write the
same files. `drops.py` plants and announces, this module counts invoices, `config/` maps the incident feed and knows the company.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
from drops import announce, plant

from aftercast.errors import AftercastError, SourceRejected

CONFIG = Path(__file__).parent / "config"
COLUMNS = {
    "Invoice": pl.String,
    "StockCode": pl.String,
    "Quantity": pl.Int64,
    "InvoiceDate": pl.Datetime,
    "Price": pl.Float64,
    "Country": pl.String,
}
BOOKKEEPING = r"^(B|M|D|S|ADJUST.*|BANK CHARGES|AMAZONFEE|CRUK|TEST.*)$"  # stock codes that no customer orders
CLOCK = "Europe/London"  # of InvoiceDate, which carries no zone
NAMED_COUNTRIES = 4  # with most orders; the others are one segment, or their hours would be almost all empty


def read_invoices(data: Path) -> pl.DataFrame:
    """Return the invoice lines, checked for the columns we need."""
    path = data / "invoices.parquet"
    try:
        lines = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SourceRejected(f"{path}: not a readable Parquet file ({error}); DATA must hold the set's invoices.parquet") from error
    missing = [name for name in COLUMNS if name not in lines.columns]
    if missing or not lines.height:
        raise SourceRejected(
            f"{path}: {lines.height} lines, columns missing: {', '.join(missing) or 'none'}; found {', '.join(lines.columns)}"
        )
    try:
        return lines.with_columns(pl.col(name).cast(kind) for name, kind in COLUMNS.items())
    except pl.exceptions.PolarsError as error:
        raise SourceRejected(f"{path}: a column is not of the set's type ({error})") from error


def clean(lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (orders, refunds), one row per invoice: invoice, at (shop's clock), country, pence; print what was dropped, and why."""
    cancelled, value = pl.col("Invoice").str.starts_with("C"), pl.col("Quantity") * pl.col("Price")
    rules = {
        "exact duplicates": ~pl.struct(pl.all()).is_first_distinct(),
        "without invoice number, product, date or country": pl.any_horizontal(
            pl.col("Invoice", "StockCode", "InvoiceDate", "Country").is_null()
        ),
        "bookkeeping (adjustments, bad debt, fees, samples, tests)": pl.col("Invoice").str.starts_with("A")
        | pl.col("StockCode").str.to_uppercase().str.contains(BOOKKEEPING),
        "without a positive price (stock corrections)": ~(pl.col("Price") > 0),
        "with a quantity that contradicts the invoice": pl.when(cancelled).then(pl.col("Quantity") >= 0).otherwise(pl.col("Quantity") <= 0),
    }
    kept = lines
    for reason, rule in rules.items():
        before, kept = kept.height, kept.filter(~rule.fill_null(True))
        print(f"  dropped {before - kept.height:,} lines {reason}")
    invoices = (
        kept.group_by("Invoice", cancelled.alias("is_refund"))
        .agg(
            pl.col("InvoiceDate").min().alias("at"),
            pl.col("Country").first(),
            (value.abs().sum() * 100).round().cast(pl.Int64).alias("pence"),
        )
        .rename({"Invoice": "invoice", "Country": "country"})
        .sort("at", "invoice")
    )
    orders = invoices.filter(~pl.col("is_refund"))
    if not orders.height:
        raise SourceRejected("no orders are left after cleaning; are these the Online Retail invoices?")
    ranked = orders.group_by("country").len().sort(["len", "country"], descending=[True, False])["country"].to_list()
    segment = pl.when(pl.col("country").is_in(ranked[:NAMED_COUNTRIES])).then("country").otherwise(pl.lit("Rest of the world"))
    invoices = invoices.with_columns(country=segment)
    return invoices.filter(~pl.col("is_refund")).drop("is_refund"), invoices.filter("is_refund").drop("is_refund")


def trading_hours(invoices: pl.DataFrame) -> pl.DataFrame:
    """Return every (country, hour on the shop's clock) at which the shop was open.

    An hour without orders inside opening hours is a real zero; nights and days without a single invoice are hours that do not exist.
    With a calendar of your own, use that: it also tells a closed day from a day-long outage.
    """
    days = invoices.select(day=pl.col("at").dt.truncate("1d")).unique()
    hours = invoices["at"].dt.hour()
    opening = pl.DataFrame({"hour": range(hours.min(), hours.max() + 1)}).select(offset=pl.duration(hours=pl.col("hour")))
    grid = days.join(opening, how="cross").select(hour=pl.col("day") + pl.col("offset"))
    return invoices.select("country").unique().join(grid, how="cross").sort("country", "hour")


def to_utc(hour: str) -> pl.Expr:
    """The shop's clock as UTC. No opening hour lies in the night when the clock changes."""
    return (
        pl.col(hour)
        .dt.replace_time_zone(CLOCK, ambiguous="earliest", non_existent="null")
        .dt.convert_time_zone("UTC")
        .cast(pl.Datetime("us", "UTC"))
    )


def to_kpis(invoices: pl.DataFrame, hours: pl.DataFrame, journey: str, step: str, *, earns: bool) -> pl.DataFrame:
    """Return journey_kpis per hour and country. Failed attempts are not in a ledger, so attempts equal successes."""
    counted = invoices.group_by("country", pl.col("at").dt.truncate("1h").alias("hour")).agg(
        pl.len().cast(pl.Int64).alias("n"), pl.col("pence").sum()
    )
    filled = hours.join(counted, on=["country", "hour"], how="left", maintain_order="left").with_columns(pl.col("n", "pence").fill_null(0))
    money = {
        "revenue_minor": pl.col("pence") if earns else pl.lit(None, pl.Int64),
        "currency": pl.lit("GBP") if earns else pl.lit(None, pl.String),
    }
    names = {"journey": journey, "step": step, "region": "", "tier": "", "plan": ""}
    constants = {name: pl.lit(value) for name, value in names.items()}
    return filled.select("country", ts=to_utc("hour"), attempts="n", successes="n", **money, **constants)


def to_points(refunds: pl.DataFrame, hours: pl.DataFrame) -> pl.DataFrame:
    """Return metric_points: the value refunded per hour, as a counter of the service that takes goods back."""
    hourly = refunds.group_by(pl.col("at").dt.truncate("1h").alias("hour")).agg(pl.col("pence").sum())
    filled = hours.select("hour").unique().sort("hour").join(hourly, on="hour", how="left", maintain_order="left")
    names = {
        "service": "returns",
        "environment": "production",
        "region": "",
        "metric": "refunded_gbp",
        "attributes": "",
        "unit": "GBP",
        "kind": "counter",
    }
    return filled.select(
        ts=to_utc("hour"), value=pl.col("pence").fill_null(0) / 100, **{name: pl.lit(value) for name, value in names.items()}
    )


def write_config(home: Path, kpis: pl.DataFrame) -> None:
    """Copy the example's configuration to home/config, with the days the data covers."""
    shutil.copytree(CONFIG, home / "config", dirs_exist_ok=True)
    start, end = kpis["ts"].min().date(), kpis["ts"].max().date() + timedelta(days=1)
    sources = home / "config" / "sources.yml"
    sources.write_text(re.sub(r"history: .*", f'history: {{start: "{start}", end: "{end}"}}', sources.read_text()))


def convert(data: Path, home: Path, seed: int) -> None:
    """Write home/inbox, home/config and home/truth from the invoices in `data`."""
    orders, refunds = clean(read_invoices(data))
    hours = trading_hours(pl.concat([orders, refunds]))
    events = plant(orders, given=data / "drops.json", feed=data.parent / "github_incidents" / "incidents.jsonl", seed=seed)
    taken = pl.concat([orders.clear(), *(event.removed for event in events)])
    kept = orders.join(taken, on="invoice", how="anti", maintain_order="left")
    ledger, status_page, truth = home / "inbox" / "ledger", home / "inbox" / "status_page", home / "truth"
    for folder in (ledger, status_page, truth):
        folder.mkdir(parents=True, exist_ok=True)
    kpis = pl.concat([to_kpis(kept, hours, "checkout", "order", earns=True), to_kpis(refunds, hours, "refunds", "refund", earns=False)])
    kpis.write_parquet(ledger / "journey_kpis.parquet")
    to_points(refunds, hours).write_parquet(ledger / "metric_points.parquet")
    announce(events, status_page)
    (truth / "drops.json").write_text(json.dumps([event.truth() for event in events], indent=1) + "\n", encoding="utf-8")
    write_config(home, kpis)
    lost = f"{taken['pence'].sum() / 100:,.2f}"
    print(f"  {orders.height:,} orders, {refunds.height:,} refunds; {taken.height} orders worth GBP {lost} taken out by planted drops")
    print(f"  {len(events)} incidents -> {home / 'inbox'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with invoices.parquet")
    parser.add_argument("--home", type=Path, required=True, help="AFTERCAST_HOME of this example")
    parser.add_argument("--seed", type=int, default=7, help="which drops are planted")
    chosen = parser.parse_args()
    try:
        convert(chosen.data, chosen.home, chosen.seed)
    except AftercastError as problem:
        sys.exit(f"shop: {problem}")
