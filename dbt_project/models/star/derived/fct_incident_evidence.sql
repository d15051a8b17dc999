-- One row per incident, candidate and check: interesting or not, and why.
select
    evidence_id,
    incident_id,
    kind,
    candidate_id,
    check_name,
    why,
    pointer,
    feature_version,
    model_version,
    strength,
    coalesce(is_interesting, false) as is_interesting
from {{ source('derived', 'evidence') }}
