-- One row per incident and time it was put into a family; the row without an end is where it is now.
select
    incident_id,
    family_id,
    how,
    reasons,
    clustering_version,
    model_version,
    distance,
    valid_from,
    valid_until
from {{ source('derived', 'family_memberships') }}
