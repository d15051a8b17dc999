-- One row per watched signal.
select
    signal,
    fact,
    hurts,
    formula,
    grain_minutes,
    sensitivity,
    minimum_effect
from {{ source('declared', 'signals') }}
