-- One row per incident and group of customers it hit: segments of one region, tier, plan or country added up over journeys.
with impact as (
    select
        impact.*,
        journeys.title as journey_title
    from {{ ref('fct_incident_impact') }} as impact
    left join {{ ref('dim_journey') }} as journeys
        on impact.journey = journeys.journey
    where impact.status <> 'unknown'
),

cohorts as (
    {% for dimension in ['region', 'tier', 'plan', 'country'] -%}
    select
        incident_id,
        '{{ dimension }}' as dimension,
        {{ dimension }} as cohort,
        journey_title,
        status,
        currency,
        expected_attempts,
        actual_attempts,
        lost_successes,
        lost_revenue
    from impact
    where {{ dimension }} <> ''
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
)

select
    cohorts.incident_id,
    cohorts.dimension,
    cohorts.cohort,
    {{ listed_once('cohorts.journey_title') }} as journeys,
    count(*) as segments_n,
    count(*) filter (where cohorts.status = 'quantified') as segments_quantified_n,
    cast(sum(cohorts.actual_attempts) as bigint) as attempts_n,
    sum(cohorts.lost_successes) as lost_successes,
    case when count(distinct cohorts.currency) = 1 then min(cohorts.currency) end as currency,
    case when count(distinct cohorts.currency) = 1 then {{ money('sum(cohorts.lost_revenue)') }} end as lost_revenue,
    run.as_of
from cohorts
cross join {{ ref('dim_run') }} as run
group by cohorts.incident_id, cohorts.dimension, cohorts.cohort, run.as_of
