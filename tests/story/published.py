"""What a mart holds, for comparing two of them row for row."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from aftercast import warehouse


def rows_of(mart: Path) -> dict[str, Counter[str]]:
    """Return every table of a published mart with its rows, in no order."""
    names = warehouse.query(mart, "select table_name from information_schema.tables where table_schema = 'marts' order by 1")
    return {name: Counter(map(repr, warehouse.query(mart, f"from marts.{name}").rows())) for name in names["table_name"]}
