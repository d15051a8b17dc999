"""How a draft words times, shares and what others wrote. Amounts and minutes read as in the weekly report. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from aftercast.learning.drafts.evidence import CITED, sentences
from aftercast.reporting import wording

__all__ = ["at", "cell", "clean", "clock", "quoted", "share", "stated", "wording"]


def clean(text: str | None) -> str:
    """Return a text of others on one line, unable to pass for a citation, a heading or markup."""
    flat = " ".join((text or "").split())
    return CITED.sub(r"(\1)", flat).replace("<", "&lt;").lstrip("#>").strip()


def quoted(text: str | None) -> str:
    """Return a text of others in quotation marks."""
    return f"“{re.sub('[“”]', '’', clean(text)) or '(no title)'}”"


def stated(text: str | None, citation: str) -> str:
    """Return the sentences of a text of others, each with the citation at its end."""
    return " ".join(f"{one.rstrip(' .!?')} {citation}." for one in sentences(clean(text)))


def cell(text: str) -> str:
    """Return a text for a cell of a table."""
    return text.replace("\\|", "|").replace("|", "\\|")


def at(moment: datetime) -> str:
    """Return e.g. `Tue 3 Nov 2026, 18:12 UTC`."""
    utc = moment.astimezone(UTC)
    return f"{utc:%a} {wording.day(utc)} {utc:%Y, %H:%M} UTC"


def clock(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%H:%M}"


def share(value: float | None, digits: int = 0) -> str:
    return wording.percent(value, digits)
