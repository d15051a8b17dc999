-- One row per journey, step, segment and timestamp, the version received last.
select
    kpis.journey,
    kpis.step,
    {{ declared_name('kpis', 'region') }} as region,
    coalesce(kpis.tier, '') as tier,
    coalesce(kpis.plan, '') as plan,
    coalesce(kpis.country, '') as country,
    kpis.attempts,
    kpis.successes,
    kpis.revenue_minor,
    kpis.currency,
    kpis.ts as measured_at
from {{ source('landing', 'journey_kpis') }} as kpis
{{ declared_name_joins('kpis', ['region']) }}
{{ latest_version(
    ['kpis.journey', 'kpis.step', declared_name('kpis', 'region'), 'kpis.tier', 'kpis.plan', 'kpis.country', 'kpis.ts'],
    ['kpis.ingested_at'],
) }}
