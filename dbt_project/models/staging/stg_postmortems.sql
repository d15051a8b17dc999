-- One row per version of a postmortem.
select
    postmortem_id,
    version,
    incident_id,
    title,
    status,
    text,
    trigger,
    contributing_factors,
    url,
    origin,
    confidence,
    created_at,
    updated_at
from {{ source('landing', 'postmortems') }}
{{ latest_version(['postmortem_id', 'version'], ['updated_at', 'ingested_at']) }}
