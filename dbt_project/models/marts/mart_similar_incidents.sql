-- One row per incident and earlier incident that resembles it, most similar first.
select
    pairs.incident_id,
    pairs.similar_incident_id,
    pairs.rank,
    others.title as similar_title,
    others.service_origin as similar_service_origin,
    membership.family_id as similar_family_id,
    pairs.reasons,
    pairs.fixed_by,
    pairs.fix,
    pairs.fix_worked_n,
    pairs.fix_tried_n,
    pairs.similarity,
    others.started_at as similar_started_at,
    run.as_of
from {{ ref('fct_incident_similarity') }} as pairs
cross join {{ ref('dim_run') }} as run
inner join {{ ref('fct_incident') }} as others
    on pairs.similar_incident_id = others.incident_id
left join {{ ref('fct_family_membership') }} as membership
    on pairs.similar_incident_id = membership.incident_id
