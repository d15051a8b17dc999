-- One row per incident: the family it belongs to, under one clustering version.
select
    incident_id,
    family_id,
    reasons,
    clustering_version,
    model_version,
    distance
from {{ source('derived', 'families') }}
