-- One row per recommended systemic fix, the most worthwhile first.
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
    run.as_of
from {{ ref('fct_recommendation') }} as recommendations
cross join {{ ref('dim_run') }} as run
left join {{ ref('dim_family') }} as families
    on recommendations.family_id = families.family_id
