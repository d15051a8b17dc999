-- One row per alert episode.
select
    alert_id,
    fingerprint,
    name,
    service,
    environment,
    region,
    severity,
    events_n,
    is_suppressed,
    started_at,
    ended_at
from {{ ref('stg_alerts') }}
where started_at < (select max(run.as_of) from {{ ref('stg_run') }} as run)
