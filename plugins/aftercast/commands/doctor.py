"""`aftercast doctor`: what may be wrong, and what to do about it."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from aftercast import diagnosis
from aftercast.settings import Settings
from aftercast.terminal import out

MARKS = {"good": "[green]✓[/]", "warning": "[yellow]![/]", "bad": "[red]✗[/]"}


def doctor() -> None:
    """Look at configuration, disk, key, warehouse, mart, sources and connections, and say what to do; nothing is changed."""
    found = []
    for one in diagnosis.diagnose(Settings.from_environment(), datetime.now(UTC)):
        found.append(one)
        out.print(f"{MARKS[one.verdict]} [bold]{one.subject}[/] ", end="")
        out.print(one.said, markup=False, soft_wrap=True)
        if one.advice:
            out.print(f"    {one.advice}", style="dim", markup=False, soft_wrap=True)
    bad, warnings = (sum(one.verdict == verdict for one in found) for verdict in ("bad", "warning"))
    out.print(f"\n{len(found)} looked at: {bad} bad, {warnings} to know of")
    if bad:
        raise typer.Exit(1)
