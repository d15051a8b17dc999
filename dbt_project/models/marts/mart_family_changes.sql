-- One row per family that merged into another, or was split from one, when families were grouped afresh.
select
    changes.family_id,
    changes.other_family_id,
    changes.change,
    changes.family_title,
    changes.clustering_version,
    changes.n_incidents,
    changes.changed_at,
    run.as_of
from {{ ref('fct_family_change') }} as changes
cross join {{ ref('dim_run') }} as run
