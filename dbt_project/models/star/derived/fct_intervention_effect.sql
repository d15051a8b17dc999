-- One row per action item and outcome: what changed after it shipped, and how sure we are.
select
    action_item_id,
    outcome,
    family_id,
    verdict,
    nullif(reason, '') as reason,
    model_version,
    n_before,
    exposure_before,
    n_after,
    exposure_after,
    estimate,
    ci_low,
    ci_high,
    p_value,
    weeks_needed,
    regression_to_mean,
    shipped_at
from {{ source('derived', 'fix_impact') }}
