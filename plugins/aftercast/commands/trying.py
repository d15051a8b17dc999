"""`aftercast build` and `aftercast series`: try one model, or see what a signal would watch, without a whole run.

Both use the local warehouse as the last refresh left it. Readers of the published mart see nothing of it.
"""

from __future__ import annotations

import time
from typing import Annotated

import polars as pl
import typer

from aftercast import warehouse
from aftercast.declarations import nearest
from aftercast.errors import ConfigError
from aftercast.settings import Settings
from aftercast.terminal import out, show

MOST_SERIES = 20


def build(
    models: Annotated[list[str], typer.Argument(help="Names of dbt models.")],
    rows: Annotated[int, typer.Option(help="How many rows of each to show.")] = 5,
) -> None:
    """Build models in the local warehouse from what is there, run their tests, and show their first rows."""
    from aftercast import transform

    settings = Settings.from_environment()
    known = transform.models()
    for name in models:
        if name not in known:
            raise ConfigError(f"no model {name!r} below {transform.DBT_PROJECT / 'models'}{nearest(name, known, 0)}")
    if not settings.warehouse.exists():
        raise ConfigError(f"{settings.warehouse} does not exist yet; `aftercast run` builds it, then one model takes seconds")
    began = time.perf_counter()
    built = transform.build_models(settings, models)
    for model in built.models:
        table = f"{warehouse.identifier(model.schema)}.{warehouse.identifier(model.name)}"
        with warehouse.connect(settings.warehouse) as connection:
            count = warehouse.frame(connection, f"select count(*) from {table}").item()
            first = warehouse.frame(connection, f"from {table} limit {max(rows, 0)}")
        out.print(f"[bold]{model.schema}.{model.name}[/] {count:,} rows, {len(first.columns)} columns")
        show(first)
    out.print(f"\n{built.passed - len(built.models)} tests passed; {time.perf_counter() - began:.1f} s", highlight=False)


def series(
    signal: Annotated[str | None, typer.Argument(help="A signal of signals.yml. Default: all.")] = None,
) -> None:
    """Show which series signals watch in the local warehouse: how many, since when, and how many points they have."""
    from aftercast import detection

    settings = Settings.from_environment()
    known = {row.name: row for row in settings.deployment.signals}
    if signal is not None and signal not in known:
        raise ConfigError(f"no signal {signal!r} in {settings.config / 'signals.yml'}{nearest(signal, known)}")
    found = []
    with warehouse.connect(settings.warehouse) as connection:
        for name, row in known.items():
            if signal in (None, name):
                sql = f"""
                    select '{name}' as signal, series_id, count(*) as points_n, min(bucket_at) as first_at, max(bucket_at) as last_at
                    from ({detection.signal_query(row)}) group by series_id order by points_n desc, series_id
                """
                found.append(warehouse.frame(connection, sql))
    every = pl.concat(found) if found else pl.DataFrame()
    if every.is_empty():
        what = f"signal {signal!r} watches" if signal else "the signals watch"
        out.print(f"{what} no series: nothing in the warehouse fits; see the `fact` and `by` of the row, and `aftercast status`")
        return
    if signal is None:
        show(
            every.group_by("signal", maintain_order=True).agg(
                pl.len().alias("series_n"),
                pl.col("points_n").median().cast(pl.Int64).alias("points_median"),
                pl.col("first_at").min(),
                pl.col("last_at").max(),
            )
        )
        return
    show(every.drop("signal").head(MOST_SERIES))
    more = f" (the {MOST_SERIES} longest are shown)" if every.height > MOST_SERIES else ""
    out.print(f"\n{every.height} series{more}")
