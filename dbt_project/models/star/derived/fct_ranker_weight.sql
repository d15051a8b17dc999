-- One row per ranker version, set of weights it learned, and number in the set.
select
    ranker_version,
    weights_version,
    part,
    name,
    model_version,
    value,
    prior_value,
    learned_from_n,
    used_from
from {{ source('derived', 'ranker_weights') }}
