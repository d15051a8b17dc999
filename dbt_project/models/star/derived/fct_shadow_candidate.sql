-- One row per ranker version that is not live, incident and candidate cause: what that version would have said.
select
    ranker_version,
    incident_id,
    rank,
    kind,
    candidate_id,
    weights_version,
    model_version,
    probability,
    score,
    learned_from_n
from {{ source('derived', 'ranked_in_shadow') }}
