-- One row per customer journey that is declared or has KPI points.
select
    {{ surrogate_key(['journey']) }} as journey_key,
    journey,
    title,
    owner_team,
    currency,
    grain_minutes,
    slo_target,
    slo_window_days
from {{ ref('int_journeys__known') }}
