-- One row per incident and earlier incident that resembles it.
select
    incident_id,
    similar_incident_id,
    rank,
    reasons,
    fixed_by,
    fix,
    model_version,
    fix_worked_n,
    fix_tried_n,
    similarity
from {{ source('derived', 'similar_incidents') }}
