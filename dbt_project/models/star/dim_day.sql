-- One row per day of the window: the calendar that metrics are asked along.
select cast(moment as date) as day
from (
    select {{ each_step('cast(window_start as date)', 'cast(as_of as date)', 'interval 1 day') }} as moment
    from {{ ref('dim_run') }}
) as moments
