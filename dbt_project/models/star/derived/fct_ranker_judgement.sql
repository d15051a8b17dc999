-- One row per declared ranker version and incident whose cause people judged: how its ranking did, or why that cannot be told.
select
    ranker_version,
    incident_id,
    status,
    reason,
    true_kind,
    true_candidate_id,
    top_kind,
    top_candidate_id,
    weights_version,
    model_version,
    n_verdicts as verdicts_n,
    true_rank,
    true_probability,
    top_probability,
    brier,
    learned_from_n,
    decided_at
from {{ source('derived', 'judged_rankings') }}
