-- One row per day of the window: the calendar that metrics are asked along.
select cast({{ each_step('cast(window_start as date)', 'cast(as_of as date)', 'interval 1 day') }} as date) as day
from {{ ref('dim_run') }}
