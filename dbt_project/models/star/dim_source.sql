-- One row per declared source.
select
    source,
    kind,
    owner,
    schedule,
    entities
from {{ ref('stg_sources') }}
