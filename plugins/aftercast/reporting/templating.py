"""Templates of pages: strict, escaping, in the words and marks of reports. A room gives its folder and what it says otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from aftercast.reporting import marks, wording


def environment(folder: Path, **filters: Callable[..., Any]) -> Environment:
    """Return an environment that escapes whatever is put into its templates, with the filters of reports and others beside or instead."""
    made = Environment(
        loader=FileSystemLoader(folder),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        money=wording.money,
        amount=wording.amount,
        percent=wording.percent,
        minutes=wording.minutes,
        day=wording.day,
        day_and_time=wording.day_and_time,
    )
    made.filters.update(filters)
    made.globals.update(span=wording.span, count=wording.count, listing=wording.listing, marks=marks)
    return made
