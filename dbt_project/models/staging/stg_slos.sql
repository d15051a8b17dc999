-- One row per service level objective.
select
    slo,
    title,
    target,
    {{ adapter.quote('window') }},
    window_days,
    method,
    slice_minutes,
    slice_target,
    is_composite
from {{ source('declared', 'slos') }}
