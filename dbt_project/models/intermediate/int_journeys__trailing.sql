-- One row per journey and UTC day: counts of the day, of the 7 and 28 days ending with it, and of the journey's SLO window.
select
    today.journey,
    today.day,
    journeys.slo_target,
    journeys.slo_window_days,
    any_value(today.good) as good,
    any_value(today.total) as total,
    any_value(today.revenue_minor) as revenue_minor,
    any_value(today.worst_step) as worst_step,
    any_value(today.worst_step_availability) as worst_step_availability,
    any_value(today.last_bucket_at) as last_bucket_at,
    sum(past.good) filter (where past.day > today.day - 7) as good_7d,
    sum(past.total) filter (where past.day > today.day - 7) as total_7d,
    sum(past.revenue_minor) filter (where past.day > today.day - 7) as revenue_minor_7d,
    sum(past.good) filter (where past.day > today.day - 28) as good_28d,
    sum(past.total) filter (where past.day > today.day - 28) as total_28d,
    sum(past.revenue_minor) filter (where past.day > today.day - 28) as revenue_minor_28d,
    sum(past.good) filter (where past.day > today.day - cast(journeys.slo_window_days as integer)) as slo_good,
    sum(past.total) filter (where past.day > today.day - cast(journeys.slo_window_days as integer)) as slo_total,
    count(*) filter (where past.day > today.day - cast(journeys.slo_window_days as integer)) as slo_days_n
from {{ ref('int_journeys__daily') }} as today
inner join {{ ref('dim_journey') }} as journeys
    on today.journey = journeys.journey
inner join {{ ref('int_journeys__daily') }} as past
    on
        today.journey = past.journey
        and today.day >= past.day
        and today.day - greatest(28, cast(journeys.slo_window_days as integer)) < past.day
group by today.journey, today.day, journeys.slo_target, journeys.slo_window_days
