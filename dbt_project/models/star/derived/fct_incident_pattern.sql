-- One row per dimension, value and calendar period: incidents beside their expectation.
select
    dimension,
    value,
    period,
    basis,
    status,
    reason,
    incidents,
    model_version,
    n_incidents,
    n_known,
    n_period,
    share,
    expected,
    rate_ratio,
    ratio_low,
    ratio_high,
    p_value,
    q_value,
    period_start_at,
    observed_from,
    observed_until
from {{ source('derived', 'incident_patterns') }}
