-- One row per declared version of the ranker of causes.
select
    ranker_version,
    state,
    note,
    weights,
    since
from {{ ref('stg_rankers') }}
