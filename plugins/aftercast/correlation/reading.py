"""What to ask the star for: only the columns correlation reads, points packed by series, KPI points summed over the rest.

Text of queries only; who runs them is `steps`. A year of points as rows with seven names each would not fit into memory; packed they do.
"""

from __future__ import annotations

from collections.abc import Collection

from aftercast.correlation.inputs import PACKED, READ

_POINT = {"bucket_at", "value"}
_SUMMED = {"attempts", "successes", "revenue_minor"}

_NEAR = """select 1
    from star.fct_incident as near
    where not near.exclude_from_metrics and near.environment = events.environment
    and events.bucket >= near.started_at - interval 1 day
    and events.bucket < coalesce(near.impact_end_at, near.started_at) + interval 2 hour"""
"""Events inside spans are by far the most rows; only those of the day before an incident, and until it is over, are compared."""


def query(name: str, table: str, there: Collection[str]) -> str:
    """SQL that reads the frame `name` of `Inputs` from a table of the star with the columns `there`; a column it lacks is left out."""
    wanted = [column for column in READ[name] if column in there]
    if name == "metric_points":
        keys = [column for column in wanted if column not in _POINT | {"kind", "unit"}]
        point = "{'at': epoch_us(bucket_at), 'value': cast(value as float)}"
        told = ", ".join(f"min({column}) as {column}" for column in ("kind", "unit"))
        return f"select {_listed(keys)}, {told}, list({point}) as {PACKED} from {table} where isfinite(value) group by {_listed(keys)}"
    if name == "kpi_points":
        keys = [column for column in wanted if column not in _SUMMED]
        sums = ", ".join(f"cast(sum({column}) as bigint) as {column}" for column in wanted if column in _SUMMED)
        return f"select {_listed(keys)}, {sums} from {table} group by {_listed(keys)}"
    if name == "span_events":
        return f"select {_listed(wanted)} from {table} as events where exists ({_NEAR})"
    return f"select {_listed(wanted)} from {table}"


def _listed(columns: Collection[str]) -> str:
    return ", ".join(columns)
