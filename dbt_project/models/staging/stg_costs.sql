-- One row: what responding to an incident costs.
select
    hourly_rate,
    currency,
    least_minutes,
    review_hours
from {{ source('declared', 'costs') }}
