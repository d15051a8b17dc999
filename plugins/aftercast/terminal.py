"""How tables look on a terminal. Nothing from a mart steers it: control characters are shown, not obeyed."""

from __future__ import annotations

import logging
import re
from decimal import Decimal
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


FORMULA = r"^[\s\x00]*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]"


def plain(text: str) -> str:
    """Return a text in which nothing moves the cursor, colours the screen, or turns what follows around."""
    return STEERING.sub("\N{REPLACEMENT CHARACTER}", text)


class OneLine(logging.Formatter):
    """Log records whose message is one line, whatever words it repeats: nobody writes a line of the log but we."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return super().formatMessage(record).replace("\n", "\N{REPLACEMENT CHARACTER}")

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record))


class Terminal(Console):
    """A console that prints texts plain."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(plain(one) if isinstance(one, str) else one for one in objects), **options)


out = Terminal(highlight=False)
err = Terminal(stderr=True, highlight=False)


def show(frame: pl.DataFrame, *, vertical: bool = False) -> None:
    """Print a frame as a table, or one block per row where a table would not fit the terminal; nulls are shown as –."""
    if frame.is_empty():
        out.print("[dim](no rows)[/]")
        return
    cells = [[_cell(value) for value in row] for row in frame.rows()]
    if vertical or _least_width(frame, cells) > out.width:
        for row in cells:
            block = Table(show_header=False, box=None, pad_edge=False)
            block.add_column(style="dim", no_wrap=True)
            block.add_column(overflow="fold")
            for name, cell in zip(frame.columns, row, strict=True):
                block.add_row(name, cell)
            out.print(block, "")
        return
    table = Table(header_style="bold", box=None, pad_edge=False)
    for name, kind in frame.schema.items():
        wraps = kind == pl.String or isinstance(kind, pl.List)
        table.add_column(name, justify="right" if kind.is_numeric() else "left", no_wrap=not wraps)
    for row in cells:
        table.add_row(*row)
    out.print(table)


def for_spreadsheets(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame for CSV: a text that a spreadsheet would take for a formula begins with an apostrophe, a list is one text."""
    lists = [pl.col(name).cast(pl.List(pl.String)).list.join(", ") for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
    flat = frame.with_columns(lists)
    texts = pl.col(pl.String)
    return flat.with_columns(pl.when(texts.str.contains(FORMULA)).then(pl.lit("'") + texts).otherwise(texts).name.keep())


def _least_width(frame: pl.DataFrame, cells: list[list[str]]) -> int:
    """Return the columns a terminal needs for a table in which texts wrap at words and nothing else wraps."""
    least = 0
    for index, (name, kind) in enumerate(frame.schema.items()):
        column = [row[index] for row in cells]
        if kind == pl.String or isinstance(kind, pl.List):
            longest = max(len(cell) for cell in column)
            word = max((len(part) for cell in column for part in cell.split()), default=0)
            least += max(len(name), word, min(longest, 28)) + 2
        else:
            least += max(len(name), *map(len, column)) + 2
    return least - 2


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, Decimal):
        return f"{value:,.2f}"
    if hasattr(value, "strftime"):
        return str(value.strftime("%Y-%m-%d %H:%M"))
    if isinstance(value, list):
        return plain(", ".join(map(str, value))).replace("[", r"\[")
    return plain(str(value)).replace("[", r"\[")
