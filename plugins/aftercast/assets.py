"""The assets DAGs hand to each other, and the pool that keeps the warehouse to one writer. Light: imported at DAG parse."""

from __future__ import annotations

from airflow.sdk import Asset

WRITER_POOL = "warehouse_writer"

MART = Asset(name="published/mart", uri="x-aftercast://published/mart")


def landed(source: str) -> Asset:
    """Return the asset that says a source has landed another window."""
    return Asset(name=f"landing/{source}", uri=f"x-aftercast://landing/{source}")
