-- One row per detector version, context and proposed change of its sensitivity, with how it did on verdicts it was not chosen on.
select
    proposal_id,
    detector_version,
    signal,
    coalesce(subject, '') as subject,
    verdict,
    reason,
    model_version,
    current_sensitivity,
    proposed_sensitivity,
    n_train,
    n_holdout,
    rejected_dropped,
    confirmed_dropped,
    precision_current,
    precision_current_low,
    precision_current_high,
    precision_proposed,
    precision_proposed_low,
    precision_proposed_high,
    holdout_from
from {{ source('derived', 'tuning_proposals') }}
