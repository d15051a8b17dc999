-- One row per action item and outcome watched: what changed after it shipped.
select
    effects.action_item_id,
    effects.outcome,
    items.title,
    items.owner_team,
    items.incident_id,
    effects.family_id,
    families.family_title,
    effects.verdict,
    effects.reason,
    effects.model_version,
    effects.n_before,
    effects.exposure_before,
    effects.n_after,
    effects.exposure_after,
    effects.estimate,
    effects.ci_low,
    effects.ci_high,
    effects.p_value,
    effects.weeks_needed,
    effects.regression_to_mean,
    effects.shipped_at,
    run.as_of
from {{ ref('fct_intervention_effect') }} as effects
cross join {{ ref('dim_run') }} as run
left join {{ ref('fct_action_item') }} as items
    on effects.action_item_id = items.action_item_id
left join {{ ref('dim_family') }} as families
    on effects.family_id = families.family_id
