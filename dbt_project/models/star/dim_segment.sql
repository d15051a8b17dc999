-- One row per customer segment that has KPI points.
select distinct
    {{ surrogate_key(['region', 'tier', 'plan', 'country']) }} as segment_key,
    segment,
    region,
    tier,
    plan,
    country
from {{ ref('fct_kpi_point') }}
