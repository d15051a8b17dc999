"""`aftercast catalogue`: every table and column of the warehouse with its lineage, as one page."""

from __future__ import annotations

from typing import Annotated

import typer

from aftercast.settings import Settings
from aftercast.terminal import out


def catalogue(open_it: Annotated[bool, typer.Option("--open", help="Open the page.")] = False) -> None:
    """Write catalogue/index.html: tables, columns and lineage as dbt documents them; the page inside Airflow links it."""
    from aftercast import transform

    page = transform.catalogue(Settings.from_environment())
    out.print(str(page), soft_wrap=True)
    if open_it:
        typer.launch(str(page))
