"""How tables look on a terminal."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


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
        return ", ".join(map(str, value))
    return str(value).replace("[", r"\[")
