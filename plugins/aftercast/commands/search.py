"""`aftercast search`: incidents, postmortems, insights, runbooks, action items and recommendations that hold some words."""

from __future__ import annotations

from typing import Annotated

import typer

from aftercast import searching
from aftercast.settings import Settings
from aftercast.terminal import out


def search(
    words: Annotated[list[str], typer.Argument(help="Words; a document need not hold all of them, those that do come first.")],
    kind: Annotated[list[str] | None, typer.Option(help=f"Only this kind ({', '.join(searching.KINDS)}); may be repeated.")] = None,
    service: Annotated[str | None, typer.Option(help="Only what is about this service.")] = None,
    family: Annotated[str | None, typer.Option(help="Only what belongs to this family of incidents, e.g. family-8567c0d713.")] = None,
    cause: Annotated[
        str | None, typer.Option(help="Only incidents with this confirmed cause or top candidate, and what belongs to them.")
    ] = None,
    page: Annotated[int, typer.Option(help="Page, from 1.")] = 1,
    size: Annotated[int, typer.Option(help="Documents on a page.")] = 10,
) -> None:
    """Search what is published; what holds more of the words comes first, then what matters more."""
    asked = " ".join(words)
    found = searching.search(
        Settings.from_environment().mart, asked, kinds=kind or (), service=service, family=family, candidate=cause, page=page, size=size
    )
    if not found.total:
        out.print(
            f"nothing published holds {asked!r}" + (" with these filters" if kind or service or family or cause else ""), markup=False
        )
        return
    for hit in found.hits:
        when = f"{hit.occurred_at:%d %b %Y}" if hit.occurred_at else ""
        facts = " · ".join(part for part in (hit.kind.replace("_", " "), hit.entity_id, hit.service, hit.severity, when) if part)
        out.print(f"{hit.position:>3}  ", end="")
        out.print(hit.title, style="bold", markup=False, soft_wrap=True)
        out.print(f"     {facts}", style="dim", markup=False, soft_wrap=True)
        if hit.excerpt and hit.excerpt != hit.title:
            out.print(f"     {hit.excerpt}", markup=False, soft_wrap=True)
    shown = f"{found.hits[0].position} to {found.hits[-1].position}" if found.hits else "none"
    more = f"; --page {page + 1} shows more" if page < found.pages else ""
    out.print(f"\n[dim]{found.total} found, page {page} of {found.pages} ({shown}){more}[/]")
