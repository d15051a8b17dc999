-- One row per family that merged into another, or was split from one, when families were grouped afresh.
select
    family_id,
    other_family_id,
    change,
    family_title,
    clustering_version,
    model_version,
    n_incidents,
    changed_at
from {{ source('derived', 'family_changes') }}
