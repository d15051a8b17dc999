"""The notice in the place of a report that is withheld: that there is none, why, and what can be read instead. It holds no figure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from aftercast.reporting import page
from aftercast.reporting.letters import Letter, Post
from aftercast.reporting.periods import Cadence
from aftercast.window import Window

LONGEST = 12  # lines of reasons on the page; all are in Airflow's log


@dataclass(frozen=True, slots=True)
class Notice:
    """A withheld report: its period, where its notice lies, and how it is said."""

    label: str
    page: Path
    letter: Letter
    post: Post


def texts(
    cadence: Cadence, period: Window, as_of: datetime, reason: str, last: str | None, *, judged: bool = True, published: bool = True
) -> dict[str, str]:
    """Return the notice as `html`, `md` and `txt`, and its `headline`.

    Args:
        cadence: of the report.
        period: that is withheld.
        as_of: to which the data that failed reaches.
        reason: what failed, a line for each; anything may stand in it.
        last: label of the newest report there is.
        judged: whether there were figures that did not pass; else what makes them failed.
        published: whether an earlier mart is there to read.
    """
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    headline = f"The {cadence.name} report of {cadence.label(period)} is withheld"
    context = {
        "headline": headline,
        "cadence": cadence,
        "words": cadence.words(period),
        "as_of": as_of,
        "lines": lines[:LONGEST],
        "left": max(0, len(lines) - LONGEST),
        "last": last,
        "judged": judged,
        "published": published,
    }
    found = {ending: page.template(f"withheld.{ending}.j2").render(context) for ending in ("html", "md", "txt")}
    return {"headline": headline, **found}
