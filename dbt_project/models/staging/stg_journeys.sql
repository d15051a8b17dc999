-- One row per declared customer journey.
select
    journey,
    title,
    owner_team,
    currency,
    grain_minutes,
    slo_target,
    slo_window_days
from {{ source('declared', 'journeys') }}
