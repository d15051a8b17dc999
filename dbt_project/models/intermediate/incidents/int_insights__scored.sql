-- One row per insight with the four parts of its rubric, each from 0 to 1 and from what is on record alone; null where nothing is.
with breadth as (
    select
        recurrence.family_id,
        count(distinct recurrence.incident_id) as family_incidents_n,
        count(distinct services.service) as family_services_n
    from {{ ref('int_incidents__recurrence') }} as recurrence
    left join {{ ref('bridge_incident_service') }} as services
        on recurrence.incident_id = services.incident_id
    group by recurrence.family_id
),

followed as (
    select
        insights.insight_id,
        count(items.action_item_id) as actions_n,
        count(items.action_item_id) filter (where items.success_criterion is not null) as actions_with_criterion_n
    from {{ ref('fct_insight') }} as insights
    left join {{ ref('fct_action_item') }} as items
        on insights.incident_id = items.incident_id and items.status <> 'cancelled'
    group by insights.insight_id
),

known as (
    select
        insights.*,
        recurrence.family_id,
        breadth.family_incidents_n,
        breadth.family_services_n,
        coalesce(incidents.resolved_at, incidents.started_at) as ended_at,
        followed.actions_n,
        followed.actions_with_criterion_n
    from {{ ref('fct_insight') }} as insights
    left join {{ ref('fct_incident') }} as incidents
        on insights.incident_id = incidents.incident_id
    left join {{ ref('int_incidents__recurrence') }} as recurrence
        on insights.incident_id = recurrence.incident_id
    left join breadth
        on recurrence.family_id = breadth.family_id
    inner join followed
        on insights.insight_id = followed.insight_id
),

timed as (
    select
        *,
        case
            when ended_at is not null then greatest({{ minutes_between('ended_at', 'recorded_at') }} / 1440, 0)
        end as days_after
    from known
),

scored as (
    select
        *,
        {{ ratio('family_incidents_n', 'family_incidents_n + 1') }} as relevance,
        pow(0.5, days_after / 7) as timeliness,
        {{ ratio('family_services_n', 'family_services_n + 1') }} as breadth,
        (
            cast(coalesce(mood = 'prescriptive', false) as integer)
            + cast(service is not null as integer)
            + cast(actions_n > 0 as integer)
            + cast(actions_with_criterion_n > 0 as integer)
        ) / 4 as actionability
    from timed
)

select
    *,
    (coalesce(relevance, 0) + coalesce(timeliness, 0) + coalesce(breadth, 0) + actionability)
    / (1 + cast(relevance is not null as integer) + cast(timeliness is not null as integer) + cast(breadth is not null as integer))
        as quality,
    1 + cast(relevance is not null as integer) + cast(timeliness is not null as integer) + cast(breadth is not null as integer)
        as quality_parts_n
from scored
