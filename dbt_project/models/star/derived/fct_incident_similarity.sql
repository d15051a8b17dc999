-- One row per incident and earlier incident that resembles it.
select
    incident_id,
    similar_incident_id,
    rank,
    reasons,
    fixed_by,
    model_version,
    similarity
from {{ source('derived', 'similar_incidents') }}
