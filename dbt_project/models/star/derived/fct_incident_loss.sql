-- One row per incident: the sum of its impact with a joint interval.
select
    incident_id,
    journeys,
    segments,
    status,
    nullif(reason, '') as reason,
    currency,
    model_version,
    lost_successes,
    {{ money('lost_revenue') }} as lost_revenue,
    {{ money('lost_revenue_low') }} as lost_revenue_low,
    {{ money('lost_revenue_high') }} as lost_revenue_high
from {{ source('derived', 'incident_loss') }}
