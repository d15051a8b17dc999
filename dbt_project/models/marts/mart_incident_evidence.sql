-- One row per check of a candidate cause of an incident, interesting or not.
select
    evidence.evidence_id,
    evidence.incident_id,
    evidence.kind,
    evidence.candidate_id,
    evidence.check_name,
    evidence.why,
    evidence.pointer,
    evidence.feature_version,
    evidence.model_version,
    evidence.strength,
    evidence.is_interesting,
    run.as_of
from {{ ref('fct_incident_evidence') }} as evidence
cross join {{ ref('dim_run') }} as run
