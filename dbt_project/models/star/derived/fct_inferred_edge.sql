-- One row per environment, caller and callee whose trouble follows each other in time: a hint, not a call.
select
    environment,
    caller,
    callee,
    region,
    caller_metric,
    callee_metric,
    model_version,
    lag_minutes,
    n,
    n_effective,
    correlation,
    ci_low,
    ci_high,
    p_value,
    q_value,
    n_pairs,
    window_start,
    window_end
from {{ source('derived', 'inferred_edges') }}
