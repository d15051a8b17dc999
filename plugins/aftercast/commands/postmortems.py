"""`aftercast draft | postmortems`: draft one postmortem now, and see which wait for whom."""

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


def postmortems() -> None:
    """List postmortems with their state, age, and the day they are due; the latest first."""
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
