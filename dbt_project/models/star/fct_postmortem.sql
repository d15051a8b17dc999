-- One row per postmortem, as its newest version says.
select
    postmortem_id,
    version,
    incident_id,
    title,
    status,
    text,
    trigger,
    contributing_factors,
    created_at,
    updated_at,
    url
from {{ ref('stg_postmortems') }}
where updated_at < (select max(run.as_of) from {{ ref('stg_run') }} as run)
qualify row_number() over (partition by postmortem_id order by version desc) = 1
