"""Loss of drops planted in real revenue: `python -m benchmarks.revenue --data DIR [--json] [--seed N]`.

DIR holds Online Retail's `invoices.parquet` and may hold `drops.json`, [{start, end, country or null, share_removed}]; otherwise drops
are drawn from the seed: one to three days, 15 to 60 % of the orders, all countries or one with an order a day. Orders are taken out one
by one and the money they carried is the truth. The incident that is measured says when and, for one country, where;
`aftercast.measurement.measure` does the rest.

Errors are relative to what the window would have earned, so an estimator that knows nothing of the drop's size is as good as its
expectation. `coverage_pct`: true loss inside the stated 95 % interval. `noticed_30pct_pct`: one-day losses of 30 % that are called
quantified. `placebo_flags_pct`: the same windows with nothing taken out that are called quantified. `stated_over_true_quantified`: what
is stated of all quantified losses over what they were.

Beside it: the library as it comes; the median of the same weekdays; a structural model as in CausalImpact (local level, seven-day season,
control series where only one country is hit); a fixed share of the expectation and a random one; and `floor`, the error that is left to
somebody who knows how many orders were taken and not what they were worth. Nobody reads the floor's number in practice: daily orders
themselves vary, by `order_noise_pct` around a smooth expectation.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from aftercast.measurement import Inputs, measure
from aftercast.version import code_version

DAY = timedelta(days=1)
COUNTRIES_APART = 4
N_DROPS = 120
N_ONE_DAY = 200
WARM_UP = timedelta(days=42)
APART = timedelta(days=9)
PROPHET_WINDOWS = 12
STRUCTURAL_WINDOWS = 24
SEASON = 8
"""Weeks to both sides whose same weekdays make the weekday median."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Orders taken out of [start, end): `share` of those of a country, or of all."""

    start: date
    end: date
    country: str | None
    share: float

    def touches(self, other: Drop) -> bool:
        return self.start < other.end + APART and other.start < self.end + APART


@dataclass(frozen=True, slots=True)
class Estimate:
    """A stated loss with its interval; no interval for estimators that have none."""

    lost: float | None
    low: float | None = None
    high: float | None = None
    flagged: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """A drop, what it took, and what the window would have earned."""

    drop: Drop
    lost: float
    earned: float
    orders: pl.DataFrame
    n_lost: int = 0


def read_orders(folder: Path) -> pl.DataFrame:
    """One row per order: invoice, day, country, revenue; without cancellations, duplicates and lines of no positive price or quantity."""
    lines = pl.read_parquet(folder / "invoices.parquet").unique()
    sales = lines.filter((pl.col("Quantity") > 0) & (pl.col("Price") > 0) & ~pl.col("Invoice").str.starts_with("C"))
    return (
        sales.group_by(invoice="Invoice", day=pl.col("InvoiceDate").dt.date(), country="Country")
        .agg(revenue=(pl.col("Quantity") * pl.col("Price")).sum())
        .sort("invoice", "day", "country")
    )


def plan(orders: pl.DataFrame, seed: int, n: int, *, one_day: bool) -> list[Drop]:
    """Draw drops on open days, from the end of the warm-up on."""
    chance = np.random.default_rng(seed)
    every: list[date] = orders["day"].unique().sort().to_list()
    days = [day for day in every if day >= every[0] + WARM_UP]
    busy = orders.group_by("country").len().sort("len", "country", descending=[True, False])
    countries = busy.filter(pl.col("len") >= orders["day"].n_unique())["country"].to_list()
    drops = []
    for _ in range(n):
        start = days[int(chance.integers(len(days) - 3))]
        length = 1 if one_day else int(chance.integers(1, 4))
        country = None if one_day or not countries or chance.random() < 0.5 else str(chance.choice(countries))
        share = 0.3 if one_day else float(chance.uniform(0.15, 0.6))
        drops.append(Drop(start, start + length * DAY, country, share))
    return drops


def given(folder: Path) -> list[Drop] | None:
    """Drops of `drops.json`, whole days; None when the file is absent."""
    file = folder / "drops.json"
    if not file.exists():
        return None
    found = []
    for row in json.loads(file.read_text(encoding="utf-8")):
        start, end = (datetime.fromisoformat(row[name]) for name in ("start", "end"))
        last = end.date() if end.time() == datetime.min.time() and end > start else end.date() + DAY
        found.append(Drop(start.date(), last, row.get("country"), float(row["share_removed"])))
    return found


