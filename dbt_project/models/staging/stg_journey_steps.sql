-- One row per step of a declared journey.
select
    journey,
    step,
    position,
    weight,
    earns
from {{ source('declared', 'journey_steps') }}
