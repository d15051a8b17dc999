-- One row per service level objective and UTC day with attempts: the budget of its window and what is left of it.
select
    days.slo,
    slos.title,
    slos.method,
    slos.window_kind,
    slos.is_composite,
    days.day,
    days.window_start_day,
    slos.target,
    days.good,
    days.total,
    days.share,
    days.window_good,
    days.window_total,
    days.window_share,
    days.window_days_n,
    (1 - slos.target) * days.window_total as budget_total,
    days.window_total - days.window_good as budget_used,
    1 - (1 - days.window_share) / (1 - slos.target) as budget_left_ratio,
    (1 - days.share) / (1 - slos.target) as burn_rate,
    days.enough_traffic,
    case
        when not days.enough_traffic then 'not_enough_traffic'
        when days.window_share >= slos.target then 'kept'
        else 'missed'
    end as status,
    days.day = max(days.day) over (partition by days.slo) as is_latest,
    cast(days.day + 1 as {{ moment_type() }}) <= run.as_of as is_complete_day,
    days.measured_until,
    run.as_of
from {{ ref('fct_slo_day') }} as days
cross join {{ ref('dim_run') }} as run
inner join {{ ref('dim_slo') }} as slos
    on days.slo = slos.slo
