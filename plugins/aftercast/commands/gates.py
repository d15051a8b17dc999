"""`aftercast quality`: what the gates said of the published mart and of what arrived, and the pages that show every suite."""

from __future__ import annotations

from typing import Annotated

import typer

from aftercast import landing, warehouse
from aftercast.settings import Settings
from aftercast.terminal import out, show

COUNTED = """
select border, severity, count(*) as judged, count(*) filter (where status = 'passed') as passed,
    count(*) filter (where status = 'failed') as failed, count(*) filter (where status = 'not_judged') as not_judged
from marts.mart_quality_results
group by border, severity
order by border, severity
"""
FAILED = """
select border, table_name, source, severity, observed, reason
from marts.mart_quality_results
where status = 'failed'
order by severity = 'critical' desc, border, table_name
"""


def quality(open_it: Annotated[bool, typer.Option("--open", help="Open the pages.")] = False) -> None:
    """Say what the gates found, what waits in quarantine, and write the data docs: a page for every suite."""
    from aftercast import quality as gates

    settings = Settings.from_environment()
    if settings.mart.exists():
        tables = warehouse.query(settings.mart, "select table_name from information_schema.tables where table_schema = 'marts'")
        if "mart_quality_results" in tables["table_name"]:  # an earlier version published none
            show(warehouse.query(settings.mart, COUNTED))
            failed = warehouse.query(settings.mart, FAILED)
            if failed.height:
                show(failed, vertical=True)
    for source in settings.deployment.sources:
        waiting = landing.quarantined(settings, source.name)
        if waiting:
            out.print(
                f"{waiting:,} rows of {source.name} wait in quarantine; correct them or the mapping, then: aftercast replay {source.name}"
            )
    page = gates.data_docs(settings)
    out.print(str(page), soft_wrap=True)
    if open_it:
        typer.launch(str(page))
