-- One row per action item with its age at the as-of time. Done and verified items are closed; a reopened one is open again.
select
    items.*,
    run.as_of,
    items.status in ('open', 'in_progress', 'reopened') as is_open,
    items.status in ('open', 'in_progress', 'reopened') and coalesce(items.due_at < run.as_of, false) as is_overdue,
    {{ minutes_between('items.created_at', 'coalesce(items.done_at, run.as_of)') }} / 1440 as age_days,
    {{ minutes_between('items.due_at', 'run.as_of') }} / 1440 as days_past_due,
    {{ minutes_between('items.created_at', 'items.done_at') }} / 1440 as days_to_done,
    {{ minutes_between('items.created_at', 'items.verified_at') }} / 1440 as days_to_verified
from {{ ref('fct_action_item') }} as items
cross join {{ ref('dim_run') }} as run
