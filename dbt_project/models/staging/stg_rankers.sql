-- One row per declared version of the ranker of causes.
select
    version as ranker_version,
    state,
    note,
    weights,
    rules,
    learning_signals,
    differs_by,
    isolates,
    features_version,
    since
from {{ source('declared', 'rankers') }}
