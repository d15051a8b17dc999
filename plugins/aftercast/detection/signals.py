"""What detection reads of the star, as SQL: the series of a signal row, and the windows nothing may be learned from.

Telemetry series never mix environments, whatever `by` says. Without `steps` a journey signal takes every step; revenue is turned into
major units. A counter bucket that holds fewer samples than usual is missing, not low; so is a ratio without both sides, over zero or over
less than its least volume. A sum per minute is divided by the length of its bucket, or of the journey's when that is longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from aftercast.declarations import SignalRow
from aftercast.window import DAY

PLACES = {"metric": ("environment", "service", "region"), "kpi": ("journey", "step", "region", "tier", "plan", "country")}
SEGMENT = ("region", "tier", "plan", "country")
KPI_COLUMNS = {
    "attempts": "attempts",
    "successes": "successes",
    "revenue_minor": "case when earns then revenue_minor / 100.0 end",
}


MARKED = ("journey", "step", "region", "tier", "plan", "country", "bucket_at", "attempts", "successes", "revenue_minor", "earns")
COUNTED = "intermediate.int_metric_points__counted"


def signal_query(signal: SignalRow, first: datetime | None = None, last: datetime | None = None) -> str:
    """Return SQL over the star with the columns of `series.POINTS`: series_id, signal, subject_kind, subject, environment, region,
    segment, bucket_at, numerator, denominator, value; one row per series and bucket of the signal's grain, in no order.

    Args:
        signal: what is watched.
        first, last: UTC midnights; only the buckets that begin on these days and those between them. Without them: all.
    """
    places = _places(signal)
    subject = "service" if signal.fact == "metric" else "journey"
    segment = [f"case when {place} <> '' then ',{place}=' || {place} else '' end" for place in SEGMENT if place in places]
    grouped = ", ".join([*places, "bucket"])
    table = "star.fct_metric_point" if signal.fact == "metric" else _journeys(signal)
    where, buckets = _only(signal), "true"
    if first is not None and last is not None:
        until = last + DAY
        buckets = f"bucket between {_time(first)} and {_time(until)} - interval 1 microsecond"
        where += f" and bucket_at >= {_time(first)} and bucket_at < {_time(until)}"
        where += f" + interval {signal.grain_minutes} minutes" if spills(signal) else ""
    return f"""
with points as (
    select
        {grouped},
        {_measures(signal)}
    from (
        select *, time_bucket(interval '{signal.grain_minutes} minutes', bucket_at) as bucket
        from {table}
        where {where}
    )
    where {buckets}
    group by {grouped}
)

select
    {_series_id(signal)} as series_id,
    {_text(signal.name)} as signal,
    '{subject}' as subject_kind,
    {subject if subject in places else "'all'"} as subject,
    {"environment" if signal.fact == "metric" else "'production'"} as environment,
    {"region" if "region" in places else "''"} as region,
    {f"coalesce(nullif(ltrim({' || '.join(segment)}, ','), ''), 'all')" if segment else "'all'"} as segment,
    bucket as bucket_at,
    cast(numerator as double) as numerator,
    cast(denominator as double) as denominator,
    cast(value as double) as value
from points
""".strip()


def spills(signal: SignalRow) -> bool:
    """Whether the last bucket that begins on a day holds points of the next one."""
    return 1440 % signal.grain_minutes != 0


def series_query(signal: SignalRow) -> str:
    """Return SQL with the column series_id: every series of a signal, once. It reads no points of metrics, only their counts."""
    table = COUNTED if signal.fact == "metric" else _journeys(signal)
    return f"select distinct {_series_id(signal)} as series_id from {table} where {_only(signal)}"


def marks_query(signal: SignalRow) -> str:
    """Return SQL with one row per day a signal has points on: day (a text), n_points that are read for it, and mark, which changes with
    whatever its points of the day are a function of, and seldom without.

    The points of journeys are few: the mark is a hash of them. Those of metrics are many, and the warehouse knows for every day what they
    were computed from; what is usual of a series is the history's, and matters to a day by the buckets that hold less than that.
    """
    if signal.fact == "kpi":
        marked = [*MARKED, *(["grain_minutes"] if signal.per == "minute" else [])]
        return f"""
select strftime(bucket_at, '%Y-%m-%d') as day, count(*) as n_points, cast(sum(hash({_told(marked)})) as varchar) as mark
from {_journeys(signal)}
where {_only(signal)}
group by day
""".strip()
    short = "kind = 'counter' and n_samples < expected_samples" if signal.value is None or signal.aggregate == "sum" else "false"
    return f"""
select
    counted.day,
    counted.n_points,
    concat_ws(' ', known.fingerprint, known.made_by, counted.short) as mark
