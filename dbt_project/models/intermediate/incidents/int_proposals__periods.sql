-- One row per period noise is counted over: the whole time covered, and every ISO week that it touches.
select
    'all' as period,
    window_start as from_at,
    as_of as until_at
from {{ ref('dim_run') }}
union all
select
    {{ iso_week('week_at') }} as period,
    cast(week_at as {{ moment_type() }}) as from_at,
    cast(week_at + interval '7 days' as {{ moment_type() }}) as until_at
from (
    select {{ each_step("date_trunc('week', window_start)", "as_of - interval '1 microsecond'", "interval '7 days'") }} as week_at
    from {{ ref('dim_run') }}
) as weeks