def batches(drops: Sequence[Drop]) -> list[list[int]]:
    """Numbers of drops that can be planted together without meeting."""
    found: list[list[int]] = []
    for number, drop in enumerate(drops):
        for batch in found:
            if not any(drop.touches(drops[other]) for other in batch):
                batch.append(number)
                break
        else:
            found.append([number])
    return found


def taken(orders: pl.DataFrame, drop: Drop, seed: int) -> pl.Series:
    """Flags of the orders a drop takes: each with the drop's chance, decided by its invoice."""
    inside = (pl.col("day") >= drop.start) & (pl.col("day") < drop.end)
    if drop.country:
        inside &= pl.col("country") == drop.country
    draw = (pl.col("invoice").hash(seed) % 1_000_003) / 1_000_003
    return orders.select(inside & (draw < drop.share)).to_series()


def _inputs(orders: pl.DataFrame, days: Sequence[date], drops: Sequence[Drop], names: Sequence[str], countries: Sequence[str]) -> Inputs:
    """A journey of one step whose segments are countries; a day without any order has no row, the shop was closed."""
    group = pl.when(pl.col("country").is_in(list(countries))).then("country").otherwise(pl.lit("rest"))
    sold = orders.group_by(pl.col("day"), country=group).agg(orders=pl.len(), revenue=pl.col("revenue").sum())
    grid = pl.DataFrame({"day": days}).join(pl.DataFrame({"country": [*countries, "rest"]}), how="cross")
    points = grid.join(sold, on=["day", "country"], how="left").select(
        pl.lit("shop").alias("journey"),
        pl.lit("order").alias("step"),
        pl.concat_str(pl.lit("region="), "country").alias("segment"),
        pl.col("country").alias("region"),
        *(pl.lit("").alias(name) for name in ("tier", "plan", "country")),
        pl.col("day").cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("bucket_at"),
        pl.col("orders").fill_null(0).cast(pl.Int64).alias("attempts"),
        pl.col("orders").fill_null(0).cast(pl.Int64).alias("successes"),
        (pl.col("revenue").fill_null(0.0) * 100).round().cast(pl.Int64).alias("revenue_minor"),
        pl.lit("GBP").alias("currency"),
    )
    incidents = pl.DataFrame(
        [
            {
                "incident_id": name,
                "region": (drop.country if drop.country in countries else "rest") if drop.country else "",
                "started_at": _midnight(drop.start),
                "impact_end_at": _midnight(drop.end),
            }
            for name, drop in zip(names, drops, strict=True)
        ]
    )
    return Inputs(
        incidents=incidents,
        incident_services=pl.DataFrame({"incident_id": names, "service": ["shop"] * len(names)}),
        kpi_points=points,
        journeys=pl.DataFrame({"journey": ["shop"], "currency": ["GBP"], "grain_minutes": [1440]}),
        journey_services=pl.DataFrame({"journey": ["shop"], "step": ["order"], "position": [0], "service": ["shop"], "earns": [True]}),
    )


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def estimate(orders: pl.DataFrame, drops: Sequence[Drop], seed: int, *, plant: bool) -> list[tuple[Case, Estimate]]:
    """Measure every drop; together with the others of its batch, apart from all else. `plant=False` takes nothing out."""
    busiest = orders.group_by("country").len().sort("len", "country", descending=[True, False])["country"].to_list()[:COUNTRIES_APART]
    countries = sorted({*busiest, *(drop.country for drop in drops if drop.country)})
    days = orders["day"].unique().sort().to_list()
    as_of = _midnight(days[-1]) + DAY
    found: dict[int, tuple[Case, Estimate]] = {}
    for batch in batches(drops):
        gone = {number: taken(orders, drops[number], seed + number) for number in batch}
        removed = pl.Series([False] * orders.height)
        for flags in gone.values():
            removed |= flags
        left = orders.filter(~removed) if plant else orders
        names = [f"drop-{number:04d}" for number in batch]
        measured = measure(_inputs(left, days, [drops[number] for number in batch], names, countries), as_of)
        rows = {row["incident_id"]: row for row in measured.incident_loss.iter_rows(named=True)}
        for number, name in zip(batch, names, strict=True):
            row, drop = rows[name], drops[number]
            lost = float(orders.filter(gone[number])["revenue"].sum()) if plant else 0.0
            taken_away = int(gone[number].sum()) if plant else 0
            case = Case(drop, lost, float(_inside(orders, drop)["revenue"].sum()), left, taken_away)
            found[number] = (
                case,
                Estimate(row["lost_revenue"], row["lost_revenue_low"], row["lost_revenue_high"], row["status"] == "quantified"),
            )
    return [found[number] for number in range(len(drops))]


