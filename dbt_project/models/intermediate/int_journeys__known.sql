-- One row per journey that is declared or has KPI points. An undeclared journey promises nothing: no SLO, five-minute buckets.
with observed as (
    select
        journey,
        {{ commonest('currency') }} as currency
    from {{ ref('stg_journey_kpis') }}
    group by journey
)

select
    coalesce(declared.journey, observed.journey) as journey,
    coalesce(declared.title, declared.journey, observed.journey) as title,
    coalesce(declared.owner_team, 'unowned') as owner_team,
    coalesce(declared.currency, observed.currency) as currency,
    coalesce(declared.grain_minutes, 5) as grain_minutes,
    declared.slo_target,
    coalesce(declared.slo_window_days, 28) as slo_window_days,
    declared.journey is not null as is_declared
from {{ ref('stg_journeys') }} as declared
full join observed
    on declared.journey = observed.journey
