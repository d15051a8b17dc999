-- One row per objective, part and UTC day with attempts.
select
    slo,
    part,
    weight,
    cast({{ bucket('slice_at', 1440) }} as date) as day,
    sum(good_units) as good_units,
    sum(total_units) as total_units,
    max(slice_end_at) as measured_until
from {{ ref('int_slos__slices') }}
group by slo, part, weight, day
