-- One row per insight, as its newest version says.
select
    insight_id,
    version,
    incident_id,
    service,
    mood,
    text,
    origin,
    confidence,
    prescription,
    recorded_at
from {{ ref('stg_insights') }}
where recorded_at < (select max(run.as_of) from {{ ref('stg_run') }} as run)
qualify row_number() over (partition by insight_id order by version desc) = 1
