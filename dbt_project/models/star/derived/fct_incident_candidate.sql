-- One row per incident and candidate cause, with what a human last said about it.
-- A verdict on "none of these" needs no id.
with judged as (
    select
        verdict_id,
        incident_id,
        subject_kind,
        case when subject_kind = 'none' then '' else coalesce(subject_id, '') end as candidate_id,
        verdict,
        decided_at
    from {{ ref('fct_verdict') }}
),

verdicts as (
    select *
    from judged
    qualify row_number() over (
        partition by incident_id, subject_kind, candidate_id
        order by decided_at desc, verdict_id asc
    ) = 1
)

select
    candidates.incident_id,
    candidates.rank,
    candidates.kind,
    candidates.candidate_id,
    candidates.service,
    candidates.rationale,
    candidates.evidence,
    candidates.model_version,
    candidates.weights_version,
    candidates.probability,
    candidates.score,
    candidates.lift,
    candidates.base_rate_per_hour,
    candidates.gap_minutes,
    candidates.hops,
    candidates.learned_from_n,
    verdicts.verdict as human_verdict,
    verdicts.decided_at as human_verdict_at
from {{ source('derived', 'candidates') }} as candidates
left join verdicts
    on
        candidates.incident_id = verdicts.incident_id
        and candidates.kind = verdicts.subject_kind
        and case when candidates.kind = 'none' then '' else coalesce(candidates.candidate_id, '') end = verdicts.candidate_id
