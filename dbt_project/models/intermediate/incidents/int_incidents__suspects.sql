-- One row per incident with candidates: the first two, and the chance that it was none of them.
with candidates as (
    select
        candidates.*,
        changes.started_at as change_started_at
    from {{ ref('fct_incident_candidate') }} as candidates
    left join {{ ref('fct_change') }} as changes
        on candidates.kind = 'change' and candidates.candidate_id = changes.change_id
)

select
    incident_id,
    max(kind) filter (where rank = 1) as top_candidate_kind,
    max(candidate_id) filter (where rank = 1) as top_candidate_id,
    max(service) filter (where rank = 1) as top_candidate_service,
    max(probability) filter (where rank = 1) as top_candidate_probability,
    max(lift) filter (where rank = 1) as top_candidate_lift,
    max(change_started_at) filter (where rank = 1) as top_change_started_at,
    max(probability) filter (where rank = 2) as second_probability,
    sum(probability) filter (where kind = 'none') as p_none,
    count(*) as candidates_n,
    min(candidate_id) filter (where human_verdict = 'confirm' and kind <> 'none') as confirmed_candidate_id,
    bool_or(human_verdict = 'confirm') filter (where rank = 1 and human_verdict is not null) as top_candidate_confirmed,
    max(model_version) as model_version
from candidates
group by incident_id
