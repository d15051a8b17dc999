-- One row per objective, part of it and slice of time with attempts.
-- `good_units` of `total_units` count: attempts (occurrences), slices that reached their share (timeslices), or shares (ratio_timeslices).
with counted as (
    select
        parts.slo,
        parts.part,
        parts.journey,
        parts.region,
        parts.weight,
        slos.method,
        slos.slice_target,
        greatest(coalesce(slos.slice_minutes, journeys.grain_minutes), journeys.grain_minutes) as slice_minutes,
        {{ bucket('kpis.bucket_at', 'greatest(coalesce(slos.slice_minutes, journeys.grain_minutes), journeys.grain_minutes)') }}
            as slice_at,
        sum(kpis.successes) as good,
        sum(kpis.attempts) as total
    from {{ ref('stg_slo_parts') }} as parts
    inner join {{ ref('stg_slos') }} as slos
        on parts.slo = slos.slo
    inner join {{ ref('dim_journey') }} as journeys
        on parts.journey = journeys.journey
    inner join {{ ref('fct_kpi_point') }} as kpis
        on
            parts.journey = kpis.journey
            and parts.step in ('', kpis.step)
            and parts.region in ('', kpis.region)
            and parts.tier in ('', kpis.tier)
            and parts.plan in ('', kpis.plan)
            and parts.country in ('', kpis.country)
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9
    having sum(kpis.attempts) > 0
)

select
    slo,
    part,
    journey,
    region,
    weight,
    slice_minutes,
    slice_at,
    slice_at + {{ minutes('cast(slice_minutes as integer)') }} as slice_end_at,
    cast(good as bigint) as good,
    cast(total as bigint) as total,
    case
        when method = 'occurrences' then cast(good as double)
        when method = 'timeslices' then cast(good >= slice_target * total as integer)
        else {{ ratio('good', 'total') }}
    end as good_units,
    case when method = 'occurrences' then cast(total as double) else 1.0 end as total_units
from counted
