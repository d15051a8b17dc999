-- One row per declared version of the ranker of causes.
select
    version as ranker_version,
    state,
    note,
    weights,
    since
from {{ source('declared', 'rankers') }}
