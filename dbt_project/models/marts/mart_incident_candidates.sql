-- One row per incident and candidate cause. A candidate is not a finding: its probability says how much it explains.
with reasons as (
    select
        incident_id,
        kind,
        candidate_id,
        {{ listed('why', ['coalesce(-abs(strength), 1)', 'evidence_id']) }} as evidence_why
    from {{ ref('fct_incident_evidence') }}
    where is_interesting
    group by incident_id, kind, candidate_id
)

select
    candidates.incident_id,
    candidates.rank,
    candidates.kind,
    candidates.candidate_id,
    candidates.service,
    case
        when candidates.kind = 'change' then changes.title
        when candidates.kind = 'none' then 'None of these'
        else services.title
    end as title,
    changes.kind as change_kind,
    changes.url,
    candidates.rationale,
    candidates.evidence,
    reasons.evidence_why,
    candidates.human_verdict,
    candidates.model_version,
    candidates.weights_version,
    candidates.probability,
    candidates.score,
    candidates.lift,
    candidates.base_rate_per_hour,
    candidates.gap_minutes,
    candidates.hops,
    candidates.learned_from_n,
    candidates.human_verdict_at,
    changes.started_at as change_started_at,
    run.as_of
from {{ ref('fct_incident_candidate') }} as candidates
cross join {{ ref('dim_run') }} as run
left join {{ ref('fct_change') }} as changes
    on candidates.kind = 'change' and candidates.candidate_id = changes.change_id
left join {{ ref('dim_service') }} as services
    on candidates.service = services.service
left join reasons
    on
        candidates.incident_id = reasons.incident_id
        and candidates.kind = reasons.kind
        and candidates.candidate_id = reasons.candidate_id