from (
    select
        strftime(day_at, '%Y-%m-%d') as day,
        cast(sum(n_buckets) as bigint) as n_points,
        sum(hash({_told(("series_key", "kind", "n_samples"))})) filter (where {short}) as short
    from {COUNTED}
    inner join intermediate.int_metric_points__series using (series_key)
    where {_only(signal)}
    group by day
) as counted
inner join intermediate.int_metric_points__bucketed__days as known on counted.day = known.day
""".strip()


def masks_query() -> str:
    """Return SQL over the star with the columns of `series.MASKS`: one row per incident, and per maintenance and service it was of.

    An incident masks its whole environment, because what it touched is rarely known in full; a maintenance only its services in its region,
    and the whole environment where it names none. A maintenance nobody closed counts for a day at most.
    """
    return """
with maintenance as (
    select incident_id as name, environment, coalesce(region, '') as region, started_at, impact_end_at as ended_at
    from star.fct_incident
    where mode = 'maintenance' and status <> 'cancelled'
)

select 'incident' as kind, incident_id as name, environment, '' as service, '' as region, started_at, impact_end_at as ended_at
from star.fct_incident
where mode <> 'maintenance'
union all
select 'maintenance', maintenance.name, environment, coalesce(services.service, ''), region, started_at, ended_at
from maintenance
left join star.bridge_incident_service as services on maintenance.name = services.incident_id
union all
select
    'maintenance',
    change_id,
    environment,
    coalesce(service, ''),
    coalesce(region, ''),
    started_at,
    coalesce(finished_at, least(started_at + interval 1 day, (select max(as_of) from star.dim_run)))
from star.fct_change
where kind = 'maintenance'
order by all
""".strip()


def _places(signal: SignalRow) -> list[str]:
    return [place for place in PLACES[signal.fact] if place in signal.by or place == "environment"]


def _series_id(signal: SignalRow) -> str:
    parts = [f"case when {place} <> '' then '|{place}=' || {place} else '' end" for place in _places(signal)]
    return " || ".join([_text(signal.name), *parts])


def _journeys(signal: SignalRow) -> str:
    grains = " left join (select journey, grain_minutes from star.dim_journey) using (journey)" if signal.per == "minute" else ""
    return f"star.fct_kpi_point{grains}"


def _only(signal: SignalRow) -> str:
    return _metrics_only(signal) if signal.fact == "metric" else _steps_only(signal)


def _told(columns: Iterable[str]) -> str:
    """A row as one text: the hash of several columns is made of theirs, and what all rows share may cancel out of a sum of those."""
    return f"cast(row({', '.join(columns)}) as varchar)"


def _time(moment: datetime) -> str:
    return f"timestamptz '{moment.isoformat()}'"


def _measures(signal: SignalRow) -> str:
    if signal.value is not None:
        column = "value" if signal.fact == "metric" else KPI_COLUMNS.get(signal.value, signal.value)
        if signal.per == "minute":
            column = f"({column}) / greatest({signal.grain_minutes}, grain_minutes)"
        value = f"{ {'sum': 'sum', 'mean': 'avg', 'max': 'max'}[signal.aggregate] }({column})"
        if signal.fact == "metric" and signal.aggregate == "sum":
            value = _whole(value)
        return f"null as numerator,\n        null as denominator,\n        {value} as value"
    sides = []
    for name in (signal.numerator, signal.denominator):
        assert name is not None  # SignalRow refuses half a ratio
        if signal.fact == "metric":
            sides.append(_whole(f"sum(value) filter (where metric = {_text(name)})"))
        else:
            sides.append(f"sum({KPI_COLUMNS.get(name, name)})")
    numerator, denominator = sides
    ratio = f"({numerator}) / nullif({denominator}, 0)"
    if signal.minimum_volume:
        ratio = f"case when {denominator} >= {signal.minimum_volume!r} then {ratio} end"
    return f"{numerator} as numerator,\n        {denominator} as denominator,\n        {ratio} as value"


def _whole(measure: str) -> str:
    return f"case when not coalesce(bool_or(kind = 'counter' and n_samples < expected_samples), false) then {measure} end"


def _metrics_only(signal: SignalRow) -> str:
    names = [name for name in (signal.value, signal.numerator, signal.denominator) if name is not None]
    return f"metric in ({_texts(names)})"


def _steps_only(signal: SignalRow) -> str:
    return f"step in ({_texts(signal.steps)})" if signal.steps else "true"


def _texts(names: Iterable[str]) -> str:
    return ", ".join(_text(name) for name in dict.fromkeys(names))


def _text(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"
