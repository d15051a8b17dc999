-- One row per thing of the learning loop that happened, with its time: incidents, postmortems, actions, insights, verdicts.
-- `value`: days an action took, quality of an insight.
select 'incident' as kind, incident_id as subject_id, started_at as happened_at, cast(null as double) as value
from {{ ref('fct_incident') }}
where not exclude_from_metrics
union all
select 'major_incident' as kind, incident_id as subject_id, started_at as happened_at, cast(null as double) as value
from {{ ref('int_incidents__timed') }}
where is_major and not exclude_from_metrics
union all
select distinct
    'incident_with_postmortem' as kind,
    incidents.incident_id as subject_id,
    incidents.started_at as happened_at,
    cast(null as double) as value
from {{ ref('fct_incident') }} as incidents
inner join {{ ref('fct_postmortem') }} as postmortems
    on incidents.incident_id = postmortems.incident_id
where not incidents.exclude_from_metrics
union all
select distinct
    'incident_reviewed' as kind,
    incidents.incident_id as subject_id,
    incidents.started_at as happened_at,
    cast(null as double) as value
from {{ ref('fct_incident') }} as incidents
inner join {{ ref('fct_postmortem') }} as postmortems
    on incidents.incident_id = postmortems.incident_id and postmortems.status in ('reviewed', 'closed')
where not incidents.exclude_from_metrics
union all
select 'action_created' as kind, action_item_id as subject_id, created_at as happened_at, cast(null as double) as value
from {{ ref('int_action_items__aged') }}
where created_at is not null
union all
select 'action_done' as kind, action_item_id as subject_id, done_at as happened_at, days_to_done as value
from {{ ref('int_action_items__aged') }}
where done_at is not null and done_at < as_of
union all
select 'action_implemented' as kind, action_item_id as subject_id, created_at as happened_at, cast(null as double) as value
from {{ ref('int_action_items__aged') }}
where created_at is not null and status in ('done', 'verified')
union all
select 'action_verified' as kind, action_item_id as subject_id, verified_at as happened_at, days_to_verified as value
from {{ ref('int_action_items__aged') }}
where verified_at is not null
union all
select 'prescriptive_insight' as kind, insight_id as subject_id, recorded_at as happened_at, cast(null as double) as value
from {{ ref('fct_insight') }}
where mood = 'prescriptive'
union all
select 'insight' as kind, insight_id as subject_id, recorded_at as happened_at, quality as value
from {{ ref('int_insights__scored') }}
union all
select 'verdict' as kind, verdict_id as subject_id, decided_at as happened_at, cast(null as double) as value
from {{ ref('fct_verdict') }}
