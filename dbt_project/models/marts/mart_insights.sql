-- One row per insight: what was learnt, from which incident, and how good it is by the rubric.
select
    scored.insight_id,
    scored.incident_id,
    scored.family_id,
    scored.service,
    services.team as owner_team,
    scored.mood,
    scored.text,
    scored.prescription,
    scored.origin,
    scored.confidence,
    scored.relevance,
    scored.timeliness,
    scored.breadth,
    scored.actionability,
    scored.quality,
    cast(scored.quality_parts_n as bigint) as quality_parts_n,
    scored.family_incidents_n,
    scored.family_services_n,
    scored.actions_n,
    scored.actions_with_criterion_n,
    scored.days_after,
    scored.recorded_at,
    run.as_of
from {{ ref('int_insights__scored') }} as scored
cross join {{ ref('dim_run') }} as run
left join {{ ref('dim_service') }} as services
    on scored.service = services.service
