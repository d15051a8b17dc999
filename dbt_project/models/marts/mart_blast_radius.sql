-- One row per environment and service: what depends on it, what it depends on, and the share of traffic and revenue it can reach.
with recent as (
    select
        points.journey,
        sum(points.attempts) as attempts,
        coalesce(sum(points.revenue_minor), 0) as revenue_minor
    from {{ ref('fct_kpi_point') }} as points
    cross join {{ ref('dim_run') }} as run
    where points.bucket_at >= run.as_of - interval '28 days'
    group by points.journey
),

currencies as (
    select case when count(distinct journeys.currency) = 1 then min(journeys.currency) end as currency
    from recent
    inner join {{ ref('dim_journey') }} as journeys
        on recent.journey = journeys.journey
    where recent.revenue_minor <> 0
),

everything as (
    select
        coalesce(sum(recent.attempts), 0) as attempts,
        coalesce(sum(recent.revenue_minor), 0) as revenue_minor
    from recent
),

reached as (
    select
        radius.environment,
        radius.service,
        sum(recent.attempts) as attempts,
        sum(recent.revenue_minor) as revenue_minor
    from {{ ref('fct_blast_radius') }} as radius
    inner join recent
        on {{ holds('radius.journeys', 'recent.journey') }}
    group by radius.environment, radius.service
),

shares as (
    select
        radius.*,
        cast(coalesce(reached.attempts, 0) as bigint) as n_attempts,
        cast(everything.attempts as bigint) as n_attempts_all,
        case when currencies.currency is not null then coalesce(reached.revenue_minor, 0) end as revenue_minor,
        case when currencies.currency is not null then everything.revenue_minor end as revenue_minor_all,
        currencies.currency
    from {{ ref('fct_blast_radius') }} as radius
    cross join everything
    cross join currencies
    left join reached
        on radius.environment = reached.environment and radius.service = reached.service
)

select
    shares.environment,
    shares.service,
    shares.basis,
    shares.model_version,
    shares.dependents,
    shares.dependencies,
    shares.journeys,
    shares.journeys_carried,
    {{ length_of('shares.dependents') }} as n_dependents,
    {{ length_of('shares.dependencies') }} as n_dependencies,
    {{ length_of('shares.journeys') }} as n_journeys,
    shares.n_direct_dependents,
    shares.within_hops,
    shares.n_attempts,
    shares.n_attempts_all,
    {{ ratio('shares.n_attempts', 'shares.n_attempts_all') }} as traffic_share,
    {{ major_units('shares.revenue_minor') }} as revenue,
    {{ major_units('shares.revenue_minor_all') }} as revenue_all,
    {{ ratio('shares.revenue_minor', 'shares.revenue_minor_all') }} as revenue_share,
    shares.currency,
    shares.in_cycle,
    run.as_of
from shares
cross join {{ ref('dim_run') }} as run
