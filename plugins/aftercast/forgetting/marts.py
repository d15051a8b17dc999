"""A person in the text of published files: found, and replaced so that no freed block still holds what was there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from aftercast import linking, warehouse
from aftercast.publishing import STORAGE


def holds(file: Path, pattern: str) -> bool:
    """Whether any text of a published file matches a pattern, in whatever case."""
    with warehouse.connect(None) as connection:
        warehouse.attach(connection, file, "published")
        for table, columns in _texts(connection, "published").items():
            line = ", ".join(f"{warehouse.identifier(name)}::varchar" for name, _ in columns)
            sql = f"select count(*) from {table} where regexp_matches(concat_ws(chr(10), {line}), {warehouse.literal(pattern)}, 'i')"
            if warehouse.frame(connection, sql).item():
                return True
    return False


def rewrite(file: Path, replacements: list[tuple[str, str]], words: list[str]) -> None:
    """Write a published file anew with texts replaced (patterns, in whatever case) and words gone from the index of the search.

    Twice copied, so that not even a freed block of the file holds what was replaced. Readers that are open keep what they opened.
    """
    first, second = (file.with_name(f"{linking.BUILDING}{stage}-{file.name}") for stage in ("replaced", "rewritten"))
    mode = file.stat().st_mode
    try:
        with warehouse.connect(None) as connection:
            warehouse.attach(connection, file, "published")
            warehouse.attach(connection, first, "replaced", new_with_storage=STORAGE)
            warehouse.execute(connection, "copy from database published to replaced")
            tables = _texts(connection, "replaced")
            for table, columns in tables.items():
                changes = ", ".join(f"{warehouse.identifier(name)} = {_substituted(name, kind, replacements)}" for name, kind in columns)
                warehouse.execute(connection, f"update {table} set {changes}")
            if words and {"replaced.marts.mart_search_words", "replaced.marts.mart_search_terms"} <= tables.keys():
                gone = f"(select stem from replaced.marts.mart_search_words where word in ({', '.join(map(warehouse.literal, words))}))"
                warehouse.execute(connection, f"delete from replaced.marts.mart_search_terms where stem in {gone}")
                warehouse.execute(connection, f"delete from replaced.marts.mart_search_words where stem in {gone}")
            warehouse.attach(connection, second, "rewritten", new_with_storage=STORAGE)
            warehouse.execute(connection, "copy from database replaced to rewritten")
            warehouse.execute(connection, "checkpoint rewritten")
        second.chmod(mode)
        second.replace(file)
    finally:
        linking.sweep(file.parent)


def _texts(connection: Any, catalogue: str) -> dict[str, list[tuple[str, str]]]:
    """Return the columns of text of each mart table, with their types, by the quoted name of the table."""
    sql = (
        "select table_name, column_name, data_type from duckdb_columns() where schema_name = 'marts' and data_type like 'VARCHAR%' "
        f"and database_name = {warehouse.literal(catalogue)} order by table_name, column_index"
    )
    found: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in warehouse.frame(connection, sql).rows():
        name = table if re.fullmatch(r"[a-z_0-9]+", table) else warehouse.identifier(table)
        found.setdefault(f"{catalogue}.marts.{name}", []).append((column, kind))
    return found


def _substituted(column: str, kind: str, replacements: list[tuple[str, str]]) -> str:
    quoted = warehouse.identifier(column)
    value = "one" if kind == "VARCHAR[]" else quoted
    for pattern, replacement in replacements:
        value = f"regexp_replace({value}, {warehouse.literal(pattern)}, {warehouse.literal(replacement)}, 'gi')"
    return f"list_transform({quoted}, lambda one: {value})" if kind == "VARCHAR[]" else value
