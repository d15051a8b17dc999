-- One row per version of a human judgement.
select
    verdict_id,
    version,
    incident_id,
    subject_kind,
    subject_id,
    verdict,
    origin,
    confidence,
    decided_at
from {{ source('landing', 'verdicts') }}
{{ latest_version(['verdict_id', 'version'], ['decided_at', 'ingested_at']) }}
