"""`aftercast actions` and `aftercast outbox`: what action items lack and need, what went out, and what a person has to settle."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import polars as pl
import typer

from aftercast.acting.outbox import Outbox
from aftercast.acting.outbox import of as outbox_of
from aftercast.errors import ConfigError
from aftercast.settings import Settings
from aftercast.terminal import out, show

app = typer.Typer(help="What went out of the house, what did not, and what a person has to settle.", invoke_without_command=True)

OPEN = """
select action_item_id, title, owner_team, type, status, due_at::date as due, days_overdue::int as days_overdue, url
from marts.mart_action_items where is_open order by days_overdue desc nulls last, due_at nulls last, action_item_id
"""
SHOWN = ("key", "channel", "state", "reference", "attempts", "last_at", "error")


def actions(
    everything: Annotated[bool, typer.Option("--payload", help="Show what would be sent word by word.")] = False,
) -> None:
    """Show which action items are open, overdue or incomplete, and what would be sent for them."""
    from aftercast import warehouse
    from aftercast.steps import actions as steps

    settings = Settings.from_environment()
    items, plan = warehouse.query(settings.mart, OPEN), steps.planned_actions()
    out.print(f"[bold]{items.height} open[/], {items['days_overdue'].count()} of them overdue")
    show(items)
    if plan.incomplete.height:
        out.print(
            f"\n[bold]{plan.incomplete.height} lack something[/] that has to be fixed before they ship; they get no ticket until then"
        )
        show(plan.incomplete)
    if not (settings.deployment.actions.trackers or settings.deployment.actions.channels):
        out.print(f"\nno tracker and no channel is declared in {settings.config / 'actions.yml'}: nothing goes out (docs/actions.md)")
        return
    out.print(f"\n[bold]{len(plan.effects)} to send[/]" + (f", and {plan.waiting} more in later runs" if plan.waiting else ""))
    rows = [(one.kind, one.action_item_id, one.via, "live" if one.is_live else "dry run", one.why) for one in plan.effects]
    if rows:
        show(pl.DataFrame(rows, schema=["what", "action_item_id", "via", "mode", "why"], orient="row"))
    for one in plan.effects if everything else ():
        out.print(f"\n{one.key}", markup=False)
        out.print(json.dumps(dict(one.payload), ensure_ascii=False, indent=2), markup=False, soft_wrap=True)


def line(settings: Settings) -> str | None:
    """Return what a run says of action items and of what left the house for them; None where nothing is declared that could."""
    from aftercast import warehouse

    rules = settings.deployment.actions
    if not (rules.trackers or rules.channels):
        return None
    items = warehouse.query(settings.mart, OPEN)
    sent = Outbox(settings.outbox).rows().filter(pl.col("key").str.starts_with("action/"))["state"].value_counts(sort=True)
    went = ", ".join(f"{number} {state.replace('_', ' ')}" for state, number in sorted(sent.iter_rows())) or "nothing yet"
    return f"{items.height} open, {items['days_overdue'].count()} overdue; to trackers and channels: {went}"


@app.callback()
def outbox(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="Only these: sent, unsure, failed, sending, planned or dry_run.")] = None,
    history: Annotated[bool, typer.Option("--history", help="Every change of state, not the newest only.")] = False,
) -> None:
    """Show what was sent, what is unsure or failed, and why."""
    if context.invoked_subcommand is not None:
        return
    box = outbox_of(Settings.from_environment())
    rows = box.rows()
    if state is not None:
        rows = rows.filter(pl.col("state") == state)
    if rows.is_empty():
        out.print("nothing" + (f" is {state}" if state else " was ever to be sent"))
        return
    if history:
        show(box.history().filter(pl.col("key").is_in(rows["key"].implode())))
        return
    show(rows.select(SHOWN))
    if unsure := rows.filter(pl.col("state") == "unsure")["key"].to_list():
        out.print(f"\n{len(unsure)} unsure: look whether it arrived, then `aftercast outbox settle KEY sent` or `again`", soft_wrap=True)


@app.command()
def settle(
    key: Annotated[str, typer.Argument(help="Key of the delivery.")],
    verdict: Annotated[str, typer.Argument(help="sent: it is there. again: it is not, send it.")],
    reference: Annotated[str | None, typer.Option(help="What the other side calls it.")] = None,
) -> None:
    """Say what became of a delivery whose end is not known."""
    box = outbox_of(Settings.from_environment())
    if verdict == "sent":
        found = box.settle(key, "sent", now=datetime.now(UTC), reference=reference)
    elif verdict == "again":
        found = box.settle(key, "again", now=datetime.now(UTC))
    else:
        raise ConfigError(f"{verdict!r} is no verdict; say `sent` (it is there) or `again` (it is not, send it)")
    out.print(f"{found.key} is {found.state}", markup=False)
