-- One row per journey and UTC day with KPI points, with the trailing figures that end with that day.
with incidents as (
    select
        journeys.journey,
        journeys.day,
        count(distinct impact.incident_id) as incidents_28d
    from {{ ref('int_journeys__daily') }} as journeys
    inner join {{ ref('fct_incident_impact') }} as impact
        on journeys.journey = impact.journey and impact.status = 'quantified'
    inner join {{ ref('fct_incident') }} as incidents
        on
            impact.incident_id = incidents.incident_id
            and not incidents.exclude_from_metrics
            and cast({{ bucket('incidents.started_at', 1440) }} as date) between journeys.day - 27 and journeys.day
    group by journeys.journey, journeys.day
),

budgets as (
    select
        *,
        (1 - slo_target) * slo_total as budget_total,
        slo_total - slo_good as budget_used
    from {{ ref('int_journeys__trailing') }}
)

select
    budgets.journey,
    journeys.title,
    journeys.owner_team,
    budgets.worst_step,
    journeys.currency,
    budgets.day,
    budgets.good,
    budgets.total,
    {{ ratio('budgets.good', 'budgets.total') }} as availability,
    budgets.worst_step_availability,
    cast(budgets.good_7d as bigint) as good_7d,
    cast(budgets.total_7d as bigint) as total_7d,
    {{ ratio('budgets.good_7d', 'budgets.total_7d') }} as availability_7d,
    cast(budgets.good_28d as bigint) as good_28d,
    cast(budgets.total_28d as bigint) as total_28d,
    {{ ratio('budgets.good_28d', 'budgets.total_28d') }} as availability_28d,
    budgets.slo_target,
    budgets.slo_window_days,
    budgets.slo_days_n,
    cast(budgets.slo_good as bigint) as slo_good,
    cast(budgets.slo_total as bigint) as slo_total,
    {{ ratio('budgets.slo_good', 'budgets.slo_total') }} as slo_availability,
    budgets.budget_total,
    case when budgets.slo_target is not null then cast(budgets.budget_used as bigint) end as budget_used,
    1 - {{ ratio('budgets.budget_used', 'budgets.budget_total') }} as budget_left_ratio,
    {{ ratio('budgets.total - budgets.good', '(1 - budgets.slo_target) * budgets.total') }} as burn_rate,
    {{ ratio('budgets.total_7d - budgets.good_7d', '(1 - budgets.slo_target) * budgets.total_7d') }} as burn_rate_7d,
    {{ major_units('budgets.revenue_minor') }} as revenue,
    {{ major_units('budgets.revenue_minor_7d') }} as revenue_7d,
    {{ major_units('budgets.revenue_minor_28d') }} as revenue_28d,
    coalesce(incidents.incidents_28d, 0) as incidents_28d,
    budgets.budget_total >= 10 as enough_traffic,
    budgets.day = max(budgets.day) over (partition by budgets.journey) as is_latest,
    cast(budgets.day + 1 as {{ moment_type() }}) <= run.as_of as is_complete_day,
    budgets.last_bucket_at,
    run.as_of
from budgets
cross join {{ ref('dim_run') }} as run
inner join {{ ref('dim_journey') }} as journeys
    on budgets.journey = journeys.journey
left join incidents
    on budgets.journey = incidents.journey and budgets.day = incidents.day
