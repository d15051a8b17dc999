-- One row per thing said or done about an incident, the version received last.
select
    event_id,
    incident_id,
    kind,
    text,
    occurred_at,
    recorded_at
from {{ source('landing', 'incident_events') }}
{{ latest_version(['event_id'], ['recorded_at', 'ingested_at']) }}
