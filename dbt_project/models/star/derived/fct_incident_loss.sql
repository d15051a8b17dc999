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
    {{ money('lost_revenue_high') }} as lost_revenue_high,
    report_currency,
    {{ money('reported_loss') }} as reported_loss,
    {{ money('reported_loss_low') }} as reported_loss_low,
    {{ money('reported_loss_high') }} as reported_loss_high,
    exchange_rate,
    rate_since
from {{ source('derived', 'incident_loss') }}
