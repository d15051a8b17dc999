-- One row per thing said or done about an incident, the version received last. Authors are tokens, and go no further than being counted.
select
    event_id,
    incident_id,
    kind,
    text,
    author_token,
    occurred_at,
    recorded_at
from {{ source('landing', 'incident_events') }}
{{ latest_version(['event_id'], ['recorded_at', 'ingested_at']) }}
