"""dbt's `adapter` as sqlfluff needs it: the SQL it lints is what DuckDB runs."""

from __future__ import annotations

from typing import Any

from jinja2 import pass_context


@pass_context
def dispatch(context: Any, name: str, package: str) -> Any:
    """Return the macro as written for DuckDB."""
    return context.resolve(f"duckdb__{name}")


def quote(name: str) -> str:
    """Return a name as DuckDB quotes it."""
    return f'"{name}"'
