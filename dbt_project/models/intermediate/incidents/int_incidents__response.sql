-- One row per incident somebody wrote about: how many people took part and for how long. People are counted, never named.
-- A person's part lasts from the first to the last thing they wrote between the start and the end of the incident, and the least declared.
with people as (
    select
        events.incident_id,
        events.author_token,
        greatest(
            {{ minutes_between('min(events.occurred_at)', 'max(events.occurred_at)') }},
            any_value(costs.least_minutes)
        ) as minutes,
        any_value(costs.hourly_rate) as hourly_rate,
        any_value(costs.review_hours) as review_hours,
        any_value(costs.currency) as currency
    from {{ ref('stg_incident_events') }} as events
    cross join {{ ref('stg_costs') }} as costs
    inner join {{ ref('int_incidents__timed') }} as incidents
        on events.incident_id = incidents.incident_id
    where
        coalesce(events.author_token, '') <> ''
        and events.recorded_at < incidents.as_of
        and events.occurred_at >= incidents.started_at
        and events.occurred_at <= coalesce(incidents.resolved_at, incidents.impact_end_at, incidents.as_of)
    group by events.incident_id, events.author_token
)

select
    incident_id,
    count(*) as responders_n,
    sum(minutes) / 60 as response_hours,
    count(*) * any_value(review_hours) as review_hours,
    any_value(hourly_rate) as hourly_rate,
    any_value(currency) as currency
from people
group by incident_id
