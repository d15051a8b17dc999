"""`aftercast draft | postmortems`: draft one postmortem now, see which wait for whom, and what people made of the drafts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import polars as pl
import typer

from aftercast import reviewing
from aftercast.errors import ConfigError
from aftercast.settings import Settings
from aftercast.steps import postmortems as steps
from aftercast.terminal import out, show

app = typer.Typer(help="Which postmortems wait for whom, and what people made of the drafts.", invoke_without_command=True)

CALLED = typer.Argument(help="Incident, or file in the folder: INC-1, INC-1.md.")


def draft(
    incident: Annotated[str, typer.Argument(help="Id of an incident, e.g. INC-1.")],
    only_print: Annotated[bool, typer.Option("--print", help="Print it, write nothing.")] = False,
) -> None:
    """Draft the postmortem of an incident from the published mart; what people edited is left alone."""
    if only_print:
        out.print(steps.draft_text(incident), markup=False, soft_wrap=True, end="")
        return
    put = steps.put_draft(incident, datetime.now(UTC))
    words = {
        "written": "written to",
        "unchanged": "nothing new since the one in",
        "beside": "people have edited it, so the newer draft lies beside it in",
        "left": "left alone, people have a file of their own:",
    }
    out.print(f"{incident}: {words[put.outcome]} {put.path}", markup=False, soft_wrap=True)


@app.callback()
def postmortems(context: typer.Context) -> None:
    """List postmortems with their state, age, and the day they are due; the latest first."""
    if context.invoked_subcommand is not None:
        return
    settings, now = Settings.from_environment(), datetime.now(UTC)
    place = settings.postmortems
    there, broken = reviewing.standings(place, settings.deployment.postmortems.due_days, now)
    rows = [
        {
            "incident": one.document.incident_id,
            "title": one.document.front.text("title") or None,
            "severity": one.document.front.text("severity") or None,
            "state": f"{one.document.state} (rejected)" if one.rejected else one.document.state,
            "for": _length((now - one.document.since).total_seconds()) if one.document.since else None,
            "due": _due(one),
            "team": one.document.front.text("assigned") or one.document.front.text("team") or None,
            "file": one.document.name,
            "note": "; ".join(_notes(one)) or None,
        }
        for one in there
    ]
    if rows:
        show(pl.DataFrame(rows, infer_schema_length=None))
        late = sum(one.waiting.overdue is not None for one in there)
        waiting = sum(one.document.state in ("draft", "in review") for one in there)
        out.print(
            f"\n{waiting} wait for review, {late} of them overdue; answer in Airflow under Required Actions (`aftercast up`)",
            soft_wrap=True,
        )
        out.print(f"they lie in {place}; what is kept of earlier versions in {place / '.aftercast'}", markup=False, soft_wrap=True)
    elif not broken:
        out.print(f"no postmortems in {place} yet: drafts come when a mart is published, or `aftercast draft <incident>`", soft_wrap=True)
    for problem in broken:
        out.print(f"cannot be read: {problem}", markup=False, soft_wrap=True)
    if broken:
        raise ConfigError(f"{len(broken)} of {len(broken) + len(rows)} postmortems cannot be read; nothing was written to them")


@app.command()
def diff(
    called: Annotated[str, CALLED],
    older: Annotated[int | None, typer.Option("--from", help="A kept version. Default: the last draft that was put there.")] = None,
    newer: Annotated[int | None, typer.Option("--to", help="A kept version. Default: the file as it is.")] = None,
) -> None:
    """Show what people changed in a draft, or what differs between two kept versions."""
    place = Settings.from_environment().postmortems
    name = reviewing.find(place, called)
    found = reviewing.compare(place, name, older, newer)
    if not found.lines:
        out.print(f"{name}: {found.newer} says what {found.older} says", markup=False, soft_wrap=True)
        return
    out.print(f"{name}: from {found.older} to {found.newer}", markup=False, soft_wrap=True)
    for line in found.lines:
        out.print(line, style={"+": "green", "-": "red", "@": "dim"}.get(line[:1], ""), markup=False, soft_wrap=True)


@app.command()
def versions(called: Annotated[str, CALLED]) -> None:
    """List the kept versions of a postmortem: why each was kept, and how many lines it added and dropped."""
    place = Settings.from_environment().postmortems
    name = reviewing.find(place, called)
    rows = [
        (one.number, one.name.partition(" (")[2].rstrip(")") or one.name, one.added, one.dropped) for one in reviewing.kept(place, name)
    ]
    show(pl.DataFrame(rows, schema=["version", "what", "lines added", "dropped"], orient="row", infer_schema_length=None))
    out.print(f"`aftercast postmortems diff {called} --from N --to M` shows what differs", markup=False, soft_wrap=True)


def _due(one: reviewing.Standing) -> str | None:
    if one.document.state not in ("draft", "in review") or one.waiting.due is None:
        return None
    late = one.waiting.overdue
    return f"{one.waiting.due:%Y-%m-%d}{f', {_length(late.total_seconds())} overdue' if late else ''}"


def _notes(one: reviewing.Standing) -> list[str]:
    said = {"edited by people": one.document.edited, "a newer draft lies beside it": one.document.has_newer}
    return [words for words, is_so in said.items() if is_so]


def _length(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours / 24:.0f} d" if hours >= 48 else f"{hours:.0f} h"
