-- One row per journey and UTC day with KPI points: attempts of all steps, successes, revenue, and the step that failed most often.
with steps as (
    select
        journey,
        step,
        cast({{ bucket('bucket_at', 1440) }} as date) as day,
        sum(attempts) as attempts,
        sum(successes) as successes,
        sum(revenue_minor) as revenue_minor,
        max(bucket_at) as last_bucket_at
    from {{ ref('fct_kpi_point') }}
    group by journey, step, day
)

select
    journey,
    day,
    cast(sum(successes) as bigint) as good,
    cast(sum(attempts) as bigint) as total,
    cast(sum(revenue_minor) as bigint) as revenue_minor,
    {{ value_at_min('step', [ratio('successes', 'attempts'), 'step'], 'attempts > 0') }} as worst_step,
    min({{ ratio('successes', 'attempts') }}) as worst_step_availability,
    max(last_bucket_at) as last_bucket_at
from steps
group by journey, day