def _inside(orders: pl.DataFrame, drop: Drop) -> pl.DataFrame:
    own = orders.filter((pl.col("day") >= drop.start) & (pl.col("day") < drop.end))
    return own.filter(pl.col("country") == drop.country) if drop.country else own


def _daily(case: Case) -> dict[date, float]:
    own = case.orders.filter(pl.col("country") == case.drop.country) if case.drop.country else case.orders
    return dict(own.group_by("day").agg(pl.col("revenue").sum()).iter_rows())


def weekday_median(case: Case) -> Estimate:
    """Median of the same weekdays around; its interval from how it misses other days."""
    daily = _daily(case)
    open_days = set(case.orders["day"])

    def expected(day: date) -> float | None:
        near = [day + 7 * DAY * week for week in range(-SEASON, SEASON + 1) if week]
        values = [daily.get(other, 0.0) for other in near if other in open_days and not case.drop.start <= other < case.drop.end]
        return float(np.median(values)) if values else None

    window = [case.drop.start + DAY * number for number in range((case.drop.end - case.drop.start).days)]
    due = [expected(day) or 0.0 for day in window if day in open_days]
    actual = sum(daily.get(day, 0.0) for day in window)
    misses = []
    for day in sorted(open_days):
        usual = expected(day)
        if usual and not case.drop.start <= day < case.drop.end:
            misses.append(daily.get(day, 0.0) / usual - 1)
    spread = np.quantile(misses, [0.025, 0.975]) / np.sqrt(max(len(due), 1))
    total = sum(due)
    return Estimate(total - actual, total * (1 + spread[0]) - actual, total * (1 + spread[1]) - actual, total * (1 + spread[0]) > actual)


def plain_prophet(case: Case) -> Estimate:
    """The library as it comes, fitted on the other days, with its own 95 % interval per day."""
    import pandas as pd
    from prophet import Prophet

    logging.getLogger("cmdstanpy").setLevel(logging.ERROR)
    daily = _daily(case)
    series = [(day, daily.get(day, 0.0)) for day in sorted(set(case.orders["day"]))]
    inside = [day for day, _ in series if case.drop.start <= day < case.drop.end]
    history = [(day, value) for day, value in series if not case.drop.start <= day < case.drop.end]
    model = Prophet(interval_width=0.95, daily_seasonality=False)
    np.random.seed(0)
    model.fit(pd.DataFrame(history, columns=["ds", "y"]).assign(ds=lambda frame: pd.to_datetime(frame["ds"])))
    ahead = model.predict(pd.DataFrame({"ds": pd.to_datetime(pd.Series(inside))}))
    due = float(ahead["yhat"].sum())
    half = np.sqrt(float((((ahead["yhat_upper"] - ahead["yhat_lower"]) / 2) ** 2).sum()))
    actual = sum(daily.get(day, 0.0) for day in inside)
    return Estimate(due - actual, due - half - actual, due + half - actual, due - half > actual)


