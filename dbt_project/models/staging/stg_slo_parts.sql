-- One row per objective and part of it: the attempts it counts.
select
    slo,
    part,
    journey,
    step,
    region,
    tier,
    plan,
    country,
    weight
from {{ source('declared', 'slo_parts') }}
