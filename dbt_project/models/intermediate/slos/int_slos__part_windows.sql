-- One row per objective, part and UTC day: the units of the objective's window that ends with the day.
-- A rolling window reaches back `window_days`, a calendar window to the first day of its week, month or quarter.
with days as (
    select distinct
        parts.slo,
        parts.day,
        case
            when slos.{{ adapter.quote('window') }} = 'rolling' then parts.day - cast(slos.window_days - 1 as integer)
            else cast(date_trunc(slos.{{ adapter.quote('window') }}, parts.day) as date)
        end as first_day
    from {{ ref('int_slos__part_days') }} as parts
    inner join {{ ref('stg_slos') }} as slos
        on parts.slo = slos.slo
)

select
    days.slo,
    days.day,
    days.first_day,
    past.part,
    past.weight,
    sum(past.good_units) filter (where past.day = days.day) as good_units,
    sum(past.total_units) filter (where past.day = days.day) as total_units,
    sum(past.good_units) as window_good_units,
    sum(past.total_units) as window_total_units,
    count(*) as window_days_n,
    max(past.measured_until) as measured_until
from days
inner join {{ ref('int_slos__part_days') }} as past
    on days.slo = past.slo and past.day between days.first_day and days.day
group by days.slo, days.day, days.first_day, past.part, past.weight
