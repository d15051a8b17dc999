-- One row per proposal and declared incident it is about, the likeliest with rank 1.
select
    proposal_id,
    incident_id,
    rank,
    reason,
    model_version,
    likeness,
    gap_minutes
from {{ source('derived', 'proposal_incidents') }}
