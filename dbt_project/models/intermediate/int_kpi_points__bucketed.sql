-- One row per journey, step, segment and bucket of the journey's grain.
-- Revenue counts where the step earns, and only in the journey's currency: amounts of two currencies have no sum.
select
    kpis.journey,
    kpis.step,
    kpis.region,
    kpis.tier,
    kpis.plan,
    kpis.country,
    {{ bucket('kpis.measured_at', 'journeys.grain_minutes') }} as bucket_at,
    sum(kpis.attempts) as attempts,
    sum(kpis.successes) as successes,
    sum(kpis.revenue_minor) filter (
        where coalesce(steps.earns, false) and (kpis.currency is null or kpis.currency = journeys.currency)
    ) as revenue_minor,
    any_value(journeys.currency) as currency,
    coalesce(bool_or(steps.earns), false) as earns,
    count(*) as n_samples
from {{ ref('stg_journey_kpis') }} as kpis
inner join {{ ref('int_journeys__known') }} as journeys
    on kpis.journey = journeys.journey
left join {{ ref('stg_journey_steps') }} as steps
    on kpis.journey = steps.journey and kpis.step = steps.step
where kpis.measured_at < (select max(run.as_of) from {{ ref('stg_run') }} as run)
group by 1, 2, 3, 4, 5, 6, 7
