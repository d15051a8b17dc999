-- One row per incident and objective its journeys touch: what of the error budget went while it lasted.
-- Bad units of a slice that several incidents overlap are shared equally among them, so that no unit is counted twice.
with touched as (
    select distinct
        incidents.incident_id,
        incidents.started_at,
        coalesce(incidents.impact_end_at, incidents.as_of) as ended_at,
        parts.slo,
        parts.part
    from {{ ref('int_incidents__timed') }} as incidents
    inner join {{ ref('fct_incident_impact') }} as impact
        on incidents.incident_id = impact.incident_id
    inner join {{ ref('stg_slo_parts') }} as parts
        on impact.journey = parts.journey and (parts.region = '' or impact.region in ('', parts.region))
    where not incidents.exclude_from_metrics
),

shared_slices as (
    select
        touched.incident_id,
        touched.slo,
        touched.part,
        slices.weight,
        slices.slice_at,
        slices.slice_minutes,
        slices.good_units,
        slices.total_units,
        count(*) over (partition by slices.slo, slices.part, slices.slice_at) as incidents_n
    from touched
    inner join {{ ref('int_slos__slices') }} as slices
        on
            touched.slo = slices.slo
            and touched.part = slices.part
            and touched.ended_at > slices.slice_at
            and touched.started_at < slices.slice_end_at
),

quiet as (
    select
        slices.slo,
        slices.part,
        cast({{ bucket('slices.slice_at', 1440) }} as date) as day,
        sum(slices.good_units) as good_units,
        sum(slices.total_units) as total_units
    from {{ ref('int_slos__slices') }} as slices
    left join shared_slices
        on slices.slo = shared_slices.slo and slices.part = shared_slices.part and slices.slice_at = shared_slices.slice_at
    where shared_slices.incident_id is null
    group by slices.slo, slices.part, day
),

incident_parts as (
    select
        incident_id,
        slo,
        part,
        any_value(weight) as weight,
        sum((total_units - good_units) / incidents_n) as bad_units,
        sum(total_units / incidents_n) as units,
        cast(count(*) * any_value(slice_minutes) as bigint) as minutes_n,
        max(incidents_n) > 1 as is_shared,
        max(cast({{ bucket('slice_at', 1440) }} as date)) as last_day
    from shared_slices
    group by incident_id, slo, part
),

usual as (
    select
        incident_parts.incident_id,
        incident_parts.slo,
        incident_parts.part,
        1 - {{ ratio('sum(quiet.good_units)', 'sum(quiet.total_units)') }} as bad_share
    from incident_parts
    inner join {{ ref('int_slos__part_windows') }} as windows
        on
            incident_parts.slo = windows.slo
            and incident_parts.part = windows.part
            and incident_parts.last_day = windows.day
    inner join quiet
        on
            incident_parts.slo = quiet.slo
            and incident_parts.part = quiet.part
            and quiet.day between windows.first_day and windows.day
    group by incident_parts.incident_id, incident_parts.slo, incident_parts.part
)

select
    incident_parts.incident_id,
    incident_parts.slo,
    max(incident_parts.minutes_n) as minutes_n,
    bool_or(incident_parts.is_shared) as is_shared,
    case when not any_value(slos.is_composite) then sum(incident_parts.units) end as units,
    case when not any_value(slos.is_composite) then sum(incident_parts.bad_units) end as bad_units,
    case when not any_value(slos.is_composite) then round(sum(usual.bad_share * incident_parts.units), 6) end as usual_bad_units,
    round(
        sum(incident_parts.weight * {{ ratio('incident_parts.bad_units', 'windows.window_total_units') }})
        / sum(incident_parts.weight) / (1 - any_value(slos.target)),
        9
    ) as budget_share,
    round(
        sum(
            incident_parts.weight * (incident_parts.bad_units - usual.bad_share * incident_parts.units)
            / nullif(windows.window_total_units, 0)
        ) / sum(incident_parts.weight) / (1 - any_value(slos.target)),
        9
    ) as budget_share_beyond_usual,
    min((1 - slos.target) * windows.window_total_units) >= 10 as enough_traffic,
    max(windows.window_days_n) as window_days_n
from incident_parts
inner join {{ ref('stg_slos') }} as slos
    on incident_parts.slo = slos.slo
inner join {{ ref('int_slos__part_windows') }} as windows
    on
        incident_parts.slo = windows.slo
        and incident_parts.part = windows.part
        and incident_parts.last_day = windows.day
left join usual
    on
        incident_parts.incident_id = usual.incident_id
        and incident_parts.slo = usual.slo
        and incident_parts.part = usual.part
group by incident_parts.incident_id, incident_parts.slo
