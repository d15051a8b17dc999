-- One row per ranker version, set of weights it learned, and number in the set: what people's verdicts made of the prior.
select
    weights.ranker_version,
    rankers.state as mode,
    weights.weights_version,
    weights.part,
    weights.name,
    weights.model_version,
    weights.value,
    weights.prior_value,
    weights.learned_from_n,
    weights.used_from,
    run.as_of
from {{ ref('fct_ranker_weight') }} as weights
inner join {{ ref('dim_ranker') }} as rankers
    on weights.ranker_version = rankers.ranker_version
cross join {{ ref('dim_run') }} as run
