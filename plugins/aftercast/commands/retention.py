"""`aftercast prune`: what is older than it is kept, shown, or deleted as `maintain_warehouse` does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from aftercast import landing
from aftercast.settings import Settings
from aftercast.terminal import out


def prune(
    yes: Annotated[bool, typer.Option("--yes", help="Delete it. Without it, say only what is too old.")] = False,
) -> None:
    """Delete rows older than `keep_days` of their source, and raw pages whose time is over; first shows what would go."""
    settings, now = Settings.from_environment(), datetime.now(UTC)
    found = landing.outdated(settings, now)
    for one in found:
        out.print(str(one), markup=False, soft_wrap=True)
    if not found:
        declared = any(row.keep_days for row in settings.deployment.sources)
        out.print("no row is older than its source keeps it" if declared else "no source has `keep_days`: rows stay for ever")
    if not yes:
        out.print("nothing was changed; `--yes` does it, and deletes raw pages whose time is over", soft_wrap=True)
        return
    from aftercast.steps import extracting

    done = extracting.prune(now)
    out.print(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in done.items()), soft_wrap=True)
    if done["outdated_files"]:
        out.print("`aftercast run` (or the schedule) refreshes the mart without them", soft_wrap=True)