def structural(case: Case) -> Estimate:
    """A structural series of the logarithm, fitted before the window, with the rest of the shop as control where one country is hit."""
    from statsmodels.tsa.statespace.structural import UnobservedComponents

    daily, everyday = _daily(case), sorted(set(case.orders["day"]))
    before = [day for day in everyday if day < case.drop.start]
    inside = [day for day in everyday if case.drop.start <= day < case.drop.end]
    control = None
    if case.drop.country:
        others = case.orders.filter(pl.col("country") != case.drop.country).group_by("day").agg(pl.col("revenue").sum())
        control = np.log1p([dict(others.iter_rows()).get(day, 0.0) for day in before + inside])[:, None]
    least = 1.0
    values = np.log(np.array([daily.get(day, 0.0) for day in before]) + least)
    open_days = max(round(7 * len(everyday) / max((everyday[-1] - everyday[0]).days, 1)), 2)
    model = UnobservedComponents(values, level="local level", seasonal=open_days, exog=None if control is None else control[: len(before)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = model.fit(disp=False, maxiter=200)
        drawn = fitted.simulate(
            len(inside),
            repetitions=400,
            anchor="end",
            rng=np.random.default_rng(0),
            exog=None if control is None else control[len(before) :],
        )
    paths = np.exp(np.asarray(drawn).reshape(len(inside), -1)).sum(axis=0) - least * len(inside)
    actual = sum(daily.get(day, 0.0) for day in inside)
    low, middle, high = np.quantile(paths, [0.025, 0.5, 0.975]) - actual
    return Estimate(float(middle), float(low), float(high), bool(low > 0))


def known_count(case: Case, orders: pl.DataFrame) -> Estimate:
    """Floor: the orders taken are counted by somebody who saw them, and valued at the mean of all other days."""
    own = orders.filter(pl.col("country") == case.drop.country) if case.drop.country else orders
    elsewhere = own.filter((pl.col("day") < case.drop.start) | (pl.col("day") >= case.drop.end))
    return Estimate(case.n_lost * float(elsewhere["revenue"].to_numpy().mean()))


def order_noise(orders: pl.DataFrame) -> float:
    """Half the width of the middle 68 % of daily orders around their weekday and the level of the days around, percent."""
    daily = orders.group_by("day").len().sort("day")
    log, days = np.log(daily["len"].to_numpy().astype(float)), daily["day"].to_physical().to_numpy()
    weekday = days % 7
    near = np.exp(-np.abs(days[:, None] - days[None, :]) / 3.0)
    np.fill_diagonal(near, 0.0)
    effect = np.zeros(7)
    for _ in range(5):
        level = near @ (log - effect[weekday]) / near.sum(axis=1)
        for number in range(7):
            if (weekday == number).any():
                effect[number] = (log - level)[weekday == number].mean()
    low, high = np.quantile(np.exp(log - level - effect[weekday]), [0.16, 0.84])
    return round(100 * float(high - low) / 2, 1)


def score(found: Sequence[tuple[Case, Estimate]]) -> dict[str, float | int | None]:
    """Median error in percent of what the window would have earned, and coverage in percent."""
    known = [(case, said) for case, said in found if said.lost is not None and case.earned > 0]
    errors = [abs(float(said.lost or 0.0) - case.lost) / case.earned for case, said in known]
    ranged = [(case, said) for case, said in known if said.low is not None and said.high is not None]
    inside = [float(said.low or 0.0) <= case.lost <= float(said.high or 0.0) for case, said in ranged]
    return {
        "median_error_pct": round(100 * float(np.median(errors)), 1) if errors else None,
        "coverage_pct": round(100 * float(np.mean(inside)), 1) if inside else None,
        "n": len(known),
    }


def flags(found: Sequence[tuple[Case, Estimate]]) -> float:
    return round(100 * float(np.mean([said.flagged for _, said in found])), 1)


def _spread(n: int, most: int) -> list[int]:
    """Some numbers below n, evenly apart."""
    return sorted({int(number) for number in np.linspace(0, n - 1, min(n, most))}) if n else []


def _structural_flags(found: Sequence[tuple[Case, Estimate]]) -> list[tuple[Case, Estimate]]:
    return [(found[number][0], structural(found[number][0])) for number in _spread(len(found), STRUCTURAL_WINDOWS)]


def run(folder: Path, seed: int) -> dict[str, Any]:
    """Return the benchmark's JSON object."""
    began = time.perf_counter()
    orders = read_orders(folder)
    prescribed = given(folder)
    drops = prescribed if prescribed is not None else plan(orders, seed, N_DROPS, one_day=False)
    drops = [drop for drop in drops if _inside(orders, drop).height]
    ours = estimate(orders, drops, seed, plant=True)
    one_day = plan(orders, seed + 1, N_ONE_DAY, one_day=True)
    noticed, placebo = estimate(orders, one_day, seed, plant=True), estimate(orders, one_day, seed, plant=False)
    cases = [case for case, _ in ours]
    per_country = dict(orders.group_by("country").len().iter_rows())
    large = {country for country, count in per_country.items() if count >= 10 * orders["day"].n_unique()}
    chance = np.random.default_rng(seed)
    medians = [(case, weekday_median(case)) for case in cases]
    few = [number for number, case in enumerate(cases)][:PROPHET_WINDOWS]
    library = [(cases[number], plain_prophet(cases[number])) for number in few]
    due = [float(said.lost or 0.0) + sum(_inside(case.orders, case.drop)["revenue"]) for case, said in medians]
    static = [(case, Estimate(0.375 * total)) for case, total in zip(cases, due, strict=True)]
    random = [(case, Estimate(float(chance.uniform(0, 1)) * total)) for case, total in zip(cases, due, strict=True)]
    peers = [(cases[number], structural(cases[number])) for number in _spread(len(cases), STRUCTURAL_WINDOWS)]
    sure = [(case, estimated) for case, estimated in [*ours, *noticed] if estimated.flagged and case.lost > 0]
    said = [(case.lost, estimated.lost) for case, estimated in ours if estimated.lost is not None and case.lost > 0]
    return {
        **score(ours),
        "noticed_30pct_pct": flags(noticed),
        "placebo_flags_pct": flags(placebo),
        "n_one_day": len(one_day),
        "unknown": sum(estimated.lost is None for _, estimated in ours),
        "median_error_of_loss_pct": round(100 * float(np.median([abs(guess - true) / true for true, guess in said])), 1) if said else None,
        "total_stated_over_true": round(sum(guess for _, guess in said) / sum(true for true, _ in said), 3) if said else None,
        "stated_over_true_quantified": round(sum(e.lost or 0.0 for _, e in sure) / sum(c.lost for c, _ in sure), 3) if sure else None,
        "order_noise_pct": order_noise(orders),
        "floor": {
            name: score([(case, known_count(case, orders)) for case in chosen])
            for name, chosen in {
                "all": cases,
                "all countries": [case for case in cases if not case.drop.country],
                "one country": [case for case in cases if case.drop.country],
            }.items()
        },
        "baselines": {
            "weekday_median": {
                **score(medians),
                "noticed_30pct_pct": flags([(case, weekday_median(case)) for case, _ in noticed]),
                "placebo_flags_pct": flags([(case, weekday_median(case)) for case, _ in placebo]),
            },
            "plain_prophet": score(library),
            "structural": {**score(peers), "noticed_30pct_pct": flags(shown := _structural_flags(noticed)), "n_one_day": len(shown)},
            "structural_placebo": {"placebo_flags_pct": flags(_structural_flags(placebo))},
            "ours_on_the_structural_windows": score([ours[number] for number in _spread(len(cases), STRUCTURAL_WINDOWS)]),
            "ours_on_the_prophet_windows": score([ours[number] for number in few]),
            "static_prior": score(static),
            "random": score(random),
        },
        "by_scope": {
            "all countries": score([pair for pair in ours if not pair[0].drop.country]),
            "one country": score([pair for pair in ours if pair[0].drop.country]),
            "one country, ten orders a day or more": score([pair for pair in ours if pair[0].drop.country in large]),
        },
        "drops": "drops.json" if prescribed is not None else f"seed {seed}",
        "seconds": round(time.perf_counter() - began, 1),
        "version": code_version(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with invoices.parquet")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    if not (arguments.data / "invoices.parquet").exists():
        sys.stderr.write(f"{arguments.data / 'invoices.parquet'} does not exist; --data names the folder of Online Retail\n")
        return 2
    result = run(arguments.data, arguments.seed)
    if arguments.json:
        print(json.dumps(result))
        return 0
    print(f"{'':<46}{'error %':>9}{'coverage %':>12}{'noticed %':>11}{'placebo %':>11}{'n':>6}")
    scopes = {f"ours, {scope}": row for scope, row in result["by_scope"].items()}
    floors = {f"floor, {scope}": row for scope, row in result["floor"].items()}
    for name, row in {"ours": result, **scopes, **result["baselines"], **floors}.items():
        cells = [row.get(key) for key in ("median_error_pct", "coverage_pct", "noticed_30pct_pct", "placebo_flags_pct", "n")]
        widths = (9, 12, 11, 11, 6)
        print(f"{name:<46}" + "".join(f"{'-' if cell is None else cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))
    print(f"\nstated over true loss {result['total_stated_over_true']}, of quantified ones {result['stated_over_true_quantified']}")
    print(f"daily orders vary by {result['order_noise_pct']} % around a smooth expectation; drops: {result['drops']}")
    print(f"{result['seconds']} s, version {result['version']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
