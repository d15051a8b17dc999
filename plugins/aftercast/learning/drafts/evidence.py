"""Evidence ids of a draft: each names a mart table and the key of its rows, and every sentence with a number cites one. Pure.

The section "Evidence" of a document is the only place an id is explained, so that a document can be judged by itself, edited or not.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import polars as pl

HEADING = "Evidence"
CITED = re.compile(r"\[(E\d+)\]")
_ENTRY = re.compile(r"^- \[(E\d+)\] `from marts\.(mart_\w+) where (.+)`$")
_TERM = re.compile(r"(\w+) = '((?:[^']|'')*)'(?: and |$)")
_QUOTED = re.compile(r"“[^”]*”")
_END = re.compile(r"(?<=[.!?])\s+(?=\S)")
_TITLE = re.compile(r"^(#{1,6})\s+(.*)$")
_RULE_OF_TABLE = re.compile(r"^[\s|:-]+$")


@dataclass(slots=True)
class Evidence:
    """The ids given so far, in order of their first use."""

    _ids: dict[tuple[str, tuple[tuple[str, str], ...]], str] = field(default_factory=dict)

    def cite(self, table: str, **key: Any) -> str:
        """Return the id of the rows of a mart with these values, in square brackets, e.g. `[E3]`."""
        known = (table, tuple((name, _text(value)) for name, value in key.items()))
        return f"[{self._ids.setdefault(known, f'E{len(self._ids) + 1}')}]"

    def section(self) -> list[str]:
        """Return the lines that explain every id: a query of the published mart, to be pasted behind `aftercast sql`."""
        lines = []
        for (table, key), name in self._ids.items():
            terms = " and ".join(f"{column} = '{value.replace(chr(39), chr(39) * 2)}'" for column, value in key)
            lines.append(f"- [{name}] `from marts.{table} where {terms}`")
        return lines


@dataclass(frozen=True, slots=True)
class Rows:
    """What an id stands for: rows of a mart whose columns, as text, have these values."""

    table: str
    key: tuple[tuple[str, str], ...]


def explained(document: str) -> dict[str, Rows]:
    """Return what the ids of a document stand for, as its section "Evidence" says."""
    found = {}
    for _, line, section in _lines(document):
        entry = _ENTRY.match(line) if section == HEADING else None
        if entry:
            found[entry[1]] = Rows(entry[2], tuple((term[1], term[2].replace("''", "'")) for term in _TERM.finditer(entry[3])))
    return found


def resolve(rows: Rows, marts: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Return the mart rows an id stands for; empty when there are none (any more)."""
    frame = marts.get(rows.table, pl.DataFrame())
    if not rows.key or not {column for column, _ in rows.key} <= set(frame.columns):
        return frame.clear()
    return frame.filter(pl.all_horizontal(pl.col(column).cast(pl.String) == value for column, value in rows.key))


def claims(document: str) -> Iterator[tuple[int, str]]:
    """Yield each sentence or table row that holds a number, with its line. Headings, comments and the evidence itself claim nothing."""
    for number, line, section in _lines(document):
        if section == HEADING or not line.strip() or _TITLE.match(line) or line.strip().startswith("<!--"):
            continue
        whole = line.lstrip().startswith("|") or section == "Timeline"
        for sentence in [line] if whole else sentences(line):
            if re.search(r"\d", CITED.sub("", sentence)):
                yield number, sentence


def problems(document: str, marts: Mapping[str, pl.DataFrame]) -> list[str]:
    """Return what is wrong with the citations of a document, each with its line: numbers without an id, ids that lead nowhere."""
    known = {name: resolve(rows, marts).height for name, rows in explained(document).items()}
    found = [f"line {number}: a number without evidence: {said.strip()}" for number, said in claims(document) if not CITED.search(said)]
    for number, line, section in _lines(document):
        if section != HEADING:
            found += [f"line {number}: [{name}] resolves to no row" for name in CITED.findall(line) if not known.get(name)]
    return found


def sentences(text: str) -> list[str]:
    """Return the sentences of a line; what stands in quotation marks ends none."""
    masked = _QUOTED.sub(lambda one: "“" + "_" * (len(one[0]) - 2) + "”", text)
    cuts = [0, *(match.end() for match in _END.finditer(masked)), len(text)]
    return [text[start:end].strip() for start, end in itertools.pairwise(cuts) if text[start:end].strip()]


def _lines(document: str) -> Iterator[tuple[int, str, str]]:
    """Yield number, text and section (the second-level heading above) of every line below the front matter but heads of tables."""
    lines = document.splitlines()
    end = next((at for at, line in enumerate(lines[1:], start=1) if line.rstrip() == "---"), 0) if lines[:1] == ["---"] else -1
    section = ""
    for number, line in enumerate(lines[end + 1 :], start=end + 2):
        title = _TITLE.match(line)
        section = title[2].strip() if title and len(title[1]) <= 2 else section
        below = lines[number] if number < len(lines) else ""
        is_head = line.lstrip().startswith("|") and "-" in below and _RULE_OF_TABLE.match(below)
        if not is_head and not (line.strip() and _RULE_OF_TABLE.match(line)):
            yield number, line, section


def _text(value: Any) -> str:
    """A key as DuckDB and Polars write it as text."""
    if isinstance(value, datetime):
        raise TypeError("a time is no key: its text depends on who writes it")
    return value.isoformat() if isinstance(value, date) else str(value)
