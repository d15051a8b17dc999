-- One row per recommended systemic fix, the most worthwhile first, with what people decided and what was done since.
with decisions as (
    select
        subject_id as recommendation_id,
        verdict,
        decided_at
    from {{ ref('fct_verdict') }}
    where subject_kind = 'recommendation'
    qualify row_number() over (partition by subject_id order by decided_at desc, verdict_id asc) = 1
),

followed as (
    select
        recommendations.recommendation_id,
        items.action_item_id,
        items.status,
        items.shipped_at,
        effects.verdict
    from {{ ref('fct_recommendation') }} as recommendations
    inner join {{ ref('int_incidents__recurrence') }} as recurrence
        on recommendations.family_id = recurrence.family_id
    inner join {{ ref('fct_action_item') }} as items
        on recurrence.incident_id = items.incident_id
    left join {{ ref('fct_intervention_effect') }} as effects
        on items.action_item_id = effects.action_item_id and effects.outcome = 'recurrence'
    where items.status <> 'cancelled' and coalesce(items.type, 'repair') in ('repair', 'prevent')
    qualify row_number() over (partition by recommendations.recommendation_id order by items.created_at desc, items.action_item_id asc) = 1
)

select
    recommendations.recommendation_id,
    recommendations.rank,
    recommendations.family_id,
    families.family_title,
    recommendations.service,
    recommendations.action,
    recommendations.rationale,
    recommendations.confidence,
    recommendations.owner_team,
    recommendations.approvals,
    recommendations.trade_offs,
    recommendations.evidence,
    recommendations.currency,
    recommendations.model_version,
    recommendations.expected_risk_reduction,
    recommendations.risk_reduction_low,
    recommendations.risk_reduction_high,
    recommendations.expected_days,
    recommendations.n_incidents,
    case decisions.verdict
        when 'confirm' then 'accepted'
        when 'reject' then 'declined'
        when 'other' then 'otherwise'
        else 'open'
    end as decision,
    decisions.decided_at,
    followed.action_item_id,
    followed.status as action_status,
    followed.shipped_at as action_shipped_at,
    followed.verdict as action_verdict,
    run.as_of
from {{ ref('fct_recommendation') }} as recommendations
cross join {{ ref('dim_run') }} as run
left join decisions
    on recommendations.recommendation_id = decisions.recommendation_id
left join followed
    on recommendations.recommendation_id = followed.recommendation_id
left join {{ ref('dim_family') }} as families
    on recommendations.family_id = families.family_id
