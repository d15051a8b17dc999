-- One row per recommended systemic fix.
select
    recommendation_id,
    rank,
    family_id,
    service,
    action,
    rationale,
    owner_team,
    approvals,
    trade_offs,
    evidence,
    confidence,
    currency,
    model_version,
    {{ money('expected_risk_reduction') }} as expected_risk_reduction,
    {{ money('risk_reduction_low') }} as risk_reduction_low,
    {{ money('risk_reduction_high') }} as risk_reduction_high,
    expected_days,
    n_incidents
from {{ source('derived', 'recommendations') }}
