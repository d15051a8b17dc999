-- One row per thing said or done about an incident.
select
    event_id,
    incident_id,
    kind,
    text,
    occurred_at,
    recorded_at
from {{ ref('stg_incident_events') }}
where recorded_at < (select max(run.as_of) from {{ ref('stg_run') }} as run)
