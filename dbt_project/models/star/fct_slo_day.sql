-- One row per service level objective and UTC day with attempts.
-- A composite is the weighted mean of its parts' shares, over the parts that had attempts.
select
    windows.slo,
    windows.day,
    windows.first_day as window_start_day,
    case when not any_value(slos.is_composite) then sum(windows.good_units) end as good,
    case when not any_value(slos.is_composite) then sum(windows.total_units) end as total,
    sum(windows.weight * {{ ratio('windows.good_units', 'windows.total_units') }})
    / nullif(sum(windows.weight) filter (where windows.total_units > 0), 0) as share,
    case when not any_value(slos.is_composite) then sum(windows.window_good_units) end as window_good,
    case when not any_value(slos.is_composite) then sum(windows.window_total_units) end as window_total,
    sum(windows.weight * {{ ratio('windows.window_good_units', 'windows.window_total_units') }}) / nullif(sum(windows.weight), 0)
        as window_share,
    max(windows.window_days_n) as window_days_n,
    min((1 - slos.target) * windows.window_total_units) >= 10 as enough_traffic,
    max(windows.measured_until) as measured_until
from {{ ref('int_slos__part_windows') }} as windows
inner join {{ ref('stg_slos') }} as slos
    on windows.slo = slos.slo
group by windows.slo, windows.day, windows.first_day
