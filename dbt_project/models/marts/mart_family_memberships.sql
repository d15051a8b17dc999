-- One row per incident and time it was put into a family: the history of families.
select
    history.incident_id,
    history.family_id,
    history.how,
    history.reasons,
    history.clustering_version,
    history.distance,
    history.valid_until is null as is_current,
    history.valid_from,
    history.valid_until,
    run.as_of
from {{ ref('fct_family_membership_history') }} as history
cross join {{ ref('dim_run') }} as run
