-- One row per service level objective.
select
    {{ surrogate_key(['slo']) }} as slo_key,
    slo,
    title,
    target,
    {{ adapter.quote('window') }} as window_kind,
    window_days,
    method,
    slice_minutes,
    slice_target,
    is_composite
from {{ ref('stg_slos') }}
