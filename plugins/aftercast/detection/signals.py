"""What detection reads of the star, as SQL: the series of a signal row, and the windows nothing may be learned from.

Telemetry series never mix environments, whatever `by` says. Without `steps` a journey signal takes every step; revenue is turned into
major units. A counter bucket that holds fewer samples than usual is missing, not low; so is a ratio without both sides, over zero or over
less than its least volume. A sum per minute is divided by the length of its bucket, or of the journey's when that is longer.
"""

from __future__ import annotations

from collections.abc import Iterable

from aftercast.declarations import SignalRow

PLACES = {"metric": ("environment", "service", "region"), "kpi": ("journey", "step", "region", "tier", "plan", "country")}
SEGMENT = ("region", "tier", "plan", "country")
KPI_COLUMNS = {
    "attempts": "attempts",
    "successes": "successes",
    "revenue_minor": "case when earns then revenue_minor / 100.0 end",
}


def signal_query(signal: SignalRow) -> str:
    """Return SQL over the star with the columns of `series.POINTS`: series_id, signal, subject_kind, subject, environment, region,
    segment, bucket_at, numerator, denominator, value; one row per series and bucket of the signal's grain, in no order.
    """
    places = [place for place in PLACES[signal.fact] if place in signal.by or place == "environment"]
    subject = "service" if signal.fact == "metric" else "journey"
    parts = [f"case when {place} <> '' then '|{place}=' || {place} else '' end" for place in places]
    segment = [f"case when {place} <> '' then ',{place}=' || {place} else '' end" for place in SEGMENT if place in places]
    grouped = ", ".join([*places, "bucket"])
    table, where = (
        ("star.fct_metric_point", _metrics_only(signal)) if signal.fact == "metric" else ("star.fct_kpi_point", _steps_only(signal))
    )
    if signal.per == "minute":
        table += " left join (select journey, grain_minutes from star.dim_journey) using (journey)"
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
    group by {grouped}
)

select
    {" || ".join([_text(signal.name), *parts])} as series_id,
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
