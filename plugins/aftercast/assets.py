"""The vocabulary DAGs share: the assets they hand to each other, the one-slot writer pool, and which failures a retry cannot heal.

Light, because it is imported at DAG parse.
"""

from __future__ import annotations

from airflow.sdk import Asset, ExceptionRetryPolicy, RetryAction, RetryRule

from aftercast.errors import ConfigError, LandingError, QualityError, ReviewConflict, SourceRejected

WRITER_POOL = "warehouse_writer"

MART = Asset(name="published/mart", uri="x-aftercast://published/mart")

NO_RETRY_WHEN_REFUSED = ExceptionRetryPolicy(
    rules=[
        RetryRule(exception=kind, action=RetryAction.FAIL)
        for kind in (ConfigError, LandingError, QualityError, ReviewConflict, SourceRejected)
    ]
)


def landed(source: str) -> Asset:
    """Return the asset that says a source has landed another window."""
    return Asset(name=f"landing/{source}", uri=f"x-aftercast://landing/{source}")
