-- One row per change with what became of it. A change is counted once however many incidents point at it.
-- It failed when it was rolled back, when a human confirmed it as a cause, or when it is the top candidate of a counted incident,
-- likelier than everything else together, and no human rejected it.
with suspicions as (
    select
        candidates.candidate_id as change_id,
        count(*) filter (where candidates.rank = 1) as top_candidate_n,
        count(*) filter (where candidates.human_verdict = 'confirm') as confirmed_n,
        count(*) filter (
            where candidates.rank = 1 and candidates.probability > 0.5 and coalesce(candidates.human_verdict, '') <> 'reject'
        ) as likely_n,
        max(candidates.probability) as highest_probability,
        {{ value_at_max('candidates.incident_id', ['candidates.probability', 'candidates.incident_id']) }} as likeliest_incident_id
    from {{ ref('fct_incident_candidate') }} as candidates
    inner join {{ ref('fct_incident') }} as incidents
        on candidates.incident_id = incidents.incident_id
    where candidates.kind = 'change' and not incidents.exclude_from_metrics
    group by candidates.candidate_id
),

rollbacks as (
    select
        rolls_back_change_id as change_id,
        {{ value_at_min('change_id', ['started_at', 'change_id']) }} as rolled_back_by_change_id,
        min(started_at) as rolled_back_at
    from {{ ref('fct_change') }}
    where is_rollback and rolls_back_change_id is not null
    group by rolls_back_change_id
)

select
    changes.*,
    types.is_deployment and not changes.is_rollback and changes.result not in ('failure', 'aborted') as is_counted_deployment,
    coalesce(suspicions.top_candidate_n, 0) as top_candidate_n,
    coalesce(suspicions.confirmed_n, 0) as confirmed_n,
    suspicions.highest_probability,
    suspicions.likeliest_incident_id,
    rollbacks.rolled_back_by_change_id,
    rollbacks.rolled_back_at,
    case
        when suspicions.confirmed_n > 0 then 'confirmed_cause'
        when changes.result in ('failure', 'aborted') then 'did_not_ship'
        when rollbacks.change_id is not null then 'rolled_back'
        when suspicions.likely_n > 0 then 'likely_cause'
        when suspicions.top_candidate_n > 0 then 'suspected'
        else 'no_known_effect'
    end as outcome,
    coalesce(suspicions.confirmed_n > 0 or suspicions.likely_n > 0 or rollbacks.change_id is not null, false) as is_failed
from {{ ref('fct_change') }} as changes
left join {{ ref('change_types') }} as types
    on changes.kind = types.kind
left join suspicions
    on changes.change_id = suspicions.change_id
left join rollbacks
    on changes.change_id = rollbacks.change_id
