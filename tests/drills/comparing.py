"""What must be equal after a recovery: every published table row for row, and every file the refresh is a function of.

Left out is only what is by nature a run's own; `OWN` says what and why.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl

from aftercast import warehouse

# When rows were fetched is told by no mart; it lies in landed files, where a retry fetched them later.
OWN = {"landing": ("ingested_at",)}
FOLDERS = ("landing", "declared", "derived")
UNREAD = (".", "scores", "watched", "found", "examined")  # working files of detection and correlation: what comes of them is compared
Rows = Counter[str]


def rows(frame: pl.DataFrame) -> Rows:
    """Rows as a bag. Sums of floats that DuckDB took in another order differ in their last digits."""
    rounded = frame.with_columns(pl.col(pl.Float64).round_sig_figs(9), pl.col(pl.Float32).round_sig_figs(6))
    return Counter(map(repr, rounded.rows()))


def mart(file: Path) -> dict[str, Rows]:
    """Every table of a published file."""
    with warehouse.connect(file) as connection:
        names = warehouse.frame(connection, "select table_name from information_schema.tables where table_schema = 'marts'")["table_name"]
        return {name: rows(warehouse.frame(connection, f"from marts.{name}")) for name in sorted(names)}


def parquet(folder: Path) -> dict[str, Rows]:
    """Every table of a published folder of Parquet."""
    with warehouse.connect(None) as connection:
        return {path.stem: rows(warehouse.frame(connection, f"from '{path}'")) for path in sorted(folder.glob("*.parquet"))}


def files(home: Path) -> dict[str, Rows]:
    """Every file of landing, declared and derived tables."""
    found = {}
    for place in FOLDERS:
        for path in sorted((home / place).rglob("*.parquet")):
            if not any(part.startswith(".") or part in UNREAD for part in path.relative_to(home).parts):
                frame = pl.read_parquet(path, hive_partitioning=False).drop(OWN.get(place, ()), strict=False)
                found[path.relative_to(home).as_posix()] = rows(frame)
    return found


def differences(wanted: dict[str, Rows], found: dict[str, Rows]) -> list[str]:
    """One line for each table that differs: `except all` in both directions, counted."""
    lines = []
    for name in sorted(wanted.keys() | found.keys()):
        here, there = wanted.get(name), found.get(name)
        if here is None or there is None:
            lines.append(f"{name}: only {'after the recovery' if here is None else 'in the undisturbed run'}")
        elif here != there:
            lines.append(f"{name}: {(here - there).total()} rows missing, {(there - here).total()} rows too many")
    return lines
