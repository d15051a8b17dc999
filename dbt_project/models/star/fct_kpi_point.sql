-- One row per journey, step, segment and bucket of the journey's grain.
select
    journey,
    step,
    {{ segment_label() }} as segment,
    region,
    tier,
    plan,
    country,
    bucket_at,
    cast(attempts as bigint) as attempts,
    cast(successes as bigint) as successes,
    cast(revenue_minor as bigint) as revenue_minor,
    currency,
    earns,
    n_samples
from {{ ref('int_kpi_points__bucketed') }}
order by journey, step, region, tier, plan, country, bucket_at
