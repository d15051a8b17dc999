"""`aftercast advise` and `aftercast runbooks`: what to do about an incident and why not more, and what the runbooks are worth."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import polars as pl
import typer

from aftercast.acting import responding
from aftercast.errors import ConfigError
from aftercast.learning.guardrails import ONLY_ASK
from aftercast.settings import Settings
from aftercast.terminal import out, show

app = typer.Typer(no_args_is_help=True, help="Runbooks: what is declared, how it did, what is missing.")

LEVELS = {0: "observe", 1: "recommend", 2: "act after approval", 3: "act without being asked"}
WOULD = {"observe": "only observed", "recommend": "recommended, nothing done", "ask": "done once a person approves", "act": "done"}


def advise(incident: Annotated[str, typer.Argument(help="Id of an incident.")]) -> None:
    """Say who likely owns an incident, which runbook fits, what is recommended, and what would happen or what stands in its way."""
    settings = Settings.from_environment()
    plan = responding.advice_on(settings, incident, datetime.now(UTC))
    dry = settings.deployment.automation.dry_run
    out.print(responding.words(plan), markup=False, soft_wrap=True)
    place = (
        f"class {plan.class_name}, level {plan.level} ({LEVELS[plan.level]})"
        if plan.class_name
        else "no class of automation.yml fits: level 0"
    )
    out.print(
        f"\n{place}; now it would be {WOULD[plan.outcome]}{' (dry run: nothing is sent)' if dry else ''}", markup=False, soft_wrap=True
    )
    for one in plan.guardrails:
        mark = "[green]holds[/]    " if one.passed else "[yellow]must ask[/] " if one.name in ONLY_ASK else "[red]stops it[/] "
        out.print(f"  {mark} {one.name:<19}", one.why.replace("[", r"\["), soft_wrap=True)
    if plan.rollback:
        out.print(f"  undone by: {plan.rollback}", markup=False, soft_wrap=True)


@app.command("list")
def list_runbooks() -> None:
    """List runbooks with how often their action ended the incidents they fit, and what people should write or change."""
    settings, now = Settings.from_environment(), datetime.now(UTC)
    if not settings.deployment.runbooks:
        out.print(f"no runbook is declared; write one into {settings.config / 'catalog' / 'runbooks'} (docs/responding.md)", soft_wrap=True)
        return
    rows = [
        {
            "runbook": book.id,
            "version": f"{book.version} ({book.digest})",
            "for": ", ".join((*book.causes, *book.families, *book.services)),
            "owner": book.owner_team,
            "action": book.action.do.action if book.action and book.action.do else None,
            "ended": str(record),
        }
        for book, record in responding.records_of(settings, now)
    ]
    show(pl.DataFrame(rows))
    for one in responding.suggested(settings, now):
        out.print(f"{one.runbook_id or 'missing'}: {one.text}", markup=False, soft_wrap=True)


@app.command()
def check() -> None:
    """Read every runbook, and ask whether the published mart has what their checks ask."""
    settings = Settings.from_environment()
    books = settings.deployment.runbooks
    out.print(
        f"{len(books)} runbooks, {sum(len(book.steps) for book in books)} steps read: {', '.join(book.id for book in books)}",
        soft_wrap=True,
    )
    if not settings.mart.exists():
        out.print("nothing is published yet, so the columns their checks ask were not looked for")
        return
    found = responding.unknown_columns(settings, datetime.now(UTC))
    if found:
        raise ConfigError("\n".join(found))
    out.print("every check asks a column that the published mart has")
