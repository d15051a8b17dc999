-- One row per detector version and context whose alarms humans judged: what its sensitivity should be, and how sure we are.
select
    proposals.proposal_id,
    proposals.detector_version,
    versions.mode,
    proposals.signal,
    proposals.subject,
    proposals.verdict,
    proposals.reason,
    proposals.model_version,
    proposals.current_sensitivity,
    proposals.proposed_sensitivity,
    proposals.n_train,
    proposals.n_holdout,
    proposals.rejected_dropped,
    proposals.confirmed_dropped,
    proposals.precision_current,
    proposals.precision_current_low,
    proposals.precision_current_high,
    proposals.precision_proposed,
    proposals.precision_proposed_low,
    proposals.precision_proposed_high,
    proposals.holdout_from,
    run.as_of
from {{ ref('fct_tuning_proposal') }} as proposals
left join {{ ref('int_detectors__versions') }} as versions
    on proposals.detector_version = versions.detector_version
cross join {{ ref('dim_run') }} as run
